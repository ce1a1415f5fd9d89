"""Interpolation of a scan on another grid, and where it was really measured.

Every scan is interpolated once, from its own grid through its transform to the output grid.
Inference and the synthetic generator both call the two batched functions at the end.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.interpolate import make_interp_spline
from scipy.ndimage import affine_transform, gaussian_filter1d

from bids_synthsr.imaging.geometry import vox2vox
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid

FWHM_PER_SIGMA = np.sqrt(8 * np.log(2))
ALIGNED = 1e-6  # voxels per voxel: smaller off-axis terms move no sample by a visible amount


def resample(
    voxels: np.ndarray,
    source: Grid,
    target: Grid,
    source2target: np.ndarray | None = None,
    order: int = 1,
) -> np.ndarray:
    """Interpolate ``voxels`` from ``source`` on ``target``.

    A source finer than the target is smoothed first, axis by axis (see `anti_alias`). Values up
    to the outer faces of the source are those of its border voxels; beyond lies 0.

    Parameters
    ----------
    voxels
        ``(I, J, K)`` on ``source``.
    source2target
        Rigid transform of RAS+ mm, ``(4, 4)``; None is the identity.
    order
        1 trilinear, 3 cubic spline.

    Returns
    -------
    resampled
        float32 of ``target.shape``.
    """
    if order not in (1, 3):
        raise ValueError(f'Interpolation order {order} is not offered: 1 (linear) or 3 (cubic)')
    smooth = anti_alias(voxels.astype(np.float32), source, target.spacing.max())
    target2source = np.linalg.inv(vox2vox(source, target, source2target))
    if order == 1:
        image = torch.from_numpy(smooth)[None, None]
        out2in = torch.from_numpy(target2source)[None]
        return sample_linear(image, out2in, target.shape)[0, 0].numpy()
    inside = within(target2source, source.shape, target.shape)
    return _sample_cubic(smooth, target2source, target.shape) * inside


def take_nearest(
    labels: np.ndarray, source: Grid, target: Grid, source2target: np.ndarray | None = None
) -> np.ndarray:
    """Give every voxel of a grid the nearest label; 0 outside.

    Parameters
    ----------
    labels
        ``(I, J, K)`` label values on ``source``.
    source, target
        Where the labels lie, and where they are wanted.
    source2target
        Rigid transform of RAS+ mm, ``(4, 4)``; None is the identity.
    """
    target2source = np.linalg.inv(vox2vox(source, target, source2target))
    return affine_transform(labels, target2source, output_shape=target.shape, order=0)


def anti_alias(voxels: np.ndarray, source: Grid, target_spacing: float) -> np.ndarray:
    """Smooth the axes finer than the target: Gaussian, FWHM² = target² - spacing² (mm²)."""
    for axis, spacing in enumerate(source.spacing):
        if spacing < target_spacing:
            fwhm_vox = np.sqrt(target_spacing**2 - spacing**2) / spacing
            voxels = gaussian_filter1d(voxels, fwhm_vox / FWHM_PER_SIGMA, axis, mode='nearest')
    return voxels


def _sample_cubic(
    voxels: np.ndarray, target2source: np.ndarray, shape: tuple[int, int, int]
) -> np.ndarray:
    """Evaluate the cubic spline through ``voxels``, axis by axis where grids are parallel."""
    linear = target2source[:3, :3]
    axes = np.abs(linear).argmax(axis=1)
    off_axis = linear.copy()
    off_axis[range(3), axes] = 0
    if np.abs(off_axis).max() > ALIGNED or len(set(axes)) < 3:
        return affine_transform(voxels, target2source, output_shape=shape, order=3, mode='mirror')
    for axis in range(3):
        points = target2source[axis, 3] + linear[axis, axes[axis]] * np.arange(shape[axes[axis]])
        matrix = spline_matrix(voxels.shape[axis], points)
        voxels = np.moveaxis(np.tensordot(matrix, voxels, (1, axis)), 0, axis)
    # source axis `axis` now holds the samples of target axis `axes[axis]`
    return np.ascontiguousarray(np.transpose(voxels, np.argsort(axes)))


def spline_matrix(size: int, points: np.ndarray) -> np.ndarray:
    """Cubic spline through ``size`` unit-spaced samples, mirrored at its ends: ``(P, size)``."""
    if size == 1:
        return np.ones((len(points), 1), np.float32)
    spline = make_interp_spline(np.arange(size), np.eye(size), k=3, bc_type='clamped')
    mirrored = np.abs(np.mod(points + size - 1, 2 * (size - 1)) - (size - 1))
    return spline(mirrored).astype(np.float32)


def within(
    target2source: np.ndarray, source_shape: tuple[int, ...], shape: tuple[int, int, int]
) -> np.ndarray:
    """Mark the target voxels whose centres lie in the source's field of view, ``shape``."""
    inside = np.ones(shape, bool)
    for axis, size in enumerate(source_shape):
        position = _positions(target2source[axis], shape)
        inside &= (position >= -0.5) & (position <= size - 0.5)
    return inside


