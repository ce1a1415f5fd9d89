"""Table and page of an evaluation of morphometry: what was found of known changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bids_synthsr.dataset.files import write_text
from bids_synthsr.derivatives.tables import MISSING, table_text
from bids_synthsr.evaluation.shape_cases import TRUTH
from bids_synthsr.evaluation.shape_changes import false_positive_bound
from bids_synthsr.evaluation.shape_findings import Findings
from bids_synthsr.reports.embedding import jpeg_of_file
from bids_synthsr.reports.pages import Picture, write_page


@dataclass(frozen=True)
class ShapesSetting:
    """What an evaluation of morphometry was about, for its page.

    Parameters
    ----------
    unchanged, changed
        Number of heads of both groups.
    factors
        By which the volume of each structure changes.
    slices
        Plane, spacing and thickness (mm) of the slices that methods got.
    permutations
        Number of permutations by which it was tested.
    fwhm_mm
        Width at half of its height of the Gaussian that smoothed the maps, mm.
    """

    unchanged: int
    changed: int
    factors: Mapping[str, float]
    slices: tuple[str, float, float]
    permutations: int
    fwhm_mm: float


def write_shapes_table(findings: Sequence[Findings], path: Path) -> Path:
    """Write a row for each method and structure.

    Parameters
    ----------
    findings
        What was found by each method.
    path
        TSV file to be written.
    """
    return write_text(path, table_text([*_rows(findings)]))


def _rows(findings: Sequence[Findings]) -> Iterator[dict[str, Any]]:
    for one in findings:
        for found in one.structures:
            yield {
                'method': one.method,
                'structure': found.structure,
                'ln_growth_true': _number(found.true, 4),
                'ln_growth_found': _number(found.found, 4),
                'standard_error': _number(found.error, 4),
                'ln_growth_between': _number(found.between, 4),
                'percent_found': _number(found.percent, 1),
                'sure_percent': _number(found.sure_percent, 1),
                'g': _number(found.g, 3),
                'elsewhere_ml': _number(one.elsewhere_ml, 2),
                'correlation': _number(one.correlation, 4),
                'splits': one.splits,
                'positive_splits': one.positive_splits,
            }


def _number(value: float | None, decimals: int) -> str:
    """Write a number; what could not be measured is ``n/a``."""
    return MISSING if value is None or not np.isfinite(value) else f'{value:.{decimals}f}'


def write_shapes_page(
    findings: Sequence[Findings], setting: ShapesSetting, failures: Sequence[str], path: Path
) -> Path:
    """Write the page: one file that needs no other.

    Parameters
    ----------
    findings
        What was found by each method.
    setting
        What the evaluation was about.
    failures
        Sentences, one for each step that failed.
    path
        HTML file to be written.
    """
    pictures = [
        Picture(
            jpeg_of_file(one.picture),
            f'Axial slices of the mean brain by {one.method}, with what has changed in colour',
            f'{"The heads of 1 mm" if one.method == TRUTH else one.method}',
            f'Red has grown, blue has shrunk; maps: {one.maps}',
        )
        for one in findings
        if one.picture.is_file()
    ]
    return write_page(
        'shapes.html',
        path,
        findings=findings,
        truth=TRUTH,
        setting=setting,
        bound=false_positive_bound(max((one.splits for one in findings), default=0)),
        pictures=pictures,
        failures=failures,
    )
