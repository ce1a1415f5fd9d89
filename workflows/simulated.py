"""Methods against the truth: thick slices are cut from heads, and the heads made again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_synthsr.evaluation.cases import SimulatedCase, name_truth, result_name
from bids_synthsr.evaluation.head_files import HeadFiles
from bids_synthsr.interfaces.evaluation import (
    CompareVolume,
    ConformHead,
    MaskBrain,
    PaintHead,
    SegmentVolume,
    SimulateExam,
)
from bids_synthsr.interfaces.methods import Synthesize
from bids_synthsr.methods.catalogue import METHODS
from bids_synthsr.workflows.method import init_method_wf

SCAN_INPUTS = ('scans', 'contrasts', 'acquisitions', 'scan2ref')
HEAD_MEM_GB = 1.0  # 256^3 in float32, a few times
SEGMENT_MEM_GB = 4.0
PAINTED = ('head', 'mask', 'labels', 'reference')
TRUTH = (*PAINTED, 'sizes')
Methods = Mapping[str, tuple[Synthesize, float]]


def init_simulate_wf(
    *,
    heads: Sequence[HeadFiles],
    cases: Sequence[SimulatedCase],
    methods: Methods,
    segmenter: Mapping[str, Any] | None,
    results_dir: str,
    num_threads: int,
    work_dir: str,
    name: str = 'simulate_wf',
) -> pe.Workflow:
    """Evaluate methods on simulated scans of every head, independently of each other.

    Parameters
    ----------
    heads
        Files of the heads, whose names the workflows get.
    cases
        Scans to simulate of every head, and the methods that take them.
    methods
        Steps made by `make_step` and the memory they take (GB), by the name of the method.
    segmenter
        Inputs of `SegmentVolume`: ``weights``, ``device``; None compares no structures.
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
    for head in heads:
        head_wf = init_head_wf(
            head=head,
            cases=cases,
            methods=methods,
            segmenter=segmenter,
            results_dir=results_dir,
            num_threads=num_threads,
        )
        workflow.add_nodes([head_wf])
    return workflow


def init_head_wf(
    *,
    head: HeadFiles,
    cases: Sequence[SimulatedCase],
    methods: Methods,
    segmenter: Mapping[str, Any] | None,
    results_dir: str,
    num_threads: int,
) -> pe.Workflow:
    """Prepare a head and scan it in several ways; the workflow gets the name of the head.

    Parameters
    ----------
    head
        Files of the head, and whose it is.
    cases, methods, segmenter, results_dir, num_threads
        See `init_simulate_wf`.
    """
    workflow = pe.Workflow(name=head.name)
    truth_wf = init_truth_wf(head=head, segmenter=segmenter, num_threads=num_threads)
    for case in cases:
        case_wf = init_case_wf(
            head=head,
            case=case,
            methods=methods,
            segmenter=segmenter,
            results_dir=results_dir,
            num_threads=num_threads,
        )
        workflow.connect([
            (truth_wf, case_wf, [(f'outputnode.{x}', f'inputnode.{x}') for x in TRUTH])
        ])  # fmt: skip
    return workflow


def init_truth_wf(
    *,
    head: HeadFiles,
    segmenter: Mapping[str, Any] | None,
    num_threads: int,
    name: str = 'truth',
) -> pe.Workflow:
    """Prepare what methods are compared with: of a label map, or of a T1w alone.

    Parameters
    ----------
    head
        Files of the head, and whose it is.
    segmenter, num_threads
        See `init_simulate_wf`.
    name
        Name of the workflow among the nodes of the head.

    Outputs
    -------
    head
        T1w of 1 mm.
    mask
        1 in the brain.
    labels, reference
        Label map, and the segmentation that is taken for the truth; empty where there is none.
    sizes
        Volumes of the structures of that segmentation; empty where its voxels are to be counted.
    """
    workflow = pe.Workflow(name=name)
    fields = niu.IdentityInterface(TRUTH, labels='', reference='', sizes=[])
    outputnode = pe.Node(fields, name='outputnode')
    if head.labels:
        painted = {'labels': str(head.labels), 'image': str(head.image or '')}
        paint = pe.Node(PaintHead(**painted), name='paint', mem_gb=HEAD_MEM_GB)
        workflow.connect([(paint, outputnode, [(field, field) for field in PAINTED])])
        return workflow
    conform = pe.Node(ConformHead(image=str(head.image)), name='conform', mem_gb=HEAD_MEM_GB)
    mask = pe.Node(MaskBrain(), name='mask', mem_gb=HEAD_MEM_GB)
    workflow.connect([
        (conform, mask, [('head', 'head')]),
        (conform, outputnode, [('head', 'head')]),
        (mask, outputnode, [('mask', 'mask')]),
    ])  # fmt: skip
    if segmenter:
        segment = _segmenting(segmenter, num_threads, 'segment')
        workflow.connect([
            (conform, segment, [('head', 'head')]),
            (segment, outputnode, [('segmentation', 'reference'), ('sizes', 'sizes')]),
        ])  # fmt: skip
    return workflow


