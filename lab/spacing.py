"""Scans with gaps between their slices, and whether `spacing` puts the right ones there.

Make scans, let both networks learn, and judge on people held out::

    python lab/spacing.py make OUT --spacing 5 --thickness 2 T1W...
    synthsr train run spacing-vae --images OUT --held-out ... --out VAE
    synthsr train stacks VAE --images OUT --exclude ... --out STACKS
    synthsr train run spacing --images STACKS --out SR
    synthsr train export SR --out spacing.safetensors
    python lab/spacing.py judge OUT --spacing 5 --thickness 2 --vae VAE/checkpoint.safetensors \
        --weights spacing.safetensors T1W...

Slices are axial, their profile is a Gaussian. ``thick`` is the same head in slices as thick, one
at every mm: all that slices between slices can show. ``fine`` is the head itself.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from bids_synthsr.dataset.files import write_json
from bids_synthsr.dataset.images import load_volume, save_volume
from bids_synthsr.dataset.weights import load_spaced
from bids_synthsr.evaluation.comparisons import compare_with_truth
from bids_synthsr.evaluation.painting import ScanProtocol, simulate_exam
from bids_synthsr.evaluation.truth import conform_head
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.methods import cubic, spaced
from bids_synthsr.training.dense import load_slice_vae, make_dense
from bids_synthsr.training.export import load_trained
from bids_synthsr.training.stacks import read_stack
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation

NOISE = 1.0  # percent of bright tissue
VERSIONS = ('cubic', 'first', 'second')


def acquire(
    head: np.ndarray, grid: Grid, spacing: float, thickness: float, noise: float
) -> Observation:
    """Acquire one T1w of axial slices."""
    protocol = ScanProtocol(Acquisition(2, spacing, thickness), 'gaussian', noise)
    (scan,) = simulate_exam(head, grid, ['T1w'], protocol, torch.Generator().manual_seed(0))
    return scan


def make(options: argparse.Namespace) -> None:
    """Write scans with gaps, and their sidecars."""
    for path in options.t1w:
        head, grid = conform_head(*load_volume(path))
        scan = acquire(head, grid, options.spacing, options.thickness, NOISE)
        save_volume(options.folder / path.name, scan.voxels, scan.grid)
        name = path.name.removesuffix('.nii.gz')
        write_json(options.folder / f'{name}.json', {'SliceThickness': options.thickness})


def judge(options: argparse.Namespace) -> None:
    """Print for every head how near each version comes to both truths, PSNR in dB and SSIM."""
    vae, trained = load_slice_vae(load_trained(options.vae)), load_spaced(options.weights)
    print('| head | version | PSNR of thick, dB | of fine | SSIM of thick | of fine |')
    print('|---|---|---|---|---|---|')
    rows: dict[str, list[list[float]]] = {name: [] for name in VERSIONS}
    for path in options.t1w:
        head, grid = conform_head(*load_volume(path))
        scan = acquire(head, grid, options.spacing, options.thickness, NOISE)
        thick = acquire(head, grid, 1.0, options.thickness, 0.0)
        dense, dense_grid = make_dense(vae, read_stack(options.folder / path.name))
        made = {
            'cubic': cubic.synthesize([scan], grid).images[0].voxels,
            'first': resample(dense, dense_grid, grid, order=1),
            'second': spaced.synthesize([scan], grid, trained=trained).images[0].voxels,
        }
        truths = [resample(thick.voxels, thick.grid, grid, order=1), head]
        for name in VERSIONS:
            found = [compare_with_truth(made[name], truth, head > 0)[1] for truth in truths]
            values = [x[measure] for measure in ('psnr', 'ssim') for x in found]
            rows[name].append(values)
            print(f'| {path.name[:6]} | {name} |', ' | '.join(f'{x:.3f}' for x in values), '|')
    for name, of_heads in rows.items():
        print(f'| mean | {name} |', ' | '.join(f'{x:.3f}' for x in np.mean(of_heads, 0)), '|')


def main() -> None:
    """Make scans, or judge networks."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('action', choices=('make', 'judge'))
    parser.add_argument('folder', type=Path, help='of the scans')
    parser.add_argument('t1w', type=Path, nargs='+', help='T1w of 1 mm without skull')
    parser.add_argument('--spacing', type=float, default=5.0, help='mm')
    parser.add_argument('--thickness', type=float, default=2.0, help='mm')
    parser.add_argument('--vae', type=Path)
    parser.add_argument('--weights', type=Path)
    options = parser.parse_args()
    {'make': make, 'judge': judge}[options.action](options)


if __name__ == '__main__':
    main()
