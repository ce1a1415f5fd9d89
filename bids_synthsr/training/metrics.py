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

AIR = 0.05  # darker voxels of the target do not count in the PSNR

Example = tuple[Batch, Prediction]


@torch.no_grad()
def validate_network(
    network: nn.Module, task: Task, source: Source[Any], count: int, examples: int = 3
) -> tuple[dict[str, float], list[Example]]:
    """Average metrics over ``count`` batches, the same ones every time.

    Returns
    -------
    metrics
        Terms of the loss; ``psnr_db`` of the T1w, that of interpolation and the gain over it where
        interpolation has something to say; ``dice`` and ``surface_mm`` of the segmentation.
    examples
        The first batches with what the network made of them.
    """
    network.eval()
    found: dict[str, list[float]] = {}
    kept = []
    for index in range(count):
        batch = source.draw(seed_of(task.recipe, VALIDATION, index))
        prediction = task.predict(network, batch)
        for name, value in measure(batch, prediction, task).items():
            found.setdefault(name, []).append(value)
        if index < examples:
            kept.append((batch, prediction))
    return {name: mean(values) for name, values in found.items()}, kept


def measure(batch: Batch, prediction: Prediction, task: Task) -> dict[str, float]:
    """Compare a prediction with its target."""
    terms = loss_terms(prediction, batch, task.recipe.loss)
    metrics = {name: float(value) for name, value in terms.items()}
    counts = (batch.weight > 0) & (batch.target > AIR)
    metrics['psnr_db'] = psnr_db(prediction.t1w, batch.target, counts)
    if batch.naive is not None:
        metrics['interpolation_db'] = psnr_db(batch.naive, batch.target, counts)
        metrics['gain_db'] = metrics['psnr_db'] - metrics['interpolation_db']
    if prediction.logits is not None and batch.segmentation is not None:
        found, truth = prediction.logits.argmax(1).cpu().numpy(), batch.segmentation.cpu().numpy()
        metrics['dice'] = mean_over_structures(found, truth, dice)
        metrics['surface_mm'] = mean_over_structures(found, truth, surface_distance)
    return metrics


def psnr_db(image: Tensor, target: Tensor, counts: Tensor) -> float:
    """Peak signal-to-noise ratio for a peak of 1, where ``counts``."""
    error = (image.float() - target)[counts].square().mean()
    return -10 * math.log10(max(float(error), 1e-12)) if counts.any() else math.nan


def mean_over_structures(
    found: np.ndarray, truth: np.ndarray, compare: Callable[[np.ndarray, np.ndarray], float]
) -> float:
    """Compare every structure that a truth ``(B, I, J, K)`` shows, background left out."""
    values = [
        compare(one == index, true == index)
        for one, true in zip(found, truth, strict=True)
        for index in np.unique(true)
        if index > 0
    ]
    return mean(values)


def mean(values: Sequence[float]) -> float:
    """Average what is a number; NaN where nothing is."""
    numbers = [value for value in values if not math.isnan(value)]
    return sum(numbers) / len(numbers) if numbers else math.nan


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    """Overlap of two masks, 0 to 1."""
    return 2 * float((found & truth).sum()) / float(found.sum() + truth.sum())


def surface_distance(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance between the surfaces of two masks, both ways, mm; NaN where one is empty."""
    if not found.any() or not truth.any():
        return math.nan
    both = np.nonzero(found | truth)
    box = tuple(slice(max(at.min() - 1, 0), at.max() + 2) for at in both)
    one, other = (mask[box] & ~binary_erosion(mask[box]) for mask in (found, truth))
    to_other = distance_transform_edt(~other)[one].mean()
    return float(to_other + distance_transform_edt(~one)[other].mean()) / 2
