"""How far a segmentation can be trusted."""

import numpy as np
import pytest
import torch

from bids_synthsr.morphometry.quality import (
    Quality,
    dice_between,
    expected_dice,
    quality_warnings,
)
from bids_synthsr.morphometry.volumes import sum_probabilities

LABELS = (0, 2, 41, 24, 165)
SHAPE = (6, 7, 8)


def test_score_is_the_product_of_the_figures():
    quality = Quality(expected_dice=0.9, coverage=0.8, agreement=0.5)
    assert quality.score == pytest.approx(0.36)
    assert quality.as_facts() == {
        'expected_dice': 0.9, 'coverage': 0.8, 'agreement': 0.5, 'score': 0.36,
    }  # fmt: skip


@pytest.mark.parametrize(
    ('figures', 'reason'),
    [((0.3, 1.0, 1.0), 'the network is unsure of its segmentation'),
     ((0.9, 0.3, 1.0), 'part of the brain lies outside of the field of view'),
     ((0.9, 1.0, 0.3), 'its scans contradict each other')],
)  # fmt: skip
def test_doubtful_exam_is_explained_by_its_worst_figure(figures, reason):
    (warning,) = quality_warnings(Quality(*figures), 0.5)
    assert f'below 0.5: {reason}. Look at it' in warning
    assert quality_warnings(Quality(*figures), 0.1) == []


def test_expected_dice_is_what_truths_drawn_from_the_probabilities_give():
    generator = torch.Generator().manual_seed(1)
    probabilities = torch.rand(40, 40, 40, 2, generator=generator)
    probabilities /= probabilities.sum(-1, keepdim=True)
    classes = probabilities.argmax(-1)
    expected = expected_dice(sum_probabilities(probabilities, classes, (0, 2)), (0, 2))
    truth = torch.rand(40, 40, 40, generator=generator) < probabilities[..., 1]
    dice = 2 * float((truth & (classes == 1)).sum()) / float(truth.sum() + (classes == 1).sum())
    assert expected == pytest.approx(dice, abs=0.01)  # 64,000 voxels: 0.005 is two sd


def test_segmentation_without_brain_has_no_expected_dice():
    probabilities = torch.zeros(2, 2, 2, 2)
    probabilities[..., 0] = 1
    sums = sum_probabilities(probabilities, probabilities.argmax(-1), (0, 2))
    assert expected_dice(sums, (0, 2)) == 0


def test_dice_between_counts_what_either_shows():
    first, second = np.full(SHAPE, 2), np.full(SHAPE, 2)
    assert dice_between(first, second, LABELS) == 1
    second[:3] = 41
    assert dice_between(first, second, LABELS) == pytest.approx((2 / 3 + 0) / 2)
    assert dice_between(np.zeros(SHAPE), np.zeros(SHAPE), LABELS) == 0
