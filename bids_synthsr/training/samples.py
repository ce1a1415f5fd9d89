"""Batches: what a network sees in one step, and the seed that decides it.

A batch is drawn from the seed of its step, so that step 1000 is the same batch whether a training
ran through, was resumed, or only draws its gallery; no state of a random generator needs storing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bids_synthsr.synthesis.generator import Sample
from bids_synthsr.training.recipe import NetworkRecipe, Recipe

TRAINING, VALIDATION, GALLERY, CALIBRATION, CRITIC = range(5)  # streams of seeds


@dataclass(eq=False)
class Batch:
    """Input of a network, and the output that it should give.

    Parameters
    ----------
    inputs
        Positional arguments of the network.
    scans
        Scans for pictures, ``(B, N, I, J, K)``.
    target
        T1w to predict, ``(B, 1, I, J, K)``.
    weight
        Weight of each voxel in the loss, ``(B, 1, I, J, K)``.
    draws
        Draw of each element of the batch, in JSON types.
    base
        Image to which the output is added, ``(B, 1, I, J, K)``. None where the network adds it.
    naive
        Interpolated scan to compare with the target, ``(B, 1, I, J, K)``. None where the target
        has another contrast.
    segmentation
        Class indices, ``(B, I, J, K)``; None without labels.
    """

    inputs: tuple[Any, ...]
    scans: Tensor
    target: Tensor
    weight: Tensor
    draws: list[dict[str, Any]]
    base: Tensor | None = None
    naive: Tensor | None = None
    segmentation: Tensor | None = None


def seed_of(recipe: Recipe, stream: int, step: int, rank: int = 0) -> int:
    """Compute the seed of a batch: another one for every recipe seed, stream, step and process."""
    sequence = np.random.SeedSequence([recipe.seed, stream, step, rank])
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def as_batch(sample: Sample, network: NetworkRecipe, is_super_resolution: bool) -> Batch:
    """Arrange a sample for a network.

    The published U-Net takes image and reliability of each scan in turn as channels, and has
    channels for every scan that might be present. The exam network takes the present scans.

    Parameters
    ----------
    sample
        Sample of the generator.
    network
        Network of the recipe.
    is_super_resolution
        Whether the target is the reference scan itself at high resolution.
    """
    count = int(sample.present.sum(1).max())
    inputs: tuple[Tensor, ...] = (sample.scans[:, :count], sample.reliability[:, :count])
    if network.name == 'unet':
        inputs = (torch.stack([sample.scans, sample.reliability], 2).flatten(1, 2),)
    is_residual = network.name == 'unet' and network.residual >= 0
    return Batch(
        inputs=inputs,
        scans=sample.scans[:, :count],
        target=sample.target,
        weight=sample.weight,
        draws=sample.draws,
        base=sample.scans[:, network.residual][:, None] if is_residual else None,
        naive=sample.scans[:, :1] if is_super_resolution else None,
        segmentation=sample.segmentation,
    )


def slice_batch(channels: Tensor, target: Tensor, draws: list[dict[str, Any]]) -> Batch:
    """Arrange encoded slices, or any image, for a network that adds to the first channel.

    Parameters
    ----------
    channels
        Input of the network, ``(B, C, I, J, K)``; the first channel is the interpolated scan.
    target
        T1w to predict, ``(B, 1, I, J, K)``.
    draws
        Draw of each element of the batch, in JSON types.
    """
    return Batch(
        inputs=(channels,),
        scans=channels[:, :1],
        target=target,
        weight=torch.ones_like(target),
        draws=draws,
        naive=channels[:, :1],
    )
