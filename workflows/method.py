"""The boundary of all methods: an aligned exam in, volumes out."""

from __future__ import annotations

from nipype.interfaces import utility as niu
from nipype.interfaces.base import BaseInterface
from nipype.pipeline import engine as pe

INPUTS = ('scans', 'contrasts', 'acquisitions', 'scan2ref', 'grid')
OUTPUTS = ('volumes', 'entities', 'facts')


def init_method_wf(
    *, method: BaseInterface, n_procs: int, mem_gb: float, name: str = 'method_wf'
) -> pe.Workflow:
    """Make volumes of an exam by a method of one step.

    A method of several steps is a workflow of its own with the same inputs and outputs.

    Parameters
    ----------
    method
        An interface of `bids_synthsr.interfaces.methods`.
    n_procs
        Threads it uses.
    mem_gb
        Memory it takes.
    name
        Of the workflow.

    Inputs
    ------
    scans
        The usable scans on their own grids, reference first.
    contrasts
        Their BIDS suffixes.
    acquisitions
        Their slice axis, spacing and thickness.
    scan2ref
        Their rigid transforms to the reference, ITK text files.
    grid
        Volume on the output grid.

    Outputs
    -------
    volumes
        The products, the main volume first.
    entities
        ``suffix`` and ``desc`` of each product.
    facts
        JSON of what provenance and report should tell.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(INPUTS), name='inputnode')
    synthesize = pe.Node(method, name='synthesize', n_procs=n_procs, mem_gb=mem_gb)
    outputnode = pe.Node(niu.IdentityInterface(OUTPUTS), name='outputnode')
    workflow.connect([
        (inputnode, synthesize, [(field, field) for field in INPUTS]),
        (synthesize, outputnode, [(field, field) for field in OUTPUTS]),
    ])  # fmt: skip
    return workflow
