"""Compare the gradients of the terms of a loss, to see which of them a network learns from.

Run it as ``python lab/gradients.py LABEL_MAPS WEIGHTS [--set loss.evenness=0.0]``. For
each term, times its weight: the norm of its gradient in the layers that all terms share (encoder,
fusions, decoder), mean over samples, and its cosine with that of the Dice. Last, the share of the
background in the weights of the errors of the T1w.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from bids_synthsr.imaging.memory import reusing_memory
from bids_synthsr.training.checkpoints import load_initial_weights
from bids_synthsr.training.cohort import find_images, read_heads
from bids_synthsr.training.learner import new_learner
from bids_synthsr.training.losses import loss_terms
from bids_synthsr.training.recipe import LossRecipe, load_recipe
from bids_synthsr.training.samples import TRAINING, seed_of
from bids_synthsr.training.sources import make_sources
from bids_synthsr.training.task import Task

SHARED = ('encoder.', 'fusions.', 'decoder.')


def gradients_of(
    terms: dict[str, Tensor], weights: LossRecipe, shared: list[torch.nn.Parameter]
) -> dict[str, Tensor]:
    """Take the gradient of each term, times its weight, with respect to the shared layers."""
    found = {}
    for name, term in terms.items():
        weighted = getattr(weights, name) * term
        # layers that a sample does not use have none: zeros stand for them
        parts = torch.autograd.grad(weighted, shared, retain_graph=True, materialize_grads=True)
        found[name] = torch.cat([part.flatten() for part in parts])
    return found


def share_of_background(log_scale: Tensor, segmentation: Tensor, evenness: float) -> float:
    """Tell how much of the weights of errors, ``1 / b`` in the likelihood, lies in air."""
    weights = torch.exp((evenness - 1) * log_scale.detach())
    return float(weights[segmentation.reshape(weights.shape) == 0].sum() / weights.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('label_maps', type=Path)
    parser.add_argument('weights', type=Path)
    parser.add_argument('--set', nargs='+', default=[], metavar='KEY=VALUE')
    parser.add_argument('--heads', type=int, default=3, help='label maps to draw samples from')
    parser.add_argument('--samples', type=int, default=5)
    options = parser.parse_args()
    task = Task(load_recipe('any-exam', options.set))
    loss = task.recipe.loss
    others = [path.name for path in find_images([options.label_maps])[options.heads :]]
    heads = read_heads(options.label_maps, [], exclude=others)
    source, _ = make_sources(task.recipe, heads, torch.device('cpu'))
    learner = new_learner(task, torch.device('cpu'))
    load_initial_weights(options.weights, learner, task)
    parameters = learner.network.named_parameters()
    shared = [parameter for name, parameter in parameters if name.startswith(SHARED)]
    norms, cosines, shares = defaultdict(list), defaultdict(list), []
    with reusing_memory():
        for sample in range(options.samples):
            batch = source.draw(seed_of(task.recipe, TRAINING, sample))
            prediction = task.predict(learner.network, batch)
            if prediction.log_scale is None or batch.segmentation is None:
                parser.error('only recipes with the terms laplace and dice have these gradients')
            gradients = gradients_of(loss_terms(prediction, batch, loss), loss, shared)
            for name, gradient in gradients.items():
                cosine = torch.cosine_similarity(gradient, gradients['dice'], 0)
                norms[name].append(float(gradient.norm()))
                cosines[name].append(float(cosine))
            shares.append(
                share_of_background(prediction.log_scale, batch.segmentation, loss.evenness)
            )
    for name in norms:
        print(f'{name:14s} {mean(norms[name]):.3f}, cosine with dice {mean(cosines[name]):.2f}')
    print(f'background: {min(shares):.0%} to {max(shares):.0%} of the weights of errors')


if __name__ == '__main__':
    main()
