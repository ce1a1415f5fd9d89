"""The evaluation on simulated scans: methods against heads whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bids_synthsr.evaluation.cases import Slices, list_simulated_cases, result_name
from bids_synthsr.evaluation.head_files import describe_others, list_heads
from bids_synthsr.evaluation.refusals import describe_missing, refuse_heads
from bids_synthsr.imaging.forward_model import PROFILES
from bids_synthsr.run.comparing import (
    EvaluationOutcome,
    EvaluationSettings,
    make_steps,
    run_comparisons,
    write_outcome,
)
from bids_synthsr.run.evaluation_output import claim_output

if TYPE_CHECKING:
    from nipype.pipeline import engine as pe


@dataclass(frozen=True)
class Simulation:
    """What is simulated, and of which heads.

    Parameters
    ----------
    images
        Folder, or BIDS data set, of T1w images of 1 mm.
    maps
        Folder of label maps, each of which is a head; None takes the images alone.
    exams
        Contrasts of the scans of each exam, the reference first.
    slices
        Plane, spacing and thickness (mm) of the slices that are simulated.
    segmenter
        Weights of the network that segments volumes; None compares no structures.
    profiles
        Profiles with which all slices are simulated.
    noise_percent
        Standard deviation of the noise of all scans in percent of bright tissue.
    """

    images: Path
    maps: Path | None
    exams: tuple[tuple[str, ...], ...]
    slices: tuple[Slices, ...]
    segmenter: Path | None = None
    profiles: tuple[str, ...] = PROFILES[:1]
    noise_percent: float = 0.0


def simulate(settings: EvaluationSettings, simulation: Simulation) -> EvaluationOutcome:
    """Cut slices out of heads, let methods make the heads again, and compare.

    Parameters
    ----------
    settings
        Methods, folders and resources of the evaluation.
    simulation
        Heads, and the scans that are simulated of them.

    Raises
    ------
    FileNotFoundError, ValueError
        If there are no heads, or two of one name.
    """
    from bids_synthsr.evaluation.simulated_page import write_simulated_page

    labels = settings.participant_labels
    listed = list_heads(simulation.images, simulation.maps, labels)
    heads, refusals = refuse_heads(listed, simulation.images)
    others = describe_others(simulation.images, simulation.maps)
    refusals += describe_missing(labels, [head.subject for head in listed])
    cases = list_simulated_cases(
        simulation.exams,
        simulation.slices,
        settings.method_names,
        simulation.profiles,
        simulation.noise_percent,
    )
    methods = make_steps(settings)
    results = [
        settings.results_dir / f'{result_name(head.name, case.name, method)}.json'
        for head in heads
        for case in cases
        for method in case.methods
    ]

    segmenter = None
    if simulation.segmenter:
        segmenter = {'weights': str(simulation.segmenter), 'device': settings.device}

    def build() -> pe.Workflow:
        from bids_synthsr.workflows.simulated import init_simulate_wf

        return init_simulate_wf(
            heads=heads,
            cases=cases,
            methods=methods,
            segmenter=segmenter,
            results_dir=str(settings.results_dir),
            num_threads=settings.num_threads,
            work_dir=str(settings.work_dir),
        )

    painted = sum(head.image is None for head in heads)
    write_page = partial(write_simulated_page, painted=painted)
    with claim_output(settings.output_dir, 'simulate', results, settings.crash_dir):
        run_comparisons(
            build, [head.name for head in heads], results, settings, (*refusals, *others)
        )
        return write_outcome(results, settings, 'simulate', write_page, refusals)
