"""Fields of displacements: images are pulled along them, velocities integrated to them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

SQUARINGS = 7  # the first step is then 1/128 of the velocity: under 0.1 mm


def exponential(velocity: torch.Tensor, squarings: int = SQUARINGS) -> torch.Tensor:
    """Integrate a stationary velocity field by scaling and squaring (Arsigny et al. 2006).

    Parameters
    ----------
    velocity
        Velocity field in voxels of its own grid, ``(3, i, j, k)``.
    squarings
        Number of times that the displacement is composed with itself.

    Returns
    -------
    displacement
        Displacement in voxels, ``(3, i, j, k)``: ``exp(velocity)(x) = x + displacement(x)``.
    """
    displacement = velocity / 2**squarings
    for _ in range(squarings):
        displacement = displacement + pull(displacement, displacement)
    return displacement


def pull(image: torch.Tensor, displacement: torch.Tensor) -> torch.Tensor:
    """Sample ``image (C, i, j, k)`` linearly at ``x + displacement(x)``; borders are continued."""
    return pull_at(image, lattice(displacement.shape[1:], displacement) + displacement)


def lattice(shape: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """List the positions of the voxels of a grid, ``(3, *shape)``, of the type of a tensor."""
    return torch.stack(torch.meshgrid(*map(torch.arange, shape), indexing='ij')).to(like)


def pull_at(image: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Sample ``image (C, I, J, K)`` linearly at ``positions (3, i, j, k)``: ``(C, i, j, k)``."""
    size = torch.tensor(image.shape[1:], device=image.device, dtype=image.dtype)
    unit = positions.movedim(0, -1) * (2 / (size - 1).clamp(min=1)) - 1
    return grid_sample(
        image[None], unit.flip(-1)[None], padding_mode='border', align_corners=True
    )[0]


def upsample(nodes: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Interpolate nodes ``(C, i, j, k)`` trilinearly to ``(C, *shape)``, border on border."""
    return interpolate(nodes[None], [*shape], mode='trilinear', align_corners=True)[0]


def jacobian_determinants(displacement: torch.Tensor) -> torch.Tensor:
    """Compute by how much each voxel grows where ``x`` goes to ``x + displacement(x)``.

    By central differences, one-sided at the border; 0 and less where the map folds.

    Parameters
    ----------
    displacement
        Displacement in voxels, ``(3, I, J, K)``.

    Returns
    -------
    determinants
        ``(I, J, K)``: 1 where the volume stays, 2 where it doubles.
    """
    slopes = torch.stack([torch.stack(torch.gradient(part)) for part in displacement])
    matrices = slopes.permute(2, 3, 4, 0, 1) + torch.eye(3).to(displacement)
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in matrices.unbind(-2))
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)  # faster than linalg


def smooth(image: Tensor, sd_vox: float) -> Tensor:
    """Smooth an image ``(C, I, J, K)`` by a Gaussian; its border is continued.

    Parameters
    ----------
    image
        Image of C channels, ``(C, I, J, K)``.
    sd_vox
        Standard deviation of the Gaussian, voxels.
    """
    for axis in (1, 2, 3):
        weights = _gaussian(image.shape[axis], sd_vox).to(image)
        image = (image.movedim(axis, -1) @ weights).movedim(-1, axis)
    return image


def _gaussian(size: int, sd_vox: float) -> Tensor:
    """Compute the weight of every voxel of a row for every other, ``(size, size)``.

    What lies beyond the ends counts for the last voxel: a product is faster than a convolution,
    and so is its gradient.
    """
    radius = math.ceil(3 * sd_vox)
    at = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (at / sd_vox).square())
    kernel = kernel / kernel.sum()
    weights = torch.zeros(size, size)
    for shift, weight in zip(at.tolist(), kernel, strict=True):
        sources = (torch.arange(size) + shift).clamp(0, size - 1)
        weights[sources, torch.arange(size)] += weight
    return weights
