"""NIfTI headers: where the voxels of a file lie, or why that is unknown.

A header that cannot be used is refused with a sentence that names the way out; nothing is
guessed. What is merely odd is added to ``notes``.
"""

from __future__ import annotations

import math

import nibabel as nb
import numpy as np
from nibabel.spatialimages import HeaderDataError

from bids_synthsr.dataset.image_files import UnusableScanError
from bids_synthsr.imaging.geometry import apply_affine, corners_vox
from bids_synthsr.values.grid import Grid

MIN_VOXEL_MM = 0.1  # 0.2 mm is about the finest that scanners write
MAX_VOXEL_MM = 20.0  # the size of a ventricle: nothing is left to restore
MAX_FORM_GAP_MM = 1.0  # a voxel of the output: forms that differ by more contradict each other
MAX_SIZE_GAP = 0.05  # by which voxel sizes may differ: headers are rounded to 0.1 mm
MAX_SHEAR_DEG = 1.0  # 1.7 mm over 100 mm; scanners write none, affines of templates do
ROUNDING_SHEAR_DEG = 0.1  # what direction cosines and float32 headers round to

TEMPLATES = {3: 'Talairach', 4: 'MNI152', 5: 'another'}  # by code of sform or qform


def read_grid(header: nb.Nifti1Header, notes: list[str]) -> Grid:
    """Read shape and position; what is odd is added to ``notes``.

    Raises
    ------
    UnusableScanError
        Where the file is not one volume of intensities, or its position in space is not certain.
    """
    shape = _read_shape(header)
    vox2ras = _read_vox2ras(header, shape, notes)
    _check_spacing(np.linalg.norm(vox2ras[:3, :3], axis=0), header, notes)
    return Grid(shape, _without_shear(vox2ras, shape, notes))


def find_template(header: nb.Nifti1Header) -> str:
    """Describe the template that a header places the image in, a sentence; empty without one."""
    codes = {int(header[f'{form}_code']) for form in ('sform', 'qform')}
    template = next(
        (TEMPLATES[code] for code in sorted(codes, reverse=True) if code in TEMPLATES), ''
    )
    if not template:
        return ''
    return (
        f'Its header places it in the space of a template ({template}): if it was brought there, '
        "shape and volumes are not the person's."
    )


def _read_shape(header: nb.Nifti1Header) -> tuple[int, int, int]:
    """Read the shape of a volume of plain numbers; a 4-D file with one volume is one."""
    kind = header.get_data_dtype()
    if kind.names or kind.kind not in 'biuf':
        content = 'colours (RGB)' if kind.names else f'{kind} numbers'
        raise UnusableScanError(
            f'It stores {content}, not intensities: convert it from the DICOMs.'
        )
    shape = tuple(int(size) for size in header.get_data_shape())
    volumes = math.prod(shape[3:])
    if len(shape) < 3:
        raise UnusableScanError(f'It has {len(shape)} dimensions; a 3-D volume is needed.')
    if volumes != 1:
        raise UnusableScanError(
            f'It holds {volumes} volumes; give each a file of its own (echo-, run-).'
        )
    if min(shape) < 1:
        raise UnusableScanError(f'Its shape {shape} holds no voxels: convert it again.')
    return shape[0], shape[1], shape[2]


def _read_vox2ras(
    header: nb.Nifti1Header, shape: tuple[int, int, int], notes: list[str]
) -> np.ndarray:
    """Read the affine: the sform where its code is set, as nibabel does, else the qform."""
    sform = header.get_sform() if header['sform_code'] > 0 else None
    qform = _read_qform(header)
    vox2ras = qform if sform is None else sform
    if vox2ras is None:
        raise UnusableScanError(
            'Its header does not say where the image lies (sform and qform are not set), so left '
            'and right would be a guess: convert it again from the DICOMs.'
        )
    if not np.isfinite(vox2ras).all() or not np.linalg.det(vox2ras[:3, :3]):
        name = 'qform' if sform is None else 'sform'
        raise UnusableScanError(
            f'Its affine ({name}) is singular or not finite: convert it again from the DICOMs.'
        )
    if sform is not None:
        _compare_sizes(sform, header, notes)
    if sform is not None and qform is not None:
        _compare_forms(sform, qform, shape, notes)
    return np.asarray(vox2ras, dtype=np.float64)


