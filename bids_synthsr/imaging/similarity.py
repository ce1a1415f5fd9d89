"""How much two volumes have in common, whatever their contrasts, and how close one is to truth."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.optimize import isotonic_regression

CURVE_BINS, HISTOGRAM_BINS = 256, 64  # with equally many voxels each; equally wide
RANGE_PERCENT = (1, 99)  # of intensities: vessels and artefacts must not set a scale
SSIM_SIGMA_VOX, SSIM_K1, SSIM_K2 = 1.5, 0.01, 0.03  # Wang et al. 2004


def joint_histogram(first: np.ndarray, second: np.ndarray, bins: int) -> np.ndarray:
    """Count pairs of values, each shared linearly between the four cells around it.

    Parameters
    ----------
    first, second
        ``(N,)`` values in [0, bins - 1].

    Returns
    -------
    counts
        ``(bins, bins)``, of sum N; they change smoothly with the values.
    """
    counts = np.zeros(bins * bins)
    low = [np.minimum(values.astype(np.intp), bins - 2) for values in (first, second)]
    above = [values - below for values, below in zip((first, second), low, strict=True)]
    for row in (0, 1):
        for column in (0, 1):
            cell = (low[0] + row) * bins + low[1] + column
            share = np.abs(1 - row - above[0]) * np.abs(1 - column - above[1])
            counts += np.bincount(cell, share, bins * bins)
    return counts.reshape(bins, bins)


def normalized_mutual_information(counts: np.ndarray) -> float:
    """Compute ``(H(x) + H(y)) / H(x, y) - 1`` of a joint histogram.

    0 for independent values, 1 where each tells the other (Studholme et al. 1999, less 1).
    """
    joint = counts / max(counts.sum(), np.finfo(float).tiny)
    total = _entropy(joint)
    if total == 0:
        return 0.0
    return (_entropy(joint.sum(0)) + _entropy(joint.sum(1))) / total - 1


def _entropy(share: np.ndarray) -> float:
    """Entropy of shares that sum to 1, nat."""
    share = share[share > 0]
    return float(-(share * np.log(share)).sum())


def scale_to(image: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fit ``a image + b`` to ``truth`` inside ``mask``: units of MRI are arbitrary.

    A flat image, which no line fits, becomes the mean of the truth.
    """
    slope, offset = fit_line(image, truth, mask)
    return slope * image + offset


