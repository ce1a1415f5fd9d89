"""Files of images: which format they hold, told by their content, and their voxels to the end.

A file that cannot be used is refused with a sentence that names the way out. What is merely odd
is added to ``notes``.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import nibabel as nb
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.fileholders import FileHolder
from nibabel.freesurfer.mghformat import MGHError
from nibabel.spatialimages import HeaderDataError

from bids_synthsr.dataset.file_content import FileContent
from bids_synthsr.values.text import plain_text

MAX_HEADER_BYTES = 16 << 20  # with extensions; those of dcm2niix and AFNI have some 10 kB
HEADER_BYTES = 544  # of the larger header of NIfTI, with the flags of its extensions
TOO_LARGE = f'Its header has more than {MAX_HEADER_BYTES >> 20} MB before the voxels'
MGH_START, GOOD_RAS = b'\0\0\0\1', slice(28, 30)  # its mark, and where it has that flag
COMPRESSED = ('.gz', '.mgz')  # what the names of compressed images end in
PARTS = re.compile(r'\.(hdr|img)((?:\.gz)?)$', re.IGNORECASE)

Image: TypeAlias = nb.Nifti1Pair | nb.MGHImage
# by size of the header, then by where its magic word begins and what that is
KINDS: dict[int, tuple[slice, dict[bytes, type[nb.Nifti1Pair]]]] = {
    348: (slice(344, 347), {b'n+1': nb.Nifti1Image, b'ni1': nb.Nifti1Pair}),
    540: (slice(4, 7), {b'n+2': nb.Nifti2Image, b'ni2': nb.Nifti2Pair}),
}

SCANNER_SPACE = 1  # code of sform

ANNEXED = re.compile(rb'[./]*(?:git/)?annex/objects/')
OF_LFS = re.compile(rb'version https://git-lfs')
READING_FAULTS = (
    OSError,
    EOFError,
    zlib.error,
    ValueError,
    OverflowError,
    MemoryError,
    ImageFileError,
    HeaderDataError,
    MGHError,
    TypeError,
    LookupError,
)


class UnusableScanError(ValueError):
    """A scan cannot be used; the message is a full sentence with the way out."""


def read_header(path: Path, notes: list[str]) -> nb.Nifti1Header:
    """Read what an image file states of itself, in the terms of NIfTI.

    Parameters
    ----------
    path
        Path of the image; of a pair of files, of either.
    notes
        List to which sentences on oddities are added.

    Raises
    ------
    UnusableScanError
        Where the file is absent, a pointer to content elsewhere, or no image.
    """
    with _opened(path) as (image, content):
        says_compressed = path.name.lower().endswith(COMPRESSED)
        if says_compressed != content.is_compressed:
            notes.append(_misnamed(path.name, content.is_compressed))
        header = _header_of(image)
    _check_size(path, header)
    return header


def _check_size(path: Path, header: nb.Nifti1Header) -> None:
    """Refuse a file far larger than its header says, which would be read for hours."""
    voxel_bytes = header.get_data_dtype().itemsize
    expected = math.prod(map(int, header.get_data_shape())) * voxel_bytes + 2 * MAX_HEADER_BYTES
    size = path.stat().st_size
    if size > expected:
        raise UnusableScanError(
            f'The file has {size / 1e6:.0f} MB, and by its header {expected / 1e6:.0f} MB are '
            'enough: convert it again.'
        )


def read_voxels(path: Path, notes: list[str]) -> np.ndarray:
    """Read the voxels of an image as float32, and its file to the end.

    Raises
    ------
    UnusableScanError
        As `read_header`; where the voxels cannot be read, or a checksum tells that they are wrong.
    """
    with _opened(path) as (image, content):
        try:
            with np.errstate(all='ignore'):  # what float32 cannot hold is found later
                voxels = image.get_fdata('unchanged', np.float32)
            rest = content.count_rest()
        except READING_FAULTS as error:
            raise UnusableScanError(
                f'Its voxels cannot be read ({in_short(error, path)}): copy or convert it again.'
            ) from error
        if rest:
            notes.append(
                f'{rest} bytes follow its voxels and were ignored: it may hold more than its '
                'header says. Convert it again if its shape is not as it should be.'
            )
        if content.followed_by:
            notes.append(
                f'{content.followed_by} bytes follow the end of its compressed content and were '
                'ignored: its checksum is right, but it was not copied as it was.'
            )
        return voxels


def in_short(error: Exception, path: Path) -> str:
    """Describe an error in one line, without the path, which the reader knows."""
    first = next(iter(str(error).splitlines()), '') or type(error).__name__
    if 'incorrect data check' in first or 'incorrect length check' in first:
        return 'its checksum says that they were changed'
    return first.replace(str(path), path.name)


def is_content_absent(path: Path) -> bool:
    """Whether git-annex keeps the content of a file elsewhere: a broken link, or a pointer."""
    if path.is_symlink() and not path.exists():
        return True
    try:
        with FileContent(path) as content:
            return bool(ANNEXED.match(content.peek(HEADER_BYTES)))
    except READING_FAULTS:
        return False


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Image, FileContent]]:
    """Open an image, and the file that holds its voxels, which are read later."""
    with ExitStack() as stack:
        header_file, voxel_file = _find_parts(path)
        header = voxels = stack.enter_context(_open(header_file))
        try:
            kind = _find_kind(header)
            if not issubclass(kind, nb.Nifti1Image | nb.MGHImage):
                if header_file == voxel_file:
                    raise ImageFileError('a header alone')
                voxels = stack.enter_context(_open(voxel_file))
            image = kind.from_file_map(_holders(kind, header, voxels), mmap=False)
        except READING_FAULTS as error:
            if isinstance(error, UnusableScanError):
                raise
            raise UnusableScanError(
                f'It is not a readable NIfTI file ({in_short(error, path)}): '
                f'{_missing_part(path) or "copy or convert it again"}.'
            ) from error
        yield image, voxels


def _holders(kind: type[Image], header: FileContent, voxels: FileContent) -> dict[str, FileHolder]:
    """Say to nibabel where header and voxels are; the header of MGH goes on after the voxels."""
    if issubclass(kind, nb.MGHImage):
        return {'image': FileHolder(fileobj=BytesIO(header.read()))}
    return {'header': FileHolder(fileobj=header), 'image': FileHolder(fileobj=voxels)}


def _find_parts(path: Path) -> tuple[Path, Path]:
    """Find the files of header and voxels: two for a pair of .hdr and .img, else the same."""
    other = _other_part(path)
    if other is None or not other.exists():
        return path, path
    return (path, other) if other.name.lower().endswith(('.img', '.img.gz')) else (other, path)


def _other_part(path: Path) -> Path | None:
    """Name the voxels of a header file, or the header of a file of voxels; None of others."""
    part = PARTS.search(path.name)
    if not part:
        return None
    word = 'img' if part[1].lower() == 'hdr' else 'hdr'
    word = word.upper() if part[1].isupper() else word
    return path.with_name(f'{path.name[: part.start(1)]}{word}{part[2]}')


def _missing_part(path: Path) -> str:
    """Ask for the other half of a pair that is not here; empty where nothing lacks."""
    other = _other_part(path)
    if other is None or other.exists():
        return ''
    return f'{plain_text(other.name)} is not here, copy it into the same folder'


def _open(path: Path) -> FileContent:
    """Open a file with content that is here."""
    fetch = f'fetch it with "datalad get {path}", or with the option --get of bids_synthsr'
    try:
        if path.is_symlink() and not path.exists():
            raise UnusableScanError(f'It is a link to content that is not here: {fetch}.')
        content = FileContent(path)
        start = content.peek(HEADER_BYTES)
    except (EOFError, zlib.error):  # a header that is cut short is described later
        return FileContent(path)
    except OSError as error:
        raise UnusableScanError(
            f'The file cannot be opened ({error.strerror}): check its place and its permissions.'
        ) from error
    fault = ''
    if not start and not content.is_compressed:
        fault = 'The file is empty (0 bytes): copy or convert it again.'
    if ANNEXED.match(start):
        fault = f'It holds a pointer instead of an image: {fetch}.'
    if OF_LFS.match(start):
        fault = 'It holds a pointer instead of an image: fetch it with "git lfs pull".'
    if fault:
        content.close()
        raise UnusableScanError(fault)
    return content


def _find_kind(content: FileContent) -> type[Image]:
    """Find the format of an image by its first bytes, and check its header.

    Raises
    ------
    ImageFileError
        If it is none that is read here.
    UnusableScanError
        If the header is too large, or says that it places the image nowhere.
    """
    first = content.peek(HEADER_BYTES)
    if first.startswith(MGH_START):
        if not any(first[GOOD_RAS]):  # nibabel would place it by a default
            raise UnusableScanError(
                'Its header does not say where the image lies (goodRASFlag is 0), so left and '
                'right would be a guess: convert it again from the DICOMs.'
            )
        return nb.MGHImage
    for order in ('little', 'big'):
        size = int.from_bytes(first[:4], order)
        word, kinds = KINDS.get(size, (slice(0), {}))
        kind = kinds.get(first[word])
        if kind is not None:
            _check_extensions(content, kind.header_class, size)
            return kind
        if kinds:
            raise ImageFileError('without the mark of NIfTI, as Analyze files are')
    raise ImageFileError('it does not begin as one')


def _check_extensions(content: FileContent, kind: type[nb.Nifti1Header], size: int) -> None:
    """Refuse a header that would fill the memory: nibabel reads extensions of any size."""
    first = content.peek(size + 1)
    if not first[size:].strip(b'\0'):
        return  # no extension follows
    header = kind(first[:size], check=False)
    end = float(header['vox_offset'])
    if kind.is_single is False:  # a file of its own, to whose end extensions go
        end = len(content.peek(MAX_HEADER_BYTES + 1))
    if not size <= end <= MAX_HEADER_BYTES:
        raise UnusableScanError(f'{TOO_LARGE}: convert it again.')
    try:
        kind.from_fileobj(BytesIO(content.peek(int(end))))
    except (HeaderDataError, ValueError, OverflowError) as error:
        raise UnusableScanError(
            'An extension of its header is larger than the space before its voxels: '
            'convert it again.'
        ) from error


def _header_of(image: Image) -> nb.Nifti1Header:
    """Return the header of an image; that of MGH is written in the terms of NIfTI."""
    if not isinstance(image, nb.MGHImage):
        return image.header
    header = nb.Nifti1Header()
    header.set_data_dtype(image.get_data_dtype())
    header.set_data_shape(image.shape)
    header['pixdim'][1:4] = image.header.get_zooms()[:3]
    header.set_sform(image.affine, SCANNER_SPACE)
    return header


def _misnamed(name: str, is_compressed: bool) -> str:
    """Describe a name that does not tell whether a file is compressed."""
    end = 'but it is compressed' if is_compressed else 'but it is not compressed'
    new = f'{name}.gz' if is_compressed else re.sub(r'\.gz$', '', name, flags=re.IGNORECASE)
    advice = f'; rename it to {plain_text(new)}' if new != name else ''
    extension = ''.join(Path(name).suffixes[-2:])
    return f'Its name ends in {plain_text(extension)}, {end}: it was read as it is{advice}.'
