"""Blinded ratings of two versions of the same images: their key, and what raters preferred."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from bids_synthsr.dataset.files import parse_json, read_text

SIDES = ('a', 'b')
CHOICES = (*SIDES, 'none')
VERSIONS = ('first', 'second')
COLUMNS = ('rater', 'item', 'preference', 'a_score', 'b_score', 'note')
SCORES = range(1, 6)
LEAST_RATERS = 2  # whose agreement can be told


@dataclass(frozen=True)
class RatedItem:
    """One question to a rater: two versions of an image, one above the other.

    Parameters
    ----------
    name
        File name of the image.
    a
        Which version is called A, ``first`` or ``second``; the other one is B.
    is_repeat
        Whether it was asked before, perhaps with A and B exchanged.
    """

    name: str
    a: str
    is_repeat: bool = False


@dataclass(frozen=True)
class Rating:
    """The answer of a rater, with the versions told apart.

    Parameters
    ----------
    rater
        Name that the rater gave.
    item
        Number of the question in the key, from 0.
    name
        File name of the image.
    preference
        Version that looks better, ``first`` or ``second``, or ``none``.
    scores
        Quality of the first and the second version, 1 to 5.
    is_repeat
        Whether the question was asked before.
    """

    rater: str
    item: int
    name: str
    preference: str
    scores: tuple[int, int]
    is_repeat: bool

    def as_row(self) -> dict[str, Any]:
        """Give it as a row of a table, questions counted from 1 as on the page."""
        return {
            'rater': self.rater,
            'item': self.item + 1,
            'name': self.name,
            'preference': self.preference,
            'score_first': self.scores[0],
            'score_second': self.scores[1],
            'is_repeat': self.is_repeat,
        }


def draw_items(names: Sequence[str], repeats: int, seed: int) -> list[RatedItem]:
    """Put questions in a random order, with A and B at random and some that are asked twice.

    Parameters
    ----------
    names
        File names of the images.
    repeats
        Number of questions that are asked a second time; no more than there are.
    seed
        Seed of order, names and repeats.
    """
    chance = random.Random(seed)  # no secret hangs on it
    items = [RatedItem(name, chance.choice(VERSIONS)) for name in names]
    chance.shuffle(items)
    for name in chance.sample(list(names), min(repeats, len(names))):
        first = next(at for at, item in enumerate(items) if item.name == name)
        place = chance.randint(first + 1, len(items))
        items.insert(place, RatedItem(name, chance.choice(VERSIONS), is_repeat=True))
    return items


def read_key(path: Path) -> list[RatedItem]:
    """Read the key of a page.

    Raises
    ------
    ValueError
        If the file is none.
    """
    try:
        rows = parse_json(read_text(path))['items']
        items = [RatedItem(str(x['name']), x['a'], bool(x['is_repeat'])) for x in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{path} is no key of a page for raters: {error!r:.100}') from error
    if not items or any(item.a not in VERSIONS for item in items):
        raise ValueError(f'{path} is no key of a page for raters: it tells no versions')
    return items


def read_answers(path: Path, items: Sequence[RatedItem]) -> list[Rating]:
    """Read the answers of a rater, and tell the versions apart by the key.

    Parameters
    ----------
    path
        Table that the page saved.
    items
        Questions of the key.

    Raises
    ------
    ValueError
        With the line, for what the page does not write.
    """
    rows = list(csv.DictReader(read_text(path).splitlines(), delimiter='\t'))
    if not rows or not {*COLUMNS} <= rows[0].keys():
        raise ValueError(
            f'{path} is no table of answers: its columns are not {", ".join(COLUMNS)}'
        )
    ratings = [_read_row(row, items, f'{path}, line {at}') for at, row in enumerate(rows, 2)]
    seen = [(rating.rater, rating.item) for rating in ratings]
    if len({*seen}) < len(seen):
        raise ValueError(f'{path} answers a question twice')
    return ratings


def _read_row(row: Mapping[str, Any], items: Sequence[RatedItem], where: str) -> Rating:
    """Read a line of answers."""
    try:
        number, scores = int(row['item']), [int(row[f'{side}_score']) for side in SIDES]
    except (TypeError, ValueError) as error:
        raise ValueError(f'{where}: item and scores must be whole numbers') from error
    if not 1 <= number <= len(items):
        raise ValueError(f'{where}: the key has no item {number}: is it that of another page?')
    if row['preference'] not in CHOICES or not all(score in SCORES for score in scores):
        raise ValueError(
            f'{where}: the preference must be a, b or none, and scores 1 to {SCORES[-1]}'
        )
    item = items[number - 1]
    versions = dict(zip(SIDES, VERSIONS if item.a == VERSIONS[0] else VERSIONS[::-1], strict=True))
    by_version = dict(zip(versions.values(), scores, strict=True))
    return Rating(
        rater=str(row['rater'] or '').strip() or 'unnamed',
        item=number - 1,
        name=item.name,
        preference=versions.get(row['preference'], 'none'),
        scores=(by_version['first'], by_version['second']),
        is_repeat=item.is_repeat,
    )


def summarise_ratings(ratings: Sequence[Rating]) -> dict[str, float]:
    """Sum up what raters preferred; questions that were asked again count for agreement alone.

    Returns
    -------
    summary
        ``raters``, ``answers``, how many preferred ``first``, ``second`` or ``none``; the
        ``share_of_second`` among those who preferred one, with the ends of its 95 % interval
        (Wilson); mean ``score_first`` and ``score_second``; ``kappa`` of all raters (Fleiss), and
        ``same_again``: the share of repeated questions that were answered alike. What cannot be
        told is NaN.
    """
    once = [rating for rating in ratings if not rating.is_repeat]
    counts = {
        choice: sum(rating.preference == choice for rating in once)
        for choice in (*VERSIONS, 'none')
    }
    decided = counts['first'] + counts['second']
    low, high = wilson_interval(counts['second'], decided)
    means = [
        sum(rating.scores[at] for rating in once) / len(once) if once else math.nan
        for at in range(2)
    ]
    return {
        'raters': len({rating.rater for rating in ratings}),
        'answers': len(once),
        **counts,
        'share_of_second': counts['second'] / decided if decided else math.nan,
        'share_low': low,
        'share_high': high,
        'score_first': means[0],
        'score_second': means[1],
        'kappa': fleiss_kappa(_table(once)),
        'same_again': _same_again(ratings),
    }


def wilson_interval(count: int, total: int) -> tuple[float, float]:
    """Compute the 95 % interval of a share (Wilson 1927).

    Parameters
    ----------
    count, total
        How many of how many; NaN for none.
    """
    if total == 0:
        return math.nan, math.nan
    interval = binomtest(count, total).proportion_ci(method='wilson')
    return float(interval.low), float(interval.high)


def fleiss_kappa(table: Sequence[Sequence[int]]) -> float:
    """Compute the agreement of raters beyond chance (Fleiss 1971).

    Parameters
    ----------
    table
        For each item how often each answer was given; all items by the same number of raters.

    Returns
    -------
    kappa
        1 for full agreement, 0 for that of chance; NaN for fewer than two raters or items.
    """
    raters = sum(table[0]) if table else 0
    if raters < LEAST_RATERS:
        return math.nan
    shares = [sum(row[at] for row in table) / (len(table) * raters) for at in range(len(table[0]))]
    agreed = sum(
        (sum(count * count for count in row) - raters) / (raters * (raters - 1)) for row in table
    )
    observed, by_chance = agreed / len(table), sum(share * share for share in shares)
    return math.nan if by_chance == 1 else (observed - by_chance) / (1 - by_chance)


def _table(ratings: Sequence[Rating]) -> list[list[int]]:
    """Count the answers to each question that all raters answered."""
    raters = {rating.rater for rating in ratings}
    by_item: dict[int, list[str]] = {}
    for rating in ratings:
        by_item.setdefault(rating.item, []).append(rating.preference)
    return [
        [answers.count(choice) for choice in (*VERSIONS, 'none')]
        for answers in by_item.values()
        if len(answers) == len(raters)
    ]


def _same_again(ratings: Sequence[Rating]) -> float:
    """Compute the share of repeated questions that a rater answered alike; NaN for none."""
    first = {(x.rater, x.name): x.preference for x in ratings if not x.is_repeat}
    alike = [*_alike(ratings, first)]
    return sum(alike) / len(alike) if alike else math.nan


def _alike(ratings: Sequence[Rating], first: Mapping[tuple[str, str], str]) -> Iterator[bool]:
    for rating in ratings:
        if rating.is_repeat and (rating.rater, rating.name) in first:
            yield rating.preference == first[rating.rater, rating.name]
