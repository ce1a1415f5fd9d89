"""Heads of which structures have shrunk or grown by a known factor, and what is found of it.

Structures are pushed apart, or drawn together, by a gradient field whose divergence lies in them
alone. So nothing else is changed by hand, and the logarithm of the growth is known everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import fft

from bids_synthsr.imaging.displacements import exponential, jacobian_determinants, pull
from bids_synthsr.imaging.geometry import apply_affine
from bids_synthsr.morphometry.volumes import MAIN
from bids_synthsr.registration.deformable import displacement_of
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.structures import STRUCTURES

BRAIN = [structure.index for structure in STRUCTURES.values() if structure.is_brain]
TRIES = 3  # to meet the wanted factors
HALF_VOXEL = 0.5  # by which all heads are shifted: changed or not, they are interpolated alike


@dataclass(frozen=True, eq=False)
class ChangedHead:
    """A head after its structures have changed, all volumes ``(I, J, K)`` on its grid.

    Parameters
    ----------
    head
        Intensities of its T1w.
    mask
        Brain mask of it, uint8.
    structures
        Numbers of the changed structures in the order in which they were given, from 1; 0
        elsewhere.
    growth
        Logarithm of the factor by which each has grown, mean over its voxels.
    """

    head: np.ndarray
    mask: np.ndarray
    structures: np.ndarray
    growth: Mapping[str, float]


def growth_velocity(wanted: np.ndarray) -> np.ndarray:
    """Find the gradient field whose divergence is ``wanted`` less its mean, ``(3, I, J, K)``."""
    spectrum = fft.rfftn((wanted - wanted.mean()).astype(np.float32))
    ramps = [*map(fft.fftfreq, wanted.shape[:2]), fft.rfftfreq(wanted.shape[2])]
    waves = np.meshgrid(
        *(2j * np.pi * ramp.astype(np.float32) for ramp in ramps), indexing='ij', sparse=True
    )
    laplacian = sum(wave**2 for wave in waves)
    laplacian[0, 0, 0] = 1
    return np.stack([fft.irfftn(wave * (spectrum / laplacian), wanted.shape) for wave in waves])


def velocity_of_change(labels: np.ndarray, factors: Mapping[str, float]) -> torch.Tensor:
    """Find the velocity along which structures change by given factors, voxels ``(3, I, J, K)``.

    Parameters
    ----------
    labels
        Label values of a head, ``(I, J, K)``.
    factors
        By which the volume of each structure changes, by the names of `MAIN`.

    Raises
    ------
    ValueError
        For a structure that the head does not have.
    """
    inside = {name: np.isin(labels, MAIN[name]).astype(np.float32) for name in factors}
    for name, voxels in inside.items():
        if not voxels.any():
            raise ValueError(f'The head has no {name}, which is to change')
    shares = {name: float(np.log(factor)) for name, factor in factors.items()}
    for _ in range(TRIES):
        wanted = sum(share * inside[name] for name, share in shares.items())
        velocity = torch.from_numpy(growth_velocity(np.asarray(wanted))).float()
        back = exponential(-velocity)
        for name, factor in factors.items():
            grown = pull(torch.from_numpy(inside[name][None]), back).sum()
            shares[name] += float(np.log(factor) - np.log(float(grown) / inside[name].sum()))
    return velocity


def change_head(
    head: np.ndarray, labels: np.ndarray, factors: Mapping[str, float], is_changed: bool
) -> ChangedHead:
    """Change structures of a head, or only interpolate it as if they had changed.

    Parameters
    ----------
    head, labels
        Intensities and label values of the head, ``(I, J, K)``.
    factors
        By which the volume of each structure changes, by the names of `MAIN`.
    is_changed
        Whether its structures change.

    Raises
    ------
    ValueError
        For a structure that the head does not have.
    """
    velocity = velocity_of_change(labels, factors)
    if not is_changed:
        velocity = torch.zeros_like(velocity)
    back = exponential(-velocity) + HALF_VOXEL
    growth = torch.log(jacobian_determinants(exponential(velocity)).clamp(min=1e-3)).numpy()
    structures = np.zeros(labels.shape, np.int16)
    truths = {}
    for number, name in enumerate(factors, 1):
        inside = np.isin(labels, MAIN[name])
        truths[name] = float(growth[inside].mean())
        structures[_pulled(inside, back) > 0.5] = number
    moved = _pulled(head, back).clip(0)
    return ChangedHead(
        moved, (_pulled(np.isin(labels, BRAIN), back) > 0.5).astype(np.uint8), structures, truths
    )


def _pulled(volume: np.ndarray, back: torch.Tensor) -> np.ndarray:
    return pull(torch.from_numpy(volume.astype(np.float32))[None], back)[0].numpy()


@dataclass(frozen=True, eq=False)
class BrainInAtlas:
    """How a brain differs from an atlas, and where its structures are.

    Parameters
    ----------
    velocity
        Velocity from the atlas to the brain, ``(3, i, j, k)`` mm.
    affine
        Transform from the space of the atlas to the T1w, ``(4, 4)`` RAS+ mm.
    structures, grid
        Numbers of structures of the T1w ``(I, J, K)``, 0 elsewhere, and where they lie.
    """

    velocity: np.ndarray
    affine: np.ndarray
    structures: np.ndarray
    grid: Grid


def growths_by_structure(
    brains: Iterable[BrainInAtlas], atlas: Grid, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Find where structures lie in an atlas by vote of all brains, and how each differs there.

    Parameters
    ----------
    brains
        All brains, in any order.
    atlas
        Grid of the atlas.
    count
        Number of structures that are numbered.

    Returns
    -------
    structures
        The structure that most brains have at each voxel of the atlas, ``(I, J, K)``; 0 for none.
    growths
        Logarithm of the growth of each brain against the atlas, mean over each structure,
        ``(N, count)``.
    """
    size = int(np.prod(atlas.shape))
    points = apply_affine(atlas.vox2ras, np.indices(atlas.shape).reshape(3, -1).T)
    votes = np.zeros((1 + count, size), np.int32)
    growths = []
    for brain in brains:
        displacement, growth = _growth(brain.velocity, atlas)
        growths.append(growth)
        moved = points + displacement.reshape(3, -1).T.numpy()
        to_voxels = np.linalg.inv(brain.grid.vox2ras) @ brain.affine
        at = np.rint(apply_affine(to_voxels, moved)).astype(int).T
        at = np.clip(at, 0, np.array(brain.structures.shape)[:, None] - 1)
        votes[brain.structures[tuple(at)].astype(int), np.arange(size)] += 1
    likeliest = votes.argmax(0)
    places = likeliest.reshape(atlas.shape)
    means = [mean_growths(growth, places, count) for growth in growths]
    return places, np.array(means)


