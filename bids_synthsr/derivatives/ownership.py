"""What the program may write to: what is nobody's, or its own, and never an input.

Every door asks here before anything is written. Files are replaced and never written into (see
`written_atomically`), so that links to files are harmless; links to folders are followed here.
Folders are compared by their number in the file system, too, which sees through bind mounts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from bids_synthsr.dataset.files import read_object, sha256
from bids_synthsr.dataset.query import DESCRIPTION
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.provenance import RAW, generator, link_to
from bids_synthsr.derivatives.records import Record, digests_of, read_records
from bids_synthsr.values.exam import Exam
from bids_synthsr.values.text import plain_text

CHOOSE = 'choose another folder'
DERIVATIVES = 'derivatives'
NESTED = {DERIVATIVES, 'sourcedata', 'code'}  # folders of a data set that may hold other ones


def lies_in(path: Path, folder: Path) -> bool:
    """Whether a path, which need not exist, is a folder or lies in it, whatever its name is."""
    real, wanted = path.resolve(), _identity(folder)
    return any(_identity(parent) == wanted for parent in (real, *real.parents))


def _identity(path: Path) -> tuple[int, int] | Path:
    """Tell files apart, whatever they are called: what is not there by its name alone."""
    try:
        status = path.stat()
    except OSError:
        return path.resolve()
    return status.st_dev, status.st_ino


def find_overwritten(outputs: Iterable[Path], inputs: Iterable[Path]) -> str:
    """Name an output that is an input, or a link to one; empty where none is.

    Parameters
    ----------
    outputs
        Files that are to be written, which need not exist.
    inputs
        Files that are read.
    """
    files = [*inputs]
    for output in outputs:
        for file in files:
            if _identity(output) == _identity(file):
                return f'{output} would replace the input {file}, and inputs are never written to'
    return ''


def find_file_owner(path: Path) -> str:
    """Describe whose folder a file would be written to; empty if it is nobody's."""
    return _owner_above(path.resolve())


def find_folder_owner(folder: Path) -> str:
    """Describe who owns a folder for outputs; empty if it is nobody's.

    It is somebody's if it is a data set, or lies in one and not in its ``derivatives``.
    """
    root = folder.resolve()
    if (root / DESCRIPTION).exists():
        return f'{root} is {_describe_owner(root)}'
    return _owner_above(root)


def find_owner(derivatives: Derivatives) -> str:
    """Describe who else owns an output folder; empty if it is nobody's, or the program's own.

    A folder without a description is nobody's unless it holds what the program would replace.
    """
    root = derivatives.root.resolve()
    if root.exists() and not root.is_dir():
        return f'{root} is not a folder'
    if (root / DESCRIPTION).exists():
        return '' if _is_own(derivatives) else f'{root} is {_describe_owner(root)}'
    if not derivatives.records.is_dir():
        precious = (derivatives.index, derivatives.citation, *sorted(root.glob('sub-*')))
        for path in precious:
            if path.exists():
                return f'{root} holds {path.name}, which this program has not written'
    return _owner_above(root)


def _owner_above(path: Path) -> str:
    """Describe the data set in which a path lies; empty if it lies in none, or may lie there."""
    for parent in path.parents:
        below = path.relative_to(parent).parts[0]
        if (parent / DESCRIPTION).exists() and not _may_hold(parent, below):
            return f'{path} lies in {parent}, {_describe_owner(parent)}'
    return ''


def _may_hold(root: Path, name: str) -> bool:
    """Whether a data set may hold another one in a folder of this name.

    A folder ``derivatives`` with a description of its own may, but not among its participants.
    """
    is_shelf = root.name == DERIVATIVES and not name.startswith('sub-')
    return name in NESTED or is_shelf


def _is_own(derivatives: Derivatives) -> bool:
    """Whether the program alone wrote the description; without a readable one, records count."""
    content = _read_description(derivatives.root)
    if not content:
        return derivatives.records.is_dir()
    is_raw = content.get('DatasetType') == 'raw'
    return not is_raw and set(_programs_of(content)) == {generator()['Name']}


def _describe_owner(root: Path) -> str:
    """Describe whose a data set is, for the middle of a sentence."""
    content = _read_description(root)
    programs = _programs_of(content)
    if programs and content.get('DatasetType') != 'raw':
        return f'the output of {", ".join(programs)}'
    return 'a data set that this program has not made'


