"""Probabilities that add up to the true volumes.

A cross-entropy in which rare classes count more, and Dice, let a network learn small structures.
Such losses are least for probabilities that are not those of the data, so that the network
overestimates small structures (Bertels et al. 2021, "Theoretical analysis and experimental
validation of volume bias of soft Dice optimized segmentation maps in the context of inherent
uncertainty"). Odds that multiply the probabilities of every class, fitted by the plain likelihood,
correct that: where the likelihood is highest, the probabilities of each class add up to its true
volume, over all exams together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from bids_synthsr.dataset.weights import Weights
from bids_synthsr.synthesis.heads import Head
from bids_synthsr.training.checkpoints import best_of
from bids_synthsr.training.cohort import Cohort
from bids_synthsr.training.recipe import recipe_from
from bids_synthsr.training.samples import CALIBRATION, seed_of
from bids_synthsr.training.sources import Source, make_sources
from bids_synthsr.training.task import Task
from bids_synthsr.values.structures import opposite

VOXELS_PER_EXAM = 100_000  # voxels of an exam that the fit takes
VOXELS_AT_ONCE = 500_000  # voxels whose probabilities are computed together
# number of Newton steps; largest step and tolerance of the logarithms of odds
NEWTON_STEPS, LARGEST_STEP, TOLERANCE = 40, 1.0, 1e-3

logger = logging.getLogger(__name__)


def calibrate(
    weights: Weights,
    cohort: Cohort[Head],
    exams: int,
    device: torch.device,
    show: Callable[[str], None] = lambda _: None,
) -> dict[int, float]:
    """Fit the odds of every class on exams that the weights' own recipe generates.

    Parameters
    ----------
    weights
        Weights of an exam network with a segmentation: a checkpoint or an export.
    cohort
        Heads of the training; heads that the weights were not trained on are ignored.
    exams
        Number of exams to generate. None of them occurs in the training.
    device
        Device on which the network runs.
    show
        Function that shows a line of progress.

    Returns
    -------
    odds
        Odds of each class by its label value, 1 for the background. Left and right have the same.

    Raises
    ------
    ValueError
        For weights without segmentation, or with one that this version does not know, and where
        a head of their training is missing.
    """
    task = _task_of(weights)
    recipe, network = task.recipe, task.build().to(device)
    network.load_state_dict({name: value.float() for name, value in best_of(weights).items()})
    source, _ = make_sources(recipe, _trained_on(weights, cohort), device)
    seeds = [seed_of(recipe, CALIBRATION, number) for number in range(exams)]
    logs, truth = zip(*_predict_voxels(task, network.eval(), source, seeds, show), strict=True)
    index_of = {label: index for index, label in enumerate(task.labels)}
    twins = torch.tensor([min(index, index_of.get(opposite(label), index))
                          for label, index in index_of.items()])  # fmt: skip
    logits, classes = torch.cat(logs), torch.cat(truth)
    offsets = fit_offsets(logits, classes, twins)
    before, after = (volume_error(logits, classes, by) for by in (0 * offsets, offsets))
    logger.info(
        'Sums of probabilities, mean over classes: %.1f %% off before calibration, %.1f %% after',
        100 * before,
        100 * after,
    )
    odds = (offsets - offsets[0]).exp().tolist()
    return {label: round(value, 4) for label, value in zip(task.labels, odds, strict=True)}


def _task_of(weights: Weights) -> Task:
    """Return the task of weights that can be calibrated; raise for others."""
    task = Task(recipe_from(weights.description['recipe']))
    name = task.recipe.network.name
    if name != 'exam_unet' or not task.labels:
        raise ValueError(
            f'--label-maps calibrates an exam_unet with a segmentation, but these are weights of '
            f'{name} {"with" if task.labels else "without"} one: leave it out'
        )
    if tuple(weights.description['labels']) != tuple(task.labels):
        raise ValueError(
            'The segmentation of these weights has other classes than this version: first train '
            'on from them (--weights)'
        )
    return task


def _trained_on(weights: Weights, cohort: Cohort[Head]) -> Cohort[Head]:
    """Take the heads that weights were trained on; people held out stay out."""
    names = weights.description['data']['training']
    missing = sorted(set(names) - {head.name for head in cohort.training})
    if missing:
        raise ValueError(
            f'The weights were trained on {len(names)} heads, but {", ".join(missing)} '
            f'{"is" if len(missing) == 1 else "are"} not among the label maps: give the folder of '
            'the training'
        )
    return replace(cohort, training=tuple(x for x in cohort.training if x.name in names))


@torch.no_grad()
def _predict_voxels(
    task: Task,
    network: nn.Module,
    source: Source,
    seeds: Sequence[int],
    show: Callable[[str], None],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Predict some voxels of every exam: logits ``(V, L)`` float16 and classes ``(V,)``."""
    for number, seed in enumerate(seeds):
        batch = source.draw(seed)
        logits = task.predict(network, batch).logits
        assert logits is not None and batch.segmentation is not None  # see `Task`
        by_voxel, classes = logits.movedim(1, -1).flatten(0, -2), batch.segmentation.flatten()
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(classes), generator=generator)[:VOXELS_PER_EXAM].to(
            classes.device
        )
        yield by_voxel[chosen].half().cpu(), classes[chosen].cpu()
        show(f'exam {number + 1} of {len(seeds)}')


def fit_offsets(logits: Tensor, truth: Tensor, twins: Tensor) -> Tensor:
    """Fit offsets of the logits of every class by the highest likelihood, ``(L,)``.

    By Newton's method, each class on its own; 0 for a class that does not occur.

    Parameters
    ----------
    logits
        Logits of V voxels for L classes, ``(V, L)``.
    truth
        True class index of each voxel, ``(V,)``.
    twins
        Number of the group of each class, ``(L,)``. Classes of a group have the same offset.
    """
    offsets = torch.zeros(len(twins))
    counts = _together(torch.bincount(truth, minlength=len(twins)).double(), twins)
    for _ in range(NEWTON_STEPS):
        expected, spread = (_together(x, twins) for x in _sums(logits, offsets))
        steps = ((counts - expected) / spread.clamp(min=1)).clamp(-LARGEST_STEP, LARGEST_STEP)
        steps[counts == 0] = 0
        offsets += steps.float()
        if steps.abs().max() < TOLERANCE:
            break
    return offsets


def volume_error(logits: Tensor, truth: Tensor, offsets: Tensor) -> float:
    """Compute the relative error of the sums of probabilities, mean over classes that occur."""
    counts = torch.bincount(truth, minlength=len(offsets)).double()
    expected, _ = _sums(logits, offsets)
    return float((expected / counts - 1).abs()[counts > 0].mean())


def _sums(logits: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Sum p and p (1 - p) over voxels, ``(L,)`` each."""
    expected, spread = torch.zeros(2, len(offsets), dtype=torch.float64)
    for part in logits.split(VOXELS_AT_ONCE):
        likely = (part.float() + offsets).softmax(1)
        expected += likely.sum(0)
        spread += (likely * (1 - likely)).sum(0)
    return expected, spread


def _together(values: Tensor, twins: Tensor) -> Tensor:
    """Give every class the sum over all classes that share its number."""
    return torch.zeros_like(values).index_add(0, twins, values)[twins]
