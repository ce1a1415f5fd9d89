"""Lesions replaced by plausible healthy tissue, from patches of all scans of an exam together.

The marked voxels are filled in shells, from outside: each takes the mean of the voxels nearby
whose surroundings look most like its own, in all scans (Guizard et al. 2015, Prados et al. 2016).
So a lesion beside a ventricle or a grey nucleus does not become white matter as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from bids_synthsr.imaging.geometry import apply_affine, bounding_box, vox2vox
from bids_synthsr.imaging.head import head_mask
from bids_synthsr.imaging.resampling import resample, take_nearest
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation

PATCH = 2  # voxels on each side, in plane
SEARCH, SEARCH_SLICES = 10, 1  # voxels on each side of a lesion voxel, in plane and across
WIDEST_MM = 60.0  # on each side, where nothing healthy is nearer
BEST = 16  # patches that are averaged
SAME = 1e-6  # squared difference, over the variance: equal but for rounding
AT_ONCE = 60_000  # patches that are compared at once, and 20 times as many single voxels
NEAR_MM, TRUST = 8.0, 0.5  # of what is guessed at first: from how far around, and its weight
SHARE = 0.25  # of a voxel: a lesion that fills more of it makes it a voxel of the lesion
OUTSIDE = 0.5  # of a mask: what lies outside of the head by more is no lesion
WHOLE, LEAST_SLICE_MM2 = 0.9, 2000.0  # of the head in a slice, and slices that are judged
NOTHING_HEALTHY = 'Nothing healthy is near a lesion: check the lesion mask'


def mark_lesion(
    mask: np.ndarray, source: Grid, target: Grid, source2target: np.ndarray | None = None
) -> np.ndarray:
    """Mark the voxels of a scan that a lesion mask touches.

    Those are the voxels whose centre lies in a voxel of the mask, and those of which it fills a
    good part: a small lesion in a thick slice is not lost.

    Parameters
    ----------
    mask
        Lesions on their own grid, ``(I, J, K)`` bool.
    source, target
        Grid of the mask, and that of the scan.
    source2target
        Rigid transform of RAS+ mm, ``(4, 4)``; None is the identity.

    Returns
    -------
    marked
        bool of ``target.shape``.
    """
    marked = take_nearest(mask.astype(np.uint8), source, target, source2target) > 0
    points = apply_affine(vox2vox(source, target, source2target), np.argwhere(mask))
    places = np.floor(points + 0.5).astype(int)
    inside = ((places >= 0) & (places < target.shape)).all(axis=1)
    voxels = np.zeros(target.shape, np.float32)
    np.add.at(voxels, tuple(places[inside].T), source.voxel_volume / target.voxel_volume)
    return marked | (voxels > SHARE)


def find_lesion_fault(lesion: np.ndarray, scan: Observation) -> str:
    """Describe why what a mask marks in a scan can be no lesion, in a clause; empty if it can.

    Parameters
    ----------
    lesion
        Voxels of the scan that the mask marks, ``(I, J, K)`` bool; at least one.
    scan
        The scan on its own grid.
    """
    axis, size = scan.acquisition.slice_axis, scan.grid.spacing
    head = head_mask(scan.voxels, axis)
    if (lesion & ~head).sum() > OUTSIDE * lesion.sum():
        return f'most of it lies outside of the head that the {scan.contrast} shows'
    others = tuple({0, 1, 2} - {axis})
    area, covered = head.sum(axis=others), (head & lesion).sum(axis=others)
    is_judged = area * size[list(others)].prod() >= LEAST_SLICE_MM2
    whole = np.flatnonzero(is_judged & (covered > WHOLE * area))
    if len(whole):
        return f'it covers the whole head in slice {whole[0]} of the {scan.contrast}'
    return ''


def fill_lesions(
    observations: Sequence[Observation], lesions: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Fill the lesions of the scans of an exam, each on its own grid.

    In plane, a voxel beyond the mask is filled as well, for what both share of a voxel.

    Parameters
    ----------
    observations
        The scans of the exam.
    lesions
        What of each scan is lesion, ``(I, J, K)`` bool on its grid; see `mark_lesion`.

    Returns
    -------
    filled
        Voxels of every scan, float32; outside of the filled voxels they are those of the scan.

    Raises
    ------
    ValueError
        If nothing healthy is near a lesion.
    """
    grown = [
        ndimage.binary_dilation(lesion, _plane(scan.acquisition.slice_axis))
        for scan, lesion in zip(observations, lesions, strict=True)
    ]
    return [_fill_scan(index, observations, grown, lesion) for index, lesion in enumerate(lesions)]


