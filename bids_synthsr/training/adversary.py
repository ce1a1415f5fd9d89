"""Adversarial training: a critic learns to tell what the network makes from real T1w.

The network is drawn towards what the critic takes for real (Goodfellow et al. 2014; with the
distance of Wasserstein and a penalty on the gradient, Gulrajani et al. 2017). The critic sees real
targets only: of painted ones it would learn the paint.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from bids_synthsr.networks.critic import Critic
from bids_synthsr.networks.exam_unet import Prediction
from bids_synthsr.training.recipe import MAX_CRITIC_STEPS, AdversaryRecipe, Recipe
from bids_synthsr.training.samples import CRITIC, Batch, seed_of
from bids_synthsr.training.sources import Source

MEASURES = 'critic_gap', 'critic_penalty'
BETAS = 0.5, 0.9  # of Adam, as Gulrajani et al. 2017


@dataclass(eq=False)
class Adversary:
    """The critic of a training and its optimizer.

    Parameters
    ----------
    critic
        Network that judges volumes.
    optimizer
        Optimizer of its parameters.
    """

    critic: nn.Module
    optimizer: Optimizer


def new_adversary(recipe: Recipe, device: torch.device) -> Adversary | None:
    """Make a critic with the weights of the recipe's seed; None where the recipe wants none."""
    wanted = recipe.adversary
    if wanted.weight <= 0:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed + 1)
        critic = Critic(wanted.features, wanted.levels)
    critic.to(device)
    return Adversary(critic, Adam(critic.parameters(), wanted.learning_rate, BETAS))


def critic_steps(recipe: AdversaryRecipe, step: int) -> int:
    """Count the steps that the critic takes before a step of the network."""
    if recipe.weight <= 0 or step < recipe.from_step:
        return 0
    return recipe.first_steps if step == recipe.from_step else recipe.steps


def critic_batches(recipe: Recipe, step: int, source: Source[Any]) -> Iterator[tuple[int, Batch]]:
    """Draw the batches that the critic learns from before a step, each with its seed.

    The network never learns from them.
    """
    for number in range(critic_steps(recipe.adversary, step)):
        seed = seed_of(recipe, CRITIC, step * MAX_CRITIC_STEPS + number)
        yield seed, source.draw(seed)


def learn_to_tell(
    adversary: Adversary, prediction: Prediction, batch: Batch, penalty: float, seed: int
) -> dict[str, float]:
    """Let the critic take one step.

    Parameters
    ----------
    adversary
        Critic and optimizer, which change.
    prediction
        What the network made of the batch.
    batch
        Batch with its real target.
    penalty
        Weight of the penalty on its gradient.
    seed
        Seed of the batch, which decides how real and made volumes are mixed for the penalty.

    Returns
    -------
    measures
        ``critic_gap``, the judgement of real less that of made volumes, and ``critic_penalty``.

    Raises
    ------
    FloatingPointError
        Where one of them is not finite, before the critic changes.
    """
    real, made = seen(batch.target, batch), seen(prediction.t1w.detach(), batch)
    adversary.critic.requires_grad_(True)
    adversary.optimizer.zero_grad()
    gap = (adversary.critic(real) - adversary.critic(made)).mean()
    draws = torch.rand(len(real), generator=torch.Generator().manual_seed(seed))
    shares = draws.view(-1, 1, 1, 1, 1).to(real)
    steepness = gradient_penalty(adversary.critic, torch.lerp(made, real, shares))
    (penalty * steepness - gap).backward()
    measures = dict(zip(MEASURES, (gap.item(), steepness.item()), strict=True))
    if not all(map(math.isfinite, measures.values())):
        raise FloatingPointError(', '.join(f'{k} {v}' for k, v in measures.items()))
    adversary.optimizer.step()
    return measures


def judge_made(adversary: Adversary, prediction: Prediction, batch: Batch) -> Tensor:
    """Compute the term of the network's loss: how far the critic is from taking it for real."""
    adversary.critic.requires_grad_(False)
    return -adversary.critic(seen(prediction.t1w, batch)).mean()


def seen(volume: Tensor, batch: Batch) -> Tensor:
    """Show the critic what counts of a volume ``(B, 1, I, J, K)``, float32; 0 elsewhere."""
    return volume.float() * (batch.weight > 0)


def gradient_penalty(critic: nn.Module, volumes: Tensor) -> Tensor:
    """Average the squared distance of the slope of a critic from 1 at volumes, in float32.

    Parameters
    ----------
    critic
        Critic whose slope is measured, over all voxels of a volume together.
    volumes
        Volumes between real and made ones, ``(B, 1, I, J, K)``.
    """
    at = volumes.detach().float().requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(at).sum(), at, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()
