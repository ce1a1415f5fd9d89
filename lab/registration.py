"""Measure the rigid registration on simulated and on real thick-slice exams.

Run ``python lab/registration.py [--pairs N] [--heads DIR] [--exams DIR --xfms DIR]``.
Simulated pairs have a known transform, and each is also judged where it was displaced on purpose:
a wrong alignment must be found out. Of the real pairs, the transforms of the data set's authors
are known, which are good to about 1 mm.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nitransforms.linear import Affine
from scipy import ndimage

from bids_synthsr.dataset.images import load_volume, save_volume
from bids_synthsr.imaging.forward_model import acquire
from bids_synthsr.imaging.geometry import (
    apply_affine,
    displacement,
    in_ras_order,
    rigid,
    with_spacing,
)
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.registration.fit import Comparison, Fit
from bids_synthsr.registration.greedy import align, run_greedy
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid

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
FAILED_MM = 1.0  # a greater error counts as a failure
SHIFTS = (0.0, 2.0, 4.0, 8.0, 16.0)  # mm from the truth, at which the check is tried
TURNS_DEG = ((0, 0, 90), (60, 0, 0), (0, 180, 0), (30, 0, 40))  # wrong starts
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


@dataclass(frozen=True)
class Outcome:
    """How one pair went: mean error over the head (mm), what the program says, CPU-seconds."""

    error: float
    fit: Fit
    cpu_s: float


def measure(
    fixed: tuple[np.ndarray, Grid],
    moving: tuple[np.ndarray, Grid],
    scan2ref: np.ndarray,
    points: np.ndarray | None = None,
) -> Outcome:
    """Align as the program does, from files, and compare with ``scan2ref`` in the head."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        reference = save_volume(Path('reference.nii').absolute(), *fixed)
        scan = save_volume(Path('scan.nii').absolute(), *moving)
        start = time.process_time()
        comparison = Comparison(*load_volume(reference), *load_volume(scan))
        found, fit = align(comparison, reference, scan)
        cpu_s = time.process_time() - start
    points = comparison.points if points is None else points
    error = displacement(found @ np.linalg.inv(scan2ref), np.eye(4), points).mean()
    return Outcome(float(error), fit, cpu_s)


def tell(name: str, outcome: Outcome) -> None:
    fit = outcome.fit
    print(
        f'{name:72s} {outcome.error:6.2f} mm  {fit.status:6s} peak {fit.peak:.2f}  '
        f'overlap {fit.overlap:.2f}  {outcome.cpu_s:4.1f} CPU-s',
        flush=True,
    )


def summarise(outcomes: list[Outcome]) -> None:
    errors = np.array([outcome.error for outcome in outcomes])
    good = np.array([outcome.fit.status == 'good' for outcome in outcomes])
    cpu_s = np.array([outcome.cpu_s for outcome in outcomes])
    print(
        f'{len(errors)} pairs: median {np.median(errors):.3f}, worst {errors.max():.3f} mm; '
        f'undetected failures (> {FAILED_MM} mm): {int((good & (errors > FAILED_MM)).sum())}, '
        f'refused: {int((~good).sum())}; CPU-s mean {cpu_s.mean():.1f}, most {cpu_s.max():.1f}\n'
    )


def measure_simulated(folder: Path, count: int) -> None:
    outcomes = []
    for pair in simulated_pairs(folder, count):
        outcomes.append(measure(pair.fixed, pair.moving, pair.scan2ref, pair.points))
        tell(pair.name, outcomes[-1])
    summarise(outcomes)


def measure_real(exams: Path, xfms: Path) -> None:
    outcomes = []
    for path in sorted(xfms.glob('*_to-FLAIR_xfm.txt')):
        label, contrast = path.name.split('_from-')[0], path.name.split('_from-')[1].split('_')[0]
        anat = exams / label.replace('_', '/') / 'anat'
        scans = [anat / f'{label}_{suffix}.nii.gz' for suffix in ('FLAIR', contrast)]
        if all(scan.is_file() for scan in scans):
            fixed, moving = (load_volume(scan) for scan in scans)
            known = np.linalg.inv(Affine.from_filename(path, fmt='itk').matrix)  # of 12 degrees
            outcomes.append(measure(fixed, moving, known))
            tell(f'{label}: FLAIR <- {contrast}', outcomes[-1])
    summarise(outcomes)


def judge_displaced(folder: Path, count: int) -> None:
    """Print the peak of the similarity at the truth and at known distances from it."""
    print('peak of the similarity: ' + ''.join(f'{shift:6.0f} mm' for shift in SHIFTS))
    peaks = []
    for number, pair in enumerate(simulated_pairs(folder, count)):
        comparison = Comparison(*pair.fixed, *pair.moving)
        direction = np.random.default_rng(number).normal(size=3)
        direction /= np.linalg.norm(direction)
        moves = [rigid(np.zeros(3), shift * direction) for shift in SHIFTS]
        peaks.append([comparison.judge(move @ pair.scan2ref).peak for move in moves])
    for name, values in (('least', np.min(peaks, axis=0)), ('most', np.max(peaks, axis=0))):
        print(f'{name:>22s}: ' + ''.join(f'{value:9.2f}' for value in values))


def judge_led_astray(folder: Path, count: int) -> None:
    """Print what is said of the optima to which a start far from the truth leads."""
    wrong: list[tuple[float, Fit]] = []
    for pair in simulated_pairs(folder, count):
        comparison = Comparison(*pair.fixed, *pair.moving)
        center = comparison.points.mean(axis=0)
        with tempfile.TemporaryDirectory() as place, chdir(place):
            files = [
                save_volume(Path(f'{name}.nii').absolute(), *scan)
                for name, scan in (('reference', pair.fixed), ('scan', pair.moving))
            ]
            for angles in TURNS_DEG:
                turn = rigid(np.radians(angles), np.zeros(3), center)
                np.savetxt('start.mat', np.linalg.inv(turn @ pair.scan2ref))
                found = run_greedy(files[0], files[1], '-ia start.mat')
                error = displacement(
                    found @ np.linalg.inv(pair.scan2ref), np.eye(4), pair.points
                ).mean()
                if error > FAILED_MM:
                    wrong.append((float(error), comparison.judge(found)))
    peaks = np.array([fit.peak for _, fit in wrong])
    undetected = [error for error, fit in wrong if fit.status == 'good']
    print(
        f'led astray: {len(wrong)} wrong optima, peak median {np.median(peaks):.2f}, most '
        f'{peaks.max():.2f}; not found out: {len(undetected)} {np.round(undetected, 1)} mm'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--pairs', type=int, default=24, help='simulated pairs')
    parser.add_argument('--heads', type=Path, default=SHARED / 't1w-whole-head')
    parser.add_argument('--exams', type=Path, default=SHARED / 'bids-clinical')
    parser.add_argument('--xfms', type=Path, default=SHARED / 'bids-clinical-xfm')
    options = parser.parse_args()
    print(f'{os.cpu_count()} cores\n')
    measure_simulated(options.heads.absolute(), options.pairs)
    measure_real(options.exams.absolute(), options.xfms.absolute())
    judge_displaced(options.heads.absolute(), options.pairs)
    judge_led_astray(options.heads.absolute(), options.pairs // 2)


if __name__ == '__main__':
    main()
