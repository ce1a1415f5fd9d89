r"""The published network and command in TensorFlow and here: numbers, time and memory, in one run.

TensorFlow (Apache-2.0) is installed in an environment of its own, never in that of this program:
``pip install tensorflow-cpu h5py nibabel scipy``. Then::

    python benchmarks/comparators/published_in_tensorflow.py \
        --python TENSORFLOW_ENV/bin/python [--repeats 3]

Both programs read the same weights, which are random, and the same scan of 1 x 1 x 3 mm. The
script of TensorFlow follows what is published of the command: a linear interpolation to 1 mm, a
normalisation, two passes of the network of which one is mirrored, a file. ``network`` is one pass
of a volume of 192 x 224 x 192 voxels, without imports; ``command`` is a process from its start to
its end. Programs take turns. Run nothing beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from bids_synthsr.dataset.images import load_volume, save_volume
from bids_synthsr.dataset.keras import save_keras
from bids_synthsr.imaging.inference import PRECISIONS
from bids_synthsr.networks.unet import UNet
from bids_synthsr.values.grid import Grid

SHAPE = (190, 200, 64)  # voxels of 1 x 1 x 3 mm
WINDOW = (192, 224, 192)  # what the network gets of it
PARTS = ('network', 'command')
GB_PER_MAXRSS = 1024 / 1e9  # Linux counts in KiB
# arguments of both scripts: folder, part, threads; the network is said to be timed by a line
TENSORFLOW = r"""
import json, sys, time
from pathlib import Path
folder, part, threads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
import h5py, keras, nibabel as nb, numpy as np, tensorflow as tf
from keras import layers
tf.config.threading.set_intra_op_parallelism_threads(threads)
tf.config.threading.set_inter_op_parallelism_threads(1)

def two(x, width, arm):
    for number in (0, 1):
        x = layers.Conv3D(width, 3, padding='same', activation='elu', name=f'{arm}_{number}')(x)
    return x

