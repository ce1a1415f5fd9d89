"""A Gaussian mixture whose prior is a segmentation."""

import math

import pytest
import torch

from bids_synthsr.networks.mixture import FIRST_GATE, LEAST_SD, Mixture

SIDE = 32
TISSUES = (0, 1, 2, 1)  # of four classes: the second and the fourth look alike
MEANS, SD = torch.tensor([0.1, 0.5, 0.9]), 0.03


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def head(generator):
    """Four classes in blocks, painted as three tissues: labels and image ``(1, i, j, k)``."""
    blocks = torch.randint(4, (4, 4, 4), generator=generator)
    labels = blocks.repeat_interleave(8, 0).repeat_interleave(8, 1).repeat_interleave(8, 2)
    noise = SD * torch.randn(labels.shape, generator=generator)
    return labels[None], (MEANS[torch.tensor(TISSUES)[labels]] + noise)[None]


def vague(labels, generator, sure=1.0, doubt=1.0):
    """Logits that favour the truth, but not everywhere: ``(1, 4, i, j, k)``."""
    logits = sure * torch.nn.functional.one_hot(labels, 4).movedim(-1, 1).float()
    return logits + doubt * torch.randn(logits.shape, generator=generator)


def mixture(gate=FIRST_GATE, steps=3):
    made = Mixture(2, TISSUES, steps)
    torch.nn.init.constant_(made.of_exam.bias, math.log(math.expm1(gate)))
    return made


def gates_of(mixture, count=1):
    features = torch.zeros(1, 2, SIDE, SIDE, SIDE)
    return mixture.gates(features, [features] * count, torch.ones(1, count, SIDE, SIDE, SIDE))


def posterior(mixture, logits, images, trust=None):
    """Logits with what the mixture adds."""
    trust = torch.ones_like(images) if trust is None else trust
    features = torch.zeros(1, 2, SIDE, SIDE, SIDE)
    gates = mixture.gates(features, [features] * images.shape[1], trust)
    fit = mixture.fit(logits, gates, images, trust)
    return mixture.posterior(logits, fit, gates, images)


def share_of_tissues(logits, labels):
    """Voxels that are given to the right tissue."""
    tissue_of = torch.tensor(TISSUES)
    return float((tissue_of[logits.argmax(1)] == tissue_of[labels]).float().mean())


def test_tissues_are_fitted_in_an_image_with_a_bias_field(generator):
    labels, image = head(generator)
    ramp = torch.linspace(0.8, 1.25, SIDE)[:, None, None]
    mixed = mixture()
    fit = mixed.fit(vague(labels, generator, 6), gates_of(mixed), (image * ramp)[None],
                    torch.ones(1, 1, SIDE, SIDE, SIDE))  # fmt: skip
    tissues = fit.scans[0][0]
    # the field is smooth over 30 mm, and known but for a factor
    torch.testing.assert_close(
        tissues.means / tissues.means[1], MEANS / MEANS[1], atol=0.05, rtol=0
    )
    expected = math.hypot(SD, LEAST_SD)
    assert tissues.sds[1] == pytest.approx(expected, abs=0.03)
    assert torch.corrcoef(torch.stack([tissues.gain.mean((1, 2)), ramp.flatten()]))[0, 1] > 0.95


@torch.no_grad()
def test_intensities_correct_a_vague_segmentation_of_any_contrast(generator):
    labels, image = head(generator)
    logits = vague(labels, generator)
    before = share_of_tissues(logits, labels)
    for contrast in (image, 1 - image, image.clamp(min=0).sqrt()):
        images = contrast[None].clamp(0, 1)
        assert share_of_tissues(posterior(mixture(), logits, images), labels) > before + 0.05
    thorough = mixture(1.0, 10)
    assert share_of_tissues(posterior(thorough, logits, image[None]), labels) > 0.98


@torch.no_grad()
def test_the_prior_alone_separates_what_looks_alike(generator):
    labels, image = head(generator)
    logits = vague(labels, generator)
    changed = posterior(mixture(), logits, image[None])
    torch.testing.assert_close(changed[:, 1] - changed[:, 3], logits[:, 1] - logits[:, 3])


@torch.no_grad()
def test_autocast_leaves_it_in_32_bits(generator):
    labels, image = head(generator)
    logits = vague(labels, generator)
    mixed = mixture()
    gates, trust = gates_of(mixed), torch.ones_like(image)[None]
    fit = mixed.fit(logits, gates, image[None], trust)
    exact = mixed.posterior(logits, fit, gates, image[None])
    with torch.autocast('cpu', torch.bfloat16):
        same = mixed.fit(logits, gates, image[None], trust)
        assert torch.equal(mixed.posterior(logits, same, gates, image[None]), exact)


@torch.no_grad()
def test_closed_gates_change_nothing(generator):
    labels, image = head(generator)
    logits = vague(labels, generator)
    torch.testing.assert_close(posterior(mixture(1e-6), logits, image[None]), logits)


@torch.no_grad()
def test_scans_join_in_any_order_and_an_absent_one_changes_nothing(generator):
    labels, image = head(generator)
    logits, other = vague(labels, generator), 1 - image
    both = posterior(mixture(), logits, torch.stack([image, other], 1))
    torch.testing.assert_close(both, posterior(mixture(), logits, torch.stack([other, image], 1)))
    absent = torch.stack([torch.ones_like(image), torch.zeros_like(image)], 1)
    one = posterior(mixture(), logits, torch.stack([image, other], 1), absent)
    torch.testing.assert_close(one, posterior(mixture(), logits, image[None]))


def test_flat_and_empty_scans_give_finite_numbers():
    logits = torch.zeros(1, 4, SIDE, SIDE, SIDE)
    logits[:, 0] = 50  # no voxel of the other tissues
    for value in (0.0, 0.5):
        flat = torch.full((1, 1, SIDE, SIDE, SIDE), value)
        assert posterior(mixture(), logits, flat).isfinite().all()
        assert posterior(mixture(), logits, flat, torch.zeros_like(flat)).isfinite().all()


def test_gradients_reach_prior_and_gates_but_not_the_fit(generator):
    labels, image = head(generator)
    logits = vague(labels, generator).requires_grad_()
    mixed = mixture()
    posterior(mixed, logits, image[None]).square().sum().backward()
    assert logits.grad.abs().sum() > 0
    assert all(x.grad is not None for x in (mixed.of_exam.bias, mixed.trust, mixed.of_scan.weight))
    assert mixed.of_exam.bias.grad.abs().min() > 0
