"""Compare any-exam on a GPU, or in 16 bits, with the CPU in 32: seconds, memory, differences.

Run it as
``python benchmarks/speed/devices.py SCAN ... --device cuda`` or ``... --precision bfloat16``,
on the scans of one exam, the reference first; they are taken as they lie, none is moved. A GPU
runs twice, and the second time counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bids_synthsr.dataset.images import load_volume
from bids_synthsr.dataset.weights import find_shipped, load_exam_unet
from bids_synthsr.imaging.geometry import output_grid
from bids_synthsr.imaging.inference import PRECISIONS
from bids_synthsr.methods.any_exam import synthesize
from bids_synthsr.methods.catalogue import METHODS
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.method import Observation, Synthesis


def observe(paths: Sequence[Path]) -> list[Observation]:
    """Read scans that lie where they lie."""
    slices = Acquisition(2, 3.0, 3.0)  # which any-exam does not ask for
    volumes = [load_volume(path) for path in paths]
    return [
        Observation(path.name, voxels, grid, slices, np.eye(4))
        for path, (voxels, grid) in zip(paths, volumes, strict=True)
    ]


def run(observations: list[Observation], device: str, precision: str) -> tuple[Synthesis, float]:
    """Make the T1w; return it with the seconds that it took, without reading weights."""
    trained = load_exam_unet(find_shipped(METHODS['any-exam'], None))
    trained.network.to(device)
    began = time.perf_counter()
    grid = output_grid(observations[0].grid)
    made = synthesize(observations, grid, trained=trained, precision=precision)
    return made, time.perf_counter() - began


def compare(made: Synthesis, expected: Synthesis) -> str:
    """Tell how far the T1w of two devices are apart, and where their segmentations are."""
    t1w, seg = ([next(x.voxels for x in one.images if x.suffix == suffix)
                 for one in (made, expected)] for suffix in ('T1w', 'dseg'))  # fmt: skip
    difference = np.abs(t1w[0] - t1w[1])[seg[1] > 0]
    return (
        f'T1w differs by {difference.mean():.3f} of 110 on average in the head, 99 % of it by '
        f'less than {np.percentile(difference, 99):.2f}; '
        f'{100 * (seg[0] != seg[1])[seg[1] > 0].mean():.2f} % of its labels differ'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('scans', type=Path, nargs='+')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--precision', choices=PRECISIONS, default='auto')
    parser.add_argument('--threads', type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    observations = observe(options.scans)
    is_gpu = options.device.startswith('cuda')
    for _ in range(1 + is_gpu):  # the first time prepares it
        made, seconds = run(observations, options.device, options.precision)
    print(f'{options.device}: {seconds:.2f} s ({made.facts["precision"]})')
    if is_gpu:
        print(f'{torch.cuda.max_memory_allocated() / 1e9:.2f} GB of the GPU')
    expected, seconds = run(observations, 'cpu', 'float32')
    print(f'cpu, {options.threads} threads: {seconds:.2f} s (float32)')
    print(compare(made, expected))


if __name__ == '__main__':
    main()
