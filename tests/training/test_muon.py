"""Muon: orthogonalised steps of convolutions."""

import pytest
import torch
from torch import nn

from bids_synthsr.training.muon import RMS, Muon, is_kernel, orthogonalised


@pytest.mark.parametrize('shape', [(8, 24), (24, 8), (16, 16)])
def test_all_directions_become_about_as_long(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    before, after = (torch.linalg.svdvals(x) for x in (matrix, orthogonalised(matrix)))
    assert after.min() > 0.6 and after.max() < 1.3  # where the polynomial takes them
    assert after.max() / after.min() < before.max() / before.min()
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    product = left.T @ orthogonalised(matrix) @ right.T  # keeps the directions
    torch.testing.assert_close(product, torch.diag(product.diag()), atol=1e-4, rtol=0)


def test_scale_of_the_gradient_changes_nothing():
    matrix = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(orthogonalised(matrix), orthogonalised(1e3 * matrix))
    assert orthogonalised(torch.zeros(3, 4)).isfinite().all()


def test_kernels_step_as_far_as_adamw_does():
    kernel = nn.Parameter(torch.zeros(8, 4, 3, 3, 3))
    kernel.grad = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(0))
    Muon([kernel], lr=1.0).step()
    assert kernel.detach().square().mean().sqrt() == pytest.approx(RMS, rel=0.2)


def test_everything_else_steps_as_adamw_does():
    layers = [nn.Conv3d(3, 5, 1), nn.Conv3d(3, 5, 1)]
    layers[1].load_state_dict(layers[0].state_dict())
    settings = {'lr': 1e-2, 'weight_decay': 0.1}
    for layer, kind in zip(layers, (Muon, torch.optim.AdamW), strict=True):
        optimizer = kind(layer.parameters(), **settings)
        generator = torch.Generator().manual_seed(0)
        for _ in range(5):
            optimizer.zero_grad()
            layer(torch.randn(1, 3, 4, 4, 4, generator=generator)).square().mean().backward()
            optimizer.step()
    for own, other in zip(*(layer.parameters() for layer in layers), strict=True):
        assert not is_kernel(own)
        torch.testing.assert_close(own, other)


def test_it_learns_and_parameters_without_gradient_stay():
    torch.manual_seed(0)
    layer, unused = nn.Conv3d(1, 4, 3, padding=1), nn.Parameter(torch.ones(2))
    x = torch.rand(1, 1, 6, 6, 6)
    target = nn.Conv3d(1, 4, 3, padding=1)(x).detach()
    optimizer = Muon([*layer.parameters(), unused], lr=0.02)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (layer(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.05 * losses[0]
    assert torch.equal(unused.detach(), torch.ones(2))
