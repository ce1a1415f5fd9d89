"""Compare the deformable registration with greedy's, on pairs of painted heads of label maps.

Run it as ``python benchmarks/speed/deformable.py LABEL_MAPS [--pairs 6] [--threads 1] [--save DIR]
[--device cpu]``. Both start from the same affine transform of greedy. Each run has a process of
its own, for its memory. Dice is the mean over the structures that both heads have. The tool
``two-channels`` is ours with the true tissues as a second channel beside the T1w.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from bids_synthsr.dataset.images import load_volume, save_volume
from bids_synthsr.evaluation.truth import make_truth
from bids_synthsr.imaging.displacements import jacobian_determinants, lattice, pull, pull_at
from bids_synthsr.imaging.geometry import bounding_box, crop_grid
from bids_synthsr.imaging.resampling import resample, take_nearest
from bids_synthsr.morphometry.volumes import MAIN
from bids_synthsr.registration.deformable import (
    DeformableSettings,
    displacement_of,
    register,
)
from bids_synthsr.registration.greedy import run_affine
from bids_synthsr.synthesis.labels import freesurfer_table
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.structures import STRUCTURES

SPACING_MM = 2.0
NOISE = 0.03  # of white matter
MARGIN = 6  # voxels around the brain
GREEDY = '-d 3 -threads {} -seed 1 -m NCC 2x2x2 -sv -s {} -n 100x50x30'
TWO_CHANNELS, TISSUE_BLUR_MM = 'two-channels', 1.0
SMOOTHING = {'greedy': '2vox 1vox', 'greedy-free': '1.732vox 0.707vox'}  # its default is the last


@dataclass(frozen=True)
class Pair:
    """Two heads on the grid of the first, brains alone, white matter 1.

    Parameters
    ----------
    fixed, moving
        Painted T1w, ``(I, J, K)``.
    fixed_labels, moving_labels
        Label values on the same grid.
    grid
        Where the voxels lie.
    """

    fixed: np.ndarray
    moving: np.ndarray
    fixed_labels: np.ndarray
    moving_labels: np.ndarray
    grid: Grid


def load_head(path: Path, seed: int) -> tuple[np.ndarray, np.ndarray, Grid]:
    """Paint the brain of a label map, with noise, at 1 mm: T1w, labels, grid."""
    truth = make_truth(*load_volume(path), path.name, freesurfer_table())
    noise = np.random.default_rng(seed).normal(0, NOISE, truth.head.shape)
    head = (truth.head / 1000 + noise) * (truth.mask > 0)
    return head.astype(np.float32), truth.reference, truth.grid


def make_pair(one: Path, another: Path) -> Pair:
    """Bring the second head to the grid of the first by an affine transform."""
    head, labels, grid = load_head(one, 1)
    other, other_labels, other_grid = load_head(another, 2)
    coarse = grid.vox2ras.copy()
    coarse[:3, :3] *= SPACING_MM / grid.spacing
    first, second, third = (int(np.ceil(size / SPACING_MM)) for size in head.shape)
    full = Grid((first, second, third), coarse)
    box = bounding_box(resample(head, grid, full) > 0.2, MARGIN)
    where = crop_grid(full, box)
    fixed = resample(head, grid, where)
    with tempfile.TemporaryDirectory() as folder:
        home = Path.cwd()
        os.chdir(folder)
        try:
            fixed2other = run_affine((fixed, where), (other, other_grid), (fixed > 0.2) * 1.0)
        finally:
            os.chdir(home)
    other2fixed = np.linalg.inv(fixed2other)
    moving = resample(other, other_grid, where, other2fixed)
    return Pair(fixed, moving, take_nearest(labels, grid, where),
                take_nearest(other_labels, other_grid, where, other2fixed), where)  # fmt: skip


def tissue_map(labels: np.ndarray) -> np.ndarray:
    """Map tissues to intensities as a channel: CSF and air 0, grey matter .5, white matter 1."""
    levels = {'GM': 0.5, 'WM': 1.0}
    values = np.zeros(max(STRUCTURES) + 1, np.float32)
    for index, structure in STRUCTURES.items():
        values[index] = levels.get(structure.tissue, 0)
    return gaussian_filter(values[labels], TISSUE_BLUR_MM / SPACING_MM)


def run_ours(
    pair: Pair, stiffness: float, device: str, *, with_tissues: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Register by our own: displacement there and back, mm."""
    sides = ((pair.fixed, pair.fixed_labels), (pair.moving, pair.moving_labels))
    fixed, moving = (
        torch.from_numpy(
            np.stack([image, tissue_map(labels)] if with_tissues else [image])
        ).float().to(device)
        for image, labels in sides
    )  # fmt: skip
    settings = DeformableSettings(stiffness=stiffness)
    velocity = register(fixed, moving, SPACING_MM, settings)
    there, back = (
        displacement_of(sign * velocity, pair.fixed.shape, SPACING_MM).cpu() for sign in (1, -1)
    )
    return there, back


