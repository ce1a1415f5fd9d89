"""Make the demo data set, and compare what the program made of it with the truth."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bids_synthsr.evaluation.demo import DemoComparison


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog='python -m bids_synthsr.cli.demo', description=__doc__)
    actions = parser.add_subparsers(dest='action', required=True)
    make = actions.add_parser('make', help='write FOLDER/bids and FOLDER/truth')
    make.add_argument('folder', type=Path, metavar='FOLDER')
    check = actions.add_parser('compare', help='print the errors of OUT against FOLDER/truth')
    check.add_argument('folder', type=Path, metavar='FOLDER')
    check.add_argument('out', type=Path, metavar='OUT')
    return parser


def describe_comparison(comparison: DemoComparison) -> Iterator[str]:
    """Describe how close one exam of the demo comes to its truth, line by line."""
    yield f'{comparison.label}: registration error, mean over the brain'
    for contrast, off in comparison.misalignments.items():
        yield f'  {contrast:<6} {off.error:5.2f} mm  (the head had moved by {off.motion:.1f} mm)'
    yield f'{comparison.label}: T1w against the truth, in the brain'
    for name, (psnr, ssim) in comparison.scores.items():
        yield f'  {name:<10} PSNR {psnr:5.2f} dB   SSIM {ssim:.3f}'
    yield f'{comparison.label}: report {comparison.report}'


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``make FOLDER`` or ``compare FOLDER OUT``."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.action == 'make':
        from bids_synthsr.evaluation.phantoms import make_demo

        make_demo(options.folder)
        sys.stdout.write(f'Demo data set: {options.folder / "bids"}\n')
        return 0
    from bids_synthsr.evaluation.demo import compare_demo, find_demo_fault

    fault = find_demo_fault(options.folder, options.out)
    if fault:
        parser.error(fault)
    for comparison in compare_demo(options.folder, options.out):
        sys.stdout.writelines(f'{line}\n' for line in describe_comparison(comparison))
    return 0


if __name__ == '__main__':
    sys.exit(main())
