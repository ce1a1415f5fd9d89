"""Slices that hold no measurement: blank, wholly or in part, copies of others, and noise.

A slice of a head resembles the slices near it, and shows about as much of the head as they do.
Slices that show nothing but air, above and below the head, are none of these.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bids_synthsr.imaging.head import otsu_threshold
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid

SAMPLING_MM = 4.0  # within slices: enough to tell a head from noise
NEAR = 3  # slices to either side with which a slice is compared
LIKE = 0.3  # correlation with one of them: slices of heads have 0.6 and more, noise has none
SMOOTH = 0.4  # correlation with itself a voxel away: that of noise is 0
LEAST_SHOWN = 0.05  # of the largest section of the head: less may be air
DARK = 0.15  # of the sections that the slices around it show: less is a slice without signal
LEAST_LIKE = 4  # slices that resemble each other: fewer show no head to judge by
END_SLICES = 2  # without a measurement at an end: more of them are padding, or air
CUT_SECTION = 0.4  # of the largest section: where a slice shows that much, the head goes on
# of what slices on both sides show: a part without signal that is this large was lost
LOST_PART = 0.3
JUDGED_SECTION = 0.2  # of the largest section: what both sides show must be as large
MANY_VALUES = 64  # in a slice: two that are equal in that many were not measured twice


@dataclass(frozen=True)
class MissingSlices:
    """Numbers of the slices of a scan that hold no measurement, counted from 0.

    Parameters
    ----------
    blank
        Slices that show less than those around them, or nothing.
    noise
        Slices that are bright, and resemble none of those around them.
    partial
        Slices a large part of which has one dark value, where those around them show the head.
    copies
        Slices that equal the one before them in every voxel.
    """

    blank: tuple[int, ...] = ()
    noise: tuple[int, ...] = ()
    partial: tuple[int, ...] = ()
    copies: tuple[int, ...] = ()

    @property
    def numbers(self) -> tuple[int, ...]:
        """All kinds, in order."""
        return tuple(sorted({*self.blank, *self.noise, *self.partial, *self.copies}))


def find_missing_slices(voxels: np.ndarray, grid: Grid, slice_axis: int) -> MissingSlices:
    """Find the slices of a head that hold no measurement.

    Parameters
    ----------
    voxels, grid
        ``(I, J, K)`` intensities, air 0, and where they lie.
    slice_axis
        Voxel axis that runs across the slices.
    """
    step = np.maximum(1, np.round(SAMPLING_MM / grid.spacing)).astype(int)
    step[slice_axis] = 1
    coarse = voxels[:: step[0], :: step[1], :: step[2]]
    coarse = coarse / np.abs(coarse).max()  # squares of any intensities are finite
    slices = np.moveaxis(coarse, slice_axis, 0)
    is_tissue = slices > _least_signal(coarse)
    section = is_tissue.sum((1, 2))
    is_like = (_likeness(slices) >= LIKE) | (_smoothness(slices) >= SMOOTH)
    shows = is_like & (section > LEAST_SHOWN * section[is_like].max(initial=0))
    if shows.sum() < LEAST_LIKE:
        return MissingSlices()
    is_blank = section < DARK * _least_around(np.where(shows, section, 0))
    is_blank |= _blank_ends(section, shows)
    is_noise = ~is_like & ~is_blank & (section > LEAST_SHOWN * section[shows].max())
    first, last = np.flatnonzero(shows)[[0, -1]]
    for outside in (slice(0, first), slice(last + 1, None)):
        if np.count_nonzero(is_noise[outside]) > END_SLICES:
            is_noise[outside] = False  # air, bright as in images that are quotients of others
    is_partial = shows & ~is_blank & (_lost_part(slices, is_tissue) >= LOST_PART)
    kinds = (is_blank, is_noise, is_partial, shows & _is_copy(slices))
    return MissingSlices(*(tuple(map(int, np.flatnonzero(kind))) for kind in kinds))


def _least_signal(voxels: np.ndarray) -> float:
    """Find the intensity from which voxels show tissue: a quarter of the way up from air."""
    is_tissue = voxels > otsu_threshold(voxels)
    air, tissue = voxels[~is_tissue].mean(), voxels[is_tissue].mean()
    return float(air + (tissue - air) / 4)


def _likeness(slices: np.ndarray) -> np.ndarray:
    """Find the best correlation of each slice ``(K, I, J)`` with one near it, ``(K,)``."""
    likeness = np.zeros(len(slices))
    for distance in range(1, min(NEAR, len(slices) - 1) + 1):
        pairs = _correlation(slices[distance:], slices[:-distance])
        likeness[distance:] = np.maximum(likeness[distance:], pairs)
        likeness[:-distance] = np.maximum(likeness[:-distance], pairs)
    return likeness


def _smoothness(slices: np.ndarray) -> np.ndarray:
    """Correlate each slice ``(K, I, J)`` with itself, moved by a voxel, ``(K,)``."""
    along = _correlation(slices[:, 1:], slices[:, :-1])
    return np.minimum(along, _correlation(slices[:, :, 1:], slices[:, :, :-1]))


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Correlate the slices of two stacks ``(K, I, J)``, ``(K,)``; 0 where one is constant."""
    one, other = (x - x.mean((1, 2), keepdims=True) for x in (first, second))
    sizes = (np.square(x).sum((1, 2)) for x in (one, other))
    product = np.sqrt(np.prod([*sizes], axis=0))
    for slices in (first, second):  # the mean of equal numbers is not exactly theirs
        product[slices.min((1, 2)) == slices.max((1, 2))] = 0
    alike = (one * other).sum((1, 2))
    return np.divide(alike, product, out=np.zeros(len(one)), where=product > 0)


