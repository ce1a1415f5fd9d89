"""Files that are written whole or not at all, and the one way to read JSON and TOML.

What is read may come from anybody: pipes and devices are refused and not waited for, and size,
depth and numbers have limits.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from hashlib import file_digest
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import Any, TypeAlias

TEMPORARY = '.tmp-synthsr-'  # how names of files begin that are being written
MAX_JSON_BYTES = 16 << 20  # the largest of ours, a training's list of draws, has 2 MB
MAX_TOML_BYTES = 1 << 20  # a recipe has 3 kB; 10,000 labels of participants 120 kB
MAX_TOML_DEPTH = 32  # tables and lists around a value; ours have 5
UNABLE_TO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)  # a few network file systems
LARGEST = (1 << 63) - 1  # of whole numbers in 64 bits; times of files in ns have 19 digits
TOO_LONG = 'a whole number in it needs more than 64 bits'
MAX_DIGITS = 20  # of such a number, with its sign
Flush: TypeAlias = Callable[[Path, Path], None]  # of a file, with the name that it will have


def _flush_now(path: Path, _: Path) -> None:
    """Wait until the content of a file is on the disk."""
    _flush_and_close(os.open(path, os.O_RDONLY))


_FLUSH: ContextVar[Flush] = ContextVar('who flushes files', default=_flush_now)


@contextmanager
def unflushed(folder: Path) -> Iterator[None]:
    """Do not wait for the disk for the files that the block writes below a folder.

    Parameters
    ----------
    folder
        Folder whose files count only where size and SHA-256 agree with what was written.
    """
    flush = _FLUSH.get()

    def flush_others(path: Path, final: Path) -> None:
        if not final.is_relative_to(folder):
            flush(path, final)

    with _flushed_by(flush_others):
        yield


@contextmanager
def flushed_beside() -> Iterator[None]:
    """Flush the files that the block writes in a thread of their own, and wait for all at its end.

    A power cut within the block may leave a file without its content under its name: what tells
    that these files are whole must be written after the block.
    """
    flushes: list[Future[None]] = []
    with ThreadPoolExecutor(1, 'flush') as thread:

        def flush_beside(path: Path, _: Path) -> None:
            handle = os.open(path, os.O_RDONLY)  # the path is renamed before its turn comes
            flushes.append(thread.submit(_flush_and_close, handle))

        with _flushed_by(flush_beside):
            yield
    for flush in flushes:
        flush.result()


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path`` that replaces it when the block ends well.

    A reader never sees half a file; an error or a kill leaves ``path`` as it was. The content
    is on the disk before it has its name, so that a power cut leaves no file of zeros; but for
    files that are `unflushed` or `flushed_beside`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = ''.join(path.suffixes[-2:]) if path.name.endswith('.gz') else path.suffix
    handle, name = tempfile.mkstemp(prefix=TEMPORARY, suffix=suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        _FLUSH.get()(temporary, path)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _flushed_by(flush: Flush) -> Iterator[None]:
    """Have the files of the block flushed by ``flush``."""
    token = _FLUSH.set(flush)
    try:
        yield
    finally:
        _FLUSH.reset(token)


def _flush_and_close(handle: int) -> None:
    """Wait until the content of a file is on the disk, where the file system can do that."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in UNABLE_TO_FLUSH:
            raise
    finally:
        os.close(handle)


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
    """Write text, whole or not at all; what UTF-8 cannot hold is written as an escape."""
    with written_atomically(path) as temporary:
        temporary.write_text(text, encoding='utf-8', errors='backslashreplace')
    return path


def open_to_append(path: Path) -> TextIOWrapper:
    """Open a text file to add lines to; a link is replaced by a copy of what it leads to.

    Raises
    ------
    OSError
        If it cannot be opened, or is a folder, a pipe or a device.
    """
    if path.is_symlink() or (path.exists() and path.stat().st_nlink > 1):
        _replace_by_copy(path)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    handle = os.open(path, flags, 0o666)
    _check_regular(handle, path)
    return TextIOWrapper(
        os.fdopen(handle, 'ab'), encoding='utf-8', errors='backslashreplace', newline=''
    )


