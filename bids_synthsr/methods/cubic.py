"""Cubic interpolation of the reference: the baseline of every comparison."""

from __future__ import annotations

from collections.abc import Sequence

from bids_synthsr.imaging.resampling import resample
from bids_synthsr.methods.exam_size import IDLE_GB, ExamSize
from bids_synthsr.values.exam import Acquisition, entities_among, suffix_of
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Image, MethodForecast, Observation, Synthesis


def synthesize(observations: Sequence[Observation], grid: Grid) -> Synthesis:
    """Interpolate the first scan, the reference, on ``grid`` with cubic splines.

    Values stay within the range of the scan, beyond which a spline overshoots at sharp edges.
    """
    reference = observations[0]
    voxels = resample(reference.voxels, reference.grid, grid, reference.scan2ref, order=3)
    # 0 lies outside the field of view
    low, high = min(reference.voxels.min(), 0), max(reference.voxels.max(), 0)
    contrast, clipped = reference.contrast, voxels.clip(low, high)
    entities = entities_among(contrast, [contrast])
    image = Image(suffix_of(contrast), 'cubic', clipped, grid, entities=entities)
    return Synthesis((image,), {'scans': [contrast]}, used=(0,))


def forecast(size: ExamSize) -> MethodForecast:
    """Forecast memory and time from the sizes of output and reference."""
    out = size.output_millions
    return MethodForecast(IDLE_GB + 0.03 * out + 0.012 * size.scan_millions[0], 0.5 * out)


def find_obstacle(
    contrasts: Sequence[str],  # noqa: ARG001
    acquisitions: Sequence[Acquisition],  # noqa: ARG001
    spacing_mm: float,  # noqa: ARG001
) -> str:
    """Find nothing: every exam has a reference that can be interpolated."""
    return ''
