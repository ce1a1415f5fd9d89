"""Multi-channel total variation super-resolution (Brudfors et al., MIUA 2018, arXiv:1810.03422).

The volumes ``x_c`` of all contrasts are those that explain the scans ``y_n`` best while their
edges lie in the same places:

    sum_n |A_n x_c(n) - y_n|² / (2 sd_n²)  +  lambda sum_v sqrt(sum_c |grad x_c(v)|²)

``A_n`` is how scan ``n`` was acquired and ``sd_n`` its noise. Intensities are in units of the
tissue mean of their contrast, which is how the paper scales ``lambda`` per channel. No training
and no atlas: detail comes from the scans, whose slices run in different directions, and from the
edges that the other contrasts show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.ndimage import affine_transform
from torch import Tensor

from bids_synthsr.imaging.forward_model import (
    REACH_FWHM,
    AcquisitionOperator,
    average_fine_axes,
)
from bids_synthsr.imaging.geometry import vox2vox
from bids_synthsr.imaging.interleaving import balance_slices
from bids_synthsr.imaging.noise import noise_sd, tissue_mask
from bids_synthsr.imaging.resampling import within
from bids_synthsr.methods.exam_size import TORCH_GB, ExamSize, Geometry
from bids_synthsr.values.exam import Acquisition, entities_among, suffix_of
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Image, MethodForecast, Observation, Synthesis

# lambda per mm³ of head, with gradients in tissue means per mm: of 0.5, 1, 2, 4 and 8 the best
# PSNR on simulated 3 to 7 mm exams; 8 is as good at 3 mm (lab/super_resolution.py)
STRENGTH = 4.0
TOLERANCE = 2e-3  # relative change of the volumes in one iteration, at which it stops
MAX_ITERATIONS = 30
EDGE = 0.25  # tissue means per voxel: the gradient at which the split variable starts to follow
INNER_STEPS = 4  # of conjugate gradients per iteration: with 8 more are needed in total
MIN_NOISE = 1e-3  # tissue means: a scan without noise is trusted no more than this
TINY = 1e-12  # keeps quotients finite
PROFILE_WIDTH = 2 * REACH_FWHM  # thicknesses that the profile of a slice spans


def synthesize(
    observations: Sequence[Observation],
    grid: Grid,
    *,
    strength: float = STRENGTH,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> Synthesis:
    """Super-resolve every contrast of an exam together.

    Parameters
    ----------
    observations
        All scans, the reference first. Several of one contrast make one volume.
    grid
        Isotropic, in the frame of the reference.
    strength
        ``lambda`` of the joint total variation: more is smoother.
    tolerance, max_iterations
        Iterations end when they change the volumes by less than this share of their norm.

    Returns
    -------
    synthesis
        One volume per contrast, the reference's first: 0 outside the fields of view of its scans,
        and nowhere negative if they are not.
    """
    scans = [_prepare(observation, grid) for observation in observations]
    contrasts = [*dict.fromkeys(scan.contrast for scan in scans)]
    channels = [
        _Channel(contrast, [scan for scan in scans if scan.contrast == contrast])
        for contrast in contrasts
    ]
    terms = [channel.term for channel in channels]
    start = torch.stack([channel.start for channel in channels])
    # an integral over mm³ of a slope per mm, written as a sum of differences between voxels
    weight = strength * float(grid.spacing.mean()) ** 2
    solution = minimise(terms, start, weight, tolerance, max_iterations)
    products = [
        Image(
            suffix_of(channel.contrast), 'tv', channel.finish(volume.numpy()), grid,
            entities=entities_among(channel.contrast, contrasts),
        )
        for channel, volume in zip(channels, solution.volumes, strict=True)
    ]  # fmt: skip
    facts = {
        'scans': [observation.contrast for observation in observations],
        'estimates': [scan.facts for scan in scans],
        'lambda': strength,
        'iterations': solution.iterations,
        'relative_change': solution.change,
        'objective_at_start': objective(terms, start, weight),
        'objective': objective(terms, solution.volumes, weight),
    }
    warnings = [] if solution.change < tolerance else [_unfinished(solution, tolerance)]
    return Synthesis(tuple(products), facts, tuple(warnings))


def forecast(size: ExamSize) -> MethodForecast:
    """Forecast memory and time: arrays of the output's size, and a sampler for every scan."""
    out, channels = size.output_millions, len(set(size.contrasts))
    at_work = min(size.num_threads, channels)
    arrays = 9 * channels + 1.25 * len(size.contrasts) + 12 * at_work
    # the reference needs no sampler
    points = [sampling_points(geometry, size.spacing_mm) for geometry in size.geometries[1:]]
    samplers = [64e-3 * count for count in points]  # eight voxels and weights a point
    joining = samplers[-1] if samplers else 0.0  # of the last one's slabs, before there are arrays
    memory_gb = TORCH_GB + sum(samplers) + max(4e-3 * arrays * out, joining)
    return MethodForecast(memory_gb, 7.0 * out * channels)


