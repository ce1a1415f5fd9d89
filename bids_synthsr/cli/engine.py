"""nipype's MultiProc, one exam after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nipype.pipeline.plugins import MultiProcPlugin


class ExamByExamPlugin(MultiProcPlugin):
    """MultiProc that prefers steps of the exam that was begun first.

    By itself it takes the first steps of all exams before the second step of any, so that the
    first exam is finished when nearly all are; a run that is stopped half-way then has nothing to
    show. Steps of later exams still fill processes that would stand idle.

    Parameters
    ----------
    plugin_args
        As MultiProc takes them.
    exams
        Names of the exams' workflows in the order in which they are done.
    """

    def __init__(self, exams: Sequence[str], plugin_args: Mapping[str, Any]) -> None:
        super().__init__(plugin_args=dict(plugin_args))
        self._order = {name: number for number, name in enumerate(exams)}

    def _sort_jobs(self, jobids: Iterable[int], scheduler: str | None = None) -> list[int]:  # noqa: ARG002
        """Sort steps that could start; called by MultiProc before it starts any."""
        return sorted(jobids, key=lambda job: (self._exam(job), job))

    def _exam(self, job: int) -> int:
        """Number of the exam whose workflow, below that of the run, holds a step or its whole."""
        step = self.procs[self.mapnodesubids.get(job, job)]
        return self._order[step.fullname.split('.')[1]]
