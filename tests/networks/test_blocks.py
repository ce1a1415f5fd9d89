"""Building blocks: normalisation, and folding of voxels into channels."""

import torch
from torch.nn import functional

from bids_synthsr.networks.blocks import VolumeNorm, fold, start_at_zero, thin, unfold


@torch.no_grad()
def test_normalisation_is_of_each_volume():
    x = torch.randn(3, 8, 4, 4, 4) * torch.arange(1, 4).view(3, 1, 1, 1, 1)
    norm = VolumeNorm(8)
    norm.weight.copy_(torch.arange(8))
    expected = functional.instance_norm(x, weight=norm.weight, bias=norm.bias)
    torch.testing.assert_close(norm(x), expected)


def test_unfold_undoes_fold():
    volume = torch.rand(2, 3, 4, 6, 8)
    folded = fold(volume, 2)
    assert folded.shape == (2, 24, 2, 3, 4)
    assert torch.equal(unfold(folded, 2), volume)
    block = folded[0, :8, 1, 2, 3].view(2, 2, 2)
    assert torch.equal(block, volume[0, 0, 2:4, 4:6, 6:8])


def test_thin_takes_the_voxels_that_fold_puts_into_one_channel():
    volume = torch.rand(1, 1, 4, 6, 8)
    folded = fold(volume, 2)
    for number, offset in enumerate(((0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1))):
        assert torch.equal(folded[:, number : number + 1], thin(volume, offset, 2))


def test_layer_that_starts_at_zero_predicts_zero():
    layer = start_at_zero(torch.nn.Conv3d(3, 2, 1))
    assert not layer(torch.rand(1, 3, 2, 2, 2)).any()
