"""What the machine offers: cores, memory and GPUs, as containers and schedulers see them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from bids_synthsr.run.forking import LARGE_PAGES, THREAD_VARIABLES

CGROUP = Path('/sys/fs/cgroup')
CGROUP_FILES = ('memory.max', 'memory/memory.limit_in_bytes')  # version 2, version 1
CGROUP_CPU_FILES = (('cpu.max',), ('cpu/cpu.cfs_quota_us', 'cpu/cpu.cfs_period_us'))
SHARE_OF_MEMORY = 0.9  # the rest is for the system and the main process
CUDA_PROBE = 'import sys, torch; sys.exit(torch.cuda.device_count() <= int(sys.argv[1]))'


def available_cores(environ: Mapping[str, str], cgroup: Path = CGROUP) -> int:
    """Cores that this process may use: the least of machine, control group and Slurm job."""
    limits = [len(os.sched_getaffinity(0))]
    for names in CGROUP_CPU_FILES:
        words = ' '.join(_read(cgroup / name) for name in names).split()
        if len(words) == 2 and all(map(str.isdecimal, words)):
            quota, period = map(int, words)
            limits.append(max(1, quota // period))
    limits += _numbers(environ, 'SLURM_CPUS_PER_TASK', 'SLURM_CPUS_ON_NODE')[:1]
    return min(limits)


def _read(path: Path) -> str:
    """Read what a control group allows; nothing where it sets no limit."""
    return path.read_text().strip() if path.is_file() else ''


def _numbers(environ: Mapping[str, str], *names: str) -> list[int]:
    """Read those variables that hold whole numbers."""
    return [int(environ[name]) for name in names if environ.get(name, '').isdecimal()]


def prepare_workers(num_threads: int) -> None:
    """Set what worker processes, which start later, find in their environment.

    Their numerical libraries use ``num_threads`` threads.
    """
    for name in THREAD_VARIABLES:
        os.environ[name] = str(num_threads)
    for name, value in LARGE_PAGES.items():
        os.environ.setdefault(name, value)


def available_memory_gb(environ: Mapping[str, str], cgroup: Path = CGROUP) -> float:
    """Memory that this process may take: the least of machine, control group and Slurm job, GB."""
    limits = [psutil.virtual_memory().available]
    texts = [_read(cgroup / name) for name in CGROUP_FILES]
    limits += [int(text) for text in texts if text.isdecimal()]
    limits += [mb << 20 for mb in _numbers(environ, 'SLURM_MEM_PER_NODE')]
    per_core = _numbers(environ, 'SLURM_MEM_PER_CPU')
    limits += [mb * available_cores(environ, cgroup) << 20 for mb in per_core]
    return min(limits) / 1e9 * SHARE_OF_MEMORY


def installed_memory_gb() -> float:
    """Memory that the machine has, whoever uses it, GB."""
    return psutil.virtual_memory().total / 1e9


def choose_device(name: str) -> str:
    """Resolve ``auto`` and check that a GPU that is asked for is there.

    PyTorch is queried in a separate process: CUDA must not start in a process that forks workers.

    Raises
    ------
    ValueError
        For a name that is no device, and for a GPU that PyTorch cannot use.
    """
    kind, _, number = name.partition(':')
    if name == 'cpu' or (name == 'auto' and not Path('/dev/nvidiactl').exists()):
        return 'cpu'
    if name != 'auto' and (kind != 'cuda' or (':' in name and not number.isdecimal())):
        raise ValueError(f'--device {name}: choose auto, cpu, cuda or cuda:N')
    probe = [sys.executable, '-P', '-c', CUDA_PROBE, number or '0']
    has_gpu = subprocess.run(probe, capture_output=True, check=False).returncode == 0
    if has_gpu:
        return name if kind == 'cuda' else 'cuda'
    if name == 'auto':
        return 'cpu'
    raise ValueError(f'--device {name}: PyTorch finds no such GPU; use --device cpu or auto')
