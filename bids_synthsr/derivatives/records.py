"""What was done to each exam, and whether it must be done again.

A finished exam is done again when, and only when, its scans, the settings, or the version of the
program changed, or an output is gone. Times of files decide nothing: they only spare reading a
file again that did not change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bids_synthsr.dataset.files import read_json, write_json
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.values.exam import Exam
from bids_synthsr.values.serial import as_plain, read_dataclass

State = Literal['finished', 'failed']
AFTER_WORK = ('report', 'record')  # steps that end when the report has been written


@dataclass(frozen=True)
class Record:
    """How the work on an exam ended.

    Parameters
    ----------
    exam
        Its label, such as ``sub-01_ses-2``.
    state
        How the work on it ended.
    fingerprint
        As `take_fingerprint` took it before the work.
    reason
        Why it failed, a sentence.
    warnings
        What a reader must know.
    outputs
        Paths of its outputs, relative to the output folder.
    durations_s
        Seconds that each step took, by its name.
    run_uuid
        The run that did it.
    """

    exam: str
    state: State
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ''
    warnings: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    durations_s: Mapping[str, float] = field(default_factory=dict)
    run_uuid: str = ''


def write_record(path: Path, record: Record) -> Path:
    """Write the record of an exam, whole or not at all."""
    return write_json(path, as_plain(record))


def load_record(path: Path) -> Record:
    """Read the record of an exam.

    Raises
    ------
    OSError, ValueError
        If there is none, or none that this version understands.
    """
    return read_dataclass(Record, read_json(path), str(path))


def read_record(path: Path) -> Record | None:
    """Read the record of an exam; None where there is none that this version understands."""
    try:
        return load_record(path)
    except (OSError, ValueError):
        return None


def read_records(derivatives: Derivatives) -> dict[str, Record]:
    """Read the records of all exams, by their labels."""
    records = (read_record(path) for path in sorted(derivatives.records.glob('*.json')))
    return {record.exam: record for record in records if record}


def take_fingerprint(
    exam: Exam,
    bids_dir: Path,
    settings: Mapping[str, Any],
    version: str,
    record: Record | None = None,
) -> dict[str, Any]:
    """Describe all that the outputs of an exam depend on.

    Parameters
    ----------
    exam
        The exam as it was found.
    bids_dir
        The input data set; files are named relative to it.
    settings
        What changes results, JSON types only: the SHA-256 of weights, not their path.
    version
        Version of the program, as far as it changes results.
    record
        An earlier record: a file whose size and time are as there is not read again.
    """
    before = record.fingerprint.get('scans', {}) if record else {}
    root = bids_dir.resolve()
    scans = {}
    for scan in exam.scans:
        name = scan.path.relative_to(root).as_posix()
        scans[name] = _describe_file(scan.path, before.get(name, {}))
        scans[name]['sidecar'] = _digest(json.dumps(scan.metadata, sort_keys=True).encode())
    as_read_back = json.loads(json.dumps(dict(settings)))
    return {'version': version, 'settings': as_read_back, 'scans': scans}


def _describe_file(path: Path, before: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the content of a file; one that cannot be read has none."""
    try:
        status = path.stat()
        stamp = {'size': status.st_size, 'mtime_ns': status.st_mtime_ns}
        if all(before.get(key) == value for key, value in stamp.items()):
            return {**stamp, 'sha256': before['sha256']}
        with path.open('rb') as file:
            return {**stamp, 'sha256': hashlib.file_digest(file, 'sha256').hexdigest()}
    except OSError:
        return {'size': 0, 'mtime_ns': 0, 'sha256': ''}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fingerprint_digest(fingerprint: Mapping[str, Any]) -> str:
    """Sum up a fingerprint: equal for equal content, whatever the times of files."""
    return _digest(json.dumps(_content(fingerprint), sort_keys=True).encode())


def _content(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Drop from a fingerprint what does not depend on content."""
    scans = fingerprint.get('scans', {})
    contents = {name: [file.get('sha256'), file.get('sidecar')] for name, file in scans.items()}
    return {**fingerprint, 'scans': contents}


def reason_to_redo(
    record: Record | None, fingerprint: Mapping[str, Any], derivatives: Derivatives
) -> str:
    """Return why an exam must be done (again); empty if its outputs are up to date."""
    if record is None:
        return 'not done yet'
    if record.state != 'finished':
        return f'failed before: {record.reason}'
    changes = [*_changes(_content(record.fingerprint), _content(fingerprint))]
    if changes:
        return 'changed since: ' + ', '.join(changes)
    return lost_outputs(record, derivatives)


def lost_outputs(record: Record, derivatives: Derivatives) -> str:
    """Name the outputs of a record that are no longer there; empty where all are."""
    gone = [name for name in record.outputs if not (derivatives.root / name).is_file()]
    return f'outputs are gone: {", ".join(gone)}' if gone else ''


def is_finished(
    record: Record | None, fingerprint: Mapping[str, Any], derivatives: Derivatives
) -> bool:
    """Whether the outputs of an exam are as they should be."""
    return not reason_to_redo(record, fingerprint, derivatives)


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Name the parts in which two fingerprints differ."""
    if before.get('version') != now['version']:
        yield f'version ({before.get("version")} to {now["version"]})'
    for part in ('settings', 'scans'):
        old, new = before.get(part, {}), now[part]
        for name in sorted({*old, *new}):
            if name not in old or name not in new:
                yield f'{name} ({"added" if name in new else "removed"})'
            elif old[name] != new[name]:
                yield name if part == 'scans' else f'{name} ({old[name]} to {new[name]})'


@dataclass(frozen=True)
class StepCost:
    """What a step of the work on an exam cost: seconds, and GB where memory was watched."""

    name: str
    seconds: float
    mem_peak_gb: float | None = None


def read_steps(path: Path, exam: str) -> list[StepCost]:
    """Read from the step log of a run what the finished steps of an exam cost, in their order.

    Left out are steps that only hand on what others made, and those of `AFTER_WORK`: so report
    and record, whenever they are written, agree about the time.
    """
    return [
        StepCost(event['step'], event['seconds'], event.get('mem_peak_gb'))
        for event in read_events(path)
        if event['exam'] == exam and event['status'] == 'end' and 'seconds' in event
        if 'internal' not in event and event['step'] not in AFTER_WORK
    ]


def read_durations(path: Path, exam: str) -> dict[str, float]:
    """Read how long each step of an exam took, s, as its record keeps it."""
    return {step.name: step.seconds for step in read_steps(path, exam)}


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Read the step log of a run; there may be none, and its last line may be torn off."""
    lines = path.read_text(encoding='utf-8').splitlines() if path.is_file() else []
    for line in lines:
        with suppress(ValueError):
            yield json.loads(line)
