"""Finding the exams of a BIDS data set.

pybids finds the files; only folders that can hold anatomical scans are indexed. Names are taken
apart and sidecars inherited here: pybids looks for entities in the whole path, so that a data set
below ``/data/sub-99/`` confuses it, and a single broken sidecar stops its index of metadata.
"""

from __future__ import annotations

import difflib
import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from bids_synthsr.dataset.errors import DatasetError
from bids_synthsr.dataset.filenames import IMAGES, split_name, without_prefix
from bids_synthsr.dataset.filters import Filters, check_filters, is_wanted
from bids_synthsr.dataset.scans import read_scan
from bids_synthsr.dataset.sidecars import Sidecars
from bids_synthsr.values.exam import SUFFIXES, Exam, Scan

LOGGER = logging.getLogger(__name__)
DESCRIPTION = 'dataset_description.json'
MAX_LABELS = 10  # labels in a message

Key = tuple[str, str]  # participant and session, which is empty where there are none


def find_exams(
    bids_dir: Path,
    *,
    participant_labels: Sequence[str] = (),
    session_labels: Sequence[str] = (),
    filters: Filters | None = None,
    database_dir: Path | None = None,
) -> list[Exam]:
    """Find every exam of a data set, its scans judged by their headers.

    Parameters
    ----------
    bids_dir
        Root of the data set.
    participant_labels, session_labels
        With or without prefixes; empty takes all.
    filters
        As `filters` describes them. A scan that they exclude stays in its exam as not usable;
        where they exclude all scans, there is no exam.
    database_dir
        Folder of a pybids index to use; made there, of all participants, where there is none.

    Raises
    ------
    DatasetError
        If the folder is no BIDS data set, or holds nothing as asked.
    """
    filters = {} if filters is None else filters
    check_filters(filters)
    root = check_root(bids_dir)
    present = sorted(path.name[4:] for path in root.glob('sub-*') if path.is_dir())
    participants = _choose_participants(root, present, without_prefix(participant_labels, 'sub'))
    takes_all = database_dir is not None or participants == present
    closed = _closed_folders(root, present if takes_all else participants)
    files = _index(root, _elsewhere([] if takes_all else participants), closed, database_dir)
    exams = _group(root, participants, [*filter(_is_image, files), *closed])
    exams = _of_sessions(exams, without_prefix(session_labels, 'ses'))
    exams = _matching(exams, filters)
    sidecars = Sidecars(root, files)
    return [
        Exam(subject, session or None, tuple(_read(p, sidecars, filters) for p in paths))
        for (subject, session), paths in sorted(exams.items())
    ]


def check_root(bids_dir: Path) -> Path:
    """Resolve the root of a data set; raise with the reason if it is none."""
    root = bids_dir.resolve()
    file = root / DESCRIPTION
    if not root.is_dir():
        raise DatasetError(f'{bids_dir} is not a folder: give the root of a BIDS data set')
    if not file.is_file():
        raise DatasetError(
            f'{bids_dir} is not a BIDS data set: it has no {DESCRIPTION}{_hint(root)}'
        )
    try:
        description = json.loads(file.read_text(encoding='utf-8-sig'))
    except (OSError, ValueError) as error:
        raise DatasetError(f'{file} cannot be read as JSON: {error}') from error
    if not isinstance(description, dict):
        raise DatasetError(f'{file} must hold a JSON object with Name and BIDSVersion')
    return root


def _hint(root: Path) -> str:
    """Name the folder that is probably the root, else describe what to write."""
    for folder in (root.parent, *sorted(root.glob('*/'))):
        if (folder / DESCRIPTION).is_file():
            return f'; did you mean {folder}?'
    return ' (the least that it must hold: {"Name": "...", "BIDSVersion": "1.9.0"})'


