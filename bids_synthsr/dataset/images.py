"""Files to arrays and back: volumes as NIfTI, rigid transforms as ITK text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nb
import numpy as np
from isal import igzip
from nibabel.spatialimages import SpatialImage
from nitransforms.io.base import TransformFileError
from nitransforms.linear import Affine

from bids_synthsr.dataset.files import open_regular, written_atomically
from bids_synthsr.dataset.image_files import READING_FAULTS
from bids_synthsr.values.grid import Grid

SCANNER_SPACE = 1  # NIfTI xform code
COMPRESSION = 1  # level of isal: higher ones hardly make volumes smaller
RIGID = 1e-3  # how far the axes of a rigid transform may be off: text rounds


def _open(path: Path) -> SpatialImage:
    open_regular(path).close()  # or a pipe would be waited for
    with _naming(path):
        image = nb.load(path)
    if not isinstance(image, SpatialImage):
        raise ValueError(f'{path} is not an image but {type(image).__name__}')
    return image


@contextmanager
def _naming(file: str | Path | None) -> Iterator[None]:
    """Turn what a damaged image brings about into a sentence that names its file."""
    try:
        yield
    except READING_FAULTS as error:
        reason = str(error) or type(error).__name__
        raise ValueError(
            f'{file or "The image"} cannot be read ({reason}): copy or convert it again'
        ) from error


def load_volume(path: Path) -> tuple[np.ndarray, Grid]:
    """Read a 3-D volume as float32 with its grid.

    Raises
    ------
    OSError
        If it cannot be opened, or is no regular file.
    ValueError
        If it is damaged, or no image of three dimensions.
    """
    return volume_of(_open(path))


def load_grid(path: Path) -> Grid:
    """Read where the voxels of a volume lie, not the voxels."""
    return grid_of(_open(path))


def grid_of(image: SpatialImage) -> Grid:
    """Take the grid of an image's first three axes."""
    i, j, k = image.shape[:3]
    return Grid((int(i), int(j), int(k)), np.asarray(image.affine, dtype=np.float64))


def volume_of(image: SpatialImage) -> tuple[np.ndarray, Grid]:
    """Take voxels (float32) and grid from a 3-D image."""
    with _naming(image.get_filename()):
        voxels = np.asanyarray(image.dataobj).astype(np.float32, copy=False)
    if voxels.ndim != 3:
        raise ValueError(f'{image.get_filename()} has {voxels.ndim} dimensions, not 3')
    return voxels, grid_of(image)


def image_of(voxels: np.ndarray, grid: Grid) -> nb.Nifti1Image:
    """Make a NIfTI image whose qform and sform both are the grid's affine."""
    image = nb.Nifti1Image(voxels, grid.vox2ras)
    image.set_sform(grid.vox2ras, SCANNER_SPACE)
    image.set_qform(grid.vox2ras, SCANNER_SPACE)
    image.header.set_xyzt_units('mm', 'sec')
    return image


def save_volume(
    path: Path, voxels: np.ndarray, grid: Grid, dtype: np.dtype | type | None = None
) -> Path:
    """Write a volume, whole or not at all.

    Parameters
    ----------
    dtype
        Data type on disk, values scaled to its range; None keeps that of ``voxels``.
    """
    image = image_of(voxels, grid)
    if dtype is not None:
        image.set_data_dtype(dtype)
    with written_atomically(path) as temporary:
        write_image(temporary, image)
    return path


def write_image(temporary: Path, image: SpatialImage) -> None:
    """Write an image in the format that the name tells; equal images are equal files.

    Compressed in a seventh of the time that zlib takes, and as small
    (benchmarks/speed/compression.py).

    Parameters
    ----------
    temporary
        File that `written_atomically` has made.
    image
        Image with voxels and affine.
    """
    if temporary.suffix != '.gz' or not isinstance(image, nb.Nifti1Image):
        nb.save(image, temporary)
        return
    with (
        temporary.open('wb') as file,
        igzip.IGzipFile('', 'wb', COMPRESSION, file, mtime=0) as compressed,
    ):
        image.to_stream(compressed)


def load_rigid(path: Path) -> np.ndarray:
    """Read ``scan2ref``, RAS+ mm, ``(4, 4)``, from an ITK text file.

    ITK stores where each point of the output comes from, that is the inverse, in LPS.

    Raises
    ------
    ValueError
        If the file holds no rigid transform that can be read.
    """
    try:
        ref2scan = Affine.from_filename(path, fmt='itk').matrix
    except (TransformFileError, LookupError, ValueError) as error:
        raise ValueError(f'{path} is no affine transform in the text format of ITK') from error
    axes = ref2scan[:3, :3]
    if not np.allclose(axes.T @ axes, np.eye(3), atol=RIGID) or np.linalg.det(axes) < 0:
        raise ValueError(f'{path} does not move the head alone: it scales, shears or mirrors it')
    return np.linalg.inv(ref2scan)


def save_rigid(path: Path, scan2ref: np.ndarray) -> Path:
    """Write ``scan2ref`` so that ITK-based tools resample the scan in the reference's space."""
    with written_atomically(path) as temporary:
        Affine(np.linalg.inv(scan2ref)).to_filename(temporary, fmt='itk')
    return path
