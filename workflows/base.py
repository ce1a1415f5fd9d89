"""The data set: one workflow for every exam, and nothing between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bids_synthsr.workflows.align import init_align_wf
from bids_synthsr.workflows.exam import init_exam_wf
from bids_synthsr.workflows.method import init_method_wf
from bids_synthsr.workflows.outputs import INPUTS, init_outputs_wf
from nipype.interfaces.base import BaseInterface
from nipype.pipeline import engine as pe

from bids_synthsr.interfaces.methods import (
    Automatic,
    Cubic,
    Published,
    SuperResolution,
    TotalVariation,
)
from bids_synthsr.settings import MethodSettings, Settings

SCAN_MEM_GB = 1.0  # a 512 x 512 x 200 scan in float32, twice, and its resampling
METHOD_MEM_GB = {
    'auto': 5.0,
    'tv': 5.0,
    'sr-t1': 5.0,
    'cubic': 1.0,
    'published': 4.0,
}  # fmt: skip; see benchmarks/


def init_base_wf(
    *,
    exams: Sequence[Mapping[str, Any]],
    fingerprints: Sequence[Mapping[str, Any]],
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
    settings
        Of the run.
    num_threads
        Threads of one process.
    name
        Of the workflow, and of its folder in the work folder.
    """
    workflow = pe.Workflow(name=name, base_dir=str(settings.work_dir))
    for exam, fingerprint in zip(exams, fingerprints, strict=True):
        workflow.add_nodes([_init_single_wf(exam, fingerprint, settings, num_threads)])
    return workflow


def exam_name(subject: str, session: str | None) -> str:
    """Name the workflow of an exam: nipype takes letters, digits and underscores only."""
    return f'sub_{subject}' + (f'_ses_{session}' if session else '')


def _init_single_wf(
    exam: Mapping[str, Any], fingerprint: Mapping[str, Any], settings: Settings, num_threads: int
) -> pe.Workflow:
    """Join what is made of an exam to what is written of it."""
    workflow = pe.Workflow(name=exam_name(exam['subject'], exam['session']))
    exam_wf = init_configured_exam_wf(
        exam=exam,
        method=settings.method,
        num_threads=num_threads,
        device=settings.run.device,
        low_mem=settings.run.low_mem,
    )
    outputs_wf = init_outputs_wf(
        exam=exam,
        bids_dir=str(settings.input.bids_dir),
        output_dir=str(settings.output_dir),
        run_uuid=settings.run_uuid,
        fingerprint=fingerprint,
    )
    outputs = [(f'outputnode.{field}', f'inputnode.{field}') for field in INPUTS]
    workflow.connect([(exam_wf, outputs_wf, outputs)])
    return workflow


def init_configured_exam_wf(
    *,
    exam: Mapping[str, Any],
    method: MethodSettings,
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
        align_wf=init_align_wf(mem_gb=SCAN_MEM_GB),
        method_wf=init_method_wf(
            method=choose_method(method, num_threads, device, low_mem),
            n_procs=num_threads,
            mem_gb=METHOD_MEM_GB[method.method],
        ),
        mem_gb=SCAN_MEM_GB,
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
    if method.method in ('auto', 'sr-t1'):
        interface = Automatic if method.method == 'auto' else SuperResolution
        return interface(num_threads=num_threads, device=device, weights=str(method.weights))
    return Published(
        num_threads=num_threads,
        device=device,
        low_mem=low_mem,
        weights=str(method.weights),
        ct=method.ct,
    )
