"""Deformable registration of two images of one grid by a stationary velocity field.

The two are treated alike: both are pulled half of the way, the fixed one along ``exp(-v / 2)`` and
the moving one along ``exp(v / 2)``, until local correlation is highest. So the registration of
the second to the first is minus that of the first to the second. Every map is a diffeomorphism:
a fold is never handed out. Velocity fields: Arsigny et al. 2006; local correlation: Avants et al.
2008.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bids_synthsr.imaging.displacements import (
    exponential,
    jacobian_determinants,
    pull,
    smooth,
    upsample,
)

LOGGER = logging.getLogger(__name__)
HALF_SQUARINGS = 5  # of half of the velocity, while it is sought
RADIUS_VOX = 2  # of the box over which images are correlated
LEAST_VARIANCE = 1e-3  # of intensities around 1: flat air gets no weight
LEAST_NODES = 6  # along an axis
SMOOTH_NODES = 1.0  # sd of the Gaussian that makes a step smooth
STIFFENING, MOST_STIFFENINGS = 3.0, 2  # where a map folds


@dataclass(frozen=True)
class DeformableSettings:
    """How far and how stiffly an image may be deformed.

    Parameters
    ----------
    levels
        Voxels that are taken together along each axis, and the number of steps, one pair after
        the other.
    stiffness
        Weight of the squared second derivatives of the velocity.
    step_mm
        Length of a step at a node, mm, at the finest level.
    node_vox
        Voxels from one node of the velocity to the next.
    """

    levels: tuple[tuple[int, int], ...] = ((4, 40), (2, 40), (1, 40))
    stiffness: float = 0.15
    step_mm: float = 0.5
    node_vox: int = 2


DEFAULT = DeformableSettings()


class _BoxMean(torch.autograd.Function):
    """Mean over a box of voxels, 0 outside of the image: its own adjoint."""

    @staticmethod
    def forward(context: Any, image: Tensor) -> Tensor:  # noqa: ARG004
        """Average ``(C, I, J, K)``."""
        return box_mean(image)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        """Average the gradient."""
        return box_mean(gradient)


def box_mean(image: Tensor, radius: int = RADIUS_VOX) -> Tensor:
    """Average an image ``(C, I, J, K)`` over a box around each voxel, with 0 outside of it.

    Shifted views are added up, which is several times as fast on a CPU as pooling.

    Parameters
    ----------
    image
        Image of C channels, ``(C, I, J, K)``.
    radius
        Voxels of the box to each side of its middle.
    """
    for axis in (1, 2, 3):
        size = image.shape[axis]
        pads = [0] * 6
        pads[2 * (3 - axis)] = pads[2 * (3 - axis) + 1] = radius
        padded = functional.pad(image, pads)
        total = padded.narrow(axis, 0, size) + padded.narrow(axis, 1, size)
        for shift in range(2, 2 * radius + 1):
            total += padded.narrow(axis, shift, size)
        image = total.mul_(1 / (2 * radius + 1))
    return image


def local_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Compute the squared correlation around each voxel, ``(C, I, J, K)`` from 0 to 1.

    Parameters
    ----------
    first, second
        Images ``(C, I, J, K)``, whose channels are compared one by one; intensities around 1.
    """
    products = torch.cat([first, second, first * first, second * second, first * second])
    one, two, one_one, two_two, one_two = _BoxMean.apply(products).chunk(5)
    variances = (one_one - one * one + LEAST_VARIANCE, two_two - two * two + LEAST_VARIANCE)
    return (one_two - one * two).square() / (variances[0] * variances[1])


def register(
    fixed: Tensor, moving: Tensor, spacing_mm: float, settings: DeformableSettings = DEFAULT
) -> Tensor:
    """Find the velocity whose exponential pulls the moving image onto the fixed one.

    Parameters
    ----------
    fixed, moving
        Images ``(C, I, J, K)`` on one grid; intensities of each channel around 1 in the brain.
    spacing_mm
        Distance of their voxels along each axis, mm.
    settings
        How far and how stiffly the moving image may be deformed.

    Returns
    -------
    velocity
        Velocity at nodes that span the image from border to border, mm, ``(3, i, j, k)``; see
        `displacement_of`.

    Raises
    ------
    ValueError
        If the map folds however stiff it is.
    """
    shape = fixed.shape[1:]
    for _ in range(1 + MOST_STIFFENINGS):
        velocity = _descend(fixed, moving, spacing_mm, settings)
        maps = (displacement_of(sign * velocity, shape, spacing_mm) for sign in (1, -1))
        if all(jacobian_determinants(one / spacing_mm).min() > 0 for one in maps):
            return velocity
        LOGGER.info('the map folds at a stiffness of %g', settings.stiffness)
        settings = replace(settings, stiffness=STIFFENING * settings.stiffness)
    raise ValueError(
        'The deformation folds, however stiff: the two images show too little alike. Look at '
        'both, and at the brain mask.'
    )


