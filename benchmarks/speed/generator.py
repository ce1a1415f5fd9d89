"""Time the synthetic generator: one sample of 128^3, by number of scans and by world.

Run it as ``python benchmarks/speed/generator.py [--size 128] [--device cpu] [--threads 2]``. The
target is at most 0.7 s for one scan on two CPU threads; the published generator took 1.4 to 2.7 s.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import torch

from bids_synthsr.synthesis.generator import generate
from bids_synthsr.synthesis.heads import Head, make_head
from bids_synthsr.synthesis.labels import LabelTable, freesurfer_table
from bids_synthsr.synthesis.priors import GeneratorPrior
from bids_synthsr.synthesis.worlds import prior_by_name

LAYERS = ((98, 511), (95, 507), (88, 515), (80, 24), (76, 3), (66, 2), (22, 4))  # radius mm, label


def make_phantom(table: LabelTable) -> Head:
    """Make a head of concentric shells in 256^3, one half of it left."""
    axis = torch.arange(256) - 127.5
    radius = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt()
    labels = torch.zeros(256, 256, 256, dtype=torch.int16)
    for size, value in LAYERS:
        labels[radius < size] = value
    labels[128:] = table.mirror_of[labels[128:].int()]
    return make_head(labels, None, table, 'phantom')


def time_samples(
    head: Head, prior: GeneratorPrior, table: LabelTable, size: int, device: str, repeats: int
) -> tuple[float, float]:
    """Generate samples after one to warm up; return median wall and mean CPU seconds."""
    generator, walls = torch.Generator().manual_seed(1), []
    generate([head], prior, table, (size,) * 3, generator, device)
    cpu = time.process_time()
    for _ in range(repeats):
        start = time.perf_counter()
        generate([head], prior, table, (size,) * 3, generator, device)
        if device != 'cpu':
            torch.cuda.synchronize()
        walls.append(time.perf_counter() - start)
    return statistics.median(walls), (time.process_time() - cpu) / repeats


def cases() -> dict[str, GeneratorPrior]:
    """What is timed: the paper's generator, and each world by the number of its scans."""
    clinical = prior_by_name('clinical-2d')
    found = {'paper, super-resolution of 1 scan': prior_by_name('paper')}
    for count in (1, 2, 4):
        exactly = tuple(float(number == count) for number in range(1, count + 1))
        found[f'clinical-2d, {count} scan(s)'] = replace(clinical, scan_counts=exactly)
    for world in ('research-3d', 'low-field', 'ct-like'):
        found[f'{world}, 1 scan'] = replace(prior_by_name(world), scan_counts=(1.0,))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--size', type=int, default=128)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--repeats', type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table = freesurfer_table()
    head = make_phantom(table)
    head = replace(head, labels=head.labels.to(options.device))
    print(f'{"":36}{"wall s":>8}{"CPU s":>8}   {options.size}^3, {options.device}')
    for name, prior in cases().items():
        wall, cpu = time_samples(head, prior, table, options.size, options.device, options.repeats)
        print(f'{name:36}{wall:8.3f}{cpu:8.3f}')


if __name__ == '__main__':
    main()
