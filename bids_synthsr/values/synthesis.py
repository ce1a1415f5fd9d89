"""What a method makes of an exam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from bids_synthsr.values.grid import Grid


@dataclass(frozen=True, eq=False)
class Image:
    """A volume that a method made.

    Parameters
    ----------
    suffix
        BIDS suffix of the output, such as ``T1w``.
    desc
        BIDS ``desc-`` label, such as ``tv`` or ``uncertainty``.
    voxels
        Intensities, or integer labels, on ``grid``.
    grid
        Lattice on which the voxels lie, in the reference's RAS+ mm.
    labels
        Label values that may occur in it; empty for intensities and masks.
    """

    suffix: str
    desc: str
    voxels: np.ndarray
    grid: Grid
    labels: tuple[int, ...] = ()


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
        What provenance and report should say, JSON types only: scans used and why, iterations,
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
