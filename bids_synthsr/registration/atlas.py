"""The mean shape of a group of brains, and how each of them differs from it.

The brains are brought to the mean of their poses and sizes, averaged, and deformed to the average,
again and again: the average loses the shape of any single one (Joshi et al. 2004), in the
logarithm of the deformations, so that their mean is taken off exactly. Where the T1w are brought
to begin with is a template, which none of the group is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import expm, logm
from torch import Tensor

from bids_synthsr.imaging.displacements import pull
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.registration.deformable import DeformableSettings, displacement_of, register
from bids_synthsr.registration.greedy import run_affine
from bids_synthsr.registration.standard import bright_as_one, check_size
from bids_synthsr.values.grid import Grid

STIFFNESS = 0.3  # of 1, ventricles and hippocampi show 73 and 44 % of their growth
COARSE = DeformableSettings(levels=((4, 40), (2, 40)), stiffness=STIFFNESS)
FINE = DeformableSettings(levels=((4, 40), (2, 40), (1, 30)), stiffness=STIFFNESS)
ROUNDS = (COARSE, COARSE, FINE)  # the atlas is made in these, the last settings are for all maps
MOST_INTENSITY = 2.0  # of a brain, white matter 1: vessels are brighter
LEAST_OVERLAP = 0.7  # Dice of a brain and the template after the affine registration


@dataclass(frozen=True, eq=False)
class BrainT1w:
    """A T1w and where its brain is.

    Parameters
    ----------
    voxels
        Intensities, ``(I, J, K)``.
    grid
        Where the voxels of both lie.
    mask
        Brain mask, ``(I, J, K)``.
    """

    voxels: np.ndarray
    grid: Grid
    mask: np.ndarray

    @property
    def brain(self) -> np.ndarray:
        """Intensities of the brain around 1, 0 elsewhere."""
        return bright_as_one(np.where(self.mask > 0, self.voxels, 0).astype(np.float32))


def align_brain(brain: BrainT1w, template: np.ndarray, grid: Grid) -> np.ndarray:
    """Find the affine transform from a template to a T1w, ``(4, 4)`` RAS+ mm.

    Files stay in the current folder.

    Parameters
    ----------
    brain
        The T1w of an exam.
    template, grid
        Brain of the template around 1, ``(I, J, K)``, and where it lies.

    Raises
    ------
    ValueError
        If the two brains do not come to lie on each other.
    """
    inside = (template > 0).astype(np.float32)
    affine = run_affine((template, grid), (brain.brain, brain.grid), inside)
    check_size(affine)
    moved = resample((brain.mask > 0).astype(np.float32), brain.grid, grid, np.linalg.inv(affine))
    shared = 2 * ((moved > 0.5) & (inside > 0)).sum() / ((moved > 0.5).sum() + inside.sum())
    if shared < LEAST_OVERLAP:
        raise ValueError(
            f'Its brain and that of the template overlap by {shared:.2f} only (Dice): look at the '
            'T1w and the brain mask'
        )
    return affine


def center_affines(affines: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Take the mean size and proportions of all off, in the logarithm.

    Parameters
    ----------
    affines
        Transforms from the template to each T1w, ``(4, 4)``.

    Returns
    -------
    centered
        Transforms from the space of the atlas to each T1w.
    """
    # only of the stretch: the pose is that of the template, whatever the scanner called it
    mean = expm(np.mean([_stretch(affine) for affine in affines], axis=0))
    return [affine @ np.linalg.inv(mean) for affine in affines]


def _stretch(affine: np.ndarray) -> np.ndarray:
    """Logarithm of the stretch of an affine transform, in the frame of the template, (4, 4)."""
    square = affine[:3, :3].T @ affine[:3, :3]
    log = np.zeros((4, 4))
    log[:3, :3] = np.real(logm(square)) / 2
    return log


def bring_to_atlas(brain: BrainT1w, affine: np.ndarray, grid: Grid) -> np.ndarray:
    """Bring the brain of a T1w to the grid of the atlas, interpolated once, ``(I, J, K)``.

    Parameters
    ----------
    brain
        The T1w of an exam.
    affine
        Transform from the space of the atlas to it.
    grid
        Grid of the atlas.
    """
    image = resample(brain.brain, brain.grid, grid, np.linalg.inv(affine))
    return np.clip(image, 0, MOST_INTENSITY)


def average_shapes(
    images: Sequence[np.ndarray], velocities: Sequence[Tensor], spacing_mm: float
) -> np.ndarray:
    """Average images along their deformations, without the mean of these.

    Parameters
    ----------
    images
        Brains on the grid of the atlas, ``(I, J, K)`` each.
    velocities
        Velocity from the atlas to each of them, ``(3, i, j, k)`` mm; none for the first average.
    spacing_mm
        Size of the voxels, mm.
    """
    total = np.zeros(images[0].shape, np.float64)
    if not velocities:
        for image in images:
            total += image
        return (total / len(images)).astype(np.float32)
    mean = torch.stack([*velocities]).mean(0)
    for image, velocity in zip(images, velocities, strict=True):
        displacement = displacement_of(velocity - mean, image.shape, spacing_mm) / spacing_mm
        total += pull(torch.from_numpy(image)[None], displacement)[0].numpy()
    return (total / len(images)).astype(np.float32)


def deform_to_atlas(
    atlas: np.ndarray, image: np.ndarray, spacing_mm: float, settings: DeformableSettings
) -> Tensor:
    """Find the velocity from the atlas to a brain, ``(3, i, j, k)`` mm.

    Parameters
    ----------
    atlas, image
        Atlas and brain on its grid, ``(I, J, K)``.
    spacing_mm
        Size of the voxels, mm.
    settings
        How stiff the deformation is.
    """
    fixed, moving = (torch.from_numpy(np.ascontiguousarray(x))[None] for x in (atlas, image))
    return register(fixed, moving, spacing_mm, settings)
