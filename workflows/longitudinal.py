"""The sessions of people, compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_synthsr.interfaces.longitudinal import AlignSessions, DeformSessions, SaveComparison

FIELDS = ('subject', 'sessions', 'left')
ALIGN_GB, DEFORM_GB, SAVE_GB = 1.2, 2.0, 1.5
VOLUME_GB = 0.15  # of each session


def init_longitudinal_wf(
    *,
    people: Sequence[Mapping[str, Any]],
    output_dir: str,
    run_uuid: str,
    work_dir: Path,
    name: str = 'longitudinal_wf',
) -> pe.Workflow:
    """Compare the sessions of people, each independently of the others.

    Parameters
    ----------
    people
        ``subject``, ``sessions`` and ``left`` of each, in plain values.
    output_dir
        Folder that outputs are read from and written to.
    run_uuid
        Name of the run.
    work_dir
        Folder for the files of the steps.
    name
        Name of the workflow.
    """
    workflow = pe.Workflow(name=name, base_dir=str(work_dir))
    workflow.add_nodes([
        init_person_wf(person=person, output_dir=output_dir, run_uuid=run_uuid)
        for person in people
    ])  # fmt: skip
    return workflow


def init_person_wf(
    *, person: Mapping[str, Any], output_dir: str, run_uuid: str, name: str = ''
) -> pe.Workflow:
    """Compare the sessions of a person.

    Parameters
    ----------
    person
        ``subject``, ``sessions`` and ``left`` in plain values.
    output_dir
        Folder that outputs are read from and written to.
    run_uuid
        Name of the run.
    name
        Name of the workflow; empty for ``sub_`` and the label of the person.

    Inputs
    ------
    subject, sessions, left
        The person, see `Person`.

    Outputs
    -------
    record
        JSON record of the comparison.
    """
    workflow = pe.Workflow(name=name or f'sub_{person["subject"]}')
    inputnode = pe.Node(niu.IdentityInterface(FIELDS), name='inputnode')
    for field in FIELDS:
        setattr(inputnode.inputs, field, person[field])
    outputnode = pe.Node(niu.IdentityInterface(['record']), name='outputnode')
    volumes_gb = VOLUME_GB * len(person['sessions'])
    align = pe.Node(
        AlignSessions(output_dir=output_dir), name='align', mem_gb=ALIGN_GB + volumes_gb
    )
    deform = pe.Node(DeformSessions(), name='deform', mem_gb=DEFORM_GB + volumes_gb)
    save_comparison = SaveComparison(output_dir=output_dir, run_uuid=run_uuid)
    # whenever the workflow runs: nipype does not see what was removed from the output folder
    save = pe.Node(save_comparison, name='save', mem_gb=SAVE_GB + volumes_gb, overwrite=True)
    workflow.connect([
        (inputnode, align, [('sessions', 'sessions')]),
        (inputnode, deform, [('sessions', 'sessions')]),
        (inputnode, save, [(field, field) for field in FIELDS]),
        (align, deform, [('space', 'space')]),
        (deform, save, [('products', 'products')]),
        (save, outputnode, [('record', 'record')]),
    ])  # fmt: skip
    return workflow
