"""Phantoms: small heads that every part of the program takes for real ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from bids_synthsr.dataset.images import load_volume, save_volume
from bids_synthsr.values.grid import Grid

AXIAL = np.diag([8.0, 8.0, 12.0, 1.0])
PATTERN = {'T1w': (0.3, 1.0, 0.6), 'T2w': (0.5, 0.4, 1.0), 'FLAIR': (0.4, 0.7, 0.2)}


def head(grid: Grid, contrast: str = 'T1w') -> np.ndarray:
    """Draw a head of 150 x 190 x 150 mm: skin, brain and ventricles of three intensities."""
    indices = np.indices(grid.shape).reshape(3, -1)
    points = (grid.vox2ras[:3, :3] @ indices + grid.vox2ras[:3, 3:]).reshape(3, *grid.shape)
    voxels = np.zeros(grid.shape, np.float32)
    for radii, value in zip(
        ((75, 95, 75), (62, 80, 62), (20, 35, 20)), PATTERN[contrast], strict=True
    ):
        inside = sum((p / r) ** 2 for p, r in zip(points, radii, strict=True)) <= 1
        voxels[inside] = 100 * value
    voxels += 3 * np.random.default_rng(len(contrast)).random(grid.shape, np.float32)
    return voxels


def centred(shape: tuple[int, int, int], vox2ras: np.ndarray) -> Grid:
    """Place a grid so that its centre is the origin."""
    grid = Grid(shape, vox2ras.copy())
    grid.vox2ras[:3, 3] -= grid.center
    return grid


def write_scan(folder: Path, name: str, contrast: str, grid: Grid | None = None) -> Path:
    """Write a scan of the phantom as a BIDS file with its sidecar."""
    grid = grid or centred((28, 30, 16), AXIAL)
    path = save_volume(folder / f'{name}_{contrast}.nii.gz', head(grid, contrast), grid)
    sidecar = {'Modality': 'MR', 'MRAcquisitionType': '2D', 'SliceThickness': 12.0}
    (folder / f'{name}_{contrast}.json').write_text(json.dumps(sidecar))
    return path


def write_t1w(bids: Path, label: str, brightness: float = 1.0) -> Path:
    """Write the T1w of an exam, brighter by a factor."""
    path = write_scan(bids.joinpath(*label.split('_')) / 'anat', label, 'T1w')
    voxels, grid = load_volume(path)
    return save_volume(path, voxels * brightness, grid)


def write_description(root: Path) -> None:
    """Write what makes a folder a BIDS data set."""
    root.mkdir(parents=True, exist_ok=True)
    content = {'Name': 'Phantoms', 'BIDSVersion': '1.9.0', 'DatasetType': 'raw'}
    (root / 'dataset_description.json').write_text(json.dumps(content))
    (root / 'README').write_text('Phantoms of the tests of bids_synthsr.\n')


def draw_brain(shape: tuple[int, ...], radii: tuple[float, ...]) -> np.ndarray:
    """Draw an ellipsoid of grey matter with white matter and ventricles, off the middle."""
    at = [(axis - size / 2) / radius for axis, size, radius in
          zip(np.indices(shape), shape, radii, strict=True)]  # fmt: skip
    radius = np.sqrt(sum(axis**2 for axis in at))
    angle = np.arctan2(at[0], at[1])
    edge = 0.8 + 0.08 * np.cos(7 * angle) * np.cos(4 * at[2])
    image = np.where(radius < 1, 70.0, 0.0)
    image[radius < edge] = 110
    image[(radius < 0.25) | (np.abs(at[0]) + np.abs(at[1] - 0.3) < 0.12)] = 30
    image[np.abs(at[2] + 0.6) + np.abs(at[1] + 0.4) < 0.25] = 90
    return gaussian_filter(image, 0.6).astype(np.float32) * (radius < 1.05)
