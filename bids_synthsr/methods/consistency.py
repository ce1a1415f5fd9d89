"""Data consistency: the volume nearest to a given one whose slices are those that were measured.

A volume that interpolation or a network made of a scan does not give this scan again when its
slices are simulated. The small change that mends it holds detail that the scan has and the volume
lacks: half of what total variation gains over cubic interpolation is no more than that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage

from bids_synthsr.imaging.forward_model import AcquisitionOperator, average_fine_axes
from bids_synthsr.imaging.geometry import vox2vox
from bids_synthsr.imaging.noise import noise_sd, tissue_mask
from bids_synthsr.imaging.resampling import within
from bids_synthsr.methods.total_variation import conjugate_gradients
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation

STEPS = 8  # of conjugate gradients
# of the thickness: scanners excite something between a Gaussian and a box, and a profile that is
# taken for too wide costs more than one that is taken for too narrow (lab/super-resolution.md)
THICKNESS_SHARE = 0.9
WEIGHT = 0.01  # of the given volume against a scan without noise, see lab/super-resolution.md
NOISE_FACTOR = 30.0  # by which that weight grows with the square of the noise, in tissue means


@dataclass(frozen=True)
class Consistency:
    """How far a volume was from its scan, and is now.

    Parameters
    ----------
    misfit_before, misfit
        Root mean square of simulated less measured slices, in tissue means.
    weight
        Weight of the given volume against the scan.
    noise
        Noise of the scan, in tissue means.
    """

    misfit_before: float
    misfit: float
    weight: float
    noise: float

    @property
    def facts(self) -> dict[str, float]:
        """What provenance states."""
        return {
            'misfit_before': round(self.misfit_before, 5),
            'misfit': round(self.misfit, 5),
            'weight': round(self.weight, 5),
            'noise': round(self.noise, 5),
        }


def make_consistent(
    volume: np.ndarray, grid: Grid, scan: Observation, weight: float | None = None
) -> tuple[np.ndarray, Consistency]:
    """Change a volume as little as it takes to explain a scan: ``|A x - y|² + w |x - x0|²``.

    Parameters
    ----------
    volume, grid
        Intensities ``(I, J, K)`` in the units of the scan, and where they lie.
    scan
        The scan that it was made of, its slices equally bright.
    weight
        Weight of the volume; None follows the noise of the scan.

    Returns
    -------
    volume, consistency
        float32, unchanged beyond the field of view of the scan, and how far it was from the scan.
    """
    is_tissue = tissue_mask(scan.voxels)
    unit = float(scan.voxels[is_tissue].mean()) or 1.0
    voxels, scan_grid, acquisition = average_fine_axes(
        scan.voxels / unit, scan.grid, scan.acquisition, float(grid.spacing.mean())
    )
    thickness = THICKNESS_SHARE * acquisition.slice_thickness
    acquisition = replace(acquisition, slice_thickness=thickness)
    ref2scan = np.linalg.inv(scan.scan2ref)
    operator = AcquisitionOperator(grid, scan_grid, acquisition, ref2scan)
    noise = noise_sd(voxels, tissue_mask(voxels), acquisition.slice_axis)
    if weight is None:
        weight = WEIGHT + NOISE_FACTOR * noise**2
    is_within = within(vox2vox(grid, scan.grid, ref2scan), scan.grid.shape, grid.shape)
    start = _continued((volume / unit).astype(np.float32), is_within)
    residual = np.where(operator.is_seen, voxels - operator.forward(start), 0)

    def hessian(x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(operator.adjoint(operator.forward(x.numpy()))) + weight * x

    right = torch.from_numpy(operator.adjoint(residual))
    # the sum of each row: no part of the change is larger than that allows
    diagonal = hessian(torch.ones(grid.shape))
    change = conjugate_gradients(hessian, right, diagonal, STEPS).numpy()
    result = (volume + unit * np.where(is_within, change, 0)).astype(np.float32)
    left = np.where(operator.is_seen, residual - operator.forward(change), 0)
    count = max(int(operator.is_seen.sum()), 1)
    before, after = (float(np.sqrt(np.square(part).sum() / count)) for part in (residual, left))
    return result, Consistency(before, after, weight, noise)


def _continued(volume: np.ndarray, is_within: np.ndarray) -> np.ndarray:
    """Continue a volume beyond the field of view of its scan by the nearest voxel within.

    Methods set it to 0 there, and slices at the ends would be simulated partly of these zeros.
    """
    if is_within.all() or not is_within.any():
        return volume
    nearest = ndimage.distance_transform_edt(
        ~is_within, return_distances=False, return_indices=True
    )
    return volume[tuple(nearest)]
