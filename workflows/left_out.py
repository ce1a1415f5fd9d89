"""Methods on real exams: a scan is left out, and must be explained by what the others give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from nipype.interfaces import utility as niu
from nipype.interfaces.base import BaseInterface
from nipype.pipeline import engine as pe

from bids_synthsr.interfaces.left_out import CompareLeftOut
from bids_synthsr.interfaces.registration import SCAN_FIELDS, AlignScan
from bids_synthsr.interfaces.resampling import DefineGrid
from bids_synthsr.interfaces.selection import SelectScans
from bids_synthsr.workflows.align import init_align_wf
from bids_synthsr.workflows.method import INPUTS, init_method_wf

SCAN_MEM_GB = 1.0  # a scan of 15 million voxels
FINDS_BRAIN = 'synthsr'  # the method whose brain mask serves all
Methods = Mapping[str, tuple[BaseInterface, float]]


@dataclass(frozen=True)
class LeftOut:
    """A scan of an exam, and the scans from which it is to be explained.

    Parameters
    ----------
    name
        Of the case: letters, digits and underscores.
    given, left_out
        Exams in plain values, as `describe_exam` writes them: the others, and the scan alone.
    facts
        What is to be told of the case.
    methods
        Names of the methods that can take the others.
    """

    name: str
    given: Mapping[str, Any]
    left_out: Mapping[str, Any]
    facts: Mapping[str, Any]
    methods: Sequence[str]


def init_leave_one_out_wf(
    *,
    cases: Mapping[str, Sequence[LeftOut]],
    methods: Methods,
    place: str,
    num_threads: int,
    work_dir: str,
    name: str = 'leave_one_out_wf',
) -> pe.Workflow:
    """Evaluate methods on real exams, independently of each other.

    Parameters
    ----------
    cases
        Of every exam, by its name (letters, digits, underscores).
    methods
        Interfaces of `bids_synthsr.interfaces.methods` and the memory they take, by name.
    place
        Folder for the results.
    num_threads
        Of one method.
    work_dir
        Work folder.
    name
        Of the workflow.
    """
    workflow = pe.Workflow(name=name, base_dir=work_dir)
    for exam, of_exam in cases.items():
        exam_wf = pe.Workflow(name=exam)
        exam_wf.add_nodes(
            [
                init_left_out_wf(
                    case=case, methods=methods, place=f'{place}/{exam}', num_threads=num_threads
                )
                for case in of_exam
            ]
        )
        workflow.add_nodes([exam_wf])
    return workflow


def init_left_out_wf(
    *, case: LeftOut, methods: Methods, place: str, num_threads: int
) -> pe.Workflow:
    """Let methods make a volume of some scans of an exam, and compare it with another scan.

    The others are judged and aligned as the app does it; the scan that was left out is aligned to
    their reference. Where `synthsr` is among the methods, all are compared in its brain mask, too.

    Parameters
    ----------
    case
        Which scans.
    methods
        See `init_leave_one_out_wf`.
    place
        First part of the names of the results.
    num_threads
        Of one method.
    """
    workflow = pe.Workflow(name=case.name)
    select = pe.Node(SelectScans(exam=dict(case.given)), name='select', mem_gb=SCAN_MEM_GB)
    align_wf = init_align_wf(mem_gb=SCAN_MEM_GB)
    grid = pe.Node(DefineGrid(spacing=1.0, fov='reference'), name='grid')
    load = pe.Node(SelectScans(exam=dict(case.left_out)), name='load', mem_gb=SCAN_MEM_GB)
    first = pe.Node(niu.Select(index=[0]), name='first', run_without_submitting=True)
    locate = pe.Node(AlignScan(name=case.facts['left_out']), name='locate', mem_gb=SCAN_MEM_GB)
    workflow.connect([
        (select, align_wf, [(field, f'inputnode.{field}') for field in SCAN_FIELDS]),
        (align_wf, grid, [('outputnode.scans', 'scans'), ('outputnode.scan2ref', 'scan2ref')]),
        (align_wf, first, [('outputnode.scans', 'inlist')]),
        (first, locate, [('out', 'reference')]),
        (load, locate, [('scans', 'scan')]),
    ])  # fmt: skip
    method_wfs = {}
    for method in case.methods:
        interface, mem_gb = methods[method]
        method_wfs[method] = init_method_wf(
            method=deepcopy(interface),
            n_procs=num_threads,
            mem_gb=mem_gb,
            name=method.replace('-', '_'),
        )
    for method, method_wf in method_wfs.items():
        label = method_wf.name
        facts = {**case.facts, 'method': method}
        compare = _comparing(facts, f'{place}_{case.name}_{label}', label)
        workflow.connect([
            (align_wf, method_wf, [
                (f'outputnode.{field}', f'inputnode.{field}') for field in INPUTS[:-1]
            ]),
            (grid, method_wf, [('grid', 'inputnode.grid')]),
            (method_wf, compare, [('outputnode.volumes', 'volumes')]),
            (load, compare, [('scans', 'scans'), ('acquisitions', 'acquisitions')]),
            (locate, compare, [('scan2ref', 'scan2ref'), ('fit', 'fit')]),
        ])  # fmt: skip
        if FINDS_BRAIN in method_wfs:
            workflow.connect([
                (method_wfs[FINDS_BRAIN], compare, [
                    ('outputnode.volumes', 'segmented'), ('outputnode.entities', 'entities')
                ])
            ])  # fmt: skip
    return workflow


def _comparing(facts: Mapping[str, Any], place: str, label: str) -> pe.Node:
    """Make a step that compares what a method made with the scan that was left out."""
    return pe.Node(
        CompareLeftOut(facts=facts, place=place),
        name=f'compare_{label}',
        mem_gb=SCAN_MEM_GB,
        overwrite=True,  # nipype does not see what a user removed from the output folder
    )
