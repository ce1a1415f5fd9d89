"""Tensor-based morphometry: an atlas of a group, and the shapes of its brains compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_synthsr.interfaces.morphometry import (
    AlignBrain,
    AverageShapes,
    BringToAtlas,
    CenterAffines,
    CompareShapes,
    DeformToAtlas,
    PlaceAtlas,
)
from bids_synthsr.interfaces.parts import PartsNode

TBM_OUTPUTS = ['record', 'affines', 'velocities', 'aligned', 'atlas']
ROUNDS_OF_ATLAS = 3  # as many as the registration has settings for
BRAIN_GB, DEFORM_GB, MAP_GB = 1.0, 1.2, 0.02  # MAP_GB of each exam where all are held


def init_group_wf(
    *,
    exams: Sequence[Mapping[str, Any]],
    chosen: Sequence[int],
    template: Mapping[str, Any],
    comparison: Mapping[str, Any],
    work_dir: Path,
    name: str = 'group_wf',
) -> pe.Workflow:
    """Compare the shapes of the brains of two groups.

    Parameters
    ----------
    exams
        Fields of `TbmExam` of each exam.
    chosen
        Indices of the exams that make the atlas.
    template
        Fields of `TemplateFiles` of the template where all are brought to begin with.
    comparison
        Inputs of `CompareShapes` beside what the other steps make, by name.
    work_dir
        Folder for the files of the steps.
    name
        Name of the workflow.
    """
    workflow = pe.Workflow(name=name, base_dir=str(work_dir))
    workflow.add_nodes([
        init_tbm_wf(exams=exams, chosen=chosen, template=template, comparison=comparison)
    ])  # fmt: skip
    return workflow


def init_tbm_wf(
    *,
    exams: Sequence[Mapping[str, Any]],
    chosen: Sequence[int],
    template: Mapping[str, Any],
    comparison: Mapping[str, Any],
    name: str = 'tbm',
) -> pe.Workflow:
    """Make an atlas of a group, and compare all of its brains with it.

    Parameters
    ----------
    exams
        Fields of `TbmExam` of each exam.
    chosen
        Indices of the exams that make the atlas.
    template
        Fields of `TemplateFiles` of the template where all are brought to begin with.
    comparison
        Inputs of `CompareShapes` beside what the other steps make, by name.
    name
        Name of the workflow.

    Inputs
    ------
    exams
        Fields of `TbmExam` of each exam.

    Outputs
    -------
    record
        JSON record of the morphometry.
    affines, velocities
        How the brain of each exam differs from the atlas.
    aligned
        Transforms from the template to the T1w of each exam.
    atlas
        Mean brain of the exams that make it.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(['exams']), name='inputnode')
    inputnode.inputs.exams = [dict(exam) for exam in exams]
    outputnode = pe.Node(niu.IdentityInterface(TBM_OUTPUTS), name='outputnode')
    align = PartsNode(AlignBrain(template=dict(template)), ['exam'], name='align', mem_gb=BRAIN_GB)
    center = pe.Node(CenterAffines(), name='center')
    bring = PartsNode(
        BringToAtlas(template=dict(template)), ['exam', 'affine'], name='bring', mem_gb=BRAIN_GB
    )
    all_gb = BRAIN_GB + MAP_GB * len(exams)

    def average(number: int) -> pe.Node:
        step = AverageShapes(chosen=list(chosen))
        return pe.Node(step, name=f'average_{number}', mem_gb=all_gb)

    workflow.connect([
        (inputnode, align, [('exams', 'exam')]),
        (align, center, [('affine', 'affines')]),
        (inputnode, bring, [('exams', 'exam')]),
        (center, bring, [('affines', 'affine')]),
    ])  # fmt: skip
    atlas = average(0)
    workflow.connect(bring, 'image', atlas, 'images')
    for turn in range(ROUNDS_OF_ATLAS):
        deform = PartsNode(
            DeformToAtlas(turn=turn), ['image'], name=f'deform_{turn}', mem_gb=DEFORM_GB
        )
        following = average(turn + 1)
        workflow.connect([
            (atlas, deform, [('atlas', 'atlas'), ('images', 'image')]),
            (bring, following, [('image', 'images')]),
            (deform, following, [('velocity', 'velocities')]),
        ])  # fmt: skip
        atlas = following
    last = PartsNode(
        DeformToAtlas(turn=ROUNDS_OF_ATLAS - 1), ['image'], name='deform_all', mem_gb=DEFORM_GB
    )
    place = pe.Node(PlaceAtlas(template=dict(template)), name='place', mem_gb=BRAIN_GB)
    # whenever the workflow runs: nipype does not see what was removed from the output folder
    compare = CompareShapes(template=dict(template), **comparison)
    maps_gb = all_gb + 2 * MAP_GB * len(exams)
    test = pe.Node(compare, name='compare', mem_gb=maps_gb, overwrite=True)
    workflow.connect([
        (atlas, last, [('atlas', 'atlas')]),
        (bring, last, [('image', 'image')]),
        (atlas, place, [('atlas', 'atlas')]),
        (place, test, [('transform', 'transform')]),
        (atlas, test, [('atlas', 'atlas')]),
        (bring, test, [('image', 'images')]),
        (last, test, [('velocity', 'velocities')]),
        (test, outputnode, [('record', 'record')]),
        (center, outputnode, [('affines', 'affines')]),
        (last, outputnode, [('velocity', 'velocities')]),
        (align, outputnode, [('affine', 'aligned')]),
        (atlas, outputnode, [('atlas', 'atlas')]),
    ])  # fmt: skip
    return workflow
