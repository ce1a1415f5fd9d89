"""Maps of growth that can be compared: smoothed, clipped, and where all brains have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from scipy import ndimage

from bids_synthsr.imaging.displacements import exponential, jacobian_determinants, upsample

MOST = 1.5  # of the logarithm of growth: single voxels at the rim go to 3
TRUSTED = 0.2, 5.0  # growths beyond these are no shape of a brain
SHARE = 0.95  # of the exams that must have a voxel, and a growth within these there
BRAIN = 0.1  # intensity from which on a voxel of the atlas counts, white matter 1: ventricles do
SD_PER_FWHM = 1 / 2.3548


def smoothed_growths(
    velocities: Iterable[np.ndarray], shape: Sequence[int], spacing_mm: float, fwhm_mm: float
) -> Iterator[np.ndarray]:
    """Yield the logarithm of the growth of each exam against the atlas, smoothed, ``(I, J, K)``.

    Parameters
    ----------
    velocities
        Velocity from the atlas to each brain, ``(3, i, j, k)`` mm.
    shape
        Number of voxels of the atlas along each axis.
    spacing_mm
        Size of the voxels, mm.
    fwhm_mm
        Width at half of its height of the Gaussian, mm.
    """
    for velocity in velocities:
        field = exponential(upsample(torch.from_numpy(velocity), shape) / spacing_mm)
        growth = torch.log(jacobian_determinants(field).clamp(min=1e-3)).numpy()
        clipped = growth.clip(-MOST, MOST)
        yield ndimage.gaussian_filter(clipped, fwhm_mm * SD_PER_FWHM / spacing_mm)


def common_mask(
    atlas: np.ndarray, brains: Iterable[np.ndarray], growths: np.ndarray
) -> np.ndarray:
    """Mark where the shapes of all brains can be compared, ``(I, J, K)`` bool.

    Parameters
    ----------
    atlas
        Mean brain, ``(I, J, K)``.
    brains
        Brains on its grid, before they are deformed, white matter 1.
    growths
        Logarithm of the growth of each, ``(N, I, J, K)``.

    Raises
    ------
    ValueError
        If there is no such voxel.
    """
    low, high = np.log(TRUSTED)
    is_trusted = ((growths > low) & (growths < high)).mean(0) >= SHARE
    seen = np.mean([ndimage.grey_closing(brain, 3) > 0 for brain in brains], axis=0)
    mask = (atlas > BRAIN) & (seen >= 0.5) & is_trusted
    mask = ndimage.binary_fill_holes(ndimage.binary_opening(mask)) & is_trusted
    pieces, count = ndimage.label(mask)
    if not count:
        raise ValueError('The brains have no voxel in common: look at the T1w and brain masks')
    return pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
