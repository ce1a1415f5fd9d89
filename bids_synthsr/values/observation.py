"""A scan as the methods see it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bids_synthsr.values.acquisition import Acquisition
from bids_synthsr.values.grid import Grid


@dataclass(frozen=True, eq=False)
class Observation:
    """What one scan measured, where, and how.

    Parameters
    ----------
    contrast
        BIDS suffix, such as ``T2w``.
    voxels
        ``(I, J, K)`` float32 intensities on the scan's own grid, never resampled.
    grid
        The scan's own grid.
    acquisition
        Slices of the scan, see `Acquisition`.
    scan2ref
        ``(4, 4)`` rigid transform from the scan's RAS+ mm to the reference's RAS+ mm.
    """

    contrast: str
    voxels: np.ndarray
    grid: Grid
    acquisition: Acquisition
    scan2ref: np.ndarray
