"""Scans of a head whose truth is known: contrasts painted from labels, and thick slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from bids_synthsr.imaging.forward_model import PROFILES, acquire
from bids_synthsr.imaging.geometry import rigid, with_slices
from bids_synthsr.imaging.intensity import bright_intensity
from bids_synthsr.synthesis.artefacts import add_rician_noise
from bids_synthsr.synthesis.contrast import (
    draw_contrast,
    draw_intensities,
    expected_intensities,
    paint,
    paint_statistics,
    t1w_means,
)
from bids_synthsr.synthesis.fields import draw_uniform
from bids_synthsr.synthesis.labels import LabelTable, look_up
from bids_synthsr.synthesis.priors import ContrastPrior
from bids_synthsr.synthesis.scanning import blur
from bids_synthsr.synthesis.worlds import FLAIR, PD_SPIN_ECHO, RANDOM, T1_INVERSION, T2_SPIN_ECHO
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation

CONTRASTS: dict[str, ContrastPrior] = {
    'T1w': T1_INVERSION,
    'T2w': T2_SPIN_ECHO,
    'PDw': PD_SPIN_ECHO,
    'FLAIR': FLAIR,
    'random': RANDOM,  # every tissue as bright as chance wants it: no contrast that there is
}
MOTION_DEG, MOTION_MM = 6.0, 6.0  # between scans, about and along each axis, at most
TRUTH_BLUR_SD = 0.5  # mm, of a painted T1w (Iglesias et al. 2021, 2.4)


@dataclass(frozen=True)
class ScanProtocol:
    """How the scans of a head are acquired.

    Parameters
    ----------
    slices
        Acquisition of the first scan; that of the others has other axes.
    profile
        Profile of the slices, one of `PROFILES`.
    noise_percent
        Standard deviation of the noise in percent of bright tissue, for each of the two parts of
        which magnitude images are made (Rician); 0 adds none.
    """

    slices: Acquisition
    profile: str = PROFILES[0]
    noise_percent: float = 0.0


def paint_contrast(
    labels: np.ndarray,
    contrast: str,
    table: LabelTable,
    generator: torch.Generator,
    *,
    is_noisy: bool = True,
) -> np.ndarray:
    """Paint a contrast at full resolution, float32 ``(I, J, K)``.

    Parameters
    ----------
    labels
        ``(I, J, K)`` label values.
    contrast
        One of the names in `CONTRASTS`.
    table
        Classes and tissues of all label values.
    generator
        Source of the random numbers; in the same state it gives the same contrast.
    is_noisy
        Whether the noise of the contrast is painted, too.
    """
    values = torch.from_numpy(labels.astype(np.int64))
    prior = replace(CONTRASTS[contrast], texture=(0.3, 0.3))
    draw = draw_contrast(prior, table.classes, False, generator)
    statistics = paint_statistics(values, draw, table)
    return (draw_intensities if is_noisy else expected_intensities)(statistics, draw).numpy()


def paint_truth(labels: np.ndarray, table: LabelTable) -> np.ndarray:
    """Paint the T1w that the exam network aims for, white matter 1."""
    values = torch.from_numpy(labels.astype(np.int64))
    return blur(paint(values, t1w_means(table.classes), table), TRUTH_BLUR_SD).numpy()


def draw_head_motion(generator: torch.Generator, center: np.ndarray) -> np.ndarray:
    """Draw by how much a head moved from one scan to the next, ``(4, 4)`` RAS+ mm."""
    angles = [draw_uniform((-MOTION_DEG, MOTION_DEG), generator) for _ in range(3)]
    shift = [draw_uniform((-MOTION_MM, MOTION_MM), generator) for _ in range(3)]
    return rigid(np.radians(angles), np.array(shift), center)


def simulate_exam(
    head: np.ndarray,
    grid: Grid,
    contrasts: Sequence[str],
    protocol: ScanProtocol,
    generator: torch.Generator,
    painted: tuple[np.ndarray, LabelTable] | None = None,
    is_t1w_painted: bool = False,
) -> Iterator[Observation]:
    """Acquire thick slices of a head: the T1w as it is, other contrasts painted from its labels.

    The first scan lies still. Before each other one the head moves, and the slices take the next
    direction.

    Parameters
    ----------
    head, grid
        T1w of 1 mm, ``(I, J, K)`` in RAS order, and where it lies.
    contrasts
        What each scan shows: ``T1w`` or another one of `CONTRASTS`.
    protocol
        Slices, profile and noise of the scans.
    generator
        Source of the random numbers for contrasts and motion; noise follows its first seed.
    painted
        Labels on the same grid, from which contrasts are painted, and their table.
    is_t1w_painted
        Whether T1w scans are painted, too.

    Yields
    ------
    scan
        One scan of the exam and the transform that undoes the motion before it.
    """
    for number, contrast in enumerate(contrasts):
        fine = head
        if contrast != 'T1w' or is_t1w_painted:
            if painted is None:
                raise ValueError(f'A {contrast} scan is painted from labels: there are none')
            fine = paint_contrast(painted[0], contrast, painted[1], generator)
        slices = protocol.slices
        turned = replace(slices, slice_axis=(slices.slice_axis - number) % 3)
        scan2ref = draw_head_motion(generator, grid.center) if number else np.eye(4)
        scan_grid = with_slices(grid, turned.slice_axis, slices.slice_spacing)
        ref2scan = np.linalg.inv(scan2ref)
        clean = acquire(fine, grid, scan_grid, turned, ref2scan, protocol.profile)
        scan = _add_noise(clean, protocol.noise_percent, generator.initial_seed() + number)
        yield Observation(contrast, scan, scan_grid, turned, scan2ref)


def _add_noise(scan: np.ndarray, percent: float, seed: int) -> np.ndarray:
    """Add Rician noise in percent of bright tissue; the same seed gives the same noise."""
    if percent == 0:
        return scan
    sd = torch.tensor(percent / 100 * bright_intensity(scan))
    return add_rician_noise(torch.from_numpy(scan), sd, seed).numpy()


def as_targets(labels: np.ndarray, table: LabelTable) -> np.ndarray:
    """Call every label by the class that stands for it in segmentations: int16."""
    targets = torch.tensor(table.targets, dtype=torch.int16)
    return targets[look_up(table.target_of, torch.from_numpy(labels.astype(np.int64)))].numpy()
