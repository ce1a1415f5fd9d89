"""Finding the exams of a BIDS data set.

pybids finds the files; only folders that can hold anatomical scans are indexed. Names are taken
apart and sidecars inherited here: pybids looks for entities in the whole path, so that a data set
below ``/data/sub-99/`` confuses it, and a single broken sidecar stops its index of metadata.
What pybids does not take is not passed over: `survey` sees every image, and an exam keeps those
that cannot be used, each with the reason.
"""

from __future__ import annotations

import difflib
import json
import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bids_synthsr.dataset.errors import DatasetError
from bids_synthsr.dataset.filenames import (
    IMAGES,
    NOT_USED,
    OTHER_SUFFIXES,
    name_fault,
    plain_label,
    plain_name,
    plain_path,
    split_name,
    without_prefix,
)
from bids_synthsr.dataset.files import read_json, read_text
from bids_synthsr.dataset.filters import Filters, check_filters, is_wanted
from bids_synthsr.dataset.ignoring import IGNORED, IgnoreList
from bids_synthsr.dataset.indexes import is_index_ours, made_at, mark_index
from bids_synthsr.dataset.scans import read_scan
from bids_synthsr.dataset.sidecars import Sidecars
from bids_synthsr.dataset.survey import Sighting, find_strays, is_folder, survey
from bids_synthsr.values.exam import SUFFIXES, Exam, Scan
from bids_synthsr.values.text import NOTE, plain_text, plain_value

LOGGER = logging.getLogger(__name__)
DESCRIPTION, PARTICIPANTS = 'dataset_description.json', 'participants.tsv'
NO_FOLDER = f'no folder, although {PARTICIPANTS} names it'
MAX_LABELS = 10  # labels in a message
# bytes that are no text, and control characters: pybids cannot store such names
ODD_LETTERS = re.compile(r'[\udc80-\udcff\x00-\x1f\x7f]')
NO_CONFIG = f'{DESCRIPTION}/none'  # pybids would obey files of the data set that configure it
OUTSIDE_INDEX = 'pybids does not list it; with --bids-database-dir, have the index made anew.'
NO_PARTICIPANT = (
    '%s is, or holds, an image, and is not named sub-<label>: it is not taken. Rename it, or move '
    'it to sourcedata'
)
OLD_INDEX = 'The pybids index in %s is older than the data set, %s'
MADE_ANEW = 'and is made anew'
OF_OTHERS = (
    'and was not made by this program: what it does not list is left out. Choose another folder, '
    'or have it replaced by --bids-database-wipe'
)
LEFT_OUT_BY_NAME = 'It was left out because of its name.'

Key = tuple[str, str]  # participant and session, which is empty where there are none
Kind = Literal['scan', 'other contrast', 'ignored', 'misnamed', 'closed folder']
NOT_TAKEN = ('other contrast', 'ignored')  # kinds of which an exam may consist without a fault