def sampling_points(geometry: Geometry, spacing_mm: float) -> float:
    """Count the points at which the output is looked up to simulate a scan, in millions."""
    grid, acquisition = geometry
    extent = np.asarray(grid.shape) * grid.spacing
    extent[acquisition.slice_axis] += PROFILE_WIDTH * acquisition.slice_thickness
    return float(np.prod(extent / spacing_mm) / 1e6)


def find_obstacle(
    contrasts: Sequence[str],  # noqa: ARG001
    acquisitions: Sequence[Acquisition],  # noqa: ARG001
    spacing_mm: float,  # noqa: ARG001
) -> str:
    """Find nothing: total variation takes every exam."""
    return ''


def _unfinished(solution: Solution, tolerance: float) -> str:
    return (
        f'Total variation stopped after {solution.iterations} iterations, when one still changed '
        f'the volumes by {solution.change:.1e} of their norm instead of {tolerance:.1e}.'
    )


@dataclass(frozen=True, eq=False)
class _Scan:
    """A scan made ready: in units of its tissue mean, balanced, no finer than the grid."""

    contrast: str
    voxels: np.ndarray
    operator: AcquisitionOperator
    unit: float
    noise: float
    interleaving: float
    start: np.ndarray
    is_seen: np.ndarray

    @property
    def facts(self) -> dict[str, Any]:
        """What was found, in the units of the scan."""
        return {
            'contrast': self.contrast,
            'tissue_mean': self.unit,
            'noise_sd': self.noise * self.unit,
            'interleaving': self.interleaving,
        }


def _prepare(scan: Observation, grid: Grid) -> _Scan:
    slice_axis = scan.acquisition.slice_axis
    is_tissue = tissue_mask(scan.voxels)
    unit = float(scan.voxels[is_tissue].mean()) or 1.0
    voxels, interleaving = balance_slices(scan.voxels / unit, is_tissue, slice_axis)
    voxels, scan_grid, acquisition = average_fine_axes(
        voxels, scan.grid, scan.acquisition, float(grid.spacing.mean())
    )
    ref2scan = np.linalg.inv(scan.scan2ref)
    grid2scan = vox2vox(grid, scan_grid, ref2scan)
    return _Scan(
        scan.contrast,
        voxels,
        AcquisitionOperator(grid, scan_grid, acquisition, ref2scan),
        unit,
        noise_sd(voxels, tissue_mask(voxels), slice_axis),
        interleaving,
        # border voxels reach on, so that no edge arises where a scan ends
        affine_transform(voxels, grid2scan, output_shape=grid.shape, order=1, mode='nearest'),
        within(grid2scan, scan_grid.shape, grid.shape),
    )


