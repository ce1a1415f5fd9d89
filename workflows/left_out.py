"""Methods on real exams: a scan is left out, and must be explained by what the others give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy

from nipype.pipeline import engine as pe

from bids_synthsr.evaluation.cases import LeftOut, result_name
from bids_synthsr.interfaces.evaluation import CompareLeftOut
from bids_synthsr.interfaces.lists import FirstItem
from bids_synthsr.interfaces.methods import Synthesize
from bids_synthsr.interfaces.registration import SCAN_FIELDS, AlignScan
from bids_synthsr.interfaces.resampling import DefineGrid
from bids_synthsr.interfaces.selection import SelectScans
from bids_synthsr.workflows.align import init_align_wf
from bids_synthsr.workflows.method import init_method_wf
from bids_synthsr.workflows.simulated import SCAN_INPUTS

SCAN_MEM_GB = 1.0  # a scan of 15 million voxels
FINDS_BRAIN = 'any-exam'  # the method whose brain mask serves all
Methods = Mapping[str, tuple[Synthesize, float]]


def init_leave_one_out_wf(
    *,
    cases: Mapping[str, Sequence[LeftOut]],
    methods: Methods,
    results_dir: str,
    num_threads: int,
    work_dir: str,
    name: str = 'leave_one_out_wf',
) -> pe.Workflow:
    """Evaluate methods on real exams, independently of each other.

    Parameters
    ----------
    cases
        Cases of every exam, by the name of the exam (letters, digits, underscores).
    methods
        Interfaces of `bids_synthsr.interfaces.methods` and the memory they take (GB), by name.
    results_dir
        Folder in which every comparison writes its results.
    num_threads
        Number of threads of one method.
    work_dir
        Folder for the files of all steps.
    name
        Name of the workflow and of its folder in ``work_dir``.
    """
    workflow = pe.Workflow(name=name, base_dir=work_dir)
    for exam, of_exam in cases.items():
        exam_wf = pe.Workflow(name=exam)
        for case in of_exam:
            left_out_wf = init_left_out_wf(
                exam=exam,
                case=case,
                methods=methods,
                results_dir=results_dir,
                num_threads=num_threads,
            )
            exam_wf.add_nodes([left_out_wf])
        workflow.add_nodes([exam_wf])
    return workflow


def init_left_out_wf(
    *, exam: str, case: LeftOut, methods: Methods, results_dir: str, num_threads: int
) -> pe.Workflow:
    """Let methods make a volume of some scans of an exam, and compare it with another scan.

    The others are judged and aligned as the app does it; the scan that was left out is aligned to
    their reference. Where `any-exam` is among the methods, all are compared in its brain mask as
    well.

    Parameters
    ----------
    exam
        Name of the exam in the names of the results.
    case
        Which scan is left out, and what explains it; the workflow gets its name.
    methods, results_dir, num_threads
        See `init_leave_one_out_wf`.
    """
    workflow = pe.Workflow(name=case.name)
    select = pe.Node(SelectScans(exam=dict(case.others)), name='select', mem_gb=SCAN_MEM_GB)
    align_wf = init_align_wf(mem_gb=SCAN_MEM_GB)
    grid = pe.Node(DefineGrid(spacing=1.0, fov='reference'), name='grid')
    load = pe.Node(SelectScans(exam=dict(case.left_out)), name='load', mem_gb=SCAN_MEM_GB)
    first = pe.Node(FirstItem(), name='first', run_without_submitting=True)
    locate = pe.Node(AlignScan(name=case.facts['left_out']), name='locate', mem_gb=SCAN_MEM_GB)
    workflow.connect([
        (select, align_wf, [(field, f'inputnode.{field}') for field in SCAN_FIELDS]),
        (align_wf, grid, [
            (f'outputnode.{field}', field) for field in ('scans', 'acquisitions', 'scan2ref')
        ]),
        (align_wf, first, [('outputnode.scans', 'entries')]),
        (first, locate, [('first', 'reference')]),
        (load, locate, [('scans', 'scan')]),
    ])  # fmt: skip
    method_wfs = _init_method_wfs(case.methods, methods, num_threads)
    for method, method_wf in method_wfs.items():
        compare = _comparing(exam, case, method, results_dir)
        workflow.connect([
            (align_wf, method_wf, [
                (f'outputnode.{field}', f'inputnode.{field}') for field in SCAN_INPUTS
            ]),
            (grid, method_wf, [('grid', 'inputnode.grid')]),
            (method_wf, compare, [('outputnode.products', 'products')]),
            (load, compare, [('scans', 'scans'), ('acquisitions', 'acquisitions')]),
            (locate, compare, [('scan2ref', 'scan2ref'), ('fit', 'fit')]),
        ])  # fmt: skip
        if FINDS_BRAIN in method_wfs:
            workflow.connect([
                (method_wfs[FINDS_BRAIN], compare, [('outputnode.products', 'segmented')])
            ])  # fmt: skip
    return workflow


def _init_method_wfs(
    names: Sequence[str], methods: Methods, num_threads: int
) -> dict[str, pe.Workflow]:
    """Make a workflow of each method that takes the scans, by the name of the method."""
    workflows = {}
    for method in names:
        interface, mem_gb = methods[method]
        workflows[method] = init_method_wf(
            method=deepcopy(interface),
            n_procs=num_threads,
            mem_gb=mem_gb,
            name=method.replace('-', '_'),
        )
    return workflows


def _comparing(exam: str, case: LeftOut, method: str, results_dir: str) -> pe.Node:
    """Make a step that compares what a method made with the scan that was left out."""
    stem = f'{results_dir}/{result_name(exam, case.name, method)}'
    return pe.Node(
        CompareLeftOut(facts={**case.facts, 'method': method}, stem=stem),
        name=f'compare_{method.replace("-", "_")}',
        mem_gb=SCAN_MEM_GB,
        overwrite=True,  # nipype does not see what a user removed from the output folder
    )
