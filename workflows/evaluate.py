"""Methods against the truth: thick slices are cut from heads, and the heads made again."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from bids_synthsr.workflows.method import INPUTS, init_method_wf
from nipype.interfaces import utility as niu
from nipype.interfaces.base import BaseInterface
from nipype.pipeline import engine as pe

from bids_synthsr.interfaces.evaluation import CompareVolume, ConformHead, MaskBrain, SimulateScan

SCAN_INPUTS = INPUTS[:-1]  # all but the grid
HEAD_MEM_GB = 1.0  # 256^3 in float32, a few times


def init_simulate_wf(
    *,
    heads: Mapping[str, Mapping[str, str]],
    cases: Mapping[str, Mapping[str, Any]],
    methods: Mapping[str, tuple[BaseInterface, float]],
    place: str,
    num_threads: int,
    work_dir: str,
    name: str = 'simulate_wf',
) -> pe.Workflow:
    """Evaluate methods on simulated scans of every head, independently of each other.

    Parameters
    ----------
    heads
        ``image`` and what else is to be told of each, by name (letters, digits, underscores).
    cases
        ``orientation``, ``spacing`` and ``thickness`` of the scans, by name.
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
    for head, facts in heads.items():
        head_wf = init_head_wf(
            facts=facts,
            cases=cases,
            methods=methods,
            place=f'{place}/{head}',
            num_threads=num_threads,
            name=head,
        )
        workflow.add_nodes([head_wf])
    return workflow


def init_head_wf(
    *,
    facts: Mapping[str, str],
    cases: Mapping[str, Mapping[str, Any]],
    methods: Mapping[str, tuple[BaseInterface, float]],
    num_threads: int,
    place: str,
    name: str,
) -> pe.Workflow:
    """Prepare a head and scan it in several ways.

    Parameters
    ----------
    facts
        ``image`` and what else is to be told of the head.
    cases, methods, num_threads
        See `init_simulate_wf`.
    place
        First part of the names of the results.
    name
        Of the workflow.
    """
    workflow = pe.Workflow(name=name)
    conform = pe.Node(ConformHead(image=facts['image']), name='conform', mem_gb=HEAD_MEM_GB)
    mask = pe.Node(MaskBrain(), name='mask', mem_gb=HEAD_MEM_GB)
    workflow.connect(conform, 'head', mask, 'head')
    for case, setting in cases.items():
        case_wf = init_case_wf(
            facts=facts,
            setting=setting,
            methods=methods,
            place=f'{place}_{case}',
            num_threads=num_threads,
            name=case,
        )
        workflow.connect([
            (conform, case_wf, [('head', 'inputnode.head')]),
            (mask, case_wf, [('mask', 'inputnode.mask')]),
        ])  # fmt: skip
    return workflow


def init_case_wf(
    *,
    facts: Mapping[str, str],
    setting: Mapping[str, Any],
    methods: Mapping[str, tuple[BaseInterface, float]],
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
        ``orientation``, ``spacing`` and ``thickness`` of the scan.
    methods, num_threads
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
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(['head', 'mask']), name='inputnode')
    simulate = pe.Node(SimulateScan(**setting), name='simulate', mem_gb=HEAD_MEM_GB)
    workflow.connect(inputnode, 'head', simulate, 'head')
    told = {'contrasts': 'T1w', **facts, **setting}
    told.pop('image', None)
    for method, (interface, mem_gb) in methods.items():
        label = method.replace('-', '_')
        method_wf = init_method_wf(
            method=deepcopy(interface), n_procs=num_threads, mem_gb=mem_gb, name=label
        )
        compare = pe.Node(
            CompareVolume(
                facts={**told, 'contrasts': 'T1w', 'method': method}, place=f'{place}_{label}'
            ),
            name=f'compare_{label}',
            mem_gb=HEAD_MEM_GB,
            overwrite=True,  # nipype does not see what a user removed from the output folder
        )
        workflow.connect([
            (simulate, method_wf, [(field, f'inputnode.{field}') for field in SCAN_INPUTS]),
            (inputnode, method_wf, [('head', 'inputnode.grid')]),
            (method_wf, compare, [('outputnode.volumes', 'volumes')]),
            (inputnode, compare, [('head', 'head'), ('mask', 'mask')]),
        ])  # fmt: skip
    return workflow
