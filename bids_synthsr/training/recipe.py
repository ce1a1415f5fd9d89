"""A recipe: everything that defines a training but the data, as a value and as a TOML file."""

from __future__ import annotations

import dataclasses
import difflib
import json
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar('T')

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

    name: str = 'adam'
    learning_rate: float = 1e-4
    schedule: str = 'constant'
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

    precision: str = 'bf16'
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


CHOICES = {
    ('network', 'name'): ('unet', 'exam_unet', 'slice_unet'),
    ('samples', 'source'): ('generator', 'slices'),
    ('optimizer', 'name'): ('adam', 'adamw', 'muon'),
    ('optimizer', 'schedule'): ('constant', 'cosine'),
    ('numerics', 'precision'): ('bf16', 'fp32'),
}


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
    """Make a recipe of the nested tables of a TOML file or of a weight header."""
    recipe = dataclass_from(Recipe, table, 'recipe')
    for (part, key), choices in CHOICES.items():
        chosen = getattr(getattr(recipe, part), key)
        if chosen not in choices:
            raise ValueError(
                f'recipe: {part}.{key} is {chosen!r}; choose one of {", ".join(choices)}'
            )
    if not any(getattr(recipe.loss, term) > 0 for term in LOSS_TERMS):
        raise ValueError('recipe: no term of the loss has a weight; set loss.l1 = 1.0, for one')
    return recipe


def dataclass_from(
    kind: type[T], table: Mapping[str, Any], where: str, start: T | None = None
) -> T:
    """Make a dataclass of nested tables, strictly.

    Parameters
    ----------
    kind
        The dataclass.
    where
        What to call the table in a message.
    start
        Values of the fields that ``table`` leaves out; None takes the defaults of the dataclass.

    Raises
    ------
    ValueError
        For a key that the dataclass does not know, with the nearest that it does know; for a
        value of another type; for a field without value.
    """
    fields = {entry.name: entry for entry in dataclasses.fields(typing.cast(Any, kind))}
    hints = typing.get_type_hints(kind)
    for key in table:
        if key not in fields:
            raise ValueError(f'{where}: {unknown_key(key, list(fields))}')
    values = {} if start is None else {name: getattr(start, name) for name in fields}
    for key, value in table.items():
        values[key] = _value(hints[key], value, f'{where}: {key}', values.get(key))
    for name, entry in fields.items():
        has_default = not (entry.default is entry.default_factory is dataclasses.MISSING)
        if name not in values and not has_default:
            raise ValueError(f'{where}: {name} is missing')
    return kind(**values)


def unknown_key(key: str, known: list[str]) -> str:
    """Say that a key is not known, and which might be meant."""
    near = difflib.get_close_matches(key, known, 1)
    if near:
        return f'unknown key {key!r}; did you mean {near[0]!r}?'
    return f'unknown key {key!r}; it may hold {", ".join(known)}'


def _value(hint: Any, value: Any, where: str, start: Any) -> Any:
    """Convert a TOML value to the type of its field."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return dataclass_from(typing.cast(type, hint), value, where, start)
    origin = typing.get_origin(hint) or hint
    if origin is tuple and isinstance(value, list | tuple):
        return _tuple(typing.get_args(hint), value, where)
    if origin is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin in (dict, Mapping) or getattr(origin, '__name__', '') == 'Mapping':
        origin = Mapping
    is_bool_for_number = isinstance(value, bool) and origin is not bool
    if origin is not Any and (not isinstance(value, origin) or is_bool_for_number):
        name = getattr(hint, '__name__', str(hint))
        raise ValueError(f'{where} is {value!r}, not of type {name}')
    return value


def _tuple(hints: tuple[Any, ...], values: Sequence[Any], where: str) -> tuple[Any, ...]:
    """Convert a TOML array to a tuple."""
    if len(hints) == 2 and hints[1] is Ellipsis:
        hints = hints[:1] * len(values)
    if len(hints) != len(values):
        raise ValueError(f'{where} is {list(values)}, not {len(hints)} values')
    return tuple(
        _value(hint, value, where, None) for hint, value in zip(hints, values, strict=True)
    )
