"""One exam: all that is made of it, on one page."""

from __future__ import annotations

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_synthsr.interfaces.lists import JoinLists
from bids_synthsr.interfaces.outputs import CollectRegistration
from bids_synthsr.interfaces.parts import PartsNode
from bids_synthsr.interfaces.resampling import DefineGrid, ResampleScan
from bids_synthsr.interfaces.selection import SelectScans

INPUTS = ('exam', 'reference', 'contrasts', 'takes_ct', 'spacing', 'fov')
OUTPUTS = ('products', 'warnings')


def init_exam_wf(
    *, align_wf: pe.Workflow, method_wf: pe.Workflow, mem_gb: float, name: str = 'exam_wf'
) -> pe.Workflow:
    """Turn the scans of an exam into 1 mm volumes.

    The scans are judged and the reference chosen, the others are aligned to it, all are brought
    to the output grid with their reliability maps, and a method makes its volumes of them.

    Parameters
    ----------
    align_wf
        Workflow made by `init_align_wf`.
    method_wf
        Workflow of a method: all have the same inputs and outputs.
    mem_gb
        Memory that reading or resampling one scan takes at most, GB.
    name
        Name of the workflow.

    Inputs
    ------
    exam
        The exam and its scans, as `SelectScans` takes them.
    reference
        Suffix or filter that names the reference; empty lets the program choose.
    contrasts
        Suffixes that may be used; empty takes all.
    takes_ct
        Whether scans may be CT.
    spacing
        Voxel size of the output, mm.
    fov
        Field of view of the output: ``head``, ``reference`` or ``union``.

    Outputs
    -------
    products
        What registration and method made for keeps, as fields of `ProductFile`.
    warnings
        What a reader must know, one sentence each.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(INPUTS), name='inputnode')
    select = pe.Node(SelectScans(), name='select', mem_gb=mem_gb)
    grid = pe.Node(DefineGrid(), name='grid')
    resample = PartsNode(
        ResampleScan(),
        iterfield=['scan', 'acquisition', 'scan2ref'],
        name='resample',
        mem_gb=mem_gb,
    )
    collect = pe.Node(CollectRegistration(), name='collect', run_without_submitting=True)
    products, warnings = (
        pe.Node(JoinLists(), name=name, run_without_submitting=True) for name in OUTPUTS
    )
    outputnode = pe.Node(niu.IdentityInterface(OUTPUTS), name='outputnode')

    def from_outputs(*fields: str) -> list[tuple[str, str]]:
        return [(f'outputnode.{field}', field) for field in fields]

    def to_inputs(*fields: str) -> list[tuple[str, str]]:
        return [(f'outputnode.{field}', f'inputnode.{field}') for field in fields]

    workflow.connect([
        (inputnode, select, [(field, field) for field in INPUTS[:4]]),
        (select, align_wf, [
            (field, f'inputnode.{field}')
            for field in ('scans', 'contrasts', 'acquisitions', 'names')
        ]),
        (inputnode, grid, [('spacing', 'spacing'), ('fov', 'fov')]),
        (align_wf, grid, from_outputs('scans', 'acquisitions', 'scan2ref')),
        (align_wf, resample, [
            ('outputnode.scans', 'scan'),
            ('outputnode.acquisitions', 'acquisition'),
            ('outputnode.scan2ref', 'scan2ref'),
        ]),
        (grid, resample, [('grid', 'grid')]),
        (grid, collect, [('coverages', 'coverages')]),
        (select, collect, [('selection', 'selection')]),
        (align_wf, collect, from_outputs('names', 'scan2ref', 'fits')),
        (resample, collect, [('resampled', 'resampled'), ('reliability', 'reliability')]),
        (align_wf, method_wf, to_inputs('scans', 'contrasts', 'acquisitions')),
        (align_wf, method_wf, to_inputs('scan2ref', 'names')),
        (grid, method_wf, [('grid', 'inputnode.grid')]),
        (collect, products, [('products', 'before')]),
        (method_wf, products, [('outputnode.products', 'after')]),
        (collect, warnings, [('warnings', 'before')]),
        (method_wf, warnings, [('outputnode.warnings', 'after')]),
        (products, outputnode, [('joined', 'products')]),
        (warnings, outputnode, [('joined', 'warnings')]),
    ])  # fmt: skip
    return workflow
