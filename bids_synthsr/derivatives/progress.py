"""How far the work on a data set is, from the files of the output folder alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from bids_synthsr.dataset.filenames import EXAM
from bids_synthsr.dataset.files import read_object, write_json
from bids_synthsr.derivatives.locks import find_claimed
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.records import (
    Record,
    fingerprint_digest,
    lost_outputs,
    lost_pages,
    read_events,
    read_records,
)
from bids_synthsr.values.serial import read_dataclass
from bids_synthsr.values.text import plain_text, plain_value

State = Literal['finished', 'failed', 'running', 'missing']
OUTDATED = 'done before, with other settings or scans than the last run asked for'


@dataclass(frozen=True)
class ExamProgress:
    """How far one exam is.

    Parameters
    ----------
    exam
        Label of the exam, such as ``sub-01_ses-2``.
    state
        ``running`` if a run has it in hand, now; ``missing`` if it is neither finished nor
        failed, or if outputs of it are gone or damaged.
    note
        Why it failed, what is gone or how far a run came; the first warning where it is finished.
    """

    exam: str
    state: State
    note: str = ''


@dataclass(frozen=True)
class PastRun:
    """What one run set out to do.

    Parameters
    ----------
    run_uuid
        Its name, which begins with its time (UTC).
    exams
        Labels of all exams that it was to finish, those included that were finished before.
    command
        As it was given.
    started_in
        The current folder, which relative paths of the command refer to.
    number
        How many runs of this folder began before it, and one more; 0 where it is not known.
    begun
        Time at which it began, UTC, which decides between runs that began together.
    digests
        Digests of the fingerprints that it asked for, by label; empty where they are not known.
    """

    run_uuid: str
    exams: tuple[str, ...]
    command: str
    started_in: str
    number: int = 0
    begun: str = ''
    digests: Mapping[str, str] = field(default_factory=dict)


def write_plan(
    derivatives: Derivatives,
    run_uuid: str,
    digests: Mapping[str, str],
    command: str,
    started_in: Path,
) -> Path:
    """Write down what a run sets out to do, before it does any of it.

    Runs are numbered, since clocks differ between machines and can be set back.

    Parameters
    ----------
    derivatives
        Paths of the output folder.
    run_uuid
        Name of the run.
    digests
        Digests of the fingerprints of its exams, by label; empty texts where they are not known.
    command
        Command line of the run.
    started_in
        Folder in which the command was given.
    """
    content = {
        'exams': [*digests],
        'digests': {label: digest for label, digest in digests.items() if digest},
        'command': command,
        'started_in': str(started_in),
        'number': max(_run_numbers(derivatives), default=0) + 1,
        'begun': datetime.now(UTC).isoformat(),
    }
    return write_json(derivatives.run_plan(run_uuid), content)


def _run_numbers(derivatives: Derivatives) -> Iterator[int]:
    """Read the numbers of all runs that there were; a plan that cannot be read has none."""
    for path in derivatives.run_plans():
        with suppress(OSError, ValueError):
            number = read_object(path).get('number')
            if isinstance(number, int):
                yield number


def read_runs(derivatives: Derivatives) -> list[PastRun]:
    """Read what the runs of an output folder set out to do, oldest first.

    A plan that cannot be read, as one that a power cut emptied, hides no other.
    """
    runs = [run for run in map(_read_plan, derivatives.run_plans()) if run]
    return sorted(runs, key=lambda run: (run.number, run.begun))


def _read_plan(path: Path) -> PastRun | None:
    """Read the plan of a run, from which only labels of exams are taken."""
    try:
        plan = {**read_object(path), 'run_uuid': path.parent.name}
        run = read_dataclass(PastRun, plan, str(path))
    except (OSError, ValueError):
        return None
    return replace(run, exams=tuple(label for label in run.exams if EXAM.fullmatch(label)))


def write_absences(derivatives: Derivatives, absences: Mapping[str, str]) -> Path:
    """Write down which participants have nothing to process, and why."""
    return write_json(derivatives.absences, absences)


def read_absences(derivatives: Derivatives) -> dict[str, str]:
    """Read why participants had nothing to process when all were last looked at."""
    try:
        content = read_object(derivatives.absences)
    except (OSError, ValueError):
        return {}
    return {
        label: plain_text(str(plain_value(reason)))
        for label, reason in content.items()
        if EXAM.fullmatch(label)
    }


def read_progress(
    derivatives: Derivatives, runs: list[PastRun], reads_content: bool = False
) -> list[ExamProgress]:
    """Return how far every exam is that any run planned or processed, by label.

    Parameters
    ----------
    derivatives
        Paths of the output folder.
    runs
        What its runs set out to do.
    reads_content
        Whether the content of outputs is compared with the records, and not only their size.
    """
    records = read_records(derivatives)
    labels = {label for run in runs for label in run.exams} | records.keys()
    steps = _last_steps(derivatives, runs)
    requested = {label: digest for run in runs for label, digest in run.digests.items()}
    last_run = runs[-1].run_uuid if runs else ''
    claimed = find_claimed(derivatives.locks, labels)
    exams = []
    for label in sorted(labels):
        record, step = records.get(label), steps.get(label, '')
        if record is not None and _is_outdated(record, requested.get(label)):
            exam = ExamProgress(label, 'missing', OUTDATED)
        else:
            exam = _progress(label, record, step, derivatives, reads_content)
        # a run keeps its locks to its end, those of exams that it has done, too
        has_ended = record is not None and record.run_uuid == last_run and record.state != 'begun'
        if exam.state != 'finished' and label in claimed and not has_ended:
            exam = ExamProgress(label, 'running', step)
        exams.append(exam)
    return exams


def _is_outdated(record: Record, requested: str | None) -> bool:
    """Whether a finished exam is another than the last run that planned it asked for."""
    if record.state != 'finished' or requested is None:
        return False
    return fingerprint_digest(record.fingerprint) != requested


def _progress(
    label: str, record: Record | None, step: str, derivatives: Derivatives, reads_content: bool
) -> ExamProgress:
    if record is None or record.state == 'begun':
        return ExamProgress(label, 'missing', step or (record.reason if record else ''))
    if record.state == 'failed':
        return ExamProgress(label, 'failed', record.reason)
    losses = [lost(record, derivatives, reads_content) for lost in (lost_outputs, lost_pages)]
    reason = ', '.join(filter(None, losses))
    if reason:
        return ExamProgress(label, 'missing', reason)
    return ExamProgress(label, 'finished', record.warnings[0] if record.warnings else '')


def _last_steps(derivatives: Derivatives, runs: list[PastRun]) -> dict[str, str]:
    """The last event of every exam in the step logs, such as ``align started``."""
    steps: dict[str, str] = {}
    words = {'start': 'started', 'end': 'done', 'exception': 'failed'}
    for run in runs:
        events = read_events(derivatives.steps(run.run_uuid))
        for event in (event for event in events if 'internal' not in event):
            steps[event['exam']] = f'last step: {event["step"]} {words[event["status"]]}'
    return steps