def _read_qform(header: nb.Nifti1Header) -> np.ndarray | None:
    """Read the qform; None where it is not set or holds no rotation."""
    try:
        qform = header.get_qform() if header['qform_code'] > 0 else None
    except (ValueError, HeaderDataError):
        return None
    return qform if qform is not None and np.isfinite(qform).all() else None


def _compare_forms(
    sform: np.ndarray, qform: np.ndarray, shape: tuple[int, int, int], notes: list[str]
) -> None:
    """Compare the positions by sform and qform; opposite handedness is refused."""
    if np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0:
        raise UnusableScanError(
            'Its sform and qform contradict each other about left and right: '
            'convert it again from the DICOMs.'
        )
    corners = corners_vox(Grid(shape, sform))
    gap = np.linalg.norm(apply_affine(sform - qform, corners), axis=1).max()
    if gap > MAX_FORM_GAP_MM:
        notes.append(
            f'Its sform and qform place its corners up to {gap:.1f} mm apart; the sform counts, '
            'as in nibabel and most viewers.'
        )


def _compare_sizes(sform: np.ndarray, header: nb.Nifti1Header, notes: list[str]) -> None:
    """Compare the voxel sizes of the sform with those of pixdim."""
    of_sform = np.linalg.norm(sform[:3, :3], axis=0)
    of_pixdim = np.abs(header['pixdim'][1:4].astype(np.float64))
    if not np.allclose(of_pixdim, of_sform, rtol=MAX_SIZE_GAP, atol=0):
        notes.append(
            f'Its voxels measure {_in_mm(of_sform)} mm by its sform, but {_in_mm(of_pixdim)} mm '
            'by pixdim; the sform counts, as in nibabel. If the head comes out too large or too '
            'small, correct the header.'
        )


def _in_mm(sizes: np.ndarray) -> str:
    """Write voxel sizes."""
    return ' x '.join(f'{size:.4g}' for size in sizes)


def _check_spacing(spacing: np.ndarray, header: nb.Nifti1Header, notes: list[str]) -> None:
    """Refuse voxel sizes that cannot be millimetres of a head scan."""
    sizes = _in_mm(spacing)
    unit = _unit(header)
    if _is_plausible(spacing):
        if unit not in ('mm', 'unknown'):
            notes.append(
                f'Its header gives {unit} as its unit, but {sizes} makes sense in mm only: '
                'mm was assumed.'
            )
        return
    for factor, name in ((1e3, 'metres'), (1e-3, 'micrometres')):
        if _is_plausible(spacing * factor):
            raise UnusableScanError(
                f'Its voxels measure {sizes} mm; its header seems to be in {name}: '
                'write it again in mm.'
            )
    raise UnusableScanError(
        f'Its voxels measure {sizes} mm; {MIN_VOXEL_MM:g} to {MAX_VOXEL_MM:g} mm can be used.'
    )


def _unit(header: nb.Nifti1Header) -> str:
    """Name the unit of length; a code that NIfTI does not define counts as unknown."""
    try:
        return str(header.get_xyzt_units()[0])
    except KeyError:
        return 'unknown'


def _is_plausible(spacing: np.ndarray) -> bool:
    """Whether all voxel sizes, mm, lie in the range that is used."""
    return bool(spacing.min() >= MIN_VOXEL_MM and spacing.max() <= MAX_VOXEL_MM)


def _without_shear(
    vox2ras: np.ndarray, shape: tuple[int, int, int], notes: list[str]
) -> np.ndarray:
    """Turn the axes to the nearest right angles; the centre of the image stays.

    A qform holds no shear, so only then can sform and qform be equal.
    """
    spacing = np.linalg.norm(vox2ras[:3, :3], axis=0)
    cosines = vox2ras[:3, :3] / spacing
    shear_deg = math.degrees(math.asin(min(1, np.abs(cosines.T @ cosines - np.eye(3)).max())))
    if shear_deg > MAX_SHEAR_DEG:
        raise UnusableScanError(
            f'Its axes are {shear_deg:.1f} degrees off the right angle, which no scanner writes: '
            'use the image as acquired, not one that was registered to a template.'
        )
    if shear_deg > ROUNDING_SHEAR_DEG:
        notes.append(
            f'Its axes are {shear_deg:.2f} degrees off the right angle; they were made right.'
        )
    left, _, right = np.linalg.svd(cosines)
    straight = np.eye(4)
    straight[:3, :3] = left @ right * spacing
    middle = (np.asarray(shape) - 1) / 2
    straight[:3, 3] = apply_affine(vox2ras, middle) - straight[:3, :3] @ middle
    return straight
