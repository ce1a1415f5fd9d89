"""Where the borders of structures lie in a T1w, against where they lie in the true one.

A T1w made of thick slices may show a structure too large without a fault in any one voxel. Its
intensity as a function of the distance from the true border tells: a profile that is shifted
outwards belongs to a structure that looks larger, and a wider one to a border that is blurred.
Only the border to white matter counts, where both sides have one intensity each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter1d

from bids_synthsr.imaging.geometry import bounding_box
from bids_synthsr.morphometry.volumes import MAIN

# structures that have a border to white matter, and label values of that
WHITE_MATTER = {
    **dict.fromkeys(
        ('hippocampus', 'ventricles', 'cortex', 'thalamus', 'caudate', 'putamen', 'pallidum',
         'amygdala'),
        (2, 41),
    ),
    'cerebellum-cortex': (7, 46),
}  # fmt: skip
REACH_MM, BIN_MM = 4.0, 0.5  # of the profile to each side of the border
LEAST_VOXELS = 30  # in a bin
LEAST_CONTRAST = 0.05  # of the range of the truth: a fainter border cannot be placed
SHIFTS_MM = np.arange(-2, 2.001, 0.05)
BLURS_MM = np.arange(0, 3.001, 0.25)  # sd


@dataclass(frozen=True)
class Border:
    """How the border of a structure in a volume differs from that in the truth.

    Parameters
    ----------
    shift_mm
        How far outwards it lies, mm; below 0 inwards.
    blur_mm
        Standard deviation of the Gaussian that blurs it further than the truth, mm.
    """

    shift_mm: float
    blur_mm: float


def measure_borders(
    volume: np.ndarray, truth: np.ndarray, labels: np.ndarray, spacing: np.ndarray
) -> dict[str, Border]:
    """Measure where the borders of the main structures lie in a volume.

    Parameters
    ----------
    volume, truth
        ``(I, J, K)`` intensities of the volume, in units of its own, and of the true T1w.
    labels
        ``(I, J, K)`` true label values.
    spacing
        Distance of the voxels along each axis, mm.

    Returns
    -------
    borders
        By name of the structure; without those that are not there, or faint in the truth.
    """
    known = labels > 0
    if not known.any():
        return {}
    full_range = float(np.ptp(np.percentile(truth[known], (1, 99))))
    measured = {}
    for name, white_matter in WHITE_MATTER.items():
        mask = np.isin(labels, MAIN[name])
        if not mask.any():
            continue
        box = bounding_box(mask, int(REACH_MM / spacing.min()) + 2)
        profile = _Profile.between(mask[box], np.isin(labels[box], white_matter), spacing)
        border = profile.compare(volume[box], truth[box], LEAST_CONTRAST * full_range)
        if border is not None:
            measured[name] = border
    return measured


@dataclass(frozen=True, eq=False)
class _Profile:
    """The voxels near the border of a structure, by their distance from it.

    Parameters
    ----------
    near
        Which voxels they are, ``(I, J, K)`` bool.
    bins
        Number of the bin of each of these V voxels, ``(V,)``.
    at_mm, counts
        Distance of each of B bins, below 0 within the structure, and its voxels, ``(B,)``.
    """

    near: np.ndarray
    bins: np.ndarray
    at_mm: np.ndarray
    counts: np.ndarray

    @classmethod
    def between(cls, mask: np.ndarray, other: np.ndarray, spacing: np.ndarray) -> _Profile:
        """Sort the voxels of two masks ``(I, J, K)`` that have nothing else nearer."""
        half = spacing.mean() / 2  # from the middle of a voxel to its border
        to_mask, out_of_mask, to_other, out_of_other = (
            distance_transform_edt(~x, spacing) - half for x in (mask, ~mask, other, ~other)
        )
        distance = np.where(mask, -out_of_mask, out_of_other)
        is_nearest = np.where(mask, to_other <= out_of_mask, other & (to_mask <= out_of_other))
        near = is_nearest & (np.abs(distance) < REACH_MM)
        count = round(2 * REACH_MM / BIN_MM)
        bins = ((distance[near] + REACH_MM) / BIN_MM).astype(np.intp)
        at_mm = (np.arange(count) + 0.5) * BIN_MM - REACH_MM
        return cls(near, bins, at_mm, np.bincount(bins, minlength=count))

    def mean(self, volume: np.ndarray) -> np.ndarray:
        """Average a volume ``(I, J, K)`` over each bin, ``(B,)``."""
        sums = np.bincount(self.bins, volume[self.near], minlength=len(self.counts))
        return sums / np.maximum(self.counts, 1)

    def compare(
        self, volume: np.ndarray, truth: np.ndarray, least_contrast: float
    ) -> Border | None:
        """Find the shift and blur of the true profile that fit a volume; None for a faint one."""
        is_filled = self.counts >= LEAST_VOXELS
        at_mm, weights = self.at_mm[is_filled], self.counts[is_filled]
        true, shown = self.mean(truth)[is_filled], self.mean(volume)[is_filled]
        if len(true) < 2 or np.ptp(true) < least_contrast:
            return None
        fits = [
            (_misfit(model, shown, weights), shift, blur)
            for shift, blur, model in _variants(at_mm, true)
        ]
        misfit, shift, blur = min(fits)
        if not np.isfinite(misfit):
            return None
        return Border(float(shift), float(blur))


def _variants(at_mm: np.ndarray, true: np.ndarray) -> Iterator[tuple[float, float, np.ndarray]]:
    """Shift and blur a profile ``(B,)``: shift and blur in mm, and what becomes of it."""
    step_mm = 0.1
    fine = np.arange(at_mm[0] - 4, at_mm[-1] + 4, step_mm)
    values = np.interp(fine, at_mm, true)
    for blur in BLURS_MM:
        blurred = gaussian_filter1d(values, blur / step_mm, mode='nearest') if blur else values
        for shift in SHIFTS_MM:
            yield shift, blur, np.interp(at_mm - shift, fine, blurred)


def _misfit(model: np.ndarray, shown: np.ndarray, weights: np.ndarray) -> float:
    """Sum the squares that a rising line from model to profile leaves; inf for a falling one."""
    centred = model - np.average(model, weights=weights)
    rest = shown - np.average(shown, weights=weights)
    spread = float((weights * centred**2).sum())
    slope = float((weights * centred * rest).sum()) / spread if spread > 0 else 0.0
    if slope <= 0:
        return np.inf
    return float((weights * (rest - slope * centred) ** 2).sum())
