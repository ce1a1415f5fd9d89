"""How far the segmentation of an exam can be trusted, without a reference to compare it with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from bids_synthsr.morphometry.volumes import ProbabilitySums
from bids_synthsr.values.structures import STRUCTURES

REASONS = {
    'expected_dice': 'the network is unsure of its segmentation',
    'coverage': 'part of the brain lies outside of the field of view',
    'agreement': 'its scans contradict each other',
}


@dataclass(frozen=True)
class Quality:
    """How far an exam can be trusted; each figure from 0 to 1.

    Parameters
    ----------
    expected_dice
        Mean Dice that the segmentation can expect if the network's probabilities are right.
    coverage
        Share of the brain that lies in the field of view of the output.
    agreement
        Mean Dice between the segmentations from all scans and from all but one, the least over
        the scans; 1 for a single scan, which nothing can contradict.
    """

    expected_dice: float
    coverage: float
    agreement: float

    @property
    def score(self) -> float:
        """All three together: their product."""
        return self.expected_dice * self.coverage * self.agreement

    def as_facts(self) -> dict[str, float]:
        """Return the three figures and the score, rounded to 3 digits."""
        figures = {**asdict(self), 'score': self.score}
        return {name: round(value, 3) for name, value in figures.items()}


def quality_warnings(quality: Quality, least_score: float) -> list[str]:
    """Explain in a sentence why an exam is doubtful; nothing for a good one.

    Parameters
    ----------
    quality
        The quality of the exam.
    least_score
        Score from which an exam counts as good.
    """
    if quality.score >= least_score:
        return []
    worst = min(asdict(quality).items(), key=lambda item: item[1])[0]
    warning = (
        f'The quality of this exam is {quality.score:.2f}, below {least_score:g}: '
        f'{REASONS[worst]}. Look at it before you use it.'
    )
    return [warning]


def expected_dice(sums: ProbabilitySums, labels: Sequence[int]) -> float:
    """Average the expected Dice of the structures of the brain that occur; 0 for none.

    Parameters
    ----------
    sums
        Sums of the probabilities, by class.
    labels
        Label value of each class, ``(L,)``.
    """
    occurs = [
        STRUCTURES[label].is_brain and count > 0
        for label, count in zip(labels, sums.voxels, strict=True)
    ]
    return float(sums.dice[occurs].mean()) if any(occurs) else 0.0


def dice_between(first: np.ndarray, second: np.ndarray, labels: Sequence[int]) -> float:
    """Average the Dice of the structures of the brain that either segmentation shows.

    Parameters
    ----------
    first, second
        Label values of two segmentations, of one shape.
    labels
        Label values that may occur in them.
    """
    scores = []
    for label in labels:
        one, other = first == label, second == label
        size = int(one.sum()) + int(other.sum())
        if STRUCTURES[label].is_brain and size:
            scores.append(2 * int((one & other).sum()) / size)
    return float(np.mean(scores)) if scores else 0.0