@dataclass(frozen=True)
class Candidate:
    """What may be a scan of an exam.

    Parameters
    ----------
    path
        Path of the image, or of a folder that may not be entered.
    kind
        What it is, as far as its name and its folder tell.
    problem
        Why it cannot be used, a sentence; empty if it may be.
    """

    path: Path
    kind: Kind = 'scan'
    problem: str = ''


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
        As `filters` describes them. A scan that they exclude stays in its exam as not usable.
    database_dir
        Folder of a pybids index to use; made there, of all participants, where there is none.

    Returns
    -------
    exams
        Those with scans, and for each participant without any an exam with ``absence``.

    Raises
    ------
    DatasetError
        If the folder is no BIDS data set, or holds nothing as asked.
    """
    filters = {} if filters is None else filters
    check_filters(filters)
    root = check_root(bids_dir)
    names = _list_participants(root)
    asked = without_prefix(participant_labels, 'sub')
    wanted = _choose_participants(root, names, asked)
    takes_all = database_dir is not None or wanted == names
    sightings = {name: [*survey(root / name)] for name in (names if takes_all else wanted)}
    files = _list_files(root, [] if takes_all else wanted, sightings, database_dir)
    exams = _group(root, {name: sightings[name] for name in wanted}, files)
    for stray in () if asked else find_strays(root):
        LOGGER.log(NOTE, NO_PARTICIPANT, plain_name(stray))
    if not exams and not asked:
        raise DatasetError(_nothing_in(root, wanted))
    present = {plain_label(name[4:]) for name in wanted if name.startswith('sub-')}
    absences = _absences(present, exams, f'no anatomical scan ({", ".join(SUFFIXES)})')
    if not asked:
        absences |= _absences(_list_registered(root) - present, (), NO_FOLDER)
    sessions = without_prefix(session_labels, 'ses')
    chosen = _of_sessions(exams, sessions)
    absences |= _absences(_subjects(exams), chosen, f'no session {_shorten(sessions)}')
    matching = _matching(chosen, filters)
    absences |= _absences(_subjects(chosen), matching, 'no scan that --bids-filter-file wants')
    return _read_exams(matching, absences, Sidecars(root, files), filters)


def check_root(bids_dir: Path) -> Path:
    """Resolve the root of a data set; raise with the reason if it is none."""
    root = bids_dir.resolve()
    file = root / DESCRIPTION
    if ODD_LETTERS.search(str(root)):
        raise DatasetError(
            f'{plain_name(str(root))} has a name that is no text: rename the folder'
        )
    if not root.is_dir():
        raise DatasetError(f'{bids_dir} is not a folder: give the root of a BIDS data set')
    if not file.is_file():
        raise DatasetError(
            f'{bids_dir} is not a BIDS data set: it has no {DESCRIPTION}{_hint(root)}'
        )
    try:
        description = read_json(file)
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


def _list_participants(root: Path) -> list[str]:
    """List the folders of participants, those included that are almost named like one."""
    with os.scandir(root) as scan:
        entries = [entry for entry in scan if entry.name.lower().startswith('sub')]
    return sorted(entry.name for entry in entries if is_folder(entry))


def _list_registered(root: Path) -> set[str]:
    """List the labels of the first column of participants.tsv; none where it cannot be read."""
    try:
        _, *lines = read_text(root / PARTICIPANTS).splitlines()
    except (OSError, ValueError):
        return set()
    names = {line.partition('\t')[0].strip() for line in lines}
    return {plain_label(name.removeprefix('sub-')) for name in names if name not in ('', 'n/a')}


def _choose_participants(root: Path, names: Sequence[str], asked: Sequence[str]) -> list[str]:
    """Check the participants that are asked for; none asked for takes all."""
    present = [name[4:] for name in names if name.startswith('sub-')]
    if not present:
        raise DatasetError(f'{root} has no participants: no folder in it is named sub-<label>')
    _check_present('Participant', asked, present)
    return sorted({f'sub-{label}' for label in asked}) or [*names]


def _check_present(
    kind: str, labels: Sequence[str], present: Sequence[str], where: str = 'in the data set'
) -> None:
    """Refuse labels that are not there, a line for each, with those that come near."""
    faults = []
    for label in sorted(set(labels) - set(present)):
        padded = [other for other in present if other.lstrip('0') == label.lstrip('0')]
        near = padded or difflib.get_close_matches(label, present)
        hint = f'did you mean {" or ".join(near)}?' if near else f'there are {_shorten(present)}'
        faults.append(f'{kind} "{label}" is not {where}: {hint}')
    if faults:
        raise DatasetError('\n'.join(faults))


def _shorten(labels: Sequence[str]) -> str:
    """List labels, and only the first of many."""
    more = f' and {len(labels) - MAX_LABELS} more' if len(labels) > MAX_LABELS else ''
    return ', '.join(labels[:MAX_LABELS]) + more


def _list_files(
    root: Path,
    wanted: Sequence[str],
    sightings: Mapping[str, Sequence[Sighting]],
    database_dir: Path | None,
) -> list[Path]:
    """List images and sidecars of participants (none: of all); our old index is made anew."""
    closed = [x.path for seen in sightings.values() for x in seen if x.is_closed]
    elsewhere = _elsewhere(wanted)
    files = _index(root, elsewhere, closed, database_dir)
    if database_dir is None or not _is_stale(database_dir, files, sightings):
        return files
    is_ours = is_index_ours(database_dir)
    LOGGER.log(NOTE, OLD_INDEX, database_dir, MADE_ANEW if is_ours else OF_OTHERS)
    return _index(root, elsewhere, closed, database_dir, is_stale=True) if is_ours else files


def _is_stale(
    database_dir: Path, files: Sequence[Path], sightings: Mapping[str, Sequence[Sighting]]
) -> bool:
    """Whether images came or went since a pybids index was made, or folders of them changed."""
    seen = [x for found in sightings.values() for x in found if not (x.is_closed or x.fault)]
    present = {
        x.path for x in seen if _candidate_of(x, x.path.parent, is_listed=True).kind == 'scan'
    }
    if present != {path for path in files if _is_image(path)}:
        return True
    made = made_at(database_dir)
    return any(folder.stat().st_ctime > made for folder in {x.path.parent for x in seen})


def _index(
    root: Path,
    elsewhere: str,
    closed: Sequence[Path],
    database_dir: Path | None,
    is_stale: bool = False,
) -> list[Path]:
    """List the images and sidecars of anatomical scans with pybids."""
    from bids import BIDSLayout, BIDSLayoutIndexer  # half a second, which --help need not wait for

    barred = '|'.join(re.escape(f'/{folder.relative_to(root).as_posix()}') for folder in closed)
    # one pattern for all: each costs a tenth of the time that pybids takes
    patterns = [elsewhere, ODD_LETTERS.pattern, *([rf'^(?:{barred})(?:/|$)'] if closed else [])]
    ignore = [re.compile('|'.join(patterns))]
    is_new = database_dir is not None and not made_at(database_dir)
    indexer = BIDSLayoutIndexer(
        validate=False, index_metadata=False, ignore=ignore, config_filename=NO_CONFIG
    )
    try:
        layout = BIDSLayout(
            root,
            validate=False,
            indexer=indexer,
            database_path=database_dir,
            reset_database=is_stale,
        )
    except Exception as error:  # of SQLAlchemy, pickle and others: what a broken index gives
        if database_dir is None:
            raise DatasetError(f'pybids cannot list {root}: {plain_text(str(error))}') from error
        raise DatasetError(
            f'The pybids index in {database_dir} cannot be used ({type(error).__name__}): '
            'delete it, or give another folder'
        ) from error
    if Path(layout.root).resolve() != root:
        raise DatasetError(
            f'The pybids index in {database_dir} is of {layout.root}: delete it, or give another '
            'folder'
        )
    if is_new and database_dir is not None:
        mark_index(database_dir)
    extension = [*IMAGES, '.json']
    files = layout.get(suffix=list(SUFFIXES), extension=extension, return_type='filename')
    return [Path(file) for file in files]


def _elsewhere(participants: Sequence[str]) -> str:
    """Write a pattern of paths that lead to no anatomical scan and none of its sidecars.

    Paths begin at the root. No participants stand for all: a pattern of thousands of labels is
    slow.
    """
    folders = '|'.join(map(re.escape, participants)) or 'sub-[^/]+'
    file = r'/[^/]+\.(?:nii|nii\.gz|json)'
    return rf'^(?!{file}$|/(?:{folders})(?:/ses-[^/]+)?(?:/anat)?(?:{file})?$)'


def _group(
    root: Path, sightings: Mapping[str, Sequence[Sighting]], files: Iterable[Path]
) -> dict[Key, list[Candidate]]:
    """Group what may be a scan by exam."""
    exams: dict[Key, list[Candidate]] = defaultdict(list)
    ignored = IgnoreList(root)
    sighted = {str(x.path): x for seen in sightings.values() for x in seen}
    for path in filter(_is_image, files):
        name, session, *_ = (*path.relative_to(root).parts, '')
        if name in sightings:
            label = session.removeprefix('ses-') if session.startswith('ses-') else None
            sighting = sighted.pop(str(path), None) or Sighting(path)  # of an old index
            candidate = _candidate_of(sighting, root, is_listed=True)
            exams[_key_of(name, label)].append(_unless_ignored(candidate, path, ignored))
    for sighting in sighted.values():
        name = sighting.path.relative_to(root).parts[0]
        key = _key_of(name, sighting.session)
        candidate = _candidate_of(sighting, root, is_listed=False)
        exams[key].append(_unless_ignored(candidate, sighting.path, ignored))
    return exams


def _unless_ignored(candidate: Candidate, path: Path, ignored: IgnoreList) -> Candidate:
    """Leave out what the data set itself rules out, whatever else is wrong with it."""
    pattern = ignored.find_pattern(path)
    if not pattern:
        return candidate
    problem = f'The data set rules it out ("{plain_text(pattern)}" in {IGNORED}).'
    return Candidate(candidate.path, 'ignored', problem)


def _is_image(path: Path) -> bool:
    """Whether a file is an image of a folder of anatomical scans."""
    return path.parent.name == 'anat' and path.name.endswith(IMAGES)


def _key_of(folder: str, session: str | None) -> Key:
    """Name an exam by its participant's folder and its session."""
    subject = plain_label(folder.removeprefix('sub-'))
    return subject, '' if session is None else plain_label(session)


