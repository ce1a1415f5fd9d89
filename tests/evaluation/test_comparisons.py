"""Volumes are compared with the truth, and with scans that they must explain."""

import numpy as np
import pytest
from label_phantoms import draw_labels, grid_of
from PIL import Image

from bids_synthsr.evaluation.comparisons import (
    axis_across,
    compare_segmentations,
    compare_with_truth,
    explain_scan,
    on_grid,
    save_comparison,
)
from bids_synthsr.imaging.forward_model import acquire
from bids_synthsr.imaging.geometry import rigid, with_slices
from bids_synthsr.imaging.similarity import closeness
from bids_synthsr.morphometry.volumes import StructureVolume
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation

SHAPE = (30, 30, 30)
SLICES = Acquisition(2, 1.0, 1.0)


@pytest.fixture
def truth():
    return np.random.default_rng(0).uniform(0, 1, (8, 8, 8))


def test_units_of_a_volume_do_not_count(truth):
    everywhere = np.ones(truth.shape, bool)
    fitted, measures = compare_with_truth(3 - 2 * truth, truth, everywhere)
    np.testing.assert_allclose(fitted, truth, atol=1e-6)
    assert measures['correlation'] == pytest.approx(1) and 'expected_l1' not in measures


def test_only_the_brain_counts(truth):
    brain = truth > 0.3
    volume = np.where(brain, truth + 0.05 * np.sin(9 * truth), 9)
    fitted, measures = compare_with_truth(volume, truth, brain)
    assert measures == closeness(fitted, truth, brain) and measures['l1'] < 0.05


def test_expected_errors_stand_beside_those_that_were_made(truth):
    brain, scale = np.ones(truth.shape, bool), np.full(truth.shape, 0.1)
    _, measures = compare_with_truth(2 * truth + 3, truth, brain, scale)
    # errors of 0.1 in units of the volume are 0.05 in those of the truth
    assert measures['expected_l1'] == pytest.approx(0.05 / np.ptp(truth), rel=1e-4)
    assert measures['l1'] == pytest.approx(0, abs=1e-5)


def test_volumes_are_resampled_only_where_they_lie_elsewhere(truth):
    grid, shifted = grid_of(truth.shape), grid_of(truth.shape)
    assert on_grid(truth, grid, grid_of(truth.shape)) is truth
    shifted.vox2ras[0, 3] = 1
    np.testing.assert_allclose(on_grid(truth, grid, shifted)[:-1], truth[1:], atol=1e-6)


def test_structures_are_compared_by_their_volumes_where_these_are_known():
    labels, grid = np.repeat(np.int16([17, 53]), 256).reshape(8, 8, 8), grid_of((8, 8, 8))
    volumes = [StructureVolume(index, 'Hippocampus', 250.0, 20.0) for index in (17, 53)]
    measures = compare_segmentations((labels, grid), (labels, grid), volumes, [])
    assert measures == {
        'hippocampus': {
            'dice': 1, 'volume_mm3': 500, 'reference_mm3': 512, 'uncertainty_mm3': 40,
        }
    }  # fmt: skip
    counted = compare_segmentations((labels, grid), (labels, grid), [], volumes)
    assert counted['hippocampus'] == {'dice': 1, 'volume_mm3': 512, 'reference_mm3': 500}


def test_segmentations_on_other_grids_are_compared_where_the_truth_lies():
    labels, grid = draw_labels(), grid_of(draw_labels().shape)
    flipped = Grid(grid.shape, np.diag([-1.0, 1, 1, 1]))
    flipped.vox2ras[0, 3] = grid.shape[0] - 1
    one = compare_segmentations((labels[::-1], flipped), (labels, grid), [], [])
    assert one == compare_segmentations((labels, grid), (labels, grid), [], [])
    assert one['cortex']['dice'] == 1


def test_the_brain_is_compared_alone_where_it_is_known():
    rng, brain = np.random.default_rng(1), np.zeros(SHAPE, np.float32)
    brain[8:22, 8:22, 8:22] = 1
    anatomy, other = (50 + 50 * rng.random(SHAPE).astype(np.float32) for _ in range(2))
    # the rest of the head is another one
    voxels = np.where(brain, anatomy, other)
    scan = Observation('T1w', voxels, grid_of(SHAPE), SLICES, np.eye(4))
    explanation = explain_scan(anatomy, grid_of(SHAPE), scan, brain)
    assert explanation.structures['brain']['correlation'] > 0.99
    assert explanation.measures['correlation'] < 0.5
    assert explain_scan(anatomy, grid_of(SHAPE), scan).structures == {}


def test_scan_is_explained_where_it_lies_and_in_its_contrast():
    head = np.zeros(SHAPE, np.float32)
    head[5:25, 5:25, 5:25] = 20 + 80 * np.random.default_rng(1).random((20, 20, 20))
    grid, slices = grid_of(SHAPE), Acquisition(2, 3.0, 3.0)
    motion = rigid(np.radians([2.0, -3, 1]), np.array([1.0, -2, 0.5]), grid.center)
    scan_grid = with_slices(grid, 2, 3.0)
    voxels = acquire(head, grid, scan_grid, slices, np.linalg.inv(motion))
    # some other contrast, that rises less the brighter the head is
    scan = Observation('T2w', np.sqrt(voxels.clip(0)), scan_grid, slices, motion)
    explanation = explain_scan(head, grid, scan)
    # isotonic regression fits steps, which leaves about 1 % of the range
    assert explanation.measures['correlation'] > 0.99
    assert explanation.scan.shape == explanation.fitted.shape == scan_grid.shape
    assert explanation.grid == scan_grid and explanation.fitted[0, 0, 0] == 0


def test_scan_that_shows_nothing_of_the_volume_is_refused():
    far = grid_of(SHAPE)
    far.vox2ras[:3, 3] = 400
    head = np.random.default_rng(1).random(SHAPE, np.float32)
    scan = Observation('FLAIR', head, far, SLICES, np.eye(4))
    with pytest.raises(ValueError, match='The FLAIR that was left out shows nothing'):
        explain_scan(head, grid_of(SHAPE), scan)


def test_axis_across_slices_is_the_nearest_one():
    vox2ras = rigid(np.radians([10.0, 20, 5]), np.zeros(3)) @ np.eye(4)[:, [2, 0, 1, 3]]
    assert [axis_across(Grid((4, 4, 4), vox2ras), axis) for axis in range(3)] == [2, 0, 1]


def test_comparison_is_drawn_as_a_jpeg(tmp_path, truth):
    path = save_comparison([truth, truth], grid_of(truth.shape), 2, tmp_path / 'rows.jpg')
    assert path.read_bytes()[:2] == b'\xff\xd8' and [*tmp_path.iterdir()] == [path]
    rows = Image.open(path).height // 2
    save_comparison([truth, truth], grid_of(truth.shape), 2, path, scan=10 * truth)
    assert Image.open(path).height == pytest.approx(3 * rows, rel=0.02)
