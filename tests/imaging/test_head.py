"""The head in a volume: its size, and a mask of it."""

import numpy as np

from bids_synthsr.imaging.head import (
    brightest_object,
    head_mask,
    head_size,
    is_far_from,
    is_skull_stripped,
)
from bids_synthsr.values.grid import Grid


def test_head_mask_takes_what_is_dark_inside_but_no_background():
    index = np.indices((40, 40, 12)) - np.array([20, 20, 6])[:, None, None, None]
    radius = np.hypot(index[0], index[1])
    voxels = np.where((radius < 15) & (radius > 8), 100.0, 0.0)  # a ring in every slice
    voxels[0, 0] = 100  # a speck outside
    np.testing.assert_array_equal(head_mask(voxels, 2), radius < 15)


def test_brightest_object_is_the_largest_one():
    voxels = np.zeros((20, 20, 20))
    voxels[2:6, 2:6, 2:6], voxels[9:18, 9:18, 9:18] = 100, 60
    expected = np.zeros(voxels.shape, bool)
    expected[9:18, 9:18, 9:18] = True
    np.testing.assert_array_equal(brightest_object(voxels), expected)


def test_size_of_the_head_is_along_r_a_and_s():
    voxels = np.zeros((40, 50, 60), np.float32)
    voxels[4:24, 10:40, 20:30] = 100
    vox2ras = np.zeros((4, 4))
    vox2ras[1, 0] = vox2ras[2, 1] = vox2ras[3, 3] = 1
    vox2ras[0, 2] = -2
    # sampled every 2 mm: every second voxel of 1 mm, every voxel of 2 mm
    np.testing.assert_allclose(head_size(voxels, Grid(voxels.shape, vox2ras)), (20, 20, 30))


def test_a_brain_alone_is_told_from_a_head():
    at = np.indices((60, 60, 60)) - 30
    radius = np.sqrt((at**2).sum(0))
    brain = radius < 18
    beyond = is_far_from(brain, np.full(3, 3.0))
    stripped = np.where(brain, 100.0, 0)
    head = stripped + np.where((radius > 24) & (radius < 28), 60, 0)
    assert is_skull_stripped(stripped, brain, beyond)
    assert not is_skull_stripped(head, brain, beyond)
    assert not is_skull_stripped(stripped, np.zeros_like(brain), beyond)
