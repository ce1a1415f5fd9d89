"""What the report of an exam shows: values only, all optional but the name and the state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from bids_synthsr.derivatives.records import StepCost
from bids_synthsr.values.grid import Grid

State = Literal['complete', 'warned', 'failed', 'planned']
Role = Literal['reference', 'used', 'aligned', 'left out']


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume to be shown.

    Parameters
    ----------
    name
        What a reader calls it, such as ``run-2_FLAIR`` or ``Output T1w``.
    voxels
        ``(I, J, K)`` on ``grid``.
    grid
        Where the voxels lie.
    slice_axis
        Voxel axis that runs across the acquired slices; None where there are none.
    """

    name: str
    voxels: np.ndarray
    grid: Grid
    slice_axis: int | None = None


@dataclass(frozen=True, eq=False)
class AlignedPair:
    """A scan before and after its alignment to the reference, and how well it fits.

    Parameters
    ----------
    name
        Name of the scan that was moved.
    grid
        On which the three volumes lie: the output grid.
    reference, before, after
        The reference, the scan where its header puts it, and the scan moved, ``grid.shape``.
    similarity_before, similarity_after
        Normalised mutual information with the reference.
    displacement
        By how much the alignment moved the head on average, mm.
    rotation_deg
        By how much it turned the head, degrees.
    overlap
        Part of the reference's field of view that the moved scan covers, 0 to 1.
    verdict
        The judgement on the fit, a sentence.
    is_accepted
        Whether the scan was used.
    """

    name: str
    grid: Grid
    reference: np.ndarray
    before: np.ndarray
    after: np.ndarray
    similarity_before: float | None = None
    similarity_after: float | None = None
    displacement: float | None = None
    rotation_deg: float | None = None
    overlap: float | None = None
    verdict: str = ''
    is_accepted: bool = True


@dataclass(frozen=True, eq=False)
class StandardSpace:
    """The main volume in a standard space.

    Parameters
    ----------
    name
        Name of the space, with its resolution if one was asked for.
    main
        The main volume in that space.
    template
        The template on the same grid; None where its file is gone.
    dice
        Overlap of the brain with that of the template.
    correlation
        Correlation of the volume with the template, in its brain.
    """

    name: str
    main: Volume
    template: np.ndarray | None
    dice: float
    correlation: float


@dataclass(frozen=True)
class SelectionRow:
    """What became of a scan that was found.

    Parameters
    ----------
    name
        Name of the scan, such as ``acq-sag_T1w``.
    role
        What it serves for.
    reason
        Why it has this role, a sentence.
    file
        Name of its file.
    plane
        Plane of its slices, such as ``axial``.
    size
        Voxels along each axis, as text.
    spacing
        Distance of voxel centres along each axis, mm, as text.
    head
        How much it shows of the head that all scans show, as text.
    brain
        The same of the brain, where a method has found it.
    warnings
        What a reader should know although the scan is used.
    """

    name: str
    role: Role
    reason: str
    file: str = ''
    plane: str = ''
    size: str = ''
    spacing: str = ''
    head: str = ''
    brain: str = ''
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """What stopped an exam.

    Parameters
    ----------
    step
        Step in which it happened.
    message
        What happened, in words for the user.
    advice
        What the user can do.
    crash_file
        Path of the file with all details.
    traceback
        For whoever mends it.
    """

    step: str
    message: str
    advice: str = ''
    crash_file: str = ''
    traceback: str = ''


@dataclass(frozen=True)
class StructureRow:
    """The volume of a structure, both sides beside each other.

    Parameters
    ----------
    name
        Name of the structure without its side.
    volumes_ml
        Left and right, or one for a structure of the midline.
    uncertain_ml
        How much of them together is uncertain, ml.
    """

    name: str
    volumes_ml: tuple[float, ...]
    uncertain_ml: float


@dataclass(frozen=True)
class FileRow:
    """An output of the exam.

    Parameters
    ----------
    path
        Path of the file, relative to the output folder.
    description
        Fields of its sidecar; empty without a sidecar.
    """

    path: str
    description: str = ''


@dataclass(frozen=True, eq=False)
class ExamReport:
    """All that the page of an exam shows. What is empty is left out of the page.

    Parameters
    ----------
    label
        Name of the exam, such as ``sub-01_ses-2``.
    state
        How far it came.
    summary
        What was made from what, a sentence or two.
    warnings
        What a reader must know first, one sentence each.
    selection
        Every scan that was found.
    natives
        Usable scans as acquired, reference first.
    pairs
        Scans that were aligned to the reference.
    reliability
        Reliability maps on the output grid, one for each scan.
    outputs
        What the method made, the main volume first, all on one grid.
    baseline
        Cubic interpolation of the reference on the same grid.
    segmentation
        Label values on the grid of the main output.
    structures
        Volumes of the structures in it.
    quality
        Figures from 0 to 1 by name, such as ``coverage``.
    spaces
        The main volume in every standard space that was asked for.
    files
        All outputs of the exam, those of every stage.
    steps
        Cost of the work, in its order.
    provenance
        Versions, weights, settings, command: text, numbers, lists, and mappings of these.
    methods
        Methods text with citations, Markdown.
    failures
        What stopped the exam.
    """

    label: str
    state: State
    summary: str = ''
    warnings: tuple[str, ...] = ()
    selection: tuple[SelectionRow, ...] = ()
    natives: tuple[Volume, ...] = ()
    pairs: tuple[AlignedPair, ...] = ()
    reliability: tuple[Volume, ...] = ()
    outputs: tuple[Volume, ...] = ()
    baseline: Volume | None = None
    segmentation: Volume | None = None
    structures: tuple[StructureRow, ...] = ()
    quality: Mapping[str, float] = field(default_factory=dict)
    spaces: tuple[StandardSpace, ...] = ()
    files: tuple[FileRow, ...] = ()
    steps: tuple[StepCost, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    methods: str = ''
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True)
class IndexRow:
    """An exam in the index of the data set.

    Parameters
    ----------
    label, state
        As in its report.
    reason
        Why it failed, or its first warning; empty if all is well.
    href
        Its report, relative to the index; empty if there is none.
    seconds
        How long it took.
    thumbnail
        Its picture, relative to the index; empty if there is none.
    made_by
        How its main volume was made; empty where that is not known.
    coverage
        Percent of ``head`` and ``brain`` that its output holds, as far as known.
    """

    label: str
    state: State
    reason: str = ''
    href: str = ''
    seconds: float | None = None
    thumbnail: str = ''
    made_by: str = ''
    coverage: Mapping[str, float] = field(default_factory=dict)