def _read_description(root: Path) -> dict[str, Any]:
    """Read the description of a data set; empty where it cannot be read."""
    try:
        return read_object(root / DESCRIPTION)
    except (OSError, ValueError):
        return {}


def _programs_of(content: dict[str, Any]) -> list[str]:
    """Name the programs that a description names."""
    entries = content.get('GeneratedBy')
    entries = entries if isinstance(entries, list) else []
    return [plain_text(str(entry.get('Name'))) for entry in entries if isinstance(entry, dict)]


def check_owner(derivatives: Derivatives) -> None:
    """Refuse an output folder that belongs to another program or data set.

    Raises
    ------
    ValueError
        With the owner, and the way out.
    """
    owner = find_owner(derivatives)
    if owner:
        raise ValueError(f'{owner}: {CHOOSE} as output_dir')


def check_source(derivatives: Derivatives, bids_dir: Path) -> None:
    """Refuse an output folder that holds what was made of another data set.

    One that has moved is the same as long as a scan of it is one that a record names.

    Parameters
    ----------
    derivatives
        Paths of the output folder.
    bids_dir
        The input data set.

    Raises
    ------
    ValueError
        With the other data set, and the way out.
    """
    link = _read_description(derivatives.root).get('DatasetLinks')
    before = link.get(RAW) if isinstance(link, dict) else None
    if before in (None, link_to(derivatives.root, bids_dir)):
        return
    finished = [x for x in read_records(derivatives).values() if x.state == 'finished']
    if not finished or _holds_scan_of(finished, bids_dir):
        return
    other = unquote(plain_text(str(before)).removeprefix('file://'))
    raise ValueError(
        f'{derivatives.root} holds what was made of {other}, and no scan of {bids_dir} is among '
        f'it: {CHOOSE} as output_dir'
    )


def _holds_scan_of(records: Iterable[Record], bids_dir: Path) -> bool:
    """Whether a data set holds, under its name, any scan that a record names."""
    for record in records:
        for name, digest in digests_of(record.fingerprint):
            try:
                if sha256(bids_dir / name) == digest:
                    return True
            except OSError:  # it is not there
                continue
    return False


def check_links(derivatives: Derivatives, exams: Iterable[Exam]) -> None:
    """Refuse an output folder in which outputs would meet an input.

    Parameters
    ----------
    derivatives
        Paths of the output folder.
    exams
        Exams that are to be processed.

    Raises
    ------
    ValueError
        If a folder that is to be written to is a link, or if a scan lies in the output folder.
    """
    root = derivatives.root.resolve()
    checked = {root}
    check_folders_within((derivatives.citation.parent, derivatives.records), checked)
    for exam in exams:
        place = derivatives.exam(exam.subject, exam.session)
        check_folders_within((place.anat, place.figures), checked)
        for path in _sources_in(root, exam):
            raise ValueError(f'The scan {path} leads into output_dir {root}: {CHOOSE}')


def _sources_in(root: Path, exam: Exam) -> Iterator[Path]:
    """Yield the scans that lie in a folder, by links of their own or of folders around them."""
    if exam.scans and lies_in(exam.scans[0].path.parent, root):
        yield exam.scans[0].path
    for scan in exam.scans:
        if scan.path.is_symlink() and Path(os.path.realpath(scan.path)).is_relative_to(root):
            yield scan.path


def check_folders_within(folders: Iterable[Path], checked: set[Path]) -> None:
    """Refuse folders that are links, or lie in some, so that outputs would lie elsewhere.

    Parameters
    ----------
    folders
        Folders that are to be written to, which need not exist.
    checked
        Folders that are known to be none, the output folder among them; more are added.

    Raises
    ------
    ValueError
        With the link, and the way out.
    """
    for folder in folders:
        _check_folder(folder, checked)


def _check_folder(folder: Path, checked: set[Path]) -> None:
    """Refuse a folder that is, or lies in, a link; what is known to be none is not asked again."""
    if folder in checked:
        return
    _check_folder(folder.parent, checked)
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ValueError(
            f'{folder} is a link or no folder, and outputs would not lie in output_dir: remove '
            f'it, or {CHOOSE} as output_dir'
        )
    checked.add(folder)
