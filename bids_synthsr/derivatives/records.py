"""What was done to each exam, and whether it must be done again.

A finished exam is done again when, and only when, its scans, the settings, or the version of the
program changed, or an output is gone or has another size. Times of files decide nothing: they
only spare reading a file again that did not change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bids_synthsr.dataset.filenames import EXAM, split_name
from bids_synthsr.dataset.files import (
    open_regular,
    parse_json,
    read_json,
    sha256,
    take_stamp,
    write_json,
)
from bids_synthsr.derivatives.digests import OutputFile, find_losses
from bids_synthsr.derivatives.places import Derivatives, ExamDerivatives
from bids_synthsr.values.exam import SUFFIXES, Exam
from bids_synthsr.values.serial import as_plain, read_dataclass
from bids_synthsr.values.text import plain_text

BROKEN_OFF = 'the work ended while its outputs were written'
State = Literal['finished', 'failed', 'begun']
AFTER_WORK = ('report', 'record')  # steps that end when the report has been written
MAX_REASON = 3000  # characters of why an exam failed: a sentence for each of its scans
MAX_SECONDS = 1e8  # of a step, three years: sums of such times stay finite
MAX_NAME = 255  # bytes of the name of a file
MAX_LINE = 10_000  # bytes of an event
EVENTS = ('start', 'end', 'exception')
UNREAD: Mapping[str, Any] = {'stamp': '', 'sha256': ''}


@dataclass(frozen=True)
class Record:
    """How the work on an exam ended.

    Parameters
    ----------
    exam
        Its label, such as ``sub-01_ses-2``.
    state
        How the work on it ended; ``begun`` while its outputs are written.
    fingerprint
        As `take_fingerprint` took it before the work.
    reason
        Why it failed, a sentence.
    warnings
        What a reader must know.
    outputs
        Content of its outputs, by their paths relative to the output folder.
    pages
        Content of its report and of the small picture, in the same way.
    leftovers
        Paths of files of earlier work, which go when the exam is finished.
    main
        How the main volume was made: the name of a method, or ``acquired``.
    coverage
        Percent of ``head`` and ``brain`` that the output holds, as far as known.
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
    outputs: Mapping[str, OutputFile] = field(default_factory=dict)
    pages: Mapping[str, OutputFile] = field(default_factory=dict)
    leftovers: tuple[str, ...] = ()
    main: str = ''
    coverage: Mapping[str, float] = field(default_factory=dict)
    durations_s: Mapping[str, float] = field(default_factory=dict)
    run_uuid: str = ''

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of all files in the folder of the exam that this record knows, none twice."""
        return tuple(dict.fromkeys([*self.outputs, *self.leftovers]))


def write_record(path: Path, record: Record) -> Path:
    """Write the record of an exam, whole or not at all."""
    return write_json(path, as_plain(record))


def write_unfinished_record(
    place: ExamDerivatives, record: Record, outputs: Iterable[Path] = ()
) -> Record:
    """Write a record that is not one of a finished exam; it remembers all files that there are.

    Parameters
    ----------
    place
        Where the outputs of the exam lie.
    record
        How the work stands: begun or failed.
    outputs
        Paths of outputs that are about to be written.
    """
    earlier = read_record(place.record)
    names = [*(earlier.files if earlier else ()), *map(place.dataset.name_of, outputs)]
    record = replace(record, leftovers=tuple(dict.fromkeys(names)))
    write_record(place.record, record)
    return record


def publish_record(place: ExamDerivatives, record: Record) -> Path:
    """Write the record of a finished exam, once all that it does not know of earlier is gone."""
    earlier = read_record(place.record)
    for name in earlier.files if earlier else ():
        if name not in record.outputs:
            _remove(name, place)
    return write_record(place.record, record)


def _remove(name: str, place: ExamDerivatives) -> None:
    """Remove a file of earlier work, if it lies with the outputs of the exam and nowhere else."""
    path = place.dataset.root / name
    real = place.dataset.root.resolve() / place.anat.relative_to(place.dataset.root)
    is_ours = path.parent == place.anat and path.name.startswith(f'{place.label}_')
    if is_ours and path.parent.resolve() == real:
        path.unlink(missing_ok=True)


def load_record(path: Path) -> Record:
    """Read the record of an exam.

    Raises
    ------
    OSError, ValueError
        If there is none, or none that this version understands.
    """
    return read_dataclass(Record, read_json(path), str(path))


def read_record(path: Path) -> Record | None:
    """Read the record of an exam; None where there is none that this version understands.

    Anybody may have written it: what it says is checked, and its texts are made plain.
    """
    try:
        record = load_record(path)
    except (OSError, ValueError):
        return None
    if record.exam != path.stem or not _is_sound(record):
        return None
    return replace(
        record,
        reason=plain_text(record.reason, MAX_REASON),
        warnings=tuple(plain_text(warning, MAX_REASON) for warning in record.warnings),
    )


def _is_sound(record: Record) -> bool:
    """Whether a record names an exam, times, files and scans as the program writes them.

    An exam that is finished has an output, or there would be nothing by which to tell.
    """
    scans = record.fingerprint.get('scans', {})
    return (
        EXAM.fullmatch(record.exam) is not None
        and all(0 <= seconds <= MAX_SECONDS for seconds in record.durations_s.values())
        and all(map(_is_output, (*record.outputs, *record.pages, *record.leftovers)))
        and (record.state != 'finished' or bool(record.outputs))
        and isinstance(record.fingerprint.get('settings', {}), dict)
        and isinstance(scans, dict)
        and all(isinstance(scan, dict) for scan in scans.values())
    )


def _is_output(name: str) -> bool:
    """Whether a text can be the path of an output, relative to the output folder."""
    parts = name.split('/')
    is_short = all(0 < len(part) <= MAX_NAME for part in parts)
    return name.isascii() and name.isprintable() and is_short and '..' not in parts


def read_records(derivatives: Derivatives) -> dict[str, Record]:
    """Read the records of all exams, by their labels."""
    records = (read_record(path) for path in sorted(derivatives.records.glob('*.json')))
    return {record.exam: record for record in records if record}


def own_outputs(record: Record) -> dict[str, str]:
    """Name the outputs of an exam that lie in its own space, by suffix, relative to the folder.

    Of segmentations that is the one by structure, whose name has a ``desc-``.

    Parameters
    ----------
    record
        Record of a finished exam.
    """
    names: dict[str, str] = {}
    for name in record.outputs:
        entities, suffix, extension = split_name(Path(name).name)
        is_by_tissue = suffix == 'dseg' and 'desc' not in entities
        if extension in ('.nii.gz', '.tsv') and 'space' not in entities and not is_by_tissue:
            names.setdefault(suffix, name)
    return names


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
        An earlier record: a file that has not been touched since is not read again.
    """
    before = record.fingerprint.get('scans', {}) if record else {}
    root = bids_dir.resolve()
    scans = {}
    for scan in exam.scans:
        name = scan.path.relative_to(root).as_posix()
        scans[name] = dict(UNREAD)
        if scan.suffix in SUFFIXES and scan.is_usable:  # of others the name counts alone
            scans[name] = _describe_file(scan.path, before.get(name, {}))
        scans[name]['sidecar'] = _digest(json.dumps(scan.metadata, sort_keys=True).encode())
        scans[name]['usable'] = scan.is_usable  # not where a filter excludes it
    as_read_back = parse_json(json.dumps(dict(settings)))
    return {'version': version, 'settings': as_read_back, 'scans': scans}


