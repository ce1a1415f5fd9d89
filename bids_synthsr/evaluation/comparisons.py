"""How close a volume comes to the truth, or to a scan that it was not made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bids_synthsr.dataset.files import written_atomically
from bids_synthsr.imaging.forward_model import AcquisitionOperator, average_fine_axes
from bids_synthsr.imaging.head import head_mask
from bids_synthsr.imaging.resampling import resample, take_nearest
from bids_synthsr.imaging.similarity import agreement, closeness, fit_line, fit_monotone
from bids_synthsr.morphometry.volumes import StructureVolume, compare_structures
from bids_synthsr.reports.figures import rows_of_slices
from bids_synthsr.reports.screen import window_of
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation

Measures = dict[str, float]


def compare_with_truth(
    volume: np.ndarray, truth: np.ndarray, brain: np.ndarray, scale: np.ndarray | None = None
) -> tuple[np.ndarray, Measures]:
    """Measure in the brain how close a volume comes to the truth.

    Parameters
    ----------
    volume, truth
        ``(I, J, K)`` intensities, in units of their own each.
    brain
        ``(I, J, K)`` bool: where they are compared.
    scale
        ``(I, J, K)`` mean absolute errors that the method expects of itself, if it does.

    Returns
    -------
    fitted, measures
        The volume in the units of the truth, by a linear fit, and the values of `closeness`. With
        ``scale`` there is ``expected_l1``, too: the ``l1`` that the method expects.
    """
    slope, offset = fit_line(volume, truth, brain)
    fitted = slope * volume + offset
    measures = closeness(fitted, truth, brain)
    if scale is not None:
        expected = scale[brain].mean() / np.ptp(truth[brain])
        measures['expected_l1'] = float(abs(slope) * expected)
    return fitted, measures


def on_grid(volume: np.ndarray, source: Grid, grid: Grid) -> np.ndarray:
    """Resample a volume where it lies on another grid.

    Parameters
    ----------
    volume
        ``(I, J, K)`` intensities on ``source``.
    source, grid
        Where the volume lies, and where it is wanted.
    """
    return volume if source == grid else resample(volume, source, grid)


def compare_segmentations(
    labels: tuple[np.ndarray, Grid],
    truth: tuple[np.ndarray, Grid],
    volumes: Sequence[StructureVolume],
    true_volumes: Sequence[StructureVolume],
) -> dict[str, Measures]:
    """Compare the structures of two segmentations, which may lie on different grids.

    Parameters
    ----------
    labels, truth
        Label values ``(I, J, K)`` and where they lie.
    volumes, true_volumes
        Volumes of the structures in each; voxels are counted where there are none.

    Returns
    -------
    measures
        What `compare_structures` returns.
    """
    (values, source), (true_values, grid) = labels, truth
    nearest = values if source == grid else take_nearest(values, source, grid)
    by_label, true_by_label = (
        {volume.index: volume for volume in listed} for listed in (volumes, true_volumes)
    )
    voxel_mm3 = float(np.prod(grid.spacing))
    return compare_structures(nearest, true_values, voxel_mm3, by_label, true_by_label)


@dataclass(frozen=True, eq=False)
class Explanation:
    """How well a volume explains a scan that it was not made of.

    Parameters
    ----------
    measures
        Values of `agreement` in the head.
    structures
        Values of `agreement` in the ``brain`` alone, where it is known.
    scan, fitted
        ``(I, J, K)`` intensities in the head, 0 around it: the scan, and the volume acquired
        again with the same slices.
    grid
        Where the voxels of both lie.
    """

    measures: Measures
    scan: np.ndarray
    fitted: np.ndarray
    grid: Grid
    structures: Mapping[str, Measures] = field(default_factory=dict)


def explain_scan(
    volume: np.ndarray, grid: Grid, scan: Observation, brain: np.ndarray | None = None
) -> Explanation:
    """Acquire a volume as a scan was acquired, and compare the two in the head.

    Parameters
    ----------
    volume, grid
        Intensities ``(I, J, K)`` that a method made of other scans, and where they lie.
    scan
        The scan that was left out.
    brain
        Brain mask ``(I, J, K)`` float32 on the grid of the volume, if there is one.

    Raises
    ------
    ValueError
        If the scan shows nothing of the volume.
    """
    voxels, scan_grid, acquisition = average_fine_axes(
        scan.voxels, scan.grid, scan.acquisition, float(grid.spacing.max())
    )
    ref2scan = np.linalg.inv(scan.scan2ref)
    operator = AcquisitionOperator(grid, scan_grid, acquisition, ref2scan)
    again = operator.forward(volume)
    head = head_mask(voxels, scan.acquisition.slice_axis) & operator.is_seen
    if not head.any():
        raise ValueError(f'The {scan.contrast} that was left out shows nothing of the volume')
    structures = {}
    if brain is not None:
        inside = head & (operator.forward(brain) > 0.5)
        structures = {'brain': agreement(again, voxels, inside)} if inside.any() else {}
    fitted = np.zeros_like(voxels)
    fitted[head] = fit_monotone(again[head], voxels[head])
    return Explanation(
        agreement(again, voxels, head), np.where(head, voxels, 0), fitted, scan_grid, structures
    )


def axis_across(grid: Grid, slice_axis: int) -> int:
    """Find the RAS axis that runs most nearly across the slices: 0 is R, 1 is A, 2 is S."""
    return int(np.abs(grid.directions[:, slice_axis]).argmax())


def save_comparison(
    volumes: Sequence[np.ndarray],
    grid: Grid,
    axis: int,
    path: Path,
    scan: np.ndarray | None = None,
) -> Path:
    """Draw the same slices of volumes of the same units below each other, whole or not at all.

    Parameters
    ----------
    volumes
        Intensities ``(I, J, K)``, the one to be shown at the top first.
    grid
        Where the voxels of all volumes lie.
    axis
        RAS axis across the slices: 0 is R, 1 is A, 2 is S.
    path
        JPEG file to be written.
    scan
        Intensities ``(I, J, K)`` on the same grid in units of their own, to be shown second.
    """
    window = window_of(volumes[0])
    rows = [(volume, window) for volume in volumes]
    if scan is not None:
        rows.insert(1, (scan, window_of(scan)))
    volumes, windows = zip(*rows, strict=True)
    figure = rows_of_slices(volumes, grid, axis, windows)
    with written_atomically(path) as temporary:
        figure.savefig(temporary, format='jpg', pil_kwargs={'quality': 85})
    return path
