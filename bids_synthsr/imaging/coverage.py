"""Which part of space an output is to cover, what its scans saw of the head, and how much."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bids_synthsr.imaging.geometry import apply_affine, corners_vox, grid_around
from bids_synthsr.imaging.head import SAMPLING_MM, brightest_object
from bids_synthsr.values.grid import Grid

MARGIN_MM = 10.0  # of air around the head
# along R, A and S: a head that looks smaller is not taken at its word, and no scan is cut below
LEAST_MM = np.array([170.0, 210.0, 190.0])
WHOLE_PERCENT = 97.0  # of the head: less of it in the output is told
SIDES = (('left', 'right'), ('back', 'front'), ('bottom', 'top'))  # along R, A and S
LEAST_CUT_MM2 = 200.0  # of a face of the brain at the end of what was measured
CELL_MM = 4.0  # side of the cubes in which shares are counted


@dataclass(frozen=True)
class Coverage:
    """How much of a head or brain a field of view holds.

    Parameters
    ----------
    size_mm
        Length of that along R, A and S of the reference, mm.
    percent
        Share of the volume of what all scans of the exam show together.
    """

    size_mm: tuple[float, float, float]
    percent: float


def head_points(voxels: np.ndarray, grid: Grid, slice_axis: int) -> np.ndarray:
    """List where a scan shows the head, both edges of every slice, ``(N, 3)`` RAS+ mm.

    Where it shows nothing, the corners of its field of view are listed.

    Parameters
    ----------
    voxels
        ``(I, J, K)`` intensities of a scan.
    grid
        Lattice of the scan.
    slice_axis
        Voxel axis that runs across the slices.
    """
    step = np.maximum(1, np.round(SAMPLING_MM / grid.spacing)).astype(int)
    head = brightest_object(voxels[:: step[0], :: step[1], :: step[2]])
    if not head.any():
        return apply_affine(grid.vox2ras, corners_vox(grid))
    indices = np.argwhere(head) * step
    edge = 0.5 * np.eye(3)[slice_axis] * step
    return apply_affine(grid.vox2ras, np.concatenate([indices - edge, indices + edge]))


def head_grid(
    grid: Grid, heads: Sequence[np.ndarray], scans: Iterable[tuple[Grid, np.ndarray]]
) -> Grid:
    """Cover the head with the voxels of ``grid``, as far as any scan shows it.

    Parameters
    ----------
    grid
        Its axes run R, A, S. It keeps its directions, spacing and the position of its voxels.
    heads
        Where each scan shows the head, ``(N, 3)`` RAS+ mm of the grid (`head_points`).
    scans
        Grids of the scans, beyond whose fields of view nothing is covered, with the transforms
        that bring their RAS+ mm to those of ``grid``.
    """
    to_vox = np.linalg.inv(grid.vox2ras)
    low, high = _bounds(apply_affine(to_vox, np.concatenate(heads)))
    missing = np.maximum(LEAST_MM / grid.spacing - (high - low), 0) / 2
    margin = np.maximum(MARGIN_MM / grid.spacing, missing)
    views = [
        apply_affine(to_vox @ scan2ref @ scan.vox2ras, corners_vox(scan))
        for scan, scan2ref in scans
    ]
    lowest, highest = _bounds(np.concatenate(views))
    box = np.array([np.maximum(low - margin, lowest), np.minimum(high + margin, highest)])
    return grid_around(grid, apply_affine(grid.vox2ras, box))


def measure_coverage(
    parts: Sequence[np.ndarray], views: Iterable[tuple[Grid, np.ndarray]], directions: np.ndarray
) -> list[Coverage]:
    """Measure how much of the head, or of the brain, each field of view holds.

    Parameters
    ----------
    parts
        Where it is, ``(N, 3)`` RAS+ mm of the reference; of the head, what each scan shows
        (`head_points`).
    views
        Grids of scans or outputs, with the transforms that bring their RAS+ mm to the reference.
    directions
        Directions R, A and S of the output in the RAS+ mm of the reference, ``(3, 3)`` columns.
    """
    cells = np.unique(np.round(np.concatenate(parts) / CELL_MM), axis=0) * CELL_MM
    coverages = []
    for view, view2ref in views:
        places = apply_affine(np.linalg.inv(view2ref @ view.vox2ras), cells)
        is_inside = ((places >= -0.5) & (places <= np.array(view.shape) - 0.5)).all(1)
        low, high = _bounds(cells[is_inside] @ directions) if is_inside.any() else (0, np.zeros(3))
        right, anterior, superior = (float(length) for length in high - low)
        share = 100 * float(is_inside.mean())
        coverages.append(Coverage((right, anterior, superior), share))
    return coverages


def describe_cut_head(coverage: Coverage) -> list[str]:
    """Tell that the output lacks part of the head that its scans show; nothing if it does not.

    Parameters
    ----------
    coverage
        How much of the head the output holds.
    """
    if coverage.percent >= WHOLE_PERCENT:
        return []
    lengths = ' x '.join(f'{length:.0f}' for length in coverage.size_mm)
    lost = (
        f'The output holds {math.floor(coverage.percent)} % of the head that its scans show '
        f'({lengths} mm left-right x back-front x down-up): --fov head covers all.'
    )
    return [lost]


def find_cuts(brain: np.ndarray, is_measured: np.ndarray, spacing: np.ndarray) -> dict[str, float]:
    """Find where the brain goes on beyond what any scan measured.

    Parameters
    ----------
    brain
        Where the brain is, ``(I, J, K)`` bool, axes in RAS order. Without the brain stem, which
        goes on into the neck.
    is_measured
        Where any scan measured, on this grid and one voxel around it, ``(I + 2, J + 2, K + 2)``
        bool: what scans show beyond the grid is not cut by them.
    spacing
        Voxel size along I, J and K, mm.

    Returns
    -------
    cuts
        Area of the cut, mm², by its side, such as ``top``; small ones are left out.
    """
    inside, here = is_measured, is_measured[1:-1, 1:-1, 1:-1]
    cuts = {}
    for axis, names in enumerate(SIDES):
        area = float(np.prod(spacing) / spacing[axis])
        for step, name in zip((-1, 1), names, strict=True):
            window = [slice(1, -1)] * 3
            window[axis] = slice(1 + step, inside.shape[axis] - 1 + step)
            beyond = inside[tuple(window)]
            cut = area * int((brain & here & ~beyond).sum())
            if cut >= LEAST_CUT_MM2:
                cuts[name] = cut
    return cuts


def describe_cut_brain(cuts: Mapping[str, float]) -> list[str]:
    """Tell that the brain is cut; nothing if it is not.

    Parameters
    ----------
    cuts
        Area of each cut, mm², by its side (`find_cuts`).
    """
    if not cuts:
        return []
    sides = ' and '.join(f'{name} ({area / 100:.0f} cm²)' for name, area in cuts.items())
    return [
        f'The brain is cut at the {sides}: no scan shows more of it, so volumes are too small.'
    ]


def _bounds(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return points.min(0), points.max(0)
