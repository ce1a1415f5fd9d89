"""The evaluation of morphometry: known changes of heads, looked for by every method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bids_synthsr.dataset.templates import TemplateFiles
from bids_synthsr.derivatives.group_design import LEAST_PER_GROUP
from bids_synthsr.evaluation.cases import Slices, can_take
from bids_synthsr.evaluation.head_files import describe_others, list_heads
from bids_synthsr.evaluation.refusals import describe_missing, refuse_heads
from bids_synthsr.evaluation.shape_cases import TRUTH, ShapeCase, ShapePlaces, label_of
from bids_synthsr.evaluation.shape_findings import read_findings
from bids_synthsr.reports.pages import duration
from bids_synthsr.run.comparing import (
    EvaluationOutcome,
    EvaluationSettings,
    forecast_methods,
    make_steps,
    run_comparisons,
)
from bids_synthsr.run.crashes import read_crashes
from bids_synthsr.run.evaluation_output import claim_output
from bids_synthsr.run.messages import announce
from bids_synthsr.run.morphometry import SECONDS_A_PERMUTATION, SECONDS_AN_EXAM
from bids_synthsr.settings import TbmSettings
from bids_synthsr.values.exam import Acquisition

if TYPE_CHECKING:
    from nipype.pipeline import engine as pe

NAME = 'tbm'  # of the evaluation, of table and page
SHOWN = 3  # of the heads that cannot be taken
MEASURE = 'measure'  # step that ends the work on a method
ENDINGS = {MEASURE: 'compared', 'change': 'changed'}


@dataclass(frozen=True)
class ShapeSimulation:
    """What changes in which heads, and how it is looked for.

    Parameters
    ----------
    images
        Folder, or BIDS data set, of T1w images of 1 mm.
    maps
        Folder of label maps; None takes the images alone, and segments them.
    factors
        By which the volume of each structure changes, by the names of `MAIN`.
    slices
        Plane, spacing and thickness (mm) of the slices that methods get.
    segmenter
        Weights of the network that segments volumes.
    template
        Template where all brains are brought to begin with.
    settings
        How shapes are compared.
    splits
        Number of random splits that are tested, too.
    """

    images: Path
    maps: Path | None
    factors: Mapping[str, float]
    slices: Slices
    segmenter: Path
    template: TemplateFiles
    settings: TbmSettings
    splits: int


class ShapeLog:
    """Status callback of nipype that announces heads and methods that are done.

    Parameters
    ----------
    heads
        Number of heads in all.
    arms
        Names of the truth and of all methods.
    seconds
        What all of it is forecast to take, seconds of one core.
    """

    def __init__(self, heads: int, arms: Sequence[str], seconds: float) -> None:
        self._heads, self._arms, self._seconds = heads, arms, seconds

    def announce_start(self) -> None:
        """Tell what is to be done, and how long it is forecast to take."""
        announce(
            '%d heads, half of which change; shapes by %s; about %s of one core',
            self._heads,
            ', '.join(self._arms),
            duration(self._seconds),
        )

    def __call__(self, node: Any, status: str) -> None:
        """Take an event of ``node``: ``start``, ``end`` or ``exception``."""
        _, *parts = node.fullname.split('.')
        if not parts or status == 'start':
            return
        if status == 'exception':
            announce('%s: failed at %s', parts[0], parts[-1])
        elif parts[-1] in ENDINGS:
            announce('%s: %s', parts[0].removeprefix('find_'), ENDINGS[parts[-1]])


def evaluate_shapes(
    settings: EvaluationSettings, simulation: ShapeSimulation
) -> EvaluationOutcome:
    """Change structures in half of the heads, and see what morphometry finds by each method.

    Parameters
    ----------
    settings
        Methods, folders and resources of the evaluation.
    simulation
        Heads, their changes, and how these are looked for.

    Raises
    ------
    FileNotFoundError, ValueError
        If there are too few heads, two of one name, or a method that cannot take a thick T1w.
    """
    labels = settings.participant_labels
    listed = list_heads(simulation.images, simulation.maps, labels)
    heads, refusals = refuse_heads(listed, simulation.images)
    refusals += describe_missing(labels, [head.subject for head in listed])
    _check(len(heads), refusals, settings, simulation)
    case = ShapeCase(
        heads,
        choose_changed(len(heads), simulation.settings.seed),
        simulation.factors,
        simulation.slices,
        simulation.template,
        simulation.settings,
        simulation.splits,
    )
    arms = (TRUTH, *settings.method_names)
    results = [settings.results_dir / f'{NAME}_{label_of(arm)}.json' for arm in arms]
    methods = make_steps(settings)
    places = ShapePlaces(
        settings.results_dir,
        settings.work_dir / 'maps',
        settings.work_dir,
        settings.run_uuid,
    )

    def build() -> pe.Workflow:
        from bids_synthsr.workflows.simulated_shapes import init_simulated_shapes_wf

        return init_simulated_shapes_wf(
            case=case,
            methods=methods,
            segmenter={'weights': str(simulation.segmenter), 'device': settings.device},
            places=places,
            num_threads=settings.num_threads,
        )

    log = ShapeLog(len(heads), arms, _forecast(len(heads), settings, simulation))
    order = [*(head.name for head in heads), *(f'find_{label_of(arm)}' for arm in arms)]
    notes = (*refusals, *describe_others(simulation.images, simulation.maps))
    with claim_output(settings.output_dir, NAME, results, settings.crash_dir):
        run_comparisons(build, order, results, settings, notes, log)
        return _write(results, case, settings, refusals)


def choose_changed(count: int, seed: int) -> tuple[bool, ...]:
    """Draw the half of the heads that change.

    Parameters
    ----------
    count
        Number of heads in all.
    seed
        Seed of the draw.
    """
    order = np.random.default_rng(seed).permutation(count)
    return tuple(bool(place < count // 2) for place in order)


def _check(
    count: int,
    refusals: Sequence[str],
    settings: EvaluationSettings,
    simulation: ShapeSimulation,
) -> None:
    """Refuse too few heads, and methods that cannot take a thick T1w."""
    if count < 2 * LEAST_PER_GROUP:
        raise ValueError(
            f'{simulation.images}: {count} T1w of 1 mm can be taken, and {2 * LEAST_PER_GROUP} '
            f'are the fewest, since half of them change. {" ".join(refusals[:SHOWN])}'.strip()
        )
    plane, spacing, thickness = simulation.slices
    for method in settings.method_names:
        if not can_take(method, ['T1w'], [Acquisition(2, spacing, thickness)]):
            raise ValueError(f'{method} cannot take a T1w of {plane} slices of {spacing:g} mm')


def _forecast(heads: int, settings: EvaluationSettings, simulation: ShapeSimulation) -> float:
    """Forecast the time of all, seconds of one core."""
    by_methods = sum(forecast.cpu_s for forecast in forecast_methods(settings).values())
    tests = simulation.settings.permutations * (1 + simulation.splits) * SECONDS_A_PERMUTATION
    arms = 1 + len(settings.methods)
    return heads * by_methods + arms * (heads * SECONDS_AN_EXAM + tests)


def _write(
    results: Sequence[Path], case: ShapeCase, settings: EvaluationSettings, refusals: Sequence[str]
) -> EvaluationOutcome:
    """Write table and page, and list what failed."""
    from bids_synthsr.evaluation.shapes_page import (
        ShapesSetting,
        write_shapes_page,
        write_shapes_table,
    )

    written = [path for path in results if path.is_file()]
    crashes = [
        f'{crash.exam}, {crash.step}: {crash.message} ({crash.path})'
        for crash in read_crashes(settings.crash_dir)
    ]
    failures = (*refusals, *crashes)
    files: tuple[Path, ...] = ()
    if written:
        findings = read_findings(written)
        changed = sum(case.is_second)
        setting = ShapesSetting(
            len(case.heads) - changed,
            changed,
            case.factors,
            case.slices,
            case.settings.permutations,
            case.settings.fwhm_mm,
        )
        files = (
            write_shapes_table(findings, settings.output_dir / f'{NAME}.tsv'),
            write_shapes_page(findings, setting, failures, settings.output_dir / f'{NAME}.html'),
        )
    return EvaluationOutcome(files, failures, len(written) == len(results) and not refusals)
