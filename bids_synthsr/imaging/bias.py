"""Bias field of a scan: N4 of SimpleITK (Tustison et al. 2010)."""

from __future__ import annotations

import numpy as np
import SimpleITK

FITTED_MM = 4.0  # voxels that the smooth field is fitted on
ITERATIONS = (50, 50, 50, 50)  # at most, from the coarsest mesh to the finest


def estimate_bias(
    voxels: np.ndarray, mask: np.ndarray, spacing: np.ndarray, num_threads: int = 1
) -> np.ndarray:
    """Estimate by which smooth factor intensities are too bright, ``(I, J, K)`` float32.

    Parameters
    ----------
    voxels
        ``(I, J, K)`` intensities.
    mask
        Where the field is fitted, bool: tissue alone. Intensities of 0 or less are left out.
        Beyond it the field goes on smoothly.
    spacing
        Voxel size along I, J and K, mm.
    num_threads
        Number of threads to use.

    Raises
    ------
    ValueError
        If the mask holds no positive intensities.
    """
    is_fitted = mask & (voxels > 0)
    if not is_fitted.any():
        raise ValueError('There are no positive intensities to fit a bias field to')
    image, inside = (_image_of(x, spacing) for x in (voxels, is_fitted))
    step = [max(1, round(FITTED_MM / size)) for size in spacing]
    corrector = SimpleITK.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations(ITERATIONS)
    corrector.SetNumberOfThreads(num_threads)
    corrector.Execute(SimpleITK.Shrink(image, step), SimpleITK.Shrink(inside, step))
    log_field = SimpleITK.GetArrayFromImage(corrector.GetLogBiasFieldAsImage(image)).T
    # unlike brightness in all, which the field leaves open
    level = np.median(log_field[is_fitted])
    return np.exp(log_field - level).astype(np.float32)


def _image_of(voxels: np.ndarray, spacing: np.ndarray) -> SimpleITK.Image:
    """Wrap voxels, masks as whole numbers."""
    kind = np.uint8 if voxels.dtype == bool else np.float32
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(voxels.T, kind))
    image.SetSpacing([float(size) for size in spacing])
    return image
