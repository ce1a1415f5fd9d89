"""How good a network is on held-out heads: decibels, Dice and millimetres."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.ndimage import binary_erosion, distance_transform_edt
from torch import Tensor, nn

from bids_synthsr.networks.exam_unet import Prediction
from bids_synthsr.training.losses import loss_terms
from bids_synthsr.training.samples import VALIDATION, Batch, seed_of
from bids_synthsr.training.sources import Source
from bids_synthsr.training.task import Task

LEAST_INTENSITY = 0.05  # darker voxels of the target show air and do not count in the PSNR

Example = tuple[Batch, Prediction]


@torch.no_grad()
def validate_network(
    network: nn.Module, task: Task, source: Source[Any], count: int, examples: int = 3
) -> tuple[dict[str, float], list[Example]]:
    """Average metrics over some batches, the same ones every time.

    Parameters
    ----------
    network
        Network to validate, which is put in evaluation mode.
    task
        Losses of the recipe, and how to run its network.
    source
        Source of held-out samples.
    count
        Number of batches to average over.
    examples
        Number of batches to return.

    Returns
    -------
    metrics
        Terms of the loss; ``psnr_db`` of the T1w, that of interpolation and the gain over it where
        interpolation predicts the target; ``dice`` and ``surface_mm`` of the segmentation.
    examples
        First batches with the predictions of the network.
    """
    network.eval()
    values: dict[str, list[float]] = {}
    pairs = []
    for index in range(count):
        batch = source.draw(seed_of(task.recipe, VALIDATION, index))
        prediction = task.predict(network, batch)
        for name, value in measure(batch, prediction, task).items():
            values.setdefault(name, []).append(value)
        if index < examples:
            pairs.append((batch, prediction))
    return {name: mean(entries) for name, entries in values.items()}, pairs


def measure(batch: Batch, prediction: Prediction, task: Task) -> dict[str, float]:
    """Compare a prediction with its target."""
    terms = loss_terms(prediction, batch, task.recipe.loss)
    metrics = {name: float(value) for name, value in terms.items()}
    counts = (batch.weight > 0) & (batch.target > LEAST_INTENSITY)
    metrics['psnr_db'] = psnr_db(prediction.t1w, batch.target, counts)
    if batch.naive is not None:
        metrics['interpolation_db'] = psnr_db(batch.naive, batch.target, counts)
        metrics['gain_db'] = metrics['psnr_db'] - metrics['interpolation_db']
    if prediction.logits is not None and batch.segmentation is not None:
        labels, truth = (
            x.cpu().numpy() for x in (prediction.logits.argmax(1), batch.segmentation)
        )
        metrics['dice'] = mean_over_structures(labels, truth, dice)
        metrics['surface_mm'] = mean_over_structures(labels, truth, surface_distance)
    return metrics


def psnr_db(image: Tensor, target: Tensor, counts: Tensor) -> float:
    """Compute the peak signal-to-noise ratio for a peak of 1, dB, where ``counts`` is true."""
    error = (image.float() - target)[counts].square().mean()
    return -10 * math.log10(max(float(error), 1e-12)) if counts.any() else math.nan


def mean_over_structures(
    labels: np.ndarray, truth: np.ndarray, compare: Callable[[np.ndarray, np.ndarray], float]
) -> float:
    """Compare every structure that a truth ``(B, I, J, K)`` shows, background left out."""
    values = [
        compare(one == index, true == index)
        for one, true in zip(labels, truth, strict=True)
        for index in np.unique(true)
        if index > 0
    ]
    return mean(values)


def mean(values: Sequence[float]) -> float:
    """Average what is a number; NaN where nothing is."""
    numbers = [value for value in values if not math.isnan(value)]
    return sum(numbers) / len(numbers) if numbers else math.nan


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """Compute the overlap of two masks, 0 to 1."""
    return 2 * float((mask & truth).sum()) / float(mask.sum() + truth.sum())


def surface_distance(mask: np.ndarray, truth: np.ndarray) -> float:
    """Average the distance between the surfaces of two masks, both ways, mm; NaN for none."""
    if not mask.any() or not truth.any():
        return math.nan
    both = np.nonzero(mask | truth)
    box = tuple(slice(max(at.min() - 1, 0), at.max() + 2) for at in both)
    one, other = (part[box] & ~binary_erosion(part[box]) for part in (mask, truth))
    to_other = distance_transform_edt(~other)[one].mean()
    return float(to_other + distance_transform_edt(~one)[other].mean()) / 2
