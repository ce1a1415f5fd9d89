"""How large an exam is, by its headers: what memory and time are forecast from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bids_synthsr.imaging.geometry import output_grid, union_grid
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid

IDLE_GB = 0.35  # a process with its libraries
TORCH_GB = 0.45  # one in which PyTorch has run
# along R, A and S, with air around it: more than a reference saw is covered up to this
LARGE_HEAD_MM = np.array([200.0, 250.0, 260.0])

Geometry = tuple[Grid, Acquisition]


@dataclass(frozen=True, eq=False)
class ExamSize:
    """Scans and output of an exam, and how a method will compute.

    Parameters
    ----------
    contrasts
        BIDS suffixes of the scans that are used, the reference's first.
    geometries
        Grid and slices of each of them.
    spacing_mm
        Voxel size of the output, mm.
    fov
        Field of view of the output, one of `bids_synthsr.settings.FIELDS_OF_VIEW`.
    num_threads
        Threads that the method uses.
    in_16_bits
        Whether networks compute in 16 bits or in 32.
    """

    contrasts: Sequence[str]
    geometries: Sequence[Geometry]
    spacing_mm: float = 1.0
    fov: str = 'head'
    num_threads: int = 1
    in_16_bits: bool = True

    @cached_property
    def output_millions(self) -> float:
        """Millions of voxels of the output grid, the scans lying as their headers state."""
        grids = [grid for grid, _ in self.geometries]
        grid = output_grid(grids[0], self.spacing_mm)
        union = union_grid(grid, [(scan_grid, np.eye(4)) for scan_grid in grids])
        if self.fov == 'union':
            return count_millions(union)
        if self.fov == 'reference':
            return count_millions(grid)
        head = np.minimum(union.shape, np.maximum(grid.shape, LARGE_HEAD_MM / self.spacing_mm))
        return float(np.prod(head)) / 1e6

    @cached_property
    def scan_millions(self) -> list[float]:
        """Millions of voxels of each scan, the reference's first."""
        return [count_millions(grid) for grid, _ in self.geometries]

    @property
    def acquisitions(self) -> list[Acquisition]:
        """Slices of each scan, the reference's first."""
        return [acquisition for _, acquisition in self.geometries]


def count_millions(grid: Grid) -> float:
    """Count the voxels of a grid, in millions."""
    return float(np.prod(grid.shape, dtype=float)) / 1e6
