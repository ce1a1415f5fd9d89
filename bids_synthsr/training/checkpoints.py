"""The state of a training on disk: a file of weights that holds the optimizer too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from bids_synthsr.dataset.weights import Weights, load_weights, save_weights
from bids_synthsr.synthesis.labels import PART_OF
from bids_synthsr.training.learner import Learner
from bids_synthsr.training.recipe import IntervalRecipe, Recipe, recipe_from
from bids_synthsr.training.task import Task
from bids_synthsr.values.serial import as_plain, read_dataclass

NAME = 'checkpoint.safetensors'
# tensors of an exam network with a row, or a block of rows, for every output or tissue
CLASS_ROWS = ('head.weight', 'head.bias', *(f'guide.of_{x}.{y}' for x in ('exam', 'scan')
                                            for y in ('weight', 'bias')))  # fmt: skip
TISSUE_ROWS = (
    'mixture.of_exam.weight',
    'mixture.of_exam.bias',
    'mixture.of_scan.weight',
    'mixture.trust',
)
PARTS = ('network.', 'average.', 'optimizer.')  # prefixes of the names of tensors
CRITIC_PARTS = ('critic.', 'critic_optimizer.')


@dataclass(frozen=True)
class Progress:
    """How far a training is.

    Parameters
    ----------
    step
        Number of steps that are done.
    seconds
        Time that they took.
    sums
        Sums of what was measured since the last line of the table.
    """

    step: int
    seconds: float
    sums: Mapping[str, float]

    def __post_init__(self) -> None:
        if self.step < 0:
            raise ValueError(f'its step is {self.step}')


def save_checkpoint(path: Path, learner: Learner, task: Task, facts: Mapping[str, Any]) -> Path:
    """Write everything that the next step depends on, whole or not at all.

    Parameters
    ----------
    path
        File of safetensors to write.
    learner
        State of the training.
    task
        Network and labels of the training.
    facts
        Further entries of the header of the weights, JSON types: data, validation.
    """
    network, average, optimizer = PARTS
    tensors = {network + name: value for name, value in learner.network.state_dict().items()}
    if learner.average is not learner.network:
        averages = learner.average.state_dict().items()
        tensors |= {average + name: value for name, value in averages}
    tensors |= _tensors_of(learner.optimizer, optimizer)
    if learner.adversary is not None:
        critic, critic_optimizer = CRITIC_PARTS
        weights = learner.adversary.critic.state_dict().items()
        tensors |= {critic + name: value for name, value in weights}
        tensors |= _tensors_of(learner.adversary.optimizer, critic_optimizer)
    progress = {'step': learner.step, 'seconds': learner.seconds, 'sums': learner.sums}
    return save_weights(path, tensors, {**describe(task), **progress, **facts})


def _tensors_of(optimizer: Optimizer, prefix: str) -> dict[str, Tensor]:
    """Name the tensors of the state of an optimizer."""
    return {
        f'{prefix}{index}.{name}': value
        for index, state in optimizer.state_dict()['state'].items()
        for name, value in state.items()
    }


def describe(task: Task) -> dict[str, Any]:
    """Describe a network and its training, for the header of a file of weights."""
    judge = {'segmenter': dict(task.segmenter.file)} if task.segmenter else {}
    return {
        'network': task.recipe.network.name,
        'arguments': task.arguments,
        'labels': task.labels,
        'recipe': as_plain(task.recipe),
        **judge,
    }


def load_checkpoint(path: Path, learner: Learner, task: Task) -> None:
    """Bring a new learner to where a training stopped.

    Raises
    ------
    ValueError
        For a checkpoint of another recipe, or with another segmenter.
    """
    recipe = task.recipe
    weights = load_weights(path)
    description = weights.description
    if 'sums' not in description:
        raise ValueError(f'{path} holds weights without the state of a training')
    try:
        stored = recipe_from(description['recipe'])
        facts = {key: description[key] for key in ('step', 'seconds', 'sums')}
        progress = read_dataclass(Progress, facts, 'its header')
    except (KeyError, ValueError) as error:
        raise ValueError(f'{path} is no checkpoint that this version can read: {error}') from error
    check_same_recipe(path, stored, recipe)
    judge = dict(task.segmenter.file) if task.segmenter else {}
    before = description.get('segmenter') or {}
    if before.get('sha256') != judge.get('sha256'):
        raise ValueError(
            f'{path} was trained with another segmenter ({before}, now {judge}): give that one, '
            'or another folder with --out'
        )
    network, average, optimizer = (part_of(weights, prefix) for prefix in PARTS)
    try:
        learner.network.load_state_dict(network)
        if learner.average is not learner.network:
            learner.average.load_state_dict(average)
        learner.optimizer.load_state_dict(_optimizer_state(optimizer, learner.optimizer))
        if learner.adversary is not None:
            critic, critic_optimizer = (part_of(weights, prefix) for prefix in CRITIC_PARTS)
            of_critic = learner.adversary.optimizer
            learner.adversary.critic.load_state_dict(critic)
            of_critic.load_state_dict(_optimizer_state(critic_optimizer, of_critic))
    except (RuntimeError, ValueError, KeyError) as error:
        raise ValueError(f'{path} does not fit the network of its recipe: {error}') from error
    learner.step, learner.seconds = progress.step, progress.seconds
    learner.sums, learner.data = dict(progress.sums), data_of(weights)


def data_of(weights: Weights) -> dict[str, list[str]]:
    """Read the names of what weights were trained on and validated on; none where unknown."""
    data = weights.description.get('data')
    lists = data if isinstance(data, Mapping) else {}
    return {
        key: [str(name) for name in lists.get(key) or ()] for key in ('training', 'validation')
    }


def _optimizer_state(tensors: Mapping[str, Tensor], optimizer: Optimizer) -> dict[str, Any]:
    """Give the state of an optimizer the form that PyTorch loads."""
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split('.')
        states.setdefault(int(index), {})[key] = value
    return {'state': states, 'param_groups': optimizer.state_dict()['param_groups']}


def part_of(weights: Weights, prefix: str) -> dict[str, Tensor]:
    """Take the tensors whose names begin with ``prefix``, under the rest of their names."""
    return {
        name.removeprefix(prefix): value
        for name, value in weights.tensors.items()
        if name.startswith(prefix)
    }


def best_of(weights: Weights) -> dict[str, Tensor]:
    """Take the weights to work with: of a checkpoint the average, where it has one."""
    network, average = (part_of(weights, prefix) for prefix in PARTS[:2])
    return average or network or dict(weights.tensors)


def check_same_recipe(path: Path, stored: Recipe, requested: Recipe) -> None:
    """Raise where a training would go on by another recipe; how often it reports is free."""
    before, now = (
        flat(as_plain(replace(recipe, intervals=IntervalRecipe())))
        for recipe in (stored, requested)
    )
    differing = [key for key in before | now if before.get(key) != now.get(key)]
    if differing:
        changes = [f'{key}: {before.get(key)} there, {now.get(key)} here' for key in differing]
        raise ValueError(
            f'{path} belongs to another recipe ({"; ".join(changes[:5])}). Give another folder '
            f'with --out; to start from its weights, add --weights {path}'
        )


def flat(table: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """Flatten nested tables: ``{'a': {'b': 1}}`` to ``{'a.b': 1}``; lists stay."""
    values: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            values |= flat(value, f'{prefix}{key}.')
        else:
            values[prefix + key] = value
    return values


def load_initial_weights(path: Path, learner: Learner, task: Task) -> None:
    """Start from the weights of another training, or from published ones.

    Weights may lack parts that the network lists in ``later_parts``: these start as they are.
    Weights may lack classes that are part of another class: these start as that class.

    Parameters
    ----------
    path
        File of weights to start from.
    learner
        New learner, whose network takes the weights.
    task
        Network and labels of the training.

    Raises
    ------
    ValueError
        For weights of another network.
    """
    weights = load_weights(path)
    network, arguments = (weights.description.get(key) for key in ('network', 'arguments'))
    tensors = with_new_classes(best_of(weights), weights.description, task)
    expected = learner.network.state_dict()
    later = tuple(getattr(learner.network, 'later_parts', ()))
    tensors |= {name: value for name, value in expected.items()
                if name.startswith(later) and name not in tensors}  # fmt: skip
    unlike = [name for name in tensors.keys() | expected.keys()
              if name not in tensors or name not in expected
              or tensors[name].shape != expected[name].shape]  # fmt: skip
    if unlike:
        raise ValueError(
            f'{path} holds {network} {arguments}; the recipe asks for '
            f'{task.recipe.network.name} {task.arguments}, and {len(unlike)} of its '
            f'{len(expected)} tensors differ, such as {min(unlike)}'
        )
    learner.network.load_state_dict(tensors)
    learner.average.load_state_dict(tensors)
    learner.data = data_of(weights)


def with_new_classes(
    tensors: Mapping[str, Tensor], description: Mapping[str, Any], task: Task
) -> dict[str, Tensor]:
    """Let classes that weights do not know start as the class that they were part of.

    Parameters
    ----------
    tensors
        Weights of an exam network, by name.
    description
        Header of the file of these weights.
    task
        Network and labels that are wanted.

    Returns
    -------
    tensors
        Weights with a row for each class that is wanted. They are unchanged where these classes
        are other than the known ones and parts of them.
    """
    labels = list(description.get('labels') or ())
    sources = [label if label in labels else PART_OF.get(label) for label in task.labels]
    if task.labels == tuple(labels) or set(sources) != set(labels):
        return dict(tensors)
    classes = [labels.index(source) for source in sources]
    first = 1 + task.has_scale  # channels before those of the classes
    channels = torch.tensor([*range(first), *(first + number for number in classes)])
    share = torch.tensor([0.0] * first + [math.log(sources.count(x)) for x in sources])
    rows = dict.fromkeys(CLASS_ROWS, channels)
    if 'tissue_of' in description['arguments']:
        before, now = description['arguments']['tissue_of'], task.arguments['tissue_of']
        tissues = {new: before[number] for new, number in zip(now, classes, strict=True)}
        rows |= dict.fromkeys(TISSUE_ROWS, torch.tensor([tissues[new] for new in sorted(tissues)]))
    widened = dict(tensors)
    for name, chosen in rows.items():
        if name in tensors:
            blocks = len(tensors[name]) // (len(labels) + first) if name in CLASS_ROWS else 1
            values = tensors[name].unflatten(0, (-1, blocks))[chosen]
            if name == 'head.bias':  # together as likely as before
                values = values - share[:, None]
            widened[name] = values.flatten(0, 1)
    return widened
