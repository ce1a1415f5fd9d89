"""Which of our methods measured best for an exam, told by its headers alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bids_synthsr.data.acquisition import Acquisition
from bids_synthsr.data.grid import Grid

CONTRAST = 'T1w'  # that the super-resolution network was trained on
TRAINED_MM = (2.0, 9.0)  # slice spacings in its training
NETWORK_MM = 1.0  # voxels of the output that it makes
SAME_DIRECTION = 0.7  # least cosine between the normals of slices that show the same: 45 degrees

Geometry = tuple[Grid, Acquisition]


def find_obstacle(contrasts: Sequence[str], geometries: Sequence[Geometry], mm: float) -> str:
    """Tell why the super-resolution network is not for an exam, a sentence; empty where it is.

    Parameters
    ----------
    contrasts
        Of the scans, the reference's first.
    geometries
        Grid and slices of each, directions in one frame.
    mm
        Voxel size of the output.
    """
    (grid, acquisition), *others = geometries
    spacing = acquisition.slice_spacing
    low, high = TRAINED_MM
    if contrasts[0] != CONTRAST:
        return f'The network sharpens a T1w, and the reference is a {contrasts[0]}.'
    if not low <= spacing <= high:
        return (
            f'The slices of the reference lie {spacing:.3g} mm apart, and the network learned '
            f'from {low:g} to {high:g} mm.'
        )
    if abs(mm - NETWORK_MM) > 0.01:
        return f'The network makes voxels of {NETWORK_MM:g} mm only.'
    normal = normal_of(grid, acquisition)
    for contrast, other in zip(contrasts[1:], others, strict=True):
        if abs(normal_of(*other) @ normal) < SAME_DIRECTION:
            return (
                f'The slices of the {contrast} run in another direction than those of the '
                'reference, from which total variation takes detail.'
            )
    return ''


def normal_of(grid: Grid, acquisition: Acquisition) -> np.ndarray:
    """Give the direction across the slices of a scan, ``(3,)``, of length 1."""
    return grid.directions[:, acquisition.slice_axis]
