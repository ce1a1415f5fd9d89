"""Grids and rigid transforms: pure numpy, RAS+ millimetres throughout."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import permutations, product

import numpy as np

from bids_synthsr.values.grid import Grid

# voxels: a field of view that overshoots by less adds no voxel (float32 headers)
WHOLE_VOXEL = 1e-3


def axis_order(vox2ras: np.ndarray) -> tuple[tuple[int, int, int], np.ndarray]:
    """Find the voxel axis that runs closest to each of R, A and S.

    Returns
    -------
    axes
        Voxel axis nearest to R, to A and to S. The assignment with the largest sum of direction
        cosines is taken, so that no axis is used twice however oblique the grid.
    signs
        ``(3,)``: -1 where that axis runs the other way, else 1.
    """
    cosines = vox2ras[:3, :3] / np.linalg.norm(vox2ras[:3, :3], axis=0)
    axes = max(permutations(range(3)), key=lambda order: sum(abs(cosines[range(3), order])))
    return (axes[0], axes[1], axes[2]), np.sign(cosines[range(3), axes])


def voxels_in_ras_order(voxels: np.ndarray, grid: Grid) -> np.ndarray:
    """Permute and flip the axes of ``voxels`` so that they run R, A, S."""
    axes, signs = axis_order(grid.vox2ras)
    permuted = voxels.transpose(axes)
    return permuted[tuple(slice(None, None, int(sign)) for sign in signs)]


def in_ras_order(grid: Grid) -> Grid:
    """Permute and flip the axes of ``grid`` so that they run R, A, S: the same voxels."""
    axes, signs = axis_order(grid.vox2ras)
    reordered = np.eye(4)
    reordered[:3, :3] = grid.vox2ras[:3, list(axes)] * signs
    first = np.zeros(3)
    for axis, sign in zip(axes, signs, strict=True):
        first[axis] = 0 if sign > 0 else grid.shape[axis] - 1
    reordered[:3, 3] = apply_affine(grid.vox2ras, first)
    return Grid((grid.shape[axes[0]], grid.shape[axes[1]], grid.shape[axes[2]]), reordered)


def with_spacing(grid: Grid, spacing_mm: float) -> Grid:
    """Cover the field of view of ``grid`` with isotropic voxels.

    The outer faces of the first voxel stay where they are, so the corner of the field of view is
    kept exactly and its far end grows by less than one voxel.
    """
    extent = np.asarray(grid.shape) * grid.spacing
    shape = np.maximum(np.ceil(extent / spacing_mm - WHOLE_VOXEL), 1).astype(int)
    vox2ras = np.eye(4)
    vox2ras[:3, :3] = grid.directions * spacing_mm
    corner = apply_affine(grid.vox2ras, np.full(3, -0.5))
    vox2ras[:3, 3] = corner + vox2ras[:3, :3] @ np.full(3, 0.5)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), vox2ras)


def with_slices(grid: Grid, axis: int, spacing_mm: float) -> Grid:
    """Cover the field of view of ``grid`` edge to edge with slices across one of its axes.

    In plane nothing changes; the last slice may reach beyond the far end.
    """
    step = np.ones(3)
    step[axis] = spacing_mm / grid.spacing[axis]
    shape = np.maximum(np.ceil(np.asarray(grid.shape) / step - WHOLE_VOXEL), 1).astype(int)
    vox2ras = grid.vox2ras.copy()
    vox2ras[:3, :3] *= step
    vox2ras[:3, 3] = apply_affine(grid.vox2ras, (step - 1) / 2)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), vox2ras)


def output_grid(reference: Grid, spacing_mm: float = 1.0) -> Grid:
    """Cover the reference scan's field of view edge to edge with isotropic voxels in RAS order."""
    return with_spacing(in_ras_order(reference), spacing_mm)


def union_grid(grid: Grid, others: Iterable[tuple[Grid, np.ndarray]]) -> Grid:
    """Extend ``grid`` by whole voxels until it covers the other fields of view.

    Parameters
    ----------
    grid
        Keeps its directions, spacing and the position of its voxels.
    others
        Grids with the transforms that bring their RAS+ mm to those of ``grid``.
    """
    corners = [apply_affine(grid.vox2ras, corners_vox(grid))]
    for other, other2ref in others:
        corners.append(apply_affine(other2ref @ other.vox2ras, corners_vox(other)))
    return grid_around(grid, np.concatenate(corners))


