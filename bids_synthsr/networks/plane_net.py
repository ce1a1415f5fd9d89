"""The network that sharpens planes of a scan after it has learned from the scan itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 2  # works on 2x2 pixels folded into channels
RESIDUAL = 0.1  # about what interpolation misses, intensities being 0 to 1


class PlaneNet(nn.Module):
    """Predict what cubic interpolation between slices misses, in planes across the slices.

    It is small, since it learns from one scan within minutes. At the start it adds nothing.

    Parameters
    ----------
    channels
        Number of channels of the input, cubic interpolation first; see
        `bids_synthsr.imaging.slice_encoding`.
    features
        Number of features of the inner layers.
    blocks
        Number of residual blocks of two convolutions.
    """

    def __init__(self, channels: int, features: int = 32, blocks: int = 6) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels * STRIDE**2, features, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(features, features, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(features, features, 3, padding=1),
            )
            for _ in range(blocks)
        )
        self.last = nn.Conv2d(features, STRIDE**2, 3, padding=1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, channels: Tensor) -> Tensor:
        """Sharpen planes ``(B, C, I, K)``, across the slices last, into ``(B, I, K)``."""
        height, width = channels.shape[2:]
        # an odd side is continued by its border
        padded = functional.pad(channels, (0, width % STRIDE, 0, height % STRIDE), 'replicate')
        features = self.first(functional.pixel_unshuffle(padded, STRIDE))
        for block in self.blocks:
            features = features + block(features)
        residual = functional.pixel_shuffle(self.last(features), STRIDE)[:, 0]
        return channels[:, 0] + RESIDUAL * residual[:, :height, :width]