class _Channel:
    """The scans of one contrast, in units of their tissue means, and the way back."""

    def __init__(self, contrast: str, scans: Sequence[_Scan]) -> None:
        self.contrast, self._scans = contrast, scans
        self.term = DataTerm(
            [scan.operator for scan in scans],
            [scan.voxels for scan in scans],
            [max(scan.noise, MIN_NOISE) for scan in scans],
        )
        self.start = torch.from_numpy(np.mean([scan.start for scan in scans], axis=0))

    def finish(self, volume: np.ndarray) -> np.ndarray:
        """Return to the units of the first scan, within the fields of view."""
        is_seen = np.logical_or.reduce([scan.is_seen for scan in self._scans])
        lowest = 0 if all(scan.voxels.min() >= 0 for scan in self._scans) else -np.inf
        return np.where(is_seen, volume * self._scans[0].unit, 0).clip(lowest)


class DataTerm:
    """Misfit of a volume to the scans of its contrast: ``sum_n |A_n x - y_n|² / (2 sd_n²)``.

    Parameters
    ----------
    operators
        ``A_n``, one per scan.
    scans
        ``y_n``; voxels that their operator does not see do not count.
    noise
        Noise ``sd_n`` of each scan.
    """

    def __init__(
        self,
        operators: Sequence[AcquisitionOperator],
        scans: Sequence[np.ndarray],
        noise: Sequence[float],
    ) -> None:
        self._parts = [
            (operator, scan * operator.is_seen, 1 / sd**2)
            for operator, scan, sd in zip(operators, scans, noise, strict=True)
        ]

    def value(self, volume: Tensor) -> float:
        """Evaluate it for a volume ``(I, J, K)``."""
        return sum(
            weight / 2 * float(np.square(operator.forward(volume.numpy()) - scan).sum())
            for operator, scan, weight in self._parts
        )

    def hessian(self, volume: Tensor) -> Tensor:
        """Multiply with its Hessian, ``sum_n A_n' A_n x / sd_n²``."""
        total = torch.zeros_like(volume)
        for operator, _, weight in self._parts:
            back = operator.adjoint(operator.forward(volume.numpy()))
            total.add_(torch.from_numpy(back), alpha=weight)
        return total

    def pull(self) -> Tensor:
        """Minus its gradient at 0, ``sum_n A_n' y_n / sd_n²``."""
        return torch.from_numpy(
            sum(weight * operator.adjoint(scan) for operator, scan, weight in self._parts)
        )


# The prior -------------------------------------------------------------------------------------


def gradient(volume: Tensor) -> Tensor:
    """Differences to the next voxel, 0 at the last: ``(I, J, K)`` to ``(3, I, J, K)``."""
    field = torch.zeros(3, *volume.shape, dtype=volume.dtype)
    for axis, size in enumerate(volume.shape):
        field[axis].narrow(axis, 0, size - 1).copy_(volume.diff(dim=axis))
    return field


def gradient_adjoint(field: Tensor) -> Tensor:
    """Minus the divergence: ``<gradient(x), f> = <x, gradient_adjoint(f)>``."""
    volume = torch.zeros_like(field[0])
    for axis, size in enumerate(volume.shape):
        part = field[axis].narrow(axis, 0, size - 1)
        volume.narrow(axis, 1, size - 1).add_(part)
        volume.narrow(axis, 0, size - 1).sub_(part)
    return volume


def joint_variation(volumes: Tensor) -> float:
    """Sum the length that the gradients of all ``(C, I, J, K)`` have as one vector per voxel."""
    fields = (gradient(volume) for volume in volumes)
    return float(_joint_length(fields).sum(dtype=torch.float64))


def _joint_length(fields: Iterable[Tensor]) -> Tensor:
    """Length in every voxel of vector fields ``(3, I, J, K)`` taken as one; ``(I, J, K)``."""
    return torch.stack([field.square().sum(0) for field in fields]).sum(0).sqrt()


def shrinkage(length: Tensor, threshold: float) -> Tensor:
    """Share of a vector that the proximal map of ``threshold |.|`` keeps, given its length."""
    return (1 - threshold / length.clamp(min=TINY)).clamp(min=0)


