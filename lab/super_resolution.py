"""PSNR in the brain of total variation against interpolation, on simulated thick-slice exams.

From a 1 mm T1w of a whole head an exam is made whose truth is known:

* contrasts: the T1w as it is; T2w and FLAIR painted from its intensity by smooth curves that are
  not monotone (fluid brightest on T2w and dark on FLAIR, grey above white matter on both), after
  a Gaussian of sd 0.5 mm, so that they do not blow up the noise of the T1w;
* scans: `acquire`, slices as thick as their spacing, 1 x 1 mm in plane; the second and third scan
  turned by up to 4 degrees and moved by up to 4 mm, which the methods are told;
* Rician noise with an sd of 2 % of white matter.

`orthogonal` is T1w sagittal, T2w axial, FLAIR coronal; `axial` a single axial T1w. The brain is
that of MNI152, brought to the head by an affine registration. PSNR refers to the range of the
true contrast in the brain, 0.5 to 99.5 %. `total_variation.STRENGTH` was chosen on studyforrest.
Memory is the peak of a process that simulates and solves one exam.

    python lab/super_resolution.py [--heads studyforrest triob17] [--spacings 3 5 7]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import chdir
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import find_objects, gaussian_filter

from bids_synthsr.dataset.images import load_volume
from bids_synthsr.dataset.weights import load_slice_unet
from bids_synthsr.imaging.forward_model import acquire
from bids_synthsr.imaging.geometry import (
    apply_affine,
    output_grid,
    rigid,
    with_slices,
)
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.methods import sr_t1, total_variation
from bids_synthsr.registration.brain import find_brain
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation

HEADS = Path(__file__).resolve().parents[2] / 'shared' / 'data' / 't1w-whole-head'
PLANS = {
    'orthogonal': (('T1w', 0), ('T2w', 2), ('FLAIR', 1)),
    'axial': (('T1w', 2),),
}
# air, fluid, grey matter, white matter, fat; white matter of the T1w is 1
QUANTILES = (0.02, 0.3, 0.8)  # of the T1w in the brain: fluid, grey matter, white matter
FAT = 1.5
SHADES = {'T2w': (0, 1.2, 0.7, 0.5, 0.8), 'FLAIR': (0, 0.2, 0.9, 0.7, 1)}
CONTRASTS = ('T1w', 'T2w', 'FLAIR')
NOISE = 0.02  # sd, share of white matter
MARGIN = 20  # mm around the brain
GREY_LEVEL = 1000  # of intensity 1 in a scan


@dataclass(frozen=True, eq=False)
class Head:
    """A T1w at 1 mm, white matter 1, and its brain."""

    name: str
    voxels: np.ndarray
    brain: np.ndarray
    grid: Grid


@dataclass(frozen=True)
class Case:
    """One exam to simulate, and the strengths to try on it."""

    head: Head
    plan: str
    spacing: float
    strengths: tuple[float, ...]
    pictures: Path | None
    weights: Path | None


def load_head(path: Path) -> Head:
    """Read a T1w, bring it to 1 mm, find the brain, and keep what is near it."""
    voxels, native = load_volume(path)
    grid = output_grid(native)
    voxels = resample(voxels, native, grid, order=3).clip(0)
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        brain = find_brain(voxels, grid)
    box = find_objects(brain.astype(int))[0]
    first = [max(part.start - MARGIN, 0) for part in box]
    near = tuple(slice(low, part.stop + MARGIN) for low, part in zip(first, box, strict=True))
    white = np.quantile(voxels[brain], QUANTILES[-1])
    voxels, brain = (voxels[near] / white).clip(0, FAT), brain[near]
    vox2ras = grid.vox2ras.copy()
    vox2ras[:3, 3] = apply_affine(vox2ras, np.array(first))
    near_grid = Grid((voxels.shape[0], voxels.shape[1], voxels.shape[2]), vox2ras)
    return Head(path.name.split('_')[0], voxels, brain, near_grid)


def paint(head: Head, contrast: str) -> np.ndarray:
    """Turn T1w intensities into those of another contrast."""
    if contrast == 'T1w':
        return head.voxels
    knots = (0, *np.quantile(head.voxels[head.brain], QUANTILES), FAT)
    curve = PchipInterpolator(knots, SHADES[contrast])
    return curve(gaussian_filter(head.voxels, 0.5)).astype(np.float32)


def simulate(head: Head, plan: str, spacing: float) -> Iterator[Observation]:
    """Scan the head with every sequence of the plan."""
    generator = np.random.default_rng(0)
    for number, (contrast, axis) in enumerate(PLANS[plan]):
        own = with_slices(head.grid, axis, spacing)
        angles, shift = np.radians(generator.uniform(-4, 4, 3)), generator.uniform(-4, 4, 3)
        ref2scan = rigid(angles, shift, head.grid.center) if number else np.eye(4)
        slices = Acquisition(axis, spacing, spacing)
        clean = acquire(paint(head, contrast), head.grid, own, slices, ref2scan)
        noise = NOISE * generator.standard_normal((2, *clean.shape), dtype=np.float32)
        scan = np.hypot(clean + noise[0], noise[1]) * GREY_LEVEL
        yield Observation(contrast, scan, own, slices, np.linalg.inv(ref2scan))


def super_resolve(
    scans: list[Observation], grid: Grid, strength: float
) -> tuple[dict[str, np.ndarray], str]:
    """Run total variation: its volumes, and iterations, seconds, CPU-seconds and GB of it."""
    wall, busy = time.perf_counter(), time.process_time()
    synthesis = total_variation.synthesize(scans, grid, strength=strength)
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB on Linux
    cost = f'{synthesis.facts["iterations"]} | {wall:.0f} | {busy:.0f} | {memory:.1f}'
    return {made.suffix: made.voxels for made in synthesis.images}, cost


def sharpen(
    scans: list[Observation], grid: Grid, weights: Path
) -> tuple[dict[str, np.ndarray], str]:
    """Run the network on the T1w: its volume, seconds and CPU-seconds."""
    trained = load_slice_unet(weights)
    wall, busy = time.perf_counter(), time.process_time()
    synthesis = sr_t1.synthesize(scans, grid, trained=trained)
    wall, busy = time.perf_counter() - wall, time.process_time() - busy
    return {'T1w': synthesis.images[0].voxels}, f' | {wall:.0f} | {busy:.0f} | '


def run(case: Case) -> list[str]:
    """Simulate the exam of a case, run all methods, and give its rows of the table."""
    torch.set_num_threads(2)
    head = case.head
    scans = list(simulate(head, case.plan, case.spacing))
    grid = output_grid(scans[0].grid)
    brain = resample(head.brain.astype(np.float32), head.grid, grid) > 0.5
    names = [scan.contrast for scan in scans]
    volumes = {
        'truth': {
            name: GREY_LEVEL * resample(paint(head, name), head.grid, grid) for name in names
        }
    }
    for method, order in (('linear', 1), ('cubic', 3)):
        volumes[method] = {
            scan.contrast: resample(scan.voxels, scan.grid, grid, scan.scan2ref, order)
            for scan in scans
        }
    costs = dict.fromkeys(volumes, ' | | | ')
    for strength in case.strengths:
        method = f'tv {strength:g}'
        volumes[method], costs[method] = super_resolve(scans, grid, strength)
    if case.weights:
        volumes['sr-t1'], costs['sr-t1'] = sharpen(scans, grid, case.weights)
    label = f'{head.name} | {case.plan} | {case.spacing:g}'
    if case.pictures:
        for name in names:
            shown = {method: each[name] for method, each in volumes.items() if name in each}
            figure = draw(shown, brain)
            figure.savefig(case.pictures / f'{label.replace(" | ", "_")}_{name}.png')
    truth = volumes.pop('truth')
    return [
        f'| {label} | {method} | {scores(each, truth, brain)} | {costs[method]} |'
        for method, each in volumes.items()
    ]


def scores(volumes: dict[str, np.ndarray], truth: dict[str, np.ndarray], brain: np.ndarray) -> str:
    """PSNR in the brain of every contrast, dB, as cells of the table."""
    return ' | '.join(
        f'{psnr(volumes[name][brain], truth[name][brain]):.2f}' if name in volumes else ''
        for name in CONTRASTS
    )


def psnr(voxels: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio, the peak being the range of the truth without its extremes."""
    low, high = np.percentile(truth, (0.5, 99.5))
    return float(20 * np.log10((high - low) / np.sqrt(np.mean((voxels - truth) ** 2))))


