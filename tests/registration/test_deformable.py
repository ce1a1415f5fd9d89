"""Laws of the deformable registration, and known deformations that it finds again."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool3d

from bids_synthsr.imaging.displacements import jacobian_determinants, lattice, pull, upsample
from bids_synthsr.registration.deformable import (
    DeformableSettings,
    box_mean,
    displacement_of,
    local_correlation,
    register,
    smooth,
)

SHAPE = (40, 44, 36)
QUICK = DeformableSettings(levels=((4, 20), (2, 20)))
LABEL_MAPS = Path(__file__).parents[3] / 'shared/data/label-maps'


def blobs(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    """Draw smooth texture within a ball, around 1."""
    noise = torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed))
    texture = smooth(noise, 2.0)
    at = lattice(shape, noise)
    middle = torch.tensor(shape).view(3, 1, 1, 1) / 2
    ball = ((at - middle).norm(dim=0) < 0.42 * min(shape)).float()
    return smooth((0.7 + 2 * texture) * ball, 0.8)


def smooth_velocity(largest_mm: float, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    """Draw a smooth velocity, whose longest vector is so long, almost 0 at the border."""
    nodes = torch.randn(3, 5, 5, 5, generator=torch.Generator().manual_seed(3))
    nodes[:, [0, -1]] = nodes[:, :, [0, -1]] = nodes[:, :, :, [0, -1]] = 0
    velocity = smooth(upsample(nodes, shape), 5.0)
    return velocity * largest_mm / velocity.norm(dim=0).max()


def test_no_velocity_moves_nothing():
    assert not displacement_of(torch.zeros(3, 6, 6, 6), SHAPE, 2.0).any()


@pytest.mark.parametrize('spacing_mm', [1.0, 2.0])
def test_the_way_back_undoes_the_way_there(spacing_mm):
    velocity = smooth_velocity(5.0)
    there, back = (displacement_of(sign * velocity, SHAPE, spacing_mm) for sign in (1, -1))
    around = there + pull(back, there / spacing_mm)
    assert there.norm(dim=0).max() > 3
    error = around[:, 4:-4, 4:-4, 4:-4].norm(dim=0)
    assert error.quantile(0.99) < 0.05
    assert error.max() < 0.1


def test_volumes_change_by_the_divergence_of_a_linear_velocity():
    rates = torch.tensor([0.1, -0.05, 0.02])
    at = lattice(SHAPE, rates) - (torch.tensor(SHAPE).view(3, 1, 1, 1) - 1) / 2
    velocity = rates.view(3, 1, 1, 1) * at
    determinants = jacobian_determinants(displacement_of(velocity, SHAPE, 1.0))
    inside = determinants[10:-10, 10:-10, 10:-10]
    torch.testing.assert_close(inside, torch.full_like(inside, float(rates.sum().exp())),
                               rtol=2e-3, atol=0)  # fmt: skip


def test_determinants_are_those_of_numpy():
    displacement = displacement_of(smooth_velocity(6.0), SHAPE, 1.0)
    slopes = np.stack([np.stack(np.gradient(part)) for part in displacement.numpy()])
    expected = np.linalg.det(np.moveaxis(slopes, (0, 1), (-2, -1)) + np.eye(3))
    np.testing.assert_allclose(jacobian_determinants(displacement), expected, rtol=1e-4)


def test_the_box_mean_is_its_own_adjoint_and_that_of_pooling():
    first, second = torch.randn(2, 2, 9, 8, 7, dtype=torch.float64).unbind()
    torch.testing.assert_close((box_mean(first) * second).sum(), (first * box_mean(second)).sum())
    torch.testing.assert_close(box_mean(first), avg_pool3d(first, 5, 1, 2))


def test_gradients_of_the_local_correlation_are_right():
    pair = torch.rand(2, 1, 6, 6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: local_correlation(x[0], x[1]).sum(), pair)


def test_local_correlation_does_not_see_brightness_and_contrast():
    image = blobs()
    assert local_correlation(image, 0.5 * image + 0.3).max() <= 1.001
    inside = local_correlation(10 * image, 30 * image + 0.3)[0, 12:28, 14:30, 10:26]
    assert inside.median() > 0.99


def test_exchanging_the_images_turns_the_velocity_around():
    first, second = blobs(0), pull(blobs(0), displacement_of(smooth_velocity(3.0), SHAPE, 1.0))
    there, back = register(first, second, 1.0, QUICK), register(second, first, 1.0, QUICK)
    assert there.norm(dim=0).max() > 0.5
    torch.testing.assert_close(there, -back, atol=0.02, rtol=0)


def test_an_image_is_registered_to_itself_without_moving():
    assert register(blobs(), blobs(), 1.0, QUICK).abs().max() < 0.02


@pytest.mark.parametrize('channels', [1, 2])
def test_a_known_deformation_is_found_again(channels):
    shape = (48, 48, 48)
    fixed = torch.cat([blobs(seed, shape) for seed in range(channels)])
    velocity = smooth_velocity(6.0, shape)
    known = displacement_of(velocity, shape, 2.0)
    # the moving image shows at y what the fixed one shows where y comes from
    moving = pull(fixed, displacement_of(-velocity, shape, 2.0) / 2)
    displacement = displacement_of(register(fixed, moving, 2.0), shape, 2.0)
    brain = fixed[0] > 0.3
    error = (displacement - known).norm(dim=0)[brain]
    assert known.norm(dim=0)[brain].mean() > 1.5
    assert error.mean() < 0.6
    assert error.quantile(0.95) < 1.5
    assert jacobian_determinants(displacement / 2).min() > 0


def test_a_fold_is_never_handed_out():
    first, second = blobs(1), blobs(2)  # nothing alike
    wild = DeformableSettings(levels=((2, 30), (1, 30)), stiffness=1e-4, step_mm=3.0)
    try:
        velocity = register(first, second, 1.0, wild)
    except ValueError as error:
        assert 'folds' in str(error)
    else:
        displacement = displacement_of(velocity, SHAPE, 1.0)
        assert jacobian_determinants(displacement).min() > 0


def test_smoothing_keeps_flat_images_and_sums():
    flat = torch.full((1, 9, 9, 9), 2.0)
    torch.testing.assert_close(smooth(flat, 1.5), flat)
    point = torch.zeros(1, 15, 15, 15)
    point[0, 7, 7, 7] = 1
    torch.testing.assert_close(smooth(point, 1.5).sum(), torch.tensor(1.0))


def test_nodes_span_the_image_from_border_to_border():
    velocity = torch.zeros(3, 2, 2, 2)
    velocity[0, 1] = 1e-3  # so small that the displacement is the velocity
    displacement = displacement_of(velocity, (5, 4, 3), 1.0)
    torch.testing.assert_close(displacement, upsample(velocity, (5, 4, 3)), atol=1e-6, rtol=0)
