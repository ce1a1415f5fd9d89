"""Whether a product is worth keeping: what is not finite, or the same everywhere, is none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from bids_synthsr.values.exam import SUFFIXES


def find_image_fault(voxels: np.ndarray, suffix: str) -> str:
    """Describe why an image is not worth keeping, in a clause; empty if it is.

    Every voxel must be finite. Intensities of a contrast must vary; an expected error, a mask or a
    segmentation may be the same everywhere.

    Parameters
    ----------
    voxels
        Voxels of the image, of any shape and type.
    suffix
        BIDS suffix of the image, such as ``T1w`` or ``mask``.
    """
    if not voxels.size:
        return 'it has no voxels'
    low, high = float(voxels.min()), float(voxels.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        share = 1 - np.isfinite(voxels).mean()
        return f'{max(share, 0.001):.1%} of its voxels are NaN or infinite'
    if low == high and suffix in SUFFIXES:
        return f'all its voxels have the value {low:g}'
    return ''


def find_table_fault(rows: Iterable[Mapping[str, Any]]) -> str:
    """Describe why a table is not worth keeping, in a clause; empty if it is."""
    for row in rows:
        for name, value in row.items():
            if isinstance(value, float) and not math.isfinite(value):
                return f'it has {value} under {name}'
    return ''
