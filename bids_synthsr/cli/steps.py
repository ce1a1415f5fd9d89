"""What nipype says of every step, written to a file that reports and status can read."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

from bids_synthsr.cli.crashes import exam_label

LOGGER = logging.getLogger('bids_synthsr')


class StepLog:
    """Status callback of nipype that appends one JSON line per event to ``path``.

    A line stands in the file before any step that depends on it starts, whatever the plugin, so
    the report of an exam can tell how long its steps took.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
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
        level = logging.ERROR if status == 'exception' else logging.INFO
        LOGGER.log(level, '%s: %s %s', exam, step, status)

    @staticmethod
    def _cost(node: Any) -> dict[str, float]:
        """Seconds, and memory where nipype's resource monitor runs, of a finished node."""
        runtime = getattr(node.result, 'runtime', None)
        parts: list[Any] = runtime if isinstance(runtime, list) else [runtime]
        seconds = [part.duration for part in parts if hasattr(part, 'duration')]
        peaks = [part.mem_peak_gb for part in parts if hasattr(part, 'mem_peak_gb')]
        cost = {'seconds': sum(seconds)} if seconds else {}
        return cost | ({'mem_peak_gb': max(peaks)} if peaks else {})
