"""The default: of our methods the one that measured best for the exam at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bids_synthsr.data.grid import Grid
from bids_synthsr.data.observation import Observation
from bids_synthsr.data.synthesis import Synthesis
from bids_synthsr.methods import super_resolution, total_variation
from bids_synthsr.networks.slice_unet import SliceUNet

NETWORK_MM = 1.0  # voxels of the output that the network makes
SAME_DIRECTION = 0.7  # least cosine between the normals of slices that show the same: 45 degrees


def synthesize(
    observations: Sequence[Observation],
    grid: Grid,
    *,
    network: SliceUNet,
    weights: Mapping[str, str] | None = None,
) -> Synthesis:
    """Sharpen a T1w of thick slices by the network, and all other exams by total variation.

    Also where scans have slices in several directions: there total variation came closer to the
    truth (docs/benchmarks.md).

    Parameters
    ----------
    observations
        The exam, reference first.
    grid
        In the frame of the reference.
    network, weights
        See `super_resolution.synthesize`.
    """
    obstacle = find_obstacle(observations, grid)
    if obstacle:
        made = total_variation.synthesize(observations, grid)
        facts = {'method': 'tv', 'method_reason': obstacle}
    else:
        made = super_resolution.synthesize(observations, grid, network=network, weights=weights)
        facts = {'method': 'sr-t1', 'method_reason': 'The reference is a T1w of thick slices.'}
    return replace(made, facts={**made.facts, **facts})


def find_obstacle(observations: Sequence[Observation], grid: Grid) -> str:
    """Tell why the network is not for an exam, a sentence; empty where it is."""
    reference, *others = observations
    spacing = reference.acquisition.slice_spacing
    low, high = super_resolution.TRAINED_MM
    if reference.contrast != super_resolution.CONTRAST:
        return f'The network sharpens a T1w, and the reference is a {reference.contrast}.'
    if not low <= spacing <= high:
        return (
            f'The slices of the reference lie {spacing:.3g} mm apart, and the network learned '
            f'from {low:g} to {high:g} mm.'
        )
    if abs(float(grid.spacing.mean()) - NETWORK_MM) > 0.01:
        return f'The network makes voxels of {NETWORK_MM:g} mm only.'
    for scan in others:
        if abs(normal_of(scan) @ normal_of(reference)) < SAME_DIRECTION:
            return (
                f'The slices of the {scan.contrast} run in another direction than those of the '
                'reference, from which total variation takes detail.'
            )
    return ''


def normal_of(scan: Observation) -> np.ndarray:
    """Give the direction across the slices of a scan, ``(3,)``, of length 1."""
    return scan.grid.directions[:, scan.acquisition.slice_axis]
