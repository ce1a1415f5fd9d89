"""A network in PyTorch, ONNX Runtime and OpenVINO: time, memory and difference, in one run.

ONNX Runtime (MIT) and OpenVINO (Apache-2.0) are installed in an environment of their own that can
import this program, too: ``pip install onnxscript onnxruntime openvino``. Then::

    ENGINES_ENV/bin/python benchmarks/comparators/engines.py [published|sr-t1|any-exam]

Each engine is a process of its own; weights and input are random, and those of all are the same.
The first pass, which plans, is not counted; of the others the fastest is. Differences are those
from PyTorch in 32 bits: the mean and the largest over the standard deviation of the output. The
network of ``any-exam`` is its encoder, most of what another engine could take: the rest chooses
by what the scans show. 8 bits are calibrated on the input itself, which favours them. Run nothing
beside it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bids_synthsr.imaging.slice_encoding import CHANNELS
from bids_synthsr.networks.exam_unet import ExamUNet, fold
from bids_synthsr.networks.slice_unet import SliceUNet
from bids_synthsr.networks.unet import UNet
from bids_synthsr.training.recipe import load_recipe
from bids_synthsr.training.task import Task

GB_PER_MAXRSS = 1024 / 1e9  # Linux counts in KiB
NETWORKS = ('published', 'sr-t1', 'any-exam')
PASSES = 3
Run = Callable[[np.ndarray], np.ndarray]


class EncoderOfExams(nn.Module):
    """The part of the network of any-exam that sees each scan on its own."""

    def __init__(self, exam: ExamUNet) -> None:
        super().__init__()
        self.exam = exam

    def forward(self, scan: torch.Tensor) -> torch.Tensor:
        """Encode ``(1, 2, I, J, K)``: the features of the coarsest level."""
        blocks = fold(scan, self.exam.stride).contiguous(memory_format=torch.channels_last_3d)
        features: torch.Tensor = self.exam.encoder(blocks)[-1]
        return features


def make(name: str) -> tuple[nn.Module, int]:
    """Make a network with random weights, in evaluation mode; tell how many channels it takes."""
    torch.manual_seed(0)
    network: nn.Module
    if name == 'published':
        network, channels = UNet(), 1
    elif name == 'sr-t1':
        network, channels = SliceUNet(CHANNELS), CHANNELS
    else:
        exam = ExamUNet.from_arguments(Task(load_recipe('any-exam')).arguments)
        network, channels = EncoderOfExams(exam), 2
    for parameter in network.parameters():
        if not parameter.any():  # a layer that starts silent would hide all differences
            nn.init.normal_(parameter, std=0.1)
    return network.eval(), channels


def run_torch(network: nn.Module, dtype: torch.dtype, *, is_compiled: bool = False) -> Run:
    """Run it in PyTorch, as this program does or compiled."""
    runs: Any = torch.compile(network) if is_compiled else network

    def run(volume: np.ndarray) -> np.ndarray:
        given = torch.from_numpy(volume)
        with torch.no_grad(), torch.autocast('cpu', dtype, enabled=dtype != torch.float32):
            made: torch.Tensor = runs(given)
        return made.float().numpy()

    return run


def export(network: nn.Module, volume: np.ndarray, path: Path) -> None:
    """Write a network as ONNX; either exporter of PyTorch fails on one of the networks."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore')
        given = (torch.from_numpy(volume),)
        torch.onnx.export(
            network, given, path, dynamo=not isinstance(network, UNet), input_names=['volume']
        )


def run_onnx(path: Path, threads: int) -> Run:
    """Run it in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, ['CPUExecutionProvider'])

    def run(volume: np.ndarray) -> np.ndarray:
        made: np.ndarray = session.run(None, {'volume': volume})[0]
        return made

    return run


def in_8_bits(path: Path, volume: np.ndarray) -> Path:
    """Quantise weights and activations of convolutions by the range that a volume shows."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):
        """Give the volume once."""

        left = iter([{'volume': volume}])

        def get_next(self) -> dict[str, np.ndarray] | None:
            """Give what is left."""
            return next(self.left, None)

    made = path.with_suffix('.int8.onnx')
    quantize_static(path, made, Reader(), op_types_to_quantize=['Conv', 'ConvTranspose'])
    return made


