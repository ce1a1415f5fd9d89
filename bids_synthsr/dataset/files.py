"""Files that are written whole or not at all, and text in them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import Any


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path`` that replaces it when the block ends well.

    A reader never sees half a file; an error or a kill leaves ``path`` as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = ''.join(path.suffixes[-2:]) if path.name.endswith('.gz') else path.suffix
    handle, name = tempfile.mkstemp(prefix='.tmp-', suffix=suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    """Read the permissions that new files must not have."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """Write JSON, whole or not at all."""
    return write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + '\n')


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write the rows of a table as JSON, whole or not at all."""
    return write_text(path, json.dumps(list(rows)))


def write_text(path: Path, text: str) -> Path:
    """Write text, whole or not at all."""
    with written_atomically(path) as temporary:
        temporary.write_text(text, encoding='utf-8')
    return path


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file in hexadecimal digits."""
    with path.open('rb') as file:
        return file_digest(file, 'sha256').hexdigest()


def read_json(path: Path) -> Any:
    """Read JSON."""
    return json.loads(path.read_text(encoding='utf-8'))
