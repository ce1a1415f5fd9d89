"""A contact sheet of what a recipe generates, beside real scans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from bids_synthsr.dataset.images import load_volume
from bids_synthsr.imaging.geometry import output_grid
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.synthesis.generator import normalisation_range
from bids_synthsr.training.cohort import Cohort
from bids_synthsr.training.pictures import GREY, Tile, batch_tiles, draw_sheet
from bids_synthsr.training.recipe import Recipe
from bids_synthsr.training.samples import GALLERY, seed_of
from bids_synthsr.training.sources import make_sources


def draw_gallery(
    recipe: Recipe, cohort: Cohort[Any], real_scans: Sequence[Path], rows: int = 8
) -> Figure:
    """Draw a row for each of the first batches of the gallery, then the real scans.

    Parameters
    ----------
    recipe
        Recipe whose samples are drawn.
    cohort
        Heads or images to draw from.
    real_scans
        Files of real scans, which are shown at 1 mm in their middle coronal plane.
    rows
        Number of batches to draw.
    """
    source, _ = make_sources(recipe, cohort, torch.device('cpu'))
    sheet = [batch_tiles(source.draw(seed_of(recipe, GALLERY, row))) for row in range(rows)]
    width = max(len(row) for row in sheet)
    tiles = [real_tile(path) for path in real_scans]
    sheet += [tiles[first : first + width] for first in range(0, len(tiles), width)]
    return draw_sheet(sheet)


def real_tile(path: Path) -> Tile:
    """Show a real scan as the network would see it."""
    voxels, grid = load_volume(path)
    volume = resample(voxels, grid, output_grid(grid))
    low, high = (float(x) for x in normalisation_range(torch.from_numpy(volume), 'percentiles'))
    grey = np.clip((volume - low) / (high - low), 0, 1)
    return path.name.split('.')[0], grey[:, grey.shape[1] // 2], GREY
