"""The laws of the network that takes slices, and of its input."""

import numpy as np
import torch

from bids_synthsr.imaging.resampling import spline_matrix
from bids_synthsr.imaging.slice_encoding import CHANNELS, encode_slices
from bids_synthsr.networks.slice_unet import SliceUNet


def test_encoded_slices_hold_interpolation_neighbours_and_facts():
    slices = torch.rand(3, 4, 7)
    index = np.array([2.0, 2.5, 3.0])
    channels = encode_slices(slices, index, 5.0, 3.0)
    assert channels.shape == (CHANNELS, 3, 4, 3)
    cubic = slices @ torch.from_numpy(spline_matrix(7, index)).T
    torch.testing.assert_close(channels[0], cubic)
    torch.testing.assert_close(channels[0, ..., 0], slices[..., 2])  # on a slice
    below, above = channels[3, ..., 1] / 2 + cubic[..., 1], channels[4, ..., 1] / 2 + cubic[..., 1]
    torch.testing.assert_close(below, slices[..., 2])
    torch.testing.assert_close(above, slices[..., 3])
    torch.testing.assert_close(channels[-3, 0, 0], torch.tensor([-0.5, 0.0, -0.5]))
    torch.testing.assert_close(channels[-2:, 0, 0, 0], torch.tensor([0.0, -0.4]))


def test_encoded_slices_are_mirrored_beyond_the_ends():
    slices = torch.rand(2, 2, 5)
    channels = encode_slices(slices, np.array([-1.0, 0.0, 1.0, 5.0]), 4.0, 4.0)
    torch.testing.assert_close(channels[0, ..., 0], slices[..., 1])
    torch.testing.assert_close(channels[0, ..., 3], slices[..., 3])
    single = encode_slices(torch.full((2, 2, 1), 0.7), np.array([-0.4, 0.2]), 4.0, 4.0)
    torch.testing.assert_close(single[0], torch.full((2, 2, 2), 0.7))


@torch.no_grad()
def test_untrained_slice_network_predicts_cubic_interpolation():
    channels = torch.rand(1, CHANNELS, 16, 16, 16)
    network = SliceUNet(CHANNELS, features=8, levels=2)
    assert torch.equal(network(channels), channels[:, :1])
    torch.nn.init.normal_(network.head.weight)
    assert not torch.allclose(network(channels), channels[:, :1])
