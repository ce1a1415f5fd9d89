"""A fine T1w of one scanner made like one of another, by a network that learned it from pairs.

The network adds to the T1w what the other scanner would have shown: of 7 T for 3 T, for instance
(Gicquel et al. 2025). It comes with the weights of a user, and works on voxels of the size that
it learned from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bids_synthsr.imaging.inference import Inference, Tiling, precision_for_bfloat16, predict
from bids_synthsr.imaging.intensity import bright_intensity
from bids_synthsr.imaging.resampling import in_field_of_view, resample
from bids_synthsr.methods.acquired import CONTRAST
from bids_synthsr.methods.exam_size import TORCH_GB, ExamSize
from bids_synthsr.methods.sr_t1 import LOW_MEM_VOXELS, MAX_VOXELS, TILE_MARGIN
from bids_synthsr.networks.loaded import LoadedNetwork
from bids_synthsr.networks.slice_unet import SliceUNet
from bids_synthsr.values.exam import Acquisition, entities_among, suffix_of
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Image, MethodForecast, Observation, Synthesis

METHOD, DESC = '3t-7t', '7t'
COARSEST_MM = 1.2  # of the T1w that is given
SAME_MM = 0.01  # by which voxels may differ from those of the training


@dataclass(frozen=True, eq=False)
class TrainedPairNetwork(LoadedNetwork[SliceUNet]):
    """A network that learned from pairs of images.

    Parameters
    ----------
    spacing_mm
        Size of the voxels that it learned from, mm.
    """

    spacing_mm: float = 1.0


def synthesize(
    observations: Sequence[Observation],
    grid: Grid,
    *,
    trained: TrainedPairNetwork,
    low_mem: bool = False,
    precision: str = 'auto',
) -> Synthesis:
    """Make the T1w of another scanner from the reference.

    Parameters
    ----------
    observations
        Scans of the exam; only the first is used, a T1w of fine voxels.
    grid
        Output grid; its voxels should be those that the network learned from.
    trained
        The network with its weights, on the device that shall run it.
    low_mem
        Whether the volume goes through the network in smaller tiles, with the same result.
    precision
        Precision of its arithmetic, one of `bids_synthsr.imaging.inference.PRECISIONS`; ``auto``
        is bfloat16 where 16 bits are faster.

    Raises
    ------
    ValueError
        If the reference is no T1w of fine voxels, or shows nothing.
    """
    scan = observations[0]
    obstacle = find_obstacle([scan.contrast], [scan.acquisition], float(grid.spacing[0]))
    if obstacle:
        raise ValueError(obstacle)
    given = resample(scan.voxels, scan.grid, grid, order=3).clip(min=0)
    most = LOW_MEM_VOXELS if low_mem else MAX_VOXELS
    made, run = make_other(given, trained.network, precision=precision, max_voxels=most)
    made = np.where(in_field_of_view(scan.grid, grid), made, 0).astype(np.float32)
    facts = {
        'method': METHOD,
        'scans': [scan.contrast],
        'scans_reason': 'the network takes one fine T1w: the reference',
        'spacing_mm': trained.spacing_mm,
        **run.facts,
        **trained.file,
    }
    doubts = (*filter(None, [find_other_voxels(grid, trained.spacing_mm)]), *run.doubts)
    entities = entities_among(scan.contrast, [scan.contrast])
    image = Image(CONTRAST, DESC, made, grid, entities=entities)
    return Synthesis((image,), facts, doubts, used=(0,))


def make_other(
    given: np.ndarray, network: SliceUNet, *, precision: str = 'auto', max_voxels: int = MAX_VOXELS
) -> tuple[np.ndarray, Inference]:
    """Add to a T1w what a network predicts that another scanner would have shown.

    Parameters
    ----------
    given
        ``(I, J, K)`` intensities, nowhere negative, on voxels of the size that it learned from.
    network
        Network that learned from pairs of images, in evaluation mode.
    precision
        See `synthesize`.
    max_voxels
        Voxels of a tile with its margin, at most.

    Returns
    -------
    made, run
        Intensities ``(I, J, K)`` in the unit of what was given, and how the network ran.

    Raises
    ------
    ValueError
        If nothing is given but air.
    """
    unit = bright_intensity(given)
    if unit <= 0:
        raise ValueError('The T1w holds no positive intensities: leave it out')
    if precision == 'auto':
        precision = precision_for_bfloat16(next(network.parameters()).device)
    run = predict(
        network,
        torch.from_numpy(given / unit)[None, None],
        multiple=network.multiple,
        precision=precision,
        tiling=Tiling(max_voxels, TILE_MARGIN),
    )
    return (unit * run.output[0, 0].numpy()).clip(min=0), run


def find_other_voxels(grid: Grid, spacing_mm: float) -> str:
    """Describe that voxels are not those that the network learned from; empty if they are.

    Parameters
    ----------
    grid
        Grid on which the output lies.
    spacing_mm
        Size of the voxels that it learned from, mm.
    """
    size = float(grid.spacing.mean())
    if abs(size - spacing_mm) <= SAME_MM:
        return ''
    return f'The network learned from voxels of {spacing_mm:g} mm, and these have {size:.3g} mm.'


def forecast(size: ExamSize) -> MethodForecast:
    """Forecast memory and time from the size of the output."""
    out = size.output_millions
    tile = min(out, MAX_VOXELS / 1e6)
    memory_gb = TORCH_GB + (0.41 if size.in_16_bits else 1.05) * tile + 0.02 * out
    return MethodForecast(memory_gb, 2.5 * out)


def find_obstacle(
    contrasts: Sequence[str],
    acquisitions: Sequence[Acquisition],
    spacing_mm: float,  # noqa: ARG001
) -> str:
    """Describe why an exam cannot be processed, in a sentence; empty if it can.

    Parameters
    ----------
    contrasts, acquisitions
        What the scans show, and their slices, the reference's first.
    spacing_mm
        Voxel size of the output, mm: any.
    """
    if suffix_of(contrasts[0]) != CONTRAST:
        return (
            f'{METHOD} takes a T1w, but the reference is a {contrasts[0]}: name a T1w with '
            '--reference'
        )
    slices = acquisitions[0]
    coarsest = max(slices.slice_spacing, slices.slice_thickness)
    if round(coarsest, 2) > COARSEST_MM:
        return (
            f'{METHOD} takes a T1w of at most {COARSEST_MM:g} mm, and the slices of this one have '
            f'{coarsest:.3g} mm: run sr-t1 first'
        )
    return ''
