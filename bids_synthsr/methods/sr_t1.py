"""Super-resolution of the reference across its slices, by a network that learned it on real T1w.

The network predicts what cubic interpolation between the slices misses, once even and odd slices
are equally bright: it would sharpen their stripes. In the end the volume is made consistent with
the slices. Other scans are not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from bids_synthsr.methods.consistency import make_consistent
from bids_synthsr.methods.exam_size import TORCH_GB, ExamSize
from bids_synthsr.networks.loaded import LoadedNetwork
from bids_synthsr.networks.slice_unet import SliceUNet
from bids_synthsr.values.exam import Acquisition, entities_among, suffix_of
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Image, MethodForecast, Observation, Synthesis

CONTRAST = 'T1w'  # that the network was trained on
TRAINED_MM = (2.0, 9.0)  # slice spacings in its training
NETWORK_MM = 1.0  # voxels of the output that it makes
MARGIN = 8  # voxels of continued image around the volume: convolutions see no sudden zeros
MAX_VOXELS = 256**3  # at once: they take 4.6 GB (benchmarks/speed/networks.py)
LOW_MEM_VOXELS = 160**3  # where memory is short: 1.4 GB
TILE_MARGIN = 16  # voxels; the network is normalised over its tile, so no margin is exact


def synthesize(
    observations: Sequence[Observation],
    grid: Grid,
    *,
    trained: LoadedNetwork[SliceUNet],
    low_mem: bool = False,
    flip: bool = True,
    precision: str = 'auto',
) -> Synthesis:
    """Make a 1 mm T1w of the reference, which must be one.

    Parameters
    ----------
    observations
        The exam, reference first.
    grid
        1 mm, parallel to the reference.
    trained
        The network with its weights, on the device that shall run it.
    low_mem
        Whether smaller volumes, too, go through the network in tiles: they come out nearly the
        same, and take less memory.
    flip
        Whether the result is averaged with that of the scan flipped across its first axis.
    precision
        See `predict`; ``auto`` is bfloat16 where 16 bits are faster.

    Raises
    ------
    ValueError
        If the reference is no T1w, or the grid not parallel to it.
    """
    scan = observations[0]
    obstacle = find_obstacle([scan.contrast], [scan.acquisition], NETWORK_MM)
    if obstacle:
        raise ValueError(obstacle)
    device = next(trained.network.parameters()).device
    if precision == 'auto':
        precision = precision_for_bfloat16(device)
    axis = scan.acquisition.slice_axis
    balanced, interleaving = balance_slices(scan.voxels, tissue_mask(scan.voxels), axis)
    voxels, run = super_resolve(
        replace(scan, voxels=balanced),
        grid,
        trained.network,
        flip=flip,
        precision=precision,
        max_voxels=LOW_MEM_VOXELS if low_mem else MAX_VOXELS,
    )
    lowest = min(float(balanced.min()), 0)
    consistent, consistency = make_consistent(voxels, grid, replace(scan, voxels=balanced))
    voxels = consistent.clip(lowest)
    facts = {
        'method': 'sr-t1',
        'scans': [scan.contrast],
        'scans_reason': 'the network takes one T1w: the reference',
        'interleaving': interleaving,
        'flip_averaging': flip,
        'consistency': consistency.facts,
        **run.facts,
        **trained.file,
    }
    doubts = (*filter(None, [find_doubt(scan.acquisition)]), *run.doubts)
    entities = entities_among(scan.contrast, [scan.contrast])
    image = Image(CONTRAST, 'sr', voxels, grid, entities=entities)
    return Synthesis((image,), facts, doubts, used=(0,))


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
        raise ValueError('The scan holds no positive intensities: leave it out')
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
    inside = tuple(slice(MARGIN, MARGIN + size) for size in shape)
    volume = np.moveaxis(run.output[0, 0][inside].numpy(), 2, across) * unit
    in_view = within(vox2vox(grid, scan.grid), scan.grid.shape, grid.shape)
    lowest = min(float(scan.voxels.min()), 0)
    return np.where(in_view, volume.clip(lowest), 0).astype(np.float32), run


def slices_on_grid(scan: Observation, grid: Grid) -> tuple[Tensor, tuple[float, float], int]:
    """Interpolate slices within their planes, cubically, and locate the grid across them.

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
    lines = [(grid2scan[other, 3], grid2scan[other, axis]) for axis, other in enumerate(axes)]
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
    """Return a size with margins, rounded up to a multiple."""
    return -(-(size + 2 * MARGIN) // multiple) * multiple


def forecast(size: ExamSize, flip: bool = True) -> MethodForecast:
    """Forecast memory and time from the size of the output; ``flip`` as in `synthesize`."""
    out, passes = size.output_millions, 1 + flip
    memory_gb = TORCH_GB + (0.41 if size.in_16_bits else 1.05) * out
    return MethodForecast(memory_gb, 2.5 * passes * out)


def find_obstacle(
    contrasts: Sequence[str],
    acquisitions: Sequence[Acquisition],  # noqa: ARG001
    spacing_mm: float,
) -> str:
    """Describe why an exam cannot be sharpened, in a sentence; empty if it can.

    Parameters
    ----------
    contrasts
        BIDS suffixes of the scans, the reference's first.
    acquisitions
        Slices of the scans; not checked here, see `find_doubt`.
    spacing_mm
        Voxel size of the output, mm.
    """
    if suffix_of(contrasts[0]) != CONTRAST:
        return (
            f'sr-t1 sharpens a T1w, but the reference is a {contrasts[0]}: name a T1w with '
            '--reference, or use --method tv for this exam'
        )
    if abs(spacing_mm - NETWORK_MM) > 0.01:
        return f'The network makes voxels of {NETWORK_MM:g} mm only.'
    return ''


def find_doubt(acquisition: Acquisition) -> str:
    """Describe how the slices differ from those of the training, in a sentence; empty if not."""
    low, high = TRAINED_MM
    if low <= acquisition.slice_spacing <= high:
        return ''
    return (
        f'The slices of the reference lie {acquisition.slice_spacing:.3g} mm apart; the network '
        f'learned from {low:g} to {high:g} mm.'
    )
