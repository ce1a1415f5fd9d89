"""What is written of an exam: derivatives, report, record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_synthsr.interfaces.outputs import RecordExam, SaveOutputs, WriteReport

INPUTS = (
    'selection', 'names', 'scan2ref', 'resampled', 'reliability', 'fits', 'volumes', 'entities',
    'facts',
)  # fmt: skip


def init_outputs_wf(
    *,
    exam: Mapping[str, Any],
    bids_dir: str,
    output_dir: str,
    run_uuid: str,
    fingerprint: Mapping[str, Any],
    mem_gb: float,
    name: str = 'outputs_wf',
) -> pe.Workflow:
    """Write the derivatives of an exam, its report, and last the record that it is finished.

    Every step runs anew whenever the workflow runs: nipype's cache does not see what a user
    removed from the output folder.

    Parameters
    ----------
    exam
        The exam in plain values.
    bids_dir, output_dir
        Input and output data set.
    run_uuid
        Name of the run.
    fingerprint
        Of the exam's scans, the settings and the version.
    mem_gb
        Memory that saving or drawing takes.
    name
        Of the workflow.

    Inputs
    ------
    selection
        Table of every scan, used or not, and why.
    names, scan2ref, resampled, reliability
        Of the scans that were used, reference first.
    fits
        How well each scan fits.
    volumes, entities, facts
        What the method made.

    Outputs
    -------
    record
        JSON record of the finished exam.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(INPUTS), name='inputnode')
    place = {'exam': dict(exam), 'output_dir': output_dir, 'run_uuid': run_uuid}
    save = pe.Node(
        SaveOutputs(bids_dir=bids_dir, fingerprint=dict(fingerprint), **place),
        name='save',
        mem_gb=mem_gb,
        overwrite=True,
    )
    report = pe.Node(WriteReport(**place), name='report', mem_gb=mem_gb, overwrite=True)
    record = pe.Node(RecordExam(**place), name='record', overwrite=True)
    outputnode = pe.Node(niu.IdentityInterface(['record']), name='outputnode')
    workflow.connect([
        (inputnode, save, [(field, field) for field in INPUTS]),
        (save, report, [('draft', 'draft')]),
        (report, record, [('draft', 'draft')]),
        (record, outputnode, [('record', 'record')]),
    ])  # fmt: skip
    return workflow
