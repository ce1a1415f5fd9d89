"""Thick slices of real images, on which a super-resolution network trains without labels."""

from __future__ import annotations

import dataclasses
import math
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
    draw_seed,
    draw_uniform,
    white_noise,
)
from bids_synthsr.synthesis.heads import SHOWN_INTENSITY, RealImage
from bids_synthsr.synthesis.priors import FWHM_PROFILE
from bids_synthsr.synthesis.scanning import profile_matrix

ORDERS = ((0, 1, 2), (1, 0, 2), (0, 2, 1), (2, 0, 1), (1, 2, 0), (2, 1, 0))
ATTEMPTS = 20  # number of corners that are tried until a sample shows more than air


@dataclass(frozen=True)
class SlicePrior:
    """How thick slices of a real image may be.

    Parameters
    ----------
    slice_spacing
        Distance between slice centres, mm; its logarithm is drawn uniformly.
    equal_probability
        Probability of slices as thick as their spacing.
    thickness_per_spacing
        Thickness over spacing of the other slices; they are 1 mm thick at least.
    profile_factor
        Width of the profile over its nominal width.
    box_probability
        Probability of a slice profile that is a box. The others are Gaussians whose FWHM is the
        thickness.
    gain, gamma
        Factor and exponent of the intensities.
    noise_probability, noise_sd
        Probability and sd of Gaussian noise in the slices, whose intensities are 0 to 1.
    shown
        Least fraction of a sample that shows more than air.
    """

    slice_spacing: Range = (2.0, 9.0)
    equal_probability: float = 0.5
    thickness_per_spacing: Range = (0.35, 1.1)
    profile_factor: Range = (0.92, 1.08)
    box_probability: float = 0.25
    gain: Range = (0.75, 1.3)
    gamma: Range = (0.8, 1.25)
    noise_probability: float = 0.2
    noise_sd: Range = (0.0, 0.015)
    shown: float = 0.15


@dataclass(frozen=True)
class SliceDraw:
    """One stack of slices and where the sample lies in it; makes the same sample again.

    Parameters
    ----------
    head
        Name of the image that is cut.
    order
        Axes of the image in the order of the sample, the slice axis last.
    flips
        Whether each axis of the sample is flipped.
    corner
        First voxel of the sample, in the turned image.
    spacing, thickness
        Spacing and thickness of the slices, mm.
    first
        Position of the first slice in the turned image, voxels.
    is_box
        Whether the slice profile is a box; else it is a Gaussian.
    profile_factor
        Width of the profile over its nominal width.
    gain, gamma
        Factor and exponent of the intensities.
    noise_sd, noise_seed
        Standard deviation and seed of the noise.
    """

    head: str
    order: tuple[int, ...]
    flips: tuple[bool, ...]
    corner: tuple[int, ...]
    spacing: float
    thickness: float
    first: float
    is_box: bool
    profile_factor: float
    gain: float
    gamma: float
    noise_sd: float
    noise_seed: int


def draw_slices(
    prior: SlicePrior, images: Sequence[RealImage], shape: Shape, generator: torch.Generator
) -> SliceDraw:
    """Draw an image, slices across it, and a part of it that shows more than air.

    An image is drawn in proportion to the number of its voxels that show a head, so that every
    part of every head is drawn equally often.

    Parameters
    ----------
    prior
        Prior of the slices.
    images
        Real images to draw from.
    shape
        Number of voxels of a sample along each axis, 1 mm each.
    generator
        Random generator on the CPU.
    """
    image = images[draw_index([float(image.shown_voxels) for image in images], generator)]
    order = ORDERS[draw_index([1.0] * len(ORDERS), generator)]
    spacing = draw_log_uniform(prior.slice_spacing, generator)
    is_equal = draw_chance(prior.equal_probability, generator)
    share = draw_uniform(prior.thickness_per_spacing, generator)
    noise_sd = draw_uniform(prior.noise_sd, generator)
    draw = SliceDraw(
        head=image.name,
        order=order,
        flips=tuple(draw_chance(0.5, generator) for _ in range(3)),
        corner=(0, 0, 0),
        spacing=spacing,
        thickness=spacing if is_equal else max(spacing * share, 1.0),
        first=draw_uniform((0, spacing), generator),
        is_box=draw_chance(prior.box_probability, generator),
        profile_factor=draw_uniform(prior.profile_factor, generator),
        gain=draw_uniform(prior.gain, generator),
        gamma=draw_uniform(prior.gamma, generator),
        noise_sd=noise_sd if draw_chance(prior.noise_probability, generator) else 0.0,
        noise_seed=draw_seed(generator),
    )
    return dataclasses.replace(
        draw, corner=draw_corner(turn(image, draw), shape, prior.shown, generator)
    )


