"""Random shapes: an affine and a diffeomorphism, applied in one interpolation.

The sampling position of voxel x of a crop is ``T_lin(T_nonlin(x))`` (Iglesias et al. 2021, 2.1.2).
Both are evaluated at nodes 4 mm apart, where integration is cheap, and interpolated between:
exact for the affine, and the velocity is linear over far longer distances.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from bids_synthsr.imaging.displacements import exponential, upsample
from bids_synthsr.synthesis.fields import (
    Shape,
    Triple,
    draw_chance,
    draw_log_uniform,
    draw_seed,
    draw_triple,
    node_count,
    node_noise,
)
from bids_synthsr.synthesis.priors import ShapePrior

# mm between the nodes of the integration: the velocity is linear over 28 mm
NODE_SPACING = 4.0


@dataclass(frozen=True)
class ShapeDraw:
    """One deformation and crop.

    Parameters
    ----------
    rotation_deg, scaling, shearing
        Rotation, scaling and shearing about or along the three axes; see `affine`.
    velocity_seed
        Seed of the velocity field.
    velocity_sd
        Standard deviation of the velocity field at its nodes, mm.
    velocity_spacing
        Distance between the nodes of the velocity field, mm.
    flip
        Whether left and right are swapped.
    jitter
        Vector from the middle of the brain to that of the crop, mm.
    """

    rotation_deg: Triple
    scaling: Triple
    shearing: Triple
    velocity_seed: int
    velocity_sd: float
    velocity_spacing: float
    flip: bool
    jitter: Triple


def draw_shape(prior: ShapePrior, generator: torch.Generator) -> ShapeDraw:
    """Draw a deformation and a crop."""
    rotation, shearing, jitter = prior.rotation_deg, prior.shearing, prior.crop_jitter
    first, second, third = (draw_log_uniform(prior.scaling, generator) for _ in range(3))
    return ShapeDraw(
        rotation_deg=draw_triple((-rotation, rotation), generator),
        scaling=(first, second, third),
        shearing=draw_triple((-shearing, shearing), generator),
        velocity_seed=draw_seed(generator),
        velocity_sd=prior.velocity_sd,
        velocity_spacing=prior.velocity_spacing,
        flip=draw_chance(prior.flip_probability, generator),
        jitter=draw_triple((-jitter, jitter), generator),
    )


def rotation(angles_deg: Triple) -> torch.Tensor:
    """Multiply rotations about the three axes, ``Rx Ry Rz``: ``(3, 3)`` float64."""
    product = torch.eye(3, dtype=torch.float64)
    for axis, angle in enumerate(angles_deg):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = torch.eye(3, dtype=torch.float64)
        turn[first, first] = turn[second, second] = math.cos(math.radians(angle))
        turn[second, first] = math.sin(math.radians(angle))
        turn[first, second] = -turn[second, first]
        product = product @ turn
    return product


def affine(angles_deg: Triple, scaling: Triple, shearing: Triple) -> torch.Tensor:
    """Multiply three scalings, three shearings and three rotations: ``(3, 3)`` float64."""
    shear = torch.eye(3, dtype=torch.float64)
    shear[0, 1], shear[0, 2], shear[1, 2] = shearing
    return torch.diag(torch.tensor(scaling, dtype=torch.float64)) @ shear @ rotation(angles_deg)


def velocity(draw: ShapeDraw, shape: Shape, device: torch.device) -> torch.Tensor:
    """Make the velocity field of a crop at the nodes of its integration, mm: ``(3, i, j, k)``."""
    nodes = node_noise(draw.velocity_seed, (3, *node_count(shape, draw.velocity_spacing)), device)
    return upsample(draw.velocity_sd * nodes, node_count(shape, NODE_SPACING))


def head_positions(
    draw: ShapeDraw, center: Triple, shape: Shape, device: torch.device
) -> torch.Tensor:
    """Compute which point of the head each voxel of a crop shows.

    A flipped draw yields the mirrored crop, whose labels then need `LabelTable.mirror_of`.

    Parameters
    ----------
    draw
        Deformation and crop of the sample.
    center
        Middle of the brain in the label map, voxels.
    shape
        Number of voxels of the crop along each axis, 1 mm each.
    device
        Device on which the positions are computed.

    Returns
    -------
    positions
        Voxel coordinates in the label map of the head, ``(3, *shape)``.
    """
    displacement = velocity(draw, shape, device)
    lines = [
        torch.linspace(-(size - 1) / 2, (size - 1) / 2, count, device=device)
        for size, count in zip(shape, displacement.shape[1:], strict=True)
    ]
    offset = torch.stack(torch.meshgrid(*lines, indexing='ij'))
    if draw.velocity_sd > 0:
        spacing = torch.stack([line[1] - line[0] for line in lines])[:, None, None, None]
        offset = offset + exponential(displacement / spacing) * spacing
    linear = affine(draw.rotation_deg, draw.scaling, draw.shearing).to(offset)
    middle = torch.tensor(center, device=device) + torch.tensor(draw.jitter, device=device)
    nodes = torch.einsum('xy,yijk->xijk', linear, offset) + middle[:, None, None, None]
    return upsample(nodes.flip(1) if draw.flip else nodes, shape)


def warp_labels(labels: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Take the nearest label at ``positions``, 0 outside of the map: ``(i, j, k)``."""
    index = torch.zeros(positions.shape[1:], dtype=torch.int32, device=labels.device)
    inside = torch.ones_like(index, dtype=torch.bool)
    for axis, size in enumerate(labels.shape):
        nearest = positions[axis].round().int()
        within = nearest.clamp(0, size - 1)
        inside &= nearest == within
        index = index * size + within
    return labels.flatten().index_select(0, index.flatten()).view(index.shape) * inside
