"""The data set: one workflow for every exam, and nothing between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nipype.interfaces.base import BaseInterface
from nipype.pipeline import engine as pe

from bids_synthsr.interfaces.methods import (
    Automatic,
    Cubic,
    Published,
    SuperResolution,
    SynthSR,
    TotalVariation,
)
from bids_synthsr.settings import STAGES, MethodSettings, Settings
from bids_synthsr.values.forecast import Forecast
from bids_synthsr.workflows.align import init_align_wf
from bids_synthsr.workflows.exam import init_exam_wf
from bids_synthsr.workflows.method import init_method_wf
from bids_synthsr.workflows.outputs import INPUTS, init_outputs_wf


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
        Of each exam's scans, the settings and the version.
    forecasts
        What each exam will take.
    settings
        Of the run.
    num_threads
        Threads of one process.
    name
        Of the workflow, and of its folder in the work folder.
    """
    workflow = pe.Workflow(name=name, base_dir=str(settings.work_dir))
    for exam, fingerprint, forecast in zip(exams, fingerprints, forecasts, strict=True):
        workflow.add_nodes([_init_single_wf(exam, fingerprint, forecast, settings, num_threads)])
    return workflow


def exam_name(subject: str, session: str | None) -> str:
    """Name the workflow of an exam: nipype takes letters, digits and underscores only."""
    return f'sub_{subject}' + (f'_ses_{session}' if session else '')


def _init_single_wf(
    exam: Mapping[str, Any],
    fingerprint: Mapping[str, Any],
    forecast: Forecast,
    settings: Settings,
    num_threads: int,
) -> pe.Workflow:
    """Join what is made of an exam to what is written of it."""
    workflow = pe.Workflow(name=exam_name(exam['subject'], exam['session']))
    exam_wf = init_configured_exam_wf(
        exam=exam,
        method=settings.method,
        forecast=forecast,
        num_threads=num_threads,
        device=settings.run.device,
        low_mem=settings.run.low_mem or forecast.memory_gb > settings.run.mem_gb,
    )
    if settings.run.stage != STAGES[-1]:
        end_after(exam_wf, settings.run.stage)
        workflow.add_nodes([exam_wf])
        return workflow
    outputs_wf = init_outputs_wf(
        exam=exam,
        bids_dir=str(settings.input.bids_dir),
        output_dir=str(settings.output_dir),
        run_uuid=settings.run_uuid,
        fingerprint=fingerprint,
        mem_gb=forecast.outputs_gb,
    )
    outputs = [(f'outputnode.{field}', f'inputnode.{field}') for field in INPUTS]
    workflow.connect([(exam_wf, outputs_wf, outputs)])
    return workflow


def end_after(exam_wf: pe.Workflow, stage: str) -> None:
    """Leave what comes after a stage out of the workflow of an exam.

    Its steps keep their names, by which nipype knows them in the work folder in a later stage.
    """
    later = [exam_wf.get_node('outputnode')]
    if stage == 'register':
        names = [name for name in exam_wf.list_node_names() if name.endswith('_wf.synthesize')]
        later += [exam_wf.get_node(name.split('.')[0]) for name in names]
    exam_wf.remove_nodes(later)


def init_configured_exam_wf(
    *,
    exam: Mapping[str, Any],
    method: MethodSettings,
    forecast: Forecast,
    num_threads: int,
    device: str,
    low_mem: bool,
    name: str = 'exam_wf',
) -> pe.Workflow:
    """Build the workflow of an exam for given settings; its outputs are those of `init_exam_wf`.

    Parameters
    ----------
    exam
        The exam in plain values.
    method
        What is made of it.
    forecast
        What it will take.
    num_threads
        Threads of one process.
    device
        Where networks run.
    low_mem
        Whether to trade time for memory.
    name
        Of the workflow.
    """
    workflow = init_exam_wf(
        align_wf=init_align_wf(mem_gb=forecast.align_gb, given=exam.get('transforms', {})),
        method_wf=init_method_wf(
            method=choose_method(method, num_threads, device, low_mem),
            n_procs=num_threads if device == 'cpu' else 1,  # those on a GPU are counted apart
            mem_gb=forecast.synthesize_gb,
            # nipype's cache knows a step by its folder and its inputs, not by what it does
            name=f'{method.method.replace("-", "_")}_wf',
        ),
        mem_gb=forecast.resample_gb,
        name=name,
    )
    inputs = workflow.inputs.inputnode
    inputs.exam = dict(exam)
    inputs.reference = method.reference or ''
    inputs.contrasts = list(method.contrasts)
    inputs.spacing = method.output_resolution
    inputs.fov = method.fov
    return workflow


def choose_method(
    method: MethodSettings, num_threads: int, device: str, low_mem: bool
) -> BaseInterface:
    """Make the interface of the method that the settings name."""
    if method.method == 'cubic':
        return Cubic(num_threads=num_threads)
    if method.method == 'tv':
        return TotalVariation(num_threads=num_threads)
    on_device = {
        'num_threads': num_threads,
        'device': device,
        'use_gpu': device != 'cpu',
        'low_mem': low_mem,
        'weights': str(method.weights),
    }
    if method.method == 'published':
        return Published(**on_device, ct=method.ct)
    if method.method == 'synthsr':
        return SynthSR(**on_device, least_quality=method.least_quality)
    return Automatic(**on_device) if method.method == 'auto' else SuperResolution(**on_device)
