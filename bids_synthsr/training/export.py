"""From a checkpoint to weights that others can use: a small file and its model card."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bids_synthsr import __version__
from bids_synthsr.dataset.files import sha256, write_text
from bids_synthsr.dataset.weights import Weights, load_weights, save_weights
from bids_synthsr.training.checkpoints import best_of, flat

WIDTH = 99  # characters of a line of a model card


def export_weights(
    weights: Weights,
    path: Path,
    licence: str,
    notes: str = '',
    is_half: bool = True,
    caution: str = '',
    odds: Mapping[int, float] | None = None,
) -> Path:
    """Write the weights of a checkpoint, and their model card beside them.

    Parameters
    ----------
    weights
        Weights of a training, as `load_trained` reads them.
    path
        File of safetensors to write.
    licence
        SPDX identifier under which the weights may be used.
    notes
        Markdown to end the card with: figures on people held out, known failures.
    is_half
        Whether to store the weights in 16 bits, which takes half the space.
    caution
        Sentence that all users of the weights must know: outputs and reports repeat it.
    odds
        Odds of each class by its label value, from `calibrate`. None leaves those of the
        checkpoint, if any.

    Returns
    -------
    card
        ``path`` with the ending ``.md``.

    Raises
    ------
    ValueError
        If ``path`` does not end in ``.safetensors``, or holds the state of a training.
    """
    check_export(path)
    tensors = best_of(weights)
    if is_half:
        tensors = {
            name: value.to(torch.float16) if value.is_floating_point() else value
            for name, value in tensors.items()
        }
    described = {key: value for key, value in weights.description.items() if key != 'sums'}
    description = {**described, 'licence': licence, 'version': __version__}
    if caution:
        description['caution'] = caution
    if odds:
        description['odds'] = [odds[label] for label in description['labels']]
    save_weights(path, tensors, description)
    size = sum(value.numel() for value in tensors.values())
    card = path.with_suffix('.md')
    return write_text(card, model_card(path, description, size) + notes)


def check_export(path: Path) -> None:
    """Refuse a name for weights under which something else is or would be.

    Parameters
    ----------
    path
        File of safetensors that is to be written.

    Raises
    ------
    ValueError
        If it does not end in ``.safetensors``, or holds the state of a training.
    """
    if path.suffix != '.safetensors':
        raise ValueError(f'--out {path}: weights are files that end in .safetensors')
    if path.exists() and 'sums' in load_weights(path).description:
        raise ValueError(f'--out {path} holds the state of a training: choose another name')


def load_trained(checkpoint: Path) -> Weights:
    """Read weights that a training of this program wrote: a checkpoint or an export."""
    weights = load_weights(checkpoint)
    if not {'recipe', 'step', 'data'} <= weights.description.keys():
        raise ValueError(f'{checkpoint} is no checkpoint of a training: it holds no recipe')
    return weights


def model_card(path: Path, description: Mapping[str, Any], size: int) -> str:
    """Write what a reader of published weights should know, in Markdown."""
    recipe, data = description['recipe'], description['data']
    training, validation = ', '.join(data['training']), ', '.join(data['validation']) or 'none'
    hours = description['seconds'] / 3600
    arguments = ', '.join(f'{key}={value}' for key, value in description['arguments'].items())
    lines = [
        f'# {path.stem}',
        '',
        recipe['description'],
        '',
    ]
    facts = [
        f'* Network: `{description["network"]}({arguments})`, {size:,} numbers',
        f'* Licence: {description["licence"]}',
        f'* Made with bids_synthsr {description["version"]}, seed {recipe["seed"]}',
        f'* Steps: {description["step"]} of {recipe["steps"]}, {hours:.1f} h',
        f'* Device: {description["device"]}',
        f'* Trained on {len(data["training"])} heads: {training}',
        f'* Validated on {len(data["validation"])} heads: {validation}',
        f'* SHA-256: {sha256(path)}',
        *(
            [f'* Judged meanwhile by the segmenter {description["segmenter"]}']
            if 'segmenter' in description
            else []
        ),
        *(
            [f'* Odds by which probabilities of the classes are multiplied: {description["odds"]}']
            if 'odds' in description
            else []
        ),
        *([f'* **{description["caution"]}**'] if 'caution' in description else []),
    ]
    for fact in facts:
        lines += textwrap.wrap(
            fact, WIDTH, subsequent_indent='  ', break_long_words=False, break_on_hyphens=False
        )
    lines += [
        '',
        '## Validation',
        '',
        *table(description['validation'] or {'none': 'nothing was measured during this training'}),
        '',
        '## Recipe',
        '',
        *table(flat(recipe)),
        '',
    ]
    return '\n'.join(lines)


def table(values: Mapping[str, Any]) -> list[str]:
    """Write names and values as a Markdown table."""
    rows = [
        f'| {name} | {f"{value:.4g}" if isinstance(value, float) else value} |'
        for name, value in values.items()
    ]
    return ['| | |', '|---|---|', *rows]
