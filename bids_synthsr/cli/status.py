"""The command ``bids_synthsr-status``: what is finished, failed and missing, from files alone."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bids_synthsr import __version__

ALL_DONE, NOT_ALL, WRONG_USE = 0, 1, 2


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog='bids_synthsr-status',
        description='Tell what is finished, failed and missing in an output folder, and the '
        'command that does only what is missing. Exit code 0 if everything is finished, else 1.',
    )
    parser.add_argument('out', type=Path, metavar='OUT', help='output folder of bids_synthsr')
    parser.add_argument('--all', action='store_true', help='list finished exams, too')
    parser.add_argument('--version', action='version', version=f'bids_synthsr {__version__}')
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program."""
    options = build_parser().parse_args(arguments)
    from bids_synthsr.derivatives.places import Derivatives
    from bids_synthsr.derivatives.progress import read_progress, read_runs

    derivatives = Derivatives(options.out)
    runs = read_runs(derivatives)
    exams = read_progress(derivatives, runs)
    if not exams:
        sys.stderr.write(
            f'{options.out} holds no logs of bids_synthsr: is it the output folder?\n'
        )
        return WRONG_USE
    counts = dict.fromkeys(('finished', 'failed', 'missing'), 0)
    width = max(len(exam.exam) for exam in exams)
    for exam in exams:
        counts[exam.state] += 1
        if options.all or exam.state != 'finished':
            sys.stdout.write(f'{exam.exam:<{width}}  {exam.state:<8}  {exam.note}'.rstrip() + '\n')
    told = ', '.join(f'{count} {state}' for state, count in counts.items())
    sys.stdout.write(f'{len(exams)} exams: {told}\n')
    missing = [exam.exam for exam in exams if exam.state != 'finished']
    if not missing:
        return ALL_DONE
    if runs:
        words = ' '.join(command_for(missing, runs[-1].command))
        sys.stdout.write(
            f'To do only what is missing:\ncd {shlex.quote(runs[-1].started_in)} && {words}\n'
        )
    return NOT_ALL


def command_for(exams: Sequence[str], command: str) -> Iterator[str]:
    """Change a command so that it does these exams only, and whatever else of their subjects.

    Finished sessions of the same subjects are skipped by the program itself.
    """
    words = shlex.split(command)
    at = 0
    while at < len(words):
        if words[at] in ('--participant-label', '--participant_label'):
            at += 1
            while at < len(words) and not words[at].startswith('-'):
                at += 1
        else:
            yield shlex.quote(words[at])
            at += 1
    subjects = dict.fromkeys(exam.split('_')[0].removeprefix('sub-') for exam in exams)
    yield '--participant-label'
    yield from subjects


if __name__ == '__main__':
    sys.exit(main())
