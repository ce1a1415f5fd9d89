"""Pairs of scans of the same people by two scanners: found, registered and checked."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bids_synthsr.dataset.filenames import IMAGES, split_name
from bids_synthsr.dataset.images import load_volume
from bids_synthsr.imaging.geometry import bounding_box, output_grid
from bids_synthsr.imaging.intensity import bright_intensity, mean_nearby
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.imaging.similarity import agreement
from bids_synthsr.registration.alignment import align_scan
from bids_synthsr.synthesis.heads import ImagePair
from bids_synthsr.training.cohort import (
    MARGIN_VOX,
    SHOWN,
    Cohort,
    PairFiles,
    check_finite,
    find_images,
    fits,
    hold_out,
    split_cohort,
)
from bids_synthsr.values.grid import Grid

SUFFIX = 'T1w'  # of the scans in a data set
COIL_MM = 20.0  # standard deviation: how smooth the field of a coil is
TISSUE = 0.1  # where 1 is bright: brighter voxels tell the field
# simulated pairs reach .97, and those of two people .70 (lab/seven_tesla.py)
LEAST_LIKENESS, LEAST_VOXELS = 0.8, 1000
FIELDS = 0.25, 4.0  # by which factor the field of one scan may differ from that of the other

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class RegisteredPair:
    """The two images of a pair on one grid, before any sample is cut out.

    Parameters
    ----------
    given, wanted
        ``(I, J, K)`` float32, 1 is bright; the field of the coil of the one that is wanted is
        that of the other.
    grid
        Where the voxels lie, in the space of the one that is wanted.
    """

    given: np.ndarray
    wanted: np.ndarray
    grid: Grid


def pair_folders(inputs: Path, targets: Path, exclude: Sequence[str] = ()) -> list[PairFiles]:
    """Pair the images of two folders that have equal names.

    Parameters
    ----------
    inputs, targets
        Folders of the images that are given, and of those that are wanted.
    exclude
        Shell patterns of names of files that are not read.

    Raises
    ------
    ValueError
        If no name stands in both folders.
    """
    given, wanted = (
        {path.name: path for path in find_images([folder], exclude)}
        for folder in (inputs, targets)
    )
    alone = sorted(given.keys() ^ wanted.keys())
    if alone:
        logger.warning('Left out, since only one folder has them: %s', ', '.join(alone))
    names = sorted(given.keys() & wanted.keys())
    if not names:
        raise ValueError(f'{inputs} and {targets} have no file name in common: pairs share it')
    return [PairFiles(given[name], wanted[name]) for name in names]


def pair_scans(
    bids_dir: Path, given: str, wanted: str, exclude: Sequence[str] = ()
) -> list[PairFiles]:
    """Pair the T1w of each session of a data set by entities of their names.

    Parameters
    ----------
    bids_dir
        Root of a data set.
    given, wanted
        Entities of the scans that are given and wanted, such as ``acq-3T``; several are joined
        by ``_``.
    exclude
        Shell patterns of names of files that are not read.

    Raises
    ------
    ValueError
        If a session has several scans for one of the two, or no session has both.
    """
    filters = [_read_filter(words) for words in (given, wanted)]
    sessions: dict[tuple[str, str], tuple[list[Path], list[Path]]] = {}
    for path in sorted(bids_dir.glob('sub-*/**/*')):
        entities, suffix, extension = split_name(path.name)
        if suffix != SUFFIX or extension not in IMAGES or fits(path, exclude):
            continue
        key = entities.get('sub', ''), entities.get('ses', '')
        for number, wanted_entities in enumerate(filters):
            if wanted_entities.items() <= entities.items():
                sessions.setdefault(key, ([], []))[number].append(path)
    pairs = []
    for found in sessions.values():
        for paths, words in zip(found, (given, wanted), strict=True):
            if len(paths) > 1:
                names = ' and '.join(path.name for path in paths)
                raise ValueError(f'{names} all fit {words}: name more entities, or --exclude some')
        if all(found):
            pairs.append(PairFiles(found[0][0], found[1][0]))
        else:
            alone = (found[0] or found[1])[0]
            logger.warning('%s is left out: its session has no other scan to pair with', alone)
    if not pairs:
        raise ValueError(
            f'{bids_dir} has no session with a {SUFFIX} of {given} and one of {wanted}'
        )
    return pairs


def _read_filter(words: str) -> dict[str, str]:
    """Read entities such as ``acq-7T_run-1``."""
    parts = [part.partition('-') for part in words.split('_')]
    if not all(key and label for key, _, label in parts):
        raise ValueError(f'{words!r} names no entities: write them as acq-7T or acq-7T_run-1')
    return {key: label for key, _, label in parts}


def read_pairs(
    files: Sequence[PairFiles], spacing_mm: float, held_out: Sequence[str] = ()
) -> Cohort[ImagePair]:
    """Read and register pairs; what does not fit is left out, and said to be.

    Parameters
    ----------
    files
        Files of the pairs.
    spacing_mm
        Voxels of the samples, mm.
    held_out
        Shell patterns of names of files that are given, to validate on and not to train on.

    Raises
    ------
    ValueError
        If no pair is left.
    """
    hold_out([pair.given for pair in files], held_out)  # before the long work
    pairs: dict[Path, ImagePair] = {}
    for pair in files:
        try:
            registered = register_pair(pair, spacing_mm)
        except ValueError as error:
            logger.warning('%s is left out: %s', pair.given, error)
            continue
        box = bounding_box(registered.wanted > SHOWN, MARGIN_VOX)
        given, wanted = (
            torch.from_numpy(x[box].astype(np.float16))
            for x in (registered.given, registered.wanted)
        )
        pairs[pair.given] = ImagePair(given, wanted, pair.given.name)
    if not pairs:
        raise ValueError(f'None of {len(files)} pairs can be used: see the messages above')
    return split_cohort([*pairs], [*pairs.values()], held_out)


def register_pair(files: PairFiles, spacing_mm: float) -> RegisteredPair:
    """Bring the two scans of a pair to one grid, that of the wanted one.

    Raises
    ------
    ValueError
        If the two do not fit each other, or one of them shows nothing.
    """
    paths = files.given.resolve(), files.wanted.resolve()
    (given, given_grid), (wanted, wanted_grid) = map(load_volume, paths)
    for voxels, path in ((given, files.given), (wanted, files.wanted)):
        check_finite(voxels, path)
        if bright_intensity(voxels) <= 0:
            raise ValueError(f'{path.name} shows nothing')
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        given2wanted, fit = align_scan(paths[1], paths[0], files.given.name)
    if fit.status != 'good':
        raise ValueError(f'it does not fit {files.wanted.name}. {fit.reason}')
    grid = output_grid(wanted_grid, spacing_mm)
    moved = resample(given, given_grid, grid, given2wanted, order=3).clip(min=0)
    target = resample(wanted, wanted_grid, grid, order=3).clip(min=0)
    units = [bright_intensity(volume) for volume in (moved, target)]
    if min(units) <= 0:
        raise ValueError('one of the two shows nothing where the other one does')
    moved = moved / units[0]
    target = with_field_of(target / units[1], moved, spacing_mm)
    shown = (moved > TISSUE) & (target > TISSUE)
    alike = 0.0
    if shown.sum() >= LEAST_VOXELS:  # a few voxels always agree
        alike = agreement(moved, target, shown)['correlation']
    if alike < LEAST_LIKENESS:
        raise ValueError(
            f'it does not show the same head as {files.wanted.name}: their intensities correlate '
            f'by {alike:.2f}, and those of one person by {LEAST_LIKENESS} at least'
        )
    return RegisteredPair(moved, target, grid)


def with_field_of(wanted: np.ndarray, given: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Give an image the smooth field of another one of the same head, else a network learns it.

    Parameters
    ----------
    wanted, given
        ``(I, J, K)`` intensities, 1 is bright.
    spacing_mm
        Size of their voxels, mm.
    """
    both = (wanted > TISSUE) & (given > TISSUE)
    if not both.any():
        return wanted
    ratio = np.log(np.where(both, wanted, 1) / np.where(both, given, 1)).astype(np.float32)
    ratio -= ratio[both].mean()
    field = np.exp(mean_nearby(ratio, both, COIL_MM / spacing_mm)).clip(*FIELDS)
    evened: np.ndarray = (wanted / field).astype(np.float32)
    return evened
