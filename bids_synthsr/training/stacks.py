"""Stacks of slices: read as scans have them, or as a network of slices made them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bids_synthsr.dataset.filenames import split_name
from bids_synthsr.dataset.files import read_object
from bids_synthsr.dataset.images import load_volume
from bids_synthsr.dataset.scans import load_scan, read_scan
from bids_synthsr.imaging.geometry import (
    bounding_box,
    crop_grid,
    in_ras_order,
    voxels_in_ras_order,
    with_slices,
)
from bids_synthsr.imaging.intensity import bright_intensity
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.synthesis.heads import SliceStack
from bids_synthsr.training.cohort import MARGIN_VOX, SHOWN, Cohort, find_images, split_cohort
from bids_synthsr.values.grid import Grid

PLANE_MM = 1.0  # voxels within slices
FEW_SCANS = 20  # with fewer, a network hardly learns what slices look like
MADE = 'SliceSpacingBefore'  # field of the sidecar of a stack that was made

logger = logging.getLogger(__name__)


def read_scans(
    folders: Sequence[Path], exclude: Sequence[str] = (), held_out: Sequence[str] = ()
) -> Cohort[SliceStack]:
    """Read scans as stacks of slices.

    Parameters
    ----------
    folders
        Folders of scans, with sidecars where these are known.
    exclude
        Shell patterns of names of files that are not read.
    held_out
        Shell patterns of names of files to validate on and not to train on.
    """
    paths = find_images(folders, exclude)
    if len(paths) < FEW_SCANS:
        logger.warning(
            '%d scans are few to learn from: %d or more are better', len(paths), FEW_SCANS
        )
    return split_cohort(paths, [read_stack(path) for path in paths], held_out)


def read_stack(path: Path) -> SliceStack:
    """Read the slices of a scan, resample each to 1 mm, and scale them robustly.

    Raises
    ------
    ValueError
        For a file that is no usable scan, with what is wrong with it.
    """
    entities, suffix, extension = split_name(path.name)
    sidecar = path.with_name(path.name.removesuffix(extension) + '.json')
    metadata = read_object(sidecar) if extension and sidecar.is_file() else {}
    scan, voxels = load_scan(read_scan(path, suffix or 'T1w', entities, metadata))
    if voxels is None:
        raise ValueError(f'{path}: {" ".join(scan.problems)}')
    native, slices = scan.geometry
    grid = in_ras_order(native)
    across = int(np.abs(grid.directions.T @ native.directions[:, slices.slice_axis]).argmax())
    plane = grid
    for axis in {0, 1, 2} - {across}:
        plane = with_slices(plane, axis, PLANE_MM)
    fine = resample(voxels_in_ras_order(voxels, native), grid, plane, order=3).clip(min=0)
    unit = bright_intensity(fine)
    if unit <= 0:
        raise ValueError(f'{path} shows nothing: all its voxels are {voxels.flat[0]}')
    shown = (fine > SHOWN * unit).any(across, keepdims=True)
    box = bounding_box(np.broadcast_to(shown, fine.shape), MARGIN_VOX)  # all slices stay
    stack, order = fine[box] / unit, [*({0, 1, 2} - {across}), across]
    voxels_last = torch.from_numpy(np.ascontiguousarray(stack.transpose(order), np.float16))
    return SliceStack(
        voxels_last,
        _with_axes(crop_grid(plane, box), order),
        slices.slice_spacing,
        slices.slice_thickness,
        path.name,
    )


def _with_axes(grid: Grid, order: Sequence[int]) -> Grid:
    """Bring the axes of a grid in another order; the voxels stay where they are."""
    vox2ras = grid.vox2ras[:, [*order, 3]]
    first, second, third = (grid.shape[axis] for axis in order)
    return Grid((first, second, third), vox2ras)


def read_made(
    folders: Sequence[Path], exclude: Sequence[str] = (), held_out: Sequence[str] = ()
) -> Cohort[SliceStack]:
    """Read stacks that `bids_synthsr.training.dense.write_stacks` wrote.

    Parameters
    ----------
    folders
        Folders of such stacks.
    exclude
        Shell patterns of names of files that are not read.
    held_out
        Shell patterns of names of files to validate on and not to train on.

    Raises
    ------
    ValueError
        For an image that is no such stack.
    """
    paths = find_images(folders, exclude)
    return split_cohort(paths, [_read_made(path) for path in paths], held_out)


def _read_made(path: Path) -> SliceStack:
    """Read a stack and the thickness of its slices."""
    sidecar = path.with_name(path.name.removesuffix('.nii.gz') + '.json')
    facts = read_object(sidecar) if sidecar.is_file() else {}
    thickness = facts.get('SliceThickness')
    if MADE not in facts or not isinstance(thickness, int | float) or not thickness > 0:
        raise ValueError(
            f'{path} was not made by "synthsr train stacks", whose sidecars tell how: make stacks '
            'of the scans first'
        )
    voxels, grid = load_volume(path)
    return SliceStack(
        torch.from_numpy(voxels.astype(np.float16)),
        grid,
        round(float(grid.spacing[2]), 4),
        float(thickness),
        path.name,
    )
