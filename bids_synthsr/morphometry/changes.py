"""Volumes of structures over time, from labels of all sessions and the growth of every voxel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def shared_labels(labels: Sequence[np.ndarray]) -> np.ndarray:
    """Give every voxel the label that most sessions give it; of equals the smallest, int16.

    Parameters
    ----------
    labels
        Label values of each session, ``(I, J, K)`` on one grid.
    """
    best = np.zeros(labels[0].shape, np.int16)
    votes = np.zeros(labels[0].shape, np.int8)
    for value in np.unique(np.concatenate([np.unique(one) for one in labels])):
        count = sum((one == value).astype(np.int8) for one in labels)
        wins = count > votes
        best[wins], votes[wins] = value, count[wins]
    return best


def volumes_over_time(
    labels: Sequence[np.ndarray], growths: Sequence[np.ndarray], voxel_mm3: float
) -> dict[int, list[float]]:
    """Measure every structure in each session, by one outline that is deformed to all of them.

    A voxel on which sessions disagree counts for each of its labels by its share of the votes. So
    a change comes from the deformation alone, and from no outline that was drawn differently.

    Parameters
    ----------
    labels
        Label values of each session, ``(I, J, K)`` on one grid of the common space.
    growths
        By which factor each voxel is larger in each session, on the same grid.
    voxel_mm3
        Volume of a voxel, mm3.

    Returns
    -------
    volumes
        Volume in each session, mm3, by label value.
    """
    size = 1 + max(int(one.max()) for one in labels)
    totals = np.zeros((len(growths), size))
    for one in labels:
        flat = one.astype(np.int64).ravel()
        for session, growth in enumerate(growths):
            totals[session] += np.bincount(flat, growth.ravel(), size)
    totals *= voxel_mm3 / len(labels)
    return {value: totals[:, value].tolist() for value in range(size) if totals[:, value].any()}


def percent_change(volumes: Sequence[float]) -> list[float | None]:
    """Compare volumes with the first of them, in percent; None where there was nothing."""
    return [100 * (volume / volumes[0] - 1) if volumes[0] else None for volume in volumes]


def both_sides(volumes: Mapping[int, Sequence[float]], labels: Sequence[int]) -> list[float]:
    """Add up the volumes of several labels, session by session, mm3."""
    return np.sum([volumes[label] for label in labels if label in volumes], axis=0).tolist()
