"""Contrast priors from scans and their segmentations (Iglesias et al. 2021, section 2.2.3)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from bids_synthsr.synthesis.labels import LabelTable
from bids_synthsr.synthesis.priors import ClassStatistics, ContrastPrior

MAD_TO_SD = 1.4826  # Leys et al. 2013
# factor of the sds of both Gaussians, so that training sees more contrasts than inference
WIDENING = 5.0
BRIGHT_PERCENTILE = 99.5  # becomes 255, because scanners have no common unit
MIN_VOXELS = 10  # a class of fewer voxels does not count in a scan


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
        Intensities of each scan, ``(I, J, K)`` in any unit. A scan is scaled by its bright end.
    segmentations
        Label values on the grids of the scans, ``(I, J, K)`` each.
    voxel_volumes
        Volume of a voxel of each scan, mm³.
    table
        Table of all labels that may occur.
    widening
        Factor by which standard deviations across scans are multiplied.

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
    statistics = np.stack(
        [
            class_statistics(scan, labels, volume, table, f'Scan {number}')
            for number, (scan, labels, volume) in enumerate(
                zip(scans, segmentations, voxel_volumes, strict=True), 1
            )
        ]
    )
    return ContrastPrior(kind='gaussian', statistics=_gaussians(statistics, table, widening))


def _gaussians(
    statistics: np.ndarray, table: LabelTable, widening: float
) -> tuple[ClassStatistics, ...]:
    """Fit Gaussians to median and sd of each class across scans, ``(scans, classes, 2)``."""
    is_seen = ~np.isnan(statistics).all(axis=(0, 2))
    mean = np.nanmean(statistics[:, is_seen], axis=0)
    sd = np.nanstd(statistics[:, is_seen], axis=0)
    across = dict(zip(np.flatnonzero(is_seen), sd, strict=True))
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
    """Compute median and robust sd of every generation class of one scan.

    Parameters
    ----------
    scan
        Intensities of the scan, ``(I, J, K)`` in any unit.
    labels
        Label values on the grid of the scan, ``(I, J, K)``.
    voxel_volume
        Volume of a voxel of the scan, mm³.
    table
        Table of all labels that may occur.
    name
        Name of the scan in messages.

    Returns
    -------
    statistics
        Median and sd in units in which the bright end of the scan is 255, ``(classes, 2)``. NaN
        for a class of few voxels.
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
