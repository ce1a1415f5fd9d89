"""The default: of our methods the one that measured best for the exam at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bids_synthsr.methods import sr_t1, total_variation
from bids_synthsr.methods.exam_size import ExamSize
from bids_synthsr.networks.loaded import LoadedNetwork
from bids_synthsr.networks.slice_unet import SliceUNet
from bids_synthsr.values.exam import Acquisition, suffix_of
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import MethodForecast, Observation, Synthesis

CROSSING_PLANES = 2  # then total variation is better (lab/crossing.py)
ACROSS = 0.7  # cosine of the angle, some 45 degrees, from which on slices cross
THICK_T1W = 'The reference is a T1w of thick slices.'


def synthesize(
    observations: Sequence[Observation],
    grid: Grid,
    *,
    trained: LoadedNetwork[SliceUNet],
    low_mem: bool = False,
) -> Synthesis:
    """Sharpen a T1w of thick slices by the network, and all other exams by total variation.

    Also where scans of other contrasts have slices in other directions, from which total
    variation takes detail: the network came as close to the truth or closer (lab/benchmarks.md).
    Several scans of the reference's own contrast that cross are joined.

    Parameters
    ----------
    observations
        The exam, reference first.
    grid
        Output grid in the frame of the reference.
    trained, low_mem
        See `sr_t1.synthesize`.
    """
    contrasts = [scan.contrast for scan in observations]
    acquisitions = [scan.acquisition for scan in observations]
    normals = [
        scan.scan2ref[:3, :3] @ scan.grid.directions[:, scan.acquisition.slice_axis]
        for scan in observations
    ]
    why_not = find_crossing(contrasts, normals) or reason_against_network(
        contrasts, acquisitions, float(grid.spacing.mean())
    )
    if why_not:
        synthesis = total_variation.synthesize(observations, grid)
        facts = {'method': 'tv', 'method_reason': why_not}
    else:
        synthesis = sr_t1.synthesize(observations, grid, trained=trained, low_mem=low_mem)
        facts = {'method': 'sr-t1', 'method_reason': THICK_T1W}
    return replace(synthesis, facts={**synthesis.facts, **facts})


def forecast(size: ExamSize) -> MethodForecast:
    """Forecast memory and time of the method that will be chosen."""
    normals = [grid.directions[:, slices.slice_axis] for grid, slices in size.geometries]
    why_not = find_crossing(size.contrasts, normals) or reason_against_network(
        size.contrasts, size.acquisitions, size.spacing_mm
    )
    return (total_variation if why_not else sr_t1).forecast(size)


def find_obstacle(
    contrasts: Sequence[str],  # noqa: ARG001
    acquisitions: Sequence[Acquisition],  # noqa: ARG001
    spacing_mm: float,  # noqa: ARG001
) -> str:
    """Find nothing: total variation takes what the network does not."""
    return ''


def find_crossing(contrasts: Sequence[str], normals: Sequence[np.ndarray]) -> str:
    """Describe that the scans of the reference's contrast cross, a sentence; empty if not.

    Then all of them together hold more than a network can add to one of them.

    Parameters
    ----------
    contrasts
        What the scans show, the reference first.
    normals
        Direction across the slices of each, ``(3,)``, in one frame.
    """
    planes: list[np.ndarray] = []
    for contrast, normal in zip(contrasts, normals, strict=True):
        if contrast == contrasts[0] and all(abs(normal @ plane) < ACROSS for plane in planes):
            planes.append(normal)
    if len(planes) < CROSSING_PLANES:
        return ''
    return f'The slices of its {contrasts[0]} scans lie in {len(planes)} planes, which are joined.'


def reason_against_network(
    contrasts: Sequence[str], acquisitions: Sequence[Acquisition], spacing_mm: float
) -> str:
    """Describe why the network is not for an exam, in a sentence; empty if it is.

    Parameters
    ----------
    contrasts, acquisitions
        BIDS suffixes and slices of the scans, the reference's first.
    spacing_mm
        Voxel size of the output, mm.
    """
    if suffix_of(contrasts[0]) != sr_t1.CONTRAST:
        return f'The network sharpens a T1w, and the reference is a {contrasts[0]}.'
    return sr_t1.find_doubt(acquisitions[0]) or sr_t1.find_obstacle(
        contrasts, acquisitions, spacing_mm
    )
