"""Lesion masks of exams: found by their BIDS names, read, and placed in a frame."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import nibabel as nb
import numpy as np

from bids_synthsr.dataset.errors import DatasetError
from bids_synthsr.dataset.filenames import DERIVED, IMAGES, split_name, without_prefix
from bids_synthsr.dataset.files import sha256
from bids_synthsr.dataset.headers import read_grid
from bids_synthsr.dataset.image_files import UnusableScanError
from bids_synthsr.dataset.images import load_volume
from bids_synthsr.values.exam import SUFFIXES, entities_of, suffix_of
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.structures import LESION

LABELS = ('lesion', 'L')  # labels that name lesions, with ``label-`` or ``desc-``
FRAMES = (*SUFFIXES, 'orig', 'scanner', 'individual')  # that a mask may name as its space
OF_THE_MASK = ('sub', 'ses', *DERIVED)  # entities that tell of no scan
NO_FRAME = (
    'lies on the grid of no scan and names none: it was taken to lie in the space of the {}. '
    'Check the place, or name the scan (space-).'
)
NO_MASK = 'No lesion mask of this exam was found: lesions are as the method leaves them.'


def find_lesion_masks(
    folder: Path,
    exams: Iterable[str],
    participants: Sequence[str] = (),
    sessions: Sequence[str] = (),
) -> dict[str, list[Path]]:
    """Find the lesion masks in a folder, and whose they are.

    Parameters
    ----------
    folder
        Folder of derivatives, or any folder; folders in it are searched, too.
    exams
        Labels of the exams of the data set, such as ``sub-01_ses-2``.
    participants, sessions
        Labels that were asked for, with or without prefixes; masks of others are passed over.

    Returns
    -------
    masks
        Files by the labels of their exams, in the order of their names.

    Raises
    ------
    DatasetError
        If there is no mask, or one of which there is no exam; each is named.
    """
    files = [path for path in sorted(_list_files(folder)) if _is_lesion_mask(path)]
    if not files:
        raise DatasetError(
            f'--lesion-masks {folder} holds no lesion mask: they are named as '
            'sub-01_ses-1_label-lesion_mask.nii.gz, or end in _desc-lesion_dseg.nii.gz'
        )
    labels, masks, faults = {*exams}, dict[str, list[Path]](), []
    wanted = {'sub': without_prefix(participants, 'sub'), 'ses': without_prefix(sessions, 'ses')}
    for path in files:
        entities = split_name(path.name)[0]
        exam = '_'.join(f'{key}-{entities[key]}' for key in ('sub', 'ses') if key in entities)
        if exam in labels:
            masks.setdefault(exam, []).append(path)
        elif all(not wanted[key] or entities.get(key) in wanted[key] for key in wanted):
            faults.append(
                f'{path} is of {exam}, and there is no such exam in the data set: correct its '
                'name, or take it out of the folder'
            )
    if faults:
        raise DatasetError('\n'.join(faults))
    return masks


def _list_files(folder: Path) -> Iterator[Path]:
    """List the files of a folder and of those in it, links to folders included, each once."""

    def refuse(error: OSError) -> None:
        raise DatasetError(
            f'--lesion-masks: {error.filename} cannot be read ({error.strerror}): let it be read, '
            'or take it out'
        ) from error

    seen = set[str]()
    for root, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        place = os.path.realpath(root)
        if place in seen:  # a link to a folder around it
            folders.clear()
            continue
        seen.add(place)
        yield from (Path(root, name) for name in files)


def _is_lesion_mask(path: Path) -> bool:
    """Whether a file is named as a lesion mask, or as a segmentation of lesions."""
    entities, suffix, extension = split_name(path.name)
    is_lesion = any(entities.get(key) in LABELS for key in ('label', 'desc'))
    return is_lesion and suffix in ('mask', 'dseg') and extension in IMAGES and path.is_file()


def describe_lesion_masks(paths: Sequence[Path], folder: Path | None) -> list[dict[str, str]]:
    """Describe the masks of an exam for the process that reads them.

    Parameters
    ----------
    paths
        Files of the masks of one exam.
    folder
        Folder where they were found, to which their names are relative; None where there are none.

    Returns
    -------
    described
        The ``file`` of each, its ``name`` in the folder, and its ``sha256``.

    Raises
    ------
    ValueError
        If one cannot be read, or lies in a space that is not of the exam.
    """
    for path in paths:
        space = split_name(path.name)[0].get('space', FRAMES[0])
        if space not in FRAMES:
            raise ValueError(
                f'{path} lies in the space {space}, and lesions are those of the scans: give a '
                'mask in the space of a scan'
            )
    try:
        return [
            {'file': str(path), 'name': _name_in(folder, path), 'sha256': sha256(path)}
            for path in paths
        ]
    except OSError as error:
        raise ValueError(
            f'{error.filename} cannot be read ({error.strerror}): copy it again, or take it out'
        ) from error


def _name_in(folder: Path | None, path: Path) -> str:
    """Name a file below a folder: two raters may give the same name in folders of their own."""
    return path.name if folder is None else path.relative_to(folder).as_posix()


def load_lesion_mask(path: Path) -> tuple[np.ndarray, Grid]:
    """Read a lesion mask.

    Parameters
    ----------
    path
        File of a mask, where all but 0 is lesion, or of a segmentation, where 77 is.

    Returns
    -------
    mask, grid
        Lesions, ``(I, J, K)`` bool, and where the voxels lie.

    Raises
    ------
    ValueError
        If it cannot be read, does not tell where it lies, or marks nothing.
    """
    try:
        voxels, grid = load_volume(path)
        read_grid(nb.load(path).header, [])  # type: ignore[arg-type]  # of IMAGES: NIfTI
    except UnusableScanError as error:
        raise ValueError(f'{path} cannot be used. {error}') from error
    except OSError as error:
        raise ValueError(f'{path} cannot be read ({error.strerror}): copy it again') from error
    is_mask = split_name(path.name)[1] == 'mask'
    mask = np.isfinite(voxels) & (voxels != 0) if is_mask else voxels == LESION
    if not mask.any():
        wanted = 'lesions are all but 0' if is_mask else f'lesions have the label {LESION}'
        raise ValueError(f'{path} marks no lesion ({wanted}): correct it, or take it out')
    return mask, grid


def find_frame(
    path: Path, grid: Grid, grids: Sequence[Grid], names: Sequence[str]
) -> tuple[int, str]:
    """Find the scan in whose frame a mask lies.

    That is the one that its name tells of, else the first with its grid, else the reference.

    Parameters
    ----------
    path
        File of the mask; ``space-`` may name a contrast, and other entities which of several.
    grid
        Where its voxels lie.
    grids, names
        Grids and names, such as ``run-2_FLAIR``, of the scans that are used; the reference first.

    Returns
    -------
    index, doubt
        Number of the scan, 0 the reference, and a sentence where nothing tells of it, else empty.

    Raises
    ------
    ValueError
        If the name tells of a scan that is not used, or of several that have other grids.
    """
    entities = split_name(path.name)[0]
    told = {key: label for key, label in entities.items() if key not in OF_THE_MASK}
    space = entities.get('space') if entities.get('space') in SUFFIXES else None
    alike = [index for index, other in enumerate(grids) if other == grid]
    if space is None and not told:
        doubt = '' if alike else f'{path.name} {NO_FRAME.format(names[0])}'
        return (alike or [0])[0], doubt
    fitting = [
        index
        for index, name in enumerate(names)
        if space in (None, suffix_of(name)) and told.items() <= entities_of(name).items()
    ]
    both = [index for index in alike if index in fitting]
    if both or len(fitting) == 1:
        return (both or fitting)[0], ''
    wanted = '_'.join([*(f'{key}-{label}' for key, label in told.items()), *filter(None, [space])])
    if fitting:
        several = ' or '.join(names[index] for index in fitting)
        raise ValueError(
            f'{path} may lie in the space of {several}: tell by its name which (such as run-1)'
        )
    raise ValueError(
        f'{path} lies in the space of a scan that is not used ({wanted}; used are '
        f'{", ".join(names)}): name one that is used, in whose space it lies'
    )
