"""Tensor-based morphometry of a group: what it reads, and its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bids_synthsr import __version__
from bids_synthsr.dataset.files import sha256
from bids_synthsr.dataset.images import load_volume
from bids_synthsr.derivatives.group import GroupRow
from bids_synthsr.derivatives.group_design import GroupDesign
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.records import Record, load_record, lost_outputs, own_outputs
from bids_synthsr.registration.atlas import BrainT1w
from bids_synthsr.settings import TbmSettings

LABEL = 'tbm'
LEVEL = 0.05
# of the settings of a record: what the page tells
SHOWN = {'levels', 'is_second', 'covariates', 'permutations', 'fwhm_mm', 'template', 'resolution'}
NO_T1W = 'it has no T1w with a brain mask'
CUT = 'the T1w holds {:.0f} % of the brain only'
LEAST_BRAIN_PERCENT = 90.0


@dataclass(frozen=True)
class TbmExam:
    """An exam whose shape is compared.

    Parameters
    ----------
    label
        Label of the exam.
    t1w, mask
        Paths of its T1w and brain mask.
    digests
        SHA-256 of T1w and brain mask.
    """

    label: str
    t1w: str
    mask: str
    digests: tuple[str, str]

    def load(self) -> BrainT1w:
        """Read T1w and mask.

        Raises
        ------
        ValueError
            If a file is not what the exam wrote.
        """
        for path, digest in zip((self.t1w, self.mask), self.digests, strict=True):
            if sha256(Path(path)) != digest:
                raise ValueError(f'{path} is not what its exam wrote: it was changed')
        voxels, grid = load_volume(Path(self.t1w))
        mask, mask_grid = load_volume(Path(self.mask))
        if mask_grid != grid:
            raise ValueError(f'{self.mask} does not lie on the grid of {self.t1w}')
        return BrainT1w(voxels, grid, mask)


def exams_of(
    rows: Sequence[GroupRow], records: Mapping[str, Record], derivatives: Derivatives
) -> tuple[list[TbmExam], dict[str, str]]:
    """Find the exams whose shape can be compared.

    Parameters
    ----------
    rows
        Finished exams that are to be compared.
    records
        Records of all exams by label.
    derivatives
        Where the outputs lie.

    Returns
    -------
    exams, left_out
        The exams, and why others are not among them.
    """
    exams, left_out = [], {}
    for row in rows:
        record = records[row.exam]
        found = own_outputs(record)
        brain = row.facts.get('brain_percent')
        if 'T1w' not in found or 'mask' not in found:
            left_out[row.exam] = NO_T1W
        elif brain is not None and brain < LEAST_BRAIN_PERCENT:
            left_out[row.exam] = CUT.format(brain)
        else:
            names = found['T1w'], found['mask']
            t1w, mask = (str(derivatives.root / name) for name in names)
            digests = record.outputs[names[0]].sha256, record.outputs[names[1]].sha256
            exams.append(TbmExam(row.exam, t1w, mask, digests))
    return exams, left_out


def choose_for_atlas(is_second: Sequence[bool], most: int, seed: int) -> list[int]:
    """Choose the exams of which the atlas is made, as many of both groups, ``(M,)`` indices.

    Parameters
    ----------
    is_second
        Whether each exam is of the second group.
    most
        Most exams that are chosen.
    seed
        Seed of the choice, where there are more.
    """
    random = np.random.default_rng(seed)
    groups = [
        random.permutation([i for i, one in enumerate(is_second) if one is second]).tolist()
        for second in (False, True)
    ]
    chosen: list[int] = []
    while any(groups) and len(chosen) < most:
        for group in groups:
            if group and len(chosen) < most:
                chosen.append(int(group.pop()))
    return sorted(chosen)


def fingerprint_of(
    exams: Sequence[TbmExam], design: GroupDesign, settings: TbmSettings
) -> dict[str, Any]:
    """List all that the maps depend on."""
    return {
        'version': __version__,
        'settings': {
            **asdict(settings),
            'levels': list(design.levels),
            'is_second': [bool(x) for x in design.is_second],
            'covariates': {
                name: [round(float(x), 9) for x in column]
                for name, column in zip(design.names, design.covariates.T, strict=True)
            },
        },
        'scans': {exam.label: {'sha256': ' '.join(exam.digests)} for exam in exams},
    }


def read_tbm(derivatives: Derivatives) -> Record | None:
    """Read the record of the last morphometry; None where its maps are not there, whole.

    Parameters
    ----------
    derivatives
        Where the outputs lie.
    """
    record = read_tbm_record(derivatives.tbm_record)
    return None if record is None or lost_outputs(record, derivatives) else record


def read_tbm_record(path: Path) -> Record | None:
    """Read a record of morphometry; None where there is none that is finished and understood."""
    try:
        record = load_record(path)
    except (OSError, ValueError):
        return None
    settings = record.fingerprint.get('settings')
    is_ours = record.exam == LABEL and record.state == 'finished' and bool(record.outputs)
    return record if is_ours and isinstance(settings, dict) and settings.keys() >= SHOWN else None
