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

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import affine_transform
from torch import Tensor

from bids_synthsr.data.grid import Grid
from bids_synthsr.data.observation import Observation
from bids_synthsr.data.synthesis import Product, Synthesis
from bids_synthsr.imaging.acquisition import AcquisitionOperator, average_fine_axes
from bids_synthsr.imaging.geometry import vox2vox
from bids_synthsr.imaging.head import otsu_threshold
from bids_synthsr.imaging.resampling import within

STRENGTH = 4.0  # lambda per mm³ of head, with gradients in tissue means per mm
TOLERANCE = 2e-3  # relative change of the volumes in one iteration, at which it stops
MAX_ITERATIONS = 30
EDGE = 0.25  # tissue means per voxel: the gradient at which the split variable starts to follow
INNER_STEPS = 4  # of conjugate gradients per iteration: 2 and 8 need more of them in total
MIN_NOISE = 1e-3  # tissue means: a scan without noise is trusted no more than this
TINY = 1e-12  # keeps quotients finite
MAD_PER_SD = 0.6745  # median absolute deviation of the normal distribution


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
    contrasts = list(dict.fromkeys(scan.contrast for scan in observations))
    channels = [
        _channel([scan for scan in observations if scan.contrast == contrast], grid)
        for contrast in contrasts
    ]
    terms = [channel.term for channel in channels]
    start = torch.stack([channel.start for channel in channels])
    # an integral over mm³ of a slope per mm, written as a sum of differences between voxels
    weight = strength * float(grid.spacing.mean()) ** 2
    solution = minimise(terms, start, weight, tolerance, max_iterations)
    products = [
        Product(channel.contrast, 'tv', channel.finish(volume.numpy()), grid)
        for channel, volume in zip(channels, solution.volumes, strict=True)
    ]
    facts = {
        'scans': [scan.contrast for scan in observations],
        'noise_sd': {channel.contrast: channel.noise for channel in channels},
        'tissue_mean': {channel.contrast: channel.tissue for channel in channels},
        'lambda': strength,
        'iterations': solution.iterations,
        'relative_change': solution.change,
        'objective_at_start': objective(terms, start, weight),
        'objective': objective(terms, solution.volumes, weight),
    }
    has_converged = solution.change < tolerance
    return Synthesis(
        tuple(products), facts, () if has_converged else (_unfinished(solution, tolerance),)
    )


def _unfinished(solution: Solution, tolerance: float) -> str:
    return (
        f'Total variation stopped after {solution.iterations} iterations, when one still changed '
        f'the volumes by {solution.change:.1e} of their norm instead of {tolerance:.1e}.'
    )


@dataclass(frozen=True, eq=False)
class _Channel:
    """The scans of one contrast, in units of their tissue means, and the way back."""

    contrast: str
    term: DataTerm
    start: Tensor
    is_seen: np.ndarray
    tissue: list[float]
    noise: list[float]
    lowest: float

    def finish(self, volume: np.ndarray) -> np.ndarray:
        """Return to the units of the first scan, within the fields of view."""
        return np.where(self.is_seen, volume * self.tissue[0], 0).clip(self.lowest)


def _channel(scans: Sequence[Observation], grid: Grid) -> _Channel:
    """Set up one contrast; it starts from the linear interpolation of its scans, averaged."""
    tissue = [tissue_mean(scan.voxels) for scan in scans]
    is_seen = np.zeros(grid.shape, bool)
    operators, measured, noise, starts = [], [], [], []
    for scan, unit in zip(scans, tissue, strict=True):
        voxels, own = average_fine_axes(scan.voxels / unit, scan.grid, grid.spacing.mean())
        ref2scan = np.linalg.inv(scan.scan2ref)
        grid2scan = vox2vox(grid, own, ref2scan)
        operators.append(AcquisitionOperator(grid, own, scan.acquisition, ref2scan))
        measured.append(voxels)
        noise.append(noise_sd(voxels, scan.acquisition.slice_axis))
        is_seen |= within(grid2scan, own.shape, grid.shape)
        # border voxels reach on, so that no edge arises where a scan ends
        starts.append(
            affine_transform(voxels, grid2scan, output_shape=grid.shape, order=1, mode='nearest')
        )
    return _Channel(
        scans[0].contrast,
        DataTerm(operators, measured, [max(sd, MIN_NOISE) for sd in noise]),
        torch.from_numpy(np.mean(starts, axis=0)),
        is_seen,
        tissue,
        [sd * unit for sd, unit in zip(noise, tissue, strict=True)],
        0 if all(scan.voxels.min() >= 0 for scan in scans) else -np.inf,
    )


