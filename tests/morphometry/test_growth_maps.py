"""Maps of growth: what they show, and where they can be compared."""

import numpy as np
import pytest

from bids_synthsr.morphometry.growth_maps import MOST, common_mask, smoothed_growths

SHAPE = (24, 24, 24)
X = np.indices(SHAPE) - 11.5
RADIUS = np.sqrt((X**2).sum(0))
BRAIN = np.where(RADIUS < 10, np.where(RADIUS < 3, 0.2, 1.0), 0).astype(np.float32)


def test_ventricles_are_compared_too_and_air_is_not():
    growths = np.zeros((4, *SHAPE), np.float32)
    mask = common_mask(BRAIN, [BRAIN] * 4, growths)
    assert mask[RADIUS < 8].all() and not mask[RADIUS > 11].any()


def test_voxels_whose_growth_is_no_shape_are_left_out():
    growths = np.zeros((4, *SHAPE), np.float32)
    growths[:, 12, 12, 16] = 3.0
    assert not common_mask(BRAIN, [BRAIN] * 4, growths)[12, 12, 16]
    with pytest.raises(ValueError, match='no voxel in common'):
        common_mask(BRAIN, [BRAIN] * 4, growths + 3)


def test_growth_is_that_of_the_velocity_smoothed_and_bounded():
    rate = 0.04
    velocity = (rate * X * 2).astype(np.float32)  # mm, voxels of 2 mm
    (found,) = smoothed_growths([velocity], SHAPE, 2.0, 4.0)
    np.testing.assert_allclose(found[8:-8, 8:-8, 8:-8], 3 * rate, atol=0.01)
    (wild,) = smoothed_growths([20 * velocity], SHAPE, 2.0, 0.0)
    assert abs(wild).max() <= MOST
