"""What nipype reports of every step, written to a file that reports and status can read."""

from __future__ import annotations

import json
import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from bids_synthsr.dataset.files import open_to_append
from bids_synthsr.reports.pages import duration
from bids_synthsr.run.crashes import exam_label
from bids_synthsr.run.messages import announce
from bids_synthsr.workflows.stages import Stage, last_stage

LOGGER = logging.getLogger('bids_synthsr')
LEAST_REST = 0.1  # of an average exam: what one that takes longer than that is taken to need yet


@dataclass(eq=False)
class RunProgress:
    """How far a run is. All times are those of `time.monotonic`.

    Parameters
    ----------
    exams
        Number of exams that it is to do.
    state
        What an exam is called that is done: ``finished``, or a state that waits for a later stage.
    begun
        Time when it began.
    done, failed
        Labels of the exams that have ended.
    running
        Time since when each step is at work, by exam and step.
    starts, ends
        Time when the work on each exam began and when it ended, by exam.
    """

    exams: int
    state: str = 'finished'
    begun: float = field(default_factory=time.monotonic)
    done: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    running: dict[tuple[str, str], float] = field(default_factory=dict)
    starts: dict[str, float] = field(default_factory=dict)
    ends: dict[str, float] = field(default_factory=dict)

    def end(self, exam: str, exams: set[str]) -> None:
        """Put an exam that has ended to those that are `done`, or to those that `failed`."""
        exams.add(exam)
        self.ends.setdefault(exam, time.monotonic())

    @property
    def ended(self) -> int:
        """How many exams have ended, well or not."""
        return len(self.ends)

    @property
    def seconds_left(self) -> float | None:
        """Time for the other exams; None before the first has ended.

        Each is taken to need as long as those needed on average that are done, and the work to go
        on at as many exams at once as until now.
        """
        if not self.ends:
            return None
        now = time.monotonic()
        ages = {exam: self.ends.get(exam, now) - begun for exam, begun in self.starts.items()}
        average = mean(ages[exam] for exam in self.done or self.ends)
        at_work = [average - ages[exam] for exam in self.starts if exam not in self.ends]
        to_come = self.exams - len(self.starts)
        work = to_come * average + sum(max(rest, LEAST_REST * average) for rest in at_work)
        at_once = sum(ages.values()) / max(now - min(self.starts.values()), 1e-6)
        return work / max(1.0, min(at_once, to_come + len(at_work)))

    def describe_work(self) -> str:
        """Describe the steps at work, oldest first, and for how long each has been."""
        now = time.monotonic()
        steps = sorted(self.running.items(), key=lambda item: item[1])
        return ', '.join(
            f'{exam} {step} ({duration(now - begun)})' for (exam, step), begun in steps
        )

    def __str__(self) -> str:
        left = self.seconds_left
        if self.ended == self.exams:
            return f'all {self.exams} done'
        done = f'{self.ended} of {self.exams} done'
        return done if left is None else f'{done}, about {duration(left)} left'


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
        stage = stage or last_stage()
        self.path, self.progress = path, RunProgress(exams, stage.state)
        self._last_step = stage.last_step
        path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, node: Any, status: str) -> None:
        """Take an event of ``node``: ``start``, ``end`` or ``exception``."""
        parts = node.fullname.split('.')
        if len(parts) == 1:  # a part of a MapNode, which has its own events
            return
        exam, step = exam_label(parts[1]), parts[-1]
        if status == 'start' and (exam, step) in self.progress.running:
            return  # its parts have run, and it collects what they made
        is_at_work = (exam, step) in self.progress.running
        if status == 'end' and exam in self.progress.failed and not is_at_work:
            return  # nipype's Linear says so of all steps that it skips
        event = {'time': time.time(), 'exam': exam, 'step': step, 'status': status}
        if getattr(node, 'run_without_submitting', False):
            event['internal'] = True  # it only hands on what others made
        if status == 'end':
            event |= self._cost(node)
        try:
            with open_to_append(self.path) as file:
                file.write(json.dumps(event) + '\n')
        except OSError as error:  # the step itself will fail, if it matters
            LOGGER.warning('%s: %s', self.path, error.strerror)
        LOGGER.info('%s: %s %s', exam, step, status)
        self._follow(exam, step, status)

    def _follow(self, exam: str, step: str, status: str) -> None:
        """Keep the progress, and announce every exam that ends."""
        progress, now = self.progress, time.monotonic()
        progress.starts.setdefault(exam, now)  # by its end, where the work folder holds the step
        if status == 'start':
            progress.running[exam, step] = now
            return
        progress.running.pop((exam, step), None)
        if status == 'exception' and exam not in progress.failed:
            progress.end(exam, progress.failed)
            announce('%s failed at %s; %s', exam, step, str(progress))
        elif status == 'end' and step == self._last_step:
            progress.end(exam, progress.done)
            announce('%s %s; %s', exam, progress.state, str(progress))

    @staticmethod
    def _cost(node: Any) -> dict[str, float]:
        """Seconds, and memory where it was measured, of a finished node."""
        runtime = None
        with suppress(OSError):  # results are read from disk
            runtime = getattr(node.result, 'runtime', None)
        parts: list[Any] = runtime if isinstance(runtime, list) else [runtime]
        seconds = [part.duration for part in parts if hasattr(part, 'duration')]
        peak = getattr(node, 'mem_peak_gb', 0)  # by the engine
        cost = {'seconds': sum(seconds)} if seconds else {}
        return cost | ({'mem_peak_gb': peak, 'mem_forecast_gb': node.mem_gb} if peak else {})
