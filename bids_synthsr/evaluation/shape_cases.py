"""The cases of evaluations of morphometry: who changes, and by what it is looked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bids_synthsr import __version__
from bids_synthsr.dataset.templates import TemplateFiles
from bids_synthsr.derivatives.morphometry import choose_for_atlas
from bids_synthsr.evaluation.cases import Slices
from bids_synthsr.evaluation.head_files import HeadFiles
from bids_synthsr.settings import TbmSettings

TRUTH = 'truth'  # name of what is no method: the heads of 1 mm themselves
GROUPS = ('unchanged', 'changed')


@dataclass(frozen=True)
class ShapeCase:
    """What changes in whom, and how it is looked for.

    Parameters
    ----------
    heads
        Files of the heads, whose names the workflows get.
    is_second
        Which of them change.
    factors
        By which the volume of each structure changes.
    slices
        Plane, spacing and thickness (mm) of the slices that methods get.
    template
        Template where all brains are brought to begin with.
    settings
        How shapes are compared.
    splits
        Number of random splits that are tested, too.
    """

    heads: tuple[HeadFiles, ...]
    is_second: tuple[bool, ...]
    factors: Mapping[str, float]
    slices: Slices
    template: TemplateFiles
    settings: TbmSettings
    splits: int

    @property
    def chosen(self) -> list[int]:
        """Indices of the heads that make the atlas."""
        return choose_for_atlas(self.is_second, self.settings.atlas_exams, self.settings.seed)

    @property
    def plain_settings(self) -> dict[str, Any]:
        """How shapes are compared, in plain values."""
        return asdict(self.settings)

    @property
    def plain_template(self) -> dict[str, Any]:
        """The template in plain values."""
        return asdict(self.template)

    @property
    def design(self) -> dict[str, Any]:
        """Who is compared with whom, in plain values."""
        covariates: list[list[float]] = [[] for _ in self.heads]
        return {**self._groups, 'covariates': covariates}

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the record of the morphometry tells of it."""
        facts = {
            **self.plain_settings,
            **self._groups,
            'covariates': {},
            'template': self.template.space,
            'resolution': self.template.resolution,
        }
        return {'version': __version__, 'settings': facts, 'scans': {}}

    @property
    def _groups(self) -> dict[str, Any]:
        return {'levels': list(GROUPS), 'is_second': list(self.is_second)}


@dataclass(frozen=True)
class ShapePlaces:
    """Where an evaluation of morphometry writes.

    Parameters
    ----------
    results
        Folder in which every method has its results.
    maps
        Folder in which every method has a folder of maps.
    work
        Folder for the files of all steps.
    run_uuid
        Name of the run.
    """

    results: Path
    maps: Path
    work: Path
    run_uuid: str


def label_of(method: str) -> str:
    """Name a method as parts of workflows and files are named."""
    return method.replace('-', '_')
