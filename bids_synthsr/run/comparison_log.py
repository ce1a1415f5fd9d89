"""What an evaluation tells while it works: a line at its start, and one for each comparison."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bids_synthsr.reports.pages import duration
from bids_synthsr.run.messages import announce
from bids_synthsr.workflows.stages import SYNTHESIS_STEP

COMPARE = 'compare_'  # how the names of the steps begin that end a comparison


class ComparisonLog:
    """Status callback of nipype that announces every comparison that ends.

    Parameters
    ----------
    results
        Files that the comparisons are to write.
    seconds
        Time that each method is forecast to take for one head, by its name.
    at_once
        Number of comparisons at work at the same time.
    """

    def __init__(
        self, results: Iterable[Path], seconds: Mapping[str, float], at_once: int
    ) -> None:
        self._seconds = {method.replace('-', '_'): cost for method, cost in seconds.items()}
        names = sorted(self._seconds, key=len)
        self._methods = [
            next(name for name in reversed(names) if result.stem.endswith(f'_{name}'))
            for result in results
        ]
        self._at_once, self._done = at_once, 0
        self._left = sum(self._seconds[method] for method in self._methods)
        self._taken = self._forecast = 0.0  # by the methods until now, and what was forecast

    def announce_start(self) -> None:
        """Tell how many comparisons there are, and how long their methods are forecast to take."""
        announce(
            '%d comparisons, %d at once; their methods are forecast to take about %s',
            len(self._methods),
            self._at_once,
            duration(self.seconds_left),
        )

    @property
    def seconds_left(self) -> float:
        """Time that the methods will take yet, if they deviate from the forecast as until now."""
        deviation = self._taken / self._forecast if self._forecast else 1.0
        return deviation * self._left / self._at_once

    def __call__(self, node: Any, status: str) -> None:
        """Take an event of ``node``: ``start``, ``end`` or ``exception``."""
        _, *parts = node.fullname.split('.')
        if not parts or status == 'start':  # a part of a MapNode has no workflow
            return
        name, *others = reversed(parts)
        where = ', '.join(reversed(others))
        if status == 'exception':
            announce('%s: failed at %s', where, name)
        elif name == SYNTHESIS_STEP:
            runtime = getattr(node.result, 'runtime', None)
            self._taken += getattr(runtime, 'duration', 0.0)
            self._forecast += self._seconds[others[0]]
        elif name.startswith(COMPARE):
            self._end(where, name.removeprefix(COMPARE))

    def _end(self, where: str, method: str) -> None:
        """Announce a comparison that has ended."""
        self._done += 1
        self._left -= self._seconds[method]
        left = f', about {duration(self.seconds_left)} left' if self._left > 0 else ''
        total = len(self._methods)
        announce('%s, %s: compared; %d of %d done%s', where, method, self._done, total, left)
