"""What a scanner would have measured of a finely sampled head: the forward model of every scan.

A voxel of a scan is a weighted mean of the head around its centre. The weights are a Gaussian
along each axis of the scan, as wide at half its height as the voxel is: the in-plane spacing, and
across the slices the slice thickness, which is how scanners define it. A selective pulse of finite
length excites neither a box nor the much wider Gaussian by which SynthSR smooths its training data
(0.73 slices of sd, or FWHM 1.7 slices, meant to avoid aliasing in the simulation). A box across
the slices can be simulated, too: scanners excite something between the two.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.sparse import csr_array, vstack

from bids_synthsr.imaging.geometry import WHOLE_VOXEL, vox2vox
from bids_synthsr.imaging.resampling import ALIGNED, FWHM_PER_SIGMA
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid

# FWHM to either side of the centre: there the Gaussian has fallen to 0.2 % of its height
REACH_FWHM = 1.5
PROFILES = ('gaussian', 'box')  # across the slices
SEEN = 0.5  # a voxel with less of its profile inside the source is not simulated


def acquire(
    voxels: np.ndarray,
    source: Grid,
    target: Grid,
    acquisition: Acquisition,
    source2target: np.ndarray | None = None,
    profile: str = PROFILES[0],
) -> np.ndarray:
    """Simulate the scan of a head, without noise; see `AcquisitionOperator`.

    Parameters
    ----------
    voxels
        ``(I, J, K)``, the head on ``source``.
    target
        Grid of the scan: its spacing across the slices is the slice spacing.
    source2target
        Rigid transform of RAS+ mm, ``(4, 4)``; None is the identity.
    profile
        Profile of the slices, one of `PROFILES`.

    Returns
    -------
    scan
        float32 of ``target.shape``; 0 outside the field of view of ``source``.
    """
    operator = AcquisitionOperator(source, target, acquisition, source2target, profile)
    return operator.forward(voxels)


def box_weights(distance: np.ndarray, width: float) -> np.ndarray:
    """Compute which share of each voxel lies in a box: 1 within it, between 0 and 1 at its ends.

    Parameters
    ----------
    distance
        Distances of the centres of voxels from that of the box, in voxels, of any shape.
    width
        Width of the box in voxels; a narrower one than a voxel is taken for one as wide.
    """
    return np.clip((max(width, 1) + 1) / 2 - np.abs(distance), 0, 1)


def average_fine_axes(
    voxels: np.ndarray, grid: Grid, acquisition: Acquisition, spacing: float
) -> tuple[np.ndarray, Grid, Acquisition]:
    """Average voxels along the axes on which they are finer than ``spacing``, edge to edge.

    In-plane interpolation by the scanner correlates the noise of neighbouring voxels; their means
    over what a head of that spacing can show are nearly independent again, and fewer.

    Parameters
    ----------
    voxels, grid, acquisition
        Intensities ``(I, J, K)``, where they lie, and their slices.
    spacing
        Size that voxels have at least, mm.

    Returns
    -------
    voxels, grid
        float32, and where they lie; an incomplete voxel at the far end is dropped.
    acquisition
        The same slices; a mean of slices is missing where one of these is.
    """
    vox2ras, volume = grid.vox2ras.copy(), voxels.astype(np.float32)
    for axis, ratio in enumerate(spacing / grid.spacing):
        if ratio > 1 + WHOLE_VOXEL and volume.shape[axis] >= ratio:
            overlaps = _overlaps(volume.shape[axis], ratio)
            volume = _along(overlaps, volume, axis)
            if axis == acquisition.slice_axis:
                lacking = overlaps[:, list(acquisition.missing)].any(axis=1)
                missing = tuple(map(int, np.flatnonzero(lacking)))
                acquisition = replace(acquisition, missing=missing)
            vox2ras[:3, 3] += vox2ras[:3, axis] * (ratio - 1) / 2
            vox2ras[:3, axis] *= ratio
    averaged = Grid((volume.shape[0], volume.shape[1], volume.shape[2]), vox2ras)
    return volume, averaged, acquisition


def _overlaps(size: int, ratio: float) -> np.ndarray:
    """Share of each old voxel in every new one, ``ratio`` times as wide: ``(N, size)``."""
    old = np.arange(size)
    new = ratio * np.arange(int(size / ratio + WHOLE_VOXEL))[:, None]
    shared = np.minimum(new + ratio, old + 1) - np.maximum(new, old)
    return (shared.clip(0) / ratio).astype(np.float32)


class AcquisitionOperator:
    """The linear map ``A`` from a head to a scan of it, and its exact adjoint.

    ``A = G W S``: ``S`` interpolates the head linearly at points along the axes of the scan, no
    coarser than the head's own voxels, ``W`` weighs them by the profiles, and ``G`` divides by the
    share of the profile that lies in the field of view of the head, so that a constant stays
    constant up to its border. A voxel of the head is itself a mean over its width ``h``, so the
    profile adds only FWHM² = width² - h², and nothing along an axis on which the scan is as fine.

    Parameters
    ----------
    source, target
        Grids of the head and of the scan.
    acquisition
        Axis and thickness of the slices of the scan; those that are missing are not seen.
    source2target
        Rigid transform of RAS+ mm, ``(4, 4)``; None is the identity.
    profile
        Profile of the slices, one of `PROFILES`; within the slices it is always a Gaussian.
    """

    def __init__(
        self,
        source: Grid,
        target: Grid,
        acquisition: Acquisition,
        source2target: np.ndarray | None = None,
        profile: str = PROFILES[0],
    ) -> None:
        target2source = np.linalg.inv(vox2vox(source, target, source2target))
        profiles = []
        for axis, (fwhm, step) in enumerate(_blurs(target, acquisition, target2source)):
            size, spacing = target.shape[axis], target.spacing[axis]
            if profile == 'box' and axis == acquisition.slice_axis:
                profiles.append(_box_profile(size, spacing, acquisition.slice_thickness, step))
            else:
                profiles.append(_profile(size, spacing, fwhm, step))
        points = [points for points, _ in profiles]
        self.source_shape, self.target_shape = source.shape, target.shape
        self._weights = [weights for _, weights in profiles]
        self._sampler: csr_array | None = None
        self._axes = tuple(int(axis) for axis in np.abs(target2source[:3, :3]).argmax(axis=0))
        if _is_aligned(target2source):
            for axis, along in enumerate(self._axes):
                index = target2source[along, axis] * points[axis] + target2source[along, 3]
                self._weights[axis] = self._weights[axis] @ _linear(source.shape[along], index)
        else:
            self._sampler = _trilinear(source.shape, points, target2source)
        # the axis that shrinks most comes first
        self._order = sorted(range(3), key=lambda axis: np.divide(*self._weights[axis].shape))
        self._gain = np.ones(target.shape, np.float32)
        seen = self.forward(np.ones(source.shape, np.float32))
        self.is_seen = seen >= SEEN
        np.moveaxis(self.is_seen, acquisition.slice_axis, 0)[list(acquisition.missing)] = False
        self._gain = np.divide(1, seen, out=np.zeros_like(seen), where=self.is_seen)

    def forward(self, head: np.ndarray) -> np.ndarray:
        """Scan the head: ``(I, J, K)`` on the source to float32 ``(I, J, K)`` on the target."""
        volume = head.astype(np.float32, copy=False)
        if self._sampler is None:
            volume = volume.transpose(self._axes).copy()
        else:
            fine = [weights.shape[1] for weights in self._weights]
            volume = (self._sampler @ volume.ravel()).reshape(fine)
        for axis in self._order:
            volume = _along(self._weights[axis], volume, axis)
        return volume * self._gain

    def adjoint(self, scan: np.ndarray) -> np.ndarray:
        """Spread a scan over the head: ``<A x, y> = <x, A' y>``, float32 ``(I, J, K)``."""
        volume = scan.astype(np.float32, copy=False) * self._gain
        for axis in reversed(self._order):
            volume = _along(self._weights[axis].T, volume, axis)
        if self._sampler is None:
            return np.ascontiguousarray(volume.transpose(np.argsort(self._axes)))
        return (self._sampler.T @ volume.ravel()).reshape(self.source_shape)


