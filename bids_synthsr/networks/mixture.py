"""What the intensities of an exam say of its own tissues: a Gaussian mixture within a network.

A network that never saw a contrast knows where structures lie better than what they look like.
Here its segmentation is the prior of a mixture, as an atlas is in Ashburner & Friston 2005 and
Puonti et al. 2016: tissues are Gaussians, whose means and standard deviations in each scan follow
from the probabilities, these from the Gaussians, and so on. How much each voxel's likelihood
counts is learned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional

FIRST_GATE = (
    0.5  # what a likelihood counts before it was learned: 1 is all, as were voxels independent
)
LEAST_SD = 0.02  # of intensities in [0, 1]
LEAST_VOXELS = 10.0  # fewer of a tissue are no statistics
GAIN_SD_MM = 30.0  # smoothness of the bias field
GAIN_BLOCK, GAIN_BLOCK_MM = 8, 16.0  # voxels and mm along each axis, where one of 2 mm is given
GAIN_RANGE = 0.5, 2.0  # stronger fields are none
GAIN_PRIOR = 0.01  # mean square of intensities below which the field stays 1


@dataclass(frozen=True, eq=False)
class Gaussians:
    """The tissues in one scan.

    Parameters
    ----------
    means, sds
        ``(T,)``.
    gain
        ``(i, j, k)``: the bias field.
    """

    means: Tensor
    sds: Tensor
    gain: Tensor


class Mixture(nn.Module):
    """Add to a segmentation what the intensities of the scans say.

    Parameters
    ----------
    width
        Features of a block of voxels.
    tissue_of
        Number of the tissue of each of the L classes, from 0.
    steps
        Of expectation and maximisation.
    """

    def __init__(self, width: int, tissue_of: Sequence[int], steps: int) -> None:
        super().__init__()
        count = max(tissue_of) + 1
        self.steps = steps
        self.members: Tensor  # (T, L): 1 where a class is of a tissue
        members = functional.one_hot(torch.tensor(tissue_of), count).T.float()
        self.register_buffer('members', members, persistent=False)
        self.of_exam = nn.Conv3d(width, count, 1)
        self.of_scan = nn.Conv3d(width, count, 1, bias=False)
        self.trust = nn.Parameter(torch.zeros(count))
        nn.init.zeros_(self.of_exam.weight)
        nn.init.zeros_(self.of_scan.weight)
        nn.init.constant_(self.of_exam.bias, math.log(math.expm1(FIRST_GATE)))  # type: ignore[arg-type]

    def gates(self, features: Tensor, of_scans: Sequence[Tensor], trust: Tensor) -> list[Tensor]:
        """Predict what the likelihoods of each scan count in every block, ``(B, i, j, k, T)``.

        Parameters
        ----------
        features
            ``(B, F, i, j, k)`` of the exam.
        of_scans
            The same of each of the N scans.
        trust
            ``(B, N, i, j, k)`` reliability; 0 everywhere for a scan that is not there.
        """
        common = self.of_exam(features)
        return [
            functional.softplus(
                (common + self.of_scan(own)).movedim(1, -1).float()
                + self.trust * reliable[..., None]
            )
            * (reliable > 0).any((1, 2, 3), keepdim=True)[..., None]
            for own, reliable in zip(of_scans, trust.unbind(1), strict=True)
        ]

    @torch.no_grad()
    def fit(
        self, logits: Tensor, gates: Sequence[Tensor], images: Tensor, trust: Tensor
    ) -> list[list[Gaussians]]:
        """Find the tissues of every exam in every of its scans, by expectation and maximisation.

        Parameters
        ----------
        logits
            ``(B, L, i, j, k)``, one voxel of a block.
        gates
            Of N scans, ``(B, i, j, k, T)``.
        images
            ``(B, N, i, j, k)`` in [0, 1], the same voxels.
        trust
            ``(B, N, i, j, k)``: how much they count.
        """
        with torch.autocast(logits.device.type, enabled=False):  # 16 bits ruin variances
            return self._fit(_by_voxel(logits), gates, images.float(), trust.float())

    def _fit(
        self, prior: Tensor, gates: Sequence[Tensor], images: Tensor, trust: Tensor
    ) -> list[list[Gaussians]]:
        """Do so from logits ``(B, i, j, k, L)``.

        Classes of one tissue get the same evidence: their probabilities need be summed but once.
        """
        of_tissues = torch.stack(
            [prior[..., own.nonzero()[:, 0]].logsumexp(-1) for own in self.members], -1
        )  # (B, i, j, k, T)
        judged = of_tissues
        found: list[list[Gaussians]] = []
        for _ in range(self.steps):
            likely = judged.softmax(-1)
            found = [
                [
                    _fit_one(tissues, image, weight)
                    for image, weight in zip(exam, weights, strict=True)
                ]
                for tissues, exam, weights in zip(likely, images, trust, strict=True)
            ]
            judged = of_tissues + self._of_tissues(found, gates, images)
        return found

    def judge(
        self,
        logits: Tensor,
        found: Sequence[Sequence[Gaussians]],
        gates: Sequence[Tensor],
        images: Tensor,
    ) -> Tensor:
        """Add the log-likelihoods of all classes to logits ``(B, L, i, j, k)``, float32.

        Parameters
        ----------
        logits, gates, images
            See `fit`.
        found
            By exam and scan.
        """
        with torch.autocast(images.device.type, enabled=False):
            evidence = self._of_tissues(found, gates, images.float())
            prior = _by_voxel(logits)
            judged = torch.addmm(prior.flatten(0, 3), evidence.flatten(0, 3), self.members)
            return judged.view(prior.shape).movedim(-1, 1)

    def _of_tissues(
        self, found: Sequence[Sequence[Gaussians]], gates: Sequence[Tensor], images: Tensor
    ) -> Tensor:
        """Weigh the log-likelihoods of the tissues, ``(B, i, j, k, T)``."""
        exams = [
            reduce(
                torch.add,
                [
                    gate[number] * _log_likelihood(gaussians, image)
                    for gate, gaussians, image in zip(gates, scans, exam, strict=True)
                ],
            )
            for number, (scans, exam) in enumerate(zip(found, images, strict=True))
        ]
        return torch.stack(exams)


def _by_voxel(logits: Tensor) -> Tensor:
    """``(B, L, i, j, k)`` of any precision to ``(B, i, j, k, L)`` float32."""
    return logits.movedim(1, -1).float()


def _fit_one(likely: Tensor, image: Tensor, weight: Tensor) -> Gaussians:
    """Fit Gaussians to an image ``(i, j, k)`` by probabilities ``(i, j, k, T)``, and its gain."""
    flat, gain = likely.flatten(0, 2), torch.ones_like(image)
    means, sds = _moments(flat, image.flatten(), weight.flatten())
    expected = (flat @ means).view(image.shape)
    gain = _smooth_gain(image, expected, weight)
    means, sds = _moments(flat, (image / gain).flatten(), weight.flatten())
    return Gaussians(means, sds, gain)


def _moments(likely: Tensor, values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and sd of values ``(V,)`` by probabilities ``(V, T)``; those of all where few are."""
    powers = torch.stack([torch.ones_like(values), values, values.square()], 1)
    sums = likely.T @ (powers * weight[:, None])  # (T, 3)
    every = sums.sum(0) / sums[:, 0].sum().clamp(min=1e-6) * LEAST_VOXELS
    count, first, second = (sums + every).unbind(1)
    count = count.clamp(min=1e-6)  # 0 of a scan that is not there
    means = first / count
    variances = (second / count - means.square()).clamp(min=0)
    return means, (variances + LEAST_SD**2).sqrt()


