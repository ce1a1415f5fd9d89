"""The truth that methods are compared with: a real T1w of 1 mm, or one painted from labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from bids_synthsr.evaluation.painting import as_targets, paint_truth
from bids_synthsr.imaging.geometry import (
    bounding_box,
    crop_grid,
    in_ras_order,
    output_grid,
    voxels_in_ras_order,
)
from bids_synthsr.imaging.resampling import resample, take_nearest
from bids_synthsr.synthesis.labels import LabelTable
from bids_synthsr.synthesis.overlays import brain_mask
from bids_synthsr.values.grid import Grid

MARGIN_VOX = 5  # of air that stays around a head
SPACING_TOLERANCE = 0.01  # mm by which the voxels of a label map may differ from 1 mm
WHITE_MATTER = 1000  # intensity of white matter in a painted T1w


@dataclass(frozen=True, eq=False)
class Truth:
    """A head whose labels are known, all volumes ``(I, J, K)`` on one grid.

    Parameters
    ----------
    head
        T1w of 1 mm, float32.
    labels
        Label values as they were given, int32.
    reference
        Label values by the classes that segmentations have, int16.
    mask
        The brain, uint8: 1 inside and 0 outside.
    grid
        Where the voxels lie, in RAS order.
    """

    head: np.ndarray
    labels: np.ndarray
    reference: np.ndarray
    mask: np.ndarray
    grid: Grid


def conform_head(voxels: np.ndarray, source: Grid) -> tuple[np.ndarray, Grid]:
    """Bring a T1w to voxels of 1 mm in RAS order by cubic interpolation, not negative.

    Parameters
    ----------
    voxels
        ``(I, J, K)`` intensities of the T1w.
    source
        Where these voxels lie.

    Returns
    -------
    head, grid
        float32, and where it lies.
    """
    grid = output_grid(source)
    return resample(voxels, source, grid, order=3).clip(0), grid


def make_truth(
    voxels: np.ndarray,
    source: Grid,
    name: str,
    table: LabelTable,
    image: tuple[np.ndarray, Grid] | None = None,
) -> Truth:
    """Make the truth of a label map: its T1w, painted where there is no real one, and its brain.

    Parameters
    ----------
    voxels
        ``(I, J, K)`` label values.
    source
        Where the labels lie, in voxels of 1 mm.
    name
        What messages call the label map.
    table
        Classes and tissues of all label values.
    image
        Voxels and grid of a real T1w of the same head; None paints one.

    Raises
    ------
    ValueError
        For what is no label map of 1 mm, and for labels that the table does not know.
    """
    labels, grid = labels_in_ras(voxels, source, name)
    table.check(torch.from_numpy(labels), name)
    if image is None:
        head = WHITE_MATTER * paint_truth(labels, table)
    else:
        head, head_grid = conform_head(*image)
        labels, grid = take_nearest(labels, grid, head_grid), head_grid
    brain = brain_mask(torch.from_numpy(labels), table).numpy().astype(np.uint8)
    return Truth(head, labels, as_targets(labels, table), brain, grid)


def labels_in_ras(voxels: np.ndarray, grid: Grid, name: str) -> tuple[np.ndarray, Grid]:
    """Lay labels of 1 mm out in RAS order, int32, with little of the air around the head.

    Parameters
    ----------
    voxels
        ``(I, J, K)`` label values.
    grid
        Where the labels lie.
    name
        What messages call the label map.

    Raises
    ------
    ValueError
        For voxels of another size, for values that are not whole numbers, and for nothing but 0.
    """
    if np.abs(grid.spacing - 1).max() > SPACING_TOLERANCE:
        sizes = ' x '.join(f'{size:.3g}' for size in grid.spacing)
        raise ValueError(f'{name} has voxels of {sizes} mm; label maps must have 1 mm')
    if not np.array_equal(voxels, np.round(voxels)):
        raise ValueError(f'{name} holds values that are no whole numbers: it is no label map')
    labels = voxels_in_ras_order(voxels, grid).astype(np.int32)
    if not labels.any():
        raise ValueError(f'{name} is empty: all its labels are 0')
    box = bounding_box(labels > 0, MARGIN_VOX)
    return np.ascontiguousarray(labels[box]), crop_grid(in_ras_order(grid), box)
