"""Time the published method from file to file, imports included, in a process of its own.

Run it as ``python benchmarks/speed/published.py [--precision float32] [--threads 2]``. The scan
has 190 x 200 x 64 voxels of 1 x 1 x 3 mm and the weights are random. The reference command takes
38 CPU-s and 7.4 GB; the target is half of that time.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from bids_synthsr.dataset.images import save_volume
from bids_synthsr.dataset.keras import save_keras
from bids_synthsr.imaging.inference import PRECISIONS
from bids_synthsr.networks.unet import UNet
from bids_synthsr.values.grid import Grid

SHAPE = (190, 200, 64)
GB_PER_MAXRSS = 1024 / 1e9  # Linux counts in KiB
WORK = """
import sys
from pathlib import Path

import numpy as np
import torch

from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.method import Observation
from bids_synthsr.dataset.images import load_volume, save_volume
from bids_synthsr.dataset.weights import load_published
from bids_synthsr.imaging.geometry import output_grid
from bids_synthsr.methods.synthsr import synthesize

folder, precision, threads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
torch.set_num_threads(threads)
voxels, grid = load_volume(folder / 'scan.nii.gz')
scan = Observation('T1w', voxels, grid, Acquisition(2, 3.0, 3.0), np.eye(4))
trained = load_published(folder / 'weights.h5')
made = synthesize([scan], output_grid(grid), trained=trained, precision=precision)
product = made.products[0]
save_volume(folder / 'out.nii.gz', product.voxels, product.grid)
print(made.facts)
"""


def write_inputs(folder: Path) -> None:
    """Write a smooth random scan and the random weights of a network of published size."""
    voxels = gaussian_filter(np.random.default_rng(0).random(SHAPE, np.float32), 2)
    vox2ras = np.diag([1.0, 1, 3, 1])
    save_volume(folder / 'scan.nii.gz', (voxels * 1000).astype(np.int16), Grid(SHAPE, vox2ras))
    torch.manual_seed(0)
    save_keras(folder / 'weights.h5', UNet().state_dict())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--precision', choices=PRECISIONS, default='auto')
    parser.add_argument('--threads', type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        write_inputs(Path(temporary))
        start = time.perf_counter()
        arguments = [temporary, options.precision, str(options.threads)]
        subprocess.run([sys.executable, '-c', WORK, *arguments], check=True)
        wall = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * GB_PER_MAXRSS
    print(f'{options.precision}: {wall:.1f} s, {cpu:.1f} CPU-s, {peak:.2f} GB')


if __name__ == '__main__':
    main()
