"""Measures without the effects of scanners: ComBat (Johnson et al. 2007; Fortin et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEAST_MEMBERS = 3  # of a scanner: its spread is estimated
LEAST_REST = 1e-6  # of the spread of a measure: less is rounding
MOST_STEPS, TOLERANCE = 200, 1e-5


def harmonize(values: np.ndarray, scanners: Sequence[str], kept: np.ndarray) -> np.ndarray:
    """Remove shifts and spreads that scanners bring into measures.

    The effects of a scanner on all measures are drawn towards their common distribution, whose
    parameters are estimated (parametric empirical Bayes).

    Parameters
    ----------
    values
        Measures ``(N, F)`` of N exams; none may be missing or the same everywhere.
    scanners
        Scanner, site or protocol of each exam.
    kept
        What explains differences that shall stay, ``(N, C)``, such as group and age; C may be 0.

    Returns
    -------
    harmonized
        ``(N, F)``, of the mean and the spread of all exams together.

    Raises
    ------
    ValueError
        If a scanner has too few exams, or if scanners and what is kept cannot be told apart.
    """
    names, scanner = np.unique(np.asarray(scanners), return_inverse=True)
    if len(names) < 2:
        return values.copy()
    counts = np.bincount(scanner)
    for name, count in zip(names, counts, strict=True):
        if count < LEAST_MEMBERS:
            raise ValueError(
                f'{name} has {count} of the exams, and {LEAST_MEMBERS} are the least from which '
                'its effect can be estimated: leave it out, or join it with another'
            )
    design = np.hstack([np.eye(len(names))[scanner], kept])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise ValueError(
            'They cannot be told apart from the groups and covariates: each group would have to '
            'be seen by more than one of them'
        )
    weights = np.linalg.lstsq(design, values, rcond=None)[0]
    common = counts / len(scanner) @ weights[: len(names)]
    expected = common + kept @ weights[len(names) :]
    spread = np.sqrt(((values - design @ weights) ** 2).mean(0))
    if (spread <= LEAST_REST * values.std(0)).any():
        raise ValueError('A measure is explained without any rest: there is nothing to harmonize')
    standard = (values - expected) / spread
    harmonized = np.empty_like(standard)
    for number in range(len(names)):
        own = standard[scanner == number]
        shift, scale = _posterior(own)
        harmonized[scanner == number] = (own - shift) / np.sqrt(scale)
    return harmonized * spread + expected


def _posterior(own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Estimate shift and variance of the measures ``(n, F)`` of a scanner, ``(F,)`` each."""
    count, shift, scale = len(own), own.mean(0), own.var(0, ddof=1)
    if own.shape[1] < 2:  # one measure has no distribution to be drawn towards
        return shift, scale
    mean, variance = shift.mean(), max(shift.var(ddof=1), 1e-12)
    of_scale, spread = scale.mean(), max(scale.var(ddof=1), 1e-12)
    shape = (2 * spread + of_scale**2) / spread
    rate = (of_scale * spread + of_scale**3) / spread
    first = shift
    for _ in range(MOST_STEPS):
        new = (variance * count * first + scale * mean) / (variance * count + scale)
        rest = ((own - new) ** 2).sum(0)
        new_scale = (rest / 2 + rate) / (count / 2 + shape - 1)
        change = max(abs(new - shift).max(), abs(new_scale - scale).max())
        shift, scale = new, new_scale
        if change < TOLERANCE:
            break
    return shift, scale
