"""Methods against the truth: thick slices are cut from heads, and the heads made again."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from nipype.interfaces import utility as niu
from nipype.interfaces.base import BaseInterface
from nipype.pipeline import engine as pe

from bids_synthsr.interfaces.evaluation import (
    CompareVolume,
    ConformHead,
    MaskBrain,
    PaintHead,
    SegmentVolume,
    SimulateExam,
)
from bids_synthsr.workflows.method import INPUTS, OUTPUTS, init_method_wf

SCAN_INPUTS = INPUTS[:-1]  # all but the grid
HEAD_MEM_GB = 1.0  # 256^3 in float32, a few times
SEGMENT_MEM_GB = 4.0
PAINTED = ('head', 'mask', 'labels', 'reference')
TRUTH = (*PAINTED, 'sizes')
SLICES = ('orientation', 'spacing', 'thickness')
TOLD = ('subject', 'session', 'group')  # of a head


def init_simulate_wf(
    *,
    heads: Mapping[str, Mapping[str, Any]],
    cases: Mapping[str, Mapping[str, Any]],
    methods: Mapping[str, tuple[BaseInterface, float]],
    segmenter: Mapping[str, Any] | None,
    place: str,
    num_threads: int,
    work_dir: str,
    name: str = 'simulate_wf',
) -> pe.Workflow:
    """Evaluate methods on simulated scans of every head, independently of each other.

    Parameters
    ----------
    heads
        ``image``, ``labels``, ``subject``, ``session``, ``group`` and ``seed`` of each, by name
        (letters, digits, underscores).
    cases
        ``exam`` (contrasts), ``orientation``, ``spacing``, ``thickness`` of the scans, and the
        methods that are ``able`` to take them, by name.
    methods
        Interfaces of `bids_synthsr.interfaces.methods` and the memory they take, by name.
    segmenter
        Inputs of `SegmentVolume`: ``weights``, ``device``; None compares no structures.
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
    for head, facts in heads.items():
        head_wf = init_head_wf(
            facts=facts,
            cases=cases,
            methods=methods,
            segmenter=segmenter,
            place=f'{place}/{head}',
            num_threads=num_threads,
            name=head,
        )
        workflow.add_nodes([head_wf])
    return workflow


def init_head_wf(
    *,
    facts: Mapping[str, Any],
    cases: Mapping[str, Mapping[str, Any]],
    methods: Mapping[str, tuple[BaseInterface, float]],
    segmenter: Mapping[str, Any] | None,
    num_threads: int,
    place: str,
    name: str,
) -> pe.Workflow:
    """Prepare a head and scan it in several ways.

    Parameters
    ----------
    facts
        Of the head; see `init_simulate_wf`.
    cases, methods, segmenter, num_threads
        See `init_simulate_wf`.
    place
        First part of the names of the results.
    name
        Of the workflow.
    """
    workflow = pe.Workflow(name=name)
    truth_wf = init_truth_wf(facts=facts, segmenter=segmenter, num_threads=num_threads)
    for case, setting in cases.items():
        case_wf = init_case_wf(
            facts=facts,
            setting=setting,
            methods=methods,
            segmenter=segmenter,
            place=f'{place}_{case}',
            num_threads=num_threads,
            name=case,
        )
        workflow.connect([
            (truth_wf, case_wf, [(f'outputnode.{x}', f'inputnode.{x}') for x in TRUTH])
        ])  # fmt: skip
    return workflow


