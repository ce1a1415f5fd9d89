"""Slices between those of a scan, by a network that learned from scans of the same kind alone.

The network saw stacks that another one made of thick slices (Xuan et al. 2020), so that no fine
image was needed. It makes slices lie closer, and does not make them thinner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bids_synthsr.imaging.inference import precision_for_bfloat16
from bids_synthsr.methods.exam_size import ExamSize
from bids_synthsr.methods.sr_t1 import (
    LOW_MEM_VOXELS,
    MAX_VOXELS,
    NETWORK_MM,
    find_doubt,
    super_resolve,
)
from bids_synthsr.methods.sr_t1 import forecast as forecast_of_network
from bids_synthsr.networks.loaded import LoadedNetwork
from bids_synthsr.networks.slice_unet import SliceUNet
from bids_synthsr.values.exam import Acquisition, entities_among, suffix_of
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Image, MethodForecast, Observation, Synthesis

METHOD, DESC = 'spacing', 'spacing'
LEAST_SPACING = 1.5  # of slices that can come closer, voxels of the output


@dataclass(frozen=True, eq=False)
class TrainedSpacingNetwork(LoadedNetwork[SliceUNet]):
    """A network that learned from stacks of slices.

    Parameters
    ----------
    contrasts
        BIDS suffixes of the scans that it learned from.
    """

    contrasts: tuple[str, ...] = ()


def synthesize(
    observations: Sequence[Observation],
    grid: Grid,
    *,
    trained: TrainedSpacingNetwork,
    low_mem: bool = False,
    precision: str = 'auto',
) -> Synthesis:
    """Make the slices between those of the reference.

    Parameters
    ----------
    observations
        Scans of the exam; only the first is used, of a contrast that the network learned from.
    grid
        Output grid of 1 mm, parallel to the reference.
    trained
        The network with its weights, on the device that shall run it.
    low_mem
        Whether the volume goes through the network in smaller tiles, with nearly the same result.
    precision
        Precision of its arithmetic, one of `bids_synthsr.imaging.inference.PRECISIONS`; ``auto``
        is bfloat16 where 16 bits are faster.

    Raises
    ------
    ValueError
        If the reference has another contrast than the scans of the training, shows nothing, or is
        not parallel to the grid.
    """
    scan = observations[0]
    suffix, thickness = suffix_of(scan.contrast), scan.acquisition.slice_thickness
    if suffix not in trained.contrasts:
        raise ValueError(
            f'The network learned from {", ".join(trained.contrasts)}, but the reference is a '
            f'{scan.contrast}: name another scan with --reference, or use --method tv'
        )
    obstacle = find_obstacle([scan.contrast], [scan.acquisition], float(grid.spacing[0]))
    if obstacle:
        raise ValueError(obstacle)
    if precision == 'auto':
        precision = precision_for_bfloat16(next(trained.network.parameters()).device)
    voxels, run = super_resolve(
        scan,
        grid,
        trained.network,
        precision=precision,
        max_voxels=LOW_MEM_VOXELS if low_mem else MAX_VOXELS,
    )
    facts = {
        'method': METHOD,
        'scans': [scan.contrast],
        'scans_reason': 'the network takes one scan: the reference',
        'slice_thickness_mm': thickness,
        **run.facts,
        **trained.file,
    }
    spread = f'The slices lie closer but are no thinner: {thickness:g} mm by header and sidecar.'
    doubts = (
        spread,
        *filter(None, [find_doubt(scan.acquisition)]),
        *run.doubts,
    )
    entities = entities_among(scan.contrast, [scan.contrast])
    image = Image(suffix, DESC, voxels, grid, entities=entities)
    return Synthesis((image,), facts, doubts, used=(0,))


def forecast(size: ExamSize) -> MethodForecast:
    """Forecast memory and time from the size of the output."""
    return forecast_of_network(size)


def find_obstacle(
    contrasts: Sequence[str],  # noqa: ARG001
    acquisitions: Sequence[Acquisition],
    spacing_mm: float,
) -> str:
    """Describe why an exam cannot be processed, in a sentence; empty if it can.

    Parameters
    ----------
    contrasts
        BIDS suffixes of the scans; which ones the network knows, its weights tell.
    acquisitions
        Slices of the scans, those of the reference first.
    spacing_mm
        Voxel size of the output, mm.
    """
    if abs(spacing_mm - NETWORK_MM) > 0.01:
        return f'The network makes voxels of {NETWORK_MM:g} mm only.'
    apart = acquisitions[0].slice_spacing
    if apart < LEAST_SPACING * spacing_mm:
        return (
            f'The slices of the reference lie {apart:.3g} mm apart: there is nothing to put '
            'between them.'
        )
    return ''
