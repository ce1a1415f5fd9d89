"""Time training steps: seconds, CPU-seconds, share of the generator, largest memory.

Run it as
``python benchmarks/speed/training.py LABEL_MAPS [--device cuda] [--shape 192 192 192]``, or
with ``--case any-exam --set samples.batch=4`` for a recipe itself, with changes. Without
``--case`` every case runs in a process of its own, since memory is that of the process. Targets:
the published network at 128^3 on the CPU takes at most half of the reference's 13.5 CPU-s and
5 GB; on a GPU the generator takes under 20 % of a step, and 192^3 under 0.15 s and 40 GB (H200).
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

from bids_synthsr.training.cohort import find_images, read_heads
from bids_synthsr.training.learner import learn, new_learner
from bids_synthsr.training.recipe import load_recipe
from bids_synthsr.training.samples import TRAINING, seed_of
from bids_synthsr.training.sources import make_sources
from bids_synthsr.training.task import Task

GB_PER_MAXRSS = 1024 / 1e9  # Linux counts in KiB


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def cases(shape: list[int]) -> dict[str, tuple[str, list[str]]]:
    """Name the recipes to time, with their changes."""
    size = f'samples.shape={shape}'
    found = {
        'published': ('t1-coronal-5mm', [size]),
        'published, compiled': ('t1-coronal-5mm', [size, 'numerics.compile=true']),
    }
    for count in (1, 2, 4, 8):
        exactly = [0.0] * (count - 1) + [1.0]
        changes = [size, 'samples.batch=1', f'prior.scan_counts={exactly}']
        found[f'any-exam, {count} scans'] = ('any-exam', changes)
    return found


def measure(name: str, options: argparse.Namespace) -> str:
    """Time steps after those that warm up, and the drawing of their batches."""
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    shipped, changes = cases(options.shape).get(name, (name, []))
    task = Task(load_recipe(shipped, [*changes, *options.changes]))
    others = [path.name for path in find_images([options.label_maps])[1:]]
    heads = read_heads(options.label_maps, [], exclude=others)
    source, _ = make_sources(task.recipe, heads, device)
    learner = new_learner(task, device)
    if task.recipe.numerics.compile:
        learner.network.compile()
    drawing = steps = cpu = 0.0
    torch.backends.cudnn.benchmark = True  # as trainings do
    for step in range(options.steps + options.warmup):
        start, start_cpu = time.perf_counter(), cpu_seconds()
        batch = source.draw(seed_of(task.recipe, TRAINING, step))
        if device.type == 'cuda':
            torch.cuda.synchronize()
        drawn = time.perf_counter()
        learn(learner, learner.network, task, batch)
        if device.type == 'cuda':
            torch.cuda.synchronize()
        if step >= options.warmup:  # the first ones fill caches and compile
            drawing += drawn - start
            steps += time.perf_counter() - start
            cpu += cpu_seconds() - start_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * GB_PER_MAXRSS
    if device.type == 'cuda':
        peak = torch.cuda.max_memory_allocated() / 1e9
    count = options.steps
    return (
        f'{name:20s} {steps / count:7.3f} s  {cpu / count:7.2f} CPU-s  '
        f'generator {100 * drawing / steps:3.0f} %  {peak:5.2f} GB'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('label_maps', type=Path)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--shape', type=int, nargs=3, default=[128, 128, 128])
    parser.add_argument('--steps', type=int, default=3)
    parser.add_argument('--warmup', type=int, default=1, help='steps that are not timed')
    parser.add_argument('--case', help='one case, or recipe, only, in this process')
    parser.add_argument('--set', dest='changes', nargs='+', default=[], help='as of the trainer')
    options = parser.parse_args()
    if options.case:
        print(measure(options.case, options), flush=True)
        return
    for name in cases(options.shape):
        subprocess.run([sys.executable, *sys.argv, '--case', name], check=True)


if __name__ == '__main__':
    main()
