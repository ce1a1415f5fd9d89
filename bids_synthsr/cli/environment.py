"""What the machine offers: cores, memory and GPUs, as containers and schedulers see them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

CGROUP_FILES = ('memory.max', 'memory/memory.limit_in_bytes')  # version 2, version 1
THREAD_VARIABLES = (
    'OMP_NUM_THREADS',
    'MKL_NUM_THREADS',
    'OPENBLAS_NUM_THREADS',
    'ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS',
)
SHARE_OF_MEMORY = 0.9  # the rest is for the system and the main process
CUDA_PROBE = 'import sys, torch; sys.exit(torch.cuda.device_count() <= int(sys.argv[1]))'


def available_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0))


def prepare_workers(num_threads: int) -> None:
    """Set what worker processes, which start later, find in their environment.

    Their numerical libraries use ``num_threads`` threads, and PyTorch takes large pages for large
    arrays, which saves a network a tenth of its time.
    """
    for name in THREAD_VARIABLES:
        os.environ[name] = str(num_threads)
    os.environ.setdefault('THP_MEM_ALLOC_ENABLE', '1')


def available_memory_gb(
    environ: Mapping[str, str], cgroup: Path = Path('/sys/fs/cgroup')
) -> float:
    """Memory that this process may take: the least of machine, control group and Slurm job, GB."""
    limits = [psutil.virtual_memory().available]
    for name in CGROUP_FILES:
        text = (cgroup / name).read_text().strip() if (cgroup / name).is_file() else 'max'
        limits += [int(text)] if text.isdecimal() else []
    if environ.get('SLURM_MEM_PER_NODE', '').isdecimal():
        limits.append(int(environ['SLURM_MEM_PER_NODE']) << 20)
    return min(limits) / 1e9 * SHARE_OF_MEMORY


def choose_device(wanted: str) -> str:
    """Resolve ``auto`` and check that a GPU that is asked for is there.

    PyTorch is asked in a process of its own: CUDA must not start in a process that forks workers.

    Raises
    ------
    ValueError
        For a name that is no device, and for a GPU that PyTorch cannot use.
    """
    kind, _, number = wanted.partition(':')
    if wanted == 'cpu' or (wanted == 'auto' and not Path('/dev/nvidiactl').exists()):
        return 'cpu'
    if wanted != 'auto' and (kind != 'cuda' or (':' in wanted and not number.isdecimal())):
        raise ValueError(f'--device {wanted}: choose auto, cpu, cuda or cuda:N')
    probe = [sys.executable, '-c', CUDA_PROBE, number or '0']
    has_gpu = subprocess.run(probe, capture_output=True, check=False).returncode == 0
    if has_gpu:
        return wanted if kind == 'cuda' else 'cuda'
    if wanted == 'auto':
        return 'cpu'
    raise ValueError(f'--device {wanted}: PyTorch finds no such GPU; use --device cpu or auto')
