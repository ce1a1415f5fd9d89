"""Volumes of structures."""

import numpy as np
import pytest
import torch

from bids_synthsr.morphometry.quality import expected_dice
from bids_synthsr.morphometry.volumes import (
    StructureVolume,
    compare_structures,
    sum_probabilities,
    volumes_of,
)
from bids_synthsr.synthesis.labels import freesurfer_table
from bids_synthsr.values.structures import STRUCTURES

LABELS = (0, 2, 41, 24, 165)
SHAPE = (6, 7, 8)


def one_hot(classes):
    return torch.nn.functional.one_hot(classes, len(LABELS)).float()


@pytest.fixture
def classes():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(len(LABELS), SHAPE, generator=generator)


def test_certain_segmentation_has_its_counts_as_volumes(classes):
    sums = sum_probabilities(one_hot(classes), classes, LABELS)
    volumes = volumes_of(sums, LABELS, 2.0)
    counts = {index: 2.0 * int((classes == number).sum()) for number, index in enumerate(LABELS)}
    assert [(v.index, v.volume_mm3) for v in volumes[:-1]] == [
        (index, counts[index]) for index in (2, 41, 24)
    ]
    assert volumes[-1].name == 'Intracranial'
    assert volumes[-1].volume_mm3 == counts[2] + counts[41] + counts[24]
    assert all(volume.uncertainty_mm3 == 0 for volume in volumes)
    assert expected_dice(sums, LABELS) == pytest.approx(1)


def test_unsure_voxels_show_as_uncertainty(classes):
    unsure = 0.7 * one_hot(classes) + 0.3 * one_hot(classes.flip(0))
    sums = sum_probabilities(unsure, classes, LABELS)
    white = next(v for v in volumes_of(sums, LABELS, 1.0) if v.index == 2)
    likely = unsure[..., 1].numpy()
    assert white.volume_mm3 == pytest.approx(likely.sum())
    assert white.uncertainty_mm3 == pytest.approx((likely * (1 - likely)).sum())
    assert 0.5 < expected_dice(sums, LABELS) < 1


def test_confusion_within_the_skull_does_not_touch_its_volume(classes):
    brain = torch.tensor([1, 2])[classes % 2]
    unsure = 0.5 * one_hot(brain) + 0.5 * one_hot(3 - brain)
    total = volumes_of(sum_probabilities(unsure, brain, LABELS), LABELS, 1.0)[-1]
    assert total.volume_mm3 == pytest.approx(np.prod(SHAPE))
    assert total.uncertainty_mm3 == pytest.approx(0, abs=1e-3)


def test_structures_are_compared_side_by_side():
    truth = np.zeros((4, 4, 4))
    truth[:2], truth[2:] = 17, 53
    found = truth.copy()
    found[0] = 53  # left taken for right: no overlap in sum would show it
    measures = compare_structures(found, truth, 2.0)
    assert set(measures) == {'hippocampus'}
    assert measures['hippocampus']['reference_mm3'] == measures['hippocampus']['volume_mm3'] == 128
    assert measures['hippocampus']['dice'] == pytest.approx((2 / 3 + 4 / 5) / 2)


def test_volumes_that_are_known_better_are_not_counted():
    truth = np.repeat([17, 53], 32).reshape(4, 4, 4)
    better = {17: StructureVolume(17, 'Left-Hippocampus', 20.5, 2.0),
              53: StructureVolume(53, 'Right-Hippocampus', 21.0, 1.5)}  # fmt: skip
    (found,) = compare_structures(truth, truth, 1.0, better).values()
    assert found == {'dice': 1, 'volume_mm3': 41.5, 'reference_mm3': 64, 'uncertainty_mm3': 3.5}
    (found,) = compare_structures(truth, truth, 1.0, {}, better).values()
    assert found == {'dice': 1, 'volume_mm3': 64, 'reference_mm3': 41.5}


def test_every_class_of_the_training_has_a_name_and_a_colour():
    assert set(freesurfer_table().targets) == set(STRUCTURES)
    assert all(len(structure.color) == 7 for structure in STRUCTURES.values())
