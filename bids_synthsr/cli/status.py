"""The command ``synthsr status``: what is finished, failed and missing, from files alone."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from bids_synthsr.settings import SOME_FAILED, SUCCESS, WRONG_USE

if TYPE_CHECKING:
    from bids_synthsr.derivatives.progress import ExamProgress, PastRun

Commands: TypeAlias = 'argparse._SubParsersAction[argparse.ArgumentParser]'

STATES = ('finished', 'failed', 'running', 'missing')
PROGRAM = 'bids_synthsr'


def add_parser(commands: Commands) -> None:
    """Describe the command line."""
    parser = commands.add_parser(
        'status',
        help='what is finished, failed and missing in an output folder',
        description='Tell what is finished, failed and missing in an output folder, and the '
        'command that does only what is missing. Exit code 0 if everything is finished, else 1.',
    )
    parser.add_argument('out', type=Path, metavar='OUT', help='output folder of bids_synthsr')
    parser.add_argument('--all', action='store_true', help='list finished exams, too')
    parser.add_argument(
        '--check',
        action='store_true',
        help='read every output and compare its SHA-256 with the record; without it, sizes count',
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, _environ: Mapping[str, str]) -> int:
    """Print how far the work is."""
    from bids_synthsr.derivatives.places import Derivatives
    from bids_synthsr.derivatives.progress import read_absences, read_progress, read_runs
    from bids_synthsr.run.messages import print_lines

    derivatives = Derivatives(options.out)
    runs = read_runs(derivatives)
    exams = read_progress(derivatives, runs, options.check)
    if not exams:
        sys.stderr.write(
            f'{options.out} holds no logs of bids_synthsr: is it the output folder?\n'
        )
        return WRONG_USE
    print_lines(describe_progress(exams, options.all))
    absences = read_absences(derivatives).items()
    print_lines(f'{label} has nothing to process: {reason}' for label, reason in absences)
    if all(exam.state == 'finished' for exam in exams):
        return SUCCESS
    unfinished = [exam.exam for exam in exams if exam.state not in ('finished', 'running')]
    line = _command_line(unfinished, runs[-1]) if runs else ''
    if line:
        print_lines(['To do only what is missing:', line])
    return SOME_FAILED


def _command_line(exams: Sequence[str], past: PastRun) -> str:
    """Write what can be pasted to do these exams; empty where that is not safe or of no use."""
    from bids_synthsr.dataset.filenames import EXAM, LABEL

    labels = [match['subject'] for match in map(EXAM.fullmatch, exams) if match]
    subjects = [label for label in dict.fromkeys(labels) if LABEL.fullmatch(label)]
    try:
        words = [*command_for(subjects, past.command)]
    except ValueError:  # quotes that are not closed
        return ''
    line = f'cd {shlex.quote(past.started_in)} && {" ".join(words)}'
    return line if subjects and words[0] == PROGRAM and line.isprintable() else ''


def describe_progress(exams: Sequence[ExamProgress], shows_finished: bool) -> Iterator[str]:
    """Describe exams, a line each, and last how many there are in each state."""
    width = max(len(exam.exam) for exam in exams)
    for exam in exams:
        if shows_finished or exam.state != 'finished':
            yield f'{exam.exam:<{width}}  {exam.state:<8}  {exam.note}'.rstrip()
    states: list[str] = [exam.state for exam in exams]
    counts = {state: states.count(state) for state in STATES}
    named = [f'{n} {state}' for state, n in counts.items() if n or state != 'running']
    yield f'{len(exams)} exams: {", ".join(named)}'


def command_for(subjects: Sequence[str], command: str) -> Iterator[str]:
    """Change a command so that it finishes these participants, each word as a shell takes it.

    Sessions of them that are finished are skipped by the program itself. All stages are done.

    Raises
    ------
    ValueError
        If the command is none that a shell would take.
    """
    words = _without(shlex.split(command), ('--participant-label', '--participant_label'), None)
    words = _without(words, ('--stage',), 1)
    end = words.index('--') if '--' in words else len(words)
    labels = ['--participant-label', *subjects]
    yield from map(shlex.quote, [*words[:end], *labels, *words[end:]])


def _without(words: Sequence[str], options: Sequence[str], values: int | None) -> list[str]:
    """Drop an option and its values, all up to the next option where their number is None."""
    remaining: list[str] = []
    at = 0
    while at < len(words):
        if words[at] == '--':
            return [*remaining, *words[at:]]
        if words[at] in options:
            last = at + 1 + (len(words) if values is None else values)
            at += 1
            while at < min(last, len(words)) and not words[at].startswith('-'):
                at += 1
        else:
            if not words[at].startswith(tuple(f'{option}=' for option in options)):
                remaining.append(words[at])
            at += 1
    return remaining
