"""Judging a scan by its voxels, and bringing them into the form that all else expects.

They are 3-D, float32, finite, and 0 in air; slices without a measurement are interpolated.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from scipy import ndimage

from bids_synthsr.dataset.image_files import UnusableScanError
from bids_synthsr.imaging.head import head_bounds
from bids_synthsr.imaging.intensity import find_below_air, shift_to_air
from bids_synthsr.imaging.missing_slices import MissingSlices, fill_slices, find_missing_slices
from bids_synthsr.values.exam import Scan

MIN_HEAD_MM = 60.0  # below half of the MNI152 brain, 145 x 181 x 155 mm: a targeted slab
SLAB_MM = 12.0  # where a head reaches the faces of the field of view: slices of air, sampling
MAX_HEAD_WIDTH_MM = (
    280.0  # heads are 140 to 170 mm wide and ears add to that; trunks exceed 300 mm
)
MAX_BELOW = 0.02  # of most slices, and within the head: more were read as another type
DEEP_SHARE = 0.1  # of the highest intensity: noise of filtered images is not so far below 0
MAX_NONFINITE = 1e-3  # of the voxels that are not background; more may hide anatomy
FEW_SLICES, FEW_SHARE = 3, 0.1  # that are interpolated at most, of few and of many slices
WIDE = 1.05  # width over length: heads of adults and children have 0.7 to 0.95
ENLARGED = (
    '{copies} of its {slices} slices are the same as those before them, as in scans that were '
    'enlarged: the slices that were acquired are thicker than it tells. Better give the scan as '
    'it was acquired.'
)
EQUAL_SIZES = 0.05  # by which voxel sizes of an isotropic scan may differ


def judge_voxels(
    scan: Scan, array: np.ndarray, is_ct: bool = False
) -> tuple[Scan, np.ndarray | None]:
    """Judge a scan by its voxels, fill its digest, and conform the voxels.

    Parameters
    ----------
    scan
        Usable by its header.
    array
        Voxels as they are stored, ``(I, J, K)``, or with more axes of length 1.
    is_ct
        Whether they are Hounsfield units, whose zero is water.

    Returns
    -------
    scan
        With digest, slices that are missing, problems and warnings.
    voxels
        ``(I, J, K)`` float32, finite; None for a scan that is not usable.
    """
    notes: list[str] = []
    voxels: np.ndarray | None
    try:
        voxels, is_background = replace_nonfinite(conform(array), notes)
        scan = replace(scan, digest=_digest(voxels))
        _check_contrast(voxels)
        if not is_ct:
            slice_axis = scan.geometry[1].slice_axis
            voxels = _replace_below_air(voxels, slice_axis, notes)
            voxels = _measure_from_air(voxels, is_background, slice_axis, notes)
        _check_sign(voxels)
        scan, voxels = _without_missing_slices(scan, voxels, notes)
        _check_head(scan, voxels, notes)
    except UnusableScanError as error:
        voxels = None
        scan = replace(scan, problems=(*scan.problems, str(error)))
    return replace(scan, warnings=(*scan.warnings, *notes)), voxels


def _digest(voxels: np.ndarray) -> str:
    """Compute the SHA-256 of voxels, by which copies are found."""
    return hashlib.sha256(np.ascontiguousarray(voxels.T).data).hexdigest()


def conform(voxels: np.ndarray) -> np.ndarray:
    """Make voxels 3-D float32: ``(I, J, K, 1, ...)`` to ``(I, J, K)``."""
    with np.errstate(over='ignore'):
        return voxels.reshape(voxels.shape[:3]).astype(np.float32, copy=False)


def replace_nonfinite(
    voxels: np.ndarray, notes: list[str]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Set NaN and infinite voxels to 0: all of the background, few of the rest.

    Parameters
    ----------
    voxels
        ``(I, J, K)`` float32.
    notes
        List to which a sentence is added where there were any.

    Returns
    -------
    voxels
        ``(I, J, K)``, finite.
    is_background
        Where NaN surrounded what was measured, as in scans without skull; None if it did not.

    Raises
    ------
    UnusableScanError
        If too many others are not finite.
    """
    is_finite = np.isfinite(voxels)
    replaced = voxels.size - np.count_nonzero(is_finite)
    if not replaced:
        return voxels, None
    is_background = surroundings(np.isnan(voxels))
    background = int(np.count_nonzero(is_background))
    if not MAX_NONFINITE * voxels.size < background < voxels.size:
        background = 0
    others, size = replaced - background, voxels.size - background
    if others > MAX_NONFINITE * size:
        where = ' inside of the head' if background else ''
        raise UnusableScanError(
            f'{others / size:.1%} of its voxels{where} are NaN or infinite, and at most '
            f'{MAX_NONFINITE:.1%} can be replaced: convert it again from the DICOMs.'
        )
    if background:
        share = background / voxels.size
        notes.append(
            f'{share:.1%} of its voxels, from its borders on, are NaN, as programs that remove '
            'the skull write them; they were set to 0, whether the head goes on there or not.'
        )
    if others:
        notes.append(f'{others} of its voxels were NaN or infinite; they were set to 0.')
    return np.where(is_finite, voxels, 0), is_background if background else None


