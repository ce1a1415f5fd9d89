"""What a data set tells of its people and sessions, and of the scanners: columns by name."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from bids_synthsr.dataset.files import read_object, read_text
from bids_synthsr.dataset.query import PARTICIPANTS

MISSING = ('', 'n/a', 'N/A', 'NA', 'nan', 'NaN')


def read_people(bids_dir: Path) -> dict[str, dict[str, str]]:
    """Read participants.tsv: the columns of each person, by ``participant_id``.

    Parameters
    ----------
    bids_dir
        Root of the data set.

    Raises
    ------
    ValueError
        If a person is listed twice, or if there is no column ``participant_id``.
    FileNotFoundError
        If there is no such file.
    """
    return _read_keyed(bids_dir / PARTICIPANTS, 'participant_id', 'sub-')


def read_sessions(bids_dir: Path, participant: str) -> dict[str, dict[str, str]]:
    """Read the columns of the sessions of a person by ``session_id``; none without a file.

    Parameters
    ----------
    bids_dir
        Root of the data set.
    participant
        Label of the person, such as ``sub-01``.
    """
    path = bids_dir / participant / f'{participant}_sessions.tsv'
    return _read_keyed(path, 'session_id', 'ses-') if path.is_file() else {}


def _read_keyed(path: Path, key: str, prefix: str) -> dict[str, dict[str, str]]:
    """Read a table by its key column, whose prefix may be left out; n/a is empty."""
    try:
        text = read_text(path, errors='strict').removeprefix('\ufeff')
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is not UTF-8 ({error.reason}): save it as UTF-8') from error
    lines = text.replace('\r\n', '\n').replace('\r', '\n').split('\n')
    table: dict[str, dict[str, str]] = {}
    for row in csv.DictReader(lines, delimiter='\t', quoting=csv.QUOTE_NONE):
        values = {str(name).strip(): (value or '').strip() for name, value in row.items() if name}
        if key not in values:
            there = ', '.join(values) or 'none'
            raise ValueError(
                f'{path} has no column {key}, which BIDS wants first: there is {there}'
            )
        if values[key] in MISSING:
            continue  # a line of nothing
        label = prefix + values.pop(key).removeprefix(prefix)
        if label in table:
            raise ValueError(f'{path} lists {label} twice')
        table[label] = {name: '' if value in MISSING else value for name, value in values.items()}
    return table


def read_sidecar_field(bids_dir: Path, scan: str, name: str) -> str:
    """Read a field of the sidecar beside a scan, such as ``ManufacturersModelName``.

    Parameters
    ----------
    bids_dir
        Root of the data set.
    scan
        Path of the scan relative to it; empty for none.
    name
        Name of the field.

    Returns
    -------
    value
        The field as text; empty where there is none.
    """
    if not scan:
        return ''
    path = bids_dir / scan
    sidecar = path.with_name(path.name.removesuffix('.gz').removesuffix('.nii') + '.json')
    try:
        value = read_object(sidecar).get(name, '')
    except (OSError, ValueError):
        return ''
    return ' '.join(str(value).split()) if isinstance(value, (str, int, float)) else ''


def list_columns(people: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Name the columns of participants.tsv, without the first."""
    return [*dict.fromkeys(name for row in people.values() for name in row)]
