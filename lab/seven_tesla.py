"""Pairs of T1w as two scanners might see one head, to train and judge 3t-7t on.

Run it as::

    python lab/seven_tesla.py OUT T1W...
    synthsr train run 3t-7t --inputs OUT/inputs --targets OUT/targets --held-out ... --out DIR

The target is the head with more contrast between tissues, and another coil. The input is the head
blurred by 1.3 mm, with 3 % of noise, another curve of intensities, and moved by some mm.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from bids_synthsr.dataset.images import load_volume, save_volume
from bids_synthsr.evaluation.painting import draw_head_motion
from bids_synthsr.imaging.geometry import in_ras_order, voxels_in_ras_order
from bids_synthsr.imaging.intensity import bright_intensity
from bids_synthsr.imaging.resampling import FWHM_PER_SIGMA, resample
from bids_synthsr.synthesis.fields import smooth_field

BLUR_MM, NOISE, GAMMA = 1.3, 0.03, 0.8
STRETCH = 1.35  # exponent that sets tissues of the target apart
COIL_SD, COIL_MM = 0.15, 60.0


def make_pair(head: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Make input and target of a head ``(I, J, K)`` whose bright tissue is 1."""
    random = np.random.default_rng(seed)
    shown = head > 0.02
    cpu = torch.device('cpu')
    fields = [
        (COIL_SD * smooth_field(seed + number, head.shape, COIL_MM, cpu)[0]).exp().numpy()
        for number in range(2)
    ]
    target = head**STRETCH * fields[0]
    soft = ndimage.gaussian_filter(head, BLUR_MM / FWHM_PER_SIGMA) ** GAMMA
    noise = random.normal(0, NOISE, (2, *head.shape))
    given = np.hypot(soft * fields[1] + noise[0], noise[1])
    return (given * shown).astype(np.float32), (target * shown).astype(np.float32)


def main() -> None:
    """Write the pairs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path)
    parser.add_argument('t1w', type=Path, nargs='+')
    options = parser.parse_args()
    for folder in ('inputs', 'targets'):
        (options.out / folder).mkdir(parents=True, exist_ok=True)
    for seed, path in enumerate(options.t1w):
        voxels, grid = load_volume(path)
        head, grid = voxels_in_ras_order(voxels, grid), in_ras_order(grid)
        given, target = make_pair((head / bright_intensity(head)).clip(0, 1.2), 10 * seed)
        moved = draw_head_motion(torch.Generator().manual_seed(seed), grid.center)
        save_volume(options.out / 'inputs' / path.name, resample(given, grid, grid, moved), grid)
        save_volume(options.out / 'targets' / path.name, target, grid)


if __name__ == '__main__':
    main()
