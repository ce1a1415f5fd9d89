"""Losses and metrics against closed forms and independent implementations."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from bids_synthsr.networks.exam_unet import Prediction, split_output
from bids_synthsr.training.losses import (
    Likelihood,
    cross_entropy,
    laplace,
    loss_terms,
    soft_dice_loss,
    ssim_in_planes,
    total_loss,
)
from bids_synthsr.training.metrics import dice, mean_over_structures, psnr_db, surface_distance
from bids_synthsr.training.recipe import LossRecipe
from bids_synthsr.training.samples import Batch

SHAPE = (14, 16, 18)
EVERYTHING = LossRecipe(l1=1, l2=2, laplace=3, ssim=4, dice=5, cross_entropy=6)


def volumes(count, seed=0):
    return torch.rand(count, 1, 1, *SHAPE, generator=torch.Generator().manual_seed(seed))


def batch_of(target, weight=None, segmentation=None):
    weight = torch.ones_like(target) if weight is None else weight
    return Batch((), target, target, weight, [], segmentation=segmentation)


def test_absolute_and_squared_error_are_weighted_means():
    image, target, weight = volumes(3)
    terms = loss_terms(Prediction(image), batch_of(target, weight), LossRecipe(l1=1, l2=1))
    error = (image - target).numpy()
    assert float(terms['l1']) == pytest.approx(np.average(abs(error), weights=weight.numpy()))
    assert float(terms['l2']) == pytest.approx(np.average(error**2, weights=weight.numpy()))


def test_nothing_counts_where_the_weight_is_0():
    target, _ = volumes(2)
    weight = torch.zeros_like(target)
    weight[..., :9] = 1
    spoilt = target.clone()
    spoilt[..., 9:] += 10
    terms = loss_terms(Prediction(spoilt), batch_of(target, weight), LossRecipe(l1=1))
    assert float(terms['l1']) == 0


def test_laplace_is_the_likelihood_and_least_at_the_error():
    error = torch.tensor(0.2)
    scales = torch.linspace(0.05, 1, 96)
    values = laplace(error, scales.log(), torch.tensor(0.0))
    expected = -torch.distributions.Laplace(0, scales).log_prob(error)
    torch.testing.assert_close(values, expected)
    assert float(scales[values.argmin()]) == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(
    ('evenness', 'expected'), [(0, [20, -4]), (0.5, [4.4721, -2]), (1, [1, -1])]
)
def test_evenness_lets_sure_voxels_rule_less(evenness, expected):
    errors = torch.tensor([0.5, -0.5], requires_grad=True)
    log_scale = torch.tensor([0.05, 0.25]).log().requires_grad_()
    laplace(errors, log_scale, torch.tensor(0.0), evenness).sum().backward()
    torch.testing.assert_close(errors.grad, torch.tensor(expected).float(), atol=1e-3, rtol=0)
    sure = torch.tensor(0.5).log().requires_grad_()
    laplace(torch.tensor(0.5), sure, torch.tensor(0.0), evenness).backward()
    assert float(sure.grad) == pytest.approx(0, abs=1e-6)  # the best scale stays the error


def reference_ssim(x, y):
    """Wang et al. 2004, slice by slice, with SciPy's Gaussian cut at the same radius."""
    found = []
    for axes in ((0, 1), (0, 2), (1, 2)):
        sigma = [1.5 if axis in axes else 0 for axis in range(3)]
        inside = tuple(slice(5, -5) if axis in axes else slice(None) for axis in range(3))

        def smooth(image, sigma=sigma, inside=inside):
            return gaussian_filter(image, sigma, radius=[5 if s else 0 for s in sigma])[inside]

        mx, my = smooth(x), smooth(y)
        vx, vy, cov = (smooth(a * b) - ma * mb for a, b, ma, mb in
                       ((x, x, mx, mx), (y, y, my, my), (x, y, mx, my)))  # fmt: skip
        c1, c2 = 0.01**2, 0.03**2
        score = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
        found.append(score.mean())
    return np.mean(found)


def test_ssim_looks_at_all_three_planes():
    image, target = volumes(2)
    expected = reference_ssim(image[0, 0].double().numpy(), target[0, 0].double().numpy())
    assert float(ssim_in_planes(image, target)) == pytest.approx(expected, abs=1e-5)  # float32
    assert float(ssim_in_planes(image, image)) == pytest.approx(1)


def test_ssim_of_each_plane_counts():
    target = volumes(1)[0]
    for axis in (2, 3, 4):
        jumps = torch.ones(target.shape[axis])
        jumps[::2] = 0.5
        view = [1] * 5
        view[axis] = -1
        assert float(ssim_in_planes(target * jumps.view(view), target)) < 0.9


