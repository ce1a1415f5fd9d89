"""A Gaussian mixture within a network, fitted to the intensities of the exam itself.

A network that was not trained on a contrast knows where structures lie better than what they look
like. Here its segmentation is the prior of a mixture, as an atlas is in Ashburner & Friston 2005
and Puonti et al. 2016: tissues are Gaussians, whose means and standard deviations in each scan
follow from the probabilities, these from the Gaussians, and so on. Learned gates weight the
likelihood of each voxel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional

from bids_synthsr.networks.blocks import PointwiseConv

# weight of a likelihood before training: 1 would be right if voxels were independent
FIRST_GATE = 0.5
LEAST_SD = 0.02  # of intensities in [0, 1]
LEAST_MM3 = 80.0  # less of a tissue is no statistics
GAIN_SD_MM = 30.0  # smoothness of the bias field
GAIN_BLOCK_MM = 16.0  # along each axis, where its least squares are summed
GAIN_RANGE = 0.5, 2.0  # stronger fields are none
GAIN_PRIOR = 0.01  # mean square of intensities below which the field stays 1


@dataclass(frozen=True, eq=False)
class Gaussians:
    """The intensities of the tissues in one scan.

    Parameters
    ----------
    means, sds
        Mean and standard deviation of each tissue, ``(T,)``.
    gain
        Bias field of the scan, ``(i, j, k)``.
    """

    means: Tensor
    sds: Tensor
    gain: Tensor


@dataclass(frozen=True, eq=False)
class MixtureFit:
    """The tissues that a mixture was fitted to.

    Parameters
    ----------
    scans
        Tissues in every scan of every exam of a batch, by exam and scan.
    """

    scans: Sequence[Sequence[Gaussians]]

    def select_rows(self, rows: slice) -> MixtureFit:
        """Return the fit for some rows of the volume."""
        return MixtureFit(
            [[replace(scan, gain=scan.gain[rows]) for scan in exam] for exam in self.scans]
        )

    def enlarge(self, shape: Sequence[int]) -> MixtureFit:
        """Return the fit for a finer grid of the same volume, of that many voxels."""
        return MixtureFit(
            [[replace(scan, gain=_enlarge(scan.gain, shape)) for scan in exam]
             for exam in self.scans]
        )  # fmt: skip


class Mixture(nn.Module):
    """Compute the posterior of a segmentation from the intensities of the scans.

    Parameters
    ----------
    width
        Number of features of a block of voxels.
    tissue_of
        Number of the tissue of each of the L classes, from 0.
    steps
        Number of steps of expectation and maximisation.
    """

    def __init__(self, width: int, tissue_of: Sequence[int], steps: int) -> None:
        super().__init__()
        count = max(tissue_of) + 1
        self.steps = steps
        self.members: Tensor  # (T, L): 1 where a class is of a tissue
        # not one_hot: where only shapes are asked for, it loads a compiler, which takes seconds
        members = [[float(tissue == at) for tissue in tissue_of] for at in range(count)]
        self.register_buffer('members', torch.tensor(members), persistent=False)
        self.of_exam = PointwiseConv(width, count)
        self.of_scan = PointwiseConv(width, count, bias=False)
        self.trust = nn.Parameter(torch.zeros(count))
        nn.init.zeros_(self.of_exam.weight)
        nn.init.zeros_(self.of_scan.weight)
        nn.init.constant_(self.of_exam.bias, math.log(math.expm1(FIRST_GATE)))  # type: ignore[arg-type]

    def gates(self, features: Tensor, of_scans: Sequence[Tensor], trust: Tensor) -> list[Tensor]:
        """Predict the weights of the likelihoods of each scan, ``(B, T, i, j, k)``.

        Parameters
        ----------
        features
            Features of the exam, ``(B, F, i, j, k)``.
        of_scans
            Features of each of the N scans, ``(B, F, i, j, k)``.
        trust
            Reliability of the scans, ``(B, N, i, j, k)``; 0 everywhere for an absent scan.
        """
        common = self.of_exam(features)
        gates, by_trust = [], self.trust.view(1, -1, 1, 1, 1)
        for scan, reliable in zip(of_scans, trust.unbind(1), strict=True):
            scores = (common + self.of_scan(scan)).to(
                torch.float32, memory_format=torch.contiguous_format
            )
            gate = functional.softplus(torch.addcmul(scores, by_trust, reliable[:, None]))
            is_present = (reliable > 0).any((1, 2, 3), keepdim=True)
            gates.append(gate * is_present[:, None])
        return gates

    @torch.no_grad()
    def fit(
        self,
        logits: Tensor,
        gates: Sequence[Tensor],
        images: Tensor,
        trust: Tensor,
        spacing_mm: float = 2.0,
    ) -> MixtureFit:
        """Fit the tissues of every exam in each of its scans, by expectation and maximisation.

        Parameters
        ----------
        logits
            Logits of the prior at one voxel of every block, ``(B, L, i, j, k)``.
        gates
            Gates of each of the N scans, ``(B, T, i, j, k)``.
        images
            Intensities in [0, 1] at the same voxels, ``(B, N, i, j, k)``.
        trust
            Weight of every voxel of the images, ``(B, N, i, j, k)``.
        spacing_mm
            Distance of these voxels, mm.
        """
        with torch.autocast(logits.device.type, enabled=False):  # 16 bits ruin variances
            return self._fit(_by_voxel(logits), gates, images.float(), trust.float(), spacing_mm)

    def _fit(
        self,
        prior: Tensor,
        gates: Sequence[Tensor],
        images: Tensor,
        trust: Tensor,
        spacing_mm: float,
    ) -> MixtureFit:
        """Fit the tissues to the prior's logits ``(B, i, j, k, L)``.

        Classes of one tissue get the same evidence, so their probabilities are summed only once.
        """
        of_tissues = torch.stack(
            [prior[..., classes.nonzero()[:, 0]].logsumexp(-1) for classes in self.members], -1
        )  # (B, i, j, k, T)
        posterior, fit = of_tissues, MixtureFit(())
        for _ in range(self.steps):
            probabilities = posterior.softmax(-1)
            fit = MixtureFit(
                [
                    [
                        _fit_scan(tissues, image, weight, spacing_mm)
                        for image, weight in zip(exam, weights, strict=True)
                    ]
                    for tissues, exam, weights in zip(probabilities, images, trust, strict=True)
                ]
            )
            posterior = of_tissues + self._evidence(fit, gates, images).movedim(1, -1)
        return fit

    def posterior(
        self, logits: Tensor, fit: MixtureFit, gates: Sequence[Tensor], images: Tensor
    ) -> Tensor:
        """Add the log-likelihoods of all classes to those of the prior, float32.

        Parameters
        ----------
        logits
            Logits of the prior, ``(B, L, i, j, k)``.
        fit
            Tissues of the same exams, for the same rows of voxels.
        gates
            Gates of each of the N scans, ``(B, T, i, j, k)``.
        images
            Intensities in [0, 1], ``(B, N, i, j, k)``.

        Returns
        -------
        logits
            Logits of the posterior, ``(B, L, i, j, k)``.
        """
        with torch.autocast(images.device.type, enabled=False):
            evidence = self._evidence(fit, gates, images.float()).movedim(1, -1)
            prior = _by_voxel(logits)
            posterior = torch.addmm(prior.flatten(0, 3), evidence.flatten(0, 3), self.members)
            return posterior.view(prior.shape).movedim(-1, 1)

    def _evidence(self, fit: MixtureFit, gates: Sequence[Tensor], images: Tensor) -> Tensor:
        """Sum the log-likelihoods of the tissues over the scans, gated, ``(B, T, i, j, k)``."""
        exams = [
            reduce(
                torch.add,
                [
                    gate[number] * _log_likelihood(gaussians, image)
                    for gate, gaussians, image in zip(gates, scans, exam, strict=True)
                ],
            )
            for number, (scans, exam) in enumerate(zip(fit.scans, images, strict=True))
        ]
        return torch.stack(exams) if len(exams) > 1 else exams[0][None]  # a stack is a copy


def _by_voxel(logits: Tensor) -> Tensor:
    """Put the classes of ``(B, L, i, j, k)`` last, ``(B, i, j, k, L)`` float32."""
    return logits.movedim(1, -1).float()


def _fit_scan(
    probabilities: Tensor, image: Tensor, weight: Tensor, spacing_mm: float
) -> Gaussians:
    """Fit gain and Gaussians to an image ``(i, j, k)`` by probabilities ``(i, j, k, T)``."""
    flat = probabilities.flatten(0, 2)
    least_voxels = LEAST_MM3 / spacing_mm**3
    means, sds = _moments(flat, image.flatten(), weight.flatten(), least_voxels)
    expected = (flat @ means).view(image.shape)
    gain = _smooth_gain(image, expected, weight, round(GAIN_BLOCK_MM / spacing_mm))
    means, sds = _moments(flat, (image / gain).flatten(), weight.flatten(), least_voxels)
    return Gaussians(means, sds, gain)


def _moments(
    probabilities: Tensor, values: Tensor, weight: Tensor, least_voxels: float
) -> tuple[Tensor, Tensor]:
    """Compute mean and sd of values ``(V,)`` by probabilities ``(V, T)``, ``(T,)`` each.

    Those of a tissue of few voxels are drawn towards those of all.
    """
    powers = torch.stack([torch.ones_like(values), values, values.square()], 1)
    sums = probabilities.T @ (powers * weight[:, None])  # (T, 3)
    every = sums.sum(0) / sums[:, 0].sum().clamp(min=1e-6) * least_voxels
    count, first, second = (sums + every).unbind(1)
    count = count.clamp(min=1e-6)  # 0 of an absent scan
    means = first / count
    variances = (second / count - means.square()).clamp(min=0)
    return means, (variances + LEAST_SD**2).sqrt()


def _smooth_gain(image: Tensor, expected: Tensor, weight: Tensor, block: int) -> Tensor:
    """Estimate by least squares the smooth gain that turns an expected image into an image.

    All of them are ``(i, j, k)``, and so is the weight of every voxel; blocks of voxels are
    summed first.
    """
    products = torch.stack([image * expected, expected.square()]) * weight
    blocks = functional.avg_pool3d(products[None], block, ceil_mode=True)[0]  # (2, a, b, c)
    weights = functional.avg_pool3d(weight[None, None], block, ceil_mode=True)[0]
    sums = torch.cat([blocks, weights])
    for axis in (1, 2, 3):
        window = _gaussian(sums.shape[axis]).to(sums)
        sums = (sums.movedim(axis, -1) @ window).movedim(-1, axis)
    prior = GAIN_PRIOR * sums[2] + 1e-6
    gain = ((sums[0] + prior) / (sums[1] + prior)).clamp(*GAIN_RANGE)
    return _enlarge(gain, image.shape)


def _enlarge(gain: Tensor, shape: Sequence[int]) -> Tensor:
    """Interpolate a smooth ``(i, j, k)`` on as many voxels of the same volume."""
    return functional.interpolate(gain[None, None], size=[*shape], mode='trilinear')[0, 0]


def _gaussian(size: int) -> Tensor:
    """Compute the weights of neighbours along an axis of blocks, ``(size, size)``."""
    at = torch.arange(size) * (GAIN_BLOCK_MM / GAIN_SD_MM)
    return torch.exp(-(at[:, None] - at).square() / 2)


def _log_likelihood(gaussians: Gaussians, image: Tensor) -> Tensor:
    """Compute the log-likelihoods of the tissues, the highest 0: ``(i, j, k)`` to ``(T, ...)``.

    Voxels lie side by side in memory, not tissues: in place, that takes a third of the time.
    """
    means, sds = (values[:, None, None, None] for values in (gaussians.means, gaussians.sds))
    value = image / gaussians.gain
    slopes = torch.addcmul(means / sds.square(), value, -0.5 / sds.square())
    offsets = 0.5 * (means / sds).square() + sds.log()
    if value.requires_grad:  # of the intensities: a network that judges what another one makes
        logs = slopes * value - offsets
        return logs - logs.amax(0)
    logs = slopes.mul_(value).sub_(offsets)
    return logs.sub_(logs.amax(0))