def _least_around(section: np.ndarray) -> np.ndarray:
    """Find the smaller section of the two next slices that show the head, ``(K,)``; 0 at ends."""
    numbers, least = np.flatnonzero(section), np.zeros(len(section))
    for below, above in pairwise(numbers):
        least[below + 1 : above] = min(section[below], section[above])
    return least


def _lost_part(slices: np.ndarray, is_tissue: np.ndarray) -> np.ndarray:
    """Measure how much of what is tissue on both sides has one dark value, ``(K,)`` of 0 to 1."""
    lost = np.zeros(len(slices))
    least = JUDGED_SECTION * is_tissue.sum((1, 2)).max()
    for number in range(1, len(slices) - 1):
        below, above = is_tissue[max(number - 2, 0) : number], is_tissue[number + 1 : number + 3]
        around = below.any(0) & above.any(0)
        dark = slices[number][around & ~is_tissue[number]]
        if dark.size and np.count_nonzero(around) >= least:
            lost[number] = np.count_nonzero(dark == dark.min()) / np.count_nonzero(around)
    return lost


def _is_copy(slices: np.ndarray) -> np.ndarray:
    """Mark slices ``(K, I, J)`` of many values that equal the one before them, ``(K,)``."""
    is_copy = np.zeros(len(slices), bool)
    is_copy[1:] = (slices[1:] == slices[:-1]).all((1, 2))
    for number in np.flatnonzero(is_copy):
        is_copy[number] = np.unique(slices[number]).size >= MANY_VALUES
    return is_copy


def _blank_ends(section: np.ndarray, shows: np.ndarray) -> np.ndarray:
    """Mark slices at an end that show nothing, although the next cuts through the head, ``(K,)``.

    A head ends gradually: a slice beside the last one shows a small part of it.
    """
    numbers, is_blank = np.flatnonzero(shows), np.zeros(len(section), bool)
    for last, outside in (
        (numbers[0], slice(0, numbers[0])),
        (numbers[-1], slice(numbers[-1] + 1, None)),
    ):
        dark = section[outside] < DARK * section[last]
        if section[last] >= CUT_SECTION * section.max() and len(dark) <= END_SLICES:
            is_blank[outside] = dark
    return is_blank


def fill_slices(voxels: np.ndarray, acquisition: Acquisition) -> np.ndarray:
    """Interpolate missing slices linearly between the nearest others.

    At an end of the scan, the nearest is repeated.

    Parameters
    ----------
    voxels
        ``(I, J, K)`` intensities.
    acquisition
        Slices of the scan, with those that are missing.
    """
    filled = voxels.copy()
    planes = np.moveaxis(filled, acquisition.slice_axis, 0)
    present = np.setdiff1d(np.arange(len(planes)), acquisition.missing)
    for number in acquisition.missing:
        position = np.interp(number, present, np.arange(len(present)))
        below, above = present[int(np.floor(position))], present[int(np.ceil(position))]
        share = np.float32(position % 1)
        planes[number] = (1 - share) * planes[below] + share * planes[above]
    return filled
