"""How near filled lesions come to the healthy tissue that was there before.

Run it as::

    python lab/lesions.py LABEL_MAP... [--pictures DIR]

Lesions, or a mass, are drawn into each head by the generator. T1w, T2w and FLAIR of 5 mm are
acquired of the head with and without them, with motion in between. The mean absolute error within
the mask is printed, in percent of the white matter of each scan: as it is, with the mask set to
the median of the white matter, and filled.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bids_synthsr.dataset.images import load_volume
from bids_synthsr.evaluation.painting import draw_head_motion, paint_contrast
from bids_synthsr.imaging.filling import fill_lesions, mark_lesion
from bids_synthsr.imaging.forward_model import acquire
from bids_synthsr.imaging.geometry import (
    bounding_box,
    crop_grid,
    in_ras_order,
    voxels_in_ras_order,
    with_slices,
)
from bids_synthsr.synthesis.labels import WHITE_MATTER, freesurfer_table
from bids_synthsr.synthesis.overlays import PathologyDraw, pathology_labels
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation

CONTRASTS = ('T1w', 'T2w', 'FLAIR')
SLICES_MM = 5.0
DISEASES: dict[
    str, dict[str, Any]
] = {  # drawn by the generator: share of the white matter, size (mm); or radius of a mass
    'lesions': {'lesion_fraction': 0.01, 'lesion_size': 7.0, 'mass_radius': None},
    'mass': {'lesion_fraction': None, 'lesion_size': 7.0, 'mass_radius': 12.0},
}
TABLE = freesurfer_table()


def simulate(
    labels: np.ndarray, grid: Grid, mask: np.ndarray, seed: int, noise: float
) -> tuple[list[Observation], list[np.ndarray]]:
    """Acquire an exam of a head, with the same chance for the same seed, and mark the lesions."""
    scans, lesions = [], []
    for number, contrast in enumerate(CONTRASTS):
        generator = torch.Generator().manual_seed(seed + number)
        scan2ref = draw_head_motion(generator, grid.center) if number else np.eye(4)
        axis = (2 - number) % 3
        slices, target = (
            Acquisition(axis, SLICES_MM, SLICES_MM),
            with_slices(grid, axis, SLICES_MM),
        )
        fine = paint_contrast(labels, contrast, TABLE, generator)
        moved = np.linalg.inv(scan2ref)
        voxels = acquire(fine, grid, target, slices, moved)
        random = np.random.default_rng(seed + number)
        real, imaginary = random.normal(0, noise * np.percentile(voxels, 99), (2, *voxels.shape))
        voxels = np.hypot(voxels + real, imaginary).astype(np.float32)
        scans.append(Observation(contrast, voxels, target, slices, scan2ref))
        lesions.append(mark_lesion(mask, grid, target, moved))
    return scans, lesions


def draw_disease(labels: np.ndarray, kind: str, seed: int) -> np.ndarray:
    """Draw lesions or a mass into a head: their labels, 0 elsewhere."""
    draw = PathologyDraw(seed, rim_width=0.25, oedema_width=1.6, is_target=True, **DISEASES[kind])
    disease = pathology_labels(torch.from_numpy(labels.astype(np.int64)), draw, TABLE)
    return np.zeros_like(labels) if disease is None else disease.numpy()


def measure(labels: np.ndarray, grid: Grid, kind: str, seed: int, noise: float) -> dict:
    """Measure the errors of each scan within the mask, percent of the white matter."""
    disease = draw_disease(labels, kind, seed)
    mask = disease > 0
    sick = np.where(mask, disease, labels)
    healthy, _ = simulate(labels, grid, mask, seed, noise)
    scans, lesions = simulate(sick, grid, mask, seed, noise)
    start = time.process_time()
    filled = fill_lesions(scans, lesions)
    seconds = time.process_time() - start
    white = np.isin(labels, WHITE_MATTER) & ~mask
    rows = {}
    for scan, truth, lesion, made in zip(scans, healthy, lesions, filled, strict=True):
        touched = (
            acquire(
                mask.astype(np.float32),
                grid,
                scan.grid,
                scan.acquisition,
                np.linalg.inv(scan.scan2ref),
            )
            > 0.1
        )
        share = acquire(
            white.astype(np.float32), grid, scan.grid, scan.acquisition,
            np.linalg.inv(scan.scan2ref),
        )  # fmt: skip
        level = float(np.median(scan.voxels[share > 0.95]))
        versions = {
            'as it is': scan.voxels,
            'constant': np.where(lesion, level, scan.voxels),
            'filled': made,
        }
        rows[scan.contrast] = {
            name: float(100 * np.abs(voxels - truth.voxels)[touched].mean() / level)
            for name, voxels in versions.items()
        }
    ml = mask.sum() * grid.voxel_volume / 1000
    return {'rows': rows, 'ml': ml, 's': seconds, 'volumes': (scans, healthy, lesions, filled)}


def draw_montage(volumes: tuple, path: Path) -> None:
    """Draw the slice with most lesion of each scan: as it is, filled, healthy."""
    lines = []
    for scan, truth, lesion, made in zip(*volumes, strict=True):
        axis = scan.acquisition.slice_axis
        others = tuple({0, 1, 2} - {axis})
        index = int(lesion.sum(axis=others).argmax())
        planes = [
            np.rot90(np.take(voxels, index, axis)) for voxels in (scan.voxels, made, truth.voxels)
        ]
        top = np.percentile(planes[2], 99.5)
        line = np.concatenate([(255 * plane / top).clip(0, 255) for plane in planes], axis=1)
        lines.append(np.asarray(Image.fromarray(line.astype(np.uint8)).resize((900, 360))))
    Image.fromarray(np.concatenate(lines)).save(path)


def main() -> None:
    """Print errors by head, disease and contrast."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('label_map', type=Path, nargs='+')
    parser.add_argument('--noise', type=float, default=0.01)
    parser.add_argument('--diseases', nargs='+', default=list(DISEASES))
    parser.add_argument('--pictures', type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print('head disease ml contrast as-it-is constant filled seconds')
    for number, path in enumerate(options.label_map):
        voxels, grid = load_volume(path)
        labels, grid = voxels_in_ras_order(voxels, grid).astype(np.int16), in_ras_order(grid)
        box = bounding_box(labels > 0, 4)
        labels, grid = labels[box], crop_grid(grid, box)
        for kind in options.diseases:
            found = measure(labels, grid, kind, number, options.noise)
            for contrast, row in found['rows'].items():
                errors = ' '.join(f'{value:.2f}' for value in row.values())
                print(path.name, kind, f'{found["ml"]:.1f}', contrast, errors, f'{found["s"]:.0f}')
            if options.pictures:
                draw_montage(found['volumes'], options.pictures / f'{number}-{kind}.png')


if __name__ == '__main__':
    main()
