"""What a training minimises: terms for the T1w, its spread and the segmentation.

Every term is a mean over the voxels, weighed by the sample's weight map where it has one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from bids_synthsr.networks.exam_unet import Prediction
from bids_synthsr.networks.slice_vae import SlicePrediction
from bids_synthsr.training.recipe import LossRecipe
from bids_synthsr.training.samples import Batch

SSIM_SIGMA_VOX, SSIM_RADIUS_VOX = 1.5, 5  # Wang et al. 2004
SSIM_CONSTANTS = (0.01**2, 0.03**2)  # the same, for intensities of range 1
PLANES = ((2, 3), (2, 4), (3, 4))


def loss_terms(prediction: Prediction, batch: Batch, recipe: LossRecipe) -> dict[str, Tensor]:
    """Compute every term that has a weight, unweighted, float32 scalars.

    Parameters
    ----------
    prediction
        Output of the network for the batch.
    batch
        Batch with its target, weights and segmentation.
    recipe
        Weights of the terms.

    Raises
    ------
    ValueError
        Where a term needs an output that the network does not have.
    """
    t1w, target, weight = prediction.t1w.float(), batch.target, batch.weight
    terms = {}
    if recipe.l1 > 0:
        terms['l1'] = weighted_mean((t1w - target).abs(), weight)
    if recipe.l2 > 0:
        terms['l2'] = weighted_mean((t1w - target).square(), weight)
    if recipe.laplace > 0:
        if prediction.log_scale is None:
            raise ValueError('laplace needs a network that predicts the Laplace scale')
        log_scale = prediction.log_scale.float()
        terms['laplace'] = weighted_mean(laplace(t1w, log_scale, target, recipe.evenness), weight)
    if recipe.ssim > 0:
        terms['ssim'] = 1 - ssim_in_planes(t1w, target)
    if recipe.divergence > 0:
        if not isinstance(prediction, SlicePrediction):
            raise ValueError('divergence needs a network with latents, such as slice_vae')
        terms['divergence'] = prediction.divergence
    if recipe.dice > 0 or recipe.cross_entropy > 0:
        terms |= _segmentation_terms(prediction, batch, recipe)
    return terms


def _segmentation_terms(
    prediction: Prediction, batch: Batch, recipe: LossRecipe
) -> dict[str, Tensor]:
    """Compute the terms of the segmentation, which share their probabilities."""
    if prediction.logits is None or batch.segmentation is None:
        raise ValueError('dice and cross_entropy need a network and samples with segmentation')
    likelihood = Likelihood(prediction.logits, batch.segmentation)
    terms = {}
    if recipe.dice > 0:
        terms['dice'] = soft_dice_loss(likelihood)
    if recipe.cross_entropy > 0:
        terms['cross_entropy'] = cross_entropy(likelihood, recipe.balance)
    return terms


def total_loss(terms: dict[str, Tensor], recipe: LossRecipe) -> Tensor:
    """Add the terms by their weights in the recipe."""
    return torch.stack([getattr(recipe, name) * term for name, term in terms.items()]).sum()


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Average ``(B, 1, I, J, K)`` by a weight map of the same shape."""
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)


def laplace(t1w: Tensor, log_scale: Tensor, target: Tensor, evenness: float = 0.0) -> Tensor:
    """Compute the negative log-likelihood of a Laplace distribution at every voxel.

    It is ``log 2b + |e| / b``, times ``b ** evenness`` as a constant (Seitzer et al. 2022). The
    gradient of the likelihood grows with ``1 / b``, so that air, which is easy to predict, would
    dominate the gradient. The best ``b`` is the same.

    Parameters
    ----------
    t1w
        Predicted T1w, ``(B, 1, I, J, K)``.
    log_scale
        Predicted logarithm of the scale ``b``, ``(B, 1, I, J, K)``.
    target
        True T1w, ``(B, 1, I, J, K)``.
    evenness
        Power of the predicted scale by which a voxel counts.
    """
    losses = math.log(2) + log_scale + (t1w - target).abs() * torch.exp(-log_scale)
    return losses * torch.exp(evenness * log_scale.detach())


def ssim_in_planes(image: Tensor, target: Tensor) -> Tensor:
    """Compute structural similarity in two dimensions, averaged over slices in three planes.

    Parameters
    ----------
    image, target
        Intensities of range about 1, ``(B, 1, I, J, K)``.
    """
    return torch.stack([_ssim_in_plane(image, target, plane) for plane in PLANES]).mean()


def _ssim_in_plane(x: Tensor, y: Tensor, plane: tuple[int, int]) -> Tensor:
    small, large = SSIM_CONSTANTS
    moments = torch.cat([x, y, x * x, y * y, x * y], 1)
    mean_x, mean_y, xx, yy, xy = _smooth(moments, plane).unbind(1)
    covariance = xy - mean_x * mean_y
    variances = (xx - mean_x.square()) + (yy - mean_y.square())
    luminance = (2 * mean_x * mean_y + small) / (mean_x.square() + mean_y.square() + small)
    return (luminance * (2 * covariance + large) / (variances + large)).mean()


def _smooth(volumes: Tensor, plane: tuple[int, int]) -> Tensor:
    """Filter ``(B, C, I, J, K)`` with SSIM's Gaussian window along two axes, inside only."""
    for axis in plane:
        window = _window(volumes.shape[axis]).to(volumes)
        volumes = (volumes.movedim(axis, -1) @ window).movedim(-1, axis)
    return volumes


def _window(size: int) -> Tensor:
    """Weights of ``size`` voxels in each window that fits as a whole: ``(size, P)``."""
    radius = min(SSIM_RADIUS_VOX, (size - 1) // 2)
    centers = torch.arange(radius, size - radius)
    distance = (torch.arange(size)[:, None] - centers).float()
    weights = torch.exp(-(distance / SSIM_SIGMA_VOX).square() / 2) * (distance.abs() <= radius)
    return weights / weights.sum(0)


class Likelihood:
    """What the terms of a segmentation share: passes over all classes are what they cost.

    Parameters
    ----------
    logits
        Logits of L classes, ``(B, L, I, J, K)``.
    segmentation
        True class indices, ``(B, I, J, K)``.
    """

    def __init__(self, logits: Tensor, segmentation: Tensor) -> None:
        by_voxel = logits.movedim(1, -1).flatten(0, -2)  # (B V, L), no copy of channels_last
        self.logs = functional.log_softmax(by_voxel, 1, dtype=torch.float32)
        self.truth = segmentation.flatten()
        self.of_truth = self.logs.gather(1, self.truth[:, None])[:, 0]  # (B V,)
        self.counts = torch.bincount(self.truth, minlength=logits.shape[1])  # (L,)


def soft_dice_loss(likelihood: Likelihood) -> Tensor:
    """1 minus the Dice score with probabilities, ``2 p g / (p^2 + g^2)``, mean over classes.

    A class that does not occur in the batch does not count.
    """
    counts = likelihood.counts
    overlap = likelihood.of_truth.new_zeros(len(counts))
    overlap = overlap.index_add(0, likelihood.truth, likelihood.of_truth.exp())
    squares = likelihood.logs.exp().square().sum(0)
    return 1 - (2 * overlap / (squares + counts))[counts > 0].mean()


def cross_entropy(likelihood: Likelihood, balance: float) -> Tensor:
    """Cross-entropy in which a class counts by its frequency to the power ``-balance``."""
    weights = likelihood.counts.clamp(min=1).float().pow(-balance)[likelihood.truth]
    return -(weights * likelihood.of_truth).sum() / weights.sum()
