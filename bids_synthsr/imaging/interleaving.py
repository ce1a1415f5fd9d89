"""Slices that were excited in two passes, of which one came out brighter.

Where even slices are acquired first and odd ones between them, cross-talk and the history of the
spins leave the two halves of a scan with different gains. Interpolation shows that as stripes,
and whatever sharpens across the slices shows stronger ones (Brudfors et al., arXiv:1909.01140).
"""

from __future__ import annotations

import numpy as np

from bids_synthsr.imaging.noise import MAD_PER_SD

MIN_VOXELS = 500  # of tissue that a slice shares with both neighbours, for its median to count
MIN_SLICES = 10  # fewer show anatomy rather than a pattern
CERTAIN = 5.0  # standard errors; less may be anatomy


def balance_slices(
    voxels: np.ndarray, is_tissue: np.ndarray, slice_axis: int
) -> tuple[np.ndarray, float]:
    """Bring even and odd slices to the same brightness, where they certainly differ.

    Parameters
    ----------
    voxels, is_tissue
        ``(I, J, K)``: intensities, and which of them to compare.
    slice_axis
        Axis across the slices.

    Returns
    -------
    balanced
        ``(I, J, K)``.
    share
        By which even slices (0, 2, ...) were brighter than odd ones; 0 where that is uncertain.
    """
    share = interleaving(voxels, is_tissue, slice_axis)
    is_even = np.arange(voxels.shape[slice_axis]) % 2 == 0
    gain = np.where(is_even, 1 + share / 2, 1 - share / 2).astype(voxels.dtype)
    view = np.ones(3, int)
    view[slice_axis] = -1
    return voxels / gain.reshape(view), share


def interleaving(voxels: np.ndarray, is_tissue: np.ndarray, slice_axis: int) -> float:
    """Estimate the share by which even slices are brighter than odd ones; 0 if uncertain.

    Half the difference between the medians of the steps of even and odd slices, see `_steps`.
    """
    steps = _steps(np.moveaxis(voxels, slice_axis, 0), np.moveaxis(is_tissue, slice_axis, 0))
    is_even, counts = np.arange(len(steps)) % 2 == 0, np.isfinite(steps)
    if counts.sum() < MIN_SLICES:
        return 0.0
    share = (np.median(steps[is_even & counts]) - np.median(steps[~is_even & counts])) / 2
    rest = (steps - np.where(is_even, share, -share))[counts]
    sd = np.median(np.abs(rest - np.median(rest))) / MAD_PER_SD
    return float(share) if abs(share) > CERTAIN * sd / np.sqrt(len(rest)) else 0.0


def _steps(slices: np.ndarray, is_tissue: np.ndarray) -> np.ndarray:
    """Step of each slice above the mean of its neighbours, as a share of it; ``(K,)``.

    The median over the voxels that lie in tissue in all three, NaN where those are too few.
    """
    steps = np.full(len(slices), np.nan)
    for index in range(1, len(slices) - 1):
        around = slice(index - 1, index + 2)
        below, here, above = slices[around, is_tissue[around].all(0)]
        if here.size >= MIN_VOXELS:
            steps[index] = np.median((here - (below + above) / 2) / here)
    return steps
