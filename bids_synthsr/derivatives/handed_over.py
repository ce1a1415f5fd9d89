"""The T1w of all finished exams as a raw data set of their own, for programs that take no other.

fMRIPrep, MRIQC, FastSurfer and many more look for a T1w in a raw BIDS data set. Such a folder is
the program's own: it says so in its description, and nothing else is ever written to.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_synthsr.dataset.filenames import join_name
from bids_synthsr.dataset.files import read_object, write_json, write_text, written_atomically
from bids_synthsr.dataset.query import DESCRIPTION
from bids_synthsr.derivatives.ownership import (
    check_folders_within,
    find_folder_owner,
    lies_in,
)
from bids_synthsr.derivatives.places import Derivatives, sidecar_of
from bids_synthsr.derivatives.provenance import BIDS_VERSION, generator, link_to
from bids_synthsr.derivatives.records import Record, own_outputs, read_records
from bids_synthsr.derivatives.tables import read_table, table_text
from bids_synthsr.values.text import plain_text

PARTICIPANTS = 'participants.tsv'
MAKER = f'{generator()["Name"]} --as-dataset'  # as no other data set says
BY_MAKER = [{**generator(), 'Name': MAKER}]
README = """\
These T1w volumes were written by bids_synthsr, from the scans of another data set.

"rec-acquired" is a T1w as it was acquired, on a grid of 1 mm and even in intensity.
"rec-anyexam" and other names are T1w volumes that were computed from the scans of the exam.
The latter were not acquired: their sidecars say "Synthetic".
They show what is usual where no scan measured, and are not meant for diagnosis.
"""


@dataclass(frozen=True)
class HandedOver:
    """What was handed over.

    Parameters
    ----------
    exams
        Labels of the exams whose T1w are in the data set.
    left
        Labels of the finished exams that have no T1w.
    """

    exams: tuple[str, ...]
    left: tuple[str, ...]


def check_handover(folder: Path, output_dir: Path, bids_dir: Path) -> None:
    """Refuse a folder for the data set that is somebody's, or that holds input or output.

    Raises
    ------
    ValueError
        With the reason, and the way out.
    """
    for name, other in (('input data set', bids_dir), ('output folder', output_dir)):
        if lies_in(folder, other) or lies_in(other, folder):
            raise ValueError(
                f'--as-dataset {folder}: it and the {name} {other} would lie in each other: '
                'choose another folder'
            )
    if _names_maker(folder / DESCRIPTION):
        return
    owner = find_folder_owner(folder)
    if not owner and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        owner = f'{folder} is not empty, and this program has not made it'
    if owner:
        raise ValueError(f'--as-dataset: {owner}: choose another folder')


def _names_maker(path: Path) -> bool:
    """Whether a description or sidecar says that this option alone wrote it."""
    try:
        entries = read_object(path).get('GeneratedBy')
    except (OSError, ValueError):
        return False
    names = [x.get('Name') if isinstance(x, dict) else x for x in entries or ()]
    return names == [MAKER]


def hand_over(derivatives: Derivatives, bids_dir: Path, folder: Path) -> HandedOver:
    """Write the T1w of all finished exams as a raw data set; what is there is brought up to date.

    Volumes are hard links where the file system allows, and else copies.

    Parameters
    ----------
    derivatives
        Where the outputs lie.
    bids_dir
        The data set that they were made of.
    folder
        Root of the data set, see `check_handover`.
    """
    _describe(folder, derivatives, bids_dir)
    checked = {folder}
    records = [x for x in read_records(derivatives).values() if x.state == 'finished']
    given, left = {}, []
    for record in sorted(records, key=lambda record: record.exam):
        t1w = own_outputs(record).get('T1w')
        if t1w is None:
            left.append(record.exam)
            continue
        given[record.exam] = _give(derivatives, record, t1w, folder, checked)
    _remove_others(folder, set(given.values()))
    subjects = {exam.partition('_')[0] for exam in given}
    _write_participants(bids_dir / PARTICIPANTS, folder / PARTICIPANTS, subjects)
    return HandedOver(tuple(given), tuple(left))


def _remove_others(folder: Path, given: set[Path]) -> None:
    """Remove what was handed over before and is no longer: its sidecars say that it is ours."""
    sidecars = {sidecar_of(path) for path in given}
    for sidecar in folder.glob('sub-*/**/anat/*_rec-*_T1w.json'):
        if sidecar not in sidecars and _names_maker(sidecar):
            sidecar.with_suffix('.nii.gz').unlink(missing_ok=True)
            sidecar.unlink()


def _give(
    derivatives: Derivatives, record: Record, t1w: str, folder: Path, checked: set[Path]
) -> Path:
    """Link or copy the T1w of an exam, with a sidecar; return its path.

    Raises
    ------
    ValueError
        If its folder is a link, which may lead into the input.
    """
    place = derivatives.exam_of(record.exam)
    anat = folder / place.anat.relative_to(derivatives.root)
    check_folders_within((anat,), checked)
    label = ''.join(filter(str.isalnum, record.main)) or 'computed'
    path = anat / join_name({**place.entities, 'rec': label}, 'T1w', '.nii.gz')
    source = derivatives.root / t1w
    described = read_object(sidecar_of(source))
    with written_atomically(path) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, temporary)
    kept = ('Description', 'Synthetic', 'SkullStripped', 'Sources')
    write_json(sidecar_of(path), {
        'Modality': 'MR',
        **{key: described[key] for key in kept if key in described},
        'GeneratedBy': BY_MAKER,
    })  # fmt: skip
    return path


def _describe(folder: Path, derivatives: Derivatives, bids_dir: Path) -> None:
    """Describe the data set, in a form that `_names_maker` knows again."""
    raw = read_object(bids_dir / DESCRIPTION)
    name = plain_text(str(raw.get('Name') or bids_dir.name))
    content: dict[str, Any] = {
        'Name': f'T1w of 1 mm of {name}',
        'BIDSVersion': BIDS_VERSION,
        'DatasetType': 'raw',
        'GeneratedBy': BY_MAKER,
        'SourceDatasets': [{'URL': derivatives.root.resolve().as_uri()}],
        'DatasetLinks': {'raw': link_to(folder, bids_dir)},
    }
    write_json(folder / DESCRIPTION, content)
    write_text(folder / 'README', README)


def _write_participants(source: Path, path: Path, subjects: set[str]) -> None:
    """Copy the rows of the people who are in the data set."""
    try:
        rows = [row for row in read_table(source) if row.get('participant_id') in subjects]
    except (OSError, ValueError):
        rows = []
    listed = {row['participant_id'] for row in rows}
    columns = [*rows[0]] if rows else ['participant_id']
    rows += [
        {column: subject if column == 'participant_id' else 'n/a' for column in columns}
        for subject in sorted(subjects - listed)
    ]
    if rows:
        write_text(path, table_text(rows))
