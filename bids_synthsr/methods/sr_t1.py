"""Super-resolution of the reference across its slices, by a network that learned it on real T1w.

The network predicts what cubic interpolation between the slices misses, once even and odd slices
are equally bright: it would sharpen their stripes. Other scans are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bids_synthsr.imaging.geometry import vox2vox
from bids_synthsr.imaging.inference import Inference, Tiling, precision_for_bfloat16, predict
from bids_synthsr.imaging.intensity import bright_intensity
from bids_synthsr.imaging.interleaving import balance_slices
from bids_synthsr.imaging.noise import tissue_mask
from bids_synthsr.imaging.resampling import ALIGNED, anti_alias, spline_matrix, within
from bids_synthsr.imaging.slice_encoding import encode_slices
from bids_synthsr.methods.choice import CONTRAST, TRAINED_MM
from bids_synthsr.networks.slice_unet import SliceUNet
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.observation import Observation
from bids_synthsr.values.synthesis import Product, Synthesis

MARGIN = 8  # voxels of continued image around the volume: convolutions see no sudden zeros
MAX_VOXELS = 256**3  # at once: they take 4.6 GB (benchmarks/speed/networks.py)
LOW_MEM_VOXELS = 160**3  # where memory is short: 1.4 GB
TILE_MARGIN = 16  # voxels; the network is normalised over its tile, so no margin is exact


def synthesize(
    observations: Sequence[Observation],
    grid: Grid,
    *,
    network: SliceUNet,
    flip: bool = True,
    precision: str = 'auto',
    weights: Mapping[str, str] | None = None,
    max_voxels: int = MAX_VOXELS,
) -> Synthesis:
    """Make a 1 mm T1w of the reference, which must be one.

    Parameters
    ----------
    observations
        The exam, reference first.
    grid
        1 mm, parallel to the reference.
    network
        With its weights, on the device that shall run it.
    flip
        Whether the result is averaged with that of the scan flipped across its first axis.
    precision
        See `predict`; ``auto`` is bfloat16 where 16 bits are faster.
    weights
        What provenance should tell of the weights.
    max_voxels
        Larger volumes go through the network in tiles, and come out nearly the same.

    Raises
    ------
    ValueError
        If the reference is no T1w, or the grid not parallel to it.
    """
    scan = observations[0]
    if scan.contrast != CONTRAST:
        raise ValueError(
            f'sr-t1 sharpens a T1w, but the reference is a {scan.contrast}: name a T1w with '
            '--reference, or use --method tv for this exam'
        )
    device = next(network.parameters()).device
    if precision == 'auto':
        precision = precision_for_bfloat16(device)
    axis = scan.acquisition.slice_axis
    balanced, interleaving = balance_slices(scan.voxels, tissue_mask(scan.voxels), axis)
    voxels, run = super_resolve(
        replace(scan, voxels=balanced),
        grid,
        network,
        flip=flip,
        precision=precision,
        max_voxels=max_voxels,
    )
    facts = {
        'method': 'sr-t1',
        'scans': [scan.contrast],
        'scans_reason': 'the network takes one T1w: the reference',
        'interleaving': interleaving,
        'flip_averaging': flip,
        **run.facts,
        **(weights or {}),
    }
    doubts = (*_doubts(scan), *run.doubts)
    return Synthesis((Product(CONTRAST, 'sr', voxels, grid),), facts, doubts, used=(0,))


def super_resolve(
    scan: Observation,
    grid: Grid,
    network: SliceUNet,
    *,
    flip: bool = True,
    precision: str,
    max_voxels: int = MAX_VOXELS,
) -> tuple[np.ndarray, Inference]:
    """Sharpen a scan on a grid parallel to it.

    Returns
    -------
    volume, run
        ``(I, J, K)`` float32, 0 outside the scan, and how the network ran.
    """
    unit = bright_intensity(scan.voxels)
    if unit <= 0:
        raise ValueError('The T1w holds no positive intensities: leave it out')
    slices, (first, step), across = slices_on_grid(scan, grid)
    shape = (*slices.shape[:2], grid.shape[across])
    whole = [_multiple_above(size, network.multiple) for size in shape]
    index = first + step * (np.arange(whole[2]) - MARGIN)
    acquisition = scan.acquisition
    channels = encode_slices(
        _continued(slices / unit, whole), index, acquisition.slice_spacing,
        acquisition.slice_thickness,
    )  # fmt: skip
    run = predict(
        network,
        channels[None],
        multiple=network.multiple,
        flip=flip,
        precision=precision,
        tiling=Tiling(max_voxels, TILE_MARGIN),
    )
    own = tuple(slice(MARGIN, MARGIN + size) for size in shape)
    volume = np.moveaxis(run.output[0, 0][own].numpy(), 2, across) * unit
    seen = within(vox2vox(grid, scan.grid), scan.grid.shape, grid.shape)
    lowest = min(float(scan.voxels.min()), 0)
    return np.where(seen, volume.clip(lowest), 0).astype(np.float32), run


def slices_on_grid(scan: Observation, grid: Grid) -> tuple[Tensor, tuple[float, float], int]:
    """Interpolate slices within their planes, cubically, and say where the grid lies across them.

    Parameters
    ----------
    scan
        Its slices may run along any axis.
    grid
        Parallel to the scan, whatever the order and direction of its axes.

    Returns
    -------
    slices
        ``(I, J, S)`` float32: the in-plane axes of the grid in their order, then the slices.
    line
        Position of the grid's first voxel across the slices, and the step to the next, in slices.
    across
        Which axis of the grid that is.
    """
    grid2scan = vox2vox(grid, scan.grid)
    axes = np.abs(grid2scan[:3, :3]).argmax(axis=0)
    off_axis = grid2scan[:3, :3].copy()
    off_axis[axes, range(3)] = 0
    if np.abs(off_axis).max() > ALIGNED:
        raise ValueError('The output grid is not parallel to the scan that is to be sharpened')
    image = anti_alias(scan.voxels.astype(np.float32), scan.grid, float(grid.spacing.max()))
    across = int(np.flatnonzero(axes == scan.acquisition.slice_axis)[0])
    lines = [(grid2scan[own, 3], grid2scan[own, axis]) for axis, own in enumerate(axes)]
    slices = torch.from_numpy(np.ascontiguousarray(image.transpose(axes)))
    for axis in {0, 1, 2} - {across}:
        first, step = lines[axis]
        matrix = spline_matrix(slices.shape[axis], first + step * np.arange(grid.shape[axis]))
        slices = torch.tensordot(torch.from_numpy(matrix), slices.movedim(axis, 0), 1)
        slices = slices.movedim(0, axis)
    return slices.movedim(across, 2), lines[across], across


def _continued(slices: Tensor, whole: Sequence[int]) -> Tensor:
    """Repeat the borders of slices, in plane, up to a larger size."""
    after = [full - size - MARGIN for full, size in zip(whole, slices.shape, strict=True)][:2]
    stack = slices.movedim(2, 0)[None]
    padded = functional.pad(stack, (MARGIN, after[1], MARGIN, after[0]), mode='replicate')
    return padded[0].movedim(0, 2)


def _multiple_above(size: int, multiple: int) -> int:
    """Give a size with margins, rounded up."""
    return -(-(size + 2 * MARGIN) // multiple) * multiple


def _doubts(scan: Observation) -> tuple[str, ...]:
    """Tell where the scan is unlike those of the training."""
    spacing = scan.acquisition.slice_spacing
    low, high = TRAINED_MM
    if low <= spacing <= high:
        return ()
    doubt = (
        f'The slices of the reference lie {spacing:g} mm apart; the network learned from '
        f'{low:g} to {high:g} mm.'
    )
    return (doubt,)