def fit_line(image: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """Find ``a`` and ``b`` of `scale_to`."""
    values = image[mask].astype(np.float64)
    if np.ptp(values) == 0:
        return 0.0, float(truth[mask].mean())
    # in float32 a fit to a million points drops one of its two terms
    slope, offset = np.polyfit(values, truth[mask], 1)
    return float(slope), float(offset)


def fit_monotone(image: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Map values to those of another contrast by the rising or falling curve that fits best.

    Isotonic regression of the means of ``other`` in bins of equally many values of ``image``.

    Parameters
    ----------
    image, other
        ``(N,)`` intensities at the same places.

    Returns
    -------
    fitted
        ``(N,)``, in the units of ``other``.
    """
    bounds = np.quantile(image, np.linspace(0, 1, CURVE_BINS + 1)[1:-1])
    bins = np.unique(np.searchsorted(bounds, image, side='right'), return_inverse=True)[1]
    counts = np.bincount(bins)
    centers, means = (np.bincount(bins, values) / counts for values in (image, other))
    curves = [
        isotonic_regression(means, weights=counts, increasing=rises).x for rises in (True, False)
    ]
    closest = min(curves, key=lambda curve: float((counts * (curve - means) ** 2).sum()))
    return np.interp(image, centers, closest)


def agreement(image: np.ndarray, scan: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Measure how well an image explains a scan of any contrast inside ``mask``.

    Returns
    -------
    measures
        ``correlation`` (Pearson) and ``l1`` (mean absolute error over the range of the scan) after
        `fit_monotone`, and ``nmi``, the normalized mutual information.
    """
    values, truth = image[mask].astype(np.float64), scan[mask].astype(np.float64)
    fitted = fit_monotone(values, truth)
    low, high = np.percentile(truth, RANGE_PERCENT)
    is_flat = np.ptp(fitted) == 0 or high <= low
    counts = joint_histogram(_binned(values), _binned(truth), HISTOGRAM_BINS)
    return {
        'correlation': 0.0 if is_flat else float(np.corrcoef(fitted, truth)[0, 1]),
        'l1': 1.0 if is_flat else float(np.abs(fitted - truth).mean() / (high - low)),
        'nmi': normalized_mutual_information(counts),
    }


def _binned(values: np.ndarray) -> np.ndarray:
    """Scale values to the bins of a histogram."""
    low, high = np.percentile(values, RANGE_PERCENT)
    if high <= low:
        return np.zeros(values.shape)
    return ((values - low) / (high - low) * (HISTOGRAM_BINS - 1)).clip(0, HISTOGRAM_BINS - 1)


def psnr(image: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Peak signal-to-noise ratio inside ``mask``, dB; the peak is the range of the truth there."""
    error = np.mean((image[mask] - truth[mask]) ** 2, dtype=np.float64)
    return float(20 * np.log10(np.ptp(truth[mask])) - 10 * np.log10(error))


def closeness(image: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Measure how close an image comes to the truth inside ``mask``.

    Returns
    -------
    measures
        ``psnr`` (dB), ``ssim``, ``l1``: the mean absolute error over the range of the truth, and
        ``correlation`` (Pearson).
    """
    values, true = image[mask], truth[mask]
    error = float(np.abs(values - true).mean(dtype=np.float64))
    is_flat = np.ptp(values) == 0 or np.ptp(true) == 0
    return {
        'psnr': psnr(image, truth, mask),
        'ssim': ssim(image, truth, mask),
        'l1': error / float(np.ptp(true)),
        'correlation': 0.0 if is_flat else float(np.corrcoef(values, true)[0, 1]),
    }


def ssim(image: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Structural similarity in three dimensions, mean over ``mask`` (Wang et al. 2004)."""
    luminance, contrast, structure = _ssim_maps(image, truth, mask)
    return float((luminance * contrast * structure)[mask].mean())


def ssim_parts(image: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Measure the three parts whose product is the structural similarity, means over ``mask``.

    Returns
    -------
    measures
        ``luminance`` compares local means, ``contrast`` local standard deviations, ``structure``
        is the local correlation.
    """
    maps = _ssim_maps(image, truth, mask)
    names = ('luminance', 'contrast', 'structure')
    return {name: float(part[mask].mean()) for name, part in zip(names, maps, strict=True)}


def _ssim_maps(
    image: np.ndarray, truth: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Luminance, contrast and structure around each voxel; the third constant is half of c2."""
    peak = np.ptp(truth[mask])
    mean = [_smooth(volume) for volume in (image, truth)]
    variance = [
        (_smooth(v * v) - m * m).clip(0) for v, m in zip((image, truth), mean, strict=True)
    ]
    deviations = np.sqrt(variance[0] * variance[1])
    covariance = _smooth(image * truth) - mean[0] * mean[1]
    c1, c2 = (SSIM_K1 * peak) ** 2, (SSIM_K2 * peak) ** 2
    luminance = (2 * mean[0] * mean[1] + c1) / (mean[0] ** 2 + mean[1] ** 2 + c1)
    contrast = (2 * deviations + c2) / (variance[0] + variance[1] + c2)
    structure = (covariance + c2 / 2) / (deviations + c2 / 2)
    return luminance, contrast, structure


def match_histogram(image: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Give an image the histogram that the truth has inside ``mask``, by a rising curve.

    Parameters
    ----------
    image, truth
        ``(I, J, K)`` intensities.
    mask
        ``(I, J, K)`` bool: where the histograms are taken.
    """
    shares = np.linspace(0, 1, CURVE_BINS)
    levels, wanted = (np.quantile(volume[mask], shares) for volume in (image, truth))
    if levels[0] > 0:  # air stays dark
        levels, wanted = np.append(0.0, levels), np.append(0.0, wanted)
    matched: np.ndarray = np.interp(image, levels, wanted).astype(np.float32)
    return matched


def _smooth(volume: np.ndarray) -> np.ndarray:
    return gaussian_filter(volume, SSIM_SIGMA_VOX, truncate=3.5)
