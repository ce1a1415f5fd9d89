"""What a method makes of an exam."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bids_synthsr.values.grid import Grid


@dataclass(frozen=True, eq=False)
class Product:
    """One volume that a method made.

    Parameters
    ----------
    suffix
        BIDS suffix of the output, such as ``T1w``.
    desc
        BIDS ``desc-`` label, such as ``tv`` or ``uncertainty``.
    voxels
        Intensities, or integer labels, on ``grid``.
    grid
        Where they lie, in the reference's RAS+ mm.
    """

    suffix: str
    desc: str
    voxels: np.ndarray
    grid: Grid


@dataclass(frozen=True, eq=False)
class Synthesis:
    """The products of a method and how they came about.

    Parameters
    ----------
    products
        The main volume first.
    facts
        What provenance and report should tell, JSON types only: scans used and why, iterations,
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
