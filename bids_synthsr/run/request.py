"""What a door requests of a run, at the participant or the group level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bids_synthsr.dataset.templates import TemplateFiles
from bids_synthsr.settings import Settings, TbmSettings
from bids_synthsr.surfaces.tools import FoundTool

Mode = Literal['process', 'dry-run', 'reports-only', 'boilerplate-only']


@dataclass(frozen=True)
class SurfaceRequest:
    """What a door requests of a tool of surfaces.

    Parameters
    ----------
    tool
        The tool as it was found.
    subjects_dir
        Folder of the subjects that it fills.
    takes_native
        Whether it gets the reference scan as it was acquired, and not the T1w of the exam.
    overwrites
        Whether folders that were made of other input are removed.
    resumes
        Whether work that was interrupted is gone on with.
    """

    tool: FoundTool
    subjects_dir: Path
    takes_native: bool = False
    overwrites: bool = False
    resumes: bool = True


@dataclass(frozen=True)
class Request:
    """What a door requests of a run.

    Parameters
    ----------
    settings
        All settings of the run.
    command
        Words of the command line, without the name of the program.
    mode
        Whether to process exams, or only to describe what would be done, to write reports anew, or
        to write the methods text.
    empties_work_dir
        Whether what is kept of earlier runs in the work folder is removed before the run.
    validates
        Whether the input data set is validated.
    fetches
        Whether datalad fetches what of the input is elsewhere.
    options
        Options as TOML values, by which the same run can be requested again.
    started_in
        Current folder at the door, which relative paths of the command refer to.
    as_dataset
        Folder for the T1w of all finished exams as a raw data set; None for no such.
    longitudinal
        Whether the sessions of a person are compared, once their exams are finished.
    surfaces
        What is requested of a tool of surfaces; None for nothing.
    exports
        Whether finished exams are written as folders of subjects of FreeSurfer, too.
    notes
        What went otherwise than was asked for, a sentence each.
    """

    settings: Settings
    command: Sequence[str] = ()
    mode: Mode = 'process'
    empties_work_dir: bool = False
    validates: bool = True
    fetches: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    started_in: Path = field(default_factory=Path.cwd)
    as_dataset: Path | None = None
    longitudinal: bool = False
    exports: bool = False
    surfaces: SurfaceRequest | None = None
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class TbmRequest:
    """What a door requests of tensor-based morphometry.

    Parameters
    ----------
    settings
        How the maps are made and tested.
    run
        Settings of the run: processes, memory, work folder.
    template
        Template where all brains are brought to begin with.
    """

    settings: TbmSettings
    run: Settings
    template: TemplateFiles
