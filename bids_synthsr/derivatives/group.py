"""The exams of an output folder as rows of tables: volumes, and how good each exam is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_synthsr.dataset.filenames import EXAM
from bids_synthsr.dataset.files import read_object, write_json, write_text
from bids_synthsr.derivatives.places import Derivatives, sidecar_of
from bids_synthsr.derivatives.progress import read_absences, read_progress, read_runs
from bids_synthsr.derivatives.records import Record, own_outputs, read_records
from bids_synthsr.derivatives.saving import QUALITY
from bids_synthsr.derivatives.tables import MISSING, read_table, table_text
from bids_synthsr.morphometry.image_quality import MEASURES

NOT_PROCESSED = 'no run has processed it'
DAMAGED = 'its record cannot be read: process it again'
UNREAD = 'its outputs cannot be read ({})'
INTRACRANIAL = 'Intracranial'
ESTIMATES = {
    'score': 'Estimated quality of the segmentation, 0 to 1; low values first on the page.',
    'expected_dice': 'Dice that the segmentation is expected to reach, by its own probabilities.',
    'agreement': 'Dice between segmentations from all scans and from all but one, the least.',
}
DESCRIPTIONS = {
    'participant_id': 'Person, as in participants.tsv.',
    'session_id': 'Session; n/a for a person without sessions.',
    'state': 'finished, failed, running or missing.',
    'reason': 'Why there is nothing of this exam, or the first of its warnings.',
    'method': 'How the T1w was made: the name of a method, or acquired.',
    'weights': 'First digits of the SHA-256 of the weights of the network.',
    'protocol': 'Contrasts, directions and distances of slices of all scans that were used.',
    'scans': 'Number of scans that were used.',
    'finest_mm': 'Distance of the slices of the finest scan.',
    'head_percent': 'How much of the head the T1w holds.',
    'brain_percent': 'How much of the brain the T1w holds.',
    'least_overlap': 'Least overlap of the heads of two scans after their alignment, 0 to 1.',
    'warnings': 'Number of warnings.',
    'minutes': 'Time that all steps took.',
    'rating': 'What a reader of the page said: 1 (good) to 3 (unusable).',
    'note': 'What a reader of the page wrote.',
}
UNITS = {'finest_mm': 'mm', 'head_percent': '%', 'brain_percent': '%', 'minutes': 'min'}
KEYS = ('participant_id', 'session_id')


@dataclass(frozen=True)
class GroupRow:
    """One exam among others.

    Parameters
    ----------
    exam
        Label of the exam, such as ``sub-01_ses-2``.
    state
        ``finished``, ``failed``, ``running`` or ``missing``.
    reason
        Why there is nothing of it, or its first warning.
    facts
        Method, scans, coverage, alignment and time, by the names of the columns.
    quality
        Estimates and measures of quality, by their names, as far as they are known.
    volumes
        Volume of each structure by its name, mm³.
    scan
        Path of the reference in the input data set, relative to it; empty where it is not known.
    """

    exam: str
    state: str
    reason: str = ''
    facts: Mapping[str, Any] = field(default_factory=dict)
    quality: Mapping[str, float] = field(default_factory=dict)
    volumes: Mapping[str, float] = field(default_factory=dict)
    scan: str = ''

    @property
    def keys(self) -> dict[str, str]:
        """The columns that say of whom it is, as BIDS wants them."""
        match = EXAM.fullmatch(self.exam)
        subject, session = (match['subject'], match['session']) if match else (self.exam, None)
        return {
            'participant_id': f'sub-{subject}',
            'session_id': f'ses-{session}' if session else MISSING,
        }

    @property
    def page(self) -> str:
        """Page of the exam beside that of the group; empty where there is none."""
        return f'{self.exam}.html' if self.state in ('finished', 'failed') else ''


def read_group(derivatives: Derivatives, participants: Iterable[str] = ()) -> list[GroupRow]:
    """Read what is known of every exam, those that are missing included.

    Parameters
    ----------
    derivatives
        Where the outputs lie.
    participants
        Labels of people of the input data set, such as ``sub-01``; one without any exam gets a
        row, too.
    """
    records = read_records(derivatives)
    rows = []
    for progress in read_progress(derivatives, read_runs(derivatives)):
        record = records.get(progress.exam)
        if progress.state != 'finished' or record is None:
            is_damaged = record is None and derivatives.exam_of(progress.exam).record.exists()
            reason = progress.note or (DAMAGED if is_damaged else NOT_PROCESSED)
            rows.append(GroupRow(progress.exam, progress.state, reason))
            continue
        try:
            rows.append(_finished(record, progress.note, derivatives))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = UNREAD.format(f'{type(error).__name__}: {error}')
            rows.append(GroupRow(progress.exam, 'missing', reason))
    people = {row.keys['participant_id'] for row in rows}
    absences = read_absences(derivatives)
    for label in sorted({*participants, *absences} - people - {row.exam for row in rows}):
        rows.append(GroupRow(label, 'missing', absences.get(label, NOT_PROCESSED)))
    return sorted(rows, key=lambda row: row.exam)


def _finished(record: Record, warning: str, derivatives: Derivatives) -> GroupRow:
    """Read the tables and sidecars of a finished exam."""
    found = {suffix: derivatives.root / name for suffix, name in own_outputs(record).items()}
    main = read_object(sidecar_of(found['T1w'])) if 'T1w' in found else {}
    details = _object(main, 'MethodDetails')
    volumes = _read_volumes(found['volumes']) if 'volumes' in found else {}
    scans = read_table(derivatives.exam_of(record.exam).selection)
    used = [row for row in scans if row['role'] in ('reference', 'used', 'aligned')]
    overlaps = [*_overlaps(record, derivatives)]
    spacings = [float(row['slice_spacing_mm']) for row in used if row['slice_spacing_mm']]
    facts = {
        'method': record.main or MISSING,
        'weights': str(details.get('sha256', ''))[:12] or MISSING,
        'protocol': ' + '.join(sorted(map(_describe_scan, used))) or MISSING,
        'scans': len(used),
        'finest_mm': min(spacings, default=None),
        'head_percent': record.coverage.get('head'),
        'brain_percent': record.coverage.get('brain'),
        'least_overlap': min(overlaps, default=None),
        'warnings': len(record.warnings),
        'minutes': sum(record.durations_s.values()) / 60 or None,
    }
    known = {**_object(details, 'quality'), **_object(main, QUALITY)}
    quality = {
        name: float(known[name]) for name in (*ESTIMATES, *MEASURES) if _is_number(known.get(name))
    }
    reference = next((row['file'] for row in used if row['role'] == 'reference'), '')
    scans_before = record.fingerprint.get('scans', {})
    scan = next((path for path in scans_before if Path(path).name == reference), '')
    return GroupRow(record.exam, 'finished', warning, facts, quality, volumes, scan)


def _read_volumes(path: Path) -> dict[str, float]:
    """Read the volumes of an exam, mm³; ``n/a`` is left out.

    Raises
    ------
    ValueError
        If there are none, or if one cannot be: such a table was damaged.
    """
    volumes: dict[str, float] = {}
    for row in read_table(path):
        name, text = row['name'], row['volume_mm3']
        if not text:
            continue
        volume = float(text)
        if not math.isfinite(volume) or volume < 0 or (name == INTRACRANIAL and not volume):
            raise ValueError(f'{path.name} has a volume of {text} for {name}')
        if name in volumes:
            raise ValueError(f'{path.name} lists {name} twice')
        volumes[name] = volume
    if not volumes:
        raise ValueError(f'{path.name} has no volumes')
    return volumes


def _object(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Take a field that holds fields; nothing of one that does not."""
    value = content.get(name)
    return value if isinstance(value, Mapping) else {}


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_real and math.isfinite(value)


