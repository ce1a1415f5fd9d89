"""Contrast priors from scans and their segmentations (Iglesias et al. 2021, section 2.2.3)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from bids_synthsr.synthesis.labels import LabelTable
from bids_synthsr.synthesis.priors import ClassStatistics, ContrastPrior

MAD_TO_SD = 1.4826  # Leys et al. 2013
WIDENING = 5.0  # of both Gaussians, to see more contrasts in training than at inference
BRIGHT_PERCENTILE = 99.5  # becomes 255, since scanners have no common unit
MIN_VOXELS = 10  # of a class, to count in a scan


def estimate_contrast_prior(
    scans: Sequence[np.ndarray],
    segmentations: Sequence[np.ndarray],
    voxel_volumes: Sequence[float],
    table: LabelTable,
    widening: float = WIDENING,
) -> ContrastPrior:
    """Fit Gaussians to the median and the robust sd of every class across scans.

    The variance of a scan within classes is multiplied by its voxel volume, so that averaging
    1 mm voxels to its resolution gives it back. A class that no segmentation shows may be as
    bright as any other; air is 0.

    Parameters
    ----------
    scans
        ``(I, J, K)`` each, in any unit; a scan is scaled by its bright end.
    segmentations
        Labels on the grids of the scans.
    voxel_volumes
        Of the scans, mm³.
    widening
        Factor of the sds across scans.

    Raises
    ------
    ValueError
        For fewer than two scans, lists of different length, grids that differ, values that are
        not finite, and labels that the table does not cover.
    """
    if len(scans) < 2 or not len(scans) == len(segmentations) == len(voxel_volumes):
        raise ValueError(
            f'Priors need two or more scans, each with segmentation and voxel volume; got '
            f'{len(scans)}, {len(segmentations)} and {len(voxel_volumes)}'
        )
    found = np.stack(
        [
            class_statistics(scan, labels, volume, table, f'Scan {number}')
            for number, (scan, labels, volume) in enumerate(
                zip(scans, segmentations, voxel_volumes, strict=True), 1
            )
        ]
    )
    return ContrastPrior(kind='gaussian', statistics=_gaussians(found, table, widening))


def _gaussians(
    found: np.ndarray, table: LabelTable, widening: float
) -> tuple[ClassStatistics, ...]:
    """Fit Gaussians to median and sd of each class across scans: ``found (scans, classes, 2)``."""
    is_seen = ~np.isnan(found).all(axis=(0, 2))
    mean = np.nanmean(found[:, is_seen], axis=0)
    across = dict(zip(np.flatnonzero(is_seen), np.nanstd(found[:, is_seen], axis=0), strict=True))
    within = dict(zip(np.flatnonzero(is_seen), mean, strict=True))
    entries = []
    for index, name in enumerate(table.classes):
        level, level_sd = mean.mean(axis=0), mean.std(axis=0)
        if index in within:
            level, level_sd = within[index], widening * across[index]
        if name == 'air':
            level = level_sd = np.zeros(2)
        numbers = (level[0], level_sd[0], level[1], level_sd[1])
        entries.append(ClassStatistics(name, *(float(number) for number in numbers)))
    return tuple(entries)


def class_statistics(
    scan: np.ndarray, labels: np.ndarray, voxel_volume: float, table: LabelTable, name: str
) -> np.ndarray:
    """Median and robust sd of every generation class of one scan.

    Returns
    -------
    statistics
        ``(classes, 2)``, the bright end of the scan being 255; NaN for a class of few voxels.
    """
    if scan.shape != labels.shape:
        raise ValueError(
            f'{name} has shape {scan.shape}, its segmentation {labels.shape}: bring the '
            'segmentation to the grid of the scan'
        )
    if not np.isfinite(scan).all():
        raise ValueError(f'{name} holds values that are not finite: set them to 0')
    bright = np.percentile(scan, BRIGHT_PERCENTILE)
    if bright <= 0:
        raise ValueError(f'{name} is dark: its {BRIGHT_PERCENTILE}th percentile is {bright:g}')
    table.check(torch.from_numpy(np.ascontiguousarray(labels)), name)
    classes = table.class_of.numpy()[labels.astype(int)]
    statistics = np.full((len(table.classes), 2), np.nan)
    for index in np.unique(classes):
        values = scan[classes == index] * (255 / bright)
        if len(values) >= MIN_VOXELS:
            median = np.median(values)
            robust_sd = MAD_TO_SD * np.median(np.abs(values - median))
            statistics[index] = median, robust_sd * math.sqrt(max(voxel_volume, 1))
    return statistics
