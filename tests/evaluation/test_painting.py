"""Contrasts are painted from labels, and scans lie where their transforms say."""

import numpy as np
import pytest
import torch
from label_phantoms import draw_labels, grid_of, paint_t1w

from bids_synthsr.evaluation.painting import (
    CONTRASTS,
    MOTION_DEG,
    ScanProtocol,
    as_targets,
    draw_head_motion,
    paint_contrast,
    paint_truth,
    simulate_exam,
)
from bids_synthsr.imaging.geometry import apply_affine, rotation_angle_deg
from bids_synthsr.imaging.intensity import bright_intensity
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.synthesis.labels import freesurfer_table
from bids_synthsr.values.exam import Acquisition

TABLE = freesurfer_table()


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def scan_phantom(contrasts, profile='gaussian', noise=0.0, **options):
    """Scan a head with slices of 4 mm; options are those of `simulate_exam`."""
    head = paint_t1w(draw_labels())
    protocol = ScanProtocol(Acquisition(2, 4.0, 4.0), profile, noise)
    return [*simulate_exam(head, grid_of(head.shape), contrasts, protocol, seeded(), **options)]


@pytest.mark.parametrize('contrast', CONTRASTS)
def test_contrasts_are_painted_equally_for_equal_seeds(contrast):
    labels = draw_labels()
    one, other = (paint_contrast(labels, contrast, TABLE, seeded(3)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert one.shape == labels.shape and np.isfinite(one).all() and one.min() >= 0


def test_motion_stays_within_its_bounds_and_turns_about_the_centre():
    center = np.array([10.0, -20, 30])
    for seed in range(20):
        motion = draw_head_motion(seeded(seed), center)
        assert 0 < rotation_angle_deg(motion) < np.sqrt(3) * MOTION_DEG + 0.1
        assert np.abs(apply_affine(motion, center) - center).max() <= 6


def test_scans_of_an_exam_lie_where_their_transforms_say():
    labels = draw_labels()
    head, grid = paint_t1w(labels), grid_of(labels.shape)
    protocol = ScanProtocol(Acquisition(2, 1.0, 1.0))
    first, second = simulate_exam(head, grid, ['T1w', 'T1w'], protocol, seeded())
    assert (first.acquisition.slice_axis, second.acquisition.slice_axis) == (2, 1)
    np.testing.assert_array_equal(first.scan2ref, np.eye(4))
    np.testing.assert_array_equal(first.voxels, head)
    assert np.abs(second.scan2ref - np.eye(4)).max() > 0.5
    back = resample(second.voxels, second.grid, grid, second.scan2ref)
    brain = np.isin(labels, (2, 41, 3, 42, 10, 49))
    truth, there = head[brain], second.voxels[brain]
    assert np.corrcoef(back[brain], truth)[0, 1] > 0.9 > np.corrcoef(there, truth)[0, 1]


def test_other_contrasts_are_painted_and_t1w_only_where_asked():
    labels = draw_labels()
    t1w, flair = scan_phantom(['T1w', 'FLAIR'], painted=(labels, TABLE))
    (real,) = scan_phantom(['T1w'])
    (painted,) = scan_phantom(['T1w'], painted=(labels, TABLE), is_t1w_painted=True)
    np.testing.assert_array_equal(t1w.voxels, real.voxels)
    assert np.abs(painted.voxels - real.voxels).max() > 1
    assert flair.contrast == 'FLAIR' and flair.grid.shape == (32, 8, 32)


@pytest.mark.parametrize('contrast', CONTRASTS)
def test_the_truth_of_a_painted_scan_is_the_scan_without_its_noise(contrast):
    labels = draw_labels()
    scan = paint_contrast(labels, contrast, TABLE, seeded(3))
    truth = paint_contrast(labels, contrast, TABLE, seeded(3), is_noisy=False)
    for label in np.unique(labels):
        inside = labels == label
        values = truth[inside]
        assert np.ptp(values) == 0  # a tissue has one intensity
        if inside.sum() > 500 and values[0] > 3 * scan[inside].std():  # no magnitude near 0
            error = scan[inside].std() / np.sqrt(inside.sum() * 0.05)  # texture correlates voxels
            assert scan[inside].mean() == pytest.approx(values[0], abs=4 * error)


def test_slices_of_a_box_are_means_of_the_voxels_in_them():
    head = paint_t1w(draw_labels())
    (scan,) = scan_phantom(['T1w'], profile='box')
    means = head.reshape(*head.shape[:2], -1, 4).mean(-1)
    np.testing.assert_allclose(scan.voxels, means, rtol=1e-5, atol=1e-3)  # float32 of 1000
    assert np.abs(scan_phantom(['T1w'])[0].voxels - means).max() > 1


def test_noise_is_that_percentage_of_bright_tissue_and_moves_nothing():
    labels = draw_labels()
    clean, noisy, again = (
        scan_phantom(['T1w', 'FLAIR'], noise=noise, painted=(labels, TABLE)) for noise in (0, 2, 2)
    )
    for one, other, same in zip(clean, noisy, again, strict=True):
        np.testing.assert_array_equal(one.scan2ref, other.scan2ref)
        np.testing.assert_array_equal(other.voxels, same.voxels)
        bright = bright_intensity(one.voxels)
        inside = one.voxels > 0.5 * bright  # where magnitudes are nearly Gaussian
        added = (other.voxels - one.voxels)[inside] / bright
        assert added.std() == pytest.approx(0.02, rel=0.1) and abs(added.mean()) < 0.002


def test_painting_needs_labels():
    with pytest.raises(ValueError, match='A T2w scan is painted from labels: there are none'):
        scan_phantom(['T1w', 'T2w'])


def test_truth_calls_parcels_cortex_bone_skull_and_fat_adipose():
    labels = np.array([[[1005, 2005, 515, 507, 511, 601, 17, 0]]])
    np.testing.assert_array_equal(
        as_targets(labels, TABLE), [[[3, 42, 165, 258, 118, 125, 17, 0]]]
    )
    assert paint_truth(np.full((8, 8, 8), 2), TABLE).max() == pytest.approx(1, abs=1e-5)
