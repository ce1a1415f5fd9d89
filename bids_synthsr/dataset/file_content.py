"""The content of a file, unpacked where it is compressed, whatever its name says."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from bids_synthsr.dataset.files import open_regular

GZIP_START, GZIP_WINDOW = b'\x1f\x8b', 31
FIRST_BYTES, CHUNK_BYTES = 1 << 12, 1 << 20  # a header needs little
CUT_SHORT = 'Compressed file ended before the end-of-stream marker was reached'


class FileContent(BufferedIOBase):
    """The content of a regular file, read forwards, once, as nibabel reads files.

    Checksum and length of a stream of gzip are compared at its end. ``followed_by`` is then the
    number of bytes after it that are no further stream.

    Parameters
    ----------
    path
        Path of the file.

    Raises
    ------
    OSError
        If the file cannot be opened, as `open_regular` does.
    EOFError, zlib.error
        On reading, where a stream of gzip is cut short or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._file = open_regular(path)
        self.is_compressed = self._file.peek(2).startswith(GZIP_START)
        self.followed_by = 0
        self._chunks = self._unpacked() if self.is_compressed else self._packed()
        self._ahead = b''
        self._position = 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def tell(self) -> int:
        """Tell how many bytes have been read."""
        return self._position

    def peek(self, size: int) -> bytes:
        """Return bytes that come next, and leave them to be read; fewer at the end."""
        while len(self._ahead) < size and (chunk := next(self._chunks, b'')):
            self._ahead += chunk
        return self._ahead[:size]

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, and return how many bytes there were for it."""
        view, count = memoryview(buffer), 0
        while count < len(view) and self.peek(1):
            part = self._ahead[: len(view) - count]
            view[count : count + len(part)] = part
            self._ahead = self._ahead[len(part) :]
            count += len(part)
        self._position += count
        return count

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes; all that are left if the size is negative."""
        if size is None or size < 0:
            return b''.join(iter(partial(self.read, CHUNK_BYTES), b''))
        content = bytearray(len(self.peek(size)))
        self.readinto(content)
        return bytes(content)

    def seek(self, position: int, whence: int = 0) -> int:
        """Pass over what comes before a position, which must lie ahead."""
        if whence or position < self._position:
            raise OSError(f'it is read forwards, and not back to byte {position}')
        while self._position < position and self.read(min(position - self._position, CHUNK_BYTES)):
            pass
        return self._position

    def count_rest(self) -> int:
        """Read to the end, and return how many bytes were left."""
        start = self._position
        while self.read(CHUNK_BYTES):
            pass
        return self._position - start

    def _packed(self) -> Iterator[bytes]:
        """Read the file as it is, a little at first."""
        yield self._file.read(FIRST_BYTES)
        yield from iter(partial(self._file.read, CHUNK_BYTES), b'')

    def _unpacked(self) -> Iterator[bytes]:
        """Unpack one stream of gzip after the other."""
        unpack, packed, size = zlib.decompressobj(GZIP_WINDOW), b'', FIRST_BYTES
        while packed := packed or self._file.read(size):
            if unpack.eof:
                packed += self._file.read(1)  # of a mark that the end of a chunk had cut
                if not packed.startswith(GZIP_START):
                    break
                unpack = zlib.decompressobj(GZIP_WINDOW)
            content = unpack.decompress(packed, size)
            packed = unpack.unused_data if unpack.eof else unpack.unconsumed_tail
            if content:
                yield content
                size = CHUNK_BYTES
        if not unpack.eof:
            raise EOFError(CUT_SHORT)
        while packed:
            self.followed_by += len(packed)
            packed = self._file.read(CHUNK_BYTES)