def grid_around(grid: Grid, points: np.ndarray) -> Grid:
    """Cut or extend ``grid`` by whole voxels, so that it covers points, and no more.

    Parameters
    ----------
    grid
        Keeps its directions, spacing and the position of its voxels.
    points
        Positions to cover, ``(N, 3)`` RAS+ mm.
    """
    places = apply_affine(np.linalg.inv(grid.vox2ras), points)
    first = np.floor(places.min(0) + 0.5 + WHOLE_VOXEL).astype(int)
    last = np.ceil(places.max(0) - 0.5 - WHOLE_VOXEL).astype(int)
    shape = np.maximum(last - first + 1, 1)
    vox2ras = grid.vox2ras.copy()
    vox2ras[:3, 3] = apply_affine(grid.vox2ras, first)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), vox2ras)


def bounding_box(mask: np.ndarray, margin: int = 0) -> tuple[slice, slice, slice]:
    """Bound what a mask marks: a slice of indices along each axis; all of them if it is empty.

    Parameters
    ----------
    mask
        ``(I, J, K)`` bool, or numbers of which 0 marks nothing.
    margin
        Voxels to add at each side, as far as the mask reaches.
    """
    box = []
    for axis, size in enumerate(mask.shape):
        marked = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        first, last = (marked[0], marked[-1]) if len(marked) else (0, size - 1)
        box.append(slice(max(int(first) - margin, 0), min(int(last) + margin + 1, size)))
    return box[0], box[1], box[2]


def crop_grid(grid: Grid, box: tuple[slice, slice, slice]) -> Grid:
    """Give the grid of the voxels ``voxels[box]``.

    Parameters
    ----------
    grid
        Where the whole volume lies.
    box
        Indices along each axis, such as `bounding_box` finds them.
    """
    (first, i), (second, j), (third, k) = ((part.start, part.stop - part.start) for part in box)
    vox2ras = grid.vox2ras.copy()
    vox2ras[:3, 3] = apply_affine(grid.vox2ras, np.array([first, second, third]))
    return Grid((i, j, k), vox2ras)


def corners_vox(grid: Grid) -> np.ndarray:
    """Outer corners of the field of view in voxel indices, ``(8, 3)``."""
    return np.array(list(product(*((-0.5, size - 0.5) for size in grid.shape))))


def apply_affine(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points ``(..., 3)`` through a ``(4, 4)`` affine."""
    return np.asarray(points) @ affine[:3, :3].T + affine[:3, 3]


def vox2vox(source: Grid, target: Grid, source2target: np.ndarray | None = None) -> np.ndarray:
    """Affine from voxel indices of ``source`` to those of ``target``, ``(4, 4)``.

    ``source2target`` maps RAS+ mm to RAS+ mm; None is the identity.
    """
    between = np.eye(4) if source2target is None else source2target
    return np.linalg.inv(target.vox2ras) @ between @ source.vox2ras


def rigid(
    angles_rad: np.ndarray, translation: np.ndarray, center: np.ndarray | None = None
) -> np.ndarray:
    """Rigid transform ``x -> Rx Ry Rz (x - center) + center + translation``, ``(4, 4)``.

    Parameters
    ----------
    angles_rad
        Rotations about the R, A and S axes, ``(3,)``.
    translation
        Shift after the rotation, ``(3,)`` RAS+ mm.
    center
        Fixed point of the rotation, ``(3,)`` RAS+ mm; None is the origin.
    """
    rotation = np.eye(3)
    for axis, angle in enumerate(angles_rad):
        turn = np.eye(3)
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[second, first], turn[first, second] = np.sin(angle), -np.sin(angle)
        rotation = rotation @ turn
    origin = np.zeros(3) if center is None else np.asarray(center)
    transform = np.eye(4)
    transform[:3, :3] = rotation
    transform[:3, 3] = origin - rotation @ origin + translation
    return transform


def nearest_rigid(transform: np.ndarray) -> np.ndarray:
    """Replace the linear part of a transform by the rotation that is nearest to it, ``(4, 4)``."""
    left, _, right = np.linalg.svd(transform[:3, :3])
    nearest = np.eye(4)
    nearest[:3, :3], nearest[:3, 3] = left @ right, transform[:3, 3]
    return nearest


def rotation_angle_deg(transform: np.ndarray) -> float:
    """Angle by which a rigid transform turns space, degrees."""
    cosine = (np.trace(transform[:3, :3]) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def displacement(first: np.ndarray, second: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Distance between the images of points ``(N, 3)`` under two transforms, ``(N,)`` mm."""
    return np.linalg.norm(apply_affine(first, points) - apply_affine(second, points), axis=1)
