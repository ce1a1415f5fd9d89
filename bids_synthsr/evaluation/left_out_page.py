"""The page of an evaluation on real exams: how well methods explain scans that were left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bids_synthsr.evaluation.results import Result
from bids_synthsr.reports.embedding import jpeg_of_file
from bids_synthsr.reports.pages import Picture, write_page

PICTURES = 12  # on the page


@dataclass(frozen=True)
class Agreement:
    """How well one method explains the scans of one contrast.

    Parameters
    ----------
    contrast
        BIDS suffix of the scans that were left out.
    method
        Its name.
    count
        Scans, each as often as it was explained from other scans.
    correlation, least, l1, nmi
        Medians, and the least correlation.
    brain
        Median correlation in the brain alone; None where no method found it.
    """

    contrast: str
    method: str
    count: int
    correlation: float
    least: float
    l1: float
    nmi: float
    brain: float | None


def summarise_agreement(results: Sequence[Result]) -> list[Agreement]:
    """Sum up by contrast, T1w first, and method."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for found in sorted(results, key=lambda found: contrast_of(found) != 'T1w'):
        groups.setdefault((contrast_of(found), found.method), []).append(found)
    return [
        Agreement(
            contrast,
            method,
            len(group),
            median(found.measures['correlation'] for found in group),
            min(found.measures['correlation'] for found in group),
            median(found.measures['l1'] for found in group),
            median(found.measures['nmi'] for found in group),
            median(brains) if (brains := list_brains(group)) else None,
        )
        for (contrast, method), group in groups.items()
    ]


def list_brains(results: Sequence[Result]) -> list[float]:
    """List the correlations in the brain, of those results that have one."""
    found = [result.structures.get('brain', {}) for result in results]
    return [measures['correlation'] for measures in found if measures]


def contrast_of(result: Result) -> str:
    """BIDS suffix of the scan that was left out."""
    return result.left_out.rpartition('_')[2]


def write_left_out(results: Sequence[Result], failures: Sequence[str], path: Path) -> Path:
    """Write the page: one file that needs no other."""
    by_interest = sorted(results, key=lambda found: contrast_of(found) != 'T1w')
    shown = [
        Picture(
            jpeg_of_file(found.picture),
            f'Slices of {found.left_out} and, below, what {found.method} says of them',
            f'{exam_of(found)}, {found.left_out}: {found.method}',
            f'Above the scan, below what {found.method} made of {found.contrasts}, acquired again '
            f'in the same slices: correlation {found.measures["correlation"]:.3f}.',
        )
        for found in by_interest
        if found.picture.is_file()
    ]
    return write_page(
        'left-out.html',
        path,
        summaries=summarise_agreement(results),
        results=[(exam_of(found), found) for found in results],
        exams=len({exam_of(found) for found in results}),
        pictures=shown[:PICTURES],
        failures=failures,
    )


def exam_of(result: Result) -> str:
    """Label of the exam."""
    return f'sub-{result.subject}' + (f'_ses-{result.session}' if result.session else '')
