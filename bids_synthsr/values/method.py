"""What a method is given, what it makes, and what it will take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

import numpy as np

from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid


@dataclass(frozen=True, eq=False)
class Observation:
    """What one scan measured, where, and how.

    Parameters
    ----------
    contrast
        What it shows, such as ``T2w`` or ``ce-gd_T1w`` (see `Scan.contrast`).
    voxels
        ``(I, J, K)`` float32 intensities on the scan's own grid, never resampled.
    grid
        The scan's own grid.
    acquisition
        Slices of the scan, see `Acquisition`.
    scan2ref
        ``(4, 4)`` rigid transform from the scan's RAS+ mm to the reference's RAS+ mm.
    """

    contrast: str
    voxels: np.ndarray
    grid: Grid
    acquisition: Acquisition
    scan2ref: np.ndarray


@dataclass(frozen=True, eq=False)
class Origin:
    """How a product came about, where not as the others of its synthesis.

    Parameters
    ----------
    method
        Name of the method that made it.
    facts
        What its sidecar states, JSON types only.
    used
        Indices of the observations that it comes from.
    is_acquired
        Whether it shows what a scanner measured, and nothing that was predicted.
    """

    method: str
    facts: Mapping[str, Any]
    used: tuple[int, ...]
    is_acquired: bool = False


@dataclass(frozen=True, eq=False)
class Image:
    """A volume that a method made.

    Parameters
    ----------
    suffix
        BIDS suffix of the output, such as ``T1w``.
    desc
        BIDS ``desc-`` label, such as ``tv``; empty for none.
    voxels
        Intensities, or integer labels, on ``grid``.
    grid
        Lattice on which the voxels lie, in the reference's RAS+ mm.
    labels
        Label values that may occur in it; empty for all but segmentations.
    entities
        BIDS entities that set it apart from others of its suffix: ``{'ce': 'gd'}``.
    origin
        How it came about; None for as its synthesis says.
    """

    suffix: str
    desc: str
    voxels: np.ndarray
    grid: Grid
    labels: tuple[int, ...] = ()
    entities: Mapping[str, str] = field(default_factory=dict)
    origin: Origin | None = None


@dataclass(frozen=True)
class Table:
    """A table that a method made.

    Parameters
    ----------
    suffix
        BIDS suffix of the output, such as ``volumes``.
    desc
        BIDS ``desc-`` label, such as ``anyexam``.
    rows
        Rows of the table, all with the same columns; JSON types.
    """

    suffix: str
    desc: str
    rows: Sequence[Mapping[str, Any]]


Product: TypeAlias = Image | Table


@dataclass(frozen=True, eq=False)
class Synthesis:
    """The products of a method and how they came about.

    Parameters
    ----------
    products
        Images and tables, the main volume first.
    facts
        What provenance and report state, JSON types only: scans used and why, iterations,
        weights and their SHA-256.
    warnings
        What a reader must know, one sentence each.
    used
        Indices of the observations that the products come from; None for all.
    """

    products: tuple[Product, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    used: tuple[int, ...] | None = None

    @property
    def images(self) -> tuple[Image, ...]:
        """The images alone, the main volume first."""
        return tuple(product for product in self.products if isinstance(product, Image))


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
    select_gb, align_gb, resample_gb, synthesize_gb, outputs_gb, standardize_gb, lesions_gb
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
    standardize_gb: float = 0.0
    lesions_gb: float = 0.0

    @property
    def memory_gb(self) -> float:
        """Most memory that one process takes, GB."""
        return max(getattr(self, item.name) for item in fields(self) if item.name != 'cpu_s')
