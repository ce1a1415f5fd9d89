"""Receipts: what a step made, so that a later run can check whether it is still there, whole.

What a lost block, a cut or a zeroed file leaves behind contradicts the receipt, and the step is
done again. Files are flushed to disk while later steps run: what a power cut takes before that
contradicts it, too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path

from bids_synthsr.dataset.files import read_object, sha256, write_json

RECEIPT = 'receipt.json'
UNFINISHED = '_0x*_unfinished.json'  # the engine's, while a step runs
ENGINE = '_'  # how names of nipype's own files begin


def write_receipt(folder: Path) -> Path:
    """Write down size and SHA-256 of the files of a step, and have them flushed to disk."""
    paths = [path for path in sorted(folder.rglob('*')) if is_made(path)]
    files = {
        path.relative_to(folder).as_posix(): [path.stat().st_size, sha256(path)] for path in paths
    }
    receipt = write_json(folder / RECEIPT, {'files': files})
    flusher().submit(flush, [*paths, receipt, folder])
    return receipt


def is_step_folder(folder: Path) -> bool:
    """Whether the engine runs a step in this folder; a step may also be run alone, anywhere."""
    return any(folder.glob(UNFINISHED))


def is_made(path: Path) -> bool:
    """Whether a step made this file, and not the engine."""
    return path.is_file() and not path.name.startswith(ENGINE)


@cache
def flusher() -> ThreadPoolExecutor:
    """Thread of this process that waits for the disk; the process ends after it."""
    return ThreadPoolExecutor(1, 'flush')


def flush(paths: Sequence[Path]) -> None:
    """Wait until files, and lists of folders, are on the disk; some may be gone by then."""
    for path in paths:
        with suppress(OSError):
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # waits for no pipe
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def find_damage(folder: Path) -> str:
    """Describe how the files of a step differ from its receipt; empty where they do not."""
    try:
        files = read_object(folder / RECEIPT)['files']
        for name, (size, digest) in files.items():
            path = folder / name
            if path.stat().st_size != size:
                return f'{name} has {path.stat().st_size} bytes instead of {size}'
            if sha256(path) != digest:
                return f'{name} has another content than was written'
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f'its receipt cannot be confirmed ({type(error).__name__}: {error})'
    return ''
