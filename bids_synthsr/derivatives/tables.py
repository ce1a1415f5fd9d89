"""Tables of the output folder: rows to TSV and back, as BIDS wants them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_synthsr.values.structures import STRUCTURES

MISSING = 'n/a'  # in BIDS
# of a segmentation by tissue, as in fMRIPrep
TISSUE_ROWS = [
    {'index': 0, 'name': 'Background', 'abbreviation': 'BG', 'color': '#000000'},
    {'index': 1, 'name': 'Gray Matter', 'abbreviation': 'GM', 'color': '#cd3e4e'},
    {'index': 2, 'name': 'White Matter', 'abbreviation': 'WM', 'color': '#f5f5f5'},
    {'index': 3, 'name': 'Cerebrospinal Fluid', 'abbreviation': 'CSF', 'color': '#3c3c3c'},
]


def table_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows with the same columns as TSV; numbers that are no whole ones to one decimal."""
    lines = [[*rows[0]], *([_cell(value) for value in row.values()] for row in rows)]
    return '\n'.join(map('\t'.join, lines)) + '\n'


def _cell(value: Any) -> str:
    """Write a value without tabs and line breaks; nothing is ``n/a``."""
    if isinstance(value, float):
        return f'{value:.1f}'
    return MISSING if value is None else ' '.join(str(value).split()) or MISSING


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a table as text; what is not known is empty."""
    with path.open(encoding='utf-8', newline='') as file:
        rows = csv.DictReader(file, delimiter='\t', quoting=csv.QUOTE_NONE)
        return [
            {name: '' if value == MISSING else value for name, value in row.items()}
            for row in rows
        ]


def labels_text(indices: Iterable[int], desc: str) -> str:
    """Write the look-up table of a segmentation as BIDS wants it.

    Parameters
    ----------
    indices
        Label values of structures that it may hold.
    desc
        Its ``desc-`` label; empty for that by tissue, whose values are those of `TISSUES`.
    """
    if not desc:
        return table_text(TISSUE_ROWS)
    rows = [STRUCTURES[index] for index in sorted(indices)]
    return table_text([{'index': x.index, 'name': x.name, 'color': x.color} for x in rows])
