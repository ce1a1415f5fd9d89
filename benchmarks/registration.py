"""Measure the rigid registration on simulated and on real thick-slice exams.

Run ``python benchmarks/registration.py [--pairs N] [--heads DIR] [--exams DIR]``. Simulated pairs
have a known transform; of the real ones, the transforms of the data set's authors are known, which
are good to about 1 mm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from bids_synthsr.data.acquisition import Acquisition
from bids_synthsr.data.grid import Grid
from bids_synthsr.dataset.images import load_volume
from bids_synthsr.imaging.acquisition import acquire
from bids_synthsr.imaging.geometry import apply_affine, in_ras_order, rigid, with_spacing
from bids_synthsr.imaging.resampling import resample

SHARED = Path(__file__).resolve().parents[2] / 'shared' / 'data'
PLANES = ('sagittal', 'coronal', 'axial')
MAX_ANGLE_DEG, MAX_SHIFT = 10.0, 20.0  # of every axis; Iglesias et al. 2021, table 1
HEAD_HEIGHT = 190.0  # mm from the crown: what a scan of the brain covers
CUT = 0.62  # share of that height which a partial scan covers
NOISE, BIAS = 0.03, 0.25  # sd relative to the brightest tissue; sd of the log field on 4 nodes

# contrast, plane, slice spacing (mm) of the reference and of the scan
PROTOCOLS = (
    (('T1w', 'sagittal', 5.0), ('T2w', 'axial', 5.0)),
    (('T1w', 'axial', 5.5), ('FLAIR', 'coronal', 6.0)),
    (('T1w', 'coronal', 6.0), ('T2w', 'sagittal', 5.0)),
    (('T2w', 'axial', 5.0), ('FLAIR', 'axial', 6.0)),
    (('T1w', 'axial', 6.0), ('T2w', 'axial', 5.0)),
    (('FLAIR', 'axial', 5.0), ('T1w', 'sagittal', 6.0)),
)
COVERAGES = ('whole', 'without crown', 'whole', 'without base', 'whole', 'with neck', 'whole')


@dataclass(frozen=True)
class Head:
    """A T1w head of 1 mm, white matter at 1, with a mask of everything that is not air."""

    name: str
    voxels: np.ndarray
    grid: Grid
    mask: np.ndarray


@dataclass(frozen=True)
class Pair:
    """Two scans of one head, and the truth between them."""

    name: str
    fixed: tuple[np.ndarray, Grid]
    moving: tuple[np.ndarray, Grid]
    scan2ref: np.ndarray
    points: np.ndarray


def load_head(name: str, voxels: np.ndarray, source: Grid) -> Head:
    grid = with_spacing(in_ras_order(source), 1.0)
    head = resample(voxels, source, grid)
    blurred = ndimage.gaussian_filter(head, 2)
    labels, _ = ndimage.label(blurred > 0.15 * np.percentile(blurred, 98))
    mask = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    mask = ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(mask, 8), iterations=4))
    mask = mask[8:-8, 8:-8, 8:-8]
    low, high = bounding_box(mask)
    middle = np.round([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, high[2] - 80]).astype(int)
    brain = head[tuple(slice(index - 40, index + 40) for index in middle)]
    return Head(name, head / np.percentile(brain, 80), grid, mask)


def bounding_box(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    (box,) = ndimage.find_objects(mask.astype(int))
    return np.array([part.start for part in box]), np.array([part.stop - 1 for part in box])


def paint(head: Head, contrast: str) -> np.ndarray:
    """Give the head another contrast by a smooth map of its T1w intensities."""
    t1w = np.clip(head.voxels, 0, 1.6)
    if contrast == 'T1w':
        return t1w
    ramp = np.clip((t1w - 0.05) / 0.1, 0, 1)
    tissue = ramp**2 * (3 - 2 * ramp) * head.mask
    if contrast == 'T2w':
        return tissue * (0.15 + 1.7 * np.exp(-2.2 * t1w))
    return tissue * (0.15 + np.exp(-(((t1w - 0.65) / 0.3) ** 2)))


def stack(
    center: np.ndarray, extent: np.ndarray, plane: str, spacing: float, rng: np.random.Generator
) -> tuple[Grid, Acquisition]:
    """Lay slices of a slightly tilted plane around ``center``."""
    axis = PLANES.index(plane)
    voxel = np.full(3, rng.uniform(0.8, 1.0))
    voxel[axis] = spacing
    tilt = rigid(np.radians(rng.uniform(-1, 1, 3) * (8, 3, 3)), np.zeros(3))
    shape = np.round(extent / voxel).astype(int)
    vox2ras = tilt @ np.diag([*voxel, 1])
    vox2ras[:3, 3] = center - vox2ras[:3, :3] @ ((shape - 1) / 2)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), vox2ras), Acquisition(
        axis, spacing, 0.9 * spacing
    )


def disturb(scan: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Multiply by a smooth field and add Rician noise."""
    nodes = rng.normal(0, BIAS, (4, 4, 4))
    zoom = np.array(scan.shape) / 4
    scan = scan * np.exp(ndimage.zoom(nodes, zoom, order=1, grid_mode=True, mode='nearest'))
    real, imaginary = rng.normal(0, NOISE * np.percentile(scan, 98), (2, *scan.shape))
    return (300 * np.hypot(scan + real, imaginary)).astype(np.float32)


