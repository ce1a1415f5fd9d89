"""Small heads for the tests of training: a label map, a real T1w, and folders of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bids_synthsr.dataset.images import save_volume
from bids_synthsr.synthesis.contrast import t1w_means
from bids_synthsr.synthesis.labels import freesurfer_table
from bids_synthsr.values.grid import Grid

SIDE = 32
# radius, left and right label, from outside: skin, bone, CSF, cortex, white matter, thalamus
SHELLS = ((15, 511, 511), (13, 515, 515), (11, 24, 24), (10, 3, 42), (7, 2, 41), (3, 10, 49))


def draw_labels(side: int = SIDE, stretch: float = 1.0) -> np.ndarray:
    """Draw a head in RAS order, ``(side, side, side)`` int16, left at the lower end of axis 0."""
    axis = np.arange(side) - (side - 1) / 2
    i, j, k = np.meshgrid(axis, axis / stretch, axis, indexing='ij')
    radius = np.sqrt(i**2 + j**2 + k**2) * SIDE / side
    labels = np.zeros(radius.shape, np.int16)
    for size, left, right in SHELLS:
        labels[(radius < size) & (i < 0)] = left
        labels[(radius < size) & (i >= 0)] = right
    return labels


def paint_t1w(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Paint a T1w with folds of its own, white matter about 110."""
    table = freesurfer_table()
    clean = np.array(t1w_means(table.classes))[table.class_of.numpy()[labels]]
    folds = 0.1 * np.sin(np.indices(labels.shape).sum(0) * 0.9 + seed)
    return (110 * clean * (1 + folds * (clean > 0))).astype(np.float32)


def grid_of(shape: tuple[int, ...], spacing: float = 1.0) -> Grid:
    """Place a volume in RAS order."""
    return Grid((shape[0], shape[1], shape[2]), np.diag([spacing, spacing, spacing, 1.0]))


def write_heads(folder: Path, count: int = 3) -> tuple[Path, Path]:
    """Write label maps and the T1w images of the same heads into two folders."""
    for number in range(count):
        labels = draw_labels(stretch=1 + 0.05 * number)
        for name, voxels in (
            (f'maps/sub-{number}_dseg', labels),
            (f'images/sub-{number}_T1w', paint_t1w(labels, number)),
        ):
            save_volume(folder / f'{name}.nii.gz', voxels, grid_of(voxels.shape))
    return folder / 'maps', folder / 'images'
