"""Stacks of slices: read as scans have them, or as a network of slices made them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bids_synthsr.dataset.files import read_object
from bids_synthsr.dataset.guessing import guess_contrast, stem_of
from bids_synthsr.dataset.images import load_volume
from bids_synthsr.dataset.plain import plain_exam, take_files
from bids_synthsr.dataset.scans import load_scan
from bids_synthsr.imaging.geometry import bounding_box, crop_grid, output_grid
from bids_synthsr.imaging.intensity import bright_intensity
from bids_synthsr.methods.sr_t1 import slices_on_grid
from bids_synthsr.synthesis.heads import SHOWN_INTENSITY, SliceStack
from bids_synthsr.training.cohort import MARGIN_VOX, SHOWN, Cohort, find_images, split_cohort
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation

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
    check_unlike_names(paths)
    if 0 < len(paths) < FEW_SCANS:
        logger.warning(
            '%d scans are few to learn from: %d or more are better', len(paths), FEW_SCANS
        )
    return split_cohort(paths, [read_stack(path) for path in paths], held_out)


def check_unlike_names(paths: Sequence[Path]) -> None:
    """Refuse two scans of one name, by which samples and stacks are told apart.

    Parameters
    ----------
    paths
        Files of scans or stacks.

    Raises
    ------
    ValueError
        With the name that two of them have.
    """
    first: dict[str, Path] = {}
    for path in paths:
        other = first.setdefault(path.name, path)
        if other != path:
            raise ValueError(f'{other} and {path} have one name: rename or --exclude one of them')


def check_contrast(path: Path) -> None:
    """Refuse a name that tells no contrast: by the names weights know what they learned from.

    Parameters
    ----------
    path
        File of a scan or stack.

    Raises
    ------
    ValueError
        With what the name lacks.
    """
    try:
        guess_contrast(path.name)
    except ValueError as error:
        raise ValueError(
            f'{path}: its name must tell one contrast, as {stem_of(path.name)}_T1w.nii.gz would'
        ) from error


def read_stack(path: Path) -> SliceStack:
    """Read the slices of a scan, resample each to 1 mm, and scale them robustly.

    Raises
    ------
    ValueError
        For a file that is no usable scan, with what is wrong with it.
    """
    check_contrast(path)
    scan, voxels = load_scan(plain_exam(take_files([path])).scans[0])
    if voxels is None:
        raise ValueError(f'{path}: {" ".join(scan.problems)}')
    native, slices = scan.geometry
    if not scan.metadata.get('SliceThickness'):
        logger.warning(
            '%s: no sidecar tells how thick its slices are; %g mm, their distance, is taken',
            path.name,
            slices.slice_spacing,
        )
    observation = Observation(scan.suffix, voxels, native, slices, np.eye(4))
    fine = output_grid(native, PLANE_MM)
    stack, line, across = slices_on_grid(observation, fine)
    stack = stack.clamp(min=0)
    unit = bright_intensity(stack.numpy())
    if unit <= 0:
        raise ValueError(f'{path} shows nothing: all its voxels are {voxels.flat[0]}')
    stack /= unit
    shown = (stack > SHOWN).any(2, keepdim=True).expand(stack.shape)
    box = bounding_box(shown.numpy(), MARGIN_VOX)  # all slices stay
    return SliceStack(
        stack[box].half(),
        crop_grid(_grid_of_slices(fine, across, line, stack.shape), box),
        slices.slice_spacing,
        slices.slice_thickness,
        path.name,
    )


def _grid_of_slices(
    fine: Grid, across: int, line: tuple[float, float], shape: Sequence[int]
) -> Grid:
    """Place slices: two axes of a fine grid, then the slices in their own order.

    Parameters
    ----------
    fine
        Grid of which two axes lie within the slices.
    across
        Its axis across them.
    line
        Position of its first voxel across the slices, and the step to the next, in slices.
    shape
        Number of voxels within slices, and of slices.
    """
    first, step = line
    within = [axis for axis in range(3) if axis != across]
    vox2ras = np.eye(4)
    vox2ras[:, :2] = fine.vox2ras[:, within]
    vox2ras[:, 2] = fine.vox2ras[:, across] / step
    vox2ras[:, 3] = fine.vox2ras[:, 3] - first * vox2ras[:, 2]
    width, height, count = shape
    return Grid((width, height, count), vox2ras)


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
    check_unlike_names(paths)
    return split_cohort(paths, [_read_made(path) for path in paths], held_out)


def _read_made(path: Path) -> SliceStack:
    """Read a stack and the thickness of its slices."""
    check_contrast(path)
    sidecar = path.with_name(f'{stem_of(path.name)}.json')
    facts = read_object(sidecar) if sidecar.is_file() else {}
    thickness = facts.get('SliceThickness')
    if MADE not in facts or not isinstance(thickness, int | float) or not thickness > 0:
        raise ValueError(
            f'{path} was not made by "synthsr train stacks", whose sidecars tell how: make stacks '
            'of the scans first'
        )
    voxels, grid = load_volume(path)
    if not (voxels > SHOWN_INTENSITY).any():
        raise ValueError(f'{path} shows nothing: the network that made it has learned too little')
    return SliceStack(
        torch.from_numpy(voxels.astype(np.float16)),
        grid,
        round(float(grid.spacing[2]), 4),
        float(thickness),
        path.name,
    )
