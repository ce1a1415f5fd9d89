"""Surfaces of finished exams, by a tool of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_synthsr.interfaces.surfaces import ReconstructSurfaces, SaveSurfaces

SAVE_GB = 1.5


def init_surfaces_wf(
    *,
    exams: Sequence[Mapping[str, Any]],
    setup: Mapping[str, Any],
    work_dir: Path,
    name: str = 'surfaces_wf',
) -> pe.Workflow:
    """Let a tool work on exams, each independently of the others.

    Parameters
    ----------
    exams
        Fields of the `SurfaceInput` of each.
    setup
        What all have in common: see `init_recon_wf`.
    work_dir
        Folder for the files of the steps.
    name
        Name of the workflow.
    """
    workflow = pe.Workflow(name=name, base_dir=str(work_dir))
    workflow.add_nodes([init_recon_wf(exam=exam, setup=setup) for exam in exams])
    return workflow


def init_recon_wf(
    *, exam: Mapping[str, Any], setup: Mapping[str, Any], name: str = ''
) -> pe.Workflow:
    """Let a tool work on an exam, and read what it made.

    Parameters
    ----------
    exam
        Fields of its `SurfaceInput`.
    setup
        ``tool`` (fields of `FoundTool`), ``subjects_dir``, ``output_dir``, ``run_uuid``,
        ``overwrites``, ``resumes``, ``num_threads``, ``device`` and ``mem_gb``.
    name
        Name of the workflow; empty for that of the exam.

    Inputs
    ------
    exam
        Label of the exam.

    Outputs
    -------
    record
        JSON record of what was made.
    """
    label = str(exam['exam'])
    workflow = pe.Workflow(name=name or label.replace('-', '_'))
    inputnode = pe.Node(niu.IdentityInterface(['exam']), name='inputnode')
    inputnode.inputs.exam = label
    outputnode = pe.Node(niu.IdentityInterface(['record']), name='outputnode')
    tool = dict(setup['tool'])
    reconstruct = ReconstructSurfaces(
        volume=exam['volume'],
        sha256=exam['sha256'],
        mask=exam['mask'] if exam['volume'] == exam['t1w'] else '',
        tool=tool,
        **{
            field: setup[field]
            for field in ('subjects_dir', 'overwrites', 'resumes', 'num_threads', 'device')
        },
    )
    # whenever the workflow runs: nipype does not see what was removed from the folder
    recon = pe.Node(
        reconstruct,
        name='recon',
        mem_gb=setup['mem_gb'],
        n_procs=setup['num_threads'],
        overwrite=True,
    )
    save_surfaces = SaveSurfaces(
        tool=tool, source=dict(exam), output_dir=setup['output_dir'], run_uuid=setup['run_uuid']
    )
    save = pe.Node(save_surfaces, name='save', mem_gb=SAVE_GB, overwrite=True)
    workflow.connect([
        (inputnode, recon, [('exam', 'subject')]),
        (inputnode, save, [('exam', 'exam')]),
        (recon, save, [('folder', 'folder'), ('version', 'version')]),
        (save, outputnode, [('record', 'record')]),
    ])  # fmt: skip
    return workflow
