"""Which of our methods measured best for an exam, told by its headers alone."""

from __future__ import annotations

from bids_synthsr.values.acquisition import Acquisition
from bids_synthsr.values.grid import Grid

CONTRAST = 'T1w'  # that the super-resolution network was trained on
TRAINED_MM = (2.0, 9.0)  # slice spacings in its training
NETWORK_MM = 1.0  # voxels of the output that it makes

Geometry = tuple[Grid, Acquisition]


def find_obstacle(contrast: str, acquisition: Acquisition, mm: float) -> str:
    """Tell why the super-resolution network is not for an exam, a sentence; empty where it is.

    Parameters
    ----------
    contrast, acquisition
        Of the reference.
    mm
        Voxel size of the output.
    """
    spacing = acquisition.slice_spacing
    low, high = TRAINED_MM
    if contrast != CONTRAST:
        return f'The network sharpens a T1w, and the reference is a {contrast}.'
    if not low <= spacing <= high:
        return (
            f'The slices of the reference lie {spacing:.3g} mm apart, and the network learned '
            f'from {low:g} to {high:g} mm.'
        )
    if abs(mm - NETWORK_MM) > 0.01:
        return f'The network makes voxels of {NETWORK_MM:g} mm only.'
    return ''
