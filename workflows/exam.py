"""One exam: all that is made of it, on one page."""

from __future__ import annotations

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_synthsr.interfaces.resampling import DefineGrid, ResampleScan
from bids_synthsr.interfaces.selection import SelectScans

INPUTS = ('exam', 'reference', 'contrasts', 'spacing', 'fov')
OUTPUTS = (
    'selection', 'scans', 'names', 'scan2ref', 'fits', 'grid', 'resampled', 'reliability',
    'volumes', 'entities', 'facts',
)  # fmt: skip


def init_exam_wf(
    *, align_wf: pe.Workflow, method_wf: pe.Workflow, mem_gb: float, name: str = 'exam_wf'
) -> pe.Workflow:
    """Turn the scans of an exam into 1 mm volumes.

    The scans are judged and the reference chosen, the others are aligned to it, all are brought
    to the output grid with their reliability maps, and a method makes its volumes of them.

    Parameters
    ----------
    align_wf
        Made by `init_align_wf`.
    method_wf
        Made by the builder of a method: all have the same inputs and outputs.
    mem_gb
        Memory that reading or resampling one scan takes at most.
    name
        Of the workflow.

    Inputs
    ------
    exam
        The exam and its scans, as `SelectScans` takes them.
    reference
        Suffix or filter that names the reference; empty lets the program choose.
    contrasts
        Suffixes that may be used; empty takes all.
    spacing
        Voxel size of the output, mm.
    fov
        Field of view of the output: ``reference`` or ``union``.

    Outputs
    -------
    selection
        Table of every scan, used or not, and why.
    scans, names, scan2ref
        The scans that were used, on their own grids, reference first, and their transforms.
    fits
        How well each scan fits, and whether it was left out for that.
    grid
        Volume on the output grid.
    resampled, reliability
        The scans on the output grid, and where they were measured.
    volumes, entities, facts
        What the method made, with names, and what to know of it.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(INPUTS), name='inputnode')
    select = pe.Node(SelectScans(), name='select', mem_gb=mem_gb)
    grid = pe.Node(DefineGrid(), name='grid')
    resample = pe.MapNode(
        ResampleScan(), iterfield=['scan', 'scan2ref'], name='resample', mem_gb=mem_gb
    )
    outputnode = pe.Node(niu.IdentityInterface(OUTPUTS), name='outputnode')

    def to_inputs(*fields: str) -> list[tuple[str, str]]:
        return [(f'outputnode.{field}', f'inputnode.{field}') for field in fields]

    workflow.connect([
        (inputnode, select, [(field, field) for field in INPUTS[:3]]),
        (select, align_wf, [
            (field, f'inputnode.{field}')
            for field in ('scans', 'contrasts', 'acquisitions', 'names')
        ]),
        (inputnode, grid, [('spacing', 'spacing'), ('fov', 'fov')]),
        (align_wf, grid, [('outputnode.scans', 'scans'), ('outputnode.scan2ref', 'scan2ref')]),
        (align_wf, resample, [('outputnode.scans', 'scan'), ('outputnode.scan2ref', 'scan2ref')]),
        (grid, resample, [('grid', 'grid')]),
        (align_wf, method_wf, to_inputs('scans', 'contrasts', 'acquisitions', 'scan2ref')),
        (grid, method_wf, [('grid', 'inputnode.grid')]),
        (select, outputnode, [('selection', 'selection')]),
        (align_wf, outputnode, [
            (f'outputnode.{field}', field) for field in ('scans', 'names', 'scan2ref', 'fits')
        ]),
        (grid, outputnode, [('grid', 'grid')]),
        (resample, outputnode, [('resampled', 'resampled'), ('reliability', 'reliability')]),
        (method_wf, outputnode, [
            (f'outputnode.{field}', field) for field in ('volumes', 'entities', 'facts')
        ]),
    ])  # fmt: skip
    return workflow
