"""Measures of image quality by the names that MRIQC gave them, from a T1w and its tissue.

They are ratios of medians and standard deviations within the tissue, so that they depend neither
on the unit of the intensities nor on single voxels. ``efc`` and ``fber`` judge the air around the
head and the noise of the receiver: they mean nothing for a T1w that was computed.
"""

from __future__ import annotations

import math

import numpy as np

from bids_synthsr.values.structures import TISSUES

LEAST_VOXELS = 100  # of a tissue: fewer have no spread worth a figure
MEASURES = {
    'snr_csf': 'Median of CSF over its standard deviation.',
    'snr_gm': 'Median of grey matter over its standard deviation.',
    'snr_wm': 'Median of white matter over its standard deviation.',
    'snr_total': 'Mean of the three ratios before.',
    'cnr': 'Difference of the medians of white and grey matter, over their standard deviations '
    'together. Higher is better.',
    'cjv': 'Standard deviations of white and grey matter together, over the difference of their '
    'medians (coefficient of joint variation, Ganzetti et al. 2016). Lower is better.',
    'efc': 'Entropy of all intensities, 0 to 1 (entropy focus criterion, Atkinson et al. 1997). '
    'Lower is better. Of acquired T1w alone.',
    'fber': 'Median energy of the head over that of the air (Shehzad et al. 2015). Higher is '
    'better. Of acquired T1w alone.',
}


def measure_quality(
    voxels: np.ndarray, tissue: np.ndarray, is_acquired: bool
) -> dict[str, float | None]:
    """Compute the measures of `MEASURES`; None for what this image cannot tell.

    Parameters
    ----------
    voxels
        Intensities of a T1w, ``(I, J, K)``.
    tissue
        Segmentation by tissue of the same shape, numbered as in `TISSUES` from 1.
    is_acquired
        Whether the T1w was acquired, and not computed.
    """
    found: dict[str, float | None] = dict.fromkeys(MEASURES)
    values = [voxels[tissue == number].astype(np.float64) for number in (1, 2, 3)]
    of_tissue = dict(zip(TISSUES, values, strict=True))
    if min(map(len, values)) >= LEAST_VOXELS:
        ratios = {name: _signal_to_noise(part) for name, part in of_tissue.items()}
        found |= {f'snr_{name.lower()}': ratio for name, ratio in ratios.items()}
        found['snr_total'] = sum(ratios.values()) / len(ratios)
        grey, white = of_tissue['GM'], of_tissue['WM']
        apart = abs(float(np.median(white) - np.median(grey)))
        if apart > 0:
            found['cnr'] = apart / max(math.hypot(white.std(), grey.std()), 1e-9)
            found['cjv'] = float(white.std() + grey.std()) / apart
    if is_acquired:
        found['efc'] = _entropy_focus(voxels)
        found['fber'] = _energy_ratio(voxels, tissue)
    return {name: value if value is None else round(value, 4) for name, value in found.items()}


def _signal_to_noise(values: np.ndarray) -> float:
    count = len(values)
    return float(np.median(values) / max(values.std() * math.sqrt(count / (count - 1)), 1e-9))


def _entropy_focus(voxels: np.ndarray) -> float | None:
    """Entropy of the share of the energy that each voxel has, of the most that it could be."""
    values = np.abs(voxels[np.isfinite(voxels)].astype(np.float64))
    energy = math.sqrt(float((values**2).sum()))
    if energy == 0 or len(values) < 2:
        return None
    shares = values[values > 0] / energy
    most = math.sqrt(len(values)) * math.log(math.sqrt(len(values)))
    return float(-(shares * np.log(shares)).sum() / most)


def _energy_ratio(voxels: np.ndarray, tissue: np.ndarray) -> float | None:
    """Median energy in the brain over that at the rim of the image, where it is not all 0."""
    inside = np.median(voxels[tissue > 0].astype(np.float64) ** 2) if (tissue > 0).any() else 0.0
    rim = np.ones(voxels.shape, bool)
    rim[tuple(slice(size // 20 + 1, -(size // 20 + 1)) for size in voxels.shape)] = False
    outside = float(np.median(voxels[rim].astype(np.float64) ** 2))
    return float(inside / outside) if outside > 0 else None