def displacement_of(velocity: Tensor, shape: Sequence[int], spacing_mm: float) -> Tensor:
    """Integrate a velocity to the displacement of every voxel of an image.

    Parameters
    ----------
    velocity
        Velocity at nodes that span the image from border to border, mm, ``(3, i, j, k)``.
    shape
        Number of voxels of the image along each axis.
    spacing_mm
        Distance of its voxels, mm.

    Returns
    -------
    displacement
        ``(3, I, J, K)`` mm: the fixed image at ``x`` shows what the moving one shows at
        ``x + displacement(x)``.
    """
    return exponential(upsample(velocity, shape) / spacing_mm) * spacing_mm


def _descend(
    fixed: Tensor, moving: Tensor, spacing_mm: float, settings: DeformableSettings
) -> Tensor:
    """Follow the gradient from level to level; the velocity at the nodes of the last."""
    velocity = fixed.new_zeros(3, *[LEAST_NODES] * 3)
    for factor, steps in settings.levels:
        level = _Level.of(fixed, moving, spacing_mm, factor, settings.node_vox)
        start = upsample(velocity, level.nodes)
        change = torch.zeros_like(start, requires_grad=True)
        step_mm = settings.step_mm * math.sqrt(factor)
        optimizer = torch.optim.Adam([change], lr=step_mm)
        for _ in range(steps):
            current = start + smooth(change, SMOOTH_NODES)
            loss = settings.stiffness * level.bending(current) - level.similarity(current)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        velocity = (start + smooth(change, SMOOTH_NODES)).detach()
    return velocity


@dataclass(frozen=True, eq=False)
class _Level:
    """Two images at one resolution.

    Parameters
    ----------
    fixed, moving
        Images ``(C, I, J, K)``, smoothed and resampled.
    nodes
        Number of nodes of the velocity along each axis.
    node_mm
        Distance of the nodes along each axis, mm, ``(3, 1, 1, 1)``.
    """

    fixed: Tensor
    moving: Tensor
    nodes: tuple[int, ...]
    node_mm: Tensor

    @classmethod
    def of(
        cls, fixed: Tensor, moving: Tensor, spacing_mm: float, factor: int, node_vox: int
    ) -> _Level:
        """Resample two images so that ``factor`` voxels become one along each axis."""
        span_mm = [spacing_mm * (size - 1) for size in fixed.shape[1:]]
        shape = [max(math.ceil(size / factor), 2 * LEAST_NODES) for size in fixed.shape[1:]]
        if factor > 1:
            fixed, moving = (
                upsample(smooth(image, 0.5 * factor), shape) for image in (fixed, moving)
            )
        nodes = tuple(max(math.ceil(size / node_vox), LEAST_NODES) for size in shape)
        node_mm = [span / (count - 1) for span, count in zip(span_mm, nodes, strict=True)]
        return cls(fixed, moving, nodes, fixed.new_tensor(node_mm).view(3, 1, 1, 1))

    def similarity(self, velocity: Tensor) -> Tensor:
        """Sum the local correlation half of the way, for each node."""
        shape = self.fixed.shape[1:]
        sizes = self.fixed.new_tensor([size - 1 for size in shape]).view(3, 1, 1, 1)
        counts = self.fixed.new_tensor([size - 1 for size in self.nodes]).view(3, 1, 1, 1)
        half = velocity / self.node_mm / 2
        there, back = (
            upsample(exponential(one, HALF_SQUARINGS), shape) * (sizes / counts)
            for one in (half, -half)
        )
        matches = local_correlation(pull(self.fixed, back), pull(self.moving, there))
        return matches.sum() / (len(self.fixed) * math.prod(self.nodes))

    def bending(self, velocity: Tensor) -> Tensor:
        """Sum the squared second derivatives of a velocity, for each node."""
        total = velocity.new_zeros(())
        for first in range(3):
            slope = velocity.diff(dim=first + 1) / self.node_mm[first]
            for second in range(3):
                total = total + slope.diff(dim=second + 1).square().sum()
        return total / math.prod(self.nodes)