def test_dice_of_truth_is_perfect_and_absent_classes_do_not_count():
    truth = torch.randint(0, 3, (2, *SHAPE))
    logits = 50 * torch.nn.functional.one_hot(truth, 5).movedim(-1, 1).float()
    assert float(soft_dice_loss(Likelihood(logits, truth))) == pytest.approx(0, abs=1e-6)
    wrong = logits[:, [1, 2, 0, 3, 4]]
    assert float(soft_dice_loss(Likelihood(wrong, truth))) == pytest.approx(1, abs=1e-6)


def test_dice_is_that_of_its_formula():
    truth = torch.randint(0, 3, (2, *SHAPE))
    logits = torch.randn(2, 3, *SHAPE)
    p, g = logits.softmax(1), torch.nn.functional.one_hot(truth, 3).movedim(-1, 1)
    axes = (0, 2, 3, 4)
    score = 2 * (p * g).sum(axes) / (p.square().sum(axes) + g.square().sum(axes))
    torch.testing.assert_close(soft_dice_loss(Likelihood(logits, truth)), 1 - score.mean())


def test_balance_makes_classes_count_alike():
    truth = torch.zeros(1, 1, 1, 100, dtype=torch.int64)
    truth[..., 0] = 1  # one voxel of a rare class
    logits = torch.zeros(1, 2, 1, 1, 100)
    logits[:, 0] = 2.0  # always says class 0
    likelihood = Likelihood(logits, truth)
    common, rare = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    voxelwise = (99 * common + rare) / 100
    assert float(cross_entropy(likelihood, 0.0)) == pytest.approx(voxelwise, rel=1e-5)
    assert float(cross_entropy(likelihood, 1.0)) == pytest.approx((common + rare) / 2, rel=1e-5)


def test_total_adds_all_terms_and_every_one_has_a_gradient():
    target = volumes(1)[0]
    output = torch.rand(1, 5, *SHAPE, requires_grad=True)
    truth = torch.randint(0, 3, (1, *SHAPE))
    batch = batch_of(target, segmentation=truth)
    terms = loss_terms(split_output(output, True, 3), batch, EVERYTHING)
    assert list(terms) == ['l1', 'l2', 'laplace', 'ssim', 'dice', 'cross_entropy']
    total = total_loss(terms, EVERYTHING)
    weights = (1, 2, 3, 4, 5, 6)
    expected = sum(w * t.item() for w, t in zip(weights, terms.values(), strict=True))
    assert total.item() == pytest.approx(expected, rel=1e-6)
    for term in terms.values():
        (gradient,) = torch.autograd.grad(term, output, retain_graph=True)
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


def test_scale_has_a_floor():
    output = torch.full((1, 2, 2, 2, 2), -1e4)
    log_scale = split_output(output, True, 0).log_scale
    assert log_scale is not None
    torch.testing.assert_close(log_scale.exp(), torch.full((1, 1, 2, 2, 2), 1e-3))


def test_missing_outputs_are_reported():
    target = volumes(1)[0]
    with pytest.raises(ValueError, match='laplace needs a network'):
        loss_terms(Prediction(target), batch_of(target), LossRecipe(laplace=1))
    with pytest.raises(ValueError, match='need a network and samples with segmentation'):
        loss_terms(Prediction(target), batch_of(target), LossRecipe(dice=1))


def test_decibels():
    target = torch.zeros(1, 1, 2, 2, 2)
    image = target + 0.1
    image[..., 0] = 9
    counts = torch.ones_like(target, dtype=torch.bool)
    counts[..., 0] = False
    assert psnr_db(image, target, counts) == pytest.approx(20)
    assert math.isnan(psnr_db(image, target, ~torch.ones_like(counts)))


def test_dice_and_surface_distance_of_shifted_cubes():
    truth, found = np.zeros((2, 12, 12, 12), bool)
    truth[2:8, 2:8, 2:8] = True
    found[4:10, 2:8, 2:8] = True
    assert dice(found, truth) == pytest.approx(2 / 3)
    assert surface_distance(truth, truth) == 0
    plane_truth, plane = np.zeros((2, 12, 12, 12), bool)
    plane_truth[3], plane[5] = True, True
    assert surface_distance(plane, plane_truth) == 2
    assert math.isnan(surface_distance(np.zeros_like(truth), truth))


def test_structures_count_alike_and_background_not():
    truth = np.zeros((1, 8, 8, 8), int)
    truth[0, 1], truth[0, 4:7] = 1, 2
    found = truth.copy()
    found[0, 1] = 0
    assert mean_over_structures(found, truth, dice) == pytest.approx(0.5)