def _plane(slice_axis: int) -> np.ndarray:
    """Give the neighbours of a voxel in plane, ``(3, 3, 3)`` bool."""
    neighbours = np.zeros((3, 3, 3), bool)
    neighbours[tuple(1 if axis == slice_axis else slice(None) for axis in range(3))] = True
    return neighbours


def _fill_scan(
    index: int,
    observations: Sequence[Observation],
    grown: Sequence[np.ndarray],
    core: np.ndarray,
) -> np.ndarray:
    """Fill the lesions of one scan, by what all scans show on its grid: float32."""
    scan, lesion = observations[index], grown[index]
    if not lesion.any():
        return scan.voxels
    channels, unknown = [scan.voxels], [lesion]
    for number in (number for number in range(len(observations)) if number != index):
        other = observations[number]
        move = np.linalg.inv(scan.scan2ref) @ other.scan2ref
        channels.append(resample(other.voxels, other.grid, scan.grid, move))
        marked = grown[number].astype(np.float32)
        unknown.append((resample(marked, other.grid, scan.grid, move) > 0) | lesion)
    axis = scan.acquisition.slice_axis
    box = bounding_box(lesion, math.ceil(WIDEST_MM / scan.grid.spacing.min()))
    values, mixed = (
        np.moveaxis(np.stack([part[box] for part in parts]), axis + 1, 1)
        for parts in (channels, unknown)
    )
    spacing = np.concatenate([scan.grid.spacing[[axis]], np.delete(scan.grid.spacing, axis)])
    filled = _fill_channels(values, mixed, np.moveaxis(core[box], axis, 0), spacing)
    voxels, filled = scan.voxels.astype(np.float32), np.moveaxis(filled, 0, axis)
    voxels[box] = np.where(lesion[box], filled, voxels[box])
    return voxels


def _fill_channels(
    channels: np.ndarray, unknown: np.ndarray, core: np.ndarray, spacing: np.ndarray
) -> np.ndarray:
    """Fill what is unknown of the first of ``channels (C, S, I, J)``: ``(S, I, J)``.

    What is not in its core is healthy in part: it is the first guess of itself.
    """
    lesion = unknown[0]
    is_mixed = ndimage.maximum_filter(lesion, (1, 2 * PATCH + 1, 2 * PATCH + 1))
    if is_mixed.all():
        raise ValueError(NOTHING_HEALTHY)
    widest = math.ceil(WIDEST_MM / spacing[1:].min())
    scale = [float(channel[~is_mixed].std()) or 1 for channel in channels]
    guessed = np.stack([
        _guess(channel / sd, part, spacing)
        for channel, sd, part in zip(channels, scale, unknown, strict=True)
    ])  # fmt: skip
    guessed[0] = np.where(core, guessed[0], channels[0] / scale[0])
    field = _Field(guessed, unknown, ~is_mixed, widest)
    remaining = lesion
    while remaining.any():
        rest = ndimage.binary_erosion(remaining, _plane(0), border_value=1)
        shell = remaining & ~rest
        if not shell.any():
            raise ValueError(NOTHING_HEALTHY)
        field.fill(shell)
        remaining = rest
    return field.first() * scale[0]


