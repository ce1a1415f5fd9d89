"""Tables that FreeSurfer's tools write: volumes and the cortex by area."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_synthsr.dataset.files import read_text
from bids_synthsr.values.structures import STRUCTURES

COLUMNS = {  # of the cortex, by FreeSurfer's names
    'NumVert': 'n_vertices',
    'SurfArea': 'area_mm2',
    'GrayVol': 'volume_mm3',
    'ThickAvg': 'thickness_mm',
    'ThickStd': 'thickness_sd_mm',
    'MeanCurv': 'curvature',
}
VOLUME = 'mm^3'  # unit of measures that are volumes; others are ratios and counts
INDEX = {structure.name.lower(): index for index, structure in STRUCTURES.items()}


@dataclass(frozen=True)
class StatsTable:
    """A table of FreeSurfer.

    Parameters
    ----------
    measures
        Volumes of the whole, mm3, by their short names.
    rows
        Its rows, values as text by column.
    """

    measures: Mapping[str, float] = field(default_factory=dict)
    rows: tuple[Mapping[str, str], ...] = ()


def read_stats(path: Path) -> StatsTable:
    """Read a ``.stats`` file of FreeSurfer, FastSurfer or SAMSEG.

    Raises
    ------
    ValueError
        With file and line, for what is no such table or breaks off.
    """
    measures: dict[str, float] = {}
    columns: list[str] = []
    rows = []
    text = read_text(path)
    for number, line in enumerate(text.splitlines(), 1):
        try:
            if line.startswith('# Measure '):
                parts = [part.strip() for part in line.removeprefix('# Measure ').split(',')]
                value, unit = float(parts[-2]), parts[-1]
                if unit == VOLUME:
                    measures[parts[1] if len(parts) > 3 else parts[0]] = value
            elif line.startswith('# ColHeaders'):
                columns = line.split()[2:]
            elif line.strip() and not line.startswith('#'):
                rows.append(dict(zip(columns, line.split(), strict=True)))
        except (ValueError, IndexError) as error:
            raise ValueError(f'{path}, line {number} is not as FreeSurfer writes it') from error
    if not measures and not rows:
        raise ValueError(f'{path} holds no table of FreeSurfer')
    return StatsTable(measures, tuple(rows))


def volume_rows(path: Path) -> list[dict[str, Any]]:
    """Read the volumes that a tool measured, as rows of a table of ours.

    Parameters
    ----------
    path
        ``aseg.stats``, ``samseg.stats`` or ``synthseg.vol.csv``.

    Raises
    ------
    ValueError
        If the file is none of these, with the fault.
    """
    if path.suffix == '.csv':
        return [*_rows_of_csv(path)]
    table = read_stats(path)
    try:
        rows = [
            _volume_row(row['StructName'], float(row['Volume_mm3']), int(row['SegId']))
            for row in table.rows
        ]
    except (KeyError, ValueError) as error:
        raise ValueError(f'{path} lacks a volume: {error}') from error
    return rows + [_volume_row(name, value) for name, value in table.measures.items()]


def _rows_of_csv(path: Path) -> Iterator[dict[str, Any]]:
    """Read the volumes of SynthSeg: one row, and a column for each structure."""
    with path.open(encoding='utf-8', newline='') as file:
        rows = [*csv.DictReader(file)]
    if len(rows) != 1:
        raise ValueError(f'{path} has {len(rows)} rows; SynthSeg writes one')
    for name, value in rows[0].items():
        try:
            yield _volume_row(name.strip().replace(' ', '-'), float(value))
        except (ValueError, TypeError):
            if name and name.strip() != 'subject':
                raise ValueError(f'{path}: {name} is {value!r}, no volume') from None


def _volume_row(name: str, volume: float, index: int | None = None) -> dict[str, Any]:
    known = INDEX.get(name.lower()) if index is None else index
    return {'index': known, 'name': name, 'volume_mm3': volume}


def cortex_rows(path: Path) -> list[dict[str, Any]]:
    """Read what was measured of each area of a hemisphere, ``?h.aparc.stats``.

    Raises
    ------
    ValueError
        If the table lacks a column, or breaks off.
    """
    table = read_stats(path)
    try:
        return [
            {'name': row['StructName']}
            | {
                ours: int(row[theirs]) if theirs == 'NumVert' else f'{float(row[theirs]):.3f}'
                for theirs, ours in COLUMNS.items()
            }
            for row in table.rows
        ]
    except (KeyError, ValueError) as error:
        raise ValueError(f'{path} lacks a measure of the cortex: {error}') from error
