"""The T1w of an exam as it was acquired, where its voxels are fine: no network touches it.

It is interpolated on the output grid, corrected for its bias field and scaled to the intensity of
white matter that FreeSurfer uses.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import ndimage

from bids_synthsr.imaging.bias import estimate_bias
from bids_synthsr.imaging.noise import noise_sd, tissue_mask
from bids_synthsr.imaging.resampling import in_field_of_view, resample
from bids_synthsr.methods.any_exam import WHITE_MATTER
from bids_synthsr.values.exam import Acquisition, entities_of, suffix_of
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation
from bids_synthsr.values.structures import STRUCTURES

METHOD = 'acquired'
CONTRAST = 'T1w'
COARSEST_MM = 1.5  # axis of a T1w that is taken as it is
LEAST_PERCENT = 98.0  # of the brain that it must show
CEREBRAL_WHITE_MATTER = (2, 41)
CPU_S = 8.0  # that it takes for a whole head of 1 mm
LAPLACE_PER_SD = math.sqrt(2 / math.pi)  # expected absolute error of normal noise


def find_difference(contrast: str, size_mm: float) -> str:
    """Describe how a scan differs from a fine, plain T1w, in a sentence; empty if it does not.

    Parameters
    ----------
    contrast
        What it shows, such as ``ce-gd_T1w``.
    size_mm
        Its coarsest axis, mm: a voxel, or the thickness of a slice.
    """
    if suffix_of(contrast) != CONTRAST:
        return f'The {contrast} is no T1w.'
    if {*entities_of(contrast)} - {'acq'}:
        return f'The {contrast} is no plain T1w: its name tells of more than that.'
    if round(size_mm, 2) > COARSEST_MM:
        return f'The coarsest axis of a T1w has {size_mm:.3g} mm, more than {COARSEST_MM:g} mm.'
    return ''


def coarsest_mm(grid: Grid, acquisition: Acquisition) -> float:
    """Return the coarsest axis of a scan, mm: the thickness of its slices counts, too."""
    return max(float(grid.spacing.max()), acquisition.slice_thickness)


def find_part(scan: Observation, grid: Grid, mask: np.ndarray) -> str:
    """Describe that a scan shows a part of the brain only, in a sentence; empty if all.

    Parameters
    ----------
    scan
        The T1w that may be taken.
    grid, mask
        Output grid, and where the brain is on it.
    """
    percent = 100 * float(in_field_of_view(scan.grid, grid, scan.scan2ref)[mask > 0].mean())
    if percent >= LEAST_PERCENT:
        return ''
    return f'A T1w shows {percent:.0f} % of the brain; other scans show more of it.'


def prepare_t1w(
    scan: Observation,
    grid: Grid,
    segmentation: np.ndarray,
    mask: np.ndarray,
    num_threads: int = 1,
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Bring a T1w to the output grid, even in intensity and with white matter at 110.

    Parameters
    ----------
    scan
        The T1w of the exam.
    grid
        Grid of the output.
    segmentation
        Label values on that grid, ``(I, J, K)``.
    mask
        Where the brain is, ``(I, J, K)``.
    num_threads
        Number of threads to use.

    Returns
    -------
    t1w, error, facts
        The T1w and its expected absolute error by noise, ``(I, J, K)`` float32, 0 where the scan
        measured nothing, and what provenance states of them.

    Raises
    ------
    ValueError
        If the scan shows no bright white matter.
    """
    measured = in_field_of_view(scan.grid, grid, scan.scan2ref)
    voxels = resample(scan.voxels, scan.grid, grid, scan.scan2ref, order=3).clip(0)
    field = estimate_bias(voxels, (mask > 0) & measured, grid.spacing, num_threads)
    voxels /= field
    white = np.isin(segmentation, CEREBRAL_WHITE_MATTER)
    core = ndimage.binary_erosion(white) & measured
    level = float(np.median(voxels[core])) if core.any() else 0.0
    if level <= 0:
        raise ValueError(
            f'The {scan.contrast} shows no {STRUCTURES[CEREBRAL_WHITE_MATTER[0]].name} with '
            'positive intensities: look at it, or leave it out with --bids-filter-file'
        )
    noise = noise_sd(scan.voxels, tissue_mask(scan.voxels), scan.acquisition.slice_axis)
    scale = np.where(measured, WHITE_MATTER / level, 0).astype(np.float32)
    facts = {
        'bias_field': [round(float(x), 3) for x in np.percentile(field[mask > 0], [2, 50, 98])],
        'white_matter': level,
        'noise_sd': noise,
    }
    return scale * voxels, scale * np.float32(LAPLACE_PER_SD * noise) / field, facts
