"""What is written of an exam: outputs, report, record."""

from __future__ import annotations

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_synthsr.interfaces.outputs import RecordExam, SaveOutputs, WriteReport
from bids_synthsr.workflows.stages import ExamSetup


def init_outputs_wf(*, setup: ExamSetup, name: str = 'outputs_wf') -> pe.Workflow:
    """Write the outputs of an exam, its report, and last the record that it is finished.

    Every step runs anew whenever the workflow runs: nipype's cache does not see what a user
    removed from the output folder.

    Parameters
    ----------
    setup
        All that the work on the exam depends on.
    name
        Name of the workflow.

    Inputs
    ------
    products, warnings
        What all stages made for keeps, and what a reader must know.

    Outputs
    -------
    record
        JSON record of the finished exam.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(['products', 'warnings']), name='inputnode')
    folders, mem_gb = setup.folders or {}, setup.forecast.outputs_gb
    fields = {
        'exam': dict(setup.exam),
        'output_dir': folders['output_dir'],
        'run_uuid': folders['run_uuid'],
    }
    save_outputs = SaveOutputs(
        bids_dir=folders['bids_dir'], fingerprint=dict(setup.fingerprint), **fields
    )
    save = pe.Node(save_outputs, name='save', mem_gb=mem_gb, overwrite=True)
    report = pe.Node(WriteReport(**fields), name='report', mem_gb=mem_gb, overwrite=True)
    record = pe.Node(RecordExam(**fields), name='record', overwrite=True)
    outputnode = pe.Node(niu.IdentityInterface(['record']), name='outputnode')
    workflow.connect([
        (inputnode, save, [('products', 'products'), ('warnings', 'warnings')]),
        (save, report, [('draft', 'draft')]),
        (report, record, [('draft', 'draft')]),
        (record, outputnode, [('record', 'record')]),
    ])  # fmt: skip
    return workflow