def tissue_mean(voxels: np.ndarray) -> float:
    """Average what is not air: the intensities above the threshold of Otsu."""
    bright = voxels[voxels > otsu_threshold(voxels)]
    return float(bright.mean()) if bright.size else float(np.abs(voxels).mean()) or 1.0


def noise_sd(voxels: np.ndarray, slice_axis: int) -> float:
    """Estimate the noise from the finest diagonal detail within slices.

    That is the median absolute Haar coefficient (Donoho & Johnstone 1994) of the 2 x 2 voxels
    that lie in tissue, where the noise of magnitude images is nearly Gaussian, and of those the
    half with the weakest edges, where detail is noise (after Coupe et al. 2010).

    Parameters
    ----------
    voxels
        ``(I, J, K)``.
    slice_axis
        Axis across the slices.
    """
    planes = np.moveaxis(voxels, slice_axis, 0)
    rows, columns = np.array(planes.shape[1:]) - 1
    a, b, c, d = (planes[:, i : i + rows, j : j + columns] for i in (0, 1) for j in (0, 1))
    is_tissue = np.minimum.reduce([a, b, c, d]) > otsu_threshold(voxels)
    if not is_tissue.any():
        return 0.0
    a, b, c, d = (corner[is_tissue] for corner in (a, b, c, d))
    edge = (a + b - c - d) ** 2 + (a - b + c - d) ** 2
    detail = np.abs(a - b - c + d)[edge <= np.median(edge)] / 2
    return float(np.median(detail)) / MAD_PER_SD


class DataTerm:
    """Misfit of a volume to the scans of its contrast: ``sum_n |A_n x - y_n|² / (2 sd_n²)``.

    Parameters
    ----------
    operators
        ``A_n``, one per scan.
    scans
        ``y_n``; voxels that their operator does not see do not count.
    noise
        ``sd_n``.
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
    """Sum over voxels the length of all gradients of ``(C, I, J, K)`` taken as one vector."""
    squares = torch.stack([gradient(volume).square().sum(0) for volume in volumes])
    return float(squares.sum(0).sqrt().sum(dtype=torch.float64))


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
        Positive.
    """
    if strength <= 0:
        raise ValueError(f'The strength of total variation must be positive, not {strength}')
    steps = [_VolumeStep(term, strength / EDGE, tuple(start.shape[1:])) for term in terms]
    volumes, dual = start, torch.zeros(len(start), 3, *start.shape[1:])
    targets = [gradient_adjoint(gradient(volume)) for volume in start]
    iterations, change = 0, np.inf
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        while change >= tolerance and iterations < max_iterations:
            moved = pool.map(lambda step, *state: step(*state), steps, volumes, targets)
            before, volumes = volumes, torch.stack(list(moved))
            change = float((volumes - before).norm() / volumes.norm().clamp(min=TINY))
            targets = _split(dual, volumes)
            iterations += 1
    return Solution(volumes, iterations, change)


def _split(dual: Tensor, volumes: Tensor) -> list[Tensor]:
    """Shrink ``grad x + u`` to ``z``, keep the rest as ``u`` in place, give ``grad' (z - u)``."""
    for field, volume in zip(dual, volumes, strict=True):
        field += gradient(volume)
    kept = shrinkage(torch.linalg.vector_norm(dual, dim=(0, 1)), EDGE)
    targets = [gradient_adjoint((2 * kept - 1) * field) for field in dual]
    dual *= 1 - kept
    return targets


class _VolumeStep:
    """Bring a volume closer to the minimum of ``term(x) + coupling/2 |grad x - (z - u)|²``."""

    def __init__(self, term: DataTerm, coupling: float, shape: tuple[int, ...]) -> None:
        self._term, self._coupling = term, coupling
        self._pull = term.pull()
        # rows of the Hessian of the data sum to this; grad' grad has at most 6 on its diagonal
        self._diagonal = term.hessian(torch.ones(shape)) + 6 * coupling

    def __call__(self, volume: Tensor, target: Tensor) -> Tensor:
        right = self._pull + self._coupling * target
        return conjugate_gradients(self._hessian, right, volume, self._diagonal, INNER_STEPS)

    def _hessian(self, volume: Tensor) -> Tensor:
        return self._term.hessian(volume) + self._coupling * gradient_adjoint(gradient(volume))


def conjugate_gradients(
    matrix: Callable[[Tensor], Tensor], right: Tensor, start: Tensor, diagonal: Tensor, steps: int
) -> Tensor:
    """Take some steps to the solution of ``matrix(x) = right``, preconditioned by ``diagonal``."""
    solution, residual = start.clone(), right - matrix(start)
    direction, size = torch.zeros_like(start), torch.inf
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
