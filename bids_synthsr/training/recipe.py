"""A recipe: everything that defines a training but the data, as a value and as a TOML file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from bids_synthsr.dataset.files import parse_toml, read_toml
from bids_synthsr.values.serial import read_dataclass

SHIPPED = files('bids_synthsr') / 'data' / 'recipes'
MAX_BATCH, MAX_SIDE = 4096, 1024
LEAST_MM, MOST_MM = 0.3, 2.0  # voxels of samples
MAX_CRITIC_STEPS = 10_000  # before one step of the network
LOSS_TERMS = ('l1', 'l2', 'laplace', 'ssim', 'dice', 'cross_entropy')


@dataclass(frozen=True)
class NetworkRecipe:
    """Which network, and whether it predicts a residual.

    Parameters
    ----------
    name
        ``unet`` (published), ``exam_unet`` (any scans), ``slice_unet`` (one stack of slices) or
        ``slice_vae`` (single slices).
    arguments
        Arguments of the network's constructor that the samples do not settle.
    residual
        Index of the scan to which the output of a ``unet`` is added; -1 for none. The other
        networks settle that themselves.
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    residual: int = -1


@dataclass(frozen=True)
class SampleRecipe:
    """What the network sees in a step.

    Parameters
    ----------
    source
        ``generator``: scans generated from label maps; ``slices``: thick slices of real images;
        ``pairs``: two real images of each head; ``native-slices``: slices of scans as they are;
        ``stacks``: slices that were made between those of scans.
    shape
        Number of voxels of a sample along each axis.
    batch
        Number of samples in a step, per process.
    prior
        Name of the prior of the source; see `synthesis.worlds`.
    spacing_mm
        Voxels of the samples, mm; those of generator and slices have 1 mm.
    thinned
        Whether the loss takes one voxel of each 2x2x2 only, another one in every step. It is for
        an ``exam_unet`` of stride 2, whose many classes cost most of the time at 1 mm.
    """

    source: str
    shape: tuple[int, int, int]
    batch: int = 1
    prior: str = ''
    spacing_mm: float = 1.0
    thinned: bool = False


@dataclass(frozen=True)
class LossRecipe:
    """Weights of the terms of the loss; a term of weight 0 is not computed.

    Parameters
    ----------
    l1, l2, laplace, ssim
        Weights of the terms of the T1w: absolute error, squared error, negative Laplace
        log-likelihood, and 1 - SSIM in three planes.
    dice, cross_entropy
        Weights of the terms of the segmentation.
    segmentation
        Weight of the soft Dice loss of what a network that segments T1w finds in the predicted
        T1w; that network is given by ``--segmenter``, and does not change.
    divergence
        Weight of the divergence of latents from a normal distribution, nats for each number.
    evenness
        Power of the predicted scale by which a voxel counts in ``laplace``. 0 is the likelihood,
        dominated by voxels of small scale. 1 lets all errors count alike.
    balance
        Power by which rare classes count more in the cross-entropy: 0 counts voxels, 1 classes.
    """

    l1: float = 0.0
    l2: float = 0.0
    laplace: float = 0.0
    ssim: float = 0.0
    dice: float = 0.0
    cross_entropy: float = 0.0
    segmentation: float = 0.0
    divergence: float = 0.0
    evenness: float = 0.0
    balance: float = 0.0


@dataclass(frozen=True)
class AdversaryRecipe:
    """A critic that learns to tell real T1w from what the network makes.

    It needs real T1w as targets, and takes many times the time of a training without it.

    Parameters
    ----------
    weight
        Weight of its judgement in the loss of the network; 0 for no critic.
    steps
        Number of steps of the critic before each step of the network.
    first_steps
        The same before the first step that it takes part in.
    from_step
        Step of the network from which on it takes part.
    penalty
        Weight of the penalty that keeps the slope of the critic near 1.
    learning_rate
        Learning rate of the critic.
    features, levels
        Features of its first level, which double from level to level, and number of levels.
    """

    weight: float = 0.0
    steps: int = 10
    first_steps: int = 100
    from_step: int = 0
    penalty: float = 10.0
    learning_rate: float = 1e-4
    features: int = 32
    levels: int = 4


@dataclass(frozen=True)
class OptimizerRecipe:
    """How the weights follow the gradient.

    Parameters
    ----------
    name
        ``adam``, ``adamw``, or ``muon`` (`training/muon.py`).
    learning_rate
        Learning rate after the warm-up.
    schedule
        ``constant``, or ``cosine`` down to 0 at the last step.
    warmup_steps
        Number of steps over which the learning rate rises from 0.
    weight_decay
        Weight decay of ``adamw`` and ``muon``.
    clip_norm
        Largest norm of the gradient; 0 for no limit.
    average
        Decay of the moving average of the weights, which is validated and exported; 0 for the
        weights themselves.
    """

    name: Literal['adam', 'adamw', 'muon'] = 'adam'
    learning_rate: float = 1e-4
    schedule: Literal['constant', 'cosine'] = 'constant'
    warmup_steps: int = 0
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    average: float = 0.0


@dataclass(frozen=True)
class NumericsRecipe:
    """Precision and compilation of the network.

    Parameters
    ----------
    precision
        ``bf16`` (autocast) or ``fp32``.
    compile
        Whether to use ``torch.compile``.
    """

    precision: Literal['bf16', 'fp32'] = 'bf16'
    compile: bool = False