def init_truth_wf(
    *,
    facts: Mapping[str, Any],
    segmenter: Mapping[str, Any] | None,
    num_threads: int,
    name: str = 'truth',
) -> pe.Workflow:
    """Prepare what methods are compared with: of a label map, or of a T1w alone.

    Parameters
    ----------
    facts, segmenter, num_threads
        See `init_head_wf`.
    name
        Of the workflow.

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
    if facts.get('labels'):
        painted = {'labels': facts['labels'], 'image': facts.get('image', '')}
        paint = pe.Node(PaintHead(**painted), name='paint', mem_gb=HEAD_MEM_GB)
        workflow.connect([(paint, outputnode, [(field, field) for field in PAINTED])])
        return workflow
    conform = pe.Node(ConformHead(image=facts['image']), name='conform', mem_gb=HEAD_MEM_GB)
    mask = pe.Node(MaskBrain(), name='mask', mem_gb=HEAD_MEM_GB)
    workflow.connect([
        (conform, mask, [('head', 'head')]),
        (conform, outputnode, [('head', 'head')]),
        (mask, outputnode, [('mask', 'mask')]),
    ])  # fmt: skip
    if segmenter:
        segment = _segmenting(segmenter, num_threads, 'segment')
        workflow.connect([
            (conform, segment, [('head', 'volumes')]),
            (segment, outputnode, [('segmentation', 'reference'), ('sizes', 'sizes')]),
        ])  # fmt: skip
    return workflow


def _segmenting(segmenter: Mapping[str, Any], num_threads: int, name: str) -> pe.Node:
    """Make a step that segments a T1w."""
    interface = SegmentVolume(**segmenter, num_threads=num_threads)
    return pe.Node(interface, name=name, n_procs=num_threads, mem_gb=SEGMENT_MEM_GB)


def _scanning(facts: Mapping[str, Any], setting: Mapping[str, Any]) -> pe.Node:
    """Make a step that scans a head; see `init_case_wf`."""
    interface = SimulateExam(
        **{field: setting[field] for field in SLICES},
        exam=setting['exam'],
        seed=facts['seed'],
        is_painted=bool(facts.get('labels')) and not facts.get('image'),
    )
    return pe.Node(interface, name='simulate', mem_gb=HEAD_MEM_GB)


def _comparing(
    facts: Mapping[str, Any], setting: Mapping[str, Any], method: str, place: str
) -> pe.Node:
    """Make a step that compares what a method made with the truth; see `init_case_wf`."""
    told = {x: facts[x] for x in TOLD} | {x: setting[x] for x in SLICES}
    told |= {'contrasts': '+'.join(setting['exam']), 'method': method}
    label = method.replace('-', '_')
    return pe.Node(
        CompareVolume(facts=told, place=f'{place}_{label}'),
        name=f'compare_{label}',
        mem_gb=HEAD_MEM_GB,
        overwrite=True,  # nipype does not see what a user removed from the output folder
    )


def init_case_wf(
    *,
    facts: Mapping[str, Any],
    setting: Mapping[str, Any],
    methods: Mapping[str, tuple[BaseInterface, float]],
    segmenter: Mapping[str, Any] | None,
    num_threads: int,
    place: str,
    name: str,
) -> pe.Workflow:
    """Scan a head once, let every method make it again, and compare.

    Parameters
    ----------
    facts
        What is to be told of the head.
    setting
        ``exam``, ``orientation``, ``spacing`` and ``thickness`` of the scans, and the methods
        that are ``able`` to take them.
    methods, segmenter, num_threads
        See `init_simulate_wf`.
    place
        First part of the names of the results.
    name
        Of the workflow.

    Inputs
    ------
    head
        The truth, 1 mm.
    mask
        Where volumes are compared with it.
    labels, reference, sizes
        Its label map, its segmentation, and the volumes in that.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(TRUTH), name='inputnode')
    simulate = _scanning(facts, setting)
    workflow.connect([(inputnode, simulate, [('head', 'head'), ('labels', 'labels')])])
    for method in setting['able']:
        interface, mem_gb = methods[method]
        label = method.replace('-', '_')
        method_wf = init_method_wf(
            method=deepcopy(interface), n_procs=num_threads, mem_gb=mem_gb, name=label
        )
        compare = _comparing(facts, setting, method, place)
        workflow.connect([
            (simulate, method_wf, [(field, f'inputnode.{field}') for field in SCAN_INPUTS]),
            (inputnode, method_wf, [('head', 'inputnode.grid')]),
            (method_wf, compare, [(f'outputnode.{x}', x) for x in ('volumes', 'entities')]),
            (inputnode, compare, [('head', 'head'), ('mask', 'mask')]),
        ])  # fmt: skip
        if segmenter:
            segment = _segmenting(segmenter, num_threads, f'segment_{label}')
            workflow.connect([
                (method_wf, segment, [(f'outputnode.{x}', x) for x in OUTPUTS]),
                (segment, compare, [('segmentation', 'segmentation'), ('sizes', 'sizes')]),
                (inputnode, compare, [('reference', 'reference'), ('sizes', 'reference_sizes')]),
            ])  # fmt: skip
    return workflow
