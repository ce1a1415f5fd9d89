"""How the voxels of a scan were measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Acquisition:
    """The slices of a scan.

    Parameters
    ----------
    slice_axis
        Voxel axis that runs across the slices: 0, 1 or 2. For a 3-D scan, its coarsest axis.
    slice_spacing
        Distance between the centres of neighbouring slices, mm.
    slice_thickness
        Width of the excited slab, mm: smaller than the spacing where slices have gaps, larger
        where they overlap.
    """

    slice_axis: int
    slice_spacing: float
    slice_thickness: float