def build():
    x = given = keras.Input((None, None, None, 1))
    skips = []
    for level in range(5):
        x = two(layers.MaxPooling3D(2)(x) if level else x, 24 * 2**level, f'conv_downarm_{level}')
        skips.append(x)
        x = layers.BatchNormalization(epsilon=1e-3, name=f'bn_down_{level}')(x)
    for step, skip in enumerate(skips[3::-1]):
        x = layers.Concatenate()([skip, layers.UpSampling3D(2)(x)])
        x = two(x, 192 // 2**step, f'conv_uparm_{5 + step}')
        x = layers.BatchNormalization(epsilon=1e-3, name=f'bn_up_{step}')(x)
    return keras.Model(given, layers.Conv3D(1, 1, name='likelihood')(x))

def load(network, path):
    with h5py.File(path) as file:
        for layer in network.layers:
            group = file.get('unet_' + layer.name)
            if layer.weights:
                layer.set_weights([group[name][()] for name in group.attrs['weight_names']])

network = build()
network.compile(jit_compile=False)  # as the published command does
load(network, folder / 'weights.h5')
if part == 'network':
    volume = np.load(folder / 'window.npy')[None, ..., None]
    start, cpu = time.perf_counter(), time.process_time()
    made = network.predict(volume, verbose=0)
    print(json.dumps([time.perf_counter() - start, time.process_time() - cpu]))
    np.save(folder / 'tensorflow.npy', made[0, ..., 0])
else:
    from scipy.interpolate import RegularGridInterpolator
    from scipy.ndimage import gaussian_filter
    image = nb.load(folder / 'scan.nii.gz')
    voxels, factors = image.get_fdata(), np.array(image.header.get_zooms()[:3], float)
    voxels = gaussian_filter(voxels, np.where(factors <= 1, 0.25 / factors, 0))
    axes = [
        (-(f - 1) / (2 * f) + np.arange(np.ceil(n * f)) / f).clip(0, n - 1)
        for n, f in zip(voxels.shape, factors)
    ]
    interpolator = RegularGridInterpolator([np.arange(n) for n in voxels.shape], voxels)
    fine = interpolator(np.stack(np.meshgrid(*axes, indexing='ij'), -1))
    fine = (fine - fine.min()) / (fine.max() - fine.min())
    sides = [(32 - n % 32) % 32 for n in fine.shape]
    padded = np.pad(fine, [(side // 2, side - side // 2) for side in sides])[None, ..., None]
    once, flipped = (network.predict(x, verbose=0) for x in (padded, padded[:, ::-1]))
    mean = np.clip(127.5 * (once + flipped[:, ::-1])[0, ..., 0], 0, 128)
    inner = tuple(slice(side // 2, side // 2 + n) for side, n in zip(sides, fine.shape))
    affine = image.affine @ np.diag([*(1 / factors), 1])
    affine[:3, 3] -= affine[:3, :3] @ (factors - 1) / 2
    nb.save(nb.Nifti1Image(mean[inner].astype(np.float32), affine), folder / 'tensorflow.nii.gz')
"""
OURS = r"""
import json, sys, time
from pathlib import Path

import numpy as np
import torch

from bids_synthsr.dataset.images import load_volume, save_volume
from bids_synthsr.dataset.weights import load_published
from bids_synthsr.imaging.geometry import output_grid
from bids_synthsr.imaging.inference import predict
from bids_synthsr.methods.synthsr import MULTIPLE, synthesize
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.method import Observation

folder, part = Path(sys.argv[1]), sys.argv[2]
torch.set_num_threads(int(sys.argv[3]))
precision = sys.argv[4]
trained = load_published(folder / 'weights.h5')
if part == 'network':
    volume = torch.from_numpy(np.load(folder / 'window.npy'))[None, None]
    start, cpu = time.perf_counter(), time.process_time()
    made = predict(trained.network, volume, multiple=MULTIPLE, precision=precision).output
    print(json.dumps([time.perf_counter() - start, time.process_time() - cpu]))
    np.save(folder / f'{precision}.npy', made[0, 0].numpy())
else:
    voxels, grid = load_volume(folder / 'scan.nii.gz')
    scan = Observation('T1w', voxels, grid, Acquisition(2, 3.0, 3.0), np.eye(4))
    settings = {'trained': trained, 'precision': precision}
    product = synthesize([scan], output_grid(grid), **settings).products[0]
    save_volume(folder / f'{precision}.nii.gz', product.voxels, product.grid)
"""


class Usage(NamedTuple):
    """What a process took: wall time and CPU-seconds, s, and peak of memory, GB."""

    wall_s: float
    cpu_s: float
    memory_gb: float


def write_inputs(folder: Path) -> None:
    """Write a smooth random scan, a window, and random weights with statistics of their own."""
    random = np.random.default_rng(0)
    voxels = gaussian_filter(random.random(SHAPE, np.float32), 2)
    save_volume(
        folder / 'scan.nii.gz',
        (voxels * 1000).astype(np.int16),
        Grid(SHAPE, np.diag([1.0, 1, 3, 1])),
    )
    np.save(folder / 'window.npy', gaussian_filter(random.random(WINDOW, np.float32), 2))
    torch.manual_seed(0)
    tensors = UNet().state_dict()
    for name, tensor in tensors.items():
        if name.endswith(('norm.weight', 'running_var')):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith(('norm.bias', 'running_mean')):
            tensor.uniform_(-0.2, 0.2)
    save_keras(folder / 'weights.h5', tensors)


def measure(command: Sequence[str]) -> Usage:
    """Run a command to its end; a script may print wall time and CPU-seconds of its own."""
    watched = (
        'import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]);'
        'used = resource.getrusage(resource.RUSAGE_CHILDREN);'
        'print(used.ru_utime + used.ru_stime, used.ru_maxrss); sys.exit(code)'
    )
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, '-c', watched, *command],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    wall = time.perf_counter() - start
    *said, last = done.stdout.splitlines()
    cpu, peak = map(float, last.split())
    if said:
        wall, cpu = json.loads(said[-1])
    return Usage(wall, cpu, peak * GB_PER_MAXRSS)


def compare_results(folder: Path, precision: str) -> None:
    """Print the largest differences from what TensorFlow made; fail where grids differ."""
    ours, theirs = (np.load(folder / f'{name}.npy') for name in (precision, 'tensorflow'))
    apart = np.abs(ours - theirs).max() / np.abs(theirs).max()
    (first, grid), (second, other) = (
        load_volume(folder / f'{name}.nii.gz') for name in (precision, 'tensorflow')
    )
    np.testing.assert_allclose(grid.vox2ras, other.vox2ras, atol=1e-4)
    print(
        f'Largest difference in {precision}: network {apart:.1e} of the greatest value, command '
        f'{np.abs(first - second).max():.1e} of {second.max():.0f}.'
    )


def main() -> None:
    """Print a table of medians, with ratios to TensorFlow in brackets."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('--python', required=True, help='of the environment with TensorFlow')
    parser.add_argument('--threads', default='2')
    parser.add_argument('--precisions', nargs='+', default=['float32', 'auto'], choices=PRECISIONS)
    parser.add_argument('--repeats', type=int, default=3)
    options = parser.parse_args()
    programs = {'tensorflow': (options.python, TENSORFLOW)}
    programs |= dict.fromkeys(options.precisions, (sys.executable, OURS))
    with tempfile.TemporaryDirectory() as temporary:
        write_inputs(Path(temporary))
        print('| part | program | wall, s | CPU-s | memory, GB |\n|---|---|---|---|---|')
        for part in PARTS:
            runs: dict[str, list[Usage]] = {name: [] for name in programs}
            for _ in range(options.repeats):
                for name, (python, script) in programs.items():
                    command = [python, '-c', script, temporary, part, options.threads, name]
                    runs[name].append(measure(command))
            medians = {
                name: [statistics.median(values) for values in zip(*of_name, strict=True)]
                for name, of_name in runs.items()
            }
            for name, values in medians.items():
                theirs = zip(values, medians['tensorflow'], strict=True)
                cells = (f'{value:.2f} ({value / other:.2f})' for value, other in theirs)
                print(f'| {part} | {name} |', ' | '.join(cells), '|', flush=True)
        print()
        for precision in options.precisions:
            compare_results(Path(temporary), precision)


if __name__ == '__main__':
    main()
