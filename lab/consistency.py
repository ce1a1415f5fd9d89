"""How much a volume should count against the scan that it was made of, by the noise of the scan.

Run it as::

    python lab/consistency.py T1W... [--methods cubic sr-t1]

Slices are cut of each T1w, with Rician noise of 0 to 4 % of the brightest tissue, and made again
by cubic interpolation or `sr-t1`. PSNR within the head is printed for several weights of
`make_consistent`.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from bids_synthsr.dataset.images import load_volume
from bids_synthsr.dataset.weights import SHIPPED, load_slice_unet
from bids_synthsr.evaluation.truth import conform_head
from bids_synthsr.imaging.forward_model import acquire
from bids_synthsr.imaging.geometry import bounding_box, crop_grid, with_slices
from bids_synthsr.imaging.noise import tissue_mask
from bids_synthsr.methods import cubic, sr_t1
from bids_synthsr.methods.consistency import make_consistent
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.method import Observation

SLICES = ((3.0, 3.0), (5.0, 5.0), (7.0, 7.0), (5.0, 3.0))
NOISES = (0.0, 0.01, 0.02, 0.04)
WEIGHTS = (0.003, 0.01, 0.03, 0.1, 0.3)


def psnr(volume: np.ndarray, truth: np.ndarray, inside: np.ndarray) -> float:
    """PSNR within the head after the best linear fit, dB."""
    x, y = volume[inside], truth[inside]
    slope, offset = np.polyfit(x, y, 1)
    return float(20 * np.log10(np.ptp(y) / np.sqrt(np.mean((slope * x + offset - y) ** 2))))


def main() -> None:
    """Print the gain over the method alone, by slices, noise and weight."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('t1w', type=Path, nargs='+')
    parser.add_argument('--methods', nargs='+', default=['cubic'])
    options = parser.parse_args()
    torch.set_num_threads(1)
    trained = load_slice_unet(SHIPPED / 'sr-t1.safetensors')
    gains: dict[tuple, list[list[float]]] = defaultdict(list)
    for number, path in enumerate(options.t1w):
        head, grid = conform_head(*load_volume(path))
        box = bounding_box(head > 0, 2)
        head, grid = np.ascontiguousarray(head[box]), crop_grid(grid, box)
        head = head.clip(0, np.percentile(head, 99.8)).astype(np.float32)
        inside = tissue_mask(head)
        for spacing, thickness in SLICES:
            slices = Acquisition(2, spacing, thickness)
            lattice = with_slices(grid, 2, spacing)
            clean = acquire(head, grid, lattice, slices)
            for noise in NOISES:
                random = np.random.default_rng(number)
                real, imaginary = random.normal(0, noise * clean.max(), (2, *clean.shape))
                voxels = np.hypot(clean + real, imaginary).astype(np.float32)
                scan = Observation('T1w', voxels, lattice, slices, np.eye(4))
                for method in options.methods:
                    if method == 'cubic':
                        made = cubic.synthesize([scan], grid)
                    else:
                        made = sr_t1.synthesize([scan], grid, trained=trained)
                    volume = made.images[0].voxels
                    alone = psnr(volume, head, inside)
                    row = [
                        psnr(make_consistent(volume, grid, scan, weight)[0], head, inside) - alone
                        for weight in WEIGHTS
                    ]
                    gains[method, spacing, thickness, noise].append([alone, *row])
    print('method spacing thickness noise alone', *WEIGHTS)
    for key, rows in gains.items():
        print(*key, *(f'{value:.2f}' for value in np.mean(rows, axis=0)))


if __name__ == '__main__':
    main()
