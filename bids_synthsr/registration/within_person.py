"""Sessions of one person brought together: a space half-way between them, and what changed.

Every two sessions are registered to each other, and where each lies in the common space follows by
least squares. So all sessions are treated alike, and none is the first (Reuter et al. 2012).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import TypeVar

import numpy as np
import torch
from scipy.linalg import expm, logm
from torch import Tensor

from bids_synthsr.imaging.displacements import jacobian_determinants
from bids_synthsr.imaging.geometry import (
    apply_affine,
    bounding_box,
    corners_vox,
    crop_grid,
    displacement,
    grid_around,
    nearest_rigid,
    with_spacing,
)
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.imaging.warping import carry_along, displacement_at
from bids_synthsr.registration.deformable import DeformableSettings, displacement_of, register
from bids_synthsr.registration.greedy import run_affine
from bids_synthsr.registration.standard import LEAST_OVERLAP, bright_as_one
from bids_synthsr.values.grid import Grid

# stiffer than between people, whose folds differ: see `lab/growth.py` in lab/benchmarks.md
SETTINGS = DeformableSettings(stiffness=4.0)
STEP = 2  # voxels of the common space from one of the registration to the next
MARGIN_VOX = 12  # around the brain
RIGID = 6  # degrees of freedom
EVERY = 97  # voxel of the brain at which transforms are compared
HALF = 0.5  # of a voxel in the brain
LEAST_GROWTH = 0.01  # of a voxel: its logarithm stays finite
Map = TypeVar('Map', np.ndarray, Tensor)


@dataclass(frozen=True, eq=False)
class SessionT1w:
    """The T1w of a session.

    Parameters
    ----------
    voxels, mask
        Intensities and brain mask, ``(I, J, K)``.
    grid
        Where the voxels of both lie.
    """

    voxels: np.ndarray
    mask: np.ndarray
    grid: Grid

    @property
    def brain(self) -> np.ndarray:
        """The brain alone, white matter about 1, ``(I, J, K)``."""
        return bright_as_one(np.where(self.mask > 0, self.voxels, 0).astype(np.float32))


@dataclass(frozen=True, eq=False)
class CommonSpace:
    """A space half-way between the sessions of a person.

    Parameters
    ----------
    to_sessions
        Rigid transform from the common space to each session, ``(4, 4)`` RAS+ mm.
    grid
        Voxels that cover what all sessions show.
    disagreement_mm
        By how much the transforms of pairs of sessions disagree with these, on average over the
        brain; the largest of all pairs.
    """

    to_sessions: tuple[np.ndarray, ...]
    grid: Grid
    disagreement_mm: float


@dataclass(frozen=True, eq=False)
class Change:
    """How a session differs in shape from the mean of all, in the common space.

    Parameters
    ----------
    displacement
        ``(3, I, J, K)`` mm: what the mean shows at x, the session shows at ``x + displacement``.
    log_jacobian
        Logarithm of the growth of every voxel from the mean to the session, ``(I, J, K)``.
    """

    displacement: np.ndarray
    log_jacobian: np.ndarray


def align_sessions(sessions: Sequence[SessionT1w]) -> CommonSpace:
    """Find the space half-way between sessions, by rigid registration of every two.

    Files of the registration stay in the current folder.

    Parameters
    ----------
    sessions
        T1w of two or more sessions. Whether they fit is seen by `find_changes`.
    """
    heads = [_coarse(session) for session in sessions]
    found = {
        (one, other): nearest_rigid(
            run_affine(heads[one], heads[other], (heads[one][0] > 0) * 1.0, RIGID)
        )
        for one, other in permutations(range(len(sessions)), 2)
    }
    rough = [np.eye(4), *(found[0, other] for other in range(1, len(sessions)))]
    middle = expm(-np.mean([rigid_log(one) for one in rough], 0))
    rough = [one @ middle for one in rough]

    def ahead(one: int, other: int) -> np.ndarray:
        """Tell by how much more than so far the second lies ahead of the first."""
        forth = np.linalg.inv(rough[other]) @ found[one, other] @ rough[one]
        back = np.linalg.inv(rough[one]) @ found[other, one] @ rough[other]
        return (rigid_log(forth) - rigid_log(back)) / 2

    moves = least_squares(ahead, len(sessions))
    exact = [nearest_rigid(one @ expm(move)) for one, move in zip(rough, moves, strict=True)]
    grid = _cover(sessions, exact)
    inside = carry_rigidly((sessions[0].mask > 0).astype(np.float32), sessions[0], exact[0], grid)
    points = apply_affine(grid.vox2ras, np.argwhere(inside > HALF)[::EVERY])
    distances = [
        displacement(found[one, other] @ exact[one], exact[other], points).mean()
        for one, other in found
    ]
    return CommonSpace(tuple(exact), grid, float(max(distances)))


def _coarse(session: SessionT1w) -> tuple[np.ndarray, Grid]:
    """Sample the brain of a session on coarser voxels around it."""
    box = bounding_box(session.mask > 0, MARGIN_VOX)
    grid = with_spacing(crop_grid(session.grid, box), STEP * float(session.grid.spacing[0]))
    return resample(session.brain, session.grid, grid), grid


def rigid_log(transform: np.ndarray) -> np.ndarray:
    """Compute the logarithm of a rigid transform, ``(4, 4)``, of which means can be taken."""
    return np.real(logm(transform))


def least_squares(ahead: Callable[[int, int], Map], count: int) -> list[Map]:
    """Place things so that the distances of every two are met best, and their sum is 0.

    Parameters
    ----------
    ahead
        Function that gives by how much the second of two lies ahead of the first.
    count
        How many things there are.
    """
    return [
        sum(ahead(other, one) for other in range(count) if other != one) / count  # type: ignore
        for one in range(count)
    ]


def _cover(sessions: Sequence[SessionT1w], to_sessions: Sequence[np.ndarray]) -> Grid:
    """Lay voxels as fine as those of the sessions in RAS order around what all show."""
    corners = [
        apply_affine(np.linalg.inv(move) @ session.grid.vox2ras, corners_vox(session.grid))
        for session, move in zip(sessions, to_sessions, strict=True)
    ]
    spacing = min(float(session.grid.spacing.min()) for session in sessions)
    voxel = Grid((1, 1, 1), np.diag([spacing] * 3 + [1.0]))
    return grid_around(voxel, np.concatenate(corners))


def carry_rigidly(
    voxels: np.ndarray, session: SessionT1w, to_session: np.ndarray, grid: Grid, order: int = 1
) -> np.ndarray:
    """Bring a volume of a session to a grid of the common space, interpolated once.

    Parameters
    ----------
    voxels
        ``(I, J, K)`` values on the grid of the session.
    session, to_session
        The session, and the transform from the common space to it.
    grid
        Where the values are wanted.
    order
        Order of the splines: 1 is linear, 3 is cubic.
    """
    return resample(voxels, session.grid, grid, np.linalg.inv(to_session), order=order)


def find_changes(sessions: Sequence[SessionT1w], space: CommonSpace) -> tuple[Grid, list[Change]]:
    """Find how the shape of each session differs from the mean of all.

    Parameters
    ----------
    sessions
        T1w of the sessions.
    space
        The space half-way between them.

    Returns
    -------
    grid, changes
        Where the changes lie, around the brains, and one change for each session.

    Raises
    ------
    ValueError
        If the brains of two sessions do not lie on each other, or a deformation folds.
    """
    grid = _brain_grid(sessions, space)
    coarse_vox2ras = grid.vox2ras @ np.diag([STEP, STEP, STEP, 1])
    first, second, third = ((size - 1) // STEP + 1 for size in grid.shape)
    coarse = Grid((first, second, third), coarse_vox2ras)
    brains = [
        carry_rigidly(session.brain, session, move, coarse)
        for session, move in zip(sessions, space.to_sessions, strict=True)
    ]
    _check_overlap(brains)
    images = [torch.from_numpy(brain)[None] for brain in brains]
    spacing = float(coarse.spacing[0])
    velocities = {
        (one, other): register(images[one], images[other], spacing, SETTINGS)
        for one, other in combinations(range(len(images)), 2)
    }

    def ahead(one: int, other: int) -> Tensor:
        return velocities[one, other] if one < other else -velocities[other, one]

    return grid, [_change_of(velocity, grid) for velocity in least_squares(ahead, len(images))]


def carry_deformed(
    voxels: np.ndarray,
    session: SessionT1w,
    to_session: np.ndarray,
    found: tuple[Grid, Change],
    order: int,
) -> np.ndarray:
    """Bring a volume of a session to the mean shape of all, interpolated once.

    Parameters
    ----------
    voxels
        ``(I, J, K)`` values on the grid of the session.
    session, to_session
        The session, and the transform from the common space to it.
    found
        Grid around the brains, on which the values are wanted, and the change of the session.
    order
        Order of the splines: 0 takes the nearest voxel, 1 is linear.
    """
    grid, change = found

    def to_source(points: np.ndarray) -> np.ndarray:
        moved = points + displacement_at(change.displacement, grid, points)
        return apply_affine(to_session, moved)

    return carry_along(voxels, session.grid, grid, to_source, order)


def _brain_grid(sessions: Sequence[SessionT1w], space: CommonSpace) -> Grid:
    """Cut the grid of the common space to the brains, to an odd number of voxels each way."""
    inside = np.zeros(space.grid.shape, bool)
    for session, move in zip(sessions, space.to_sessions, strict=True):
        mask = (session.mask > 0).astype(np.float32)
        inside |= carry_rigidly(mask, session, move, space.grid) > HALF
    grid = crop_grid(space.grid, bounding_box(inside, MARGIN_VOX))
    first, second, third = (size - 1 + size % STEP for size in grid.shape)
    return Grid((first, second, third), grid.vox2ras)


def _check_overlap(brains: Sequence[np.ndarray]) -> None:
    """Refuse brains that do not lie on each other."""
    for one, other in combinations(brains, 2):
        shared = ((one > 0) & (other > 0)).sum()
        overlap = 2 * shared / ((one > 0).sum() + (other > 0).sum())
        if overlap < LEAST_OVERLAP:
            raise ValueError(
                f'The brains of two sessions overlap by {overlap:.2f} only (Dice): are they of '
                'one person? Look at the T1w and the brain masks.'
            )


def _change_of(velocity: Tensor, grid: Grid) -> Change:
    """Integrate a velocity at nodes that span a grid from border to border."""
    spacing = float(grid.spacing[0])
    field = displacement_of(velocity, grid.shape, spacing)
    determinants = jacobian_determinants(field / spacing).clamp(min=LEAST_GROWTH)
    return Change(field.numpy(), determinants.log().numpy())
