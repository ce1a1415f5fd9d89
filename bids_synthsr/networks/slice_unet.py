"""The super-resolution network of a stack of slices: what to add to the cubic interpolation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bids_synthsr.networks.exam_unet import Decoder, Encoder, fold, reach, silent, unfold

STRIDE = 2  # works on 2x2x2 voxels folded into channels


class SliceUNet(nn.Module):
    """Predict the residual between a head and the cubic interpolation of its thick slices.

    Parameters
    ----------
    channels
        Of the input, cubic interpolation first: see `bids_synthsr.imaging.slices`.
    features
        At the finest level (2 mm); they double with every level.
    levels
        Resolutions; each but the first halves the voxels of the one before.
    """

    def __init__(self, channels: int, features: int = 64, levels: int = 3) -> None:
        super().__init__()
        widths = [features * 2**level for level in range(levels)]
        self.multiple = STRIDE * 2 ** (levels - 1)  # what the input's sides must be multiples of
        self.margin = STRIDE * reach(levels)  # voxels around a tile on which its output depends
        self.encoder = Encoder(channels * STRIDE**3, widths)
        self.decoder = Decoder(widths)
        self.head = silent(nn.Conv3d(features, STRIDE**3, 1))
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def forward(self, channels: Tensor) -> Tensor:
        """Sharpen ``(B, C, I, J, K)``, slice axis last, into ``(B, 1, I, J, K)``."""
        folded = fold(channels, STRIDE)
        residual = unfold(self.head(self.decoder(self.encoder(folded))), STRIDE)
        return channels[:, :1] + residual.float()
