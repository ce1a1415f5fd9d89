"""Tables of what tools of surfaces measured in all exams, a row for each exam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_synthsr.dataset.files import write_json, write_text
from bids_synthsr.derivatives.group import GroupRow
from bids_synthsr.derivatives.places import Derivatives, sidecar_of
from bids_synthsr.derivatives.records import Record, lost_outputs, own_outputs, read_record
from bids_synthsr.derivatives.tables import MISSING, read_table, table_text

ASEG, CORTEX = '_atlas-aseg_desc-recon_volumes.tsv', '_atlas-aparc_desc-recon_morph.tsv'
HEMISPHERES = {'L': 'lh', 'R': 'rh'}  # as FreeSurfer's tables call them
# columns of the tables of an exam by the name of the table of the group, and their units
MEASURES = {
    'thickness': ('thickness_mm', 'mm', 'Mean thickness of {}.'),
    'area': ('area_mm2', 'mm^2', 'Area of the inner surface of {}.'),
    'volume': ('volume_mm3', 'mm^3', 'Volume of the cortex of {}.'),
}
OF_ASEG = 'Volume of {}, or a measure of the whole.'
NOT_MADE = 'no surfaces were made'
STALE = 'its surfaces are of an earlier T1w'
LOST = 'files of its surfaces are gone or were changed'
BROKEN = 'its tables cannot be read: {}'


@dataclass(frozen=True)
class SurfaceRow:
    """What a tool measured in one exam.

    Parameters
    ----------
    row
        Exam that was measured, finished or not.
    reason
        Why nothing was measured; empty where it was.
    tool
        Name and version of the tool.
    volumes
        Volumes of structures by their names, mm³, as text.
    cortex
        Values by measure, and by hemisphere and area, as text.
    """

    row: GroupRow
    reason: str = ''
    tool: str = ''
    volumes: Mapping[str, str] = field(default_factory=dict)
    cortex: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def read_surfaces(rows: Sequence[GroupRow], derivatives: Derivatives) -> list[SurfaceRow]:
    """Read what was measured in all exams; nothing where no exam has surfaces.

    Parameters
    ----------
    rows
        Exams of the group, finished or not.
    derivatives
        Where the outputs lie.
    """
    read = [_read(row, derivatives) for row in rows]
    return read if any(not one.reason for one in read) else []


def _read(row: GroupRow, derivatives: Derivatives) -> SurfaceRow:
    """Read what was measured in one exam, or why nothing was."""
    record = read_record(derivatives.surface_record(row.exam))
    if row.state != 'finished' or record is None or record.state != 'finished':
        return SurfaceRow(row, row.reason if row.state != 'finished' else NOT_MADE)
    if _is_stale(record, row, derivatives):
        return SurfaceRow(row, STALE)
    if lost_outputs(record, derivatives):
        return SurfaceRow(row, LOST)
    settings = record.fingerprint.get('settings', {})
    tool = f'{settings.get("tool", "")} {settings.get("tool_version", "")}'.strip()
    try:
        return SurfaceRow(row, '', tool, *_measured(record, derivatives))
    except (OSError, ValueError, KeyError) as error:
        return SurfaceRow(row, BROKEN.format(f'{type(error).__name__}: {error}'))


def _measured(
    record: Record, derivatives: Derivatives
) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Read volumes, and the cortex by measure, of the tables of one exam."""
    volumes: dict[str, str] = {}
    cortex: dict[str, dict[str, str]] = {name: {} for name in MEASURES}
    for name in record.outputs:
        if name.endswith(ASEG):
            for line in read_table(derivatives.root / name):
                volumes[line['name']] = line['volume_mm3'] or MISSING
        sides = [side for hemi, side in HEMISPHERES.items() if f'_hemi-{hemi}{CORTEX}' in name]
        for line in read_table(derivatives.root / name) if sides else ():
            for measure, (column, _, _) in MEASURES.items():
                cortex[measure][f'{sides[0]}_{line["name"]}'] = line[column] or MISSING
    return volumes, cortex


def _is_stale(made: Record, row: GroupRow, derivatives: Derivatives) -> bool:
    """Whether surfaces are of a T1w that the exam has no longer."""
    record = read_record(derivatives.exam_of(row.exam).record)
    t1w = own_outputs(record).get('T1w', '') if record else ''
    if record is None or not t1w:
        return True
    known = made.fingerprint.get('scans', {}).get(Path(t1w).name)
    return known != {'sha256': record.outputs[t1w].sha256}


def write_surface_tables(rows: Sequence[SurfaceRow], derivatives: Derivatives) -> list[Path]:
    """Write a table of volumes, and of the cortex one for each measure; return the paths.

    Tables of an earlier run go where no exam has surfaces.

    Parameters
    ----------
    rows
        What was measured in all exams; empty where no exam has surfaces.
    derivatives
        Where the outputs lie.
    """
    written: list[Path] = []
    aseg = [one.volumes for one in rows]
    written += _write_table(derivatives.group_surface_volumes, rows, aseg, 'mm^3', OF_ASEG)
    for measure, (_, unit, text) in MEASURES.items():
        values = [one.cortex.get(measure, {}) for one in rows]
        path = derivatives.group_cortex(measure)
        written += _write_table(path, rows, values, unit, text)
    return written


def _write_table(
    path: Path,
    rows: Sequence[SurfaceRow],
    values: Sequence[Mapping[str, str]],
    unit: str,
    text: str,
) -> list[Path]:
    """Write a table and its sidecar; without values, remove those of an earlier run."""
    names = [*dict.fromkeys(name for value in values for name in value)]
    if not names:
        for stale in (path, sidecar_of(path)):
            stale.unlink(missing_ok=True)
        return []
    table = [
        {
            **one.row.keys,
            'reason': one.reason or MISSING,
            'tool': one.tool or MISSING,
            **{name: value.get(name, MISSING) for name in names},
        }
        for one, value in zip(rows, values, strict=True)
    ]
    described: dict[str, Any] = {
        'reason': {'Description': 'Why nothing was measured.'},
        'tool': {'Description': 'Tool that measured, and its version.'},
        **{name: {'Description': text.format(name), 'Units': unit} for name in names},
    }
    return [write_text(path, table_text(table)), write_json(sidecar_of(path), described)]
