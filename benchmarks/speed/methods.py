"""Time and memory of every method on one exam, a whole command each.

Run it as ``python benchmarks/speed/methods.py SCAN [SCAN ...] [--methods cubic,tv]``.
Each method is run by ``synthsr exam`` in a process of its own: reading, alignment and writing are
part of what is measured. Run nothing beside it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from bids_synthsr.methods.catalogue import METHODS


def run(command: list[str]) -> tuple[int, float, float, float]:
    """Run a command: exit code, wall time and CPU-seconds, s, and peak of memory, GB."""
    start = time.perf_counter()
    quiet = [(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]
    process = os.posix_spawn(command[0], command, os.environ, file_actions=quiet)
    _, status, usage = os.wait4(process, 0)
    wall = time.perf_counter() - start
    cpu = usage.ru_utime + usage.ru_stime
    return os.waitstatus_to_exitcode(status), wall, cpu, usage.ru_maxrss * 1024 / 1e9


def main() -> None:
    """Print a row for each method."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('scans', type=Path, nargs='+')
    parser.add_argument('--methods', default=','.join(METHODS), help='separated by commas')
    parser.add_argument('--threads', default='2')
    options = parser.parse_args()
    print('| method | wall, s | CPU-s | memory, GB |\n|---|---|---|---|')
    for method in options.methods.split(','):
        with tempfile.TemporaryDirectory() as folder:
            command = [
                *(sys.executable, '-m', 'bids_synthsr.cli.synthsr', 'exam'),
                *map(str, options.scans),
                *('-o', f'{folder}/out.nii.gz', '--method', method),
                *('--threads', options.threads),
            ]
            code, wall, cpu, peak = run(command)
        note = '' if code == 0 else f' (exit code {code})'
        print(f'| `{method}`{note} | {wall:.0f} | {cpu:.0f} | {peak:.2f} |', flush=True)


if __name__ == '__main__':
    main()