def simulate_pair(head: Head, number: int) -> Pair:
    """Draw two scans of a head that moved between them; the second may cover it in part."""
    rng = np.random.default_rng(number)
    reference, scan = PROTOCOLS[number % len(PROTOCOLS)]
    coverage = COVERAGES[number % len(COVERAGES)]
    low, high = bounding_box(head.mask)
    low[2] = max(low[2], high[2] - HEAD_HEIGHT)
    extent = (high - low + 16).astype(float)
    center = apply_affine(head.grid.vox2ras, (low + high) / 2)
    angles = np.radians(rng.uniform(-MAX_ANGLE_DEG, MAX_ANGLE_DEG, 3))
    ref2scan = rigid(angles, rng.uniform(-MAX_SHIFT, MAX_SHIFT, 3), center)
    # the operator either follows the head or repeats the old field of view
    follows = bool(rng.integers(2))
    scan_center, scan_extent = cover(center, extent, coverage)
    if follows:
        scan_center = apply_affine(ref2scan, scan_center)
    fixed_grid, fixed_slices = stack(center + rng.uniform(-5, 5, 3), extent, *reference[1:], rng)
    grid, slices = stack(scan_center + rng.uniform(-5, 5, 3), scan_extent, *scan[1:], rng)
    fixed = acquire(paint(head, reference[0]), head.grid, fixed_grid, fixed_slices)
    moving = acquire(paint(head, scan[0]), head.grid, grid, slices, ref2scan)
    points = apply_affine(head.grid.vox2ras, np.argwhere(head.mask)[::997])
    index = apply_affine(np.linalg.inv(fixed_grid.vox2ras), points)
    seen = ((index > -0.5) & (index < np.array(fixed_grid.shape) - 0.5)).all(1)
    name = f'{head.name:12s} {describe(reference)} <- {describe(scan)}, {coverage}'
    return Pair(
        name + (', follows' if follows else ''),
        (disturb(fixed, rng), fixed_grid),
        (disturb(moving, rng), grid),
        np.linalg.inv(ref2scan),
        points[seen],
    )


def describe(protocol: tuple[str, str, float]) -> str:
    contrast, plane, spacing = protocol
    return f'{contrast} {plane[:3]} {spacing}'


def cover(center: np.ndarray, extent: np.ndarray, coverage: str) -> tuple[np.ndarray, np.ndarray]:
    """Centre and size of a field of view that sees the head, a part of it, or more."""
    share, shift = {
        'whole': (1.0, 0.0),
        'without crown': (CUT, -(1 - CUT) / 2),
        'without base': (CUT, (1 - CUT) / 2),
        'with neck': (1.25, -0.125),
    }[coverage]
    height = np.array([0, 0, extent[2]])
    return center + shift * height, extent + (share - 1) * height


def load_heads(folder: Path) -> list[Head]:
    """T1w heads of a folder; where there are none, the head that nilearn ships."""
    files = sorted(folder.glob('*_T1w.nii.gz'))
    if files:
        return [load_head(file.name.split('_')[0], *load_volume(file)) for file in files]
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1)
    return [
        load_head('MNI152', image.get_fdata(dtype=np.float32), Grid(image.shape, image.affine))
    ]


def simulated_pairs(folder: Path, count: int) -> Iterator[Pair]:
    heads = load_heads(folder)
    for number in range(count):
        yield simulate_pair(heads[number % len(heads)], number)
