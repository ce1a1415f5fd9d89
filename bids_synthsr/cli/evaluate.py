"""The command ``bids_synthsr-evaluate``: how good methods are."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from bids_synthsr import __version__
from bids_synthsr.dataset.selection import PLANES
from bids_synthsr.run.comparing import WRONG_USE
from bids_synthsr.settings import METHODS

PAINTED = ('T1w', 'T2w', 'PDw', 'FLAIR', 'random')  # see synthesis/exams.py
SPACINGS, THICKNESS = (3.0, 5.0, 7.0), 3.0  # mm; Iglesias et al. 2021, section 3.3.1


Commands: TypeAlias = 'argparse._SubParsersAction[argparse.ArgumentParser]'


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog='bids_synthsr-evaluate', description='Measure how good methods are.'
    )
    parser.add_argument('--version', action='version', version=f'bids_synthsr {__version__}')
    commands = parser.add_subparsers(dest='command', required=True)
    _add_simulate(commands)
    _add_leave_one_out(commands)
    return parser


def _add_simulate(commands: Commands) -> None:
    """Add the evaluation on scans whose truth is known."""
    parser = commands.add_parser(
        'simulate',
        help='cut thick slices out of T1w scans of 1 mm, and let methods make these again',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('t1w', type=Path, metavar='T1W', help='folder, or BIDS data set, of T1w')
    _add_common(parser)
    parser.add_argument(
        '--spacing', type=float, nargs='+', default=list(SPACINGS), metavar='MM', help='of slices'
    )
    parser.add_argument(
        '--thickness',
        nargs='+',
        type=_thickness,
        default=[None, THICKNESS],
        metavar='MM',
        help='of slices; "equal" makes them as thick as their spacing; no thicker than that',
    )
    parser.add_argument(
        '--planes', nargs='+', choices=PLANES, default=list(PLANES), help='of the slices'
    )
    parser.add_argument(
        '--exams',
        nargs='+',
        type=_contrasts,
        default=[('T1w',)],
        metavar='A+B',
        help='contrasts of the scans of an exam, the first being the reference: T1w is the head '
        'itself; T2w, PDw, FLAIR and random (a contrast that there is not) need --labels',
    )
    parser.add_argument(
        '--labels',
        type=Path,
        metavar='FOLDER',
        help='label maps of 1 mm with the numbers of FreeSurfer: each is a head, whose T1w is '
        'that of the same name, or painted where there is none; its structures are the truth',
    )
    parser.add_argument(
        '--structures',
        action='store_true',
        help='compare structures, too: Dice and volumes of what the network of synthsr finds in '
        'the T1w of each method, with the labels, or with what it finds in the truth',
    )


def _add_leave_one_out(commands: Commands) -> None:
    """Add the evaluation on real exams."""
    parser = commands.add_parser(
        'leave-one-out',
        help='leave a scan of real exams out, and explain it from what methods make of the others',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('bids_dir', type=Path, metavar='BIDS', help='data set')
    _add_common(parser)
    parser.add_argument(
        '--session-label', nargs='+', default=[], metavar='LABEL', help='only these'
    )
    parser.add_argument(
        '--subsets', action='store_true', help='explain a scan from fewer of the others, too'
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options that both evaluations have."""
    parser.add_argument('out', type=Path, metavar='OUT', help='folder for table and page')
    parser.add_argument(
        '--methods',
        type=_methods,
        default=('sr-t1', 'tv', 'cubic'),
        metavar='A,B',
        help=', '.join(METHODS),
    )
    parser.add_argument(
        '--weights',
        type=Path,
        nargs='+',
        action='extend',
        default=[],
        metavar='METHOD=FILE',
        help='weights of the methods that need some',
    )
    parser.add_argument(
        '--participant-label', nargs='+', default=[], metavar='LABEL', help='only these'
    )
    parser.add_argument('-w', '--work-dir', type=Path, help='work folder [OUT/work]')
    parser.add_argument('--nprocs', type=int, default=os.cpu_count(), help='processes')
    parser.add_argument('--omp-nthreads', type=int, default=1, help='threads of a process')
    parser.add_argument('--mem', type=float, metavar='GB', help='memory of all processes')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')


def _methods(text: str) -> tuple[str, ...]:
    names = tuple(text.split(','))
    for name in names:
        if name not in METHODS:
            raise argparse.ArgumentTypeError(f'{name!r} is none of {", ".join(METHODS)}')
    return names


def _contrasts(text: str) -> tuple[str, ...]:
    """Read the contrasts of an exam, ``T1w+FLAIR``."""
    names = tuple(text.split('+'))
    for name in names:
        if name not in PAINTED:
            raise argparse.ArgumentTypeError(f'{name!r} is none of {", ".join(PAINTED)}')
    return names


def _thickness(text: str) -> float | None:
    """Read a thickness; None means equal to the spacing."""
    if text == 'equal':
        return None
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'{text!r} is neither "equal" nor mm') from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return 0 if all went well, 1 if a part failed, 2 for wrong use."""
    options = build_parser().parse_args(arguments)
    os.environ['NO_ET'] = '1'  # nipype looks for a newer version of itself otherwise
    from bids_synthsr.run.left_out import leave_one_out
    from bids_synthsr.run.simulated import simulate

    commands = {'simulate': simulate, 'leave-one-out': leave_one_out}
    try:
        return commands[options.command](options)
    except KeyboardInterrupt as stop:
        from bids_synthsr.run.plugin import STOPPED, exit_code_of

        name, code = exit_code_of(stop)
        sys.stderr.write(STOPPED % name + '\n')
        return code
    except (ValueError, OSError) as error:
        sys.stderr.write(f'bids_synthsr-evaluate: {error}\n')
        return WRONG_USE


if __name__ == '__main__':
    sys.exit(main())