def digests_of(fingerprint: Mapping[str, Any]) -> set[tuple[str, str]]:
    """List names and SHA-256 of the scans of a fingerprint that could be read."""
    files = fingerprint.get('scans', {}).items()
    return {(name, file['sha256']) for name, file in files if file.get('sha256')}


def _describe_file(path: Path, before: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the content of a file; one that cannot be read has none."""
    try:
        stamp = take_stamp(path)
        digest = before.get('sha256') if before.get('stamp') == stamp else None
        return {'stamp': stamp, 'sha256': digest or sha256(path)}
    except OSError:
        return dict(UNREAD)


def with_digests(exam: Exam, fingerprint: Mapping[str, Any], bids_dir: Path) -> Exam:
    """Let the scans of an exam carry the digests by which they are known again when they are read.

    Parameters
    ----------
    exam
        The exam as it was found.
    fingerprint
        Its fingerprint, of now or of a record.
    bids_dir
        The input data set, which names of files are relative to.
    """
    files, root = fingerprint.get('scans', {}), bids_dir.resolve()
    digests = (
        files.get(scan.path.relative_to(root).as_posix(), {}).get('sha256') for scan in exam.scans
    )
    return replace(
        exam,
        scans=tuple(
            replace(scan, sha256=digest or '')
            for scan, digest in zip(exam.scans, digests, strict=True)
        ),
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fingerprint_digest(fingerprint: Mapping[str, Any]) -> str:
    """Sum up a fingerprint: equal for equal content, whatever the times of files."""
    return _digest(json.dumps(_content(fingerprint), sort_keys=True).encode())


def _content(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Drop from a fingerprint what does not depend on content."""
    scans = fingerprint.get('scans', {})
    contents = {
        name: [file.get(key) for key in ('sha256', 'sidecar', 'usable')]
        for name, file in scans.items()
    }
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


def lost_outputs(record: Record, derivatives: Derivatives, reads_content: bool = False) -> str:
    """Name the outputs of a record that are gone, or not what they were; empty where all are well.

    Parameters
    ----------
    record
        Record of a finished exam.
    derivatives
        Paths of the output folder.
    reads_content
        Whether their content is compared, too, and not only their size.
    """
    return find_losses(record.outputs, derivatives, reads_content)


def lost_pages(record: Record, derivatives: Derivatives, reads_content: bool = False) -> str:
    """Name report and picture where they are gone, or not what they were, as `lost_outputs`."""
    return find_losses(record.pages, derivatives, reads_content)


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
    """Read the step log of a run; there may be none, and lines may be torn off or odd."""
    try:
        with open_regular(path) as file:
            for line in file:
                event = _read_event(line)
                if event is not None:
                    yield event
    except OSError:
        return


def _read_event(line: bytes) -> dict[str, Any] | None:
    """Read a line of a step log; None where it describes no event of a step."""
    try:
        event = parse_json(line[:MAX_LINE].decode(errors='replace'))
    except ValueError:
        return None
    is_event = (
        isinstance(event, dict)
        and event.get('status') in EVENTS
        and EXAM.fullmatch(str(event.get('exam'))) is not None
        and isinstance(event.get('step'), str)
        and isinstance(event.get('seconds', 0.0), int | float)
        and isinstance(event.get('mem_peak_gb', 0.0), int | float)
        and 0 <= event.get('seconds', 0) <= MAX_SECONDS
    )
    return {**event, 'step': plain_text(event['step'])} if is_event else None