def surroundings(mask: np.ndarray) -> np.ndarray:
    """Mark the parts of a mask ``(I, J, K)`` that reach the faces of the volume."""
    return mask & ~ndimage.binary_fill_holes(~mask)


def _replace_below_air(voxels: np.ndarray, slice_axis: int, notes: list[str]) -> np.ndarray:
    """Set voxels to 0 that are darker than air, such as padding with -1000.

    Raises
    ------
    UnusableScanError
        If most slices hold many, and within the head.
    """
    is_below = find_below_air(voxels)
    if is_below is None:
        return voxels
    is_inside = np.moveaxis(is_below & ~surroundings(is_below), slice_axis, 0)
    share = is_below.mean()
    is_deep = -np.median(voxels[is_below]) > DEEP_SHARE * voxels.max()
    if is_deep and np.median(is_inside.mean((1, 2))) > MAX_BELOW:
        raise UnusableScanError(
            f'{share:.1%} of its voxels, within the head too, lie below 0, although its air does '
            'not, as where numbers without a sign were read with one: convert it again from the '
            'DICOMs.'
        )
    notes.append(
        f'{share:.1%} of its voxels lie below 0 (down to {voxels.min():.4g}), although its air '
        'does not, as where images were padded or filtered; they were set to 0.'
    )
    return np.where(is_below, 0, voxels)


def _measure_from_air(
    voxels: np.ndarray, is_background: np.ndarray | None, slice_axis: int, notes: list[str]
) -> np.ndarray:
    """Shift intensities so that air is 0, where they are shifted or standardised.

    Slices that are the same everywhere say nothing about air, and become 0 as well.
    """
    planes = np.moveaxis(voxels, slice_axis, 0)
    is_shown = planes.min((1, 2)) < planes.max((1, 2))
    if not is_shown.any():
        raise UnusableScanError(
            'Each of its slices is the same everywhere: copy or convert it again.'
        )
    background = None if is_background is None else is_background.compress(is_shown, slice_axis)
    measured, air = shift_to_air(voxels.compress(is_shown, slice_axis), background)
    shifted = voxels
    if air:
        shifted = np.zeros_like(voxels)
        np.moveaxis(shifted, slice_axis, 0)[is_shown] = np.moveaxis(measured, slice_axis, 0)
        notes.append(
            f'Its intensities go from {voxels.min():.4g} to {voxels.max():.4g}, as of a scan that '
            f'was standardised or shifted: {air:.4g} was taken for air and subtracted, so that '
            'air is 0. Better give the scan as it was acquired.'
        )
    return shifted


def _check_contrast(voxels: np.ndarray) -> None:
    """Refuse a volume that is the same everywhere."""
    if voxels.min() == voxels.max():
        raise UnusableScanError(
            f'All its voxels have the value {voxels.max():g}: convert it again from the DICOMs.'
        )


