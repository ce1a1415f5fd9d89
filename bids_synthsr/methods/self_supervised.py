"""Super-resolution of a scan that learned from this scan alone (after SMORE, Zhao et al. 2021).

Slices are sharp within their planes. These planes are blurred along one of their axes as the
scanner blurs across slices, a model learns to undo that, and is applied to the planes across the
slices, once for each axis within them. No other scan is needed, and no weights: so it works for
every contrast. What is left out of the learning tells how much is gained; where that is nothing,
cubic interpolation stays. In the end the volume is made consistent with its slices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bids_synthsr.imaging.forward_model import box_weights
from bids_synthsr.imaging.geometry import output_grid, vox2vox
from bids_synthsr.imaging.intensity import bright_intensity
from bids_synthsr.imaging.interleaving import balance_slices
from bids_synthsr.imaging.noise import tissue_mask
from bids_synthsr.imaging.resampling import FWHM_PER_SIGMA, resample, within
from bids_synthsr.imaging.slice_encoding import CHANNELS, NEIGHBOURS, encode_slices
from bids_synthsr.methods.consistency import make_consistent
from bids_synthsr.methods.exam_size import TORCH_GB, ExamSize
from bids_synthsr.methods.sr_t1 import slices_on_grid
from bids_synthsr.networks.plane_net import PlaneNet
from bids_synthsr.settings import EFFORTS
from bids_synthsr.values.exam import Acquisition, entities_among, suffix_of
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Image, MethodForecast, Observation, Synthesis

METHOD = DESC = 'self'
LEAST_RATIO = 1.5  # of slice spacing and output voxel, below which there is nothing to gain
LEAST_PLANE = 48  # voxels of the planes that it learns from
LEAST_SLICES = 4
HELD_OUT = 8  # of so many slices, one is left out of the learning
STEPS = {'quick': 250, 'standard': 1000}
BATCH, PATCH, SEED = 16, 48, 1
RATE, WARM_UP = 2e-3, 20  # of Adam, and steps until it is reached; it falls by a half cosine
MOST_SLOPE = 1.0  # norm of the gradient
THICKNESS_FACTOR = 0.92, 1.08  # of the true thickness in the learning
AT_ONCE = 16  # planes
STEP_S = 0.1  # of one core (lab/super-resolution.md)
NOTHING_GAINED = (
    'What was learned from the {} does not help on slices that were left out of the learning '
    '({:+.2f} dB): it was interpolated.'
)


def synthesize(
    observations: Sequence[Observation], grid: Grid, *, effort: str = EFFORTS[-1]
) -> Synthesis:
    """Sharpen the first scan of every contrast by what it shows within its slices.

    Parameters
    ----------
    observations
        All scans, the reference first.
    grid
        The output grid, parallel to the reference.
    effort
        How long it is learned from each scan, one of `STEPS`.

    Raises
    ------
    ValueError
        If the reference has too few slices, too small planes, or nothing bright.
    """
    contrasts = [scan.contrast for scan in observations]
    first = {contrast: contrasts.index(contrast) for contrast in dict.fromkeys(contrasts)}
    images, estimates, doubts, used = [], [], [], []
    for contrast, index in first.items():
        scan = observations[index]
        obstacle = _scan_obstacle(scan, float(grid.spacing.max()))
        if obstacle:
            if index == 0:
                raise ValueError(obstacle)
            doubts.append(f'There is no volume of it: {obstacle}')
            continue
        own = grid if index == 0 else output_grid(scan.grid, float(grid.spacing.max()))
        volume, facts, doubt = _sharpen(scan, own, effort)
        if index:
            lowest = min(float(scan.voxels.min()), 0)
            moved = resample(volume, own, grid, scan.scan2ref, order=3).clip(lowest)
            volume = moved.astype(np.float32)
        doubts += [doubt] if doubt else []
        entities = entities_among(contrast, list(first))
        images.append(Image(suffix_of(contrast), DESC, volume, grid, entities=entities))
        estimates.append({'contrast': contrast, **facts})
        used.append(index)
    facts = {
        'method': METHOD,
        'scans': [contrasts[index] for index in used],
        'scans_reason': 'the first scan of every contrast, each by itself',
        'effort': effort,
        'estimates': estimates,
    }
    return Synthesis(tuple(images), facts, tuple(doubts), used=tuple(used))


def forecast(size: ExamSize) -> MethodForecast:
    """Forecast memory and time: every contrast is learned by itself, as long as it takes."""
    out, channels = size.output_millions, len(set(size.contrasts))
    memory_gb = TORCH_GB + 0.11 * out + 0.02 * out * channels
    return MethodForecast(memory_gb, channels * (STEP_S * STEPS[EFFORTS[-1]] + 5.0 * out))


def find_obstacle(
    contrasts: Sequence[str], acquisitions: Sequence[Acquisition], spacing_mm: float
) -> str:
    """Describe why the reference cannot be sharpened, in a sentence; empty if it can.

    Parameters
    ----------
    contrasts, acquisitions
        BIDS suffixes and slices of the scans, the reference's first.
    spacing_mm
        Voxel size of the output, mm.
    """
    return _too_fine(contrasts[0], acquisitions[0], spacing_mm)


def _too_fine(contrast: str, acquisition: Acquisition, spacing_mm: float) -> str:
    """Say that slices lie too close for anything to be gained; empty if they do not."""
    if acquisition.slice_spacing >= LEAST_RATIO * spacing_mm:
        return ''
    return (
        f'The slices of the {contrast} lie {acquisition.slice_spacing:.3g} mm apart, and the '
        f'output has voxels of {spacing_mm:g} mm: there is nothing to gain, use --method cubic.'
    )


def _scan_obstacle(scan: Observation, spacing_mm: float) -> str:
    """Describe why a scan cannot be sharpened, in a sentence; empty if it can."""
    acquisition = scan.acquisition
    slices = scan.grid.shape[acquisition.slice_axis] - len(acquisition.missing)
    if slices < LEAST_SLICES:
        return f'The {scan.contrast} has {slices} slices, and {LEAST_SLICES} are the fewest.'
    extent = np.delete(scan.grid.shape * scan.grid.spacing, scan.acquisition.slice_axis)
    if extent.min() < LEAST_PLANE * spacing_mm:
        return (
            f'The slices of the {scan.contrast} are {extent.min():.0f} mm wide, and it learns '
            f'from planes of {LEAST_PLANE * spacing_mm:g} mm and more.'
        )
    if bright_intensity(scan.voxels) <= 0:
        return f'The {scan.contrast} holds no positive intensities.'
    return _too_fine(scan.contrast, scan.acquisition, spacing_mm)


def _sharpen(scan: Observation, own: Grid, effort: str) -> tuple[np.ndarray, dict[str, Any], str]:
    """Sharpen one scan on a grid parallel to it: the volume, what is stated, and a doubt or ''."""
    still = replace(scan, scan2ref=np.eye(4))
    is_tissue = tissue_mask(scan.voxels)
    balanced, interleaving = balance_slices(scan.voxels, is_tissue, scan.acquisition.slice_axis)
    still = replace(still, voxels=balanced.astype(np.float32))
    unit = bright_intensity(balanced)
    slices, (first, step), across = slices_on_grid(still, own)
    missing, last = scan.acquisition.missing, slices.shape[2] - 1
    if step < 0:  # or what was learned would be upside down
        slices, first, step = slices.flip(2), last - first, -step
        missing = tuple(last - number for number in missing)
    stack = _Stack(
        slices / unit,
        float(own.spacing.max()),
        scan.acquisition.slice_spacing,
        scan.acquisition.slice_thickness,
        missing,
    )
    network = learn_planes(stack, STEPS[effort])
    gain = held_out_gain(stack, network)
    doubt = '' if gain > 0 else NOTHING_GAINED.format(scan.contrast, gain)
    index = first + step * np.arange(own.shape[across])
    made = apply_network(stack, index, network if gain > 0 else None)
    volume = np.moveaxis(made.numpy(), 2, across) * unit
    lowest = min(float(balanced.min()), 0)
    volume, consistency = make_consistent(volume.clip(lowest), own, still)
    in_view = within(vox2vox(own, scan.grid), scan.grid.shape, own.shape)
    volume = np.where(in_view, volume.clip(lowest), 0).astype(np.float32)
    facts = {
        'held_out_gain_db': round(gain, 3),
        'interleaving': interleaving,
        'consistency': consistency.facts,
    }
    return volume.astype(np.float32), facts, doubt


# Learning --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Stack:
    """Slices as they are learned from and applied to.

    Parameters
    ----------
    slices
        ``(I, J, S)`` intensities around 1.
    voxel_mm
        Size of the voxels within the slices and of the output, mm.
    spacing_mm, thickness_mm
        Distance of the slices, centre to centre, and their thickness, mm.
    missing
        Numbers of the slices that were interpolated: nothing is learned from them.
    """

    slices: Tensor
    voxel_mm: float
    spacing_mm: float
    thickness_mm: float
    missing: tuple[int, ...] = ()

    @property
    def spacing(self) -> float:
        """Distance of the slices in voxels of the output."""
        return self.spacing_mm / self.voxel_mm

    @property
    def held_out(self) -> list[int]:
        """Slices that are left out of the learning."""
        return self._measured[HELD_OUT // 2 :: HELD_OUT] or self._measured[:1]

    @property
    def learned(self) -> list[int]:
        """Slices that are learned from."""
        left = {*self.held_out}
        return [number for number in self._measured if number not in left]

    @property
    def _measured(self) -> list[int]:
        return [x for x in range(self.slices.shape[2]) if x not in self.missing]

    def planes(self, number: int) -> tuple[Tensor, Tensor]:
        """The plane of a slice ``(I, J)``, and the same with its axes exchanged."""
        plane = self.slices[:, :, number]
        return plane, plane.T.contiguous()

    def blur(
        self, planes: Tensor, first: float, factor: float = 1.0, *, is_box: bool = False
    ) -> Tensor:
        """Acquire planes ``(B, I, N)`` as if slices ran across them: channels ``(B, C, I, N)``."""
        size = planes.shape[2]
        centers = np.arange(first, size, self.spacing)
        width = self.thickness_mm * factor / self.voxel_mm
        profiles = _boxes if is_box else _gaussians
        weights = torch.from_numpy(profiles(size, centers, width))
        slices = planes @ weights.T
        index = (np.arange(size) - first) / self.spacing
        channels = encode_slices(slices, index, self.spacing_mm, self.thickness_mm * factor)
        return channels.movedim(0, 1)


def _boxes(size: int, centers: np.ndarray, width: float) -> np.ndarray:
    """Weights of pixels in slices that are boxes, see `_gaussians`."""
    weights = box_weights(np.arange(size) - centers[:, None], width)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _gaussians(size: int, centers: np.ndarray, width: float) -> np.ndarray:
    """Weights of pixels in slices of some width, ``(S, N)`` float32; rows sum to 1.

    A pixel is itself a mean over its width, so that the Gaussian adds only what is missing.
    """
    fwhm = math.sqrt(max(width**2 - 1, 0))
    distance = np.arange(size) - centers[:, None]
    if fwhm * FWHM_PER_SIGMA < 1:  # no wider than a pixel: linear interpolation
        weights = np.clip(1 - np.abs(distance), 0, 1)
    else:
        weights = np.exp(-((distance * FWHM_PER_SIGMA / fwhm) ** 2) / 2)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def learn_planes(stack: _Stack, steps: int) -> PlaneNet:
    """Train the network on patches of the slices; the same scan gives the same network.

    Parameters
    ----------
    stack
        Slices that are learned from.
    steps
        Number of steps of Adam.
    """
    random = np.random.default_rng(SEED)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = PlaneNet(CHANNELS)
    patches = _Patches(stack, random)
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    for step in range(steps):
        warm = min((step + 1) / WARM_UP, 1)
        falling = (1 + math.cos(math.pi * step / steps)) / 2
        for group in optimizer.param_groups:
            group['lr'] = RATE * warm * falling
        channels, target = patches.draw()
        loss = (network(channels) - target).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), MOST_SLOPE)
        optimizer.step()
    return network.eval()


class _Patches:
    """Pairs of patches of the slices: as if slices ran across them, and as they are."""

    def __init__(self, stack: _Stack, random: np.random.Generator) -> None:
        self._stack, self._random = stack, random
        self._margin = math.ceil(len(NEIGHBOURS) // 2 * stack.spacing) + 1
        learned = stack.slices[:, :, stack.learned]
        self._planes = torch.nn.functional.pad(
            learned.movedim(2, 0)[:, None], self._margins(learned), 'replicate'
        )[:, 0]
        is_tissue = np.moveaxis(tissue_mask(learned.numpy()), 2, 0)
        self._centers = np.argwhere(is_tissue)

    def _margins(self, learned: Tensor) -> list[int]:
        """Columns and rows to continue planes by, more where they are narrower than a patch."""
        lacking = [max(PATCH - size, 0) for size in learned.shape[:2]]
        return [
            self._margin, self._margin + lacking[1], self._margin, self._margin + lacking[0]
        ]  # fmt: skip

    def draw(self) -> tuple[Tensor, Tensor]:
        """Draw channels ``(B, C, P, P)``, and what is to be made of them ``(B, P, P)``."""
        random, length = self._random, PATCH + 2 * self._margin
        planes = []
        for slice_at, *center in self._centers[random.integers(len(self._centers), size=BATCH)]:
            plane = self._planes[slice_at]
            if random.integers(2):
                plane, center = plane.T, center[::-1]
            corner = [
                int(np.clip(at - PATCH // 2, 0, size - 2 * self._margin - PATCH))
                for at, size in zip(center, plane.shape, strict=True)
            ]
            patch = plane[
                corner[0] + self._margin : corner[0] + self._margin + PATCH,
                corner[1] : corner[1] + length,
            ]
            flips = [axis for axis in (0, 1) if random.integers(2)]
            planes.append(patch.flip(flips) if flips else patch)
        batch = torch.stack(planes)
        first = random.uniform(0, self._stack.spacing)
        factor, is_box = random.uniform(*THICKNESS_FACTOR), bool(random.integers(2))
        channels = self._stack.blur(batch, first, factor, is_box=is_box)
        inside = slice(self._margin, self._margin + PATCH)
        return channels[..., inside].contiguous(), batch[:, :, inside]


# Judging and applying --------------------------------------------------------------------------


@torch.inference_mode()
def held_out_gain(stack: _Stack, network: PlaneNet) -> float:
    """Measure on slices that were not learned from how much is gained over cubic, dB.

    Parameters
    ----------
    stack
        Slices, some of which were left out.
    network
        What was learned from the others.
    """
    errors = np.zeros(2)
    for number in stack.held_out:
        for plane in stack.planes(number):
            inside = torch.from_numpy(tissue_mask(plane.numpy()))
            for is_box in (False, True):
                channels = stack.blur(plane[None], stack.spacing / 3, is_box=is_box)
                for at, made in enumerate((channels[:, 0], network(channels))):
                    errors[at] += float((made[0] - plane)[inside].square().sum())
    if not errors.all():
        return 0.0
    return float(10 * np.log10(errors[0] / errors[1]))


@torch.inference_mode()
def apply_network(stack: _Stack, index: np.ndarray, network: PlaneNet | None) -> Tensor:
    """Sharpen a stack across its slices, in both sets of planes, ``(I, J, K)``.

    Parameters
    ----------
    stack
        Slices that are sharpened.
    index
        Positions of the voxels of the output in slices, rising, ``(K,)``.
    network
        What was learned; None interpolates.
    """
    channels = encode_slices(stack.slices, index, stack.spacing_mm, stack.thickness_mm)
    if network is None:
        return channels[0]
    made = torch.empty_like(channels[0])
    for start in range(0, made.shape[0], AT_ONCE):
        part = channels[:, start : start + AT_ONCE].movedim(0, 1)
        made[start : start + AT_ONCE] = network(part)
    for start in range(0, made.shape[1], AT_ONCE):
        part = channels[:, :, start : start + AT_ONCE].permute(2, 0, 1, 3)
        made[:, start : start + AT_ONCE] += network(part).movedim(0, 1)
    return made / 2
