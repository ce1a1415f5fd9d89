"""How well lesions that are kept show the contrast that they had.

Run it as::

    python lab/kept_lesions.py LABEL_MAP... [--spacing 5] [--pictures DIR]

Lesions are drawn into each head by the generator, and each gets its own contrast in the T1w. T1w,
T2w and FLAIR are acquired of the head, with motion in between. `any-exam` predicts a T1w, into
which the lesions are put again: by what the T1w tells, with several weights of smoothness, and at
the intensity that lesions typically have. Printed is the correlation of the contrast of lesions
to white matter with the true one, over all lesions, the mean error of this contrast, and its bias.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lesions import draw_disease
from PIL import Image
from scipy import ndimage

from bids_synthsr.dataset.images import load_volume
from bids_synthsr.dataset.weights import find_shipped, load_network
from bids_synthsr.evaluation.painting import draw_head_motion, paint_contrast
from bids_synthsr.imaging.forward_model import acquire
from bids_synthsr.imaging.geometry import (
    bounding_box,
    crop_grid,
    in_ras_order,
    voxels_in_ras_order,
    with_slices,
)
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.methods import any_exam, keeping
from bids_synthsr.methods.catalogue import METHODS
from bids_synthsr.methods.keeping import LesionFreeT1w, keep_lesions
from bids_synthsr.synthesis.labels import LESION, WHITE_MATTER, freesurfer_table
from bids_synthsr.synthesis.tissues import TISSUES
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation

EXAMS = (('T1w', 'T2w', 'FLAIR'), ('T2w', 'FLAIR'))
FACTORS = 0.3, 1.6  # of the contrast of a lesion in the T1w
LEAST_MM3 = 30.0  # smaller lesions are not counted
SMOOTHNESS = 0.03, 0.1, 0.3  # of the change, one after the other
TABLE = freesurfer_table()


def draw_lesions(labels: np.ndarray, seed: int) -> np.ndarray:
    """Number the lesions that the generator draws into a head; 0 elsewhere."""
    numbered: np.ndarray = ndimage.label(draw_disease(labels, 'lesions', seed))[0]
    return numbered


def acquire_exam(
    labels: np.ndarray, lesions: np.ndarray, grid: Grid, spacing: float, seed: int
) -> tuple[list[Observation], np.ndarray]:
    """Acquire T1w, T2w and FLAIR with the lesions, and give the T1w that is true."""
    random = np.random.default_rng(seed)
    factors = np.concatenate([[1.0], random.uniform(*FACTORS, lesions.max())])
    scans, truth = [], np.zeros(0)
    for number, contrast in enumerate(EXAMS[0]):
        chance = torch.Generator().manual_seed(seed + number)
        sick = np.where(lesions > 0, LESION, labels)
        fine = paint_contrast(sick, contrast, TABLE, chance)
        if contrast == 'T1w':
            chance = torch.Generator().manual_seed(seed + number)
            healthy = paint_contrast(labels, contrast, TABLE, chance)
            fine = truth = healthy + factors[lesions] * (fine - healthy)
        chance = torch.Generator().manual_seed(100 + seed + number)
        scan2ref = draw_head_motion(chance, grid.center) if number else np.eye(4)
        slices = Acquisition((2 - number) % 3, spacing, spacing)
        target = with_slices(grid, slices.slice_axis, spacing)
        voxels = acquire(fine, grid, target, slices, np.linalg.inv(scan2ref))
        noise = 0.01 * np.percentile(voxels, 99)
        real, imaginary = random.normal(0, noise, (2, *voxels.shape))
        voxels = np.hypot(voxels + real, imaginary).astype(np.float32)
        scans.append(Observation(contrast, voxels, target, slices, scan2ref))
    return scans, truth


def contrasts_of(volume: np.ndarray, lesions: np.ndarray, white: np.ndarray) -> np.ndarray:
    """Measure the contrast of each lesion to the white matter, in parts of the latter."""
    numbers = np.arange(1, lesions.max() + 1)
    return ndimage.mean(volume, lesions, numbers) / np.median(volume[white]) - 1


def load_shipped(method: str) -> Any:
    """Load the network of a method, with the weights that come with the program."""
    entry = METHODS[method]
    return load_network(entry.network, find_shipped(entry))


def make_versions(
    scans: list[Observation], lesions: np.ndarray, grid: Grid
) -> dict[str, np.ndarray]:
    """Predict a T1w and put lesions into it in several ways; the scan as it is comes last."""
    made = any_exam.synthesize(scans, grid, trained=load_shipped('any-exam'))
    t1w, labels = made.images[0].voxels, made.images[2].voxels
    white, typical = np.isin(labels, (2, 41)), TISSUES['lesion'].t1w
    brain = any_exam.intracranial_mask(labels)
    prediction = LesionFreeT1w(t1w, grid, lesions > 0, white, brain)
    versions = {'predicted': t1w, 'typical': keep_lesions(prediction, [], typical)[0]}
    t1w_scans = [scan for scan in scans if scan.contrast == 'T1w']
    if t1w_scans:
        first = t1w_scans[0]
        cubic = resample(first.voxels, first.grid, grid)
        begun = time.process_time()
        for weight in SMOOTHNESS:
            keeping.SMOOTHNESS = weight
            kept, _ = keep_lesions(prediction, t1w_scans, typical)
            versions[f'kept, {weight}'] = kept
        print(f'{(time.process_time() - begun) / len(SMOOTHNESS):.1f} s each')
        versions['scan itself'] = cubic
    return versions


def main() -> None:
    """Print correlation and error of the contrast by exam and version."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('label_map', type=Path, nargs='+')
    parser.add_argument('--spacing', type=float, default=5.0)
    parser.add_argument('--pictures', type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    for number, path in enumerate(options.label_map):
        voxels, grid = load_volume(path)
        labels, grid = voxels_in_ras_order(voxels, grid).astype(np.int16), in_ras_order(grid)
        box = bounding_box(labels > 0, 4)
        labels, grid = labels[box], crop_grid(grid, box)
        lesions = draw_lesions(labels, number)
        scans, truth = acquire_exam(labels, lesions, grid, options.spacing, 10 * number)
        white = np.isin(labels, WHITE_MATTER) & ~ndimage.binary_dilation(lesions > 0)
        white = ndimage.binary_erosion(white)
        sizes = np.bincount(lesions.ravel())[1:]
        is_counted = sizes * grid.voxel_volume >= LEAST_MM3
        true = contrasts_of(truth, lesions, white)[is_counted]
        for exam in EXAMS:
            used = [scan for scan in scans if scan.contrast in exam]
            versions = make_versions(used, lesions, grid)
            for version, volume in versions.items():
                made = contrasts_of(volume, lesions, white)[is_counted]
                found.setdefault(('+'.join(exam), version), []).append(np.stack([true, made]))
            if options.pictures:
                draw_picture(
                    truth, versions, lesions, options.pictures / f'{number}-{len(exam)}.png'
                )
        print(path.name, f'{sizes.sum() / 1000:.1f} ml', len(true), 'lesions', flush=True)
    print('exam version lesions r mean-error bias')
    for (exam_name, version), pairs in found.items():
        true, made = np.concatenate(pairs, axis=1)
        r = np.corrcoef(true, made)[0, 1]
        print(
            exam_name,
            version,
            len(true),
            f'{r:.3f} {np.abs(made - true).mean():.3f} {(made - true).mean():+.3f}',
        )


def draw_picture(
    truth: np.ndarray, versions: dict[str, np.ndarray], lesions: np.ndarray, path: Path
) -> None:
    """Draw the slice with most lesion: as it is, then each version."""
    index = int((lesions > 0).sum(axis=(0, 1)).argmax())
    planes = [np.rot90(volume[:, :, index]) for volume in (truth, *versions.values())]
    line = [255 * plane / np.percentile(plane, 99.5) for plane in planes]
    Image.fromarray(np.concatenate(line, axis=1).clip(0, 255).astype(np.uint8)).save(path)


if __name__ == '__main__':
    main()