def run_openvino(path: Path, threads: int, precision: str) -> Run:
    """Run it in OpenVINO."""
    import openvino

    core = openvino.Core()
    hints = {'INFERENCE_NUM_THREADS': threads, 'INFERENCE_PRECISION_HINT': precision}
    compiled = core.compile_model(core.read_model(path), 'CPU', hints)

    def run(volume: np.ndarray) -> np.ndarray:
        made: np.ndarray = compiled([volume])[compiled.output(0)]
        return made

    return run


ENGINES = ('torch-fp32', 'torch-bf16', 'compiled-fp32', 'compiled-bf16', 'onnxruntime-fp32',
           'onnxruntime-int8', 'openvino-fp32', 'openvino-bf16')  # fmt: skip


def make_run(engine: str, network: nn.Module, volume: np.ndarray, folder: Path) -> Run:
    """Make what runs a network in an engine, ready for volumes of this size."""
    program, precision = engine.split('-')
    if program in ('torch', 'compiled'):
        dtype = torch.bfloat16 if precision == 'bf16' else torch.float32
        return run_torch(network, dtype, is_compiled=program == 'compiled')
    path, threads = folder / 'network.onnx', torch.get_num_threads()
    if not path.exists():
        export(network, volume, path)
    if program == 'openvino':
        return run_openvino(path, threads, {'fp32': 'f32', 'bf16': 'bf16'}[precision])
    return run_onnx(in_8_bits(path, volume) if precision == 'int8' else path, threads)


def measure(name: str, engine: str, shape: tuple[int, ...], folder: Path) -> None:
    """Time an engine in this process; print wall time, CPU-seconds, GB and differences."""
    network, channels = make(name)
    volume = torch.rand(1, channels, *shape).numpy()
    run = make_run(engine, network, volume, folder)
    made, times = run(volume), []
    for _ in range(PASSES):
        start, cpu = time.perf_counter(), time.process_time()
        made = run(volume)
        times.append((time.perf_counter() - start, time.process_time() - cpu))
    if engine == ENGINES[0]:
        np.save(folder / 'truth.npy', made)
    truth = np.load(folder / 'truth.npy')
    apart = np.abs(made - truth) / truth.std()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * GB_PER_MAXRSS
    print(json.dumps([*min(times), peak, float(apart.mean()), float(apart.max())]))


def main() -> None:
    """Print a row for each engine; one that fails says why and the others go on."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('network', choices=NETWORKS, nargs='?', default='published')
    parser.add_argument('--shape', type=int, nargs=3, default=(128, 160, 128))
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--engines', nargs='+', choices=ENGINES, default=ENGINES)
    parser.add_argument('--engine', help=argparse.SUPPRESS)
    parser.add_argument('--folder', type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.engine:
        measure(options.network, options.engine, tuple(options.shape), options.folder)
        return
    print('| engine | wall, s | CPU-s | memory, GB | mean difference | largest |')
    print('|---|---|---|---|---|---|')
    with tempfile.TemporaryDirectory() as folder:
        for engine in dict.fromkeys((ENGINES[0], *options.engines)):
            command = [sys.executable, *sys.argv, '--engine', engine, '--folder', folder]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            lines = (done.stdout if done.returncode == 0 else done.stderr).splitlines()
            cells = [lines[-1][:99]]
            if done.returncode == 0:
                wall, cpu, *others = json.loads(lines[-1])
                cells = [f'{wall:.2f}', f'{cpu:.2f}', *(f'{value:.2g}' for value in others)]
            print(f'| {engine} |', ' | '.join(cells), '|', flush=True)


if __name__ == '__main__':
    main()
