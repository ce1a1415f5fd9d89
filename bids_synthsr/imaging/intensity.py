"""Intensities of a volume: their range, and scaling to another."""

from __future__ import annotations

import numpy as np


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
