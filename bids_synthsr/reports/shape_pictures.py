"""What the page of a group shows of tensor-based morphometry: maps, clusters, and their limits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_synthsr.dataset.images import load_volume
from bids_synthsr.derivatives.morphometry import LEVEL, read_tbm
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.tables import read_table
from bids_synthsr.reports import embedding, figures
from bids_synthsr.reports.pages import Picture
from bids_synthsr.reports.screen import PLANES

POWER_Z = 1.96 + 0.84  # of a two-sided test at .05 that finds four of five
MOST_CLUSTERS = 20


@dataclass(frozen=True)
class ShapeReport:
    """What is shown of the last morphometry.

    Parameters
    ----------
    levels
        Names of the first and of the second group.
    counts
        Number of exams of each group.
    covariates
        Names of what was held fixed.
    permutations
        Number of permutations by which it is tested.
    fwhm_mm
        Width at half of its height of the Gaussian that smoothed the maps, mm.
    template
        Space where all brains were brought to begin with, and where peaks are told.
    least_g
        Smallest g that a test of a single voxel would find four times out of five.
    pictures
        Slices of the atlas with the differences over them.
    clusters
        Rows of the table of clusters, the largest t first.
    more
        Number of clusters that are not among them.
    is_fresh
        Whether the maps are those of this run, and not of an earlier one.
    """

    levels: tuple[str, str]
    counts: tuple[int, int]
    covariates: Sequence[str]
    permutations: int
    fwhm_mm: float
    template: str
    least_g: float
    pictures: Sequence[Picture]
    clusters: Sequence[dict[str, str]]
    more: int
    is_fresh: bool


def report_shapes(derivatives: Derivatives, is_fresh: bool) -> ShapeReport | None:
    """Gather what is shown of the last morphometry; None where there is none.

    Parameters
    ----------
    derivatives
        Where the outputs lie.
    is_fresh
        Whether the maps are those of this run, and not of an earlier one.
    """
    record = read_tbm(derivatives)
    if record is None:
        return None
    settings = record.fingerprint['settings']
    second = sum(settings['is_second'])
    first = len(settings['is_second']) - second
    rows = read_table(derivatives.group_clusters) if derivatives.group_clusters.is_file() else []
    one, two = settings['levels']
    return ShapeReport(
        (one, two),
        (first, second),
        [*settings['covariates']],
        settings['permutations'],
        settings['fwhm_mm'],
        settings['template'],
        POWER_Z * math.sqrt(1 / first + 1 / second),
        [*_pictures(derivatives.group_tbm, two)],
        rows[:MOST_CLUSTERS],
        max(len(rows) - MOST_CLUSTERS, 0),
        is_fresh,
    )


def _pictures(folder: Path, second: str) -> Iterator[Picture]:
    """Draw the atlas with the differences over it, in three planes."""
    atlas, grid = load_volume(folder / 'space-atlas_desc-mean_T1w.nii.gz')
    g, p = (
        load_volume(folder / f'space-atlas_stat-{name}_statmap.nii.gz')[0]
        for name in ('g', 'pcluster')
    )
    for axis in (2, 1, 0):
        drawn = figures.effect_slices(atlas, g, p < LEVEL, grid, axis)
        title = f'{PLANES[axis].capitalize()}: red is larger in {second}, blue smaller'
        yield Picture(embedding.jpeg(drawn), f'{title}.', title)
