"""The U-Net against a plain statement of the published network in ordinary layers."""

import pytest
import torch
from torch.nn import functional

from bids_synthsr.networks.unet import UNet, Up


def plain(network: UNet, volume: torch.Tensor) -> torch.Tensor:
    """The published network step by step, with copies made and concatenated."""
    elu = functional.elu
    skips = [elu(network.first.conv1(elu(network.first.conv0(volume))))]
    for down in network.down:
        x = functional.max_pool3d(down.norm(skips[-1]), 2)
        skips.append(elu(down.convs.conv1(elu(down.convs.conv0(x)))))
    x = skips.pop()
    for up in network.up:
        copies = functional.interpolate(up.norm(x), scale_factor=2, mode='nearest')
        x = elu(up.convs.conv0(torch.cat([skips.pop(), copies], 1)))
        x = elu(up.convs.conv1(x))
    return network.head.linear(network.head.norm(x))


def randomize(network: UNet, lowest_scale: float) -> UNet:
    """Give normalisations statistics and scales as a training leaves them."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.weight, lowest_scale, 2)
            torch.nn.init.normal_(module.bias)
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return network


@pytest.fixture
def volume() -> torch.Tensor:
    return torch.rand(2, 2, 12, 8, 16, generator=torch.manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize('lowest_scale', [0.5, -1], ids=['positive scales', 'negative scales'])
def test_evaluation_equals_the_plain_network(volume, lowest_scale):
    network = randomize(UNet(2, 3, features=4, levels=3).double(), lowest_scale).eval()
    # float64 leaves rounding errors far below any reordering that is not exact
    torch.testing.assert_close(network(volume), plain(network, volume), rtol=1e-10, atol=1e-10)


def test_training_equals_the_plain_network(volume):
    network = UNet(2, 1, features=4, levels=3).double().train()
    network(volume).square().sum().backward()
    gradients = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    plain(network, volume).square().sum().backward()
    for gradient, parameter in zip(gradients, network.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_merge_needs_no_copies(dtype):
    torch.manual_seed(1)
    up = Up(6, 3).to(dtype)
    skip, below = torch.rand(1, 3, 8, 6, 10, dtype=dtype), torch.rand(1, 6, 4, 3, 5, dtype=dtype)
    copies = functional.interpolate(below, scale_factor=2, mode='nearest')
    expected = up.convs.conv0(torch.cat([skip, copies], 1))
    torch.testing.assert_close(up.merge(skip, below), expected)


@pytest.mark.parametrize(('channels', 'count'), [(1, 13_242_049), (2, 13_242_697)])
def test_published_size(channels, count):
    tensors = UNet(channels).state_dict()
    stored = [value.numel() for name, value in tensors.items() if 'num_batches' not in name]
    assert sum(stored) == count


def test_sides_must_be_multiples():
    assert UNet(features=2).multiple == 16
    assert UNet(features=2, levels=3)(torch.rand(1, 1, 4, 8, 12)).shape == (1, 1, 4, 8, 12)
