"""How the C library keeps memory: glibc has switches for it, elsewhere nothing happens."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# of malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
VOLUME_BYTES = 4 << 20  # smaller arrays stay on the heap
NEVER = -1
DEFAULT_TRIM_BYTES, DEFAULT_MAPS = 128 << 10, 65536


def keep_volumes_apart() -> None:
    """Let glibc map each volume by itself, so that its memory returns as soon as it is freed.

    By default volumes of up to 32 MB end up on the heap, between small things that outlive them:
    total variation then took up to half as much again.
    """
    _set(M_MMAP_THRESHOLD, VOLUME_BYTES)


@contextmanager
def reusing_memory() -> Iterator[None]:
    """Keep freed memory for the next array, and give all of it back at the end.

    A network frees and takes gigabytes again and again; what the system gives anew it has to
    clear, page by page, which took as long as the network itself (benchmarks/speed/networks.py).
    """
    _set(M_MMAP_MAX, 0)
    _set(M_TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        _set(M_MMAP_MAX, DEFAULT_MAPS)
        _set(M_TRIM_THRESHOLD, DEFAULT_TRIM_BYTES)
        give_back_memory()


def give_back_memory() -> None:
    """Return freed memory to the system, of which glibc keeps a GB or two for later."""
    gc.collect()
    with suppress(OSError, AttributeError):  # other libraries have no malloc_trim
        ctypes.CDLL(None).malloc_trim(0)


def _set(what: int, value: int) -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(what, value)