def _describe_scan(row: Mapping[str, str]) -> str:
    """Name contrast, direction and distance of the slices of a scan, such as ``T1w axial 3``."""
    spacing = row['slice_spacing_mm']
    rounded = f'{float(spacing):.0f}' if spacing else ''
    return ' '.join(filter(None, [row['suffix'], row['orientation'], rounded]))


def _overlaps(record: Record, derivatives: Derivatives) -> Iterator[float]:
    """Read how well the heads of the scans of an exam overlap after their alignment."""
    for name in record.outputs:
        if name.endswith('_xfm.txt'):
            with suppress(OSError, ValueError, KeyError, TypeError):
                yield float(read_object(sidecar_of(derivatives.root / name))['Fit']['overlap'])


def structure_names(rows: Sequence[GroupRow]) -> list[str]:
    """Name all structures whose volumes are known, in the order of the first exam."""
    return [*dict.fromkeys(name for row in rows for name in row.volumes)]


def write_group_tables(
    rows: Sequence[GroupRow],
    derivatives: Derivatives,
    ratings: Mapping[str, Mapping[str, Any]],
) -> list[Path]:
    """Write the tables of volumes and of quality with their sidecars.

    Parameters
    ----------
    rows
        All exams of the output folder, those without outputs included.
    derivatives
        Where the outputs lie.
    ratings
        ``rating`` and ``note`` of exams, by label, as the page saves them.
    """
    names = structure_names(rows)
    volumes = [
        {**row.keys, **_state(row), **{name: _text(row.volumes.get(name)) for name in names}}
        for row in rows
    ]
    of_volumes = {name: {'Description': f'Volume of {name}.', 'Units': 'mm^3'} for name in names}
    facts = [
        name for name in DESCRIPTIONS if name not in (*KEYS, 'state', 'reason', 'rating', 'note')
    ]
    measures = [*ESTIMATES, *MEASURES]
    quality = [
        {
            **row.keys,
            **_state(row),
            **{name: _text(row.facts.get(name)) for name in facts},
            **{name: _text(row.quality.get(name)) for name in measures},
            **{name: _text(ratings.get(row.exam, {}).get(name)) for name in ('rating', 'note')},
        }
        for row in rows
    ]
    of_quality = {
        name: {'Description': text, **({'Units': UNITS[name]} if name in UNITS else {})}
        for name, text in {**DESCRIPTIONS, **ESTIMATES, **MEASURES}.items()
    }
    shared = {name: of_quality[name] for name in (*KEYS, 'state', 'reason')}
    written = []
    for path, table, described in (
        (derivatives.group_volumes, volumes, {**shared, **of_volumes}),
        (derivatives.group_quality, quality, of_quality),
    ):
        written += [write_text(path, table_text(table)), write_json(sidecar_of(path), described)]
    return written


def _state(row: GroupRow) -> dict[str, str]:
    return {'state': row.state, 'reason': row.reason or MISSING}


def _text(value: Any) -> str | int:
    """Write a number with the digits that it is worth; nothing is ``n/a``."""
    if isinstance(value, float):
        return f'{value:.1f}' if abs(value) >= 100 else f'{value:.4g}'
    return MISSING if value is None else value
