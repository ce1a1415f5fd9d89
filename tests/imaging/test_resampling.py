"""Laws of interpolation and reliability, against scipy where it computes the same."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from bids_synthsr.imaging.geometry import output_grid, rigid, vox2vox
from bids_synthsr.imaging.resampling import (
    anti_alias,
    reliability,
    resample,
    sample_linear,
    sample_reliability,
    within,
)
from bids_synthsr.values.grid import Grid

OBLIQUE = Grid(
    (14, 12, 6),
    rigid(np.array([0.1, 0.05, -0.1]), np.array([3.0, 4, 5])) @ np.diag([-1, -1, 4, 1.0]),
)
MOTION = rigid(np.array([0.1, -0.05, 0.08]), np.array([1.3, -0.7, 2.1]), OBLIQUE.center)


@pytest.fixture
def voxels() -> np.ndarray:
    return np.random.default_rng(1).random(OBLIQUE.shape).astype(np.float32)


def points(target2source: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    indices = np.indices(shape).reshape(3, -1)
    mapped = target2source[:3, :3] @ indices + target2source[:3, 3:]
    return mapped.reshape(3, *shape)


@pytest.mark.parametrize('order', [1, 3])
@pytest.mark.parametrize('motion', [None, MOTION], ids=['parallel', 'rotated'])
def test_resample_equals_scipy(voxels, order, motion):
    target = output_grid(OBLIQUE)
    target2source = np.linalg.inv(vox2vox(OBLIQUE, target, motion))
    positions = points(target2source, target.shape)
    if order == 1:  # border voxels reach to their outer faces; the spline is mirrored there
        positions = positions.clip(0, np.array(OBLIQUE.shape)[:, None, None, None] - 1)
    expected = map_coordinates(voxels, positions, order=order, mode='mirror')
    expected *= within(target2source, OBLIQUE.shape, target.shape)
    # float32 positions of up to 1e2 voxels: 1e-5 voxels off
    mask = points(target2source, target.shape)
    edge = np.abs(np.abs(mask - mask.round()) - 0.5).min(0) < 1e-4  # within() may tip either way
    got = resample(voxels, OBLIQUE, target, motion, order)
    np.testing.assert_allclose(got[~edge], expected[~edge], atol=3e-4)


@pytest.mark.parametrize('order', [1, 3])
def test_resample_on_the_same_grid_is_the_identity(voxels, order):
    isotropic = Grid(OBLIQUE.shape, np.eye(4))
    same = resample(voxels, isotropic, isotropic, order=order)
    np.testing.assert_allclose(same, voxels, atol=1e-5)


def test_a_flip_of_the_grid_flips_the_result(voxels):
    grid = Grid(voxels.shape, np.eye(4))
    flipped = np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = voxels.shape[0] - 1
    for order in (1, 3):
        got = resample(voxels, grid, Grid(voxels.shape, flipped), order=order)
        np.testing.assert_allclose(got[::-1], voxels, atol=1e-5)


def test_permuted_axes_are_put_in_order(voxels):
    vox2ras = np.eye(4)[[1, 2, 0, 3]] * 1.0  # voxel axes run S, R, A
    grid = Grid(voxels.shape, vox2ras)
    target = output_grid(grid)
    for order in (1, 3):
        got = resample(voxels, grid, target, order=order)
        np.testing.assert_allclose(got, voxels.transpose(1, 2, 0), atol=1e-5)


def test_constant_stays_constant_up_to_the_outer_faces():
    grid = Grid((6, 6, 4), np.diag([1, 1, 5, 1.0]))
    for order in (1, 3):
        got = resample(np.ones(grid.shape, np.float32), grid, output_grid(grid), order=order)
        np.testing.assert_allclose(got, 1, atol=1e-5)


def test_outside_the_scan_lies_zero(voxels):
    far = Grid(OBLIQUE.shape, rigid(np.zeros(3), np.array([500.0, 0, 0])) @ OBLIQUE.vox2ras)
    assert not resample(voxels, OBLIQUE, output_grid(far)).any()


def test_unknown_order_is_refused(voxels):
    with pytest.raises(ValueError, match='order 2 is not offered: 1'):
        resample(voxels, OBLIQUE, OBLIQUE, order=2)


def test_anti_alias_touches_fine_axes_only():
    fine = Grid((16, 16, 16), np.diag([0.5, 1, 3, 1.0]))
    impulse = np.zeros(fine.shape, np.float32)
    impulse[8, 8, 8] = 1
    smooth = anti_alias(impulse, fine, 1.0)
    assert smooth.sum() == pytest.approx(1, abs=1e-5)
    assert (smooth > 1e-6).any(axis=(1, 2)).sum() > 1
    assert (smooth > 1e-6).any(axis=(0, 1)).sum() == (smooth > 1e-6).any(axis=(0, 2)).sum() == 1


def test_anti_alias_has_the_width_that_is_missing():
    # variances add: 0.5 mm widened by FWHM sqrt(1 - 0.25) mm is 1 mm wide
    fine = Grid((41, 1, 1), np.diag([0.5, 1, 1, 1.0]))
    impulse = np.zeros(fine.shape, np.float32)
    impulse[20] = 1
    profile = anti_alias(impulse, fine, 1.0)[:, 0, 0]
    position = (np.arange(41) - 20) * 0.5
    fwhm = np.sqrt((profile * position**2).sum()) * np.sqrt(8 * np.log(2))
    assert fwhm == pytest.approx(np.sqrt(0.75), rel=0.02)  # the kernel is sampled and cut at 4 sd


def test_reliability_is_one_on_planes_and_zero_between():
    thick = Grid((4, 4, 5), np.diag([1, 1, 5, 1.0]))
    fine = Grid((4, 4, 21), np.eye(4))
    along = reliability(thick, fine)[2, 2]
    np.testing.assert_allclose(along[::5], 1, atol=1e-6)
    np.testing.assert_allclose(np.delete(along, np.arange(0, 21, 5)), 0, atol=1e-6)


def test_reliability_of_half_way_planes_is_shared():
    # an even factor puts each slice between two voxels of the output
    thick = Grid((4, 4, 5), np.diag([1, 1, 4, 1.0]))
    along = reliability(thick, output_grid(thick))[2, 2]
    np.testing.assert_allclose(along, np.tile([0, 0.5, 0.5, 0], 5), atol=1e-5)


def test_reliability_equals_linear_resampling_of_marked_planes():
    # the paper's definition: ones on slices, zeros between, warped linearly
    thick = Grid((12, 12, 4), np.diag([1, 1, 5, 1.0]))
    marked, marked_grid = np.zeros((12, 12, 16), np.float32), Grid((12, 12, 16), np.eye(4))
    marked[..., ::5] = 1
    shift = rigid(np.zeros(3), np.array([0, 0, 0.3]))
    np.testing.assert_allclose(
        reliability(thick, marked_grid, shift)[2:-2, 2:-2, 1:-1],
        resample(marked, marked_grid, marked_grid, shift)[2:-2, 2:-2, 1:-1],
        atol=1e-5,
    )


def test_isotropic_scan_is_reliable_everywhere_inside():
    grid = Grid((6, 7, 8), np.eye(4))
    half = rigid(np.zeros(3), np.array([0.5, 0.5, 0.5]))
    assert reliability(grid, grid, half)[1:, 1:, 1:] == pytest.approx(1, abs=1e-5)


def test_reliability_is_soft_through_rotation_and_within_bounds():
    soft = reliability(OBLIQUE, output_grid(OBLIQUE), MOTION)
    assert soft.min() >= 0 and soft.max() <= 1
    assert ((soft > 0.2) & (soft < 0.8)).mean() > 0.05


def test_batched_functions_equal_the_single_ones(voxels):
    target = output_grid(OBLIQUE)
    affines = [np.linalg.inv(vox2vox(OBLIQUE, target, motion)) for motion in (None, MOTION)]
    out2in = torch.from_numpy(np.stack(affines))
    batch = sample_linear(torch.from_numpy(np.stack([voxels] * 2))[:, None], out2in, target.shape)
    ratio = torch.from_numpy(np.stack([OBLIQUE.spacing] * 2))
    reliabilities = sample_reliability(out2in, ratio, OBLIQUE.shape, target.shape)
    for number, motion in enumerate((None, MOTION)):
        single = resample(voxels, OBLIQUE, target, motion)
        np.testing.assert_allclose(batch[number, 0], single, atol=1e-5)
        np.testing.assert_allclose(
            reliabilities[number, 0], reliability(OBLIQUE, target, motion), atol=1e-5
        )


def test_sample_linear_is_differentiable_and_independent_of_threads(voxels):
    image = torch.from_numpy(voxels)[None, None].requires_grad_()
    out2in = torch.from_numpy(np.linalg.inv(vox2vox(OBLIQUE, output_grid(OBLIQUE), MOTION)))[None]
    shape = (16, 14, 24)
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        sampled = sample_linear(image, out2in, shape)
        results.append((sampled.detach(), torch.autograd.grad(sampled.sum(), image)[0]))
    assert torch.equal(results[0][0], results[1][0])
    # gradients of slabs are summed in another order: one rounding of float32 sums of about 8
    torch.testing.assert_close(results[0][1], results[1][1], atol=1e-5, rtol=1e-5)
