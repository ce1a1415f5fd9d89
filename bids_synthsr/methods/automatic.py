"""The default: of our methods the one that measured best for the exam at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bids_synthsr.methods import sr_t1, total_variation
from bids_synthsr.methods.choice import find_obstacle
from bids_synthsr.networks.slice_unet import SliceUNet
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.observation import Observation
from bids_synthsr.values.synthesis import Synthesis


def synthesize(
    observations: Sequence[Observation],
    grid: Grid,
    *,
    network: SliceUNet,
    weights: Mapping[str, str] | None = None,
    max_voxels: int = sr_t1.MAX_VOXELS,
) -> Synthesis:
    """Sharpen a T1w of thick slices by the network, and all other exams by total variation.

    Also where the other scans have slices in other directions, from which total variation takes
    detail: the network came as close to the truth or closer (docs/benchmarks.md).

    Parameters
    ----------
    observations
        The exam, reference first.
    grid
        In the frame of the reference.
    network, weights, max_voxels
        See `sr_t1.synthesize`.
    """
    reference = observations[0]
    obstacle = find_obstacle(reference.contrast, reference.acquisition, float(grid.spacing.mean()))
    if obstacle:
        made = total_variation.synthesize(observations, grid)
        facts = {'method': 'tv', 'method_reason': obstacle}
    else:
        made = sr_t1.synthesize(
            observations, grid, network=network, weights=weights, max_voxels=max_voxels
        )
        facts = {'method': 'sr-t1', 'method_reason': 'The reference is a T1w of thick slices.'}
    return replace(made, facts={**made.facts, **facts})
