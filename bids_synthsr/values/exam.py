"""What is known of a scan and of an exam before any voxel is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_synthsr.values.grid import Grid

# BIDS suffixes of the scans that are looked for: anatomical, weighted, one volume
SUFFIXES = ('T1w', 'T2w', 'FLAIR', 'PDw', 'PDT2', 'T2starw', 'inplaneT1', 'inplaneT2', 'UNIT1')
UNIFORM = 'UNIT1'  # of MP2RAGE: a T1w without bias, whose background is noise
UNI = re.compile(r'(?<![A-Z_])UNI(?![A-Z])')  # how ImageType names it
# entities that make another contrast of a suffix: scans that differ in them are not joined
CHANNEL_KEYS = ('ce', 'echo', 'flip', 'inv', 'mt', 'part')
TRUE = ('true', 'on', '1', '1.0', 'yes')  # as sidecars write it, in small letters
# all that the program reads of a sidecar: nothing else of it is kept, such as names of patients
SIDECAR_FIELDS = (
    'BodyPart', 'BodyPartExamined', 'ContrastBolusAgent', 'ContrastBolusIngredient',
    'EchoNumber', 'ImageType', 'Modality', 'MRAcquisitionType', 'MTState', 'ProtocolName',
    'SeriesDescription', 'SliceEncodingDirection', 'SliceThickness', 'SpacingBetweenSlices',
    'Synthetic',
)  # fmt: skip


@dataclass(frozen=True)
class Acquisition:
    """The slices of a scan.

    Parameters
    ----------
    slice_axis
        Voxel axis that runs across the slices: 0, 1 or 2. For a 3-D scan, its coarsest axis.
    slice_spacing
        Distance between the centres of neighbouring slices, mm.
    slice_thickness
        Width of the excited slab, mm: smaller than the spacing where slices have gaps, larger
        where they overlap.
    missing
        Numbers of the slices that hold no measurement, counted from 0: their voxels were
        interpolated. Nothing is known of them before voxels have been read.
    """

    slice_axis: int
    slice_spacing: float
    slice_thickness: float
    missing: tuple[int, ...] = ()


@dataclass(frozen=True)
class Scan:
    """One acquired volume of an exam, and the verdict on it.

    Parameters
    ----------
    path
        Path of the image file.
    suffix
        BIDS suffix: its contrast, such as ``FLAIR``; empty for a name that is not of BIDS.
    entities
        BIDS entities of the file name by short key, in order: ``{'sub': '01', 'run': '2'}``.
    metadata
        Fields of the sidecar that the program reads (`SIDECAR_FIELDS`), inheritance applied.
    grid, acquisition
        Geometry of the file; None where the header gives none that can be used.
    problems
        Why the scan is not used; empty for a usable scan.
    warnings
        What a reader should know although the scan is used.
    digest
        SHA-256 of the voxels, by which copies are found; empty until they have been read.
    sha256
        SHA-256 of the file as it was planned, by which it is known again; empty for any file.
    agent
        What tells that a contrast agent was given; empty where nothing does.
    is_processed
        Whether it is known to have been changed after it was acquired.
    """

    path: Path
    suffix: str
    entities: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    grid: Grid | None = None
    acquisition: Acquisition | None = None
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    digest: str = ''
    sha256: str = ''
    agent: str = ''
    is_processed: bool = False

    @property
    def is_usable(self) -> bool:
        """Whether no problem rules out the use of this scan."""
        return not self.problems

    @property
    def geometry(self) -> tuple[Grid, Acquisition]:
        """Grid and slices of a scan that has them, as every usable scan does."""
        if self.grid is None or self.acquisition is None:
            raise ValueError(f'{self.path} has no usable geometry: {" ".join(self.problems)}')
        return self.grid, self.acquisition

    @property
    def name(self) -> str:
        """Name of the scan, unique in its exam, such as ``run-2_FLAIR``, or the file's."""
        labels = [
            f'{key}-{value}' for key, value in self.entities.items() if key not in ('sub', 'ses')
        ]
        return '_'.join([*labels, self.suffix]) or self.path.name

    @property
    def is_uniform(self) -> bool:
        """Whether it is the uniform image of an MP2RAGE, by its suffix or its ImageType."""
        image_type = str(self.metadata.get('ImageType')).upper()
        is_stated = self.suffix == 'T1w' and bool(UNI.search(image_type))
        return is_stated or self.suffix == UNIFORM

    @property
    def contrast(self) -> str:
        """What it shows: its suffix, after entities that make another contrast of that.

        ``T2w``, ``ce-gd_T1w``, ``echo-2_T2starw``. Scans of one contrast may be joined.
        """
        entities = {key: self.entities[key] for key in CHANNEL_KEYS if key in self.entities}
        if 'ce' in entities:  # Gd and gd are one agent, and ce-none is none
            entities['ce'] = entities['ce'].lower()
            if not self.agent:
                del entities['ce']
        if entities.get('part') == 'mag':
            del entities['part']
        echo = str(self.metadata.get('EchoNumber'))
        if echo.isdecimal() and int(echo) > 1:  # the first is what others have, too
            entities.setdefault('echo', echo)
        if self.agent:
            entities.setdefault('ce', 'agent')
        if is_true(self.metadata.get('MTState')):
            entities.setdefault('mt', 'on')
        if self.is_uniform:
            entities['acq'] = UNIFORM
        suffix = 'T1w' if self.suffix == UNIFORM else self.suffix
        return '_'.join([*(f'{key}-{label}' for key, label in entities.items()), suffix])


def is_true(value: Any) -> bool:
    """Whether a field of a sidecar says yes, in any of the ways in which that is written."""
    return str(value).strip().lower() in TRUE


def suffix_of(contrast: str) -> str:
    """Return the BIDS suffix of a contrast: ``T1w`` of ``ce-gd_T1w``."""
    return contrast.rpartition('_')[2]


def entities_of(contrast: str) -> dict[str, str]:
    """Return the entities of a contrast: ``{'ce': 'gd'}`` of ``ce-gd_T1w``."""
    pairs = (part.partition('-') for part in contrast.split('_')[:-1])
    return {key: label for key, _, label in pairs}


def entities_among(contrast: str, contrasts: Sequence[str]) -> dict[str, str]:
    """Return the entities that set the volume of a contrast apart from those of others.

    A uniform image is the T1w where there is no other.

    Parameters
    ----------
    contrast
        What the volume shows, such as ``ce-gd_T1w``.
    contrasts
        What all volumes of the exam show.
    """
    entities = entities_of(contrast)
    if suffix_of(contrast) not in contrasts:
        entities.pop('acq', None)
    return entities


@dataclass(frozen=True)
class Exam:
    """The scans of one subject in one session.

    Parameters
    ----------
    subject, session
        Labels without their prefixes; ``session`` is None where the data set has no sessions.
    scans
        Every candidate scan, usable or not, in the order of their file names.
    absence
        Why there is nothing that could be processed, a sentence; empty where there may be.
    """

    subject: str
    session: str | None
    scans: tuple[Scan, ...]
    absence: str = ''

    @property
    def label(self) -> str:
        """Name of the exam, such as ``sub-01_ses-2``."""
        return f'sub-{self.subject}' + (f'_ses-{self.session}' if self.session else '')

    def __str__(self) -> str:
        return self.label
