"""Settings of a run: made once at the door, frozen, and never read from anywhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FIELDS_OF_VIEW = ('head', 'reference', 'union')
AS_IS, FILL, KEEP = 'as-is', 'fill', 'keep'
LESIONS = (AS_IS, FILL, KEEP)  # what becomes of lesions that masks mark
EFFORTS = ('quick', 'standard')  # of the method self
PRECISIONS = ('auto', 'float32', 'bfloat16')  # of networks
SUCCESS, SOME_FAILED, WRONG_USE = 0, 1, 2  # exit codes of every command
LEAST_QUALITY = 0.6  # of any-exam: below it, an exam is marked; users can move it


@dataclass(frozen=True)
class InputSettings:
    """Which exams and scans are taken.

    Parameters
    ----------
    bids_dir
        Root of the input data set; never written to.
    participant_labels, session_labels
        Labels without prefixes; empty takes all.
    filters
        BIDS filters: per suffix in lower case, or ``anat`` for all, the entities to match.
    database_dir
        Folder of a pybids index to use or to make.
    wipes_database
        Whether an index that is there is made anew.
    derivatives
        Outputs of earlier runs, whose transforms are used.
    lesion_masks
        Folder of the lesion masks of the exams; None where lesions stay as they are.
    """

    bids_dir: Path
    participant_labels: tuple[str, ...] = ()
    session_labels: tuple[str, ...] = ()
    filters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    database_dir: Path | None = None
    wipes_database: bool = False
    derivatives: tuple[Path, ...] = ()
    lesion_masks: Path | None = None


@dataclass(frozen=True)
class MethodSettings:
    """What is made of an exam: everything here changes results.

    Parameters
    ----------
    method
        Name of a method in `bids_synthsr.methods.catalogue.METHODS`.
    weights
        File of a network, or None for where the method looks by itself.
    ct
        Whether the exam is computed tomography (method ``synthsr`` only).
    reference
        Suffix or filter that names the reference scan; None lets the program choose.
    contrasts
        Suffixes that may be used; empty takes all.
    output_resolution
        Voxel size of the output, in mm.
    fov
        Field of view of the output: what the scans show of the head (``head``), that of the
        reference, or of all scans together (``union``).
    least_quality
        Estimated quality below which an exam is marked (``auto`` and ``any-exam``).
    sharpen_others
        Whether each other contrast becomes a volume beside the T1w, too (``auto``).
    effort
        How long a scan is learned from, one of `EFFORTS` (``self``).
    precision
        Numbers that networks compute with, one of `PRECISIONS`; ``auto`` is what the processor is
        fastest with, but for networks whose published numbers shall come out.
    lesions
        What becomes of the lesions that masks mark, one of `LESIONS` (data sets only).
    templates
        Fields of the `TemplateFiles` of each standard space in which outputs are written, too.
    on_scans
        Whether mask and segmentation are written on the own grid of each scan, too.
    """

    method: str = 'auto'
    weights: Path | None = None
    ct: bool = False
    reference: str | None = None
    contrasts: tuple[str, ...] = ()
    output_resolution: float = 1.0
    fov: str = 'head'
    least_quality: float = LEAST_QUALITY
    sharpen_others: bool = False
    effort: str = EFFORTS[-1]
    precision: str = PRECISIONS[0]
    lesions: str = LESIONS[0]
    templates: tuple[Mapping[str, Any], ...] = ()
    on_scans: bool = False


@dataclass(frozen=True)
class TbmSettings:
    """How a group is compared at each voxel.

    Parameters
    ----------
    permutations
        Number of permutations by which it is tested.
    seed
        Seed of permutations, and of the choice of the exams of the atlas.
    fwhm_mm
        Width at half of its height of the Gaussian that smooths the maps, mm.
    atlas_exams
        Most exams that the atlas is made of.
    """

    permutations: int = 5000
    seed: int = 1
    fwhm_mm: float = 6.0
    atlas_exams: int = 60


@dataclass(frozen=True)
class RunSettings:
    """How the work is done. Results differ by rounding, and with ``low_mem`` a little more.

    Parameters
    ----------
    nprocs
        Processes at work at the same time.
    omp_nthreads
        Threads of one process; 0 shares the processes' cores out among the exams at work.
    mem_gb
        Memory that all processes together may take.
    device
        ``cpu``, ``cuda`` or ``cuda:N``.
    low_mem
        Whether networks work in tiles: it saves memory; ``sr-t1`` then comes out 0.03 % of
        the range of intensities different, on average.
    stage
        Name in `bids_synthsr.workflows.stages.STAGES` of the stage after which the run ends; what
        comes before is done if it has not been.
    plugin
        nipype plugin and its arguments, such as ``{'plugin': 'SLURM', 'plugin_args': {...}}``.
    draws_graph
        Whether the steps of an exam are drawn in the folder of the log.
    """

    nprocs: int = 1
    omp_nthreads: int = 0
    mem_gb: float = 8.0
    device: str = 'cpu'
    low_mem: bool = False
    stage: str = 'report'
    plugin: Mapping[str, Any] = field(default_factory=dict)
    stop_on_first_crash: bool = False
    resource_monitor: bool = False
    draws_graph: bool = False


@dataclass(frozen=True)
class Settings:
    """All settings of a run.

    Parameters
    ----------
    output_dir
        Where derivatives are written.
    work_dir
        Where intermediate files lie until the exam is done.
    run_uuid
        Name of this run; its logs are in ``logs/<run_uuid>``.
    """

    input: InputSettings
    method: MethodSettings
    run: RunSettings
    output_dir: Path
    work_dir: Path
    run_uuid: str
