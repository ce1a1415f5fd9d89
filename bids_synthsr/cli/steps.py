"""What nipype says of every step, written to a file that reports and status can read."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

from bids_synthsr.cli.crashes import exam_label
from bids_synthsr.cli.messages import tell
from bids_synthsr.reports.pages import duration

LOGGER = logging.getLogger('bids_synthsr')
LAST_STEP = 'record'  # of an exam


class StepLog:
    """Status callback of nipype that appends one JSON line per event to ``path``.

    A line stands in the file before any step that depends on it starts, whatever the plugin, so
    the report of an exam can tell how long its steps took. Every exam that is done is told, with
    the time that the others will take.

    Parameters
    ----------
    path
        The file.
    exams
        How many the run is to do.
    """

    def __init__(self, path: Path, exams: int) -> None:
        self.path, self._exams = path, exams
        self._begun = time.monotonic()
        self._done: set[str] = set()
        self._failed: set[str] = set()
        path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, node: Any, status: str) -> None:
        """Take an event of ``node``: ``start``, ``end`` or ``exception``."""
        parts = node.fullname.split('.')
        if len(parts) == 1:  # a part of a MapNode, which has its own events
            return
        exam, step = exam_label(parts[1]), parts[-1]
        event = {'time': time.time(), 'exam': exam, 'step': step, 'status': status}
        if status == 'end':
            event |= self._cost(node)
        try:
            with self.path.open('a', encoding='utf-8') as file:
                file.write(json.dumps(event) + '\n')
        except OSError as error:  # the step itself will tell, if it matters
            LOGGER.warning('%s: %s', self.path, error.strerror)
        LOGGER.info('%s: %s %s', exam, step, status)
        if status == 'exception' and exam not in self._failed:
            self._failed.add(exam)
            tell('%s failed at %s; %s', exam, step, self._progress())
        elif status == 'end' and step == LAST_STEP:
            self._done.add(exam)
            tell('%s finished; %s', exam, self._progress())

    def _progress(self) -> str:
        """Tell how much is left, and for how long by what it took until now."""
        ended = len(self._done) + len(self._failed)
        left = self._exams - ended
        if not left:
            return f'all {self._exams} done'
        seconds = (time.monotonic() - self._begun) / ended * left
        return f'{ended} of {self._exams} done, about {duration(seconds)} left'

    @staticmethod
    def _cost(node: Any) -> dict[str, float]:
        """Seconds, and memory where it was measured, of a finished node."""
        runtime = getattr(node.result, 'runtime', None)
        parts: list[Any] = runtime if isinstance(runtime, list) else [runtime]
        seconds = [part.duration for part in parts if hasattr(part, 'duration')]
        peak = getattr(node, 'mem_peak_gb', 0)  # by the engine
        cost = {'seconds': sum(seconds)} if seconds else {}
        return cost | ({'mem_peak_gb': peak, 'mem_forecast_gb': node.mem_gb} if peak else {})
