"""Finding the head in a volume."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from bids_synthsr.imaging.geometry import axis_order, bounding_box
from bids_synthsr.values.grid import Grid

SAMPLING_MM = 2.0  # enough to find a head, and quick
BESIDE_MM = 10.0  # of a brain: what is bright beyond it is head
FAINT, LEAST_HEAD = 0.2, 0.05  # of the brain: its intensity, and its volume
BRIGHTEST = 0.5  # percent: vessels and artefacts, which must not set the scale


def head_size(voxels: np.ndarray, grid: Grid) -> np.ndarray:
    """Measure the bounding box of the largest bright object, ``(3,)`` mm: see `head_bounds`."""
    return head_bounds(voxels, grid)[0]


def head_bounds(voxels: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Measure the bounding box of the largest bright object.

    Bright is above the threshold of Otsu, of voxels about 2 mm apart.

    Parameters
    ----------
    voxels, grid
        Intensities ``(I, J, K)``, not all equal, and where they lie.

    Returns
    -------
    size
        ``(3,)`` mm along R, A and S.
    is_cut
        Whether it reaches a face of the field of view along R, A and S, ``(3,)``.
    """
    step = np.maximum(1, np.round(SAMPLING_MM / grid.spacing)).astype(int)
    coarse = voxels[:: step[0], :: step[1], :: step[2]]
    labels, count = ndimage.label(coarse > otsu_threshold(coarse))
    if not count:
        return np.zeros(3), np.zeros(3, bool)
    largest = np.bincount(labels.ravel())[1:].argmax()
    box = bounding_box(labels == largest + 1)
    extent = np.array([part.stop - part.start for part in box]) * step * grid.spacing
    ends = zip(box, coarse.shape, strict=True)
    is_cut = np.array([part.start == 0 or part.stop == size for part, size in ends])
    axes, _ = axis_order(grid.vox2ras)
    return extent[list(axes)], is_cut[list(axes)]


def head_mask(voxels: np.ndarray, slice_axis: int) -> np.ndarray:
    """Mark the head, with what is dark inside it, ``(I, J, K)`` bool.

    That is `brightest_object`, filled in every slice.

    Parameters
    ----------
    voxels
        ``(I, J, K)`` intensities of a scan.
    slice_axis
        Voxel axis that runs across the slices.
    """
    head = brightest_object(voxels)
    slices = [ndimage.binary_fill_holes(plane) for plane in np.moveaxis(head, slice_axis, 0)]
    return np.moveaxis(np.stack(slices), 0, slice_axis)


def is_far_from(brain: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Mark what lies so far from the brain that nothing of it is there, ``(I, J, K)`` bool.

    Parameters
    ----------
    brain
        Brain mask, ``(I, J, K)``.
    spacing
        Size of a voxel along each axis, mm.
    """
    return ndimage.distance_transform_edt(brain <= 0, spacing) > BESIDE_MM


def is_skull_stripped(voxels: np.ndarray, brain: np.ndarray, beyond: np.ndarray) -> bool:
    """Whether a volume shows next to nothing of the head outside of the brain.

    Parameters
    ----------
    voxels
        ``(I, J, K)`` intensities.
    brain
        Brain mask, ``(I, J, K)``.
    beyond
        What is far from the brain, see `is_far_from`.
    """
    inside = brain > 0
    if not inside.any():
        return False
    bright = voxels > FAINT * np.median(voxels[inside])
    return bool((bright & beyond).sum() < LEAST_HEAD * inside.sum())


def brightest_object(voxels: np.ndarray) -> np.ndarray:
    """Mark the largest object above half the threshold of Otsu, ``(I, J, K)`` bool."""
    labels, count = ndimage.label(voxels > otsu_threshold(voxels) / 2)
    if not count:
        return np.zeros(voxels.shape, bool)
    return labels == np.bincount(labels.ravel())[1:].argmax() + 1


def otsu_threshold(voxels: np.ndarray) -> float:
    """Find the value that splits intensities best in two classes (Otsu 1979).

    The brightest 0.5 % count as if they had the value above which they lie. Where all are the
    same, that is the threshold.
    """
    values = voxels.astype(np.float64)
    low, high = values.min(), np.percentile(values, 100 - BRIGHTEST)
    high = high if high > low else values.max()
    if not high > low:
        return float(low)
    counts, edges = np.histogram(((values - low) / (high - low)).clip(0, 1), 256, (0, 1))
    share = counts / counts.sum()
    moment = np.cumsum(share * (edges[1:] + edges[:-1]) / 2)
    below = np.cumsum(share)[:-1]
    variance = (moment[-1] * below - moment[:-1]) ** 2 / np.maximum(below * (1 - below), 1e-12)
    return float(low + (high - low) * edges[1 + variance.argmax()])
