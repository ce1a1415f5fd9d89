"""Cubic interpolation of the reference, made consistent with it: the second baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bids_synthsr.imaging.interleaving import balance_slices
from bids_synthsr.imaging.noise import tissue_mask
from bids_synthsr.methods import cubic
from bids_synthsr.methods.consistency import make_consistent
from bids_synthsr.methods.exam_size import TORCH_GB, ExamSize
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import MethodForecast, Observation, Synthesis

METHOD, DESC = 'cubic-dc', 'cubicdc'


def synthesize(observations: Sequence[Observation], grid: Grid) -> Synthesis:
    """Interpolate the reference cubically, and let its slices come out as they were measured.

    Parameters
    ----------
    observations
        The exam, reference first.
    grid
        Grid of the output, in the frame of the reference.
    """
    scan = observations[0]
    balanced, interleaving = balance_slices(
        scan.voxels, tissue_mask(scan.voxels), scan.acquisition.slice_axis
    )
    scan = replace(scan, voxels=balanced)
    made = cubic.synthesize([scan], grid)
    image = made.images[0]
    volume, consistency = make_consistent(image.voxels, grid, scan)
    lowest = min(float(balanced.min()), 0)
    facts = {
        **made.facts,
        'method': METHOD,
        'interleaving': interleaving,
        'consistency': consistency.facts,
    }
    image = replace(image, desc=DESC, voxels=volume.clip(lowest))
    return Synthesis((image,), facts, used=(0,))


def forecast(size: ExamSize) -> MethodForecast:
    """Forecast memory and time: some arrays of the size of the output."""
    out = size.output_millions
    return MethodForecast(TORCH_GB + 0.05 * out + 0.012 * size.scan_millions[0], 1.5 * out)


def find_obstacle(
    contrasts: Sequence[str], acquisitions: Sequence[Acquisition], spacing_mm: float
) -> str:
    """Find nothing: every exam has a reference that can be interpolated.

    Parameters
    ----------
    contrasts, acquisitions, spacing_mm
        See `cubic.find_obstacle`.
    """
    return cubic.find_obstacle(contrasts, acquisitions, spacing_mm)
