"""Whether a rigid alignment can be trusted: how sharply the similarity peaks at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from bids_synthsr.imaging.geometry import (
    apply_affine,
    displacement,
    rigid,
    rotation_angle_deg,
    with_spacing,
)
from bids_synthsr.imaging.head import brightest_object
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.imaging.similarity import joint_histogram, normalized_mutual_information
from bids_synthsr.values.grid import Grid

BRIGHTEST = 0.5  # percent of the voxels that are clipped: vessels and fat set no scale
SAMPLING_MM = 2.0
POINTS = 40_000  # of the head: more change the similarity by less than 1 %
BINS = 32
STEP, STEP_DEG = 6.0, 6.0  # mm and degrees by which an alignment is moved to see it get worse
# On simulated pairs (lab/registration.py) the similarity at the truth was 1.35 to 1.76
# times the best of its neighbours, at most 0.83 times where the scan was 8 mm off, and at most
# 0.99 times at the optima to which starts 60 to 180 degrees off had led, all of them wrong.
GOOD_PEAK = 1.1
MIN_OVERLAP = 0.25  # of the head of the reference: less leaves too little to compare

Status = Literal['good', 'failed']


@dataclass(frozen=True)
class Fit:
    """How well a scan fits the reference.

    Parameters
    ----------
    status
        Whether the alignment can be used, ``good`` or ``failed``.
    reason
        Sentence that says why.
    similarity_before, similarity_after
        Normalised mutual information in the head, 0 for none, where the headers put the scan and
        after the alignment.
    peak
        Similarity over the best of those a step away; 1 or less is no optimum.
    overlap
        Share of the reference's head that lies in the field of view of the scan.
    displacement
        Distance by which the alignment moves the head on average, mm.
    rotation_deg
        Angle by which the alignment turns the head, degrees.
    is_given
        Whether the transform was given, and not found.
    """

    status: Status
    reason: str
    similarity_before: float
    similarity_after: float
    peak: float
    overlap: float
    displacement: float
    rotation_deg: float
    is_given: bool = False


class Comparison:
    """A reference and a scan, prepared so that alignments of them can be compared quickly.

    Parameters
    ----------
    reference, reference_grid
        Voxels ``(I, J, K)`` of the scan that stays, and where they lie.
    scan, scan_grid
        Voxels ``(I, J, K)`` of the scan that is to be aligned, and where they lie.
    """

    def __init__(
        self, reference: np.ndarray, reference_grid: Grid, scan: np.ndarray, scan_grid: Grid
    ) -> None:
        fixed, fixed_grid = sampled(reference, reference_grid, SAMPLING_MM)
        inside = np.argwhere(_head(fixed))
        inside = inside[:: max(1, len(inside) // POINTS)]
        self.points = apply_affine(fixed_grid.vox2ras, inside)
        self._values = _binned(fixed)[tuple(inside.T)]
        moving, self._grid = sampled(scan, scan_grid, SAMPLING_MM)
        self._moving = _binned(moving)

    def similarity(self, scan2ref: np.ndarray) -> tuple[float, float]:
        """Normalised mutual information in the head, and the share of the head that is seen."""
        index = apply_affine(np.linalg.inv(scan2ref @ self._grid.vox2ras), self.points)
        seen = ((index > -0.5) & (index < np.array(self._grid.shape) - 0.5)).all(axis=1)
        values = ndimage.map_coordinates(self._moving, index[seen].T, order=1, mode='nearest')
        counts = joint_histogram(self._values[seen], values, BINS)
        return normalized_mutual_information(counts), float(seen.mean())

    def judge(self, scan2ref: np.ndarray) -> Fit:
        """Judge an alignment: a good one is a sharp optimum of the similarity."""
        after, overlap = self.similarity(scan2ref)
        beside = max(self.similarity(step @ scan2ref)[0] for step in self._steps())
        peak = after / max(beside, np.finfo(float).tiny)
        status, reason = _verdict(peak, overlap)
        identity = np.eye(4)
        return Fit(
            status,
            reason,
            self.similarity(identity)[0],
            after,
            float(peak),
            overlap,
            float(displacement(np.linalg.inv(scan2ref), identity, self.points).mean()),
            rotation_angle_deg(scan2ref),
        )

    def _steps(self) -> list[np.ndarray]:
        """Rigid transforms that shift or turn the head by a step along or about each axis."""
        center, still = self.points.mean(axis=0), np.zeros(3)
        units = np.vstack([np.eye(3), -np.eye(3)])
        shifts = [rigid(still, STEP * unit) for unit in units]
        return shifts + [rigid(np.radians(STEP_DEG) * unit, still, center) for unit in units]


def sampled(voxels: np.ndarray, grid: Grid, spacing_mm: float) -> tuple[np.ndarray, Grid]:
    """Clip the brightest voxels and sample a scan with isotropic voxels."""
    isotropic = with_spacing(grid, spacing_mm)
    return resample(clipped(voxels), grid, isotropic), isotropic


def clipped(voxels: np.ndarray) -> np.ndarray:
    """Limit intensities to 0 and the value that all but the brightest voxels stay below."""
    return np.clip(voxels, 0, np.percentile(voxels, 100 - BRIGHTEST))


def _head(voxels: np.ndarray) -> np.ndarray:
    """Mark the head, its holes and a rim of 2 voxels, ``(I, J, K)`` bool; all if it is dark."""
    head = brightest_object(voxels)
    if not head.any():
        return np.ones(voxels.shape, bool)
    return ndimage.binary_fill_holes(ndimage.binary_dilation(head, iterations=2))


def _binned(voxels: np.ndarray) -> np.ndarray:
    """Scale intensities to the bins of a histogram."""
    return voxels * ((BINS - 1) / max(float(voxels.max()), np.finfo(float).tiny))


def _verdict(peak: float, overlap: float) -> tuple[Status, str]:
    """Judge an alignment by its peak and its overlap."""
    if overlap < MIN_OVERLAP:
        return 'failed', (
            f'It could not be aligned: it shows {overlap:.0%} of the head in the reference, and '
            f'{MIN_OVERLAP:.0%} are needed.'
        )
    if peak < GOOD_PEAK:
        return 'failed', (
            'It could not be aligned: no position fits clearly better than those around it '
            f'(peak {peak:.2f}, at least {GOOD_PEAK} is needed). Check that both scans show the '
            'same head.'
        )
    return 'good', 'It fits: the similarity has a sharp peak here.'
