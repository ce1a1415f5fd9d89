"""Intensities of a volume: their range, and scaling to another."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

LITTLE = 1e-4  # weight of all that counts, where none of it is nearby
AIR_SHARE = 0.02  # of the maximum: darker voxels show air
BRIGHT_PERCENTILE = 99.5  # of the others: leaves out vessels and fat

PERCENTILES = (0.1, 99.9)  # of the intensities that become 0 and 1 for the exam network
QUANTILE_VOXELS = 100_000  # on a regular grid, are enough for them

LIMITS = (0.1, 99.5)  # percentiles of intensities beyond which single voxels do not count
# of the range between these: interpolation makes voxels so far below 0, noise air so bright
OVERSHOOT, NOISE_FLOOR = 0.02, 0.25
# of that range: air at the faces is darker, or brighter than tissue
AIR_RANGE, INVERTED = 0.1, 0.9
# of the voxels: fewer below air need no word; more, where air is a constant, were standardised
FEW_BELOW, MANY_BELOW = 1e-3, 0.03


def percentile_range(volume: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the intensities that the exam network calls 0 and 1; single voxels do not count.

    Training and inference scale by it.
    """
    step = max(volume.numel() // QUANTILE_VOXELS, 1)
    shares = torch.tensor(PERCENTILES, device=volume.device) / 100
    low, high = volume.flatten()[::step].quantile(shares)
    return low, high


def bright_intensity(voxels: np.ndarray) -> float:
    """Find what the super-resolution networks call 1: bright tissue, robustly; 0 if all is dark.

    Training and inference scale by it.
    """
    bright = voxels[voxels > AIR_SHARE * voxels.max()]
    return float(np.percentile(bright, BRIGHT_PERCENTILE)) if bright.size else 0.0


def mean_nearby(volume: np.ndarray, mask: np.ndarray, sd_vox: float) -> np.ndarray:
    """Average what a mask marks around each voxel, ``(I, J, K)``; all of it counts a little.

    Parameters
    ----------
    volume
        ``(I, J, K)`` values.
    mask
        Voxels that count, ``(I, J, K)`` bool; at least one.
    sd_vox
        Standard deviation of the Gaussian that weighs them, voxels.
    """
    total, count = (
        gaussian_filter(values.astype(np.float32), sd_vox, mode='constant', truncate=3.0)
        for values in (np.where(mask, volume, 0), mask)
    )
    everywhere = np.float32(np.median(volume[mask]))
    mean: np.ndarray = (total + LITTLE * everywhere) / (count + LITTLE)
    return mean


def intensity_range(voxels: np.ndarray) -> tuple[float, float]:
    """Find the least and the greatest intensity; they must be finite and differ."""
    low, high = float(voxels.min()), float(voxels.max())
    if not np.isfinite([low, high]).all():
        raise ValueError(f'Intensities range from {low} to {high}: they must all be finite')
    if low == high:
        raise ValueError(f'All intensities are {low}: the volume is empty')
    return low, high


def rescale(voxels: np.ndarray, top: float = 1.0) -> np.ndarray:
    """Shift and scale intensities linearly so that they range from 0 to ``top``."""
    low, high = intensity_range(voxels)
    return (voxels - low) * (top / (high - low))


def shift_to_air(
    voxels: np.ndarray, is_background: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """Shift intensities so that air is 0, where they cannot be magnitudes as they are.

    That is so if more than some overshoot lies below 0, or if air is as bright as no noise is.
    Then air is the darkest that was measured, or the constant that surrounds it.

    Parameters
    ----------
    voxels
        ``(I, J, K)`` finite intensities.
    is_background
        Voxels that were not measured and shall be 0; None if all were.

    Returns
    -------
    voxels
        ``(I, J, K)``, nowhere negative if they were shifted.
    air
        Intensity that was subtracted; 0 for what is in order.
    """
    values = voxels.ravel() if is_background is None else voxels[~is_background]
    low, high = _limits(values)
    if -OVERSHOOT * (high - low) <= low <= NOISE_FLOOR * (high - low):
        return voxels, 0.0
    if is_background is None:
        around, is_constant = _surface_intensity(voxels)
        is_as_bright = around >= high if is_constant else around > low + INVERTED * (high - low)
        if is_as_bright or (low > 0 and around > low + AIR_RANGE * (high - low)):
            return voxels, 0.0
        if is_constant:
            is_background = voxels == around
            low, high = _limits(voxels[~is_background])
            if 0 < low - around < AIR_RANGE * (high - low):
                low = around
    elif low > 0:
        return voxels, 0.0
    shifted = np.maximum(voxels - np.float32(low), 0)
    return (shifted if is_background is None else np.where(is_background, 0, shifted)), low


def find_below_air(voxels: np.ndarray) -> np.ndarray | None:
    """Mark voxels that are darker than air can be, ``(I, J, K)``; None where hardly any is.

    Air is what the faces of the volume show most. Where that is not about 0, all is shifted, and
    nothing is marked.

    Parameters
    ----------
    voxels
        ``(I, J, K)`` finite intensities.
    """
    around, is_constant = _surface_intensity(voxels)
    span = _limits(voxels.ravel())[1] - around
    if not -OVERSHOOT * span <= around <= NOISE_FLOOR * span:
        return None
    is_below = voxels < -OVERSHOOT * span
    share = is_below[voxels != around].mean()  # some differ: they are below
    if share <= FEW_BELOW or (is_constant and share > MANY_BELOW):
        return None
    return is_below


def _surface_intensity(voxels: np.ndarray) -> tuple[float, bool]:
    """Find what the faces of a volume show, and whether that is one constant."""
    faces = _faces(voxels)
    values, counts = np.unique(faces, return_counts=True)
    if counts.max() > faces.size / 2:
        return float(values[counts.argmax()]), True
    return float(np.median(faces)), False


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Find the darkest and the brightest intensity ``(N,)``, but for single voxels."""
    low, high = np.percentile(values[:: max(values.size // QUANTILE_VOXELS, 1)], LIMITS)
    return float(low), float(high)


def _faces(voxels: np.ndarray) -> np.ndarray:
    """List the intensities at the faces of a volume, ``(N,)``."""
    ends = [voxels.take([0, -1], axis).ravel() for axis in range(3)]
    return np.concatenate(ends)
