"""Plain files as an exam: what each was taken for, and what tells so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bids_synthsr.dataset.guessing import name_entities, recognize
from bids_synthsr.dataset.scans import read_scan
from bids_synthsr.dataset.selection import LEFT_OUT, Row
from bids_synthsr.dataset.sidecars import read_beside
from bids_synthsr.values.exam import SUFFIXES, Exam, Scan
from bids_synthsr.values.words import find_word

AS_GIVEN = 'as it was given'


@dataclass(frozen=True)
class PlainScan:
    """A plain file, and what it was taken for.

    Parameters
    ----------
    file
        Absolute path of the image.
    suffix
        Contrast that it was taken for, a BIDS suffix.
    origin
        What told the contrast, as in ``FLAIR by its BIDS suffix``.
    entities
        BIDS entities that its name holds, or that words of its name stand for.
    """

    file: Path
    suffix: str
    origin: str
    entities: Mapping[str, str] = field(default_factory=dict)


def take_files(files: Sequence[Path], contrasts: Sequence[str] = ()) -> list[PlainScan]:
    """Tell the contrast of every file, by what was given or else by its name.

    Parameters
    ----------
    files
        Absolute paths of the images of one exam.
    contrasts
        BIDS suffixes in the order of the files, in any letter case; empty guesses from names.

    Raises
    ------
    ValueError
        If contrasts are missing, unknown, or cannot be guessed.
    """
    if contrasts and len(contrasts) != len(files):
        raise ValueError(f'{len(files)} scans, but {len(contrasts)} contrasts: name one for each')
    if contrasts:
        known = [(find_word(contrast, SUFFIXES), AS_GIVEN) for contrast in contrasts]
    else:
        known = [recognize(file.name) for file in files]
    return [
        PlainScan(file, *contrast, name_entities(file.name))
        for file, contrast in zip(files, known, strict=True)
    ]


def plain_exam(scans: Sequence[PlainScan]) -> Exam:
    """Make an exam of plain files, judged by their headers and the sidecars beside them.

    Parameters
    ----------
    scans
        Files of one person in one session, in any order.
    """
    return Exam('plain', None, tuple(map(_read, _with_names(scans))))


def _with_names(scans: Sequence[PlainScan]) -> Iterable[PlainScan]:
    """Number the scans of a contrast where some of them would have the same name."""
    names = [(scan.suffix, *sorted(scan.entities.items())) for scan in scans]
    doubled = {name[0] for name in names if names.count(name) > 1}
    for number, scan in enumerate(scans, 1):
        is_numbered = scan.suffix in doubled
        entities = {**scan.entities, 'run': str(number)} if is_numbered else scan.entities
        yield replace(scan, entities=entities)


def _read(plain: PlainScan) -> Scan:
    """Judge a file by its header and the sidecar beside it."""
    metadata, faults = read_beside(plain.file)
    scan = read_scan(plain.file, plain.suffix, plain.entities, metadata)
    return replace(scan, warnings=(*faults, *scan.warnings))


def describe_file(plain: PlainScan, row: Row) -> str:
    """Tell in a line what a file was taken for, and whether it is used.

    Parameters
    ----------
    plain
        The file, and what it was taken for.
    row
        Its row of the selection table.
    """
    agent = ' with contrast agent' if 'ce' in plain.entities else ''
    start = f'{plain.file.name}: {plain.suffix}{agent} {plain.origin}; {row["role"]}'
    return f'{start}: {row["reason"]}'


def describe_changes(before: Sequence[Row], after: Iterable[Row]) -> Iterable[str]:
    """Tell which files are not used as their headers promised, a line each.

    Parameters
    ----------
    before, after
        Rows of the selection table by headers alone, and at last.
    """
    role_of = {row['scan']: row['role'] for row in before}
    for row in after:
        if row['role'] != role_of.get(row['scan']):
            role = ' was left out' if row['role'] == LEFT_OUT else f': {row["role"]}'
            yield f'{row["file"]}{role}: {row["reason"]}'
