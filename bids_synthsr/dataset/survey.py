"""Every image in the folders of participants, whatever its name, so that none is passed over.

One look at each folder gives all: which images there are, what is wrong with where they lie, and
which folders may not be entered. No file is opened.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bids_synthsr.dataset.filenames import label_fault, plain_name

IMAGE_LIKE = re.compile(
    r'\.(nii|img|mgh|mgz|mnc|nrrd|nhdr|mha|mhd|dcm|ima|rec)(\.(gz|bz2|xz|zst|zip))?$', re.I
)
# what lies beside images of anat: all else there is told to be no scan, whatever it is
NO_IMAGE = re.compile(
    r'\.(json|tsv|tsv\.gz|csv|txt|md|rst|log|html?|pdf|png|jpe?g|svg|bval|bvec|xfm|lta|xml|py|sh|m'
    r'|swp|lock)$|~$|^(README|CHANGES|LICENSE)$',
    re.I,
)
ANAT, SESSION = 'anat', 'ses-'
# folders of other data types of BIDS
ELSEWHERE = {
    'beh', 'dwi', 'eeg', 'emg', 'figures', 'fmap', 'func', 'ieeg', 'meg', 'micr', 'motion', 'mrs',
    'nirs', 'perf', 'pet',
}  # fmt: skip
# folders of a data set in which no participants are
NOT_PARTICIPANTS = {'code', 'derivatives', 'logs', 'phenotype', 'sourcedata', 'stimuli'}
DEEPEST = 3  # folders below one of the root: participant, session, anat


@dataclass(frozen=True)
class Sighting:
    """An image in the folders of a participant, or a folder that may not be entered.

    Parameters
    ----------
    path
        Path of the image or folder.
    session
        Label of the session; None where it lies in none.
    fault
        What is wrong with where it lies, a sentence; empty if nothing is.
    is_closed
        Whether it is a folder that may not be entered.
    """

    path: Path
    session: str | None = None
    fault: str = ''
    is_closed: bool = False


def survey(participant: Path) -> Iterator[Sighting]:
    """List the images of a participant, in the order of their names, and closed folders."""
    yield from _survey_level(participant, None, label_fault('sub-', participant.name))


def _survey_level(
    folder: Path, session: str | None, fault: str, depth: int = DEEPEST
) -> Iterator[Sighting]:
    """Look through the folder of a participant or session, or one in it that BIDS knows not."""
    try:
        images, folders = _list_folder(folder)
    except OSError:
        yield Sighting(folder, session, is_closed=True)
        return
    if folder.name.startswith(('sub-', SESSION)):  # others may hold anything
        outside = fault or 'It lies outside of a folder anat: move it there.'
        yield from (Sighting(image, session, outside) for image in images)
    for inner in folders:
        name = inner.name
        if name.lower() == ANAT:
            called = '' if name == ANAT else f'Its folder {name} must be called anat: rename it.'
            yield from _survey_images(inner, session, fault or called)
        elif session is None and name not in ELSEWHERE:
            label = name.removeprefix(SESSION)
            yield from _survey_level(inner, label, fault or label_fault(SESSION, name))
        elif name not in ELSEWHERE and depth:
            astray = f'Its folder anat lies in {plain_name(name)}: move it out.'
            yield from _survey_level(inner, session, fault or astray, depth - 1)


def _survey_images(
    folder: Path, session: str | None, fault: str, is_inner: bool = False
) -> Iterator[Sighting]:
    """Look through a folder of anatomical images, and one level of folders in it."""
    try:
        images, folders = _list_folder(folder, is_anat=True)
    except OSError:
        yield Sighting(folder, session, is_closed=True)
        return
    yield from (Sighting(image, session, fault) for image in images)
    for inner in () if is_inner else folders:
        deep = f'It lies in a folder inside of {folder.name}: move it out.'
        yield from _survey_images(inner, session, fault or deep, is_inner=True)


def find_strays(root: Path) -> Iterator[str]:
    """Name the folders and images of a data set that no participant is looked for in.

    Folders that BIDS knows, hidden ones, and data sets of their own are none.
    """
    images, folders = _list_folder(root)
    yield from (image.name for image in images)
    for folder in folders:
        is_known = folder.name.lower().startswith('sub') or folder.name in NOT_PARTICIPANTS
        is_data_set = (folder / 'dataset_description.json').exists()
        if not (is_known or is_data_set) and _holds_image(folder, DEEPEST):
            yield folder.name


def _holds_image(folder: Path, depth: int) -> bool:
    """Whether an image lies in a folder, or some folders deeper."""
    try:
        images, folders = _list_folder(folder)
    except OSError:
        return False
    return bool(images) or (depth > 0 and any(_holds_image(x, depth - 1) for x in folders))


def _list_folder(folder: Path, is_anat: bool = False) -> tuple[list[Path], list[Path]]:
    """List images and folders, hidden ones left out; of anat, every file that may be an image.

    Raises
    ------
    OSError
        If the folder may not be listed, or what is in it not be reached.
    """
    with os.scandir(folder) as scan:
        entries = sorted(scan, key=lambda entry: entry.name)
    if entries:
        entries[0].stat(follow_symlinks=False)
    images, folders = [], []
    for entry in entries:
        if entry.name.startswith('.'):
            continue
        if IMAGE_LIKE.search(entry.name):
            images.append(folder / entry.name)
        elif is_folder(entry):
            folders.append(folder / entry.name)
        elif is_anat and not NO_IMAGE.search(entry.name):
            images.append(folder / entry.name)
    return images, folders


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; links that lead round in circles are none."""
    if entry.is_symlink():
        return Path(entry.path).is_dir()
    return entry.is_dir()
