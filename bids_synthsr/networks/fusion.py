"""Fusion of the features of any number of scans, and how their voxels steer the output."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional

from bids_synthsr.networks.blocks import PointwiseConv, fold, start_at_zero

FUSED_AT_ONCE = 250_000  # numbers of one scan, 1 MB
SURROUNDINGS = 8  # voxels along each axis that count as the surroundings of a voxel
NOISE = 0.02  # standard deviation of intensities in [0, 1] below which surroundings are flat
LARGEST_CONTRAST = 3.0  # standard deviations


class Fusion(nn.Module):
    """Average the features of the scans, voxel by voxel and channel by channel.

    Each scan gets a score for each channel, a learned function of its features and its
    reliability there. The softmax of the scores over the scans that are present weights their
    features. A single scan passes unchanged.

    Parameters
    ----------
    width
        Number of channels of the features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bid = PointwiseConv(width, width)  # scores; weight files hold it by this name
        self.trust = nn.Parameter(torch.zeros(width))

    def forward(self, features: Sequence[Tensor], reliability: Tensor, present: Tensor) -> Tensor:
        """Fuse the features of the N scans into ``(B, F, i, j, k)``.

        Parameters
        ----------
        features
            A tensor per scan, ``(B, F, i, j, k)``.
        reliability
            Reliability of each scan in each block, ``(B, N, i, j, k)``.
        present
            Which scans count, ``(B, N)`` bool.
        """
        if len(features) == 1:
            return features[0]
        if torch.is_grad_enabled():
            return self._fuse(features, reliability, present)
        fused = torch.empty_like(features[0])
        at_once = max(FUSED_AT_ONCE // features[0][0, :, 0].numel(), 1)
        for first in range(0, fused.shape[2], at_once):
            rows = slice(first, first + at_once)
            few = [scan[:, :, rows] for scan in features]
            fused[:, :, rows] = self._fuse(few, reliability[:, :, rows], present)
        return fused

    def _fuse(self, features: Sequence[Tensor], reliability: Tensor, present: Tensor) -> Tensor:
        """Fuse all voxels at once; many of them do not fit into the processor's fast memory."""
        trust = self.trust.view(1, -1, 1, 1, 1)
        lowest = torch.finfo(torch.float32).min  # exp() of it is exactly 0 beside any other score
        absent = torch.where(present, 0.0, lowest).view(*present.shape, 1, 1, 1, 1)
        scores = [
            torch.addcmul(self.bid(scan) + is_absent, trust, reliable[:, None])
            for scan, reliable, is_absent in zip(
                features, reliability.unbind(1), absent.unbind(1), strict=True
            )
        ]
        highest = reduce(torch.maximum, [score.detach() for score in scores])
        weights = [torch.exp(score - highest) for score in scores]  # a stack loses channels_last
        total = reduce(torch.add, weights)
        parts = [weight * scan for weight, scan in zip(weights, features, strict=True)]
        return (reduce(torch.add, parts) / total).to(features[0])


class Guide(nn.Module):
    """Predict gains by which the voxels of the scans steer the output.

    The output at a voxel is what the features of its block predict, plus for every scan a gain
    times the contrast of the scan there (`local_contrast`). Gains change from block to block. So
    an edge in a scan is an edge in T1w and segmentation where the features allow it. Local affine
    maps of an image, predicted at a lower resolution, as in Gharbi et al. 2017.

    Parameters
    ----------
    width
        Number of features of a block.
    outputs
        Number of output channels of the network.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.of_exam = start_at_zero(PointwiseConv(width, outputs))
        self.of_scan = start_at_zero(PointwiseConv(width, outputs))

    def forward(self, features: Tensor, of_scans: Sequence[Tensor], trust: Tensor) -> list[Tensor]:
        """Predict the gains of each scan, ``(B, C, i, j, k)``.

        Parameters
        ----------
        features
            Features of the exam, ``(B, F, i, j, k)``.
        of_scans
            Features of each of the N scans, ``(B, F, i, j, k)``.
        trust
            Reliability of the scans, ``(B, N, i, j, k)``: gains are weighted by a scan's share
            of it. 0 for an absent scan.
        """
        shares = (trust / trust.sum(1, keepdim=True).clamp(min=1e-6)).split(1, 1)
        common = self.of_exam(features)
        return [
            (common + self.of_scan(scan)) * share.to(common)
            for scan, share in zip(of_scans, shares, strict=True)
        ]


def local_contrast(image: Tensor, stride: int) -> Tensor:
    """Compute how far voxels stand out from their surroundings, in standard deviations.

    Parameters
    ----------
    image
        Intensities in [0, 1], ``(B, 1, I, J, K)``.
    stride
        Number of voxels of a block along each axis.

    Returns
    -------
    contrast
        ``(B, s^3, I / s, J / s, K / s)``, folded; between -`LARGEST_CONTRAST` and that.
    """
    folded = fold(image, stride)
    moments = functional.avg_pool3d(torch.cat([image, image.square()], 1), SURROUNDINGS,
                                    ceil_mode=True)  # fmt: skip
    near = functional.interpolate(moments, size=folded.shape[2:], mode='trilinear')
    mean, square = near.split(1, 1)
    sd = (square - mean.square()).clamp(min=0).sqrt()
    return ((folded - mean) / (sd + NOISE)).clamp(-LARGEST_CONTRAST, LARGEST_CONTRAST)
