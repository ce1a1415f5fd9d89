"""Samples of stacks of slices as they were scanned, of which no fine image is needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bids_synthsr.imaging.slice_encoding import encode_slices
from bids_synthsr.synthesis.contrast import apply_gamma
from bids_synthsr.synthesis.fields import (
    Range,
    Shape,
    draw_chance,
    draw_index,
    draw_log_uniform,
    draw_uniform,
)
from bids_synthsr.synthesis.heads import SliceStack
from bids_synthsr.synthesis.thick_slices import crop, draw_corner


@dataclass(frozen=True)
class StackPrior:
    """How samples of stacks differ from the scans.

    Parameters
    ----------
    gain, gamma
        Factor and exponent of the intensities.
    shown
        Least fraction of a sample that shows more than air.
    """

    gain: Range = (0.75, 1.3)
    gamma: Range = (0.8, 1.25)
    shown: float = 0.15


@dataclass(frozen=True)
class SparsePrior(StackPrior):
    """The same for stacks of which slices are left out.

    Parameters
    ----------
    slice_spacing
        Distance between the slices that stay, mm; its logarithm is drawn uniformly.
    """

    slice_spacing: Range = (2.0, 9.0)


@dataclass(frozen=True)
class StackDraw:
    """One part of a stack; makes the same sample again.

    Parameters
    ----------
    stack
        Name of the scan.
    is_turned
        Whether the two axes within slices change places.
    flips
        Whether each axis of the sample is flipped.
    corner
        First voxel of the sample, in the turned stack.
    gain, gamma
        Factor and exponent of the intensities.
    every, first
        One of so many slices stays, counted from the first of them; all stay for 1.
    """

    stack: str
    is_turned: bool
    flips: tuple[bool, ...]
    corner: tuple[int, ...]
    gain: float
    gamma: float
    every: int = 1
    first: int = 0


def draw_stack(
    prior: StackPrior, stacks: Sequence[SliceStack], shape: Shape, generator: torch.Generator
) -> StackDraw:
    """Draw a stack and a part of it that shows more than air.

    Parameters
    ----------
    prior
        Prior of the samples; a `SparsePrior` leaves slices out.
    stacks
        Stacks to draw from, each in proportion to what it shows.
    shape
        Number of voxels of a sample along each axis, the slices last.
    generator
        Random generator on the CPU.
    """
    stack = stacks[draw_index([float(stack.shown_voxels) for stack in stacks], generator)]
    draw = StackDraw(
        stack=stack.name,
        is_turned=draw_chance(0.5, generator),
        flips=tuple(draw_chance(0.5, generator) for _ in range(3)),
        corner=(0, 0, 0),
        gain=draw_uniform(prior.gain, generator),
        gamma=draw_uniform(prior.gamma, generator),
    )
    if isinstance(prior, SparsePrior):
        spacing = draw_log_uniform(prior.slice_spacing, generator)
        every = max(round(spacing / stack.spacing_mm), 1)
        draw = dataclasses.replace(draw, every=every, first=draw_index([1.0] * every, generator))
    corner = draw_corner(turn_stack(stack, draw), shape, prior.shown, generator)
    return dataclasses.replace(draw, corner=corner)


def turn_stack(stack: SliceStack, draw: StackDraw) -> Tensor:
    """Turn and flip the voxels of a stack, slices last."""
    flipped = [axis for axis, is_flipped in enumerate(draw.flips) if is_flipped]
    turned = stack.voxels.transpose(0, 1) if draw.is_turned else stack.voxels
    return turned.flip(flipped)


def cut_stack(draw: StackDraw, stack: SliceStack, shape: Shape) -> Tensor:
    """Cut a sample of neighbouring slices out of a stack, ``(1, *shape)`` float32."""
    part = crop(turn_stack(stack, draw), draw.corner, shape).float()
    return (draw.gain * apply_gamma(part, draw.gamma))[None]


def slices_within(draw: StackDraw, stack: SliceStack, shape: Shape) -> Tensor:
    """Tell which slices of a sample the stack has, 1 or 0, ``(1, *shape)`` float32."""
    numbers = draw.corner[2] + torch.arange(shape[2])
    return (numbers < stack.voxels.shape[2]).float().expand(1, *shape)


def leave_slices_out(draw: StackDraw, stack: SliceStack, shape: Shape) -> tuple[Tensor, Tensor]:
    """Leave slices of a stack out, and describe each voxel of the sample by those that stay.

    Parameters
    ----------
    draw
        Which slices stay, and where the sample lies.
    stack
        Stack of slices that lie close.
    shape
        Number of voxels of the sample along each axis, the slices last.

    Returns
    -------
    channels
        Input of the network, ``(C, *shape)``; see `imaging.slice_encoding.encode_slices`.
    target
        The sample with all its slices, ``(1, *shape)``.
    """
    count = stack.voxels.shape[2]
    column = dataclasses.replace(draw, corner=(*draw.corner[:2], 0))
    fine = cut_stack(column, stack, (*shape[:2], count))
    first = min(draw.first, count - 1)
    index = (draw.corner[2] + np.arange(shape[2]) - first) / draw.every
    channels = encode_slices(
        fine[0, ..., first :: draw.every],
        index,
        draw.every * stack.spacing_mm,
        stack.thickness_mm,
    )
    return channels, crop(fine[0], (0, 0, draw.corner[2]), shape)[None]
