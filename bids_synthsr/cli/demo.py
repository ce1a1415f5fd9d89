"""Make the demo data set, and compare what the program made of it with the truth."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from bids_synthsr.dataset.images import load_rigid, load_volume
from bids_synthsr.derivatives.places import Derivatives, ExamDerivatives
from bids_synthsr.evaluation.phantoms import PROTOCOLS, SUBJECT, make_demo
from bids_synthsr.imaging.geometry import apply_affine, displacement
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.imaging.similarity import psnr, scale_to, ssim
from bids_synthsr.values.grid import Grid

PRODUCTS = ('sr', 'tv')  # that the default method may have made
MOVED = ('T2w', 'FLAIR')  # scans that are aligned to the T1w


def compare(folder: Path, out: Path) -> Iterator[str]:
    """Describe registration and output of every session, a line each."""
    truth = folder / 'truth'
    mask, grid = load_volume(truth / 'brain_mask.nii.gz')
    points = apply_affine(grid.vox2ras, np.argwhere(mask > 0)[::997])
    for session in PROTOCOLS:
        place = Derivatives(out).exam(SUBJECT, session)
        yield f'{place.label}: registration error, mean over the brain'
        yield from _compare_transforms(place, truth, points)
        yield f'{place.label}: T1w against the truth, in the brain'
        scan = folder / 'bids' / f'sub-{SUBJECT}' / f'ses-{session}' / 'anat'
        yield from _compare_volumes(place, truth, scan / f'{place.label}_T1w.nii.gz')
        yield f'{place.label}: report {place.report}'


def find_fault(folder: Path, out: Path) -> str:
    """Tell why two folders cannot be compared; nothing if they can."""
    if not (folder / 'truth').is_dir():
        return f'{folder} is no demo data set: write one with "make {folder}"'
    for session in PROTOCOLS:
        place = Derivatives(out).exam(SUBJECT, session)
        transforms = [place.transform(contrast) for contrast in MOVED]
        if not find_products(place) or not all(path.is_file() for path in transforms):
            return (
                f'{out} holds no result of {place.label} to compare: run "bids_synthsr '
                f'{folder / "bids"} {out} participant" to its end, with --method auto, tv or sr-t1'
            )
    return ''


def find_products(place: ExamDerivatives) -> dict[str, Path]:
    """Give the T1w of an exam by the names of what made them."""
    files = {name: place.product('T1w', name) for name in PRODUCTS}
    return {name: file for name, file in files.items() if file.is_file()}


def _compare_transforms(place: ExamDerivatives, truth: Path, points: np.ndarray) -> Iterator[str]:
    for contrast in MOVED:
        path = place.transform(contrast)
        ref2scan = np.linalg.inv(load_rigid(truth / path.name))
        error = displacement(load_rigid(path) @ ref2scan, np.eye(4), points).mean()
        moved = displacement(ref2scan, np.eye(4), points).mean()
        yield f'  {contrast:<6} {error:5.2f} mm  (the head had moved by {moved:.1f} mm)'


def _compare_volumes(place: ExamDerivatives, truth: Path, scan: Path) -> Iterator[str]:
    made = {name: load_volume(file) for name, file in find_products(place).items()}
    _, grid = next(iter(made.values()))
    voxels, source = load_volume(scan)
    volumes = {
        'trilinear': resample(voxels, source, grid),
        'cubic': resample(voxels, source, grid, order=3),
        **{name: volume for name, (volume, _) in made.items()},
    }
    expected, mask = _on(grid, truth / scan.name), _on(grid, truth / 'brain_mask.nii.gz') > 0.5
    for name, volume in volumes.items():
        fitted = scale_to(volume, expected, mask)
        scores = psnr(fitted, expected, mask), ssim(fitted, expected, mask)
        yield f'  {name:<10} PSNR {scores[0]:5.2f} dB   SSIM {scores[1]:.3f}'


def _on(grid: Grid, path: Path) -> np.ndarray:
    return resample(*load_volume(path), grid)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``make FOLDER`` or ``compare FOLDER OUT``."""
    parser = argparse.ArgumentParser(prog='python -m bids_synthsr.cli.demo', description=__doc__)
    actions = parser.add_subparsers(dest='action', required=True)
    make = actions.add_parser('make', help='write FOLDER/bids and FOLDER/truth')
    make.add_argument('folder', type=Path, metavar='FOLDER')
    check = actions.add_parser('compare', help='print the errors of OUT against FOLDER/truth')
    check.add_argument('folder', type=Path, metavar='FOLDER')
    check.add_argument('out', type=Path, metavar='OUT')
    options = parser.parse_args(arguments)
    if options.action == 'make':
        make_demo(options.folder)
        sys.stdout.write(f'Demo data set: {options.folder / "bids"}\n')
    else:
        fault = find_fault(options.folder, options.out)
        if fault:
            parser.error(fault)
        for line in compare(options.folder, options.out):
            sys.stdout.write(f'{line}\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
