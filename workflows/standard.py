"""The outputs of an exam in standard spaces."""

from __future__ import annotations

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_synthsr.interfaces.standard import Standardize
from bids_synthsr.workflows.stages import STAGES, ExamSetup

FIELDS = ('products', 'warnings')


def init_standard_wf(*, setup: ExamSetup, name: str = 'standard_wf') -> pe.Workflow:
    """Register the T1w of an exam to templates, and carry its outputs over.

    Parameters
    ----------
    setup
        All that the work on the exam depends on.
    name
        Name of the workflow.

    Inputs
    ------
    products, warnings
        What the stages before made for keeps, and what a reader must know.

    Outputs
    -------
    products, warnings
        The same, and what lies in the standard spaces.
    """
    workflow = pe.Workflow(name=name)
    inputnode, outputnode = (
        pe.Node(niu.IdentityInterface(FIELDS), name=name) for name in ('inputnode', 'outputnode')
    )
    # one thread: more of them cost more than they bring
    standardize = pe.Node(
        Standardize(
            templates=[dict(template) for template in setup.method.templates],
            on_scans=setup.method.on_scans,
            exam=dict(setup.exam) if setup.method.on_scans else {},
        ),
        name=STAGES['standardize'].last_step,
        mem_gb=setup.forecast.standardize_gb,
    )
    workflow.connect([
        (inputnode, standardize, [('products', 'products')]),
        (inputnode, outputnode, [('warnings', 'warnings')]),
        (standardize, outputnode, [('products', 'products')]),
    ])  # fmt: skip
    return workflow
