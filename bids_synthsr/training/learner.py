"""What changes while a network trains, and one step of it."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.optim import Adam, AdamW, Optimizer

from bids_synthsr.training.adversary import (
    Adversary,
    judge_made,
    learn_to_tell,
    new_adversary,
)
from bids_synthsr.training.losses import total_loss
from bids_synthsr.training.muon import Muon
from bids_synthsr.training.recipe import OptimizerRecipe, Recipe
from bids_synthsr.training.samples import Batch
from bids_synthsr.training.task import Task

AVERAGE_WARMUP_STEPS = 10  # early averages forget the initial weights soon


class LossNotFiniteError(RuntimeError):
    """Loss or gradient became infinite or NaN; the weights are still those before the step."""


@dataclass(eq=False)
class Learner:
    """The state of a training: with recipe and data, everything that its next step depends on.

    Parameters
    ----------
    network
        Network that is trained.
    average
        Moving average of the network, which is validated and exported. It is the network itself
        where the recipe asks for no average.
    optimizer
        Optimizer of the parameters of ``network``.
    adversary
        Critic and its optimizer; None for a training without one.
    step
        Number of steps since the start of the training.
    seconds
        Time that these steps took, s.
    sums
        Sums of all measures since the last line of metrics, and the number of ``steps`` since.
    data
        Names of what the weights were trained on and validated on before, by ``training`` and
        ``validation``.
    """

    network: nn.Module
    average: nn.Module
    optimizer: Optimizer
    adversary: Adversary | None = None
    step: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    data: Mapping[str, Sequence[str]] = field(default_factory=dict)


def new_learner(task: Task, device: torch.device) -> Learner:
    """Make a network, its average and its optimizer."""
    network = task.build().to(device)
    recipe = task.recipe.optimizer
    average = network
    if recipe.average > 0:
        average = copy.deepcopy(network).requires_grad_(False).eval()
    adversary = new_adversary(task.recipe, device)
    return Learner(network, average, make_optimizer(network, recipe), adversary)


def make_optimizer(network: nn.Module, recipe: OptimizerRecipe) -> Optimizer:
    """Make the optimizer of a recipe."""
    parameters, rate = network.parameters(), recipe.learning_rate
    if recipe.name == 'adam':
        return Adam(parameters, rate)
    kind = {'adamw': AdamW, 'muon': Muon}[recipe.name]
    return kind(parameters, rate, weight_decay=recipe.weight_decay)


def learning_rate(recipe: Recipe, step: int) -> float:
    """Compute the learning rate of a step: linear warm-up, then constant or half a cosine."""
    optimizer = recipe.optimizer
    rate = optimizer.learning_rate * min((step + 1) / max(optimizer.warmup_steps, 1), 1)
    if optimizer.schedule == 'cosine':
        rate *= (1 + math.cos(math.pi * min(step / recipe.steps, 1))) / 2
    return rate


def learn(learner: Learner, forward: nn.Module, task: Task, batch: Batch) -> dict[str, float]:
    """Take one step.

    Parameters
    ----------
    learner
        State of the training, which changes.
    forward
        Network of the learner, compiled or wrapped for several processes.
    task
        Network and losses of the recipe.
    batch
        Batch of the step.

    Returns
    -------
    measures
        Loss, its terms, the norm of the gradient and the learning rate, by name.

    Raises
    ------
    LossNotFiniteError
        Before the weights change.
    """
    recipe = task.recipe
    rate = learning_rate(recipe, learner.step)
    for group in learner.optimizer.param_groups:
        group['lr'] = rate
    learner.network.train()
    learner.optimizer.zero_grad()
    prediction = task.predict(forward, batch)
    terms = task.loss_terms(prediction, batch)
    loss = total_loss(terms, recipe.loss)
    if learner.adversary is not None:
        terms['adversary'] = loss.new_zeros(())
        if learner.step >= recipe.adversary.from_step:
            terms['adversary'] = judge_made(learner.adversary, prediction, batch)
        loss = loss + recipe.adversary.weight * terms['adversary']
    loss.backward()
    longest = recipe.optimizer.clip_norm or math.inf
    gradient = nn.utils.clip_grad_norm_(learner.network.parameters(), longest)
    values = torch.stack([loss.detach(), gradient, *(t.detach() for t in terms.values())])
    measures = dict(zip(['loss', 'gradient_norm', *terms], values.tolist(), strict=True))
    if not all(map(math.isfinite, measures.values())):
        raise LossNotFiniteError(', '.join(f'{name} {value}' for name, value in measures.items()))
    learner.optimizer.step()
    if learner.average is not learner.network:
        update_average(learner, recipe.optimizer)
    learner.step += 1
    return {**measures, 'learning_rate': rate}


def teach_critic(
    learner: Learner, forward: nn.Module, task: Task, batch: Batch, seed: int
) -> dict[str, float]:
    """Let the critic learn from what the network makes of a batch now; see `learn_to_tell`.

    Parameters
    ----------
    learner
        State of the training with a critic, which changes.
    forward
        Network of the learner, compiled or not.
    task
        Network and losses of the recipe.
    batch
        Batch of the critic.
    seed
        Seed of the batch.

    Raises
    ------
    LossNotFiniteError
        Before the critic changes.
    """
    assert learner.adversary is not None
    learner.network.train()
    with torch.no_grad():
        prediction = task.predict(forward, batch)
    penalty = task.recipe.adversary.penalty
    try:
        return learn_to_tell(learner.adversary, prediction, batch, penalty, seed)
    except FloatingPointError as error:
        raise LossNotFiniteError(str(error)) from error


@torch.no_grad()
def update_average(learner: Learner, recipe: OptimizerRecipe) -> None:
    """Move the average towards the network; what is no real number is copied."""
    decay = min(recipe.average, (1 + learner.step) / (AVERAGE_WARMUP_STEPS + learner.step))
    current = learner.network.state_dict()
    for name, value in learner.average.state_dict().items():
        if value.is_floating_point():
            value.lerp_(current[name], 1 - decay)
        else:
            value.copy_(current[name])
