"""Files of the heads of an evaluation: T1w images, label maps, and the groups of people."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

from bids_synthsr.dataset.filenames import plain_name
from bids_synthsr.dataset.guessing import stem_of

T1W = re.compile(
    r'(?:sub-(?P<subject>[A-Za-z0-9]+)_)?(?:ses-(?P<session>[A-Za-z0-9]+)_)?.*T1w\.(nii(\.gz)?|mg[hz])$'
)
IMAGE = re.compile(r'\.(nii(\.gz)?|mg[hz])$')
SHOWN = 10  # names in a message
MAP_SUFFIXES = ('dseg', 'seg', 'aseg', 'labels')  # of the names of label maps


@dataclass(frozen=True)
class HeadFiles:
    """The files of one head, and whose it is.

    Parameters
    ----------
    name
        Name in results: letters, digits and underscores.
    subject, session
        Labels without their prefixes; ``session`` may be empty.
    image
        File of the T1w of 1 mm; None paints one from the labels.
    labels
        File of the label map; None where there is none.
    group
        Group of the person, such as ``patient``; empty where there are no groups.
    """

    name: str
    subject: str
    session: str = ''
    image: Path | None = None
    labels: Path | None = None
    group: str = ''

    @property
    def seed(self) -> int:
        """Seed of what is drawn for this head, by its name."""
        return crc32(self.name.encode())

    @property
    def is_painted(self) -> bool:
        """Whether its T1w, too, is painted from its labels."""
        return bool(self.labels) and not self.image


def list_heads(
    images: Path, maps: Path | None, participant_labels: Sequence[str]
) -> tuple[HeadFiles, ...]:
    """List the heads of an evaluation: T1w images, or label maps with the T1w of the same name.

    Parameters
    ----------
    images
        Folder, or BIDS data set, of T1w images.
    maps
        Folder of label maps; None takes the T1w images alone.
    participant_labels
        Labels of the people to take, with or without ``sub-``; none takes all.
    """
    if maps is None:
        heads = find_heads(images, participant_labels)
    else:
        heads = find_maps(maps, images, participant_labels)
    groups = read_groups(images / 'participants.tsv')
    return tuple(replace(head, group=groups.get(head.subject, '')) for head in heads.values())


def read_groups(path: Path) -> Mapping[str, str]:
    """Read the column ``group`` of a participants.tsv; empty where there is none."""
    if not path.is_file():
        return {}
    with path.open(encoding='utf-8-sig', newline='') as file:
        rows = [*csv.DictReader(file, delimiter='\t')]
    return {row['participant_id'].removeprefix('sub-'): row.get('group') or '' for row in rows}


def find_maps(folder: Path, images: Path, labels: Sequence[str]) -> dict[str, HeadFiles]:
    """Find label maps, and for each the T1w whose name begins like its own up to the last ``_``.

    Parameters
    ----------
    folder, images
        Where the label maps and the T1w images lie.
    labels
        Labels of the people to take, with or without ``sub-``; none takes all.

    Raises
    ------
    FileNotFoundError
        If there are none.
    ValueError
        If two have the same name, or several T1w images could be that of one.
    """
    t1w = _images_by_stem(images)
    subjects = {label.removeprefix('sub-') for label in labels}
    heads: dict[str, HeadFiles] = {}
    for path in sorted(path for path in folder.rglob('*.*') if IMAGE.search(path.name)):
        stem = stem_of(path.name)
        first, _, last = stem.rpartition('_')
        subject = first if last in MAP_SUFFIXES or f'{first}_T1w' in t1w else stem
        label = subject.removeprefix('sub-')
        if stem.endswith('T1w') or (subjects and not subjects & {stem, label}):
            continue
        image = _only_one(t1w.get(f'{subject}_T1w', []), path)
        name = _name_of(stem)
        if name in heads:
            raise ValueError(f'{path} has the name of {heads[name].labels}: rename one of them')
        heads[name] = HeadFiles(name, label, image=image, labels=path.resolve())
    if not heads:
        raise FileNotFoundError(f'{folder} holds no label maps{_among(labels)} (*.nii.gz)')
    return heads


def _images_by_stem(folder: Path) -> dict[str, list[Path]]:
    """List T1w images below a folder by name, without endings; derivatives are no scans."""
    images: dict[str, list[Path]] = {}
    for path in sorted(path for path in folder.rglob('*T1w.*') if T1W.match(path.name)):
        if 'derivatives' not in path.relative_to(folder).parts:
            images.setdefault(stem_of(path.name), []).append(path.resolve())
    return images


def _only_one(images: Sequence[Path], labels: Path) -> Path | None:
    """Take the T1w of a label map; None where there is none, and which it is is never guessed."""
    if len({*images}) > 1:
        names = ' and '.join(map(str, images))
        raise ValueError(f'{labels} could belong to {names}: rename all but one of them')
    return images[0] if images else None


def find_heads(folder: Path, labels: Sequence[str]) -> dict[str, HeadFiles]:
    """Find T1w images below a folder, by name; derivatives of a data set are no scans.

    Parameters
    ----------
    folder
        Where the T1w images lie, at any depth.
    labels
        Labels of the people to take, with or without ``sub-``; none takes all.

    Raises
    ------
    FileNotFoundError
        If there are none.
    ValueError
        If two have the same name.
    """
    subjects = {label.removeprefix('sub-') for label in labels}
    heads: dict[str, HeadFiles] = {}
    for path in sorted(folder.rglob('*T1w.*')):
        match = T1W.match(path.name)
        if match is None or 'derivatives' in path.relative_to(folder).parts:
            continue
        subject = match['subject'] or stem_of(path.name).removesuffix('_T1w')
        if subjects and subject not in subjects:
            continue
        name = _name_of(stem_of(path.name))
        if name in heads:
            raise ValueError(f'{path} has the name of {heads[name].image}: rename one of them')
        heads[name] = HeadFiles(name, subject, match['session'] or '', path.resolve())
    if not heads:
        raise FileNotFoundError(f'{folder} holds no T1w images{_among(labels)} (*T1w.nii.gz)')
    return heads


def describe_others(folder: Path, maps: Path | None) -> Iterator[str]:
    """Name images below a folder that are not compared, a sentence; nothing if all are.

    Parameters
    ----------
    folder
        Where the T1w images lie; folders of derivatives are passed over.
    maps
        Folder of label maps, which are no scans either; None where there is none.
    """
    names = sorted(
        plain_name(path.name)
        for path in folder.rglob('*.*')
        if IMAGE.search(path.name) and not T1W.match(path.name)
        if 'derivatives' not in path.relative_to(folder).parts
        if maps is None or not path.is_relative_to(maps)
    )
    if names:
        more = f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''
        yield f'Not compared, as the names do not end in T1w: {", ".join(names[:SHOWN])}{more}.'


def _name_of(stem: str) -> str:
    """Name a head: nipype takes letters, digits and underscores only."""
    return re.sub(r'\W', '_', stem)


def _among(labels: Sequence[str]) -> str:
    return f' of {", ".join(labels)}' if labels else ''