def _candidate_of(sighting: Sighting, root: Path, is_listed: bool) -> Candidate:
    """Judge an image by its name and where it lies."""
    path = sighting.path
    if sighting.is_closed:
        shown = plain_path(path, root)
        problem = f'Folder {shown} cannot be entered: check its permissions.'
        return Candidate(shown, 'closed folder', problem)
    fault = sighting.fault or name_fault(path.name)
    if fault:
        return Candidate(plain_path(path, root), 'misnamed', fault)
    suffix = split_name(path.name)[1]
    if suffix in OTHER_SUFFIXES:
        problem = f'{suffix} {NOT_USED}; there are {", ".join(SUFFIXES)}.'
        return Candidate(path, 'other contrast', problem)
    return Candidate(path) if is_listed else Candidate(path, 'misnamed', OUTSIDE_INDEX)


def _nothing_in(root: Path, folders: Sequence[str]) -> str:
    """Describe that there is nothing to do."""
    labels = [plain_name(folder.removeprefix('sub-')) for folder in folders]
    return (
        f'{root} has no anatomical scan ({", ".join(SUFFIXES)}) in sub-*/[ses-*/]anat of '
        f'participants {_shorten(labels)}'
    )


def _subjects(exams: Iterable[Key]) -> set[str]:
    """List the participants of exams."""
    return {subject for subject, _ in exams}


