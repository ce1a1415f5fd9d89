"""Samples of pairs of real images, on which a network learns to make one of the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bids_synthsr.synthesis.contrast import BiasDraw, apply_bias, apply_gamma, draw_bias
from bids_synthsr.synthesis.fields import (
    Range,
    Shape,
    draw_chance,
    draw_index,
    draw_seed,
    draw_uniform,
    white_noise,
)
from bids_synthsr.synthesis.heads import ImagePair
from bids_synthsr.synthesis.priors import BiasPrior
from bids_synthsr.synthesis.thick_slices import crop, draw_corner


@dataclass(frozen=True)
class PairPrior:
    """How samples of pairs differ from what was scanned; only flips change what is wanted, too.

    Parameters
    ----------
    gamma
        Exponent of the intensities that are given.
    bias
        Smooth field by which they are multiplied.
    noise_probability, noise_sd
        Probability and sd of Gaussian noise that is added to them; they are 0 to 1.
    shown
        Least fraction of a sample that shows more than air.
    """

    gamma: Range = (0.85, 1.18)
    bias: BiasPrior = field(default_factory=lambda: BiasPrior(probability=0.7, log_sd=0.15))
    noise_probability: float = 0.5
    noise_sd: Range = (0.0, 0.02)
    shown: float = 0.15


@dataclass(frozen=True)
class PairDraw:
    """One part of a pair, and how it is changed; makes the same sample again.

    Parameters
    ----------
    pair
        Name of the pair.
    flips
        Whether each axis of the sample is flipped.
    corner
        First voxel of the sample, after the flips.
    gamma
        Exponent of the intensities that are given.
    bias
        Smooth field by which they are multiplied.
    noise_sd, noise_seed
        Standard deviation and seed of the noise.
    """

    pair: str
    flips: tuple[bool, ...]
    corner: tuple[int, ...]
    gamma: float
    bias: BiasDraw
    noise_sd: float
    noise_seed: int


def draw_pair(
    prior: PairPrior, pairs: Sequence[ImagePair], shape: Shape, generator: torch.Generator
) -> PairDraw:
    """Draw a pair, and a part of it that shows more than air.

    Parameters
    ----------
    prior
        Prior of what is changed.
    pairs
        Pairs to draw from, in proportion to the voxels that show a head.
    shape
        Number of voxels of a sample along each axis.
    generator
        Random generator on the CPU.
    """
    pair = pairs[draw_index([float(pair.shown_voxels) for pair in pairs], generator)]
    noise_sd = draw_uniform(prior.noise_sd, generator)
    draw = PairDraw(
        pair=pair.name,
        flips=tuple(draw_chance(0.5, generator) for _ in range(3)),
        corner=(0, 0, 0),
        gamma=draw_uniform(prior.gamma, generator),
        bias=draw_bias(prior.bias, generator),
        noise_sd=noise_sd if draw_chance(prior.noise_probability, generator) else 0.0,
        noise_seed=draw_seed(generator),
    )
    corner = draw_corner(_flipped(pair.wanted, draw), shape, prior.shown, generator)
    return dataclasses.replace(draw, corner=corner)


def apply_pair(draw: PairDraw, pair: ImagePair, shape: Shape) -> tuple[Tensor, Tensor]:
    """Cut a sample out of both images, and change the one that is given.

    Parameters
    ----------
    draw
        What part it is, and how it is changed.
    pair
        The two images of a head.
    shape
        Number of voxels of the sample along each axis.

    Returns
    -------
    given, wanted
        Input and target of the network, ``(1, *shape)`` float32 each.
    """
    given, wanted = (
        crop(_flipped(voxels, draw), draw.corner, shape).float()
        for voxels in (pair.given, pair.wanted)
    )
    given = apply_bias(apply_gamma(given, draw.gamma), draw.bias)
    if draw.noise_sd > 0:
        given = given + draw.noise_sd * white_noise(draw.noise_seed, given.shape, given.device)
    return given[None], wanted[None]


def _flipped(voxels: Tensor, draw: PairDraw) -> Tensor:
    """Flip an image."""
    return voxels.flip([axis for axis, is_flipped in enumerate(draw.flips) if is_flipped])