def draw_corner(
    voxels: Tensor, shape: Shape, shown: float, generator: torch.Generator
) -> tuple[int, ...]:
    """Draw corners until a sample shows enough; the last one is taken in any case.

    Parameters
    ----------
    voxels
        Intensities ``(I, J, K)`` of a head.
    shape
        Number of voxels of a sample along each axis.
    shown
        Least fraction of a sample that shows more than air.
    generator
        Random generator on the CPU.
    """
    corner: tuple[int, ...] = (0, 0, 0)
    for _ in range(ATTEMPTS):
        corner = tuple(
            int(draw_uniform((0, max(size - side, 0) + 1), generator))
            for size, side in zip(voxels.shape, shape, strict=True)
        )
        is_shown = crop(voxels, corner, shape) > SHOWN_INTENSITY
        if float(is_shown.float().mean()) >= shown:
            break
    return corner


def turn(image: RealImage, draw: SliceDraw) -> Tensor:
    """Bring the slice axis last, and flip."""
    flipped = [axis for axis, is_flipped in enumerate(draw.flips) if is_flipped]
    return image.voxels.permute(draw.order).flip(flipped)


def crop(voxels: Tensor, corner: tuple[int, ...], shape: Shape) -> Tensor:
    """Cut a sample out; an image that is smaller than it ends in air."""
    part = voxels[tuple(slice(c, c + side) for c, side in zip(corner, shape, strict=True))]
    missing = [side - size for side, size in zip(shape, part.shape, strict=True)]
    return torch.nn.functional.pad(part, [0, missing[2], 0, missing[1], 0, missing[0]])


def apply_slices(draw: SliceDraw, image: RealImage, shape: Shape) -> tuple[Tensor, Tensor]:
    """Acquire slices of an image, and describe each voxel of the sample by them.

    Parameters
    ----------
    draw
        Slices, and where the sample lies in them.
    image
        Real image that is cut.
    shape
        Number of voxels of the sample along each axis, 1 mm each.

    Returns
    -------
    channels
        Input of the network, ``(C, *shape)``; see `imaging.slice_encoding.encode_slices`.
    target
        The image itself, ``(1, *shape)``.
    """
    voxels = turn(image, draw)
    column = (*shape[:2], voxels.shape[2])
    fine = crop(voxels, (*draw.corner[:2], 0), column).float()
    fine = draw.gain * apply_gamma(fine, draw.gamma)
    centers = torch.arange(draw.first, column[2] + draw.spacing, draw.spacing)
    centers = centers[: max(int((centers <= column[2] - 0.5).sum()), 1)].clamp(max=column[2] - 1)
    slices = fine @ _profiles(draw, centers, column[2]).to(fine).T
    if draw.noise_sd > 0:
        slices += draw.noise_sd * white_noise(draw.noise_seed, slices.shape, slices.device)
    positions = draw.corner[2] + np.arange(shape[2])
    index = (positions - draw.first) / draw.spacing
    channels = encode_slices(slices, index, draw.spacing, draw.thickness)
    return channels, crop(fine, (0, 0, draw.corner[2]), shape)[None]


def _profiles(draw: SliceDraw, centers: Tensor, size: int) -> Tensor:
    """Weights of ``size`` voxels of 1 mm in each slice, ``(S, size)``."""
    width = draw.thickness * draw.profile_factor
    if not draw.is_box:
        added = math.sqrt(max(width**2 - 1, 0))  # a voxel is a mean over 1 mm already
        return profile_matrix(centers, FWHM_PROFILE * added, size)
    distance = (centers[:, None] - torch.arange(size)).abs()
    overlap = (max(width, 1.0) / 2 + 0.5 - distance).clamp(0, 1)
    return overlap / overlap.sum(1, keepdim=True)


def make_slices(
    draws: Sequence[SliceDraw], images: Sequence[RealImage], shape: Shape
) -> tuple[Tensor, Tensor]:
    """Make the samples of draws: channels ``(B, C, *shape)`` and targets ``(B, 1, *shape)``."""
    by_name = {image.name: image for image in images}
    samples = [apply_slices(draw, by_name[draw.head], shape) for draw in draws]
    channels, targets = zip(*samples, strict=True)
    return torch.stack(channels), torch.stack(targets)
