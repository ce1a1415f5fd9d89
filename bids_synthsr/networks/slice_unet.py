"""The super-resolution network of a stack of slices: what to add to the cubic interpolation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bids_synthsr.networks.blocks import Decoder, Encoder, fold, start_at_zero, unfold

STRIDE = 2  # works on 2x2x2 voxels folded into channels
GROUP = 16  # channels that are normalised together
RESIDUAL = 0.1  # about what interpolation misses, intensities being 0 to 1


class SliceUNet(nn.Module):
    """Predict the residual between a head and the cubic interpolation of its thick slices.

    Parameters
    ----------
    channels
        Number of channels of the input, cubic interpolation first; see
        `bids_synthsr.imaging.slice_encoding`.
    features
        Number of features at the finest level (2 mm); half as many more at each coarser one.
    levels
        Number of resolutions; each but the first halves the voxels of the one before.
    """

    def __init__(self, channels: int, features: int = 64, levels: int = 3) -> None:
        super().__init__()
        widths = [features + level * features // 2 for level in range(levels)]
        self.multiple = STRIDE * 2 ** (levels - 1)  # what the input's sides must be multiples of
        self.encoder = Encoder(channels * STRIDE**3, widths, group_norm)
        self.decoder = Decoder(widths, group_norm, concatenates=True)
        self.head = start_at_zero(nn.Conv3d(features + channels * STRIDE**3, STRIDE**3, 1))
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def forward(self, channels: Tensor) -> Tensor:
        """Sharpen ``(B, C, I, J, K)``, slice axis last, into ``(B, 1, I, J, K)``."""
        folded = fold(channels, STRIDE)
        features = self.decoder(self.encoder(folded))
        residual = unfold(self.head(torch.cat([features, folded.to(features)], 1)), STRIDE)
        return channels[:, :1] + RESIDUAL * residual.float()


def group_norm(width: int) -> nn.GroupNorm:
    """Build a normalisation of groups of channels; smaller groups take longer on a CPU."""
    return nn.GroupNorm(max(width // GROUP, 1), width)
