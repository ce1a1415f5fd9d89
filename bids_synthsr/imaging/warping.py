"""Volumes carried along a deformation, and points moved by one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.ndimage import map_coordinates, spline_filter

from bids_synthsr.imaging.displacements import pull_at
from bids_synthsr.imaging.geometry import apply_affine
from bids_synthsr.values.grid import Grid


def displacement_at(displacement: np.ndarray, grid: Grid, points: np.ndarray) -> np.ndarray:
    """Interpolate a displacement at points, ``(N, 3)`` mm; beyond the grid its border goes on.

    Parameters
    ----------
    displacement
        Displacement along R, A and S, mm ``(3, I, J, K)``.
    grid
        Where its voxels lie.
    points
        Places at which it is wanted, RAS+ mm ``(N, 3)``.
    """
    voxels = apply_affine(np.linalg.inv(grid.vox2ras), points).T[:, :, None, None]
    field = torch.from_numpy(displacement)
    return pull_at(field, torch.from_numpy(voxels).to(field))[:, :, 0, 0].numpy().T


def carry_along(
    voxels: np.ndarray,
    grid: Grid,
    target: Grid,
    to_source: Callable[[np.ndarray], np.ndarray],
    order: int,
) -> np.ndarray:
    """Bring a volume to another grid along any map of points, interpolated once.

    Parameters
    ----------
    voxels
        Values ``(I, J, K)`` of the volume.
    grid, target
        Where they lie, and where they are wanted.
    to_source
        Function that finds the points of the volume, RAS+ mm ``(N, 3)``, that belong to points of
        the target.
    order
        Order of the splines: 0 takes the nearest voxel, 1 is linear, 3 is cubic.
    """
    carried = np.empty(target.shape, np.float32)
    knots = spline_filter(voxels, order) if order > 1 else voxels
    for number in range(target.shape[0]):  # a plane at a time, for memory
        voxel = np.mgrid[number : number + 1, : target.shape[1], : target.shape[2]]
        points = to_source(apply_affine(target.vox2ras, voxel.reshape(3, -1).T))
        at = apply_affine(np.linalg.inv(grid.vox2ras), points).T
        plane = map_coordinates(knots, at, order=order, prefilter=False)
        carried[number] = plane.reshape(target.shape[1:])
    return carried
