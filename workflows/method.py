"""The boundary of all methods: an aligned exam in, volumes out."""

from __future__ import annotations

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_synthsr.interfaces.methods import Synthesize, weights_beside
from bids_synthsr.methods.catalogue import METHODS
from bids_synthsr.settings import MethodSettings
from bids_synthsr.workflows.stages import SYNTHESIS_STEP

INPUTS = ('scans', 'contrasts', 'acquisitions', 'scan2ref', 'grid', 'names')
OUTPUTS = ('products', 'warnings')


def init_method_wf(
    *, method: Synthesize, n_procs: int, mem_gb: float, name: str = 'method_wf'
) -> pe.Workflow:
    """Make volumes of an exam by a method of one step.

    A method of several steps is a workflow of its own with the same inputs and outputs.

    Parameters
    ----------
    method
        Step that computes the method, made by `make_step`.
    n_procs
        Number of threads that it uses.
    mem_gb
        Memory that it takes, GB.
    name
        Name of the workflow.

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
    names
        Names of the scans; their contrasts where none are given.

    Outputs
    -------
    products
        What the method made, the main volume first, as fields of `ProductFile`.
    warnings
        What a reader must know.
    """
    workflow = pe.Workflow(name=name)
    inputnode = pe.Node(niu.IdentityInterface(INPUTS), name='inputnode')
    synthesize = pe.Node(method, name=SYNTHESIS_STEP, n_procs=n_procs, mem_gb=mem_gb)
    outputnode = pe.Node(niu.IdentityInterface(OUTPUTS), name='outputnode')
    workflow.connect([
        (inputnode, synthesize, [(field, field) for field in INPUTS]),
        (synthesize, outputnode, [(field, field) for field in OUTPUTS]),
    ])  # fmt: skip
    return workflow


def make_step(
    settings: MethodSettings, num_threads: int, device: str, low_mem: bool
) -> Synthesize:
    """Make the step of the method that the settings name.

    Parameters
    ----------
    settings
        Method, its weights and its options.
    num_threads
        Number of threads that it uses.
    device
        Device that its network runs on.
    low_mem
        Whether it takes less memory and more time.
    """
    method = METHODS[settings.method]
    step = Synthesize(
        method=method.name,
        options=method.read_options(settings),
        num_threads=num_threads,
    )
    if method.network:
        step.inputs.trait_set(
            weights=str(settings.weights),
            **({'beside': weights_beside(method)} if method.beside else {}),
            device=device,
            use_gpu=device != 'cpu',
            low_mem=low_mem,
        )
    return step
