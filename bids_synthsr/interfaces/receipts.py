"""Receipts: what a step made, so that a later run can check whether it is still there, whole.

A step's files are flushed to disk before its receipt is. What a lost block, a cut or a zeroed file
leaves behind contradicts the receipt, and the step is done again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from bids_synthsr.dataset.files import read_object, sha256, write_json

RECEIPT = 'receipt.json'
ENGINE = '_'  # how names of nipype's own files begin


def write_receipt(folder: Path) -> Path:
    """Flush the files of a step to disk, and write down the size and SHA-256 of each."""
    files = {}
    for path in _files_of(folder):
        flush(path)
        files[path.relative_to(folder).as_posix()] = [path.stat().st_size, sha256(path)]
    receipt = write_json(folder / RECEIPT, {'files': files})
    for path in (receipt, folder):
        flush(path)
    return receipt


def _files_of(folder: Path) -> Iterator[Path]:
    """Yield the files that a step made, without those of the engine."""
    for path in sorted(folder.rglob('*')):
        if path.is_file() and not path.name.startswith(ENGINE):
            yield path


def flush(path: Path) -> None:
    """Wait until a file, or the list of a folder, is on the disk and survives a power cut."""
    handle = os.open(path, os.O_RDONLY)
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
