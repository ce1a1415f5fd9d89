"""Contact sheets: what a recipe generates, and what a network predicts from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from bids_synthsr.dataset.files import written_atomically
from bids_synthsr.networks.exam_unet import Prediction
from bids_synthsr.training.samples import Batch

INCHES, DPI = 2.0, 100  # size and resolution of a tile
Tile = tuple[str, np.ndarray, str]  # title, slice (I, J), colour map
GREY, COLOURS, HEAT = 'gray', 'nipy_spectral', 'magma'


def draw_sheet(rows: Sequence[Sequence[Tile]]) -> Figure:
    """Draw rows of slices, R to the right and A or S up."""
    width = max(len(row) for row in rows)
    figure = Figure((width * INCHES, len(rows) * INCHES * 1.12), DPI, layout='constrained')
    axes = figure.subplots(len(rows), width, squeeze=False)
    for axis in axes.flat:
        axis.axis('off')
    for row, row_axes in zip(rows, axes, strict=True):
        for (title, tile, colours), axis in zip(row, row_axes, strict=False):
            top = None if colours == HEAT else (1.0 if colours == GREY else tile.max())
            axis.imshow(tile.T, cmap=colours, origin='lower', vmin=0, vmax=top)
            axis.set_title(title, fontsize=7)
    return figure


def save_figure(path: Path, figure: Figure) -> Path:
    """Write a figure in the format that the name of the file says, whole or not at all."""
    with written_atomically(path) as temporary:
        figure.savefig(temporary, format=path.suffix.removeprefix('.') or 'png')
    return path


def batch_tiles(batch: Batch) -> list[Tile]:
    """Show the scans of the first exam of a batch, its target and its labels, coronal."""
    count = batch.scans.shape[1]
    tiles = [(f'scan {n + 1}', middle(batch.scans[:, n : n + 1]), GREY) for n in range(count)]
    tiles.append(('target', middle(batch.target), GREY))
    if batch.segmentation is not None:
        tiles.append(('labels', middle(batch.segmentation[:, None]), COLOURS))
    return tiles


def prediction_tiles(prediction: Prediction) -> list[Tile]:
    """Show what a network predicts for the first exam of a batch."""
    tiles = [('network', middle(prediction.t1w), GREY)]
    if prediction.logits is not None:
        labels = prediction.logits.argmax(1)[:, None]
        tiles.append(('network labels', middle(labels), COLOURS))
    if prediction.log_scale is not None:
        tiles.append(('expected error', middle(prediction.log_scale.exp()), HEAT))
    return tiles


def middle(volume: Tensor) -> np.ndarray:
    """Cut a slice out of ``(B, C, I, J, K)``: the middle coronal one, or of a few slices one."""
    first = volume[0, 0].float().cpu()
    if first.shape[2] < first.shape[1] // 2:  # some slices: one that lies between two
        return first[..., max(first.shape[2] // 2 - 1, 0)].numpy()
    return first[:, first.shape[1] // 2].numpy()
