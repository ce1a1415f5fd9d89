"""Receipts: what a step made, so that a later run can check whether it is still there, whole.

What a lost block, a cut or a zeroed file leaves behind contradicts the receipt, and the step is
done again. So does what a power cut takes, for which reason no step waits for the disk.
"""

from __future__ import annotations

from pathlib import Path

from bids_synthsr.dataset.files import read_object, sha256, write_json

RECEIPT = 'receipt.json'
UNFINISHED = '_0x*_unfinished.json'  # the engine's, while a step runs
ENGINE = '_'  # how names of nipype's own files begin


def write_receipt(folder: Path) -> Path:
    """Write down size and SHA-256 of the files of a step."""
    paths = [path for path in sorted(folder.rglob('*')) if is_made(path)]
    files = {
        path.relative_to(folder).as_posix(): [path.stat().st_size, sha256(path)] for path in paths
    }
    return write_json(folder / RECEIPT, {'files': files})


def is_step_folder(folder: Path) -> bool:
    """Whether the engine runs a step in this folder; a step may also be run alone, anywhere."""
    return any(folder.glob(UNFINISHED))


def is_made(path: Path) -> bool:
    """Whether a step made this file, and not the engine."""
    return path.is_file() and not path.name.startswith(ENGINE)


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
