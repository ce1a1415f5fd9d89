"""Rigid alignment of all scans of an exam to its reference."""

from __future__ import annotations

from collections.abc import Mapping

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_synthsr.interfaces.lists import FirstItem
from bids_synthsr.interfaces.parts import PartsNode
from bids_synthsr.interfaces.registration import SCAN_FIELDS, AlignScan, KeepAligned


def init_align_wf(
    *,
    mem_gb: float,
    transforms: Mapping[str, Mapping[str, str]] | None = None,
    name: str = 'align_wf',
) -> pe.Workflow:
    """Align the scans of an exam to its reference, and leave out those that cannot be.

    Parameters
    ----------
    mem_gb
        Memory that one alignment takes, GB.
    transforms
        Transforms that are known already, as `find_transforms` finds them.
    name
        Name of the workflow among the nodes of the exam.

    Inputs
    ------
    scans, contrasts, acquisitions, names
        Files of the usable scans, reference first, with their BIDS suffixes, the fields of their
        `Acquisition`, and their names.

    Outputs
    -------
    scans, contrasts, acquisitions, names
        The same of the scans that fit.
    scan2ref
        Their transforms to the reference, ITK text.
    fits
        How well every scan fits, those left out included.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(SCAN_FIELDS), name='inputnode')
    first, first_name = (
        pe.Node(FirstItem(), name=name, run_without_submitting=True)
        for name in ('first', 'first_name')
    )
    align = PartsNode(AlignScan(), iterfield=['scan', 'name'], name='align', mem_gb=mem_gb)
    align.inputs.transforms = {
        scan: dict(transform) for scan, transform in (transforms or {}).items()
    }
    keep = pe.Node(KeepAligned(), name='keep', run_without_submitting=True)
    outputnode = pe.Node(
        niu.IdentityInterface([*SCAN_FIELDS, 'scan2ref', 'fits']), name='outputnode'
    )
    workflow.connect([
        (inputnode, first, [('scans', 'entries')]),
        (inputnode, align, [('scans', 'scan'), ('names', 'name')]),
        (first, align, [('first', 'reference')]),
        (inputnode, first_name, [('names', 'entries')]),
        (first_name, align, [('first', 'reference_name')]),
        (inputnode, keep, [(field, field) for field in SCAN_FIELDS]),
        (align, keep, [('scan2ref', 'scan2ref'), ('fit', 'fits')]),
        (keep, outputnode, [(field, field) for field in (*SCAN_FIELDS, 'scan2ref')]),
        (align, outputnode, [('fit', 'fits')]),
    ])  # fmt: skip
    return workflow
