"""Time one pass of a network: wall seconds, CPU-seconds, largest memory of the process.

Run it as
``python benchmarks/speed/networks.py [published|sr-t1|any-exam] [--shape 192 224 192] ...``;
``--reuse`` keeps freed memory for the next array, as the methods do. The target of the published
network for that shape is 8 CPU-s and 3.5 GB on two cores that multiply 16-bit numbers; the
reference takes 14 CPU-s and 7.2 GB. A window of any-exam is ``--shape 128 160 128``.
"""

from __future__ import annotations

import argparse
import resource
import time
from contextlib import nullcontext

import torch
from torch import nn

from bids_synthsr.imaging.inference import PRECISIONS, fastest_precision, predict
from bids_synthsr.imaging.memory import reusing_memory
from bids_synthsr.imaging.slice_encoding import CHANNELS
from bids_synthsr.methods.exam_view import WindowNetwork
from bids_synthsr.networks.exam_unet import ExamUNet
from bids_synthsr.networks.slice_unet import SliceUNet
from bids_synthsr.networks.unet import UNet
from bids_synthsr.training.recipe import load_recipe
from bids_synthsr.training.task import Task

GB_PER_MAXRSS = 1024 / 1e9  # Linux counts in KiB
NETWORKS = ('published', 'sr-t1', 'any-exam')


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def make(name: str) -> tuple[nn.Module, int, int]:
    """Make a network; say how many channels it takes and of what its sides are multiples."""
    if name == 'any-exam':
        task = Task(load_recipe('any-exam'))
        exam = ExamUNet.from_arguments(task.arguments)
        return WindowNetwork(exam), 2, exam.multiple
    network = SliceUNet(CHANNELS) if name == 'sr-t1' else UNet()
    return network, CHANNELS if name == 'sr-t1' else 1, network.multiple


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('network', choices=NETWORKS, nargs='?', default='published')
    parser.add_argument('--precision', choices=PRECISIONS, default='auto')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--shape', type=int, nargs=3, default=(192, 224, 192))
    parser.add_argument('--passes', type=int, default=3)
    parser.add_argument('--reuse', action='store_true', help='keep freed memory')
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network, channels, multiple = make(options.network)
    volume = torch.rand(1, channels, *options.shape)
    print('fastest precision here:', fastest_precision(torch.device('cpu')))
    with reusing_memory() if options.reuse else nullcontext():
        for _ in range(options.passes):
            start, start_cpu = time.perf_counter(), cpu_seconds()
            predict(network, volume, multiple=multiple, precision=options.precision)
            wall, cpu = time.perf_counter() - start, cpu_seconds() - start_cpu
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * GB_PER_MAXRSS
            print(f'{options.precision}: {wall:.2f} s, {cpu:.2f} CPU-s, {peak:.2f} GB')


if __name__ == '__main__':
    main()
