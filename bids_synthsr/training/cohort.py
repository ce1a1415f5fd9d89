"""The heads that a training sees: read once, checked before the training, held in memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import compress
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch

from bids_synthsr.dataset.images import load_volume
from bids_synthsr.imaging.geometry import bounding_box, output_grid, voxels_in_ras_order
from bids_synthsr.imaging.intensity import bright_intensity
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.synthesis.heads import Head, ImagePair, RealImage, SliceStack, make_head
from bids_synthsr.synthesis.labels import LabelTable, freesurfer_table
from bids_synthsr.values.grid import Grid

ENDINGS = ('.nii.gz', '.nii', '.mgz', '.mgh')
MARGIN_VOX = 8  # voxels of air that stay around a head
SHOWN = 0.02  # where 1 is bright: darker voxels show air
SPACING_TOLERANCE = 0.02  # mm: FreeSurfer's 1 mm is exact, resampled maps nearly so

logger = logging.getLogger(__name__)


Item = TypeVar('Item', Head, RealImage, ImagePair, SliceStack)


@dataclass(frozen=True)
class PairFiles:
    """The two files of a pair.

    Parameters
    ----------
    given, wanted
        File that the network gets, and file of what it is to make.
    """

    given: Path
    wanted: Path


@dataclass(frozen=True)
class DataChoice:
    """Folders and files that a training reads.

    Parameters
    ----------
    label_maps
        Folder of label maps; None where none was given.
    images
        Folders of real T1w images.
    exclude
        Shell patterns of names of files that are not read.
    held_out
        Shell patterns of names of files to validate on and not to train on.
    pairs
        Files of pairs of images; empty where none were given.
    spacing_mm
        Voxels of the samples, mm, for what is not of 1 mm.
    """

    label_maps: Path | None = None
    images: Sequence[Path] = ()
    exclude: Sequence[str] = ()
    held_out: Sequence[str] = ()
    pairs: Sequence[PairFiles] = ()
    spacing_mm: float = 1.0


@dataclass(frozen=True, eq=False)
class Cohort(Generic[Item]):
    """Heads, or real images, to train on, and others that are held out to validate on.

    Parameters
    ----------
    training
        Heads or images to train on.
    held_out
        Heads or images to validate on.
    """

    training: tuple[Item, ...] = ()
    held_out: tuple[Item, ...] = ()

    @property
    def names(self) -> dict[str, list[str]]:
        """Names of what was used for what, for descriptions of weights."""
        return {
            'training': [item.name for item in self.training],
            'validation': [item.name for item in self.held_out],
        }

    def to(self, device: torch.device) -> Cohort[Item]:
        """Move all voxels to a device."""
        return Cohort(
            tuple(item.to(device) for item in self.training),
            tuple(item.to(device) for item in self.held_out),
        )


def read_heads(
    label_folder: Path,
    image_folders: Sequence[Path],
    exclude: Sequence[str] = (),
    held_out: Sequence[str] = (),
) -> Cohort[Head]:
    """Read the label maps of a folder, and for each its real image where images are given.

    An image belongs to the label map of the same name, or of the same name up to the last ``_``.

    Parameters
    ----------
    label_folder
        Folder of label maps of 1 mm.
    image_folders
        Folders of real T1w images of the same heads; empty for none.
    exclude
        Shell patterns of names of files that are not read.
    held_out
        Shell patterns of names of files to validate on and not to train on.
    """
    maps = find_images([label_folder], exclude)
    images = _paired(maps, find_images(image_folders, exclude)) if image_folders else {}
    table = freesurfer_table()
    return split_cohort(
        maps, [_read_head(path, images.get(path), table) for path in maps], held_out
    )


def read_real_images(
    folders: Sequence[Path], exclude: Sequence[str] = (), held_out: Sequence[str] = ()
) -> Cohort[RealImage]:
    """Read the real images of some folders.

    Parameters
    ----------
    folders
        Folders of real T1w images of any voxel size.
    exclude
        Shell patterns of names of files that are not read.
    held_out
        Shell patterns of names of files to validate on and not to train on.
    """
    paths = find_images(folders, exclude)
    return split_cohort(paths, [read_real_image(path) for path in paths], held_out)


def split_cohort(
    paths: Sequence[Path], items: Sequence[Item], held_out: Sequence[str]
) -> Cohort[Item]:
    """Hold out the items whose file names fit the patterns.

    Parameters
    ----------
    paths, items
        File of each item, and what was read of it.
    held_out
        Shell patterns of names of files to validate on and not to train on.

    Raises
    ------
    ValueError
        For patterns that leave nothing to train on or to validate on.
    """
    is_held_out = hold_out(paths, held_out)
    count = sum(is_held_out)
    logger.info('Read %d heads to train on, %d held out', len(paths) - count, count)
    return Cohort(
        training=tuple(compress(items, [not held for held in is_held_out])),
        held_out=tuple(compress(items, is_held_out)),
    )


def hold_out(paths: Sequence[Path], held_out: Sequence[str]) -> list[bool]:
    """Tell for each file whether it is held out.

    Parameters
    ----------
    paths
        Files to train on or to hold out.
    held_out
        Shell patterns of names of files to validate on and not to train on.

    Raises
    ------
    ValueError
        For patterns that leave nothing to train on or to validate on.
    """
    is_held_out = [fits(path, held_out) for path in paths]
    count = sum(is_held_out)
    if held_out and count in (0, len(paths)):
        names = ', '.join(path.name for path in paths[:3])
        raise ValueError(
            f'--held-out {" ".join(held_out)} fits {count} of {len(paths)} files '
            f'such as {names}: some must be held out, and some must be left to train on'
        )
    return is_held_out


def find_images(folders: Sequence[Path], exclude: Sequence[str] = ()) -> list[Path]:
    """List the image files directly in some folders, but for those whose name fits a pattern.

    Parameters
    ----------
    folders
        Folders with at least one image file each.
    exclude
        Shell patterns of names of files that are not listed.

    Raises
    ------
    FileNotFoundError
        For a folder that is missing, empty, or empty after the exclusion.
    """
    paths = []
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f'{folder} is not a folder')
        images = sorted(path for path in folder.iterdir() if path.name.endswith(ENDINGS))
        usable = [path for path in images if not fits(path, exclude)]
        if not usable:
            raise FileNotFoundError(
                f'{folder} holds {len(images)} image files ({", ".join(ENDINGS)}), and '
                f'{len(images)} of them are excluded: nothing is left to train on'
            )
        paths += usable
    return paths


def fits(path: Path, patterns: Sequence[str]) -> bool:
    """Whether the name of a file, or its start, fits one of some shell patterns."""
    return any(
        fnmatch(path.name, pattern) or fnmatch(_stem(path), pattern) for pattern in patterns
    )


def _stem(path: Path) -> str:
    """Name of an image file without its ending."""
    ending = next((ending for ending in ENDINGS if path.name.lower().endswith(ending)), '')
    return path.name[: len(path.name) - len(ending)]


def _read_head(path: Path, image_path: Path | None, table: LabelTable) -> Head:
    labels, grid = load_volume(path)
    _check_millimetre(grid, path)
    check_finite(labels, path)
    image = None
    if image_path is not None:
        image, image_grid = load_volume(image_path)
        if image_grid != grid:
            raise ValueError(
                f'{image_path} has {image_grid.shape} voxels, its label map {path} {grid.shape}, '
                'or they lie elsewhere: resample the image on the grid of the labels'
            )
        image = voxels_in_ras_order(image, grid)
    labels = voxels_in_ras_order(labels, grid)
    whole = labels.astype(np.int32)
    if (whole == labels).all():  # else `make_head` raises
        labels = whole
    box = bounding_box(labels > 0, MARGIN_VOX)
    return make_head(
        torch.from_numpy(labels[box].copy()),
        None if image is None else torch.from_numpy(image[box].copy()),
        table,
        path.name,
    )


def _paired(label_files: Sequence[Path], image_files: Sequence[Path]) -> dict[Path, Path]:
    """Find the image of each label map by its name; which it is is never guessed.

    Raises
    ------
    ValueError
        If a label map has no image or several, or an image several label maps.
    """
    pairs: dict[Path, list[Path]] = {}
    for key in (_stem, _first_part):
        pairs = {x: [y for y in image_files if key(y) == key(x)] for x in label_files}
        pairs = {path: images for path, images in pairs.items() if images}
        if len(pairs) == len(label_files):
            return _one_to_one(pairs)
    missing = [path.name for path in label_files if path not in pairs]
    raise ValueError(
        f'No image is named like the label maps {", ".join(missing[:3])}: {len(missing)} of '
        f'{len(label_files)} have none. Name the image sub-01_T1w.nii.gz of a label map '
        'sub-01_dseg.nii.gz, or give no images'
    )


def _first_part(path: Path) -> str:
    """Name of an image file up to its last ``_``, where it has one."""
    return _stem(path).rpartition('_')[0] or _stem(path)


def _one_to_one(pairs: Mapping[Path, Sequence[Path]]) -> dict[Path, Path]:
    """Refuse names that several files share."""
    owners: dict[Path, Path] = {}
    for path, images in pairs.items():
        if len(images) > 1:
            raise ValueError(
                f'{path} could belong to {" and ".join(map(str, images))}: rename or --exclude '
                'all but one of them'
            )
        if images[0] in owners:
            raise ValueError(
                f'{images[0]} could belong to {owners[images[0]]} and {path}: rename or --exclude '
                'one of them'
            )
        owners[images[0]] = path
    return {path: image for image, path in owners.items()}


def read_real_image(path: Path) -> RealImage:
    """Read a real image, resample it to 1 mm and scale it robustly."""
    voxels, grid = load_volume(path)
    check_finite(voxels, path)
    fine = resample(voxels, grid, output_grid(grid), order=3).clip(min=0)
    unit = bright_intensity(fine)
    if unit <= 0:
        raise ValueError(f'{path} shows nothing: all its voxels are {voxels.flat[0]}')
    fine /= unit
    head = fine[bounding_box(fine > SHOWN, MARGIN_VOX)]
    return RealImage(torch.from_numpy(head.astype(np.float16)), path.name)


def _check_millimetre(grid: Grid, path: Path) -> None:
    if np.abs(grid.spacing - 1).max() > SPACING_TOLERANCE:
        raise ValueError(
            f'{path} has voxels of {grid.spacing.round(3)} mm: the generator needs label maps of '
            '1 mm; resample it (nearest neighbour)'
        )


def check_finite(voxels: np.ndarray, path: Path) -> None:
    """Raise for voxels that are no numbers."""
    count = int((~np.isfinite(voxels)).sum())
    if count:
        raise ValueError(f'{path} has {count} voxels that are not finite (NaN): set them to 0')
