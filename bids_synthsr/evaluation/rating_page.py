"""A page on which raters choose between two versions of images, and do not learn which is which.

It needs no network. The key, which tells the versions apart, is a file beside it that the page
does not read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bids_synthsr.dataset.files import write_json, write_text
from bids_synthsr.dataset.images import load_volume
from bids_synthsr.derivatives.tables import table_text
from bids_synthsr.evaluation.comparisons import on_grid
from bids_synthsr.evaluation.ratings import (
    SCORES,
    SIDES,
    VERSIONS,
    RatedItem,
    read_answers,
    read_key,
    summarise_ratings,
)
from bids_synthsr.reports.embedding import png_strip
from bids_synthsr.reports.pages import write_page
from bids_synthsr.reports.screen import (
    cropped,
    head_box,
    slice_panel,
    slice_positions,
    to_screen,
    window_of,
)

PAGE, KEY = 'rating.html', 'rating_key.json'
LEAST_OVERLAP = 0.5  # of what the first shows, that the second must show, too


def write_rating_page(
    items: Sequence[RatedItem], files: Sequence[Path], folder: Path, slices: int = 1
) -> list[Path]:
    """Write the page and its key.

    Parameters
    ----------
    items
        Questions in the order of the page.
    files
        Folders of the first and of the second version; images have the names of the items.
    folder
        Folder for page and key.
    slices
        Number of slices in each of the three planes.

    Returns
    -------
    paths
        The page, and its key.

    Raises
    ------
    ValueError
        If the two versions of an image do not lie in one place.
    """
    pictures = {item.name: _draw(item.name, files, slices) for item in items}
    shown = []
    for item in items:
        first, second = pictures[item.name]
        in_order = (first, second) if item.a == VERSIONS[0] else (second, first)
        shown.append(dict(zip(SIDES, in_order, strict=True)))
    page = write_page(
        'rating.html',
        folder / PAGE,
        script_names=('rating.js',),
        items=shown,
        scores=list(SCORES),
    )
    folders = dict(zip(VERSIONS, map(str, files), strict=True))
    key = write_json(folder / KEY, {**folders, 'items': [asdict(item) for item in items]})
    return [page, key]


def sum_up(folder: Path, tables: Sequence[Path]) -> tuple[dict[str, float], list[Path]]:
    """Sum up what raters answered, and write answers and summary as tables.

    Parameters
    ----------
    folder
        Folder of the page and its key.
    tables
        Tables that raters saved, one each.

    Returns
    -------
    summary, paths
        What `summarise_ratings` returns, and the tables.

    Raises
    ------
    ValueError
        If there is no key, or a table is not of its page.
    """
    if not (folder / KEY).is_file():
        raise ValueError(f'{folder} holds no {KEY}: give the folder that the page was written to')
    items = read_key(folder / KEY)
    ratings = [rating for table in tables for rating in read_answers(table, items)]
    asked = [(rating.rater, rating.item) for rating in ratings]
    if len({*asked}) < len(asked):
        raise ValueError('A rater answered a question twice: do two tables have the same name?')
    summary = summarise_ratings(ratings)
    numbers = {
        name: 'n/a' if math.isnan(value) else f'{value:.5g}' for name, value in summary.items()
    }
    paths = [
        write_text(folder / 'ratings.tsv', table_text([rating.as_row() for rating in ratings])),
        write_text(folder / 'ratings_summary.tsv', table_text([numbers])),
    ]
    return summary, paths


def _draw(name: str, folders: Sequence[Path], slices: int) -> tuple[str, str]:
    """Draw the same slices of both versions of an image; ``data:`` addresses."""
    (first, grid), (other, other_grid) = (load_volume(folder / name) for folder in folders)
    second = on_grid(other, other_grid, grid)
    shown = first > 0
    if shown.any() and (second[shown] > 0).mean() < LEAST_OVERLAP:
        raise ValueError(f'{name}: the two versions do not lie in one place')
    screens = [to_screen(volume, grid) for volume in (first, second)]
    box = head_box(screens[0])
    parts = [cropped(screen, box) for screen in screens]
    places = [
        (axis, index) for axis in (2, 1, 0) for index in slice_positions(parts[0], axis, slices)
    ]
    windows = [window_of(volume) for volume in (first, second)]
    one, other_one = (
        png_strip([slice_panel(part, axis, index, window) for axis, index in places])
        for part, window in zip(parts, windows, strict=True)
    )
    return one, other_one