def run_greedy(pair: Pair, threads: int, smoothing: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Register by greedy with stationary velocities: displacement there and back, mm."""
    from picsl_greedy import Greedy3D

    for name, voxels in (('fixed', pair.fixed), ('moving', pair.moving)):
        save_volume(Path(f'{name}.nii'), voxels, pair.grid)
    with Path('greedy.log').open('w', encoding='utf-8') as log:
        Greedy3D().execute(
            f'{GREEDY.format(threads, smoothing)} -wp 0 '
            '-i fixed.nii moving.nii -o warp.nii -oinv back.nii',
            out=log, err=log,
        )  # fmt: skip
    return load_warp('warp.nii', pair.grid), load_warp('back.nii', pair.grid)


def load_warp(path: str, grid: Grid) -> torch.Tensor:
    """Read greedy's warp, LPS mm, as a displacement along the axes of the grid, mm."""
    import nibabel as nib

    warp = nib.Nifti1Image.from_filename(path).get_fdata().squeeze() * [-1, -1, 1]
    return torch.from_numpy(warp @ grid.directions).movedim(-1, 0).float()


def measure(task: tuple[str, Pair, float, int, str]) -> dict[str, float]:
    """Register a pair in this process, and measure how well."""
    tool, pair, stiffness, threads, device = task
    torch.set_num_threads(threads)
    start, wall = time.process_time(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        if tool in SMOOTHING:
            there, back = run_greedy(pair, threads, SMOOTHING[tool])
        else:
            there, back = run_ours(pair, stiffness, device, with_tissues=tool == TWO_CHANNELS)
        os.chdir('/')
    took, waited = time.process_time() - start, time.perf_counter() - wall
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # of the whole process
    brain = torch.from_numpy(pair.fixed_labels > 0)
    determinants = jacobian_determinants(there / SPACING_MM)[brain]
    around = (there + pull(back, there / SPACING_MM)).norm(dim=0)[brain]
    return {
        'dice affine': mean_dice(pair, torch.zeros_like(there)),
        'dice': mean_dice(pair, there),
        'folded %': 100 * float((determinants <= 0).float().mean()),
        'least det': float(determinants.min()),
        'sd ln det': float(determinants.clamp(min=1e-3).log().std()),
        'inverse mm': float(around.mean()),
        'worst mm': float(around.max()),
        'CPU-s': took,
        'wall s': waited,
        'GB': memory,
    }


def mean_dice(pair: Pair, displacement: torch.Tensor) -> float:
    """Carry the structures over, interpolated once, and compare them."""
    at = lattice(pair.grid.shape, displacement) + displacement / SPACING_MM
    values = [value for labels in MAIN.values() for value in labels]
    dices = []
    for value in values:
        fixed, moving = (
            torch.from_numpy((x == value).astype(np.float32))
            for x in (pair.fixed_labels, pair.moving_labels)
        )
        if fixed.any() and moving.any():
            moved = pull_at(moving[None], at)[0]
            dices.append(float(2 * torch.minimum(fixed, moved).sum() / (fixed + moved).sum()))
    return float(np.mean(dices))


def save_pictures(pair: Pair, displacement: torch.Tensor, path: Path) -> None:
    """Draw fixed, affine and deformed images, and the determinants, in the middle slices."""
    from matplotlib.figure import Figure

    moved = pull(torch.from_numpy(pair.moving)[None], displacement / SPACING_MM)[0].numpy()
    determinants = jacobian_determinants(displacement / SPACING_MM).numpy()
    figure = Figure((12, 9))
    for column, volume in enumerate((pair.fixed, pair.moving, moved, np.log(determinants))):
        for row, axis in enumerate((2, 1, 0)):
            axes = figure.add_subplot(3, 4, 4 * row + column + 1)
            limits = (0, 1.2) if column < 3 else (-1, 1)
            colors = 'gray' if column < 3 else 'coolwarm'
            axes.imshow(np.take(volume, volume.shape[axis] // 2, axis).T, origin='lower',
                        cmap=colors, vmin=limits[0], vmax=limits[1])  # fmt: skip
            axes.axis('off')
    figure.tight_layout()
    figure.savefig(path, dpi=70)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each pair and tool, and the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('label_maps', type=Path)
    parser.add_argument('--pairs', type=int, default=6)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--stiffness', type=float, default=0.15)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--tools', nargs='+', default=['ours', *SMOOTHING])
    parser.add_argument('--save', type=Path, help='folder for pictures')
    options = parser.parse_args(arguments)
    paths = sorted(options.label_maps.glob('*.nii*'))
    results: dict[str, list[dict[str, float]]] = {tool: [] for tool in options.tools}
    for number in range(options.pairs):
        pair = make_pair(paths[2 * number], paths[2 * number + 1])
        if options.save:
            torch.set_num_threads(options.threads)
            options.save.mkdir(parents=True, exist_ok=True)
            there, _ = run_ours(pair, options.stiffness, options.device, with_tissues=False)
            save_pictures(pair, there, options.save / f'pair-{number}.png')
        for tool in options.tools:
            task = (tool, pair, options.stiffness, options.threads, options.device)
            with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as pool:
                result = pool.submit(measure, task).result()
            results[tool].append(result)
            print(number, tool, *(f'{name} {value:.3g}' for name, value in result.items()),
                  sep='  ', flush=True)  # fmt: skip
    for tool, each in results.items():
        means = {name: np.mean([result[name] for result in each]) for name in each[0]}
        print('mean', tool, *(f'{name} {value:.3g}' for name, value in means.items()), sep='  ')


if __name__ == '__main__':
    main()
