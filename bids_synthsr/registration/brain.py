"""The brain in a T1w, by registration of a template."""

from __future__ import annotations

import numpy as np
from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

from bids_synthsr.dataset.images import volume_of
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.registration.greedy import run_affine
from bids_synthsr.values.grid import Grid


def find_brain(voxels: np.ndarray, grid: Grid) -> np.ndarray:
    """Mark the brain in a T1w, with or without skull, ``(I, J, K)`` bool.

    The mask of MNI152 is carried over by an affine registration of its template, whose files stay
    in the current folder.

    Parameters
    ----------
    voxels
        ``(I, J, K)`` intensities of the T1w.
    grid
        Where these voxels lie.
    """
    mask, template_grid = volume_of(load_mni152_brain_mask(2))
    template = volume_of(load_mni152_template(2))[0]
    mni2head = run_affine((template, template_grid), (voxels, grid), mask)
    return resample(mask, template_grid, grid, mni2head) > 0.5
