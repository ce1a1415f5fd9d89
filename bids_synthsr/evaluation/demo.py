"""What the program made of the demo data set, compared with its truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_synthsr.dataset.images import load_rigid, load_volume
from bids_synthsr.derivatives.places import Derivatives, ExamDerivatives
from bids_synthsr.evaluation.phantoms import PROTOCOLS, SUBJECT
from bids_synthsr.imaging.geometry import apply_affine, displacement
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.imaging.similarity import psnr, scale_to, ssim

PRODUCTS = ('preproc', 'sr', 'tv')  # of auto, and of the methods that keep the contrast
MOVED = ('T2w', 'FLAIR')  # scans that are aligned to the T1w
EVERY = 997  # voxels of the brain, of which one is a point whose displacement is measured


@dataclass(frozen=True)
class Misalignment:
    """How far an alignment is off, mean over the brain, mm.

    Parameters
    ----------
    error
        Distance between where the alignment and the truth bring the brain.
    motion
        Distance by which the head had moved.
    """

    error: float
    motion: float


@dataclass(frozen=True)
class DemoComparison:
    """One exam of the demo against its truth.

    Parameters
    ----------
    label
        Name of the exam, such as ``sub-01_ses-2``.
    misalignments
        How far each aligned scan is off, by its contrast.
    scores
        PSNR (dB) and SSIM in the brain, by the name of the volume.
    report
        File of the report of the exam.
    """

    label: str
    misalignments: Mapping[str, Misalignment]
    scores: Mapping[str, tuple[float, float]]
    report: Path


def compare_demo(folder: Path, out: Path) -> Iterator[DemoComparison]:
    """Compare registration and output of every session with the truth.

    Parameters
    ----------
    folder
        The demo data set, with ``bids`` and ``truth``.
    out
        Output folder of the program.
    """
    truth = folder / 'truth'
    mask, grid = load_volume(truth / 'brain_mask.nii.gz')
    points = apply_affine(grid.vox2ras, np.argwhere(mask > 0)[::EVERY])
    for session in PROTOCOLS:
        place = Derivatives(out).exam(SUBJECT, session)
        anat = folder / 'bids' / f'sub-{SUBJECT}' / f'ses-{session}' / 'anat'
        yield DemoComparison(
            place.label,
            {
                name: _compare_transform(place.transform(name, 'T1w'), truth, points)
                for name in MOVED
            },
            _compare_volumes(find_products(place), truth, anat / f'{place.label}_T1w.nii.gz'),
            place.report,
        )


def find_demo_fault(folder: Path, out: Path) -> str:
    """Say why two folders cannot be compared; nothing if they can.

    Parameters
    ----------
    folder
        The demo data set, with ``bids`` and ``truth``.
    out
        Output folder of the program.
    """
    if not (folder / 'truth').is_dir():
        return f'{folder} is no demo data set: write one with "make {folder}"'
    for session in PROTOCOLS:
        place = Derivatives(out).exam(SUBJECT, session)
        transforms = [place.transform(contrast, 'T1w') for contrast in MOVED]
        if not find_products(place) or not all(path.is_file() for path in transforms):
            return (
                f'{out} holds no result of {place.label} to compare: run "bids_synthsr '
                f'{folder / "bids"} {out} participant" to its end, with --method auto, tv or sr-t1'
            )
    return ''


def find_products(place: ExamDerivatives) -> dict[str, Path]:
    """Find the T1w of an exam, by the names of what made them."""
    products: dict[str, Path] = {}
    for name in PRODUCTS:
        beside = place.path_of('T1w', {'space': 'T1w', 'desc': name})
        for file in (beside, place.synthesized('T1w', name)):
            if file.is_file():
                products[name] = file
    return products


def _compare_transform(path: Path, truth: Path, points: np.ndarray) -> Misalignment:
    """Compare a transform with the true one of the same file name."""
    ref2scan = np.linalg.inv(load_rigid(truth / path.name))
    error = displacement(load_rigid(path) @ ref2scan, np.eye(4), points).mean()
    motion = displacement(ref2scan, np.eye(4), points).mean()
    return Misalignment(float(error), float(motion))


def _compare_volumes(
    products: Mapping[str, Path], truth: Path, scan: Path
) -> dict[str, tuple[float, float]]:
    """Score the interpolated scan and the products, on the grid of the first of these."""
    outputs = {name: load_volume(file) for name, file in products.items()}
    grid = next(iter(outputs.values()))[1]
    voxels, source = load_volume(scan)
    volumes = {
        'trilinear': resample(voxels, source, grid),
        'cubic': resample(voxels, source, grid, order=3),
        **{name: volume for name, (volume, _) in outputs.items()},
    }
    expected = resample(*load_volume(truth / scan.name), grid)
    mask = resample(*load_volume(truth / 'brain_mask.nii.gz'), grid) > 0.5
    scores = {}
    for name, volume in volumes.items():
        fitted = scale_to(volume, expected, mask)
        scores[name] = psnr(fitted, expected, mask), ssim(fitted, expected, mask)
    return scores
