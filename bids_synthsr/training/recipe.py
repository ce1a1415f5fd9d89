"""A recipe: everything that defines a training but the data, as a value and as a TOML file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from bids_synthsr.values.serial import read_dataclass

SHIPPED = files('bids_synthsr') / 'data' / 'recipes'
LOSS_TERMS = ('l1', 'l2', 'laplace', 'ssim', 'dice', 'cross_entropy')


@dataclass(frozen=True)
class NetworkRecipe:
    """Which network, and how it stands to its input.

    Parameters
    ----------
    name
        ``unet`` (published), ``exam_unet`` (any scans) or ``slice_unet`` (one stack of slices).
    arguments
        Of its constructor, those that the samples do not settle.
    residual
        Scan to which the output of a ``unet`` is added; -1 for none. The other networks know
        themselves what they add to.
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
        ``generator``: scans generated from label maps; ``slices``: thick slices of real images.
    shape
        Voxels of a sample, 1 mm each.
    batch
        Samples in a step, per process.
    prior
        Named prior of the source.
    thinned
        Whether the loss looks at one voxel of each 2x2x2 only, at another place in every step:
        for an ``exam_unet`` of stride 2, whose many classes cost most of the time at 1 mm.
    """

    source: str
    shape: tuple[int, int, int]
    batch: int = 1
    prior: str = ''
    thinned: bool = False


@dataclass(frozen=True)
class LossRecipe:
    """Weights of the terms of the loss; a term of weight 0 is not computed.

    Parameters
    ----------
    l1, l2, laplace, ssim
        Of the T1w: absolute and squared error, Laplace log-likelihood, 1 - SSIM in three planes.
    dice, cross_entropy
        Of the segmentation.
    evenness
        Power of the predicted scale by which a voxel counts in ``laplace``: 0 is the likelihood,
        ruled by voxels of which the network is sure; 1 lets errors count alike.
    balance
        Power by which rare classes count more in the cross-entropy: 0 counts voxels, 1 classes.
    """

    l1: float = 0.0
    l2: float = 0.0
    laplace: float = 0.0
    ssim: float = 0.0
    dice: float = 0.0
    cross_entropy: float = 0.0
    evenness: float = 0.0
    balance: float = 0.0


@dataclass(frozen=True)
class OptimizerRecipe:
    """How the weights follow the gradient.

    Parameters
    ----------
    name
        ``adam``, ``adamw``, or ``muon`` (`training/muon.py`).
    learning_rate
        After the warm-up.
    schedule
        ``constant``, or ``cosine`` down to 0 at the last step.
    warmup_steps
        Steps over which the learning rate rises from 0.
    weight_decay
        Of ``adamw`` and ``muon``.
    clip_norm
        Longest gradient; 0 for no limit.
    average
        Decay of the moving average of the weights, which is what is validated and exported; 0 for
        the weights themselves.
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
    """How it is computed.

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
    """How often what is written; 0 for never.

    Parameters
    ----------
    log_steps
        Lines of ``metrics.csv``: means over that many steps.
    validation_steps, validation_batches
        Validation on held-out heads, with pictures, on ``validation_batches`` batches.
    checkpoint_steps, checkpoint_minutes
        Checkpoints, whichever comes first.
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
        What it trains, one sentence.
    steps
        Length of the whole training.
    network, samples, loss, optimizer, numerics, intervals
        Its parts.
    prior
        Fields of the named prior that are set otherwise, as nested tables.
    seed
        Of the initial weights and of every sample.
    """

    description: str
    steps: int
    network: NetworkRecipe
    samples: SampleRecipe
    loss: LossRecipe
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
    changes
        ``section.key=value``, each replacing what the file says.
    """
    table = tomllib.loads(_recipe_text(name_or_path))
    for change in changes:
        _merge(table, _read_change(change))
    return recipe_from(table)


def _read_change(change: str) -> dict[str, Any]:
    """Read ``key=value``; what is no TOML value is text."""
    key, _, value = change.partition('=')
    for text in (change, f'{key}={json.dumps(value)}'):
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            continue
    raise ValueError(f'Cannot read the change {change!r}: write section.key=value')


def _recipe_text(name_or_path: str) -> str:
    if name_or_path in shipped_recipes():
        return (SHIPPED / f'{name_or_path}.toml').read_text(encoding='utf-8')
    path = Path(name_or_path)
    if not path.is_file():
        raise FileNotFoundError(
            f'{name_or_path} is neither a recipe file nor one of {", ".join(shipped_recipes())}'
        )
    return path.read_text(encoding='utf-8')


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
    return recipe
