"""Super-resolution of one scan, where slices have another profile than methods are told, or noise.

Run it as::

    python lab/self_supervision.py T1W... [--noise .02] [--curve]

Slices of 5 mm are cut of each T1w, with the Gaussian that methods assume and with a box, and made
again from the scan alone. With ``--curve`` intensities go through a fixed curve before, which
makes fluid bright and white matter dark: real texture in another contrast. PSNR in the tissue.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from consistency import psnr

from bids_synthsr.dataset.images import load_volume
from bids_synthsr.dataset.weights import SHIPPED, load_slice_unet
from bids_synthsr.evaluation.truth import conform_head
from bids_synthsr.imaging.forward_model import PROFILES, acquire
from bids_synthsr.imaging.geometry import bounding_box, crop_grid, with_slices
from bids_synthsr.imaging.noise import tissue_mask
from bids_synthsr.methods import cubic, cubic_consistent, self_supervised, sr_t1, total_variation
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation

SPACING = 5
HALF = (45, 56)  # of the block that is used, voxels within the slices
CURVE = ((0, 0.05, 0.3, 0.6, 1, 1.5), (0, 0.9, 1, 0.6, 0.35, 0.5))


def read_block(path: Path, curve: bool) -> tuple[np.ndarray, Grid]:
    """Read the middle of a head, of a whole number of slices; through the curve if asked for."""
    head, grid = conform_head(*load_volume(path))
    first, second, third = bounding_box(head > 0, 2)
    middle = [(side.start + side.stop) // 2 for side in (first, second)]
    sides = [slice(at - h, at + h) for at, h in zip(middle, HALF, strict=True)]
    whole = (third.stop - third.start) // SPACING * SPACING
    block = sides[0], sides[1], slice(third.start, third.start + whole)
    head, grid = np.ascontiguousarray(head[block]), crop_grid(grid, block)
    head = head.clip(0, np.percentile(head, 99.8)).astype(np.float32)
    if curve:
        unit = np.percentile(head, 98)
        changed = np.where(head > 0.02 * unit, np.interp(head / unit, *CURVE), 0)
        head = (100 * changed).astype(np.float32)
    return head, grid


def main() -> None:
    """Print the PSNR and the time of every method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('t1w', type=Path, nargs='+')
    parser.add_argument('--noise', type=float, default=0.0)
    parser.add_argument('--curve', action='store_true')
    options = parser.parse_args()
    torch.set_num_threads(1)
    trained = load_slice_unet(SHIPPED / 'sr-t1.safetensors')
    methods = {
        'cubic': cubic.synthesize,
        'cubic-dc': cubic_consistent.synthesize,
        'tv': total_variation.synthesize,
        'self quick': lambda *exam: self_supervised.synthesize(*exam, effort='quick'),
        'self': self_supervised.synthesize,
        'sr-t1': lambda *exam: sr_t1.synthesize(*exam, trained=trained),
    }
    print('file profile method psnr cpu_s')
    for path in options.t1w:
        head, grid = read_block(path, options.curve)
        inside, slices = tissue_mask(head), Acquisition(2, SPACING, SPACING)
        lattice = with_slices(grid, 2, SPACING)
        scans = {
            profile: acquire(head, grid, lattice, slices, profile=profile) for profile in PROFILES
        }
        random = np.random.default_rng(0)
        for profile, clean in scans.items():
            parts = random.normal(0, options.noise * clean.max(), (2, *clean.shape))
            voxels = np.hypot(clean + parts[0], parts[1]).astype(np.float32)
            scan = Observation('T1w', voxels, lattice, slices, np.eye(4))
            for name, synthesize in methods.items():
                start = time.process_time()
                volume = synthesize([scan], grid).images[0].voxels
                seconds = time.process_time() - start
                score = psnr(volume, head, inside)
                print(path.name, profile, name, f'{score:.2f} {seconds:.0f}', flush=True)


if __name__ == '__main__':
    main()