def _choose_participants(root: Path, present: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Check the participants that are asked for; none asked for takes all."""
    if not present:
        raise DatasetError(f'{root} has no participants: no folder in it is named sub-<label>')
    _check_present('Participant', labels, present)
    return sorted(set(labels) or present)


def _check_present(kind: str, labels: Sequence[str], present: Sequence[str]) -> None:
    """Refuse labels that are not there, a line for each, with those that come near."""
    faults = []
    for label in sorted(set(labels) - set(present)):
        padded = [other for other in present if other.lstrip('0') == label.lstrip('0')]
        near = padded or difflib.get_close_matches(label, present)
        hint = f'did you mean {" or ".join(near)}?' if near else f'it has {_shorten(present)}'
        faults.append(f'{kind} "{label}" is not in the data set: {hint}')
    if faults:
        raise DatasetError('\n'.join(faults))


def _shorten(labels: Sequence[str]) -> str:
    """List labels, and only the first of many."""
    more = f' and {len(labels) - MAX_LABELS} more' if len(labels) > MAX_LABELS else ''
    return ', '.join(labels[:MAX_LABELS]) + more


def _closed_folders(root: Path, participants: Iterable[str]) -> list[Path]:
    """List the folders of participants that may not be entered: a single one stops pybids."""
    closed = []
    for label in participants:
        folders = [root / f'sub-{label}']
        for folder in folders:
            if not _is_open(folder):
                closed.append(folder)
            elif folder.name != 'anat':
                inner = [*folder.glob('ses-*'), *folder.glob('anat')]
                folders.extend(path for path in inner if path.is_dir())
    return closed


def _is_open(folder: Path) -> bool:
    """Whether a folder may be listed, and what is in it be reached."""
    try:
        next(folder.iterdir(), folder).lstat()
    except OSError:
        return False
    return True


def _index(
    root: Path, elsewhere: re.Pattern[str], closed: Sequence[Path], database_dir: Path | None
) -> list[Path]:
    """List the images and sidecars of anatomical scans with pybids."""
    from bids import BIDSLayout, BIDSLayoutIndexer  # half a second, which --help need not wait for

    barred = '|'.join(re.escape(f'/{folder.relative_to(root).as_posix()}') for folder in closed)
    ignore = [elsewhere, *([re.compile(rf'^(?:{barred})(?:/|$)')] if closed else [])]
    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False, ignore=ignore)
    try:
        layout = BIDSLayout(root, validate=False, indexer=indexer, database_path=database_dir)
    except Exception as error:  # of SQLAlchemy, pickle and others: what a broken index gives
        if database_dir is None:
            raise
        raise DatasetError(
            f'The pybids index in {database_dir} cannot be used ({type(error).__name__}): '
            'delete it, or give another folder'
        ) from error
    if Path(layout.root).resolve() != root:
        raise DatasetError(
            f'The pybids index in {database_dir} is of {layout.root}: delete it, or give another '
            'folder'
        )
    extension = [*IMAGES, '.json']
    files = layout.get(suffix=list(SUFFIXES), extension=extension, return_type='filename')
    return [Path(file) for file in files]


def _elsewhere(participants: Sequence[str]) -> re.Pattern[str]:
    """Match the paths below the root that lead to no anatomical scan and none of its sidecars.

    No participants stand for all: a pattern of thousands of labels is slow.
    """
    labels = '|'.join(map(re.escape, participants)) or '[^/]+'
    file = r'/[^/]+\.(?:nii|nii\.gz|json)'
    return re.compile(rf'^(?!{file}$|/sub-(?:{labels})(?:/ses-[^/]+)?(?:/anat)?(?:{file})?$)')


def _is_image(path: Path) -> bool:
    """Whether a file is an image of a folder of anatomical scans."""
    return path.parent.name == 'anat' and path.name.endswith(IMAGES)


def _group(
    root: Path, participants: Sequence[str], paths: Iterable[Path]
) -> dict[Key, list[Path]]:
    """Group images and closed folders by exam, those of the participants only."""
    exams: dict[Key, list[Path]] = defaultdict(list)
    for path in paths:
        subject, session, *_ = (*path.relative_to(root).parts, '')
        label = session[4:] if session.startswith('ses-') else ''
        if subject[4:] in participants:
            exams[subject[4:], label].append(path)
    for label in sorted(set(participants) - {subject for subject, _ in exams}):
        LOGGER.warning('sub-%s has no anatomical scan (%s)', label, ', '.join(SUFFIXES))
    if not exams:
        raise DatasetError(
            f'{root} has no anatomical scan ({", ".join(SUFFIXES)}) in sub-*/[ses-*/]anat of '
            f'participants {_shorten(participants)}'
        )
    return exams


def _of_sessions(exams: dict[Key, list[Path]], labels: Sequence[str]) -> dict[Key, list[Path]]:
    """Keep the exams of the sessions that are asked for; none asked for takes all."""
    if not labels:
        return exams
    present = sorted({session for _, session in exams if session})
    if not present:
        raise DatasetError(f'Session "{labels[0]}" was asked for, but there are no sessions')
    _check_present('Session', labels, present)
    return {key: paths for key, paths in exams.items() if key[1] in labels}


def _matching(exams: dict[Key, list[Path]], filters: Filters) -> dict[Key, list[Path]]:
    """Drop the exams of which filters exclude every scan."""
    remaining = {
        key: paths for key, paths in exams.items() if any(_passes(path, filters) for path in paths)
    }
    if remaining:
        return remaining
    paths = [path for images in exams.values() for path in images]
    raise DatasetError(
        f'No scan matches the filters {json.dumps(filters)}; there are {_inventory(paths)}'
    )


def _passes(path: Path, filters: Filters) -> bool:
    """Whether filters want an image; a closed folder is not theirs to judge."""
    entities, suffix, _ = split_name(path.name)
    return suffix not in SUFFIXES or is_wanted(filters, suffix, entities)


def _inventory(images: Iterable[Path]) -> str:
    """Describe which scans there are: ``FLAIR (ses 1), T1w (ses 1, 2; acq ax, sag)``."""
    values: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for image in images:
        entities, suffix, _ = split_name(image.name)
        for key in entities:
            values[suffix][key].add(entities[key])
    return ', '.join(
        f'{suffix} ({"; ".join(f"{key} {_shorten(sorted(values[suffix][key]))}" for key in keys)})'
        for suffix, keys in sorted(values.items())
    )


def _read(path: Path, sidecars: Sidecars, filters: Filters) -> Scan:
    """Judge a candidate by everything but its voxels."""
    entities, suffix, _ = split_name(path.name)
    if suffix not in SUFFIXES:
        problem = f'Folder {path} cannot be entered: check its permissions.'
        return Scan(path, 'anat', problems=(problem,))
    if not is_wanted(filters, suffix, entities):
        return Scan(path, suffix, entities, problems=('Excluded by --bids-filter-file.',))
    metadata, faults = sidecars.inherited(path)
    scan = read_scan(path, suffix, entities, metadata)
    misplaced = [
        f'Its name says {key}-{entities[key]}, but it lies in another folder: move or rename it.'
        for key in ('sub', 'ses')
        if key in entities and f'{key}-{entities[key]}' not in path.parts
    ]
    return replace(
        scan,
        problems=(*misplaced, *scan.problems),
        warnings=(*faults, *scan.warnings),
    )
