"""What nipype reports of every step, written to a file that reports and status can read."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_synthsr.reports.pages import duration
from bids_synthsr.run.crashes import exam_label
from bids_synthsr.run.messages import announce
from bids_synthsr.workflows.stages import Stage, last_stage

LOGGER = logging.getLogger('bids_synthsr')


@dataclass(eq=False)
class RunProgress:
    """How far a run is.

    Parameters
    ----------
    exams
        Number of exams that it is to do.
    begun
        Time when it began, on the clock of `time.monotonic`.
    done, failed
        Labels of the exams that have ended.
    running
        Time since when each step is at work, by exam and step.
    """

    exams: int
    begun: float = field(default_factory=time.monotonic)
    done: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    running: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def ended(self) -> int:
        """How many exams have ended, well or not."""
        return len(self.done | self.failed)

    @property
    def seconds_left(self) -> float | None:
        """Time for the other exams by what these took; None before the first has ended."""
        if not self.ended:
            return None
        return (time.monotonic() - self.begun) / self.ended * (self.exams - self.ended)

    def __str__(self) -> str:
        left = self.seconds_left
        if self.ended == self.exams or left is None:
            return f'all {self.exams} done'
        return f'{self.ended} of {self.exams} done, about {duration(left)} left'


class StepLog:
    """Status callback of nipype that appends one JSON line per event to ``path``.

    A line stands in the file before any step that depends on it starts, whatever the plugin, so
    the report of an exam can state how long its steps took. Every exam that is done is announced,
    with the time that the others will take.

    Parameters
    ----------
    path
        File that the lines are appended to.
    exams
        Number of exams that the run is to do.
    stage
        Stage after which the run ends; None for the last one.
    """

    def __init__(self, path: Path, exams: int, stage: Stage | None = None) -> None:
        self.path, self.progress = path, RunProgress(exams)
        self._last_step = (stage or last_stage()).last_step
        path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, node: Any, status: str) -> None:
        """Take an event of ``node``: ``start``, ``end`` or ``exception``."""
        parts = node.fullname.split('.')
        if len(parts) == 1:  # a part of a MapNode, which has its own events
            return
        exam, step = exam_label(parts[1]), parts[-1]
        if status == 'start' and (exam, step) in self.progress.running:
            return  # its parts have run, and it collects what they made
        event = {'time': time.time(), 'exam': exam, 'step': step, 'status': status}
        if status == 'end':
            event |= self._cost(node)
        try:
            with self.path.open('a', encoding='utf-8') as file:
                file.write(json.dumps(event) + '\n')
        except OSError as error:  # the step itself will fail, if it matters
            LOGGER.warning('%s: %s', self.path, error.strerror)
        LOGGER.info('%s: %s %s', exam, step, status)
        self._follow(exam, step, status)

    def _follow(self, exam: str, step: str, status: str) -> None:
        """Keep the progress, and announce every exam that ends."""
        progress = self.progress
        if status == 'start':
            progress.running[exam, step] = time.monotonic()
            return
        progress.running.pop((exam, step), None)
        if status == 'exception' and exam not in progress.failed:
            progress.failed.add(exam)
            announce('%s failed at %s; %s', exam, step, str(progress))
        elif status == 'end' and step == self._last_step:
            progress.done.add(exam)
            announce('%s finished; %s', exam, str(progress))

    @staticmethod
    def _cost(node: Any) -> dict[str, float]:
        """Seconds, and memory where it was measured, of a finished node."""
        runtime = getattr(node.result, 'runtime', None)
        parts: list[Any] = runtime if isinstance(runtime, list) else [runtime]
        seconds = [part.duration for part in parts if hasattr(part, 'duration')]
        peak = getattr(node, 'mem_peak_gb', 0)  # by the engine
        cost = {'seconds': sum(seconds)} if seconds else {}
        return cost | ({'mem_peak_gb': peak, 'mem_forecast_gb': node.mem_gb} if peak else {})