def _blurs(
    target: Grid, acquisition: Acquisition, target2source: np.ndarray
) -> list[tuple[float, float]]:
    """FWHM to add along each target axis, and the width there of a source voxel, mm."""
    width = target.spacing.copy()
    width[acquisition.slice_axis] = acquisition.slice_thickness
    step = target.spacing / np.linalg.norm(target2source[:3, :3], axis=0)
    fwhm = np.sqrt(np.maximum(width**2 - step**2, 0))
    return list(zip(fwhm.tolist(), step.tolist(), strict=True))


def _profile(size: int, spacing: float, fwhm: float, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Place points along an axis and weigh them for each of its voxels.

    Returns
    -------
    points
        ``(P,)`` voxel indices: a whole number per voxel, its centre among them, at most ``step``
        mm apart, and reaching beyond both ends.
    weights
        ``(size, P)`` float32; rows sum to 1.
    """
    per_voxel = _points_per_voxel(spacing, step)
    reach = int(REACH_FWHM * fwhm * per_voxel / spacing)
    if reach == 0:
        return np.arange(size, dtype=float), np.eye(size, dtype=np.float32)
    offsets = np.arange(-reach, reach + 1)
    gaussian = np.exp(-((offsets * spacing / per_voxel * FWHM_PER_SIGMA / fwhm) ** 2) / 2)
    return _along_axis(size, per_voxel, offsets, gaussian)


def _box_profile(
    size: int, spacing: float, thickness: float, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Do the same for boxes; where points are even in number, none is the centre of its voxel."""
    per_voxel = _points_per_voxel(spacing, step)
    width = thickness * per_voxel / spacing
    reach = int(np.ceil((max(width, 1) + 1) / 2))
    offsets = np.arange(-reach, reach + 1) + (0.5 if per_voxel % 2 == 0 else 0)
    weights = box_weights(offsets, width)
    return _along_axis(size, per_voxel, offsets[weights > 0], weights[weights > 0])


def _points_per_voxel(spacing: float, step: float) -> int:
    """Count points in a voxel that are at most ``step`` mm apart."""
    return max(int(np.ceil(spacing / step - WHOLE_VOXEL)), 1)


def _along_axis(
    size: int, per_voxel: int, offsets: np.ndarray, profile: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Repeat a profile for each voxel of an axis: points and weights, see `_profile`."""
    weights = np.zeros((size, (size - 1) * per_voxel + len(offsets)), np.float32)
    centers = np.arange(size)[:, None]
    weights[centers, centers * per_voxel + np.arange(len(offsets))] = profile / profile.sum()
    return (np.arange(weights.shape[1]) + offsets[0]) / per_voxel, weights


def _is_aligned(target2source: np.ndarray) -> bool:
    """Whether every axis of the target runs along one of the source."""
    sizes = np.sort(np.abs(target2source[:3, :3]), axis=0)
    return bool(sizes[:2].max() < ALIGNED)


def _linear(size: int, index: np.ndarray) -> np.ndarray:
    """Linear interpolation at ``index`` ``(P,)``: ``(P, size)``; rows outside the axis are 0."""
    inside, below, above = _neighbours(index, size)
    matrix = np.zeros((len(index), size), np.float32)
    rows = np.arange(len(index))
    matrix[rows, below] += (1 - above) * inside
    matrix[rows, np.minimum(below + 1, size - 1)] += above * inside
    return matrix


def _neighbours(index: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether ``index`` lies on the axis, the voxel below it and the share of the one above.

    Border voxels reach to their outer faces.
    """
    inside = (index >= -0.5) & (index <= size - 0.5)
    clamped = np.clip(index, 0, size - 1)
    below = np.minimum(clamped.astype(np.int32), max(size - 2, 0))
    return inside, below, (clamped - below).astype(np.float32)


def _trilinear(
    shape: tuple[int, int, int], points: list[np.ndarray], points2source: np.ndarray
) -> csr_array:
    """Trilinear interpolation on a lattice of points: ``(P, I J K)``; rows outside are empty."""
    slabs = [_trilinear_slab(shape, [points[0][[i]], *points[1:]], points2source)
             for i in range(len(points[0]))]  # fmt: skip
    return vstack(slabs, format='csr')


def _trilinear_slab(
    shape: tuple[int, int, int], points: list[np.ndarray], points2source: np.ndarray
) -> csr_array:
    """`_trilinear` for the points of one slab, so that no temporary array is large."""
    i, j, k = np.ix_(*points)
    index = [row[0] * i + row[1] * j + row[2] * k + row[3] for row in points2source[:3]]
    neighbours = [_neighbours(index[axis].ravel(), shape[axis]) for axis in range(3)]
    inside = neighbours[0][0] & neighbours[1][0] & neighbours[2][0]
    columns, weights = np.zeros((1, 1), np.int32), np.ones((1, 1), np.float32)
    for corners, ((_, below, above), size) in zip(
        (2, 4, 8), zip(neighbours, shape, strict=True), strict=True
    ):
        below, above = below[inside], above[inside]
        pair = np.stack([below, np.minimum(below + 1, size - 1)], 1)
        columns = (columns[:, :, None] * size + pair[:, None]).reshape(-1, corners)
        share = np.stack([1 - above, above], 1)
        weights = (weights[:, :, None] * share[:, None]).reshape(-1, corners)
    ends = np.concatenate([[0], np.cumsum(8 * inside)]).astype(np.int32)
    size = int(np.prod(shape))
    return csr_array((weights.ravel(), columns.ravel(), ends), (len(inside), size))


def _along(matrix: np.ndarray, volume: np.ndarray, axis: int) -> np.ndarray:
    """Multiply ``matrix`` ``(N, M)`` into one axis of ``volume``, without a transposed copy.

    By PyTorch: its threads are those that the caller asked for, and do not busy-wait.
    """
    weights, image = torch.from_numpy(matrix), torch.from_numpy(volume)
    if axis == 2:
        return (image @ weights.T).numpy()
    if axis == 1:
        return (weights @ image).numpy()
    return (weights @ image.flatten(1)).unflatten(1, image.shape[1:]).numpy()
