"""What an exam will take."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class MethodForecast:
    """What a method will take for one exam.

    Parameters
    ----------
    memory_gb
        Memory of the process that runs it, GB.
    cpu_s
        Time that it takes, in seconds of one core.
    """

    memory_gb: float
    cpu_s: float


@dataclass(frozen=True)
class Forecast:
    """Memory of the process that does a step, GB, by the kind of step, and time of all of them.

    Parameters
    ----------
    select_gb, align_gb, resample_gb, synthesize_gb, outputs_gb
        Memory of the largest step of each kind, GB.
    cpu_s
        Time of all steps together, in seconds of one core.
    """

    select_gb: float
    align_gb: float
    resample_gb: float
    synthesize_gb: float
    outputs_gb: float
    cpu_s: float

    @property
    def memory_gb(self) -> float:
        """Most memory that one process takes, GB."""
        return max(getattr(self, own.name) for own in fields(self) if own.name != 'cpu_s')
