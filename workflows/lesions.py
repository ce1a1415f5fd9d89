"""Lesions filled before a method gets the scans, or kept after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_synthsr.interfaces.lesions import FillLesions, KeepLesions, NoteLesions
from bids_synthsr.interfaces.lists import JoinLists
from bids_synthsr.workflows.method import INPUTS, OUTPUTS


def init_filled_wf(
    *,
    method_wf: pe.Workflow,
    masks: Sequence[Mapping[str, str]],
    mem_gb: float,
    name: str = 'method_wf',
) -> pe.Workflow:
    """Fill the lesions of all scans, then make volumes of them by a method.

    Parameters
    ----------
    method_wf
        Workflow of a method, made by `init_method_wf`; its name must be another.
    masks
        Lesion masks of the exam, as `describe_lesion_masks` describes them; none fills nothing.
    mem_gb
        Memory that filling takes, GB.
    name
        Name of the workflow.

    Inputs
    ------
    scans, contrasts, acquisitions, scan2ref, grid, names
        See `init_method_wf`.

    Outputs
    -------
    products, warnings
        See `init_method_wf`.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(INPUTS), name='inputnode')
    fill = pe.Node(FillLesions(masks=[dict(mask) for mask in masks]), name='fill', mem_gb=mem_gb)
    note = pe.Node(NoteLesions(), name='note', run_without_submitting=True)
    join = pe.Node(JoinLists(), name='join', run_without_submitting=True)
    outputnode = pe.Node(niu.IdentityInterface(OUTPUTS), name='outputnode')
    others = [field for field in INPUTS if field not in ('scans', 'grid')]
    workflow.connect([
        (inputnode, fill, [('scans', 'scans'), *((field, field) for field in others)]),
        (fill, method_wf, [('scans', 'inputnode.scans')]),
        (inputnode, method_wf, [
            (field, f'inputnode.{field}') for field in (*others, 'grid')
        ]),
        (method_wf, note, [('outputnode.products', 'products')]),
        (fill, note, [('lesions', 'lesions')]),
        (fill, join, [('warnings', 'before')]),
        (method_wf, join, [('outputnode.warnings', 'after')]),
        (note, outputnode, [('products', 'products')]),
        (join, outputnode, [('joined', 'warnings')]),
    ])  # fmt: skip
    return workflow


def init_kept_wf(
    *,
    method_wf: pe.Workflow,
    masks: Sequence[Mapping[str, str]],
    mem_gb: float,
    name: str = 'method_wf',
) -> pe.Workflow:
    """Make volumes by a method, then put lesions into the T1w that it predicted.

    Parameters
    ----------
    method_wf
        Workflow of a method, made by `init_method_wf`; its name must be another.
    masks
        Lesion masks of the exam, as `describe_lesion_masks` describes them; none keeps nothing.
    mem_gb
        Memory that it takes to put them in, GB.
    name
        Name of the workflow.

    Inputs
    ------
    scans, contrasts, acquisitions, scan2ref, grid, names
        See `init_method_wf`.

    Outputs
    -------
    products, warnings
        See `init_method_wf`.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(INPUTS), name='inputnode')
    keep = pe.Node(KeepLesions(masks=[dict(mask) for mask in masks]), name='keep', mem_gb=mem_gb)
    join = pe.Node(JoinLists(), name='join', run_without_submitting=True)
    outputnode = pe.Node(niu.IdentityInterface(OUTPUTS), name='outputnode')
    given = [(field, field) for field in INPUTS if field != 'grid']
    workflow.connect([
        (inputnode, method_wf, [(field, f'inputnode.{field}') for field in INPUTS]),
        (inputnode, keep, given),
        (method_wf, keep, [('outputnode.products', 'products')]),
        (keep, join, [('warnings', 'before')]),
        (method_wf, join, [('outputnode.warnings', 'after')]),
        (keep, outputnode, [('products', 'products')]),
        (join, outputnode, [('joined', 'warnings')]),
    ])  # fmt: skip
    return workflow
