"""Random numbers and smooth random fields, all from explicit generators and seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from bids_synthsr.imaging.displacements import upsample

Range = tuple[float, float]
Shape = tuple[int, int, int]
Triple = tuple[float, float, float]
LINEAR_VARIANCE = (2 / 3) ** 3  # mean variance of trilinear interpolation between N(0, 1) nodes


def draw_uniform(bounds: Range, generator: torch.Generator) -> float:
    """Draw a number between two bounds."""
    low, high = bounds
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def draw_log_uniform(bounds: Range, generator: torch.Generator) -> float:
    """Draw a positive number whose logarithm is uniform between those of two bounds."""
    return math.exp(draw_uniform((math.log(bounds[0]), math.log(bounds[1])), generator))


def draw_normal(sd: float, generator: torch.Generator) -> float:
    """Draw a number from N(0, sd²)."""
    return sd * float(torch.randn((), generator=generator, dtype=torch.float64))


def draw_chance(probability: float, generator: torch.Generator) -> bool:
    """Draw whether something of that probability happens."""
    return draw_uniform((0, 1), generator) < probability


def draw_index(weights: Sequence[float], generator: torch.Generator) -> int:
    """Draw an index with probabilities in proportion to ``weights``."""
    return int(torch.multinomial(torch.tensor(weights).double(), 1, generator=generator))


def draw_seed(generator: torch.Generator) -> int:
    """Draw a seed for a field that is computed later."""
    return int(torch.randint(2**31 - 1, (), generator=generator))


def draw_triple(sample: Range, generator: torch.Generator) -> Triple:
    """Draw one uniform number for each axis."""
    first, second, third = (draw_uniform(sample, generator) for _ in range(3))
    return first, second, third


def white_noise(seed: int, shape: Sequence[int], device: torch.device) -> torch.Tensor:
    """Fill ``shape`` with N(0, 1) from the device's own generator: exact on one kind of device."""
    generator = torch.Generator(device).manual_seed(seed)
    return torch.randn(tuple(shape), generator=generator, device=device)


def node_noise(seed: int, shape: Sequence[int], device: torch.device) -> torch.Tensor:
    """Fill the few nodes of a smooth field with N(0, 1): the same numbers on every device."""
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed)).to(device)


def volume_shape(volume: torch.Tensor) -> Shape:
    """Sizes of the last three axes."""
    first, second, third = volume.shape[-3:]
    return first, second, third


def node_count(shape: Shape, spacing_vox: float) -> Shape:
    """Count nodes at most ``spacing_vox`` apart along each axis, with one on each border."""
    first, second, third = (max(math.ceil((size - 1) / spacing_vox), 1) + 1 for size in shape)
    return first, second, third


def smooth_field(
    seed: int, shape: Shape, spacing_vox: float, device: torch.device, channels: int = 1
) -> torch.Tensor:
    """Draw fields, N(0, 1) at nodes and trilinear between them: ``(C, *shape)``."""
    nodes = node_noise(seed, (channels, *node_count(shape, spacing_vox)), device)
    return upsample(nodes, shape)