def in_field_of_view(
    source: Grid, target: Grid, source2target: np.ndarray | None = None
) -> np.ndarray:
    """Mark the voxels of ``target`` that lie in the field of view of ``source``, bool.

    Parameters
    ----------
    source, target
        Grid of a scan, and the grid whose voxels are marked.
    source2target
        Rigid transform of RAS+ mm, ``(4, 4)``; None is the identity.
    """
    target2source = np.linalg.inv(vox2vox(source, target, source2target))
    return within(target2source, source.shape, target.shape)


def _positions(row: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Source index along one axis at every target voxel, ``shape``."""
    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    return row[0] * i + row[1] * j + row[2] * k + row[3]


def reliability(
    source: Grid,
    target: Grid,
    source2target: np.ndarray | None = None,
    acquisition: Acquisition | None = None,
) -> np.ndarray:
    """Map where ``source`` measured what ``target`` shows.

    Each axis contributes ``min(1, sum_k max(0, 1 - |u - k| s / t))``: ``u`` the source index at
    the target voxel, ``k`` the planes, ``s`` the source and ``t`` the target spacing. That is 1 on
    a measured plane, 0 a target voxel away from it and soft between, in the source's own geometry,
    so that a rotation needs no interpolation. Axes multiply (Iglesias et al. 2021, section 2.1.4,
    which obtains the same values by linear resampling).

    Parameters
    ----------
    source, target
        Grids of the scan and of the output.
    source2target
        Rigid transform of RAS+ mm, ``(4, 4)``; None is the identity.
    acquisition
        Slices of the scan, of which some may be missing; None if none is.

    Returns
    -------
    reliability
        float32 of ``target.shape`` in [0, 1]; 0 outside the source's field of view, and where a
        missing slice is the nearest, or lies within the target voxel.
    """
    target2source = np.linalg.inv(vox2vox(source, target, source2target))
    ratio = source.spacing / target.spacing.max()
    reliable = sample_reliability(
        torch.from_numpy(target2source)[None],
        torch.from_numpy(ratio)[None],
        source.shape,
        target.shape,
    )[0, 0].numpy()
    if acquisition and acquisition.missing:
        axis = acquisition.slice_axis
        position = _positions(target2source[axis], target.shape)
        for number in acquisition.missing:
            reliable[np.abs(position - number) <= max(1, 1 / ratio[axis]) / 2] = 0
    return reliable


def sample_linear(
    images: torch.Tensor, out2in: torch.Tensor, shape: tuple[int, int, int]
) -> torch.Tensor:
    """Interpolate a batch of images linearly at affine positions.

    Parameters
    ----------
    images
        ``(B, C, I, J, K)``.
    out2in
        ``(B, 4, 4)`` from output voxel indices to indices of ``images``.
    shape
        Voxels of the output along each axis.

    Returns
    -------
    sampled
        ``(B, C, *shape)``; differentiable in ``images``. Border voxels reach to their outer faces,
        beyond them lies 0.
    """
    source_shape = images.shape[2:]
    unit2voxel, voxel2unit = _unit_cube(shape), torch.linalg.inv(_unit_cube(source_shape))
    theta = voxel2unit.to(out2in.device) @ out2in.double() @ unit2voxel.to(out2in.device)
    flipped = theta[:, [2, 1, 0]][:, :, [2, 1, 0, 3]]  # PyTorch counts axes from the last
    size = [len(images), 1, *shape]
    unit = torch.nn.functional.affine_grid(flipped.to(images.dtype), size, align_corners=True)
    inside = _inside(out2in, source_shape, shape)
    return _grid_sample(images, unit) * inside[:, None]


def _unit_cube(shape: Sequence[int]) -> torch.Tensor:
    """Affine from [-1, 1] between the centres of the outermost voxels to their indices."""
    half = (torch.tensor(shape, dtype=torch.float64) - 1) / 2
    affine = torch.diag(torch.cat([half.clamp(min=0.5), torch.ones(1, dtype=torch.float64)]))
    affine[:3, 3] = half
    return affine


def _axis_index(out2in: torch.Tensor, axis: int, shape: Sequence[int]) -> torch.Tensor:
    """Input index along one axis at every output voxel, ``(B, *shape)`` float32."""
    row = out2in.double()[:, axis]
    index = row[:, 3].view(-1, 1, 1, 1)
    for output_axis, size in enumerate(shape):
        view = [1, 1, 1, 1]
        view[output_axis + 1] = size
        steps = torch.arange(size, device=out2in.device, dtype=torch.float64).view(view)
        index = (index + row[:, output_axis].view(-1, 1, 1, 1) * steps).float()
    return index


def _inside(
    out2in: torch.Tensor, source_shape: Sequence[int], shape: Sequence[int]
) -> torch.Tensor:
    """Mark output voxels in the field of view of the input, faces included: ``(B, *shape)``."""
    half = torch.tensor([(size - 1) / 2 for size in source_shape])
    marks = [
        (_axis_index(out2in, axis, shape) - half[axis]).abs_() <= half[axis] + 0.5
        for axis in range(3)
    ]
    return marks[0].logical_and_(marks[1]).logical_and_(marks[2])


def _grid_sample(images: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
    """Sample with clamped borders; on the CPU in slabs: PyTorch runs in parallel over B only."""
    slabs = torch.get_num_threads() if images.device.type == 'cpu' and len(images) == 1 else 1
    slabs = slabs if unit.shape[1] % slabs == 0 else 1
    parts = unit.reshape(len(unit) * slabs, -1, *unit.shape[2:])
    sampled = torch.nn.functional.grid_sample(
        images.expand(len(parts), *images.shape[1:]) if slabs > 1 else images,
        parts,
        mode='bilinear',
        padding_mode='border',
        align_corners=True,
    )
    if slabs == 1:
        return sampled
    return sampled.transpose(0, 1).reshape(1, images.shape[1], *unit.shape[1:4])


def sample_reliability(
    out2in: torch.Tensor,
    spacing_ratio: torch.Tensor,
    source_shape: tuple[int, int, int],
    shape: tuple[int, int, int],
) -> torch.Tensor:
    """Evaluate `reliability` for a batch.

    Parameters
    ----------
    out2in
        ``(B, 4, 4)`` from output to source voxel indices.
    spacing_ratio
        ``(B, 3)``: source spacing over output spacing along each source axis.
    source_shape, shape
        Voxels of the source and of the output along each axis.

    Returns
    -------
    reliability
        ``(B, 1, *shape)`` float32.
    """
    total = _inside(out2in, source_shape, shape).float()
    for axis in range(3):
        ratio = spacing_ratio[:, axis].float()
        if (ratio > 1 + ALIGNED).any():  # else planes lie so close that all is measured
            total *= _axis_reliability(_axis_index(out2in, axis, shape), ratio.view(-1, 1, 1, 1))
    return total[:, None]


def _axis_reliability(index: torch.Tensor, ratio: torch.Tensor) -> torch.Tensor:
    """Sum the tents of the planes before and behind each index, at most 1; ``(B, *shape)``.

    Where a tent reaches beyond these two planes, their sum is 1 already.
    """
    distance = (index - index.round()).abs_() * ratio
    return ((1 - distance).clamp_(min=0) + (1 - ratio + distance).clamp_(min=0)).clamp_(max=1)
