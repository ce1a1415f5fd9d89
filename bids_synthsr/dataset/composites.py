"""Affine and displacement together, in the file that ITK, ANTs and fMRIPrep exchange (HDF5)."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import SimpleITK

from bids_synthsr.dataset.files import written_atomically
from bids_synthsr.values.grid import Grid

RAS2LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SUFFIX = '.h5'
OF_THE_SYSTEM = ('OSName', 'OSVersion')  # parts of ITK's file that no reader needs


def affine_of(matrix: np.ndarray) -> SimpleITK.AffineTransform:
    """Make a transform of ITK, which counts in LPS, of a ``(4, 4)`` matrix in RAS+ mm."""
    lps = RAS2LPS @ matrix @ RAS2LPS
    transform = SimpleITK.AffineTransform(3)
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation(lps[:3, 3].tolist())
    return transform


def field_of(displacement: np.ndarray, grid: Grid) -> SimpleITK.DisplacementFieldTransform:
    """Make a transform of ITK of displacements.

    Parameters
    ----------
    displacement
        ``(3, I, J, K)`` mm along R, A and S.
    grid
        Where the displacements lie.
    """
    lps = RAS2LPS @ grid.vox2ras
    vectors = np.moveaxis(displacement, 0, -1) * np.diag(RAS2LPS)[:3]
    image = SimpleITK.GetImageFromArray(
        np.ascontiguousarray(vectors.transpose(2, 1, 0, 3), np.float64), isVector=True
    )
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetSpacing(grid.spacing.tolist())
    image.SetDirection((lps[:3, :3] / grid.spacing).ravel().tolist())
    return SimpleITK.DisplacementFieldTransform(image)


def save_composite(path: Path, steps: list[SimpleITK.Transform]) -> Path:
    """Write transforms that are applied to a point one after the other, whole or not at all.

    Parameters
    ----------
    path
        File with the ending ``.h5``.
    steps
        Transforms, the one that a point meets first first.
    """
    composite = SimpleITK.CompositeTransform(3)
    for step in reversed(steps):  # ITK applies first what was added last
        composite.AddTransform(step)
    with written_atomically(path) as temporary:
        SimpleITK.WriteTransform(composite, str(temporary))
        _forget_dates(temporary)
    return path


def _forget_dates(path: Path) -> None:
    """Write a file of ITK again without times and system: equal transforms make equal files."""
    parts: dict[str, tuple[np.ndarray, np.dtype]] = {}

    def keep(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset) and name not in OF_THE_SYSTEM:
            parts[name] = item[()], item.dtype

    with h5py.File(path) as file:
        file.visititems(keep)
    with h5py.File(path, 'w') as file:
        for name, (values, dtype) in parts.items():
            file.create_dataset(name, data=values, dtype=dtype, track_times=False)


def find_composite_fault(path: Path) -> str:
    """Describe why a file is no such transform, in a clause; empty if it is one."""
    try:
        SimpleITK.ReadTransform(str(path))
    except RuntimeError as error:
        return f'it cannot be read ({str(error).strip().splitlines()[-1]})'
    return ''
