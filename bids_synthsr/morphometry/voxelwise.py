"""Differences between two groups at every voxel, tested by permutations.

A linear model with covariates is fitted at each voxel. What the covariates leave is permuted
(Freedman and Lane 1983), and the largest statistic of each permutation tells how large one must be
anywhere to be no chance (Westfall and Young 1993). So all voxels together have one chance of
error. Clusters count by threshold-free enhancement (Smith and Nichols 2009).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, special, stats
from tfce import tfce

EXTENT, HEIGHT = 0.5, 2.0  # powers of threshold-free cluster enhancement in volumes
LEAST_SUM = 1e-12  # of squares: nothing varies there


@dataclass(frozen=True, eq=False)
class VoxelEffects:
    """How two groups differ at each voxel of a mask, all ``(V,)``.

    Parameters
    ----------
    t
        Student's t of second group minus first, the covariates held fixed.
    g
        Hedges' g: the difference in standard deviations of what the covariates leave.
    p
        Two-sided probability at this voxel alone, by permutations.
    p_voxel
        Probability that any voxel of the mask has such a t by chance.
    p_cluster
        The same for the enhanced t: high, wide or both.
    q_rank
        Probability by the rank sum of what the covariates leave, adjusted for the share of false
        discoveries.
    permutations
        Number of permutations by which it is tested.
    """

    t: np.ndarray
    g: np.ndarray
    p: np.ndarray
    p_voxel: np.ndarray
    p_cluster: np.ndarray
    q_rank: np.ndarray
    permutations: int


class VoxelModel:
    """The linear model of all voxels, for the data and for permutations of them.

    Parameters
    ----------
    values
        Values of N exams at V voxels, ``(N, V)``.
    is_second
        Which exam is of the second group, ``(N,)`` bool.
    covariates
        What is held fixed beside the mean, ``(N, C)``; C may be 0.

    Raises
    ------
    ValueError
        If group and covariates cannot be told apart, or too few exams are left.
    """

    def __init__(self, values: np.ndarray, is_second: np.ndarray, covariates: np.ndarray) -> None:
        count = len(values)
        fixed = np.column_stack([np.ones(count), covariates])
        self.basis = np.linalg.qr(fixed)[0].astype(np.float32)  # (N, 1 + C)
        group = is_second.astype(np.float64)
        rest = group - self.basis @ (self.basis.T @ group)
        self.freedom = count - fixed.shape[1] - 1
        if self.freedom < 1 or rest @ rest < 1e-8:
            raise ValueError('Group and covariates cannot be told apart in these exams')
        self.group = rest.astype(np.float32)
        self.length = float(rest @ rest)
        values = values.astype(np.float32)
        self.rest = values - self.basis @ (self.basis.T @ values)
        self.squares = np.einsum('nv,nv->v', self.rest, self.rest)

    def t(self, order: np.ndarray | None = None) -> np.ndarray:
        """Compute Student's t at each voxel, ``(V,)``, of what is left in another order.

        Parameters
        ----------
        order
            Which exam comes at which place, ``(N,)``; None leaves all at theirs.
        """
        # instead of the values, the few vectors that meet them are permuted
        group, basis = self.group, self.basis
        if order is not None:
            group, basis = np.empty_like(group), np.empty_like(basis)
            group[order], basis[order] = self.group, self.basis
        slope = group @ self.rest
        explained = (basis.T @ self.rest) ** 2
        left = self.squares - explained.sum(0) - slope**2 / self.length
        scale = np.sqrt(np.maximum(left, LEAST_SUM) * (self.length / self.freedom))
        return np.where(self.squares > LEAST_SUM, slope / scale, 0)


def compare_voxels(
    values: np.ndarray,
    is_second: np.ndarray,
    covariates: np.ndarray,
    mask: np.ndarray,
    permutations: int,
    seed: int,
) -> VoxelEffects:
    """Compare two groups at every voxel of a mask.

    Parameters
    ----------
    values
        Values of N exams at the V voxels of the mask, ``(N, V)``.
    is_second
        Which exam is of the second group, ``(N,)`` bool.
    covariates
        What is held fixed, ``(N, C)``; C may be 0.
    mask
        Where the voxels lie, ``(I, J, K)`` bool.
    permutations
        Number of permutations; the data themselves count as one.
    seed
        Seed of the permutations.
    """
    model = VoxelModel(values, is_second, covariates)
    t = model.t()
    enhanced = _enhanced(t, mask)
    beyond = np.ones((3, len(t)))  # how often chance is as large: here, anywhere, enhanced
    for order in _orders(len(values), permutations - 1, seed):
        by_chance = model.t(order)
        beyond[0] += np.abs(by_chance) >= np.abs(t)
        beyond[1] += np.abs(by_chance).max() >= np.abs(t)
        beyond[2] += np.abs(_enhanced(by_chance, mask)).max() >= np.abs(enhanced)
    p, p_voxel, p_cluster = beyond / permutations
    parts = model.rest[~is_second], model.rest[is_second]
    ranks = stats.mannwhitneyu(parts[1], parts[0], axis=0, method='asymptotic')
    q_rank = stats.false_discovery_control(np.nan_to_num(ranks.pvalue, nan=1.0))
    logarithm = special.gammaln(model.freedom / 2) - special.gammaln((model.freedom - 1) / 2)
    unbiased = np.exp(logarithm) / np.sqrt(model.freedom / 2) if model.freedom > 1 else 1.0
    g = t / np.sqrt(model.length) * unbiased
    return VoxelEffects(t, g, p, p_voxel, p_cluster, q_rank, permutations)


def _orders(count: int, number: int, seed: int) -> Iterator[np.ndarray]:
    """Draw orders of exams; the same seed gives the same ones."""
    random = np.random.default_rng(seed)
    for _ in range(number):
        yield random.permutation(count)


def _enhanced(t: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Enhance a map by clusters, both signs, ``(V,)``."""
    volume = np.zeros(mask.shape, np.float32)
    volume[mask] = t
    return tfce(volume, E=EXTENT, H=HEIGHT)[mask]


@dataclass(frozen=True)
class Cluster:
    """Voxels side by side at which two groups differ in one direction.

    Parameters
    ----------
    voxels
        Number of its voxels in all.
    peak
        Indices of the voxel of the largest t.
    t, g, p
        Student's t, Hedges' g and the probability of the enhanced t at the peak.
    """

    voxels: int
    peak: tuple[int, int, int]
    t: float
    g: float
    p: float


def find_clusters(
    t: np.ndarray, g: np.ndarray, p: np.ndarray, level: float = 0.05
) -> list[Cluster]:
    """Part the voxels below a probability into clusters, the largest t first.

    Parameters
    ----------
    t, g, p
        Maps ``(I, J, K)``; p is 1 outside of the mask.
    level
        Probability below which a voxel counts.
    """
    clusters = []
    for sign in (1, -1):
        pieces, count = ndimage.label((p < level) & (sign * t > 0), np.ones((3, 3, 3)))
        for number in range(1, count + 1):
            piece = pieces == number
            at = np.argmax(np.where(piece, sign * t, -np.inf))
            first, second, third = (int(x) for x in np.unravel_index(at, t.shape))
            peak = first, second, third
            values = (float(volume[peak]) for volume in (t, g, p))
            clusters.append(Cluster(int(piece.sum()), peak, *values))
    return sorted(clusters, key=lambda cluster: -abs(cluster.t))
