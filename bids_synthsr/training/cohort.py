"""The heads a training sees: read once, checked before any hour is spent, kept in memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cached_property
from itertools import compress
from pathlib import Path

import numpy as np
import torch

from bids_synthsr.dataset.images import load_volume
from bids_synthsr.imaging.geometry import output_grid, voxels_in_ras_order
from bids_synthsr.imaging.intensity import bright_intensity
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.synthesis.generator import Head, make_head
from bids_synthsr.synthesis.labels import LabelTable, freesurfer_table
from bids_synthsr.values.grid import Grid

ENDINGS = ('.nii.gz', '.nii', '.mgz', '.mgh')
MARGIN_VOX = 8  # of air that is kept around a head
SHOWN = 0.02  # where 1 is bright: darker voxels show air
SHOWN_IN_SAMPLE = 0.05  # the same where 1 is bright
SPACING_TOLERANCE = 0.02  # mm: FreeSurfer's 1 mm is exact, resampled maps nearly so

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Photograph:
    """A real T1w image without labels.

    Parameters
    ----------
    voxels
        ``(I, J, K)`` float16 at 1 mm, axes in RAS order, cropped to the head; about 0 to 1.
    name
        Of its file.
    """

    voxels: torch.Tensor
    name: str

    @cached_property
    def shown(self) -> int:
        """Count the voxels that show something."""
        return int((self.voxels > SHOWN_IN_SAMPLE).sum())


@dataclass(frozen=True, eq=False)
class Cohort:
    """Heads to train on, and heads held out to validate on.

    Parameters
    ----------
    training, held_out
        Heads with label maps.
    photographs, held_out_photographs
        Real images without.
    """

    training: tuple[Head, ...] = ()
    held_out: tuple[Head, ...] = ()
    photographs: tuple[Photograph, ...] = ()
    held_out_photographs: tuple[Photograph, ...] = ()

    @property
    def names(self) -> dict[str, list[str]]:
        """What was used for what, for weight descriptions."""
        heads, held_out = [x.name for x in self.training], [x.name for x in self.held_out]
        return {
            'training': heads + [x.name for x in self.photographs],
            'validation': held_out + [x.name for x in self.held_out_photographs],
        }

    def to(self, device: torch.device) -> Cohort:
        """Move all voxels to a device."""
        return Cohort(
            tuple(_head_to(head, device) for head in self.training),
            tuple(_head_to(head, device) for head in self.held_out),
            tuple(replace(p, voxels=p.voxels.to(device)) for p in self.photographs),
            tuple(replace(p, voxels=p.voxels.to(device)) for p in self.held_out_photographs),
        )


def _head_to(head: Head, device: torch.device) -> Head:
    image = None if head.image is None else head.image.to(device)
    return replace(head, labels=head.labels.to(device), image=image)


def read_heads(
    label_folder: Path,
    image_folders: Sequence[Path],
    exclude: Sequence[str] = (),
    held_out: Sequence[str] = (),
) -> Cohort:
    """Read the label maps of a folder, and for each its real image where images are given.

    An image belongs to the label map of the same name, or of the same name up to the last ``_``.

    Parameters
    ----------
    exclude, held_out
        Shell patterns of file names: not to be touched, not to be trained on.
    """
    maps = find_images([label_folder], exclude)
    images = _paired(maps, find_images(image_folders, exclude)) if image_folders else {}
    table = freesurfer_table()
    heads = [_read_head(path, images.get(path), table) for path in maps]
    kept = [not fits(path, held_out) for path in maps]
    _report(maps, kept, held_out)
    return Cohort(
        training=tuple(compress(heads, kept)),
        held_out=tuple(head for head, is_kept in zip(heads, kept, strict=True) if not is_kept),
    )


def read_photographs(
    folders: Sequence[Path], exclude: Sequence[str] = (), held_out: Sequence[str] = ()
) -> Cohort:
    """Read the real images of some folders; patterns as in `read_heads`."""
    paths = find_images(folders, exclude)
    images = [read_photograph(path) for path in paths]
    kept = [not fits(path, held_out) for path in paths]
    _report(paths, kept, held_out)
    return Cohort(
        photographs=tuple(compress(images, kept)),
        held_out_photographs=tuple(
            image for image, is_kept in zip(images, kept, strict=True) if not is_kept
        ),
    )


def _report(paths: Sequence[Path], kept: Sequence[bool], held_out: Sequence[str]) -> None:
    """Say what was read; refuse patterns that leave nothing to train on or to validate on."""
    count = sum(kept)
    if held_out and count in (0, len(paths)):
        names = ', '.join(path.name for path in paths[:3])
        raise ValueError(
            f'--held-out {" ".join(held_out)} fits {len(paths) - count} of {len(paths)} files '
            f'such as {names}: some must be held out, and some must be left to train on'
        )
    logger.info('Read %d heads to train on, %d held out', count, len(paths) - count)


def find_images(folders: Sequence[Path], exclude: Sequence[str] = ()) -> list[Path]:
    """List the image files directly in some folders, but for those whose name fits a pattern.

    Raises
    ------
    FileNotFoundError
        For a folder that is missing, empty, or empty after the exclusion.
    """
    kept = []
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f'{folder} is not a folder')
        found = sorted(path for path in folder.iterdir() if path.name.endswith(ENDINGS))
        wanted = [path for path in found if not fits(path, exclude)]
        if not wanted:
            raise FileNotFoundError(
                f'{folder} holds {len(found)} image files ({", ".join(ENDINGS)}), and '
                f'{len(found)} of them are excluded: nothing is left to train on'
            )
        kept += wanted
    return kept


def fits(path: Path, patterns: Sequence[str]) -> bool:
    """Whether the name of a file, or its start, fits one of some shell patterns."""
    return any(
        fnmatch(path.name, pattern) or fnmatch(_stem(path), pattern) for pattern in patterns
    )


def _stem(path: Path) -> str:
    """Name of an image file without its ending."""
    ending = next(ending for ending in ENDINGS if path.name.endswith(ending))
    return path.name.removesuffix(ending)


def _read_head(path: Path, image_path: Path | None, table: LabelTable) -> Head:
    labels, grid = load_volume(path)
    _check_millimetre(grid, path)
    _check_finite(labels, path)
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
    box = _bounding_box(labels > 0)
    return make_head(
        torch.from_numpy(labels[box].copy()),
        None if image is None else torch.from_numpy(image[box].copy()),
        table,
        path.name,
    )


def _paired(label_files: Sequence[Path], image_files: Sequence[Path]) -> dict[Path, Path]:
    """Find the image of each label map by its name."""
    pairs = {}
    for key in (_stem, lambda path: _stem(path).rpartition('_')[0]):
        by_name = {key(path): path for path in image_files}
        pairs = {path: by_name[key(path)] for path in label_files if key(path) in by_name}
        if len(pairs) == len(label_files) == len(set(pairs.values())):
            return pairs
    missing = [path.name for path in label_files if path not in pairs]
    raise ValueError(
        f'No image is named like the label maps {", ".join(missing[:3])}: {len(missing)} of '
        f'{len(label_files)} have none. Name the image sub-01_T1w.nii.gz of a label map '
        'sub-01_dseg.nii.gz, or give no images'
    )


def read_photograph(path: Path) -> Photograph:
    """Read a real image, resample it to 1 mm and scale it robustly."""
    voxels, grid = load_volume(path)
    _check_finite(voxels, path)
    fine = resample(voxels, grid, output_grid(grid), order=3).clip(min=0)
    unit = bright_intensity(fine)
    if unit <= 0:
        raise ValueError(f'{path} shows nothing: all its voxels are {voxels.flat[0]}')
    fine /= unit
    head = fine[_bounding_box(fine > SHOWN)]
    return Photograph(torch.from_numpy(head.astype(np.float16)), path.name)


def _check_millimetre(grid: Grid, path: Path) -> None:
    if np.abs(grid.spacing - 1).max() > SPACING_TOLERANCE:
        raise ValueError(
            f'{path} has voxels of {grid.spacing.round(3)} mm: the generator needs label maps of '
            '1 mm; resample it (nearest neighbour)'
        )


def _check_finite(voxels: np.ndarray, path: Path) -> None:
    count = int((~np.isfinite(voxels)).sum())
    if count:
        raise ValueError(f'{path} has {count} voxels that are not finite (NaN): set them to 0')


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """Find what a mask spans, with a margin."""
    box = []
    for axis in range(3):
        found = np.flatnonzero(mask.any(tuple(other for other in range(3) if other != axis)))
        low, high = (found[0], found[-1]) if len(found) else (0, mask.shape[axis] - 1)
        box.append(slice(max(low - MARGIN_VOX, 0), high + MARGIN_VOX + 1))
    return tuple(box)
