"""How far the work on a data set is, from the files of the output folder alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bids_synthsr.dataset.files import write_json
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.records import Record, lost_outputs, read_events, read_records

State = Literal['finished', 'failed', 'missing']


@dataclass(frozen=True)
class ExamProgress:
    """How far one exam is.

    Parameters
    ----------
    exam
        Label of the exam, such as ``sub-01_ses-2``.
    state
        ``missing`` if it is neither finished nor failed, or if outputs of it are gone.
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
        Its name, which begins with its time.
    exams
        Labels of all exams that it was to finish, those included that were finished before.
    command
        As it was given.
    started_in
        The current folder, which relative paths of the command refer to.
    """

    run_uuid: str
    exams: tuple[str, ...]
    command: str
    started_in: str


def write_plan(
    derivatives: Derivatives, run_uuid: str, exams: list[str], command: str, started_in: Path
) -> Path:
    """Write down what a run sets out to do, before it does any of it."""
    content = {'exams': exams, 'command': command, 'started_in': str(started_in)}
    return write_json(derivatives.run_plan(run_uuid), content)


def read_runs(derivatives: Derivatives) -> list[PastRun]:
    """Read what the runs of an output folder set out to do, oldest first."""
    plans = {
        path.parent.name: json.loads(path.read_text(encoding='utf-8'))
        for path in derivatives.run_plans()
    }
    return [
        PastRun(name, tuple(plan['exams']), plan['command'], plan['started_in'])
        for name, plan in plans.items()
    ]


def read_progress(derivatives: Derivatives, runs: list[PastRun]) -> list[ExamProgress]:
    """Return how far every exam is that any run planned or processed, by label."""
    records = read_records(derivatives)
    labels = {label for run in runs for label in run.exams} | records.keys()
    steps = _last_steps(derivatives, runs)
    return [
        _progress(label, records.get(label), steps.get(label, ''), derivatives)
        for label in sorted(labels)
    ]


def _progress(
    label: str, record: Record | None, step: str, derivatives: Derivatives
) -> ExamProgress:
    if record is None:
        return ExamProgress(label, 'missing', step)
    if record.state == 'failed':
        return ExamProgress(label, 'failed', record.reason)
    reason = lost_outputs(record, derivatives)
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