def growths_in_places(
    velocities: Iterable[np.ndarray], atlas: Grid, places: np.ndarray, count: int
) -> np.ndarray:
    """Measure how much further brains differ in places of an atlas that are known, ``(N, count)``.

    Parameters
    ----------
    velocities
        Velocity from the atlas to each brain, ``(3, i, j, k)`` mm.
    atlas
        Grid of the atlas.
    places
        Number of the structure at each voxel of it, ``(I, J, K)``; 0 for none.
    count
        Number of structures that are numbered.
    """
    rows = [mean_growths(_growth(velocity, atlas)[1], places, count) for velocity in velocities]
    return np.array(rows).reshape(-1, count)


def mean_growths(growth: np.ndarray, places: np.ndarray, count: int) -> list[float]:
    """Average a map of growth over structures; NaN of one that has no voxel.

    Parameters
    ----------
    growth
        Logarithm of the growth at each voxel, ``(I, J, K)``.
    places
        Number of the structure at each voxel, ``(I, J, K)``; 0 for none.
    count
        Number of structures that are numbered.
    """
    parts = (growth[places == number] for number in range(1, count + 1))
    return [float(part.mean()) if part.size else float('nan') for part in parts]


def _growth(velocity: np.ndarray, atlas: Grid) -> tuple[torch.Tensor, np.ndarray]:
    """Integrate a velocity: the displacement in mm, and the logarithm of the growth."""
    spacing = float(atlas.spacing[0])
    displacement = displacement_of(torch.from_numpy(velocity), atlas.shape, spacing)
    ratio = jacobian_determinants(displacement / spacing).clamp(min=1e-3)
    return displacement, torch.log(ratio).numpy()


def false_positive_bound(tests: int, level: float = 0.05, sure: float = 0.99) -> int:
    """Find how many of so many tests without a difference may be positive by chance.

    Parameters
    ----------
    tests
        Number of tests that are made.
    level
        Level of each test.
    sure
        Probability that there are no more than what is returned.
    """
    from scipy.stats import binom

    return int(binom.ppf(sure, tests, level))


def balanced_splits(is_second: Sequence[bool], count: int, seed: int) -> list[np.ndarray]:
    """Split people at random into two groups that have as many of both real groups.

    Parameters
    ----------
    is_second
        Whether each is of the second real group.
    count
        Number of splits that are drawn.
    seed
        Seed of the splits.

    Returns
    -------
    splits
        Whether each is of the second group, ``(N,)`` bool, for every split.
    """
    random = np.random.default_rng(seed)
    kinds = [np.flatnonzero(np.array(is_second) == kind) for kind in (False, True)]
    splits = []
    for _ in range(count):
        split = np.zeros(len(is_second), bool)
        for number, kind in enumerate(kinds):
            # where a kind has an odd number, the halves of both kinds even that out
            half = (len(kind) + number) // 2
            split[random.permutation(kind)[:half]] = True
        splits.append(split)
    return splits