# The solver ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Solution:
    """Volumes ``(C, I, J, K)`` and how the iterations that led to them ended."""

    volumes: Tensor
    iterations: int
    change: float


def objective(terms: Sequence[DataTerm], volumes: Tensor, strength: float) -> float:
    """Evaluate what `minimise` minimises."""
    misfit = sum(term.value(volume) for term, volume in zip(terms, volumes, strict=True))
    return misfit + strength * joint_variation(volumes)


def minimise(
    terms: Sequence[DataTerm],
    start: Tensor,
    strength: float,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> Solution:
    """Minimise ``sum_c terms[c](x_c) + strength joint_variation(x)`` by ADMM (Boyd et al. 2011).

    Gradients are split off as a field ``z``, with scaled duals ``u``. Given ``z - u``, volumes
    follow by a few conjugate gradients, each in a thread of its own, since only the prior ties
    contrasts together.

    Parameters
    ----------
    start
        ``(C, I, J, K)`` float32.
    strength
        Weight of the prior, positive.
    """
    if strength <= 0:
        raise ValueError(f'The strength of total variation must be positive, not {strength}')
    moves = [_Move(term, strength / EDGE, tuple(start.shape[1:])) for term in terms]
    volumes, dual = start.clone(), torch.zeros(len(start), 3, *start.shape[1:])
    targets = [gradient_adjoint(gradient(volume)) for volume in volumes]
    iterations, change = 0, np.inf
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        while change >= tolerance and iterations < max_iterations:
            steps = pool.map(lambda move, *state: move(*state), moves, volumes, targets)
            length = torch.linalg.norm(torch.stack([step.norm() for step in steps]))
            change = float(length / volumes.norm().clamp(min=TINY))
            targets = _split(dual, volumes)
            iterations += 1
    return Solution(volumes, iterations, change)


def _split(dual: Tensor, volumes: Tensor) -> list[Tensor]:
    """Shrink ``grad x + u`` to ``z``, keep the rest as ``u`` in place, give ``grad' (z - u)``."""
    for field, volume in zip(dual, volumes, strict=True):
        field += gradient(volume)
    share = shrinkage(_joint_length(dual), EDGE)
    targets = [gradient_adjoint((2 * share - 1) * field) for field in dual]
    dual *= 1 - share
    return targets


class _Move:
    """Move a volume, in place, to the minimum of ``term(x) + coupling/2 |grad x - (z - u)|²``."""

    def __init__(self, term: DataTerm, coupling: float, shape: tuple[int, ...]) -> None:
        self._term, self._coupling = term, coupling
        self._pull = term.pull()
        # rows of the Hessian of the data sum to this; grad' grad has at most 6 on its diagonal
        self._diagonal = term.hessian(torch.ones(shape)) + 6 * coupling

    def __call__(self, volume: Tensor, target: Tensor) -> Tensor:
        """Take some steps and return their sum; ``target`` is ``grad' (z - u)``."""
        residual = self._pull + self._coupling * target - self._hessian(volume)
        step = conjugate_gradients(self._hessian, residual, self._diagonal, INNER_STEPS)
        volume += step
        return step

    def _hessian(self, volume: Tensor) -> Tensor:
        return self._term.hessian(volume) + self._coupling * gradient_adjoint(gradient(volume))


def conjugate_gradients(
    matrix: Callable[[Tensor], Tensor], right: Tensor, diagonal: Tensor, steps: int
) -> Tensor:
    """Solve ``matrix(x) = right`` from 0 in some steps, preconditioned by ``diagonal``."""
    solution, residual = torch.zeros_like(right), right.clone()
    direction, size = torch.zeros_like(right), torch.inf
    for _ in range(steps):
        scaled = residual / diagonal
        size, last = float((residual * scaled).sum()), size
        if size <= TINY:
            break
        direction = scaled.add_(direction, alpha=size / last)
        image = matrix(direction)
        length = size / float((direction * image).sum())
        solution.add_(direction, alpha=length)
        residual.sub_(image, alpha=length)
    return solution