def _guess(volume: np.ndarray, unknown: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Give what is unknown the median of what is known around it: ``(S, I, J)``."""
    guess, places, reach_mm = volume.astype(np.float32), np.argwhere(unknown), NEAR_MM
    while len(places):
        reach = np.minimum(np.ceil(reach_mm / spacing).astype(int), volume.shape)
        steps = np.argwhere(np.ones(2 * reach + 1, bool)) - reach
        steps = steps[np.linalg.norm(steps * spacing, axis=1) <= reach_mm]
        margins = [(size, size) for size in reach]
        known = np.pad(np.where(unknown, np.nan, volume), margins, constant_values=np.nan)
        is_last, far = bool((reach == volume.shape).all()), []
        for part in np.array_split(places, 1 + len(places) * len(steps) // (20 * AT_ONCE)):
            around = known[tuple((part[:, None] + reach + steps).transpose(2, 0, 1))]
            is_near = (np.isfinite(around).sum(axis=1) >= BEST) | is_last
            guess[tuple(part[is_near].T)] = np.nanmedian(around[is_near], axis=1)
            far.append(part[~is_near])
        places, reach_mm = np.concatenate(far), 2 * reach_mm
    return np.nan_to_num(guess)


class _Field:
    """Channels on padded voxels, in one line: how much is known of them, and what is healthy."""

    def __init__(
        self, channels: np.ndarray, unknown: np.ndarray, healthy: np.ndarray, widest: int
    ) -> None:
        self.widest = widest
        self.pad = (SEARCH_SLICES, *(min(widest, size) + PATCH for size in channels.shape[2:]))
        margins = [(size, size) for size in self.pad]
        values = np.pad(channels, [(0, 0), *margins], mode='edge')
        trust = np.pad(np.where(unknown, np.float32(TRUST), 1), [(0, 0), *margins])
        self.shape = values.shape[1:]
        self.values = np.ascontiguousarray(values.reshape(len(values), -1).T)
        self.trust = np.ascontiguousarray(trust.reshape(len(trust), -1).T)
        self.measured = (self.trust == 1).astype(np.float32)
        self.healthy = np.pad(healthy, margins).ravel()
        self.patch = self._offsets(0, PATCH, PATCH)

    def _offsets(self, *reach: int) -> np.ndarray:
        """Distances of the voxels of a box from its middle, in the line."""
        steps = np.indices([2 * size + 1 for size in reach]).reshape(3, -1).T - reach
        return steps @ (self.shape[1] * self.shape[2], self.shape[2], 1)

    def fill(self, shell: np.ndarray) -> None:
        """Fill the voxels of a shell, all by what was known before."""
        places = np.flatnonzero(np.pad(shell, [(size, size) for size in self.pad]))
        found = np.empty((len(places), self.values.shape[1]), np.float32)
        still, reach = np.arange(len(places)), SEARCH
        while len(still):
            steps = self._offsets(SEARCH_SLICES, *(min(reach, n - PATCH) for n in self.pad[1:]))
            far = []
            for part in np.array_split(still, 1 + len(still) * len(steps) // AT_ONCE):
                count = self.healthy[places[part, None] + steps].sum(axis=1)
                is_near = count >= (BEST if reach < self.widest else 1)
                found[part[is_near]] = self._estimate(places[part[is_near]], steps)
                far.append(part[~is_near])
            still = np.concatenate(far)
            if len(still) and reach >= self.widest:
                raise ValueError(NOTHING_HEALTHY)
            reach *= 2
        self.values[places], self.trust[places] = found, 1

    def _estimate(self, places: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Average the best of the healthy voxels at ``steps`` from each place: ``(V, C)``."""
        candidates, around = places[:, None] + steps, places[:, None] + self.patch
        wanted, trust = self.values[around], self.trust[around]
        lines, columns = np.nonzero(self.healthy[candidates])
        patches = candidates[lines, columns][:, None] + self.patch
        weights = trust[lines] * self.measured[patches]
        differences = self.values[patches] - wanted[lines]
        distance = np.full(candidates.shape, np.inf, np.float32)
        squares = np.einsum('npc,npc,npc->n', differences, differences, weights)
        distance[lines, columns] = squares / weights.sum(axis=(1, 2))
        best = np.argpartition(distance, BEST - 1, axis=1)[:, :BEST]
        nearest = np.take_along_axis(distance, best, axis=1)
        width = np.where(np.isfinite(nearest), nearest, 0).max(axis=1, keepdims=True)
        likeness = np.exp(-nearest / (width + SAME))
        likeness /= likeness.sum(axis=1, keepdims=True)
        values = self.values[np.take_along_axis(candidates, best, axis=1)]
        return np.einsum('vk,vkc->vc', likeness, values)

    def first(self) -> np.ndarray:
        """Give the first channel without its margins, ``(S, I, J)``."""
        box = tuple(slice(size, -size) for size in self.pad)
        return self.values[:, 0].reshape(self.shape)[box]
