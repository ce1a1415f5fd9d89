"""Which run works on which exam: several may share an output folder.

A lock is a byte of one file, locked by the operating system for as long as the process lives: a
run that is killed leaves none behind.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import stat
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

LOGGER = logging.getLogger(__name__)
BYTES = 2**62  # of a file that is empty: offsets to lock
# struct flock in C: here type, whence, start, length, process; there the type comes last but one
FLOCK, TYPE_AT = ('qqihh', 3) if sys.platform == 'darwin' else ('hhqqi0q', 0)
BUSY = (BlockingIOError, PermissionError)  # POSIX lets a system choose between the two


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Wait for other runs to leave the block, where the file system supports locks."""
    file = _open(path)
    try:
        with suppress(OSError):
            fcntl.lockf(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _open(path: Path) -> int:
    """Open a file of locks, made where there is none; never a pipe, or what a link leads to.

    Raises
    ------
    OSError
        If the path is that of something else.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, 'It is no regular file', str(path))
    return file


class ExamLocks:
    """Locks of this process on exams; all are given back at the end of the ``with`` block.

    Parameters
    ----------
    path
        The file, made where there is none. Its folder must be writable.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = _open(path)

    def __enter__(self) -> ExamLocks:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._file)

    def claim(self, label: str) -> bool:
        """Lock an exam; False where another process has it.

        A file system without locks is reported in the log: there, runs must not share exams.
        """
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _offset(label))
        except BUSY:
            return False
        except OSError as error:
            LOGGER.warning(
                '%s cannot be locked (%s): let no other run process the same exams.',
                self._path,
                error.strerror,
            )
        return True

    def release(self, label: str) -> None:
        """Give the lock of an exam back before the end."""
        with suppress(OSError):
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _offset(label))


def find_claimed(path: Path, labels: Iterable[str]) -> set[str]:
    """Find the exams that other processes have locked; none where that cannot be known.

    Nothing is locked for it, so that no run finds an exam taken which is only looked at.

    Parameters
    ----------
    path
        The file of the locks.
    labels
        Labels of the exams.
    """
    try:
        with path.open('rb') as file:
            return {label for label in labels if _is_locked(file.fileno(), _offset(label))}
    except OSError:
        return set()


def _is_locked(file: int, offset: int) -> bool:
    """Whether another process has locked a byte of a file."""
    question = {0: (fcntl.F_WRLCK, os.SEEK_SET, offset, 1, 0),
                3: (offset, 1, 0, fcntl.F_WRLCK, os.SEEK_SET)}[TYPE_AT]  # fmt: skip
    answer = fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(FLOCK, *question))
    return bool(struct.unpack(FLOCK, answer)[TYPE_AT] != fcntl.F_UNLCK)


def _offset(label: str) -> int:
    """Byte that stands for an exam."""
    digest = hashlib.sha256(label.encode('utf-8', 'surrogateescape')).digest()
    return int.from_bytes(digest[:8], 'big') % BYTES
