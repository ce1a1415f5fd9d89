"""The stages of the work on an exam: an entry for each, and no other list of them.

Only the standard library is imported here, so that ``--help`` answers at once. A stage is an entry
and the workflow that it names. Its builder takes an `ExamSetup`, and the workflow hands on one
list of products and one of warnings: those of the stages before it and its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nipype.pipeline import engine as pe

    from bids_synthsr.settings import MethodSettings
    from bids_synthsr.values.method import Forecast

JUDGING_STEP = 'select'  # reads the voxels: its failure is the fault of the scans
SYNTHESIS_STEP = 'synthesize'  # makes the volumes


@dataclass(frozen=True)
class Stage:
    """Description of a stage.

    Parameters
    ----------
    name
        Name on the command line, such as ``register``.
    state
        What an exam is called that waits after this stage.
    last_step
        Name of the node that ends it.
    nodes
        Names of its nodes in the workflow of an exam (`init_exam_wf`); empty for a stage that is
        a workflow of its own.
    builder
        ``module:function`` that builds its workflow; empty for a part of that of an exam.
    asked_by
        Fields of `MethodSettings` of which one is filled where the stage is wanted; empty for a
        stage that always is.
    """

    name: str
    state: str
    last_step: str
    nodes: tuple[str, ...] = ()
    builder: str = ''
    asked_by: tuple[str, ...] = ()

    def is_wanted(self, method: MethodSettings) -> bool:
        """Whether the stage is to be done at all."""
        return not self.asked_by or any(getattr(method, field) for field in self.asked_by)

    def build(self, setup: ExamSetup) -> pe.Workflow:
        """Build the workflow of a stage that has one of its own."""
        module, _, function = self.builder.partition(':')
        return getattr(import_module(module), function)(setup=setup)


@dataclass(frozen=True)
class ExamSetup:
    """All that the workflow of an exam depends on.

    Parameters
    ----------
    exam
        The exam in plain values, as `describe_exam` writes it.
    fingerprint
        What its outputs depend on: scans, settings and version.
    method
        What is made of it.
    forecast
        Memory and time that it will take.
    num_threads
        Threads that one process uses.
    device
        Device that networks run on.
    low_mem
        Whether steps take less memory and more time.
    folders
        Paths of ``bids_dir`` and ``output_dir``, and ``run_uuid``, the name of the run.
    """

    exam: Mapping[str, Any]
    fingerprint: Mapping[str, Any]
    method: MethodSettings
    forecast: Forecast
    num_threads: int = 1
    device: str = 'cpu'
    low_mem: bool = False
    folders: Mapping[str, str] | None = None


_ENTRIES = (
    Stage(
        'register',
        state='registered',
        last_step='collect',
        nodes=('inputnode', 'select', 'align_wf', 'grid', 'resample', 'collect'),
    ),
    Stage(
        'synthesize',
        state='synthesized',
        last_step=SYNTHESIS_STEP,
        nodes=('method_wf', 'products', 'warnings', 'outputnode'),
    ),
    Stage(
        'standardize',
        state='standardized',
        last_step='standardize',
        builder='bids_synthsr.workflows.standard:init_standard_wf',
        asked_by=('templates', 'on_scans'),
    ),
    Stage(
        'report',
        state='finished',
        last_step='record',
        builder='bids_synthsr.workflows.outputs:init_outputs_wf',
    ),
)
STAGES: dict[str, Stage] = {stage.name: stage for stage in _ENTRIES}


def last_stage() -> Stage:
    """Return the stage that finishes an exam."""
    return [*STAGES.values()][-1]


def stages_until(name: str) -> list[Stage]:
    """Return the stages up to one, and with it, in their order."""
    names = [*STAGES]
    return [STAGES[other] for other in names[: names.index(name) + 1]]


def waiting_states() -> list[str]:
    """Return the states of exams that wait for a later stage."""
    return [stage.state for stage in STAGES.values() if stage is not last_stage()]