def draw(volumes: dict[str, np.ndarray], brain: np.ndarray) -> Figure:
    """Show three planes through the brain, a method per row."""
    middle = [int(np.median(index)) for index in np.nonzero(brain)]
    first = next(iter(volumes.values()))
    figure = Figure(figsize=(15, 5 * len(volumes)), layout='tight')
    for row, (method, volume) in enumerate(volumes.items()):
        for axis in range(3):
            plot = figure.add_subplot(len(volumes), 3, 3 * row + axis + 1)
            plane = np.take(volume, middle[axis], axis).T
            plot.imshow(plane, 'gray', origin='lower', vmin=0, vmax=np.percentile(first, 99.5))
            plot.set(title=method, xticks=[], yticks=[])
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--heads', nargs='+', default=['studyforrest', 'triob17'])
    parser.add_argument('--plans', nargs='+', default=list(PLANS), choices=PLANS)
    parser.add_argument('--spacings', nargs='+', type=float, default=[3, 5, 7], help='mm')
    parser.add_argument('--strengths', nargs='+', type=float, default=[total_variation.STRENGTH])
    parser.add_argument('--weights', type=Path, metavar='FILE', help='also run sr-t1 with these')
    parser.add_argument('--pictures', type=Path, help='folder for PNG files')
    arguments = parser.parse_args()
    print('| head | exam | mm | method | T1w | T2w | FLAIR | iterations | s | CPU-s | GB |')
    print('|' + '---|' * 11)
    # a process per case, so that the peak memory is its own
    with ProcessPoolExecutor(1, get_context('spawn'), max_tasks_per_child=1) as pool:
        heads = [
            pool.submit(load_head, HEADS / f'{name}_T1w.nii.gz').result()
            for name in arguments.heads
        ]
        for head, plan, spacing in product(heads, arguments.plans, arguments.spacings):
            case = Case(head, plan, spacing, tuple(arguments.strengths), arguments.pictures,
                        arguments.weights)  # fmt: skip
            print('\n'.join(pool.submit(run, case).result()), flush=True)


if __name__ == '__main__':
    main()
