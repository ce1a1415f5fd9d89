"""Lesion masks of exams: found by their BIDS names, read, and placed in a frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from bids_synthsr.dataset.errors import DatasetError
from bids_synthsr.dataset.filenames import IMAGES, split_name, without_prefix
from bids_synthsr.dataset.files import sha256
from bids_synthsr.dataset.images import load_volume
from bids_synthsr.values.exam import SUFFIXES, suffix_of
from bids_synthsr.values.grid import Grid

LESION = ('lesion', 'L')  # labels that name lesions, with ``label-`` or ``desc-``
SEGMENTED = 77  # lesion in the look-up table of FreeSurfer
FRAMES = (*SUFFIXES, 'orig', 'scanner', 'individual')  # that a mask may name as its space
NO_MASK = 'No lesion mask of this exam was found: nothing was filled.'


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
    files = [path for path in sorted(folder.rglob('sub-*')) if _is_lesion_mask(path)]
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


def _is_lesion_mask(path: Path) -> bool:
    """Whether a file is named as a lesion mask, or as a segmentation of lesions."""
    entities, suffix, extension = split_name(path.name)
    is_lesion = any(entities.get(key) in LESION for key in ('label', 'desc'))
    return is_lesion and suffix in ('mask', 'dseg') and extension in IMAGES and path.is_file()


def describe_lesion_masks(paths: Sequence[Path]) -> list[dict[str, str]]:
    """Describe the masks of an exam for the process that reads them.

    Parameters
    ----------
    paths
        Files of the masks of one exam.

    Returns
    -------
    described
        The ``file`` of each, and its ``sha256``.

    Raises
    ------
    ValueError
        If one cannot be read, or lies in a space that is not of the exam.
    """
    for path in paths:
        space = split_name(path.name)[0].get('space', FRAMES[0])
        if space not in FRAMES:
            raise ValueError(
                f'{path} lies in the space {space}, and lesions are filled in the scans: give a '
                'mask in the space of a scan'
            )
    try:
        return [{'file': str(path), 'sha256': sha256(path)} for path in paths]
    except OSError as error:
        raise ValueError(
            f'{error.filename} cannot be read ({error.strerror}): copy it again, or take it out'
        ) from error


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
        If it cannot be read, or marks nothing.
    """
    try:
        voxels, grid = load_volume(path)
    except OSError as error:
        raise ValueError(f'{path} cannot be read ({error.strerror}): copy it again') from error
    is_mask = split_name(path.name)[1] == 'mask'
    mask = np.isfinite(voxels) & (voxels != 0) if is_mask else voxels == SEGMENTED
    if not mask.any():
        wanted = 'lesions are all but 0' if is_mask else f'lesions have the label {SEGMENTED}'
        raise ValueError(f'{path} marks no lesion ({wanted}): correct it, or take it out')
    return mask, grid


def find_frame(path: Path, grid: Grid, grids: Sequence[Grid], contrasts: Sequence[str]) -> int:
    """Find the scan in whose frame a mask lies: the first that fits, else the reference.

    Parameters
    ----------
    path
        File of the mask, whose ``space-`` may name a contrast.
    grid
        Where its voxels lie.
    grids, contrasts
        The same of the scans of the exam, and what they show; the reference first.

    Returns
    -------
    index
        Number of the scan; 0 is the reference.
    """
    space = split_name(path.name)[0].get('space')
    alike = [index for index, other in enumerate(grids) if other == grid]
    named = [index for index, contrast in enumerate(contrasts) if suffix_of(contrast) == space]
    both = [index for index in alike if index in named]
    return (both or named or alike or [0])[0]
