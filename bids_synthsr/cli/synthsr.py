"""The command ``synthsr``: everything around the BIDS App, a sub-command each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bids_synthsr import __version__
from bids_synthsr.cli import demo, evaluate, exam, status, train
from bids_synthsr.cli.door import (
    CommandParser,
    add_completion,
    environ,
    find_folder_fault,
    ignore_current_folder,
    import_elsewhere,
    open_streams,
    silence_telemetry,
)
from bids_synthsr.settings import SOME_FAILED, WRONG_USE

OBEDIENT = {  # libraries of a command that obey files of the current folder when they are imported
    'exam': ('nipype',),
    'train': ('matplotlib',),
    'evaluate': ('nipype', 'matplotlib'),
    'demo': ('matplotlib',),
    'status': (),
}


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = CommandParser(
        prog='synthsr',
        description='One exam from plain files, the state of an output folder, training and '
        'evaluation of methods, and a demo. Whole data sets in BIDS are the work of bids_synthsr.',
    )
    parser.add_argument('--version', action='version', version=f'bids_synthsr {__version__}')
    add_completion(parser)
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for command in (exam, status, train, evaluate, demo):
        command.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command; return 0 if all went well, 1 if a part failed, 2 for wrong use."""
    if arguments is None:
        open_streams()
    if fault := find_folder_fault():
        sys.stderr.write(f'synthsr: {fault}\n')
        return WRONG_USE
    if arguments is None:
        ignore_current_folder()
    options = build_parser().parse_args(arguments)
    silence_telemetry()
    import_elsewhere(OBEDIENT[options.command])
    from bids_synthsr.run.messages import OutputError

    try:
        return int(options.run(options, environ()))
    except OutputError as error:
        sys.stderr.write(f'{error}\n')
        return SOME_FAILED


if __name__ == '__main__':
    sys.exit(main())
