"""Cubic interpolation of the reference: the baseline of every comparison."""

from __future__ import annotations

from collections.abc import Sequence

from bids_synthsr.imaging.resampling import resample
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.observation import Observation
from bids_synthsr.values.synthesis import Product, Synthesis


def synthesize(observations: Sequence[Observation], grid: Grid) -> Synthesis:
    """Interpolate the first scan, the reference, on ``grid`` with cubic splines.

    Values stay within the range of the scan, beyond which a spline overshoots at sharp edges.
    """
    reference = observations[0]
    voxels = resample(reference.voxels, reference.grid, grid, reference.scan2ref, order=3)
    # 0 lies outside the field of view
    low, high = min(reference.voxels.min(), 0), max(reference.voxels.max(), 0)
    product = Product(reference.contrast, 'cubic', voxels.clip(low, high), grid)
    return Synthesis((product,), {'scans': [reference.contrast]}, used=(0,))
