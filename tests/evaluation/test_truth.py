"""The truth: labels in RAS order, the T1w of 1 mm, and the brain."""

import numpy as np
import pytest
from label_phantoms import draw_labels, grid_of, paint_t1w

from bids_synthsr.evaluation.truth import (
    conform_head,
    labels_in_ras,
    make_truth,
)
from bids_synthsr.imaging.geometry import apply_affine
from bids_synthsr.imaging.resampling import take_nearest
from bids_synthsr.synthesis.labels import freesurfer_table
from bids_synthsr.values.grid import Grid

TABLE = freesurfer_table()
BRAIN = (2, 41, 3, 42, 10, 49, 24)


def test_labels_come_in_ras_order_without_the_air_around():
    labels = np.zeros((40, 44, 48), np.float32)
    labels[6:38, 6:38, 8:40] = draw_labels()
    turned, grid = labels_in_ras(labels, grid_of(labels.shape), 'map')
    left = Grid(
        (48, 44, 40), np.array([[0, 0, -1.0, 39], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    )
    again, same = labels_in_ras(labels[::-1].transpose(2, 1, 0), left, 'map')
    np.testing.assert_array_equal(again, turned)
    assert same == grid and turned.shape < labels.shape and turned.dtype == np.int32
    np.testing.assert_array_equal(take_nearest(turned, grid, grid_of(labels.shape)), labels)


@pytest.mark.parametrize(
    ('voxels', 'spacing', 'message'),
    [(draw_labels(), 2.0, 'voxels of 2 x 2 x 2 mm; label maps must have 1 mm'),
     (draw_labels() + 0.5, 1.0, 'no whole numbers'), (np.zeros((8, 8, 8)), 1.0, 'is empty')],
)  # fmt: skip
def test_what_is_no_label_map_is_refused(voxels, spacing, message):
    with pytest.raises(ValueError, match=message):
        labels_in_ras(voxels, grid_of(voxels.shape, spacing), 'map')


def test_nearest_labels_are_never_mixed_and_end_with_the_volume():
    labels = draw_labels()
    shifted = Grid(labels.shape, grid_of(labels.shape).vox2ras.copy())
    shifted.vox2ras[:3, 3] = (0.4, -0.4, 20)
    nearest = take_nearest(labels, grid_of(labels.shape), shifted)
    np.testing.assert_array_equal(nearest[1:-1, 1:-1, :12], labels[1:-1, 1:-1, 20:])
    assert not nearest[:, :, 12:].any()


def test_conformed_head_has_1_mm_in_ras_order_and_nothing_negative():
    rng = np.random.default_rng(1)
    source = Grid((10, 12, 14), np.diag([-1.2, 0.8, 1.0, 1.0]))
    voxels = rng.normal(0, 1, source.shape).astype(np.float32)
    voxels[0, 0, 0] = 50
    head, grid = conform_head(voxels, source)
    assert head.shape == grid.shape == (12, 10, 14) and head.min() == 0
    np.testing.assert_array_equal(grid.vox2ras[:3, :3], np.eye(3))
    brightest = np.array(np.unravel_index(head.argmax(), head.shape))
    assert np.abs(apply_affine(grid.vox2ras, brightest)).max() < 1  # where it was before


def test_painted_truth_has_white_matter_at_1000():
    labels = draw_labels()
    truth = make_truth(labels.astype(np.float32), grid_of(labels.shape), 'map', TABLE)
    assert truth.head[truth.labels == 2].mean() == pytest.approx(1000, rel=0.03)
    np.testing.assert_array_equal(truth.mask > 0, np.isin(truth.labels, BRAIN))
    assert set(np.unique(truth.reference)) == {0, *BRAIN, 165, 118}
    assert truth.mask.dtype == np.uint8 and truth.reference.dtype == np.int16


def test_real_truth_lies_on_the_grid_of_its_image():
    labels = draw_labels()
    image = paint_t1w(labels), grid_of(labels.shape)
    truth = make_truth(labels.astype(np.float32), image[1], 'map', TABLE, image)
    assert truth.grid == image[1]
    np.testing.assert_allclose(truth.head, image[0], atol=1e-3)
    np.testing.assert_array_equal(truth.labels, labels)


def test_unknown_labels_are_refused():
    labels = draw_labels().astype(np.float32)
    labels[labels == 2] = 9999
    with pytest.raises(ValueError, match=r'map holds labels \[9999\]'):
        make_truth(labels, grid_of(labels.shape), 'map', TABLE)
