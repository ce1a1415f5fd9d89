"""The page of a group: every measure of every exam, the worst first, and differences of groups."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_synthsr.dataset.participants import list_columns
from bids_synthsr.derivatives.group import (
    DESCRIPTIONS,
    ESTIMATES,
    INTRACRANIAL,
    GroupRow,
    structure_names,
)
from bids_synthsr.derivatives.group_design import OWN_COLUMNS, Columns, GroupDesign, GroupRequest
from bids_synthsr.derivatives.group_statistics import StructureEffect
from bids_synthsr.morphometry.image_quality import MEASURES
from bids_synthsr.reports.pages import write_page
from bids_synthsr.reports.shape_pictures import ShapeReport

MOST_LEVELS = 12  # of a column by which points are parted
DIGITS = 4  # of a measure on the page
WIDEST_G = 1.0  # of the drawn axis, unless an interval reaches farther
FACTS = {'brain_percent': '%', 'head_percent': '%', 'least_overlap': '', 'finest_mm': 'mm'}
STATES = ('finished', 'failed', 'running', 'missing')


@dataclass(frozen=True)
class DrawnEffect:
    """A difference between groups as a line of the table.

    Parameters
    ----------
    structure
        Name and difference of the structure.
    percent
        The difference in percent of the first group.
    low, middle, high
        Where its g and the ends of its interval lie on the drawn axis, 0 to 100.
    """

    structure: StructureEffect
    percent: float | None
    low: float
    middle: float
    high: float


def write_group_page(
    rows: Sequence[GroupRow],
    columns: Columns,
    wanted: GroupRequest,
    comparison: tuple[GroupDesign | None, Sequence[StructureEffect]],
    shapes: ShapeReport | None,
    ratings: Mapping[str, Mapping[str, Any]],
    path: Path,
) -> Path:
    """Write the page of the group: one file that needs no other.

    Parameters
    ----------
    rows
        All exams of the output folder, those without outputs included.
    columns
        Where values of exams are looked up.
    wanted
        Which groups, covariates and scanners were requested.
    comparison
        Exams that were compared, and what came out; None and empty for no comparison.
    shapes
        What is shown of tensor-based morphometry; None for nothing.
    ratings
        What readers said of exams, by label.
    path
        HTML file to be written.
    """
    design, effects = comparison
    widest = max(
        [WIDEST_G, *(abs(end) for one in effects for end in one.effect.g_interval)], default=1.0
    )
    content = describe_group(rows, columns, wanted, ratings)
    return write_page(
        'group.html',
        path,
        script_names=('report.js', 'group.js'),
        exams=len(rows),
        counts={state: sum(row.state == state for row in rows) for state in STATES},
        data=_embedded(content),
        design=design,
        wanted=wanted,
        effects=[*_drawn(effects, widest)],
        widest=widest,
        shapes=shapes,
    )


def describe_group(
    rows: Sequence[GroupRow],
    columns: Columns,
    wanted: GroupRequest,
    ratings: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Gather what the page shows, in JSON types: a list of values for each measure.

    Parameters
    ----------
    rows
        All exams of the output folder, those without outputs included.
    columns
        Where values of exams are looked up.
    wanted
        Which groups, covariates and scanners were requested.
    ratings
        What readers said of exams, by label.
    """
    measures: dict[str, list[float | None]] = {}
    for name in (*ESTIMATES, *MEASURES):
        measures[name] = [_short(row.quality.get(name)) for row in rows]
    for name in FACTS:
        measures[name] = [_short(row.facts.get(name)) for row in rows]
    volumes = structure_names(rows)
    for name in volumes:
        ml = (row.volumes.get(name) for row in rows)
        measures[name] = [_short(value / 1000 if value is not None else None) for value in ml]
    return {
        'exams': [row.exam for row in rows],
        'states': [row.state for row in rows],
        'reasons': [row.reason for row in rows],
        'pages': [row.page for row in rows],
        'methods': [str(row.facts.get('method', '')) for row in rows],
        'measures': {name: values for name, values in measures.items() if any(values)},
        'units': {**FACTS, **dict.fromkeys(volumes, 'ml')},
        'about': {**ESTIMATES, **MEASURES, **{name: DESCRIPTIONS[name] for name in FACTS}},
        'volumes': volumes,
        'intracranial': INTRACRANIAL,
        'columns': dict(_parting(rows, columns, wanted)),
        'first': wanted.column,
        'ratings': {exam: dict(one) for exam, one in ratings.items()},
    }


def _parting(
    rows: Sequence[GroupRow], columns: Columns, wanted: GroupRequest
) -> Iterator[tuple[str, list[str]]]:
    """Find the columns by which the points can be parted: few words, and not the same for all."""
    asked = (wanted.column, wanted.scanner_column)
    names = dict.fromkeys([*asked, *OWN_COLUMNS, *list_columns(columns.people)])
    for name in filter(None, names):
        values = [columns.value(row, name) for row in rows]
        levels = {value for value in values if value}
        if name in asked or 1 < len(levels) <= MOST_LEVELS:
            yield name, values


def _embedded(content: Mapping[str, Any]) -> str:
    """Write JSON that can stand in a page: no text of it can end its element."""
    text = json.dumps(content, separators=(',', ':'), ensure_ascii=False)
    return text.replace('<', '\\u003c')


def _short(value: Any) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(f'{float(value):.{DIGITS}g}')


def _drawn(effects: Sequence[StructureEffect], widest: float) -> Iterator[DrawnEffect]:
    """Place differences on an axis from ``-widest`` to ``widest``, the surest first."""
    for one in sorted(effects, key=lambda one: one.effect.p):
        effect = one.effect
        ends = (effect.g_interval[0], effect.g, effect.g_interval[1])
        low, middle, high = (50 + 50 * value / widest for value in ends)
        first = effect.means[0]
        percent = 100 * effect.difference / first if first else None
        yield DrawnEffect(one, percent, low, middle, high)
