"""Intensities of a volume: their range, and scaling to another."""

from __future__ import annotations

import numpy as np
import torch

AIR_SHARE = 0.02  # of the maximum: darker voxels show air
BRIGHT_PERCENTILE = 99.5  # of the others: leaves out vessels and fat

PERCENTILES = (0.1, 99.9)  # of the intensities that become 0 and 1 for the exam network
QUANTILE_VOXELS = 100_000  # on a regular grid, are enough for them


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
