"""Laws of the mean shape of a group."""

import numpy as np
import torch
from scipy import ndimage
from scipy.linalg import expm

from bids_synthsr.imaging.displacements import exponential, pull, smooth
from bids_synthsr.registration.atlas import average_shapes, center_affines

SHAPE = (32, 36, 32)


def phantom():
    x = np.indices(SHAPE) - np.array(SHAPE).reshape(3, 1, 1, 1) / 2
    brain = ((x / np.array([11, 13, 11]).reshape(3, 1, 1, 1)) ** 2).sum(0) < 1
    core = (x**2).sum(0) < 25
    return ndimage.gaussian_filter(0.7 * brain + 0.3 * core, 1.5).astype(np.float32)


def fields(count):
    """Smooth velocities in voxels, the longest around 4, whose sum is 0."""
    random = torch.Generator().manual_seed(0)
    raw = [smooth(torch.randn(3, *SHAPE, generator=random), 4) for _ in range(count)]
    raw = [field * (4.0 / field.abs().max()) for field in raw]
    mean = sum(raw) / count
    return [field - mean for field in raw]


def test_mean_size_is_taken_off():
    random = np.random.default_rng(0)
    affines = []
    for _ in range(6):
        stretch, turn = np.zeros((4, 4)), np.zeros((4, 4))
        half = 0.1 * random.normal(size=(3, 3))
        stretch[:3, :3] = half + half.T + 0.1 * np.eye(3)
        angles = random.normal(size=3)
        turn[:3, :3] = np.cross(np.eye(3), angles)
        turn[:3, 3] = 50 * random.normal(size=3)
        affines.append(expm(turn) @ expm(stretch))
    centered = center_affines(affines)
    sizes = [np.log(np.linalg.det(x[:3, :3])) for x in centered]
    assert abs(np.mean(sizes)) < 1e-6
    mean = np.linalg.inv(centered[0]) @ affines[0]  # the same is taken off all
    for affine, one in zip(affines, centered, strict=True):
        np.testing.assert_allclose(np.linalg.inv(one) @ affine, mean, atol=1e-9)


def test_copies_that_are_deformed_to_and_fro_average_to_the_phantom():
    image = torch.from_numpy(phantom())[None]
    velocities = fields(6)
    # the image that shows at x + d(x) what the phantom shows at x
    copies = [pull(image, exponential(-one))[0].numpy() for one in velocities]
    found = average_shapes(copies, velocities, 1.0)
    inside = phantom() > 0.3

    def error(one):
        return abs(one - phantom())[inside].mean() / phantom()[inside].mean()

    assert error(found) < 0.02
    assert all(error(found) < 0.6 * error(copy) for copy in copies)
    wrong = average_shapes(copies, [-one for one in velocities], 1.0)
    assert error(found) < 0.8 * error(wrong)


def test_the_mean_of_all_deformations_changes_nothing():
    """Deformations that all share are taken off: the atlas does not drift with them."""
    image = phantom()
    common = fields(2)[0]
    still = [image] * 3
    moved = average_shapes(still, [common] * 3, 1.0)
    np.testing.assert_allclose(moved, image, atol=1e-6)
