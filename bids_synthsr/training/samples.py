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

TRAINING, VALIDATION, GALLERY, CALIBRATION = range(4)  # streams of seeds


@dataclass(eq=False)
class Batch:
    """What goes into a network, and what should come out.

    Parameters
    ----------
    inputs
        Arguments of the network.
    scans
        ``(B, N, I, J, K)`` as people would look at them.
    target, weight
        ``(B, 1, I, J, K)``: the T1w, and where the loss counts.
    draws
        For each element what was drawn, in JSON types.
    base
        ``(B, 1, I, J, K)`` to which the output is added; None where the network does so itself.
    naive
        ``(B, 1, I, J, K)`` what interpolation gives for the target; None where it gives nothing.
    segmentation
        ``(B, I, J, K)`` class indices; None without labels.
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
    """Seed of a batch: independent for every recipe seed, stream, step and process."""
    sequence = np.random.SeedSequence([recipe.seed, stream, step, rank])
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def as_batch(sample: Sample, network: NetworkRecipe, is_super_resolution: bool) -> Batch:
    """Arrange a sample for a network.

    The published U-Net takes image and reliability of each scan in turn as channels, and has one
    for every scan there might be; the exam network takes the scans that there are.
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
    """Arrange encoded slices for a network."""
    return Batch(
        inputs=(channels,),
        scans=channels[:, :1],
        target=target,
        weight=torch.ones_like(target),
        draws=draws,
        naive=channels[:, :1],
    )
