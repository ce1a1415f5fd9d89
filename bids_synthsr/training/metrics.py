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
from bids_synthsr.training.samples import VALIDATION, Batch, seed_of
from bids_synthsr.training.sources import Source
from bids_synthsr.training.task import Task

BANDS = ((0.1, 0.2), (0.2, 0.3), (0.3, 0.5))  # of detail, cycles/mm
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
        interpolation predicts the target; ``dice`` and ``surface_mm`` of the segmentation;
        `detail_ratios` where there is a critic.
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
    terms = task.loss_terms(prediction, batch)
    metrics = {name: float(value) for name, value in terms.items()}
    counts = (batch.weight > 0) & (batch.target > LEAST_INTENSITY)
    metrics['psnr_db'] = psnr_db(prediction.t1w, batch.target, counts)
    if task.recipe.adversary.weight > 0:
        metrics |= detail_ratios(prediction.t1w.float(), batch.target)
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


def detail_ratios(image: Tensor, target: Tensor) -> dict[str, float]:
    """Compare detail of three sizes: power of the spectrum of an image over that of its target.

    1 is as much as there should be, less is blurred, more is invented.

    Parameters
    ----------
    image, target
        T1w, ``(B, 1, I, J, K)``, voxels of 1 mm.
    """
    powers = []
    for volume in (image, target):
        for axis in (2, 3, 4):  # or the borders of the volume would be detail
            shape = [-1 if at == axis else 1 for at in range(5)]
            volume = volume * torch.hann_window(
                volume.shape[axis], periodic=False, device=volume.device
            ).view(shape)
        powers.append(torch.fft.fftn(volume, dim=(2, 3, 4)).abs().square())
    lines = torch.meshgrid(
        *(torch.fft.fftfreq(side, device=image.device) for side in image.shape[2:]), indexing='ij'
    )
    frequency = torch.stack(lines).square().sum(0).sqrt()  # cycles/mm
    made, true = (
        [float(power[..., (frequency >= low) & (frequency < high)].sum()) for low, high in BANDS]
        for power in powers
    )
    return {
        f'detail_{low:g}_{high:g}': one / other if other > 0 else math.nan
        for (low, high), one, other in zip(BANDS, made, true, strict=True)
    }


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
