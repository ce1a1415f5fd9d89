"""Lesions put into a T1w that a network predicted, and in which it painted them over.

What the T1w scans of the exam say is taken: within the lesions the smoothest contrast to white
matter is sought that explains their slices, so that a lesion smaller than a slice gets the
contrast that it had before the slice mixed it with what is around. What was predicted there does
not matter. Where no T1w shows a lesion, it gets the intensity that lesions have in a T1w on
average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage

from bids_synthsr.imaging.forward_model import AcquisitionOperator, average_fine_axes
from bids_synthsr.imaging.geometry import apply_affine, bounding_box, crop_grid, vox2vox
from bids_synthsr.imaging.intensity import mean_nearby
from bids_synthsr.imaging.resampling import in_field_of_view, resample
from bids_synthsr.methods.consistency import THICKNESS_SHARE
from bids_synthsr.methods.total_variation import conjugate_gradients
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation

APART_MM = 3.0  # from a lesion, to white matter that counts as healthy
NEARBY_MM = 10.0  # standard deviation: how far around white matter is compared
SMOOTHNESS = 0.1  # weight of squared differences of neighbours, see lab/lesions.md
SMALLNESS = 1e-3  # weight of the squared contrast itself, so that it has but one solution
STEPS = 30  # of conjugate gradients
KNOTS = np.array([0.0, 0.2, 0.4, 0.6, 0.75, 0.9, 1.0, 1.15])  # of a curve, in white matter
RIDGE = 1e-4  # share of the voxels, by which the curve stays the identity where nothing tells
INSIDE = 0.98  # share of a voxel that is brain, from which on it tells the contrast of a scan
TOUCHED = 0.02  # share of a voxel of a scan that is lesion, from which on the voxel counts
MARGIN = 2.0  # slices around the lesions that are simulated


@dataclass(frozen=True, eq=False)
class LesionFreeT1w:
    """A T1w that a network predicted, and what is known about it.

    Parameters
    ----------
    t1w
        ``(I, J, K)`` intensities.
    grid
        Where they lie: isotropic voxels.
    lesion
        Where the lesions are, ``(I, J, K)`` bool.
    white, brain
        White matter of the cerebrum, and brain with its CSF, ``(I, J, K)`` bool.
    """

    t1w: np.ndarray
    grid: Grid
    lesion: np.ndarray
    white: np.ndarray
    brain: np.ndarray

    def cropped(self, box: tuple[slice, slice, slice]) -> LesionFreeT1w:
        """Take a part of it."""
        volumes = (self.t1w, self.lesion, self.white, self.brain)
        t1w, lesion, white, brain = (volume[box] for volume in volumes)
        return LesionFreeT1w(t1w, crop_grid(self.grid, box), lesion, white, brain)

    def healthy(self) -> np.ndarray:
        """Mark white matter apart from borders and lesions, ``(I, J, K)`` bool.

        Raises
        ------
        ValueError
            If there is none.
        """
        steps = round(APART_MM / float(self.grid.spacing.mean()))
        apart = ndimage.binary_dilation(self.lesion, iterations=max(steps, 1))
        healthy: np.ndarray = ndimage.binary_erosion(self.white) & ~apart
        if not healthy.any():
            raise ValueError(
                'There is no healthy white matter to compare lesions with: check the lesion masks'
            )
        return healthy


def keep_lesions(
    predicted: LesionFreeT1w, scans: Sequence[Observation], typical: float
) -> tuple[np.ndarray, float]:
    """Put lesions into a predicted T1w; all other voxels stay as they are.

    Parameters
    ----------
    predicted
        The T1w without lesions.
    scans
        T1w scans of the exam; none gives all lesions the typical intensity.
    typical
        Intensity of lesions relative to white matter, where no scan shows them.

    Returns
    -------
    kept, scanned
        float32 ``(I, J, K)``, and which share of the lesions scans show.

    Raises
    ------
    ValueError
        If there is no white matter apart from the lesions.
    """
    kept = predicted.t1w.astype(np.float32)
    if not predicted.lesion.any():
        return kept, 1.0
    far = max([3 * NEARBY_MM, *(MARGIN * scan.acquisition.slice_spacing for scan in scans)])
    box = bounding_box(predicted.lesion, int(np.ceil(far / predicted.grid.spacing.mean())))
    healthy = predicted.healthy()
    if not healthy[box].any():
        box = bounding_box(healthy | predicted.lesion)
    part, healthy = predicted.cropped(box), healthy[box]
    level = mean_nearby(part.t1w, healthy, NEARBY_MM / part.grid.spacing.mean())
    contrast = _explain(_gather(part, scans, healthy, level), part.lesion)
    is_shown = _find_shown(scans, part.grid, part.lesion)
    wanted = level * np.where(is_shown, 1 + contrast, typical)
    kept[box] = np.where(part.lesion, wanted.clip(0), part.t1w)
    return kept, float(is_shown[part.lesion].mean())


@dataclass(frozen=True, eq=False)
class _Evidence:
    """What a T1w scan tells of the lesions, in parts of its white matter.

    ``residual`` is what it measured less what it would have measured if the lesions were white
    matter, 0 where it ``counts`` for nothing; both ``(I, J, K)`` on the voxels of the scan.
    """

    operator: AcquisitionOperator
    residual: np.ndarray
    counts: np.ndarray

    def normal(self, change: np.ndarray) -> np.ndarray:
        """Simulate a change, and spread what counts of it back over the head."""
        return self.operator.adjoint(self.counts * self.operator.forward(change))


def _explain(evidence: Sequence[_Evidence], lesion: np.ndarray) -> np.ndarray:
    """Find the smoothest contrast of lesions to white matter that explains the scans.

    Returns it in parts of white matter, ``(I, J, K)``.
    """
    inside = torch.from_numpy(lesion)

    def hessian(x: torch.Tensor) -> torch.Tensor:
        x = x * inside
        total = SMALLNESS * x + SMOOTHNESS * _roughness(x, inside)
        for scan in evidence:
            total += torch.from_numpy(scan.normal(x.numpy()))
        return total * inside

    right = np.zeros(lesion.shape, np.float32)
    for scan in evidence:
        right += scan.operator.adjoint(scan.residual) * lesion
    diagonal = hessian(torch.ones(lesion.shape)) + 6 * SMOOTHNESS + ~inside
    change = conjugate_gradients(hessian, torch.from_numpy(right), diagonal, STEPS)
    contrast: np.ndarray = change.numpy() * lesion
    return contrast


def _find_shown(scans: Sequence[Observation], grid: Grid, lesion: np.ndarray) -> np.ndarray:
    """Mark the voxels of lesions that lie in a measured slice of any scan, ``(I, J, K)`` bool."""
    places = np.argwhere(lesion)
    is_shown = np.zeros(len(places), bool)
    for scan in scans:
        there = vox2vox(grid, scan.grid, np.linalg.inv(scan.scan2ref))
        nearest = np.floor(apply_affine(there, places) + 0.5)
        inside = ((nearest >= 0) & (nearest < scan.grid.shape)).all(axis=1)
        slices = nearest[:, scan.acquisition.slice_axis]
        is_shown |= inside & ~np.isin(slices, scan.acquisition.missing)
    shown = np.zeros(lesion.shape, bool)
    shown[tuple(places[is_shown].T)] = True
    return shown


def _gather(
    predicted: LesionFreeT1w,
    scans: Sequence[Observation],
    healthy: np.ndarray,
    level: np.ndarray,
) -> list[_Evidence]:
    """Gather what each scan tells of the lesions, relative to its white matter near them."""
    grid, relative = predicted.grid, predicted.t1w / level
    spacing, evidence = float(grid.spacing.mean()), []
    parts = [x.astype(np.float32) for x in (predicted.lesion, predicted.brain)]
    for scan in scans:
        seen = healthy & in_field_of_view(scan.grid, grid, scan.scan2ref)
        if not seen.any():
            continue
        fine = resample(scan.voxels, scan.grid, grid, scan.scan2ref)
        voxels, scan_grid, slices = average_fine_axes(
            scan.voxels, scan.grid, scan.acquisition, spacing
        )
        slices = replace(slices, slice_thickness=THICKNESS_SHARE * slices.slice_thickness)
        operator = AcquisitionOperator(grid, scan_grid, slices, np.linalg.inv(scan.scan2ref))
        lesion, brain = (operator.forward(part) for part in parts)
        unit = operator.forward(mean_nearby(fine, seen, NEARBY_MM / spacing))
        measured = np.divide(voxels, unit, out=np.zeros_like(unit), where=unit > 0)
        is_healthy = operator.is_seen & (lesion <= TOUCHED) & (brain > INSIDE)
        known, white = _as_scanned(relative, measured, operator, is_healthy)
        # thick slices mix white matter with what is around, so that its level was too low
        known, measured = known / white, measured / white
        known[predicted.lesion] = 1  # white matter, whatever was predicted there
        counts = operator.is_seen & (lesion > TOUCHED)
        residual = np.where(counts, measured - operator.forward(known), 0).astype(np.float32)
        evidence.append(_Evidence(operator, residual, counts))
    return evidence


def _as_scanned(
    relative: np.ndarray, measured: np.ndarray, operator: AcquisitionOperator, counts: np.ndarray
) -> tuple[np.ndarray, float]:
    """Change the contrast of a T1w to that of a scan, by a curve that healthy tissue tells.

    Returns the changed T1w, and what becomes of white matter.
    """
    hats = [
        np.interp(relative, KNOTS, np.eye(len(KNOTS))[number]).astype(np.float32)
        for number in range(len(KNOTS))
    ]
    columns = np.stack([operator.forward(hat)[counts] for hat in hats], axis=1)
    ridge = RIDGE * (1 + len(columns)) * np.eye(len(KNOTS))  # more than 0 where nothing counts
    shifts = np.linalg.solve(
        columns.T @ columns + ridge, columns.T @ (measured[counts] - columns @ KNOTS)
    )
    levels = KNOTS + shifts
    changed = np.interp(relative, KNOTS, levels).astype(np.float32)
    return changed, float(np.interp(1.0, KNOTS, levels))


def _roughness(x: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Apply the Laplacian within a mask, whose border is free, ``(I, J, K)``."""
    total = torch.zeros_like(x)
    for axis in range(3):
        size = x.shape[axis] - 1
        both = inside.narrow(axis, 0, size) & inside.narrow(axis, 1, size)
        step = (x.narrow(axis, 1, size) - x.narrow(axis, 0, size)) * both
        total.narrow(axis, 1, size).add_(step)
        total.narrow(axis, 0, size).sub_(step)
    return total
