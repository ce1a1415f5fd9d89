"""Morphometry against the truth: structures of heads are changed, and looked for again."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_synthsr.evaluation.head_files import HeadFiles
from bids_synthsr.evaluation.shape_cases import TRUTH, ShapeCase, ShapePlaces, label_of
from bids_synthsr.interfaces.evaluation import (
    ConformHead,
    PaintHead,
    SegmentVolume,
    SimulateExam,
)
from bids_synthsr.interfaces.parts import PartsNode
from bids_synthsr.interfaces.shape_changes import (
    ChangeHead,
    DeformAnew,
    KeepBrain,
    MeasureChanges,
)
from bids_synthsr.workflows.method import init_method_wf
from bids_synthsr.workflows.morphometry import DEFORM_GB, init_tbm_wf
from bids_synthsr.workflows.simulated import (
    HEAD_MEM_GB,
    SCAN_INPUTS,
    SEGMENT_MEM_GB,
    Methods,
)

KINDS = ('exam', 'before')  # a head as it is compared, and before it changed
CHANGE_MEM_GB = 2.5  # 256^3 vectors, a few times


def init_simulated_shapes_wf(
    *,
    case: ShapeCase,
    methods: Methods,
    segmenter: Mapping[str, Any],
    places: ShapePlaces,
    num_threads: int,
    name: str = 'shapes_wf',
) -> pe.Workflow:
    """Change heads, let methods make them again of thick slices, and compare their shapes.

    Parameters
    ----------
    case
        What changes in whom, and how it is looked for.
    methods
        Steps made by `make_step` and the memory they take (GB), by the name of the method.
    segmenter
        Inputs of `SegmentVolume`: ``weights``, ``device``.
    places
        Where it is written.
    num_threads
        Number of threads of one method.
    name
        Name of the workflow and of its folder.
    """
    workflow = pe.Workflow(name=name, base_dir=str(places.work))
    people = [
        init_changed_head_wf(
            head=head,
            is_changed=is_changed,
            case=case,
            methods=methods,
            segmenter=segmenter,
            num_threads=num_threads,
        )
        for head, is_changed in zip(case.heads, case.is_second, strict=True)
    ]
    for method in (TRUTH, *methods):
        label = label_of(method)
        finding = init_finding_wf(method=method, case=case, places=places)
        for number, person in enumerate(people, 1):
            workflow.connect([
                (person, finding, [
                    (f'outputnode.exam_{label}', f'exams.in{number}'),
                    ('outputnode.structures', f'structures.in{number}'),
                    ('outputnode.growth', f'growths.in{number}'),
                ]),
            ])  # fmt: skip
        changed = (x for x, second in zip(people, case.is_second, strict=True) if second)
        for number, person in enumerate(changed, 1):
            workflow.connect(
                person, f'outputnode.before_{label}', finding, f'unchanged.in{number}'
            )
    return workflow


def init_changed_head_wf(
    *,
    head: HeadFiles,
    is_changed: bool,
    case: ShapeCase,
    methods: Methods,
    segmenter: Mapping[str, Any],
    num_threads: int,
) -> pe.Workflow:
    """Change a head, scan it, and let every method make it again; it gets the name of the head.

    Parameters
    ----------
    head
        Files of the head, and whose it is.
    is_changed
        Whether its structures change.
    case, methods, segmenter, num_threads
        See `init_simulated_shapes_wf`.

    Outputs
    -------
    structures
        Numbers of the structures that change.
    growth
        Logarithm of their growth.
    exam_truth, before_truth
        The changed head as an exam whose shape is compared, and the same before it changed, where
        it does; of every method, what it made of both, with its name in place of ``truth``.
    """
    workflow = pe.Workflow(name=head.name)
    arms = [label_of(method) for method in (TRUTH, *methods)]
    exams = [f'{kind}_{label}' for label in arms for kind in KINDS]
    outputnode = pe.Node(niu.IdentityInterface(['structures', 'growth', *exams]), 'outputnode')
    for kind in KINDS if is_changed else KINDS[:1]:
        ending = '' if kind == KINDS[0] else f'_{kind}'
        step = ChangeHead(factors=dict(case.factors), is_changed=is_changed and not ending)
        change = pe.Node(step, name=f'change{ending}', mem_gb=CHANGE_MEM_GB)
        if not ending:
            truth = _add_truth(workflow, head, (segmenter, num_threads))
            workflow.connect([(change, outputnode, [(x, x) for x in ('structures', 'growth')])])
        for node, field, target in truth:
            workflow.connect(node, field, change, target)
        plane, spacing, thickness = case.slices
        scanning = SimulateExam(
            exam=['T1w'], orientation=plane, spacing=spacing, thickness=thickness, seed=head.seed
        )
        simulate = pe.Node(scanning, name=f'simulate{ending}', mem_gb=HEAD_MEM_GB)
        workflow.connect(change, 'head', simulate, 'head')
        for method in (TRUTH, *methods):
            keep = _keep(workflow, (change, simulate), method, methods, num_threads, ending)
            keep.inputs.label = head.name
            workflow.connect(keep, 'exam', outputnode, f'{kind}_{label_of(method)}')
    return workflow


def _keep(
    workflow: pe.Workflow,
    scanned: tuple[pe.Node, pe.Node],
    method: str,
    methods: Methods,
    num_threads: int,
    ending: str,
) -> pe.Node:
    """Add a step that keeps what a method makes of a scanned head, or the head itself."""
    change, simulate = scanned
    label = label_of(method)
    keep = pe.Node(KeepBrain(), name=f'keep_{label}{ending}', mem_gb=HEAD_MEM_GB)
    workflow.connect(change, 'mask', keep, 'mask')
    if method == TRUTH:
        workflow.connect(change, 'head', keep, 'head')
        return keep
    interface, mem_gb = methods[method]
    method_wf = init_method_wf(
        method=deepcopy(interface), n_procs=num_threads, mem_gb=mem_gb, name=f'{label}{ending}'
    )
    workflow.connect([
        (simulate, method_wf, [(field, f'inputnode.{field}') for field in SCAN_INPUTS]),
        (change, method_wf, [('head', 'inputnode.grid')]),
        (method_wf, keep, [('outputnode.products', 'products')]),
    ])  # fmt: skip
    return keep


def _add_truth(
    workflow: pe.Workflow, head: HeadFiles, segmenting: tuple[Mapping[str, Any], int]
) -> list[tuple[pe.Node, str, str]]:
    """Add the steps that make T1w and structures of a head; their outputs, and where they go."""
    if head.labels:
        painted = {'labels': str(head.labels), 'image': str(head.image or '')}
        paint = pe.Node(PaintHead(**painted), name='paint', mem_gb=HEAD_MEM_GB)
        workflow.add_nodes([paint])
        return [(paint, x, x) for x in ('head', 'reference')]
    segmenter, threads = segmenting
    conform = pe.Node(ConformHead(image=str(head.image)), name='conform', mem_gb=HEAD_MEM_GB)
    step = SegmentVolume(**segmenter, num_threads=threads)
    segment = pe.Node(step, name='segment', n_procs=threads, mem_gb=SEGMENT_MEM_GB)
    workflow.connect([(conform, segment, [('head', 'head')])])
    return [(conform, 'head', 'head'), (segment, 'segmentation', 'reference')]


def init_finding_wf(*, method: str, case: ShapeCase, places: ShapePlaces) -> pe.Workflow:
    """Compare the shapes of all people by the T1w of one method, and what is found with the truth.

    Parameters
    ----------
    method
        Name of the method, or `TRUTH`; the workflow is named by it.
    case, places
        See `init_simulated_shapes_wf`.
    """
    label = label_of(method)
    workflow = pe.Workflow(name=f'find_{label}')
    count, second = len(case.heads), list(case.is_second)
    exams, structures, growths = (
        pe.Node(niu.Merge(count), name=part) for part in ('exams', 'structures', 'growths')
    )
    maps_dir, settings = str(places.maps / label), case.plain_settings
    tbm_wf = init_tbm_wf(
        exams=[],
        chosen=case.chosen,
        template=case.plain_template,
        comparison={
            'design': case.design,
            'settings': settings,
            'fingerprint': case.fingerprint,
            'output_dir': maps_dir,
            'run_uuid': places.run_uuid,
        },
    )
    step = MeasureChanges(
        method=method,
        is_second=second,
        settings=settings,
        splits=case.splits,
        maps_dir=maps_dir,
        stem=str(places.results / f'tbm_{label}'),
    )
    # whenever the workflow runs: nipype does not see what was removed from the output folder
    measure = pe.Node(step, name='measure', mem_gb=HEAD_MEM_GB, overwrite=True)
    unchanged = pe.Node(niu.Merge(sum(second)), name='unchanged')
    step = DeformAnew(template=case.plain_template)
    before = PartsNode(step, ['exam'], name='before', mem_gb=DEFORM_GB)
    workflow.connect([
        (unchanged, before, [('out', 'exam')]),
        (tbm_wf, before, [
            (f'outputnode.{field}', field) for field in ('atlas', 'aligned', 'affines')
        ]),
        (before, measure, [('velocity', 'before')]),
        (exams, tbm_wf, [('out', 'inputnode.exams')]),
        (structures, measure, [('out', 'structures')]),
        (growths, measure, [('out', 'growths')]),
        (tbm_wf, measure, [
            (f'outputnode.{field}', field) for field in ('record', 'affines', 'velocities')
        ]),
    ])  # fmt: skip
    return workflow