def _smooth_gain(image: Tensor, expected: Tensor, weight: Tensor) -> Tensor:
    """Estimate the smooth gain that turns what is expected into an image, least squares.

    All ``(i, j, k)``.
    """
    products = torch.stack([image * expected, expected.square()]) * weight
    blocks = functional.avg_pool3d(products[None], GAIN_BLOCK, ceil_mode=True)[0]  # (2, a, b, c)
    trusted = functional.avg_pool3d(weight[None, None], GAIN_BLOCK, ceil_mode=True)[0]
    sums = torch.cat([blocks, trusted])
    for axis in (1, 2, 3):
        window = _gaussian(sums.shape[axis]).to(sums)
        sums = (sums.movedim(axis, -1) @ window).movedim(-1, axis)
    prior = GAIN_PRIOR * sums[2] + 1e-6
    gain = ((sums[0] + prior) / (sums[1] + prior)).clamp(*GAIN_RANGE)
    return functional.interpolate(gain[None, None], size=image.shape, mode='trilinear')[0, 0]


def _gaussian(size: int) -> Tensor:
    """Weights of neighbours along an axis of blocks, ``(size, size)``."""
    at = torch.arange(size) * (GAIN_BLOCK_MM / GAIN_SD_MM)
    return torch.exp(-(at[:, None] - at).square() / 2)


def _log_likelihood(gaussians: Gaussians, image: Tensor) -> Tensor:
    """Log-likelihood of every voxel by tissue, the best one 0: ``(i, j, k)`` to ``(..., T)``."""
    means, sds = gaussians.means, gaussians.sds
    value = image / gaussians.gain
    powers = torch.stack([value.square(), value, torch.ones_like(value)], -1)
    weights = torch.stack(
        [-0.5 / sds.square(), means / sds.square(), -0.5 * (means / sds).square() - sds.log()]
    )  # (3, T)
    logs = powers @ weights
    return logs - logs.amax(-1, keepdim=True)
