"""Thick T1w scans of one head in one, two and three planes: sr-t1 of one against tv of several.

    python lab/crossing.py T1W [T1W ...] [--spacing 5]

averages slices of a T1w of 1 mm along each axis in turn, and compares what the methods make of
them with it, in a cube of 96 mm around the centre. No noise, no motion: what planes can add.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel as nb
import numpy as np
from nibabel.processing import resample_to_output

from bids_synthsr.api import synthesize
from bids_synthsr.dataset.images import image_of
from bids_synthsr.settings import MethodSettings
from bids_synthsr.values.grid import Grid

SIDE, BORDER = 120, 12  # voxels of 1 mm
EXAMS = (
    ('sr-t1', (2,)),
    ('tv', (2,)),
    ('tv', (2, 1)),
    ('tv', (2, 0)),
    ('tv', (1, 0)),
    ('tv', (2, 1, 0)),
)
PLANES = ('sagittal', 'coronal', 'axial')


def main() -> None:
    """Compare the methods on every head."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('heads', nargs='+', type=Path)
    parser.add_argument('--spacing', type=int, default=5, help='mm')
    options = parser.parse_args()
    for head in options.heads:
        truth, grid = cut_cube(head)
        for method, axes in EXAMS:
            scans = [average_slices(truth, grid, axis, options.spacing) for axis in axes]
            settings = MethodSettings(method)
            volumes = synthesize(scans, ['T1w'] * len(scans), settings=settings, num_threads=2)
            error = psnr_db(np.asarray(volumes['T1w'].dataobj), truth)
            planes = ', '.join(PLANES[axis] for axis in axes)
            print(f'{head.name}: {method} of {planes}: {error:.2f} dB', flush=True)


def cut_cube(path: Path) -> tuple[np.ndarray, Grid]:
    """Cut a cube out of the middle of a head, axes in R, A, S order."""
    image = resample_to_output(nb.as_closest_canonical(nb.load(path)), 1.0)
    voxels = np.asarray(image.dataobj, dtype=np.float32)
    first = [(size - SIDE) // 2 for size in voxels.shape]
    inside = tuple(slice(start, start + SIDE) for start in first)
    vox2ras = image.affine.copy()
    vox2ras[:3, 3] = (image.affine @ [*first, 1])[:3]
    return voxels[inside], Grid((SIDE, SIDE, SIDE), vox2ras)


def average_slices(truth: np.ndarray, grid: Grid, axis: int, count: int) -> nb.Nifti1Image:
    """Average every ``count`` slices along an axis to one."""
    slabs = np.moveaxis(truth, axis, 0).reshape(SIDE // count, count, SIDE, SIDE)
    voxels = np.moveaxis(slabs.mean(axis=1), 0, axis)
    vox2ras = grid.vox2ras.copy()
    vox2ras[:3, 3] += vox2ras[:3, axis] * (count - 1) / 2
    vox2ras[:3, axis] *= count
    return image_of(voxels, Grid(voxels.shape, vox2ras))


def psnr_db(volume: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio inside of a border, after the best linear fit, dB."""
    inside = (slice(BORDER, -BORDER),) * 3
    made, wanted = volume[inside].ravel(), truth[inside].ravel()
    terms = np.stack([made, np.ones_like(made)], axis=1)
    error = terms @ np.linalg.lstsq(terms, wanted, rcond=None)[0] - wanted
    return float(20 * np.log10(np.ptp(wanted) / np.sqrt((error**2).mean())))


if __name__ == '__main__':
    main()
