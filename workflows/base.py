"""The data set: one workflow for every exam, and nothing between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nipype.pipeline import engine as pe

from bids_synthsr.settings import FILL, KEEP, Settings
from bids_synthsr.values.method import Forecast
from bids_synthsr.workflows.align import init_align_wf
from bids_synthsr.workflows.exam import init_exam_wf
from bids_synthsr.workflows.lesions import init_filled_wf, init_kept_wf
from bids_synthsr.workflows.method import init_method_wf, make_step
from bids_synthsr.workflows.stages import ExamSetup, stages_until

HANDED_ON = ('products', 'warnings')


def init_base_wf(
    *,
    exams: Sequence[Mapping[str, Any]],
    fingerprints: Sequence[Mapping[str, Any]],
    forecasts: Sequence[Forecast],
    settings: Settings,
    num_threads: int,
    name: str = 'bids_synthsr_wf',
) -> pe.Workflow:
    """Process exams independently of each other.

    Parameters
    ----------
    exams
        Exams in plain values, as `describe_exam` writes them.
    fingerprints
        What the outputs of each exam depend on: scans, settings and version.
    forecasts
        Memory and time that each exam will take.
    settings
        Settings of the run.
    num_threads
        Threads that one process uses.
    name
        Name of the workflow, and of its folder in the work folder.
    """
    workflow = pe.Workflow(name=name, base_dir=str(settings.work_dir))
    folders = {
        'bids_dir': str(settings.input.bids_dir),
        'output_dir': str(settings.output_dir),
        'run_uuid': settings.run_uuid,
    }
    for exam, fingerprint, forecast in zip(exams, fingerprints, forecasts, strict=True):
        setup = ExamSetup(
            exam=exam,
            fingerprint=fingerprint,
            method=settings.method,
            forecast=forecast,
            num_threads=num_threads,
            device=settings.run.device,
            low_mem=settings.run.low_mem or forecast.memory_gb > settings.run.mem_gb,
            folders=folders,
        )
        workflow.add_nodes([init_stages_wf(setup=setup, stage=settings.run.stage)])
    return workflow


def exam_name(subject: str, session: str | None) -> str:
    """Name the workflow of an exam: nipype takes letters, digits and underscores only."""
    return f'sub_{subject}' + (f'_ses_{session}' if session else '')


def init_stages_wf(*, setup: ExamSetup, stage: str) -> pe.Workflow:
    """Do what is to be done to an exam, up to a stage.

    Steps keep their names whichever stage ends the run: by these nipype recognizes them in the
    work folder.

    Parameters
    ----------
    setup
        All that the work on the exam depends on.
    stage
        Name of the stage that ends it.
    """
    workflow = pe.Workflow(name=exam_name(setup.exam['subject'], setup.exam['session']))
    stages = stages_until(stage)
    last = init_configured_exam_wf(setup=setup)
    names = {node for part in stages for node in part.nodes}
    last.remove_nodes([
        last.get_node(name) for name in node_names(last) if name not in names
    ])  # fmt: skip
    workflow.add_nodes([last])
    for later in stages:
        if later.builder and later.is_wanted(setup.method):
            stage_wf = later.build(setup)
            handed_on = [(f'outputnode.{field}', f'inputnode.{field}') for field in HANDED_ON]
            workflow.connect([(last, stage_wf, handed_on)])
            last = stage_wf
    return workflow


def node_names(workflow: pe.Workflow) -> list[str]:
    """Name the nodes and workflows that a workflow holds directly."""
    return list(dict.fromkeys(name.split('.')[0] for name in workflow.list_node_names()))


def init_configured_exam_wf(*, setup: ExamSetup, name: str = 'exam_wf') -> pe.Workflow:
    """Build the workflow of an exam for given settings; its outputs are those of `init_exam_wf`.

    Parameters
    ----------
    setup
        All that the work on the exam depends on.
    name
        Name of the workflow.
    """
    forecast, method = setup.forecast, setup.method
    add_lesions = {FILL: init_filled_wf, KEEP: init_kept_wf}.get(method.lesions)
    method_wf = init_method_wf(
        method=make_step(method, setup.num_threads, setup.device, setup.low_mem),
        # those on a GPU are counted apart
        n_procs=setup.num_threads if setup.device == 'cpu' else 1,
        mem_gb=forecast.synthesize_gb,
        name='synthesis_wf' if add_lesions else 'method_wf',
    )
    if add_lesions:
        method_wf = add_lesions(
            method_wf=method_wf,
            masks=setup.exam.get('lesion_masks', ()),
            mem_gb=forecast.lesions_gb,
        )
    workflow = init_exam_wf(
        align_wf=init_align_wf(
            mem_gb=forecast.align_gb, transforms=setup.exam.get('transforms', {})
        ),
        method_wf=method_wf,
        mem_gb=forecast.resample_gb,
        name=name,
    )
    inputs = workflow.inputs.inputnode
    inputs.exam = dict(setup.exam)
    inputs.reference = method.reference or ''
    inputs.contrasts = list(method.contrasts)
    inputs.spacing = method.output_resolution
    inputs.fov = method.fov
    inputs.takes_ct = method.ct
    return workflow
