"""The lattice on which a volume is sampled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Grid:
    """A lattice of voxels in space.

    Parameters
    ----------
    shape
        Voxels along each axis, ``(I, J, K)``.
    vox2ras
        ``(4, 4)`` affine from voxel indices to RAS+ mm; integer indices are voxel centres.
    """

    shape: tuple[int, int, int]
    vox2ras: np.ndarray

    @property
    def spacing(self) -> np.ndarray:
        """Distance between neighbouring voxel centres along each axis, ``(3,)`` mm."""
        return np.linalg.norm(self.vox2ras[:3, :3], axis=0)

    @property
    def directions(self) -> np.ndarray:
        """Unit vector of each voxel axis in RAS+, ``(3, 3)``, one per column."""
        return self.vox2ras[:3, :3] / self.spacing

    @property
    def center(self) -> np.ndarray:
        """Centre of the field of view, ``(3,)`` RAS+ mm."""
        middle = (np.asarray(self.shape) - 1) / 2
        return self.vox2ras[:3, :3] @ middle + self.vox2ras[:3, 3]

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel, mm3."""
        return float(abs(np.linalg.det(self.vox2ras[:3, :3])))

    def __eq__(self, other: object) -> bool:
        """Two grids are equal when their voxels are the same points, to 1e-4 mm."""
        return (
            isinstance(other, Grid)
            and self.shape == other.shape
            and np.allclose(self.vox2ras, other.vox2ras, atol=1e-4)
        )
