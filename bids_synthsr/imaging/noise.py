"""How much noise a scan has."""

from __future__ import annotations

import numpy as np

from bids_synthsr.imaging.head import otsu_threshold

MAD_PER_SD = 0.6745  # median absolute deviation of the normal distribution


def tissue_mask(voxels: np.ndarray) -> np.ndarray:
    """Mark what is not air: intensities above the threshold of Otsu; all of a constant volume."""
    if np.ptp(voxels) == 0:
        return np.ones(voxels.shape, bool)
    return voxels > otsu_threshold(voxels)


def noise_sd(voxels: np.ndarray, is_tissue: np.ndarray, slice_axis: int) -> float:
    """Estimate the noise from the finest diagonal detail within slices.

    That is the median absolute Haar coefficient (Donoho & Johnstone 1994) of the 2 x 2 voxels
    that lie in tissue, where the noise of magnitude images is nearly Gaussian, and of those the
    half with the weakest edges, where detail is noise (after Coupe et al. 2010).

    Parameters
    ----------
    voxels, is_tissue
        ``(I, J, K)``: intensities, and which of them to use.
    slice_axis
        Axis across the slices.
    """
    inside = np.logical_and.reduce(_corners(is_tissue, slice_axis))
    if not inside.any():
        return 0.0
    a, b, c, d = (corner[inside] for corner in _corners(voxels, slice_axis))
    edge = (a + b - c - d) ** 2 + (a - b + c - d) ** 2
    detail = np.abs(a - b - c + d)[edge <= np.median(edge)] / 2
    return float(np.median(detail)) / MAD_PER_SD


def _corners(voxels: np.ndarray, slice_axis: int) -> list[np.ndarray]:
    """The four voxels of all 2 x 2 neighbourhoods within slices, ``(K, I - 1, J - 1)`` each."""
    planes = np.moveaxis(voxels, slice_axis, 0)
    rows, columns = np.array(planes.shape[1:]) - 1
    return [planes[:, i : i + rows, j : j + columns] for i in (0, 1) for j in (0, 1)]