def init_case_wf(
    *,
    head: HeadFiles,
    case: SimulatedCase,
    methods: Methods,
    segmenter: Mapping[str, Any] | None,
    results_dir: str,
    num_threads: int,
) -> pe.Workflow:
    """Scan a head once, let every method make it again, and compare.

    Parameters
    ----------
    head
        Files of the head, and whose it is.
    case
        Scans to simulate, and the methods that take them; the workflow gets its name.
    methods, segmenter, results_dir, num_threads
        See `init_simulate_wf`.

    Inputs
    ------
    head
        T1w of 1 mm: the truth of methods that make a T1w of any scan.
    mask
        Where volumes are compared with it.
    labels, reference, sizes
        Its label map, its segmentation, and the volumes in that.
    """
    workflow = pe.Workflow(name=case.name)
    inputnode = pe.Node(niu.IdentityInterface(TRUTH), name='inputnode')
    simulate = _scanning(head, case)
    workflow.connect([(inputnode, simulate, [('head', 'head'), ('labels', 'labels')])])
    for method in case.methods:
        interface, mem_gb = methods[method]
        label = method.replace('-', '_')
        method_wf = init_method_wf(
            method=deepcopy(interface), n_procs=num_threads, mem_gb=mem_gb, name=label
        )
        compare = _comparing(head, case, method, results_dir)
        workflow.connect([
            (simulate, method_wf, [(field, f'inputnode.{field}') for field in SCAN_INPUTS]),
            (inputnode, method_wf, [('head', 'inputnode.grid')]),
            (method_wf, compare, [('outputnode.products', 'products')]),
            (inputnode, compare, [('mask', 'mask')]),
            (simulate, compare, [('scans', 'scans')]),
        ])  # fmt: skip
        source, field = (inputnode, 'head') if METHODS[method].makes_t1w else (simulate, 'truth')
        workflow.connect([(source, compare, [(field, 'truth')])])
        if segmenter:
            segment = _segmenting(segmenter, num_threads, f'segment_{label}')
            workflow.connect([
                (method_wf, segment, [('outputnode.products', 'products')]),
                (segment, compare, [('segmentation', 'segmentation'), ('sizes', 'sizes')]),
                (inputnode, compare, [('reference', 'reference'), ('sizes', 'reference_sizes')]),
            ])  # fmt: skip
    return workflow


def _segmenting(segmenter: Mapping[str, Any], num_threads: int, name: str) -> pe.Node:
    """Make a step that segments a T1w."""
    interface = SegmentVolume(**segmenter, num_threads=num_threads)
    return pe.Node(interface, name=name, n_procs=num_threads, mem_gb=SEGMENT_MEM_GB)


def _scanning(head: HeadFiles, case: SimulatedCase) -> pe.Node:
    """Make a step that scans a head."""
    interface = SimulateExam(
        exam=list(case.contrasts),
        orientation=case.orientation,
        spacing=case.spacing,
        thickness=case.thickness,
        seed=head.seed,
        is_painted=head.is_painted,
        profile=case.profile,
        noise_percent=case.noise_percent,
    )
    return pe.Node(interface, name='simulate', mem_gb=HEAD_MEM_GB)


def _comparing(head: HeadFiles, case: SimulatedCase, method: str, results_dir: str) -> pe.Node:
    """Make a step that compares what a method made with the truth."""
    facts = {
        'subject': head.subject,
        'session': head.session,
        'group': head.group,
        'orientation': case.orientation,
        'spacing': case.spacing,
        'thickness': case.thickness,
        'contrasts': '+'.join(case.contrasts),
        'method': method,
        'truth': name_truth(
            method, case.contrasts[0], is_painted=case.contrasts[0] != 'T1w' or head.is_painted
        ),
        'profile': case.profile,
        'noise_percent': case.noise_percent,
    }
    stem = f'{results_dir}/{result_name(head.name, case.name, method)}'
    return pe.Node(
        CompareVolume(facts=facts, stem=stem),
        name=f'compare_{method.replace("-", "_")}',
        mem_gb=HEAD_MEM_GB,
        overwrite=True,  # nipype does not see what a user removed from the output folder
    )
