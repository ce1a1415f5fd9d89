"""How far the work on a data set is, from the files of the output folder alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bids_synthsr.dataset.derivatives import Derivatives, write_json
from bids_synthsr.dataset.records import Record, read_records

State = Literal['finished', 'failed', 'missing']


@dataclass(frozen=True)
class Progress:
    """How far one exam is.

    Parameters
    ----------
    exam
        Its label.
    state
        ``missing`` if it is neither finished nor failed, or if outputs of it are gone.
    note
        Why it failed, what is gone or how far a run came; the first warning where it is finished.
    """

    exam: str
    state: State
    note: str = ''


@dataclass(frozen=True)
class Run:
    """What one run set out to do.

    Parameters
    ----------
    folder
        Of its logs; names of runs begin with their time.
    exams
        Labels of all exams that it was to finish, those included that were finished before.
    command
        As it was given.
    started_in
        The current folder, which relative paths of the command refer to.
    """

    folder: Path
    exams: tuple[str, ...]
    command: str
    started_in: str


def write_plan(
    derivatives: Derivatives, run_uuid: str, exams: list[str], command: str, started_in: Path
) -> Path:
    """Write down what a run sets out to do, before it does any of it."""
    content = {'exams': exams, 'command': command, 'started_in': str(started_in)}
    return write_json(derivatives.run_plan(run_uuid), content)


def read_runs(derivatives: Derivatives) -> list[Run]:
    """Read what the runs of an output folder set out to do, oldest first."""
    plans = sorted((derivatives.root / 'logs').glob('*/plan.json'))
    told = [(path.parent, json.loads(path.read_text(encoding='utf-8'))) for path in plans]
    return [
        Run(folder, tuple(plan['exams']), plan['command'], plan['started_in'])
        for folder, plan in told
    ]


def read_progress(derivatives: Derivatives, runs: list[Run]) -> list[Progress]:
    """Tell how far every exam is that any run was to process or has processed, by label."""
    records = read_records(derivatives)
    labels = {label for run in runs for label in run.exams} | records.keys()
    steps = _last_steps(runs)
    return [
        _progress(label, records.get(label), steps.get(label, ''), derivatives)
        for label in sorted(labels)
    ]


def _progress(label: str, record: Record | None, step: str, derivatives: Derivatives) -> Progress:
    if record is None:
        return Progress(label, 'missing', step)
    if record.state == 'failed':
        return Progress(label, 'failed', record.reason)
    gone = [name for name in record.outputs if not (derivatives.root / name).is_file()]
    if gone:
        return Progress(label, 'missing', f'outputs are gone: {", ".join(gone)}')
    return Progress(label, 'finished', record.warnings[0] if record.warnings else '')


def _last_steps(runs: list[Run]) -> dict[str, str]:
    """The last event of every exam in the step logs, such as ``align started``."""
    told: dict[str, str] = {}
    words = {'start': 'started', 'end': 'done', 'exception': 'failed'}
    for run in runs:
        path = run.folder / 'steps.jsonl'
        lines = path.read_text(encoding='utf-8').splitlines() if path.is_file() else []
        for event in filter(None, map(_event, lines)):
            told[event['exam']] = f'last step: {event["step"]} {words[event["status"]]}'
    return told


def _event(line: str) -> Mapping[str, Any] | None:
    """Read a line of a step log; None for one that a killed process left half-written."""
    try:
        return json.loads(line)
    except ValueError:
        return None
