"""Differences of a measure between two groups, with covariates and confidence intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

LEVEL = 0.95  # of confidence intervals
LEAST_REST = 1e-9  # of a measure, beyond what the model explains: less is rounding
LARGE = 150  # degrees of freedom from which on a noncentral t is as good as normal
FAR = 30.0  # a t beyond which the same holds
FARTHEST = 6.0  # standard deviations within which the ends of an interval are looked for


@dataclass(frozen=True)
class GroupEffect:
    """How a measure differs between two groups.

    Parameters
    ----------
    counts
        Number of exams of the first and of the second group.
    means, sds
        Mean and standard deviation of each group, as measured.
    difference
        Second group minus first, the covariates held fixed, in the unit of the measure.
    interval
        Confidence interval of the difference.
    g
        Hedges' g: the difference in standard deviations of what the covariates leave, without
        the bias of small samples.
    g_interval
        Confidence interval of g (noncentral t).
    t, p
        Student's t of the difference, and its two-sided probability.
    """

    counts: tuple[int, int]
    means: tuple[float, float]
    sds: tuple[float, float]
    difference: float
    interval: tuple[float, float]
    g: float
    g_interval: tuple[float, float]
    t: float
    p: float


def compare_groups(
    values: np.ndarray, is_second: np.ndarray, covariates: np.ndarray
) -> GroupEffect:
    """Compare a measure between two groups by a linear model.

    Parameters
    ----------
    values
        The measure of each exam, ``(N,)``.
    is_second
        Whether an exam is of the second group, ``(N,)`` bool.
    covariates
        Values that are held fixed, ``(N, C)``; C may be 0.

    Raises
    ------
    ValueError
        If group and covariates cannot be told apart, or if too few exams are left.
    """
    count = len(values)
    design = np.column_stack([np.ones(count), is_second, covariates - covariates.mean(0)])
    freedom = count - design.shape[1]
    if freedom < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        raise ValueError('Group and covariates cannot be told apart in these exams')
    weights, inverse = np.linalg.lstsq(design, values, rcond=None)[0], _inverse(design)
    sigma = float(np.sqrt(((values - design @ weights) ** 2).sum() / freedom))
    if sigma <= LEAST_REST * np.abs(values).max():
        raise ValueError('Group and covariates explain it without any rest')
    scale = float(np.sqrt(inverse[1, 1]))  # standard error in units of sigma
    difference = float(weights[1])
    t = difference / (sigma * scale)
    reach = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * sigma * scale
    unbiased = _unbiased(freedom)
    low, high = noncentral_interval(t, freedom)
    parts = values[~is_second], values[is_second]
    return GroupEffect(
        (len(parts[0]), len(parts[1])),
        (float(parts[0].mean()), float(parts[1].mean())),
        (float(parts[0].std(ddof=1)), float(parts[1].std(ddof=1))),
        difference,
        (difference - reach, difference + reach),
        unbiased * t * scale,
        (unbiased * low * scale, unbiased * high * scale),
        t,
        float(2 * stats.t.sf(abs(t), freedom)),
    )


def _inverse(design: np.ndarray) -> np.ndarray:
    return np.linalg.inv(design.T @ design)


def _unbiased(freedom: int) -> float:
    """Factor that removes the bias of a standardised difference (Hedges 1981)."""
    logarithm = special.gammaln(freedom / 2) - special.gammaln((freedom - 1) / 2)
    return float(np.exp(logarithm) / np.sqrt(freedom / 2)) if freedom > 1 else 1.0


def noncentral_interval(t: float, freedom: int) -> tuple[float, float]:
    """Find the noncentralities for which a t is at the ends of its interval of confidence.

    Parameters
    ----------
    t
        Student's t that was found.
    freedom
        Its degrees of freedom.
    """
    tail = (1 - LEVEL) / 2
    spread = math.hypot(1, t / math.sqrt(2 * freedom))  # of a t around its noncentrality, nearly
    reach = float(stats.norm.ppf(1 - tail)) * spread

    def end(probability: float, otherwise: float) -> float:
        def excess(center: float) -> float:
            return float(stats.nct.cdf(t, freedom, center)) - probability

        low, high = t - FARTHEST * spread, t + FARTHEST * spread
        try:
            return float(optimize.brentq(excess, low, high))
        except (ValueError, RuntimeError):  # its series does not end for some large t
            return otherwise

    if freedom > LARGE or abs(t) > FAR:
        return t - reach, t + reach
    return end(1 - tail, t - reach), end(tail, t + reach)


def false_discovery(p: np.ndarray) -> np.ndarray:
    """Adjust probabilities ``(M,)`` for the share of false discoveries (Benjamini, Hochberg)."""
    return stats.false_discovery_control(p) if len(p) else p


def dependent_column(design: np.ndarray, names: list[str]) -> str:
    """Name the first column of a design that those before it explain; empty for none."""
    for count in range(1, design.shape[1] + 1):
        if np.linalg.matrix_rank(design[:, :count]) < count:
            return names[count - 1]
    return ''