def _replace_by_copy(path: Path) -> None:
    """Replace a link by a file of the same content; by an empty one where it leads nowhere."""
    with (
        written_atomically(path) as temporary,
        suppress(FileNotFoundError),
        open_regular(path) as source,
        temporary.open('wb') as copy,
    ):
        shutil.copyfileobj(source, copy)


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file in hexadecimal digits."""
    with open_regular(path) as file:
        return file_digest(file, 'sha256').hexdigest()


def take_stamp(path: Path) -> str:
    """Write down what changes when a file is written to or replaced.

    Tools that copy a file can keep its size and the time of its last change (``cp -p``, ``rsync
    -t``), and not the time at which it came to be (ctime) and its number in the file system.
    """
    status = path.stat()
    numbers = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return ' '.join(map(str, numbers))


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading.

    Raises
    ------
    OSError
        If it cannot be opened, or is a folder, a pipe or a device, which could block for ever.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    _check_regular(handle, path)
    return os.fdopen(handle, 'rb')


def _check_regular(handle: int, path: Path) -> None:
    """Close a file that has just been opened, and raise, if it is no regular one."""
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, 'It is no regular file, but a folder, pipe or device', path)


def read_text(path: Path, max_bytes: int = MAX_JSON_BYTES, errors: str = 'replace') -> str:
    """Read text from a regular file; raise as `read_json` does.

    Letters that are not UTF-8, as old programs wrote them, are replaced.

    Parameters
    ----------
    path
        Path of the file.
    max_bytes
        Size above which the file is refused.
    errors
        What becomes of letters that are not UTF-8; ``strict`` refuses the file.
    """
    with open_regular(path) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f'it is larger than {max_bytes >> 20} MB')
    return content.decode('utf-8-sig', errors)


def read_json(path: Path, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Read JSON from a regular file, its text as `read_text` reads it.

    Whole numbers that 64 bits cannot hold are read as floats, infinite ones included.

    Parameters
    ----------
    path
        Path of the file.
    max_bytes
        Size above which the file is refused.

    Raises
    ------
    OSError
        If it cannot be opened, or is no regular file.
    ValueError
        If it is too large or no JSON, in a sentence without the path.
    """
    return parse_json(read_text(path, max_bytes))


def parse_json(text: str) -> Any:
    """Read JSON from text, as `read_json` does from a file.

    Raises
    ------
    ValueError
        If it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text, parse_int=_read_whole)
    except RecursionError:
        raise ValueError('its brackets are nested too deeply') from None


def _read_whole(text: str) -> int | float:
    whole = int(text) if len(text) <= MAX_DIGITS else LARGEST + 1
    return whole if -LARGEST <= whole <= LARGEST else float(text)


def read_object(path: Path, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Read JSON that must hold an object; raise as `read_json` does."""
    content = read_json(path, max_bytes)
    if not isinstance(content, dict):
        raise ValueError(f'it holds {type(content).__name__}, not an object')
    return content


def read_toml(path: Path) -> dict[str, Any]:
    """Read TOML from a regular file.

    Raises
    ------
    OSError
        If it cannot be opened, or is no regular file.
    ValueError
        If it is too large or no TOML that a program would write, in a sentence without the path.
    """
    return parse_toml(read_text(path, MAX_TOML_BYTES, 'strict'))


def parse_toml(text: str) -> dict[str, Any]:
    """Read TOML from text, as `read_toml` does from a file.

    Raises
    ------
    ValueError
        If it is no TOML, nested too deeply, or holds whole numbers that 64 bits cannot.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise ValueError('its brackets are nested too deeply') from None
    except ValueError:  # Python takes no whole number of thousands of digits
        raise ValueError(TOO_LONG) from None
    _check_values(table)
    return table


def _check_values(value: Any, depth: int = 0) -> None:
    """Raise for what TOML can hold and no program writes."""
    if depth > MAX_TOML_DEPTH:
        raise ValueError(f'its tables are nested more than {MAX_TOML_DEPTH} deep')
    if isinstance(value, int) and not -LARGEST <= value <= LARGEST:
        raise ValueError(TOO_LONG)
    items = value.values() if isinstance(value, dict) else value
    for item in items if isinstance(value, dict | list) else ():
        _check_values(item, depth + 1)
