"""What it costs that outputs are flushed to disk, and that they and steps have digests.

    python benchmarks/speed/durability.py BIDS --repeats 3 [--method cubic]

runs the data set in turn with and without: once ``fsync`` and ``file_digest`` do their work, once
they return at once. It prints the shortest time of each, and how long the calls took in all
processes together, those of the thread that flushes beside the work included.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

APP = [sys.executable, '-m', 'bids_synthsr.cli.bids_app']
# in every process of the program
MEASURED = """
import atexit, hashlib, os, time
from pathlib import Path

KIND, LOG = os.environ.get('DURABLE'), os.environ.get('DURABLE_LOG')
seconds = {'fsync': 0.0, 'digest': 0.0}

class Nothing:
    def hexdigest(self):
        return '0' * 64

def timed(name, work):
    def work_and_count(*arguments, **options):
        begun = time.perf_counter()
        try:
            return work(*arguments, **options)
        finally:
            seconds[name] += time.perf_counter() - begun
            write()
    return work_and_count

def write():
    Path(LOG, str(os.getpid())).write_text(f"{seconds['fsync']} {seconds['digest']}")

if KIND == 'with':
    os.fsync = timed('fsync', os.fsync)
    hashlib.file_digest = timed('digest', hashlib.file_digest)
elif KIND == 'without':
    os.fsync = lambda file: None
    hashlib.file_digest = lambda file, name: Nothing()
"""


def main() -> int:
    """Run and compare."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('bids', type=Path, help='data set')
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--method', default='cubic')
    parser.add_argument('--nprocs', type=int, default=2)
    options = parser.parse_args()
    shortest = {'with': float('inf'), 'without': float('inf')}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / 'sitecustomize.py').write_text(MEASURED)
        for number in range(options.repeats):
            for kind in sorted(shortest, reverse=bool(number % 2)):
                seconds, fsync, digest = run(options, folder / f'{kind}-{number}', kind, folder)
                shortest[kind] = min(shortest[kind], seconds)
                print(
                    f'{kind}: {seconds:.1f} s; in calls: fsync {fsync:.2f}, digests {digest:.2f} s'
                )
    with_s, without_s = shortest['with'], shortest['without']
    print(
        f'shortest: {with_s:.1f} s with, {without_s:.1f} s without: {with_s / without_s - 1:+.1%}'
    )
    return 0


def run(
    options: argparse.Namespace, place: Path, kind: str, modules: Path
) -> tuple[float, float, float]:
    """Run the data set; return its time and those of the calls, s."""
    (place / 'log').mkdir(parents=True)
    words = [
        str(options.bids),
        str(place / 'out'),
        'participant',
        '--work-dir',
        str(place / 'work'),
    ]
    words += [
        '--method',
        options.method,
        '--nprocs',
        str(options.nprocs),
        '--skip-bids-validation',
    ]
    extra = {'PYTHONPATH': str(modules), 'DURABLE': kind, 'DURABLE_LOG': str(place / 'log')}
    begun = time.monotonic()
    subprocess.run([*APP, *words], env={**os.environ, **extra}, check=True, capture_output=True)
    seconds = time.monotonic() - begun
    calls = [file.read_text().split() for file in (place / 'log').iterdir()]
    fsync, digest = (sum(float(call[at]) for call in calls) for at in (0, 1))
    return seconds, fsync, digest


if __name__ == '__main__':
    sys.exit(main())