def _check_sign(voxels: np.ndarray) -> None:
    """Refuse a volume without positive voxels."""
    low, high = float(voxels.min()), float(voxels.max())
    if high <= 0:
        raise UnusableScanError(
            f'None of its voxels is positive ({low:g} to {high:g}), as magnitudes are: '
            'check its scaling (scl_slope, scl_inter).'
        )


def _check_head(scan: Scan, voxels: np.ndarray, notes: list[str]) -> None:
    """Refuse what cannot be a head, by its size; tell where it is wider than long."""
    size, is_cut = head_bounds(voxels, scan.geometry[0])
    extent = ' x '.join(f'{length:.0f}' for length in size)
    # a slab that is just wide enough may show a little less of a head than its own width
    least_mm = MIN_HEAD_MM - SLAB_MM * is_cut
    if (size < least_mm).any() or size[0] > MAX_HEAD_WIDTH_MM:
        raise UnusableScanError(
            f'No head was found: the largest object in it measures {extent} mm '
            '(left-right x back-front x down-up). If it shows a head, check its voxel sizes.'
        )
    if size[0] > WIDE * size[1] and not is_cut[1]:
        notes.append(
            f'The head in it measures {extent} mm (left-right x back-front x down-up), and heads '
            'are longer than wide: its axes may be permuted or wrongly labelled. Compare the '
            'sides and directions in the report with the scan.'
        )


def _without_missing_slices(
    scan: Scan, voxels: np.ndarray, notes: list[str]
) -> tuple[Scan, np.ndarray]:
    """Interpolate the slices that hold no measurement, and note in the scan which those are.

    The slices of an isotropic scan may run across any axis.
    """
    grid, acquisition = scan.geometry
    axes = [acquisition.slice_axis]
    axes += [
        axis
        for axis in {0, 1, 2} - {*axes}
        if abs(grid.spacing[axis] / acquisition.slice_spacing - 1) < EQUAL_SIZES
    ]
    for axis in axes:
        missing = find_missing_slices(voxels, grid, axis)
        if scan.is_uniform:  # its air is noise as bright as tissue
            missing = replace(missing, noise=())
        if len(missing.copies) > _few(voxels.shape[axis]):
            notes.append(ENLARGED.format(copies=len(missing.copies), slices=voxels.shape[axis]))
            missing = replace(missing, copies=())
        if missing.numbers:
            _check_number(missing, voxels.shape[axis])
            notes.append(
                f'{_describe(missing)} {"Its" if len(missing.numbers) == 1 else "Their"} content '
                'was interpolated from others, and counts as not measured.'
            )
            slices = replace(acquisition, slice_axis=axis, missing=missing.numbers)
            return replace(scan, acquisition=slices), fill_slices(voxels, slices)
    return scan, voxels


def _few(slices: int) -> int:
    """Tell how many slices of a scan may be interpolated."""
    return max(FEW_SLICES, int(FEW_SHARE * slices))


def _check_number(missing: MissingSlices, slices: int) -> None:
    """Refuse a scan that lacks too many of its slices."""
    few = _few(slices)
    if len(missing.numbers) > few:
        raise UnusableScanError(
            f'{_describe(missing)} At most {few} of {slices} slices can be interpolated: '
            'copy or convert it again.'
        )


def _describe(missing: MissingSlices) -> str:
    """List the slices that hold no measurement: a sentence for each kind."""
    kinds = {
        'blank': missing.blank,
        'nothing but noise': missing.noise,
        'blank in part': missing.partial,
        'the same as those before': missing.copies,
    }
    return ' '.join(
        f'Slice{"s"[: len(numbers) - 1]} {", ".join(map(str, numbers))} (counted from 0) '
        f'{"are" if len(numbers) > 1 else "is"} {kind}.'
        for kind, numbers in kinds.items()
        if numbers
    )
