"""Labels: pairs, classes and targets agree, and nothing is left uncovered."""

from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
import torch

from bids_synthsr.synthesis.labels import freesurfer_table
from bids_synthsr.synthesis.tissues import TISSUES

MAPS = Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'label-maps'


@pytest.fixture(scope='module')
def table():
    return freesurfer_table()


def test_values_are_unique_and_mirroring_twice_is_the_identity(table):
    values = torch.tensor([label.value for label in table.labels])
    assert len(values.unique()) == len(values)
    mirrored = table.mirror_of[values.int()]
    assert torch.equal(table.mirror_of[mirrored.int()].long(), values)


def test_both_sides_have_one_class_and_mirrored_targets(table):
    by_value = {label.value: label for label in table.labels}
    for label in table.labels:
        other = by_value[label.mirror]
        assert label.tissue == other.tissue and label.region == other.region
        assert by_value[label.target].mirror == other.target or label.value in range(251, 256)


def test_every_class_is_a_known_tissue_and_every_target_a_label(table):
    assert set(table.classes) <= set(TISSUES)
    assert table.targets[0] == 0 and table.target_names[0] == 'background'
    assert len(table.targets) == len(table.target_names) == len(set(table.target_names))


def test_lookups_agree_with_the_labels(table):
    for label in table.labels:
        assert table.classes[table.class_of[label.value]] == label.tissue
        assert table.targets[table.target_of[label.value]] == label.target


def test_classes_can_be_split_and_targets_merged(table):
    split = table.with_tissues({3: 'left-cortex'})
    assert split.class_of[3] != split.class_of[42] and 'left-cortex' in split.classes
    merged = table.with_targets({41: 2, 42: 3, 77: 0})
    assert 41 not in merged.targets and merged.target_of[77] == 0
    with pytest.raises(ValueError, match=r'Labels \[999\] are not in the table'):
        table.with_targets({999: 2})


def test_uncovered_labels_are_named(table):
    with pytest.raises(ValueError, match=r'map_7 holds labels \[99, 531\], which no class covers'):
        table.check(torch.tensor([0, 2, 99, 531]), 'map_7')


@pytest.mark.parametrize('number', ['01', '13'])
def test_public_label_maps_are_covered(table, number):
    path = MAPS / f'training_seg_{number}.nii.gz'
    if not path.exists():
        pytest.skip(f'{path} is not here')
    labels = np.asarray(nb.load(path).dataobj)[::2, ::2, ::2].astype(np.int16)
    table.check(torch.from_numpy(labels), path.name)


def test_classes_of_the_segmentation_are_called_after_labels_of_their_own():
    table = freesurfer_table()
    assert set(table.targets) <= {label.value for label in table.labels}
    named = dict(zip(table.target_names, table.target_tissues, strict=True))
    assert named['skull'] == 'bone' and named['left-cortex'] == 'cortex'
    head = [label for label in table.labels if label.region == 'head']
    assert {label.target for label in head} == {118, 125, 165, 258}
