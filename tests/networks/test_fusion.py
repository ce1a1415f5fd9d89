"""Fusion of scans, and the contrast by which their voxels steer the output."""

import numpy as np
import pytest
import torch

from bids_synthsr.networks.fusion import NOISE, Fusion, local_contrast


def test_contrast_is_of_the_surroundings():
    image = torch.rand(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0))
    ramp = torch.linspace(0, 4, 32)[:, None, None]  # bright fat at one end
    first, second = (local_contrast(x, 2).flatten() for x in (image, 0.2 * image + 0.1))
    sd = float(image.std())
    slope = (sd + NOISE) / (sd + NOISE / 0.2)  # a flatter image: its noise counts for more
    assert np.polyfit(first, second, 1) == pytest.approx([slope, 0], abs=0.01)
    assert np.corrcoef(first, second)[0, 1] > 0.999
    flat = local_contrast(torch.full_like(image, 0.7), 2)
    assert flat.abs().max() < 0.05
    assert local_contrast(image + ramp, 2).abs().max() <= 3


@torch.no_grad()
def test_equal_scans_are_fused_to_what_each_is():
    features = torch.rand(1, 4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    reliability, present = torch.ones(1, 3, 3, 3, 3), torch.ones(1, 3, dtype=torch.bool)
    torch.testing.assert_close(Fusion(4)([features] * 3, reliability, present), features)
