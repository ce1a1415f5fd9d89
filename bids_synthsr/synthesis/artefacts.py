"""What goes wrong in the scanner, in the native voxels of a scan."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from bids_synthsr.synthesis.fields import (
    Range,
    draw_chance,
    draw_index,
    draw_seed,
    draw_uniform,
    node_noise,
    white_noise,
)
from bids_synthsr.synthesis.priors import ArtefactPrior

# fraction of the field of view by which a ghost is shifted
GHOST_SHIFT: Range = (0.1, 0.9)
# cycles of stripes per voxel along each axis in plane; 0.5 is the highest frequency there is
SPIKE_CYCLES: Range = (-0.4, 0.4)
SPIKED_SLICES: Range = (0.02, 0.3)  # fraction of all slices


@dataclass(frozen=True)
class ArtefactDraw:
    """Artefacts of one scan. A strength of 0 switches one off, and so does a clip level of 1.

    Parameters
    ----------
    seed
        Seed of the noise, of the choice of slices with spikes and of the brightness of slices.
    slice_axis
        Axis across the slices; 2 in a 3-D scan.
    noise_sd
        Standard deviation of the noise, relative to the brightest voxel.
    ghost_strength
        Intensity of the ghost, relative to the image.
    ghost_axis
        Axis in plane along which the ghost is shifted.
    ghost_shift
        Shift of the ghost, as a fraction of the field of view.
    spike_strength
        Amplitude of the stripes, relative to the brightest voxel.
    spike_cycles
        Cycles of the stripes per voxel along the two axes in plane.
    spiked_slices
        Fraction of the slices that have stripes.
    jump_sd
        Standard deviation of the logarithm of the brightness of slices.
    clip_level
        Highest intensity that is not clipped, relative to the brightest voxel.
    window
        Lowest and highest intensity that are not clipped; equal for no window.
    """

    seed: int
    slice_axis: int
    noise_sd: float
    ghost_strength: float
    ghost_axis: int
    ghost_shift: float
    spike_strength: float
    spike_cycles: tuple[float, float]
    spiked_slices: float
    jump_sd: float
    clip_level: float
    window: Range


def draw_artefacts(
    prior: ArtefactPrior, slice_axis: int | None, generator: torch.Generator
) -> ArtefactDraw:
    """Draw the artefacts of a scan.

    Parameters
    ----------
    prior
        Prior of the artefacts of this kind of scan.
    slice_axis
        Axis across the slices. None for a 3-D scan, in which no slice differs from the others.
    generator
        Random generator on the CPU.
    """

    def strength(probability: float, bounds: Range) -> float:
        is_on = draw_chance(probability, generator)
        return draw_uniform(bounds, generator) * is_on

    is_2d = slice_axis is not None
    axis = 2 if slice_axis is None else slice_axis
    in_plane = [a for a in range(3) if a != axis]
    clip = draw_chance(prior.clip_probability, generator)
    level = draw_uniform(prior.clip_level, generator)
    return ArtefactDraw(
        seed=draw_seed(generator),
        slice_axis=axis,
        noise_sd=strength(prior.noise_probability, prior.noise_sd),
        ghost_strength=strength(prior.ghost_probability, prior.ghost_strength),
        ghost_axis=in_plane[draw_index([1.0, 1.0], generator)],
        ghost_shift=draw_uniform(GHOST_SHIFT, generator),
        spike_strength=strength(prior.spike_probability, prior.spike_strength),
        spike_cycles=(
            draw_uniform(SPIKE_CYCLES, generator),
            draw_uniform(SPIKE_CYCLES, generator),
        ),
        spiked_slices=draw_uniform(SPIKED_SLICES, generator) if is_2d else 1.0,
        jump_sd=strength(prior.jump_probability, prior.jump_sd) * is_2d,
        clip_level=level if clip else 1.0,
        window=prior.window,
    )


def apply_artefacts(native: torch.Tensor, draw: ArtefactDraw) -> torch.Tensor:
    """Corrupt a scan in its native voxels, ``(I, J, K)``."""
    brightest = native.amax()
    if draw.ghost_strength > 0:
        native = add_ghost(native, draw)
    if draw.spike_strength > 0:
        native = (native + brightest * _stripes(native, draw)).abs()
    if draw.jump_sd > 0:
        native = native * _slice_gains(native, draw)
    if draw.noise_sd > 0:
        native = add_rician_noise(native, brightest * draw.noise_sd, draw.seed)
    if draw.clip_level < 1:
        native = native.minimum(brightest * draw.clip_level)
    low, high = draw.window
    return native.clamp(low, high) if high > low else native


def add_rician_noise(image: torch.Tensor, sd: torch.Tensor, seed: int) -> torch.Tensor:
    """Take the magnitude of ``image`` with complex Gaussian noise of ``sd`` in each part."""
    noise = white_noise(seed, (2, *image.shape), image.device) * sd
    return torch.hypot(image + noise[0], noise[1])


def add_ghost(image: torch.Tensor, draw: ArtefactDraw) -> torch.Tensor:
    """Add a shifted copy, wrapped around the field of view, at the cost of the image itself."""
    shift = round(draw.ghost_shift * image.shape[draw.ghost_axis])
    copy = image.roll(shift, draw.ghost_axis)
    return (1 - draw.ghost_strength) * image + draw.ghost_strength * copy


def _along(values: torch.Tensor, axis: int) -> torch.Tensor:
    """View a line of values along an axis of a volume."""
    return values.view([-1 if a == axis else 1 for a in range(3)])


def _stripes(native: torch.Tensor, draw: ArtefactDraw) -> torch.Tensor:
    """Make the plane wave of a spike in k-space, in some of the slices."""
    first, second = (a for a in range(3) if a != draw.slice_axis)
    phase = sum(
        _along(torch.arange(native.shape[a], device=native.device), a) * (2 * math.pi * cycles)
        for a, cycles in zip((first, second), draw.spike_cycles, strict=True)
    )
    slices = native.shape[draw.slice_axis]
    chosen = torch.rand(slices, generator=torch.Generator().manual_seed(draw.seed))
    is_hit = _along((chosen < draw.spiked_slices).to(native.device), draw.slice_axis)
    return draw.spike_strength * torch.cos(torch.as_tensor(phase)) * is_hit


def _slice_gains(native: torch.Tensor, draw: ArtefactDraw) -> torch.Tensor:
    """Make the relative brightness of each slice."""
    noise = node_noise(draw.seed, (native.shape[draw.slice_axis],), native.device)
    return _along((draw.jump_sd * noise).exp(), draw.slice_axis)
