"""Compress volumes by zlib, by zlib-ng (where it is installed) and by isal: time and size.

Run it as ``python benchmarks/speed/compression.py FOLDER``, the outputs of an exam for example.
All ``.nii.gz`` below the folder are taken, one after the other, on one thread.
"""

from __future__ import annotations

import gzip
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from isal import isal_zlib

Compress = Callable[[bytes, int], bytes]


def compressors() -> Iterator[tuple[str, Compress, int]]:
    """List what is compared: name, function and level."""
    yield 'zlib', zlib.compress, 1
    for level in (0, 1, 2, 3):
        yield 'isal', isal_zlib.compress, level
    try:
        from zlib_ng import zlib_ng
    except ImportError:
        return
    for level in (1, 2):
        yield 'zlib-ng', zlib_ng.compress, level


def main() -> None:
    """Print seconds and megabytes of each."""
    totals: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    files = sorted(Path(sys.argv[1]).rglob('*.nii.gz'))
    for path in files:
        content = gzip.decompress(path.read_bytes())
        for name, compress, level in compressors():
            start = time.process_time()
            size = len(compress(content, level))
            total = totals[f'{name}, level {level}']
            total[0] += time.process_time() - start
            total[1] += size / 1e6
    print(f'{len(files)} volumes')
    for name, (seconds, megabytes) in totals.items():
        print(f'{name:18} {seconds:6.2f} CPU-s {megabytes:8.2f} MB')


if __name__ == '__main__':
    main()
