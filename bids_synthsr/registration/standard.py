"""From the T1w of an exam to a standard space, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from bids_synthsr.imaging.geometry import apply_affine, bounding_box, crop_grid
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.imaging.warping import carry_along, displacement_at
from bids_synthsr.registration.deformable import displacement_of, register
from bids_synthsr.registration.greedy import run_affine
from bids_synthsr.values.grid import Grid

SPACING_MM = 2.0  # of the registration
MARGIN_MM = 12.0  # around the brain of the template
BRIGHT = 85  # percentile of the brain that becomes 1: white matter
LEAST_OVERLAP = 0.8  # Dice of the two brains; below it, something went wrong
SCALES = 0.6, 1.7  # by which factor a brain may be longer than the template's in any direction


@dataclass(frozen=True, eq=False)
class StandardTransform:
    """How points of a template and of a T1w belong together.

    Parameters
    ----------
    template2t1w
        Affine transform from the template's RAS+ mm to the T1w's, ``(4, 4)``.
    there, back
        Displacements in the space of the template, mm along R, A and S, ``(3, I, J, K)``: what
        the template shows at x, the T1w shows at ``template2t1w(x + there(x))``, and what the T1w
        shows at y lies at ``z + back(z)`` of the template, for z where the affine takes y.
    grid
        Where these displacements lie, RAS order; beyond it they go on as at its border.
    overlap
        Dice of the two brain masks.
    correlation
        Correlation of the two T1w in the brain of the template.
    template_mm3
        Volume of the template's brain mask, mm³; 0 where it is not known.
    """

    template2t1w: np.ndarray
    there: np.ndarray
    back: np.ndarray
    grid: Grid
    overlap: float
    correlation: float
    template_mm3: float = 0.0

    @property
    def growth(self) -> float:
        """By which factor the affine makes the brain of the template larger."""
        return float(np.linalg.det(self.template2t1w[:3, :3]))

    @property
    def intracranial_mm3(self) -> float:
        """Volume within the skull, mm³, by the affine alone (Buckner et al. 2004)."""
        return self.growth * self.template_mm3

    def to_t1w(self, points: np.ndarray) -> np.ndarray:
        """Find the points of the T1w that belong to points of the template, RAS+ mm ``(N, 3)``."""
        return apply_affine(
            self.template2t1w, points + displacement_at(self.there, self.grid, points)
        )

    def to_template(self, points: np.ndarray) -> np.ndarray:
        """Find the points of the template that belong to points of the T1w, RAS+ mm ``(N, 3)``."""
        near = apply_affine(np.linalg.inv(self.template2t1w), points)
        return near + displacement_at(self.back, self.grid, near)

    def carry(self, voxels: np.ndarray, grid: Grid, target: Grid, order: int) -> np.ndarray:
        """Bring a volume on the T1w's side to the space of the template, interpolated once.

        Parameters
        ----------
        voxels
            ``(I, J, K)`` values on ``grid``.
        grid, target
            Where they lie, and where they are wanted in the space of the template.
        order
            Order of the splines: 0 takes the nearest voxel, 1 is linear, 3 is cubic.
        """
        return carry_along(voxels, grid, target, self.to_t1w, order)


def fit_template(
    t1w: np.ndarray, grid: Grid, mask: np.ndarray, template: np.ndarray, template_grid: Grid
) -> StandardTransform:
    """Register a template to the T1w of an exam: an affine transform, then a deformation.

    Files of the affine registration stay in the current folder.

    Parameters
    ----------
    t1w, grid
        ``(I, J, K)`` intensities of the T1w, and where they lie.
    mask
        Where the brain is in it, ``(I, J, K)``.
    template, template_grid
        ``(I, J, K)`` intensities of the template, 0 outside of its brain, and where they lie.

    Raises
    ------
    ValueError
        If the two brains do not come to lie on each other.
    """
    space = registration_grid(template, template_grid)
    fixed = resample(template, template_grid, space)
    fixed_mask = (resample((template > 0).astype(np.float32), template_grid, space) > 0.5) * 1.0
    brain = np.where(mask > 0, t1w, 0).astype(np.float32)
    affine = run_affine((bright_as_one(fixed), space), (bright_as_one(brain), grid), fixed_mask)
    check_size(affine)
    moving = resample(brain, grid, space, np.linalg.inv(affine))
    first, second = (torch.from_numpy(bright_as_one(image))[None] for image in (fixed, moving))
    velocity = register(first, second, SPACING_MM)
    there, back = (
        displacement_of(sign * velocity, space.shape, SPACING_MM).numpy() for sign in (1, -1)
    )
    template_mm3 = float((template > 0).sum() * template_grid.voxel_volume)
    transform = StandardTransform(affine, there, back, space, 0.0, 0.0, template_mm3)
    return _judged(transform, brain, grid, fixed, fixed_mask > 0)


def registration_grid(template: np.ndarray, grid: Grid) -> Grid:
    """Lay voxels of `SPACING_MM` in RAS order around the brain of a template."""
    corners = bounding_box(template > 0, 0)
    points = apply_affine(
        crop_grid(grid, corners).vox2ras,
        np.array([[0, 0, 0], [side.stop - side.start - 1 for side in corners]], float),
    )
    low, high = points.min(0) - MARGIN_MM, points.max(0) + MARGIN_MM
    vox2ras = np.diag([SPACING_MM] * 3 + [1.0])
    vox2ras[:3, 3] = low
    first, second, third = (int(np.ceil(side / SPACING_MM)) + 1 for side in high - low)
    return Grid((first, second, third), vox2ras)


def bright_as_one(image: np.ndarray) -> np.ndarray:
    """Scale an image so that bright tissue, which is white matter in a T1w, is 1."""
    bright = np.percentile(image[image > 0], BRIGHT) if (image > 0).any() else 1.0
    return (image / bright).astype(np.float32)


def check_size(affine: np.ndarray) -> None:
    """Refuse an affine transform that stretches or squeezes a brain as no brain can be.

    Parameters
    ----------
    affine
        Transform from a template to a T1w, ``(4, 4)``.

    Raises
    ------
    ValueError
        With the factors, and what to look at.
    """
    scales = np.linalg.svd(affine[:3, :3], compute_uv=False)
    if not SCALES[0] <= scales.min() <= scales.max() <= SCALES[1]:
        raise ValueError(
            f'The brain would be {scales.min():.2f} to {scales.max():.2f} times as long as that '
            'of the template, by direction: look at the T1w and the brain mask'
        )


def _judged(
    transform: StandardTransform,
    brain: np.ndarray,
    grid: Grid,
    fixed: np.ndarray,
    fixed_mask: np.ndarray,
) -> StandardTransform:
    """Measure how well two brains lie on each other, and refuse a transform that failed."""
    carried = transform.carry(brain, grid, transform.grid, order=1)
    inside = transform.carry((brain > 0).astype(np.float32), grid, transform.grid, order=1) > 0.5
    overlap = 2 * (inside & fixed_mask).sum() / (inside.sum() + fixed_mask.sum())
    if overlap < LEAST_OVERLAP:
        raise ValueError(
            f'The brain and that of the template overlap by {overlap:.2f} only (Dice): look at '
            'the T1w and the brain mask'
        )
    correlation = np.corrcoef(carried[fixed_mask], fixed[fixed_mask])[0, 1]
    return replace(transform, overlap=float(overlap), correlation=float(correlation))