@dataclass(frozen=True)
class IntervalRecipe:
    """How often each file is written; 0 for never.

    Parameters
    ----------
    log_steps
        Number of steps over which a line of ``metrics.csv`` averages.
    validation_steps
        Number of steps between two validations on held-out heads, with pictures.
    validation_batches
        Number of batches of a validation.
    checkpoint_steps, checkpoint_minutes
        Steps and minutes between two checkpoints, whichever comes first.
    """

    log_steps: int = 50
    validation_steps: int = 1000
    validation_batches: int = 16
    checkpoint_steps: int = 1000
    checkpoint_minutes: float = 15.0


@dataclass(frozen=True)
class Recipe:
    """Everything that defines a training but the data.

    Parameters
    ----------
    description
        One sentence that says what is trained.
    steps
        Number of steps of the whole training.
    network, samples, loss, adversary, optimizer, numerics, intervals
        Sections of the recipe, a table each in TOML.
    prior
        Fields in which the prior differs from the named one, as nested tables.
    seed
        Seed of the initial weights and of every sample.
    """

    description: str
    steps: int
    network: NetworkRecipe
    samples: SampleRecipe
    loss: LossRecipe
    adversary: AdversaryRecipe = AdversaryRecipe()
    optimizer: OptimizerRecipe = OptimizerRecipe()
    numerics: NumericsRecipe = NumericsRecipe()
    intervals: IntervalRecipe = IntervalRecipe()
    prior: dict[str, Any] = field(default_factory=dict)
    seed: int = 0


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(entry.name.removesuffix('.toml') for entry in SHIPPED.iterdir())


def load_recipe(name_or_path: str, changes: Sequence[str] = ()) -> Recipe:
    """Read a shipped recipe by its name, or a TOML file by its path.

    Parameters
    ----------
    name_or_path
        Name of a shipped recipe, or path of a TOML file.
    changes
        Changes such as ``section.key=value``; each replaces a value of the file.
    """
    table = _recipe_table(name_or_path)
    for change in changes:
        _merge(table, _read_change(change))
    return recipe_from(table)


def _read_change(change: str) -> dict[str, Any]:
    """Read ``key=value``; a value that is not TOML is text."""
    key, _, value = change.partition('=')
    for text in (change, f'{key}={json.dumps(value)}'):
        try:
            return parse_toml(text)
        except ValueError:
            continue
    raise ValueError(f'Cannot read the change {change!r}: write section.key=value')


def _recipe_table(name_or_path: str) -> dict[str, Any]:
    if name_or_path in shipped_recipes():
        return parse_toml((SHIPPED / f'{name_or_path}.toml').read_text(encoding='utf-8'))
    path = Path(name_or_path)
    if not path.exists():
        raise FileNotFoundError(
            f'{name_or_path} is neither a recipe file nor one of {", ".join(shipped_recipes())}'
        )
    try:
        return read_toml(path)
    except ValueError as error:
        raise ValueError(f'{path} is not valid TOML: {error}') from error


def _merge(table: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(table.get(key), dict):
            _merge(table[key], value)
        else:
            table[key] = value


def recipe_from(table: Mapping[str, Any]) -> Recipe:
    """Make a recipe from the nested tables of a TOML file or of the header of weights.

    Raises
    ------
    ValueError
        For keys, types and choices that a recipe does not have, and for a loss without terms.
    """
    recipe = read_dataclass(Recipe, table, 'recipe')
    if not any(getattr(recipe.loss, term) > 0 for term in LOSS_TERMS):
        raise ValueError('recipe: no term of the loss has a weight; set loss.l1 = 1.0, for one')
    _check_ranges(recipe)
    return recipe


def _check_ranges(recipe: Recipe) -> None:
    """Raise for numbers that no training can have."""
    samples = recipe.samples
    if not 1 <= samples.batch <= MAX_BATCH:
        raise ValueError(f'recipe: samples.batch is {samples.batch}, not 1 to {MAX_BATCH}')
    if not all(1 <= side <= MAX_SIDE for side in samples.shape):
        raise ValueError(f'recipe: samples.shape is {samples.shape}, not 1 to {MAX_SIDE} each')
    if samples.spacing_mm != 1 and samples.source != 'pairs':
        raise ValueError(
            f'recipe: samples.spacing_mm is {samples.spacing_mm}, but samples from '
            f'{samples.source!r} have 1 mm'
        )
    if not LEAST_MM <= samples.spacing_mm <= MOST_MM:
        raise ValueError(
            f'recipe: samples.spacing_mm is {samples.spacing_mm}, not {LEAST_MM} to {MOST_MM}'
        )
    if recipe.steps < 0:
        raise ValueError(f'recipe: steps is {recipe.steps}, not 0 or more')
    for name in (*LOSS_TERMS, 'segmentation', 'divergence', 'evenness', 'balance'):
        _check_number(f'loss.{name}', getattr(recipe.loss, name))
    _check_adversary(recipe.adversary, recipe.steps)


def _check_number(name: str, value: float) -> None:
    """Raise for a number that is below 0, or none at all."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f'recipe: {name} is {value}, not a finite number of 0 or more')


def _check_adversary(adversary: AdversaryRecipe, steps: int) -> None:
    """Raise for numbers that no critic can have."""
    for name in ('weight', 'penalty', 'learning_rate'):
        _check_number(f'adversary.{name}', getattr(adversary, name))
    for name, least, most in (
        ('steps', 1, MAX_CRITIC_STEPS),
        ('first_steps', 1, MAX_CRITIC_STEPS),
        ('from_step', 0, max(steps - 1, 0)),
        ('features', 1, 1024),
        ('levels', 1, 8),
    ):
        value = getattr(adversary, name)
        if adversary.weight > 0 and not least <= value <= most:
            raise ValueError(f'recipe: adversary.{name} is {value}, not {least} to {most}')
