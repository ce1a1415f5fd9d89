"""Shapes: invertible, without folds, and equal to the published steps."""

import pytest
import torch

from bids_synthsr.imaging.displacements import exponential, pull
from bids_synthsr.synthesis import deformation
from bids_synthsr.synthesis.deformation import (
    NODE_SPACING,
    affine,
    draw_shape,
    head_positions,
    rotation,
    velocity,
    warp_labels,
)
from bids_synthsr.synthesis.priors import ShapePrior

CPU = torch.device('cpu')
SHAPE = (48, 40, 56)


def shape_draw(seed, **changes):
    return draw_shape(ShapePrior(**changes), torch.Generator().manual_seed(seed))


def jacobian(positions):
    """Determinants of the forward differences of ``positions (3, i, j, k)``."""
    inner = [slice(0, -1)] * 3
    columns = []
    for axis in range(3):
        ahead = [*inner]
        ahead[axis] = slice(1, None)
        columns.append(positions[:, *ahead] - positions[:, *inner])
    return torch.linalg.det(torch.stack(columns, -1).movedim(0, -2))


@pytest.mark.parametrize('seed', range(3))
def test_opposite_velocities_are_inverse(seed):
    field = velocity(shape_draw(seed), (96, 96, 96), CPU) / NODE_SPACING
    there, back = exponential(field), exponential(-field)
    both = there + pull(back, there)
    inner = (slice(None), *[slice(3, -3)] * 3)  # nearer the border the field leaves its grid
    error = (both[inner] * NODE_SPACING).abs()  # mm, of displacements up to 8
    # where the velocity has a kink, at its own nodes, linear interpolation errs most
    assert error.mean() < 0.05 and error.max() < 0.9
    assert there.abs().max() * NODE_SPACING > 7


def test_finer_nodes_invert_better(monkeypatch):
    def error(spacing):
        monkeypatch.setattr(deformation, 'NODE_SPACING', spacing)
        field = velocity(shape_draw(1), (97, 97, 97), CPU) / spacing
        there, back = exponential(field), exponential(-field)
        return spacing * (there + pull(back, there)).abs().mean()

    assert error(2.0) < 0.5 * error(4.0)


@pytest.mark.parametrize('seed', range(4))
def test_default_strength_folds_nothing(seed):
    draw = shape_draw(seed, flip_probability=0.0)
    assert jacobian(head_positions(draw, (60, 60, 60), (64, 72, 64), CPU)).min() > 0.2


def test_without_velocity_the_map_is_affine():
    draw = shape_draw(1, velocity_sd=0.0, flip_probability=0.0)
    positions = head_positions(draw, (50.0, 51.0, 52.0), SHAPE, CPU).double()
    linear = affine(draw.rotation_deg, draw.scaling, draw.shearing)
    torch.testing.assert_close(
        jacobian(positions).mean(), torch.linalg.det(linear), rtol=1e-3, atol=0
    )
    step = positions[:, 30, 20, 20] - positions[:, 20, 20, 20]
    torch.testing.assert_close(step, 10 * linear[:, 0], rtol=0, atol=1e-4)


def test_nothing_drawn_is_the_identity():
    still = {'rotation_deg': 0, 'scaling': (1, 1), 'shearing': 0, 'velocity_sd': 0}
    draw = shape_draw(0, **still, flip_probability=0, crop_jitter=0)
    positions = head_positions(draw, (10.0, 9.5, 12.0), (7, 8, 9), CPU)
    torch.testing.assert_close(positions[:, 0, 0, 0], torch.tensor([7.0, 6.0, 8.0]))
    torch.testing.assert_close(positions[:, -1, -1, -1], torch.tensor([13.0, 13.0, 16.0]))


def test_flip_mirrors_the_crop():
    plain = shape_draw(3, flip_probability=0.0)
    mirrored = shape_draw(3, flip_probability=1.0)
    center = (30.0, 30.0, 30.0)
    torch.testing.assert_close(
        head_positions(mirrored, center, SHAPE, CPU),
        head_positions(plain, center, SHAPE, CPU).flip(1),
        rtol=0,
        atol=1e-4,
    )


def test_equal_seeds_give_equal_draws():
    assert shape_draw(5) == shape_draw(5) != shape_draw(6)


def test_scaling_is_drawn_in_the_log_domain():
    drawn = [shape_draw(seed, scaling=(0.5, 2.0)).scaling for seed in range(200)]
    # uniform on [log .5, log 2]: mean 0, and 3 standard errors of it are 0.05
    assert abs(torch.tensor(drawn).log().mean()) < 0.05


def test_labels_are_nearest_and_zero_outside():
    labels = torch.arange(1, 61, dtype=torch.int16).view(3, 4, 5)
    inside = torch.tensor([[0.4, 1.6], [2.4, 3.2], [3.6, 0.1]])[..., None, None]
    assert warp_labels(labels, inside).flatten().tolist() == [labels[0, 2, 4], labels[2, 3, 0]]
    outside = torch.tensor([[-0.6, 2.6], [1.0, 1.0], [1.0, 1.0]])[..., None, None]
    assert not warp_labels(labels, outside).any()


def test_rotation_is_a_rotation():
    turn = rotation((10.0, -20.0, 30.0))
    torch.testing.assert_close(turn @ turn.T, torch.eye(3, dtype=torch.float64))
    assert torch.linalg.det(turn) > 0
