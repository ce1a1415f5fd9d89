"""The command ``bids_synthsr``: the BIDS App."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from contextlib import chdir, suppress

from bids_synthsr.cli.door import (
    NEUTRAL,
    choose_cache,
    environ,
    find_folder_fault,
    ignore_current_folder,
    open_streams,
    silence_telemetry,
    use_utf8,
)
from bids_synthsr.cli.options import group_options_of, parse_options
from bids_synthsr.settings import WRONG_USE

NOTHING_TRACKED = '--notrack: nothing is tracked, with or without it'


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return 0 if all exams succeeded, 1 if some failed, 2 for wrong use."""
    if arguments is None:
        open_streams()
    if fault := find_folder_fault():
        sys.stderr.write(f'bids_synthsr: {fault}\n')
        return WRONG_USE
    if arguments is None:
        ignore_current_folder()
        use_utf8(__spec__.name)
        # at once, and as the first process of a container, too, which has no default actions
        signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    command = list(sys.argv[1:] if arguments is None else arguments)
    options = parse_options(command)
    silence_telemetry()
    choose_cache()
    try:
        return _run(options, command)
    except KeyboardInterrupt:  # before there was anything to stop
        sys.stderr.write('\nbids_synthsr: stopped before it began.\n')
        return 128 + signal.SIGINT
    finally:
        if arguments is None:
            from bids_synthsr.run.forking import stop_forkserver

            stop_forkserver()


def _run(options: argparse.Namespace, command: Sequence[str]) -> int:
    """Make a request of the options, and do it away from the current folder.

    Libraries obey files that they find there, and that may be a data set.
    """
    needs_workers = is_run_here(options)
    with chdir(NEUTRAL):
        if needs_workers:
            from bids_synthsr.run.forking import start_forkserver

            with suppress(OSError):  # told later, where workers are needed
                start_forkserver()  # while this process imports the same
        from bids_synthsr.cli.resolve import request_of
        from bids_synthsr.methods.check import describe_unread_options
        from bids_synthsr.run.messages import announce, configure_console
        from bids_synthsr.run.participant import run_participants

    configure_console(options.verbose)
    if options.analysis_level == 'group':
        return _run_group(options)
    try:
        if misplaced := group_options_of(options):
            raise ValueError(f'{misplaced}: it is of the group level; write "group" for that')
        request = request_of(options, command, environ())
    except (ValueError, OSError) as error:
        announce('%s', error)
        return WRONG_USE
    if options.notrack:
        announce('%s', NOTHING_TRACKED)
    for note in request.notes:
        announce('%s', note)
    if unread := describe_unread_options(request.settings.method):
        announce('%s', unread)
    with chdir(NEUTRAL):
        return run_participants(request)


def is_run_here(options: argparse.Namespace) -> bool:
    """Whether exams are processed at once, and by processes of this machine."""
    if not options.bids_dir.is_dir():
        return False
    asks_only = options.dry_run or options.reports_only or options.boilerplate_only
    return options.analysis_level == 'participant' and not (
        asks_only or options.nipype_plugin_file
    )


def _run_group(options: argparse.Namespace) -> int:
    """Do the group level, away from the current folder, to which relative paths refer."""
    with chdir(NEUTRAL):
        from bids_synthsr.cli.resolve import tbm_of
        from bids_synthsr.derivatives.group_design import GroupRequest
        from bids_synthsr.run.group import run_group
        from bids_synthsr.run.messages import announce

    if options.dry_run or options.reports_only or options.boilerplate_only:
        announce('--dry-run, --reports-only and --boilerplate-only are of the participant level')
        return WRONG_USE
    if (options.groups or options.covariates or options.tbm) and not options.group_column:
        announce('--groups, --covariates and --tbm need --group-column, which parts the exams')
        return WRONG_USE
    wanted = GroupRequest(
        options.group_column or '',
        tuple(options.groups or ()),
        tuple(options.covariates),
        options.harmonize or '',
        tuple(options.participant_label),
        tuple(options.session_label),
    )
    try:
        tbm, note = tbm_of(options, environ()) if options.tbm else (None, '')
    except (ValueError, OSError) as error:
        announce('%s', error)
        return WRONG_USE
    if note:
        announce('%s', note)
    bids_dir, output_dir = options.bids_dir.resolve(), options.output_dir.resolve()
    with chdir(NEUTRAL):
        return run_group(bids_dir, output_dir, wanted, tbm)


if __name__ == '__main__':
    sys.exit(main())
