"""Surfaces of FreeSurfer: read into scanner coordinates, written as GIFTI, and cut by planes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np

from bids_synthsr.dataset.files import written_atomically
from bids_synthsr.imaging.geometry import apply_affine

SIDES = {'lh': 'L', 'rh': 'R'}
STRUCTURE = {'lh': 'CortexLeft', 'rh': 'CortexRight'}


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangulated surface.

    Parameters
    ----------
    points
        Vertices, ``(N, 3)`` RAS+ mm of the scanner.
    triangles
        Numbers of the vertices of each triangle, ``(M, 3)``.
    """

    points: np.ndarray
    triangles: np.ndarray


def load_surface(path: Path, volume: Path) -> Mesh:
    """Read a surface of FreeSurfer, and bring it to where the scanner had the head.

    Parameters
    ----------
    path
        The surface, such as ``surf/lh.pial``.
    volume
        A volume of the same subject folder, in whose frame the surface is.

    Raises
    ------
    ValueError
        If the file is no surface.
    """
    try:
        points, triangles = nb.freesurfer.read_geometry(str(path))
        image: Any = nb.load(str(volume))
    except (ValueError, OSError, IndexError, nb.filebasedimages.ImageFileError) as error:
        raise ValueError(f'{path} is no surface of FreeSurfer: {error}') from error
    tkr2scanner = image.affine @ np.linalg.inv(image.header.get_vox2ras_tkr())
    return Mesh(apply_affine(tkr2scanner, points), triangles.astype(np.int32))


def load_values(path: Path, mesh: Mesh) -> np.ndarray:
    """Read a value for each vertex, such as the thickness, ``(N,)``.

    Raises
    ------
    ValueError
        If the file has no value for each vertex of the surface.
    """
    try:
        values = nb.freesurfer.read_morph_data(str(path))
    except (ValueError, OSError, IndexError) as error:
        raise ValueError(f'{path} cannot be read: {error}') from error
    if values.shape != (len(mesh.points),):
        raise ValueError(f'{path} has {values.size} values for {len(mesh.points)} vertices')
    return values.astype(np.float32)


def save_mesh(path: Path, mesh: Mesh, side: str) -> Path:
    """Write a surface as GIFTI, whole or not at all."""
    meta = nb.gifti.GiftiMetaData({'AnatomicalStructurePrimary': STRUCTURE[side]})
    points = nb.gifti.GiftiDataArray(
        mesh.points.astype(np.float32), 'NIFTI_INTENT_POINTSET', 'NIFTI_TYPE_FLOAT32', meta=meta
    )
    triangles = nb.gifti.GiftiDataArray(
        mesh.triangles.astype(np.int32), 'NIFTI_INTENT_TRIANGLE', 'NIFTI_TYPE_INT32'
    )
    return _save(path, nb.gifti.GiftiImage(darrays=[points, triangles]))


def save_values(path: Path, values: np.ndarray, side: str) -> Path:
    """Write a value for each vertex as GIFTI, whole or not at all."""
    array = nb.gifti.GiftiDataArray(
        values.astype(np.float32), 'NIFTI_INTENT_SHAPE', 'NIFTI_TYPE_FLOAT32'
    )
    meta = nb.gifti.GiftiMetaData({'AnatomicalStructurePrimary': STRUCTURE[side]})
    return _save(path, nb.gifti.GiftiImage(meta=meta, darrays=[array]))


def load_mesh(path: Path) -> Mesh:
    """Read a surface that `save_mesh` wrote."""
    points, triangles = _arrays(path)
    return Mesh(points.astype(float), triangles)


def load_shape(path: Path) -> np.ndarray:
    """Read a value for each vertex that `save_values` wrote, ``(N,)``."""
    return _arrays(path)[0]


def _arrays(path: Path) -> list[np.ndarray]:
    image: Any = nb.load(str(path))
    return [np.asarray(array.data) for array in image.darrays]


def _save(path: Path, image: nb.gifti.GiftiImage) -> Path:
    with written_atomically(path) as temporary:
        image.to_filename(temporary)
    return path


def cut_by_plane(mesh: Mesh, axis: int, position: float) -> np.ndarray:
    """Cut a surface by a plane across an axis: the ends of all segments, ``(S, 2, 3)`` mm.

    Parameters
    ----------
    mesh
        The surface that is cut.
    axis
        Axis across the plane: 0, 1 or 2.
    position
        Where the plane lies on it, mm.
    """
    heights = mesh.points[:, axis] - position
    above = heights[mesh.triangles] > 0
    crossed = mesh.triangles[above.any(1) & ~above.all(1)]
    ends = []
    for first, second in ((0, 1), (1, 2), (2, 0)):
        one, other = crossed[:, first], crossed[:, second]
        low, high = heights[one], heights[other]
        is_cut = (low > 0) != (high > 0)
        share = np.where(is_cut, low / np.where(is_cut, low - high, 1), 0)[:, None]
        point = mesh.points[one] + share * (mesh.points[other] - mesh.points[one])
        ends.append(np.where(is_cut[:, None], point, np.nan))
    points = np.stack(ends, 1)  # two of three edges are cut
    order = np.argsort(np.isnan(points[:, :, 0]), axis=1, kind='stable')[:, :2]
    return np.take_along_axis(points, order[:, :, None], 1)
