"""The command ``synthsr demo``: a data set whose truth is known, and comparison with it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from bids_synthsr.cli.door import end_with_message
from bids_synthsr.settings import SUCCESS

if TYPE_CHECKING:
    from bids_synthsr.evaluation.demo import DemoComparison
    from bids_synthsr.evaluation.group_demo import GroupComparison


Commands: TypeAlias = 'argparse._SubParsersAction[argparse.ArgumentParser]'


def add_parser(commands: Commands) -> None:
    """Describe the command line."""
    parser = commands.add_parser(
        'demo',
        help='write a demo data set, or compare what was made of it with the truth',
        description='Write a demo data set whose truth is known, and compare what the program '
        'made of it with that truth.',
    )
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    make = actions.add_parser('make', help='write FOLDER/bids and FOLDER/truth')
    make.add_argument('folder', type=Path, metavar='FOLDER', help='folder to write')
    make.add_argument(
        '--group',
        action='store_true',
        help='twelve people in two groups, for the group level, instead of two exams of one',
    )
    make.set_defaults(run=run_make)
    check = actions.add_parser('compare', help='print the errors of OUT against FOLDER/truth')
    check.add_argument('folder', type=Path, metavar='FOLDER', help='folder of "make"')
    check.add_argument('out', type=Path, metavar='OUT', help='output folder of bids_synthsr')
    check.set_defaults(run=partial(run_compare, check))


def describe_comparison(comparison: DemoComparison) -> Iterator[str]:
    """Describe how close one exam of the demo comes to its truth, line by line."""
    yield f'{comparison.label}: registration error, mean over the brain'
    for contrast, off in comparison.misalignments.items():
        yield f'  {contrast:<6} {off.error:5.2f} mm  (the head had moved by {off.motion:.1f} mm)'
    yield f'{comparison.label}: T1w against the truth, in the brain'
    for name, (psnr, ssim) in comparison.scores.items():
        yield f'  {name:<10} PSNR {psnr:5.2f} dB   SSIM {ssim:.3f}'
    yield f'{comparison.label}: report {comparison.report}'


def describe_difference(comparison: GroupComparison) -> str:
    """Describe what was found of a difference between the groups of the demo, in a line."""
    return (
        f'{comparison.structure}: {comparison.true_percent:+.0f} % in patients in truth, '
        f'{comparison.found_percent:+.0f} % found; correlation of the volumes of '
        f'{comparison.people} people {comparison.correlation:.3f}'
    )


def run_make(options: argparse.Namespace, _environ: Mapping[str, str]) -> int:
    """Write the demo data set."""
    from bids_synthsr.evaluation.group_demo import make_group_demo
    from bids_synthsr.evaluation.phantoms import make_demo
    from bids_synthsr.run.messages import print_lines

    def make() -> int:
        """Write it, and print where it is."""
        (make_group_demo if options.group else make_demo)(options.folder)
        print_lines([f'Demo data set: {options.folder / "bids"}'])
        return SUCCESS

    return end_with_message('synthsr demo', make)


def run_compare(
    parser: argparse.ArgumentParser, options: argparse.Namespace, _environ: Mapping[str, str]
) -> int:
    """Print how close the program came to the truth."""
    from bids_synthsr.evaluation.demo import compare_demo, find_demo_fault
    from bids_synthsr.evaluation.group_demo import (
        compare_group_demo,
        find_group_fault,
        is_group_demo,
    )
    from bids_synthsr.run.messages import print_lines

    is_group = is_group_demo(options.folder)
    fault = (find_group_fault if is_group else find_demo_fault)(options.folder, options.out)
    if fault:
        parser.error(fault)

    def compare() -> int:
        """Compare all exams, and print how close each comes."""
        if is_group:
            found = compare_group_demo(options.folder, options.out)
            print_lines(describe_difference(one) for one in found)
            return SUCCESS
        for comparison in compare_demo(options.folder, options.out):
            print_lines(describe_comparison(comparison))
        return SUCCESS

    return end_with_message('synthsr demo', compare)