def _absences(subjects: set[str], exams: Iterable[Key], lack: str) -> dict[Key, str]:
    """Describe what participants lack that have none of these exams."""
    return {(label, ''): f'sub-{label} has {lack}.' for label in subjects - _subjects(exams)}


def _of_sessions(
    exams: dict[Key, list[Candidate]], labels: Sequence[str]
) -> dict[Key, list[Candidate]]:
    """Keep the exams of the sessions that are asked for; none asked for takes all."""
    if not labels or not exams:
        return exams
    present = sorted({session for _, session in exams if session})
    if not present:
        raise DatasetError(f'Session "{labels[0]}" was asked for, but there are no sessions')
    _check_present('Session', labels, present, 'among those of these participants')
    return {key: candidates for key, candidates in exams.items() if key[1] in labels}


def _matching(exams: dict[Key, list[Candidate]], filters: Filters) -> dict[Key, list[Candidate]]:
    """Drop the exams of which filters exclude every scan."""
    remaining = {key: images for key, images in exams.items() if _passes(images, filters)}
    if remaining or not exams:
        return remaining
    paths = [image.path for images in exams.values() for image in images if not image.problem]
    shown = json.dumps(plain_value(filters), default=str)
    raise DatasetError(f'No scan matches the filters {shown}; there are {_inventory(paths)}')


def _passes(candidates: Sequence[Candidate], filters: Filters) -> bool:
    """Whether filters want a scan of an exam; what has no name of BIDS is not theirs to judge."""
    judged = [split_name(image.path.name) for image in candidates if image.kind == 'scan']
    if not judged or any(image.kind == 'closed folder' for image in candidates):
        return True
    return any(is_wanted(filters, suffix, entities) for entities, suffix, _ in judged)


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


def _read_exams(
    exams: Mapping[Key, Sequence[Candidate]],
    absences: Mapping[Key, str],
    sidecars: Sidecars,
    filters: Filters,
) -> list[Exam]:
    """Judge all candidates; an exam of other contrasts alone has nothing to process either."""
    read = []
    for key in sorted({*exams, *absences}):
        candidates = exams.get(key, ())
        absence = absences.get(key, '')
        if candidates and all(image.kind in NOT_TAKEN for image in candidates):
            absence = ' '.join(f'{image.path.name}: {image.problem}' for image in candidates)
        scans = tuple(_judge_candidate(image, sidecars, filters) for image in candidates)
        read.append(Exam(key[0], key[1] or None, scans, absence))
    return read


def _judge_candidate(candidate: Candidate, sidecars: Sidecars, filters: Filters) -> Scan:
    """Judge a candidate by everything but its voxels; whatever happens concerns it alone."""
    path = candidate.path
    if candidate.kind in ('misnamed', 'ignored'):
        notes = (LEFT_OUT_BY_NAME,) if candidate.kind == 'misnamed' else ()
        return Scan(path, '', problems=(candidate.problem,), warnings=notes)
    if candidate.kind == 'closed folder':
        return Scan(path, 'anat', problems=(candidate.problem,))
    entities, suffix, _ = split_name(path.name)
    if candidate.problem:
        return Scan(path, suffix, entities, problems=(candidate.problem,))
    try:
        return _read(path, suffix, entities, sidecars, filters)
    except Exception as error:
        LOGGER.debug('%s', path, exc_info=True)
        problem = f'It cannot be judged ({type(error).__name__}: {plain_text(str(error))}).'
        return Scan(path, suffix, entities, problems=(problem,))


def _read(
    path: Path,
    suffix: str,
    entities: Mapping[str, str],
    sidecars: Sidecars,
    filters: Filters,
) -> Scan:
    """Judge a scan that has a name of BIDS."""
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
