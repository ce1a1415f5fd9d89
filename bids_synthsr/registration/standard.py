"""From the T1w of an exam to a standard space, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import map_coordinates, spline_filter

from bids_synthsr.imaging.displacements import pull_at
from bids_synthsr.imaging.geometry import apply_affine, bounding_box, crop_grid
from bids_synthsr.imaging.resampling import resample
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
    """

    template2t1w: np.ndarray
    there: np.ndarray
    back: np.ndarray
    grid: Grid
    overlap: float
    correlation: float

    @property
    def growth(self) -> float:
        """By which factor the affine makes the brain of the template larger."""
        return float(np.linalg.det(self.template2t1w[:3, :3]))

    def to_t1w(self, points: np.ndarray) -> np.ndarray:
        """Find the points of the T1w that belong to points of the template, RAS+ mm ``(N, 3)``."""
        return apply_affine(self.template2t1w, points + self._at(self.there, points))

    def to_template(self, points: np.ndarray) -> np.ndarray:
        """Find the points of the template that belong to points of the T1w, RAS+ mm ``(N, 3)``."""
        near = apply_affine(np.linalg.inv(self.template2t1w), points)
        return near + self._at(self.back, near)

    def _at(self, displacement: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Interpolate a displacement at points ``(N, 3)`` of the template, mm ``(N, 3)``."""
        voxels = apply_affine(np.linalg.inv(self.grid.vox2ras), points).T[:, :, None, None]
        field = torch.from_numpy(displacement)
        return pull_at(field, torch.from_numpy(voxels).to(field))[:, :, 0, 0].numpy().T

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
        carried = np.empty(target.shape, np.float32)
        knots = spline_filter(voxels, order) if order > 1 else voxels
        for number in range(target.shape[0]):  # a plane at a time, for memory
            voxel = np.mgrid[number : number + 1, : target.shape[1], : target.shape[2]]
            points = self.to_t1w(apply_affine(target.vox2ras, voxel.reshape(3, -1).T))
            at = apply_affine(np.linalg.inv(grid.vox2ras), points).T
            plane = map_coordinates(knots, at, order=order, prefilter=False)
            carried[number] = plane.reshape(target.shape[1:])
        return carried


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
    space = _registration_grid(template, template_grid)
    fixed = resample(template, template_grid, space)
    fixed_mask = (resample((template > 0).astype(np.float32), template_grid, space) > 0.5) * 1.0
    brain = np.where(mask > 0, t1w, 0).astype(np.float32)
    affine = run_affine((bright_as_one(fixed), space), (bright_as_one(brain), grid), fixed_mask)
    _check_size(affine)
    moving = resample(brain, grid, space, np.linalg.inv(affine))
    first, second = (torch.from_numpy(bright_as_one(image))[None] for image in (fixed, moving))
    velocity = register(first, second, SPACING_MM)
    there, back = (
        displacement_of(sign * velocity, space.shape, SPACING_MM).numpy() for sign in (1, -1)
    )
    transform = StandardTransform(affine, there, back, space, 0.0, 0.0)
    return _judged(transform, brain, grid, fixed, fixed_mask > 0)


def _registration_grid(template: np.ndarray, grid: Grid) -> Grid:
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


def _check_size(affine: np.ndarray) -> None:
    """Refuse an affine transform that stretches or squeezes a brain as no brain can be."""
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
