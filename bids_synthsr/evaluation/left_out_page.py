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
        Name of the method.
    count
        Number of scans, each as often as it was explained from other scans.
    correlation, least, l1, nmi
        Medians of the measures, and the least correlation.
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
    """Average over scans and exams, by contrast, T1w first, and method."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in sorted(results, key=is_no_t1w):
        groups.setdefault((contrast_of(result), result.method), []).append(result)
    return [
        Agreement(
            contrast,
            method,
            len(group),
            median(result.measures['correlation'] for result in group),
            min(result.measures['correlation'] for result in group),
            median(result.measures['l1'] for result in group),
            median(result.measures['nmi'] for result in group),
            median(brains) if (brains := list_brains(group)) else None,
        )
        for (contrast, method), group in groups.items()
    ]


def list_brains(results: Sequence[Result]) -> list[float]:
    """List the correlations in the brain, of those results that have one."""
    in_brain = [result.structures.get('brain', {}) for result in results]
    return [measures['correlation'] for measures in in_brain if measures]


def contrast_of(result: Result) -> str:
    """BIDS suffix of the scan that was left out."""
    return result.left_out.rpartition('_')[2]


def is_no_t1w(result: Result) -> bool:
    """Whether the scan that was left out is no T1w: those come last."""
    return contrast_of(result) != 'T1w'


def write_left_out_page(results: Sequence[Result], failures: Sequence[str], path: Path) -> Path:
    """Write the page of an evaluation on real exams: one file that needs no other.

    Parameters
    ----------
    results
        Results of all comparisons.
    failures
        Sentences, one for each step that failed.
    path
        HTML file to be written.
    """
    pictures = [
        Picture(
            jpeg_of_file(result.picture),
            f'Slices of {result.left_out} and, below, what {result.method} shows of them',
            f'{exam_of(result)}, {result.left_out}: {result.method}',
            f'Above the scan, below what {result.method} made of {result.contrasts}, acquired '
            f'again in the same slices: correlation {result.measures["correlation"]:.3f}.',
        )
        for result in sorted(results, key=is_no_t1w)
        if result.picture.is_file()
    ]
    return write_page(
        'left-out.html',
        path,
        summaries=summarise_agreement(results),
        results=[(exam_of(result), result) for result in results],
        exams=len({exam_of(result) for result in results}),
        pictures=pictures[:PICTURES],
        failures=failures,
    )


def exam_of(result: Result) -> str:
    """Label of the exam."""
    return f'sub-{result.subject}' + (f'_ses-{result.session}' if result.session else '')
