"""Time one pass of a network: wall seconds, CPU-seconds, largest memory of the process.

Run it as ``python benchmarks/networks.py [published|sr-t1] [--shape 192 224 192] ...``. The
target of the published network for that shape is 8 CPU-s and 3.5 GB on two cores that multiply
16-bit numbers; the reference takes 14 CPU-s and 7.2 GB.
"""

from __future__ import annotations

import argparse
import resource
import time

import torch

from bids_synthsr.imaging.inference import PRECISIONS, fastest_precision, predict
from bids_synthsr.imaging.slices import CHANNELS
from bids_synthsr.networks.slice_unet import SliceUNet
from bids_synthsr.networks.unet import UNet

GB_PER_MAXRSS = 1024 / 1e9  # Linux counts in KiB
NETWORKS = ('published', 'sr-t1')


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('network', choices=NETWORKS, nargs='?', default='published')
    parser.add_argument('--precision', choices=PRECISIONS, default='auto')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--shape', type=int, nargs=3, default=(192, 224, 192))
    parser.add_argument('--passes', type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    channels = CHANNELS if options.network == 'sr-t1' else 1
    network: UNet | SliceUNet = SliceUNet(CHANNELS) if options.network == 'sr-t1' else UNet()
    volume = torch.rand(1, channels, *options.shape)
    print('fastest precision here:', fastest_precision(torch.device('cpu')))
    for _ in range(options.passes):
        start, start_cpu = time.perf_counter(), cpu_seconds()
        predict(network, volume, multiple=network.multiple, precision=options.precision)
        wall, cpu = time.perf_counter() - start, cpu_seconds() - start_cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * GB_PER_MAXRSS
        print(f'{options.precision}: {wall:.1f} s, {cpu:.1f} CPU-s, {peak:.2f} GB')


if __name__ == '__main__':
    main()
