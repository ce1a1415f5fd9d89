"""Alignment finds a known motion, and knows where it failed."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from scipy.spatial.transform import Rotation

from bids_synthsr.dataset.images import load_rigid, save_rigid, save_volume
from bids_synthsr.imaging.geometry import apply_affine, displacement, rigid
from bids_synthsr.interfaces.registration import AlignScan, KeepAligned
from bids_synthsr.registration import alignment, greedy
from bids_synthsr.registration.alignment import OF_REFERENCE, align_scan
from bids_synthsr.registration.fit import GOOD_PEAK, Comparison
from bids_synthsr.registration.greedy import align
from bids_synthsr.values.grid import Grid

SHAPE = (44, 50, 44)
FAR = rigid(np.zeros(3), np.array([0, 0, 400.0]))
MOTION = rigid(np.radians([6.0, -4, 5]), np.array([6.0, -5, 4]))
# centre, radii and intensity (two contrasts) of what the head is made of, painted in this order
PARTS = (
    ((0, 0, 0), (75, 92, 78), (90, 30)),
    ((0, 2, 2), (66, 83, 69), (20, 15)),
    ((0, 2, 2), (62, 79, 65), (60, 90)),
    ((-25, 25, 20), (28, 22, 24), (110, 55)),
    ((30, -30, 15), (20, 34, 18), (110, 55)),
    ((12, 30, -25), (16, 20, 14), (30, 140)),
    ((-14, -22, -8), (12, 30, 20), (30, 140)),
)
# waves, radians per mm, whose crossings fold the cortex of the phantom
FOLDS = np.array([[0.15, 0.02, 0.03], [-0.03, 0.17, 0.02], [0.02, -0.03, 0.16]])


def grid_of_scan(spacing=(2.0, 2, 2)):
    shape = tuple(round(4 * n / mm) for n, mm in zip(SHAPE, spacing, strict=True))
    vox2ras = np.diag([*spacing, 1.0])
    vox2ras[:3, 3] = -vox2ras[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, vox2ras)


def scan(contrast, grid, ref2scan):
    """A head without symmetry, whose points were moved by ``ref2scan``."""
    points = apply_affine(grid.vox2ras, np.indices(grid.shape).reshape(3, -1).T)
    points = apply_affine(np.linalg.inv(ref2scan), points)
    voxels = np.zeros(len(points), np.float32)
    for center, radii, shades in PARTS:
        voxels[np.linalg.norm((points - center) / np.array(radii), axis=1) < 1] = shades[contrast]
    folds = np.abs(np.sin(points @ FOLDS)).prod(axis=1) > 0.2
    voxels[(voxels == PARTS[2][2][contrast]) & folds] = PARTS[3][2][contrast]
    noise = np.random.default_rng(contrast).normal(0, 2, (2, len(points)))
    return np.hypot(voxels + noise[0], noise[1]).reshape(grid.shape).astype(np.float32)


@pytest.fixture(scope='module')
def comparison():
    fixed, moving = grid_of_scan(), grid_of_scan((2, 2, 5))
    return Comparison(scan(0, fixed, np.eye(4)), fixed, scan(1, moving, MOTION), moving)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A reference and a scan of it, in a working folder with a space in its name."""
    fixed, moving = grid_of_scan(), grid_of_scan((2, 2, 5))
    folder = tmp_path / 'two words'
    folder.mkdir()
    monkeypatch.chdir(folder)
    reference = save_volume(tmp_path / 'reference.nii', scan(0, fixed, np.eye(4)), fixed)
    return reference, save_volume(tmp_path / 'scan.nii', scan(1, moving, MOTION), moving)


# the check


def test_truth_is_a_good_fit_and_tells_the_motion(comparison):
    fit = comparison.judge(np.linalg.inv(MOTION))
    assert fit.status == 'good' and fit.peak > GOOD_PEAK
    assert fit.similarity_after > fit.similarity_before
    turned = Rotation.from_matrix(MOTION[:3, :3]).magnitude()
    assert fit.rotation_deg == pytest.approx(np.degrees(turned), abs=1e-3)
    moved = displacement(MOTION, np.eye(4), comparison.points).mean()
    assert fit.displacement == pytest.approx(moved, rel=1e-6)
    assert fit.overlap > 0.9


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_displaced_alignment_is_found_out(comparison, axis):
    off = rigid(np.zeros(3), 8 * np.eye(3)[axis])
    fit = comparison.judge(off @ np.linalg.inv(MOTION))
    assert fit.status == 'failed'
    assert 'no position fits clearly better than those around it' in fit.reason


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_turned_alignment_is_found_out(comparison, axis):
    off = rigid(np.radians(12) * np.eye(3)[axis], np.zeros(3))
    assert comparison.judge(off @ np.linalg.inv(MOTION)).status == 'failed'


def test_little_overlap_is_found_out(comparison):
    fit = comparison.judge(FAR @ np.linalg.inv(MOTION))
    assert fit.overlap == 0
    assert fit.status == 'failed' and '0% of the head in the reference' in fit.reason


# the search


def test_known_motion_is_found_again_and_again(files):
    runs = [AlignScan(reference=files[0], scan=files[1], name='T2w').run() for _ in range(2)]
    first, second = (load_rigid(Path(run.outputs.scan2ref)) for run in runs)
    points = np.random.default_rng(1).uniform(-70, 70, (100, 3))
    # a tenth of a slice
    assert displacement(first @ MOTION, np.eye(4), points).mean() < 0.5
    np.testing.assert_array_equal(first, second)
    fit = runs[0].outputs.fit
    assert fit['name'] == 'T2w' and fit['status'] == 'good'


@pytest.mark.parametrize('start', greedy.STARTS)
def test_every_start_leads_there(files, start):
    scan2ref = greedy.run_greedy(*files, start)
    points = np.random.default_rng(1).uniform(-70, 70, (100, 3))
    assert displacement(scan2ref @ MOTION, np.eye(4), points).mean() < 0.5


def test_greedy_keeps_what_it_prints_to_itself(files, capfd):
    AlignScan(reference=files[0], scan=files[1], name='T2w').run()
    assert capfd.readouterr().out == ''
    assert Path('greedy.log').read_text().count('greedy -d 3') == 2  # coarse, then fine


def test_reference_stays_where_it_is(files):
    done = AlignScan(reference=files[0], scan=files[0], name='T1w').run()
    np.testing.assert_array_equal(load_rigid(Path(done.outputs.scan2ref)), np.eye(4))
    assert done.outputs.fit['reason'] == OF_REFERENCE


def test_second_start_is_tried_where_the_first_leads_astray(comparison, monkeypatch):
    truth, starts = np.linalg.inv(MOTION), []

    def run_greedy(reference, scan, start):
        starts.append(start)
        return truth if len(starts) == 2 else FAR

    monkeypatch.setattr(greedy, 'run_greedy', run_greedy)
    scan2ref, fit = align(comparison, Path(), Path())
    assert starts == list(greedy.STARTS[:2])
    assert fit.status == 'good'
    np.testing.assert_array_equal(scan2ref, truth)


def test_best_of_the_failures_is_told(comparison, monkeypatch):
    near = rigid(np.zeros(3), np.array([8.0, 0, 0])) @ np.linalg.inv(MOTION)
    ways = iter([FAR, near, FAR])
    monkeypatch.setattr(greedy, 'run_greedy', lambda *_: next(ways))
    scan2ref, fit = align(comparison, Path(), Path())
    assert fit.status == 'failed' and fit.peak > 0.1
    np.testing.assert_array_equal(scan2ref, near)


def test_known_transform_is_used_where_it_fits(files, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(alignment, 'align', lambda *_: (np.eye(4), None))
    good = save_rigid(tmp_path / 'good.txt', np.linalg.inv(MOTION))
    scan2ref, fit = align_scan(*files, 'T2w', good)
    np.testing.assert_allclose(scan2ref @ MOTION, np.eye(4), atol=1e-6)
    assert fit.reason.startswith(f'Its transform was given by {good}. It fits: ')
    far = save_rigid(tmp_path / 'far.txt', FAR)
    np.testing.assert_array_equal(align_scan(*files, 'T2w', far)[0], np.eye(4))
    assert 'far.txt does not fit; T2w is aligned anew' in caplog.text


# what follows


def test_what_does_not_fit_is_left_out(tmp_path):
    files = []
    for name in 'abcdef':
        (tmp_path / name).touch()
        files.append(str(tmp_path / name))
    aligned = (
        KeepAligned(
            scans=files[:3],
            scan2ref=files[3:],
            contrasts=['T1w', 'T2w', 'FLAIR'],
            names=['T1w', 'run-1_T2w', 'FLAIR'],
            acquisitions=[{'slice_axis': axis} for axis in range(3)],
            fits=[{'status': status} for status in ('good', 'failed', 'good')],
        )
        .run()
        .outputs
    )
    assert aligned.contrasts == aligned.names == ['T1w', 'FLAIR']
    assert [Path(path).name for path in aligned.scans + aligned.scan2ref] == ['a', 'c', 'd', 'f']
    assert aligned.acquisitions == [{'slice_axis': 0}, {'slice_axis': 2}]


def test_transform_opens_in_itk(tmp_path):
    """ITK maps points of the reference to the scan, in LPS."""
    transform = sitk.ReadTransform(str(save_rigid(tmp_path / 'xfm.txt', np.linalg.inv(MOTION))))
    lps = np.array([-1.0, -1, 1])
    for point in np.random.default_rng(2).uniform(-80, 80, (5, 3)):
        there = lps * transform.TransformPoint(tuple(lps * point))
        np.testing.assert_allclose(there, apply_affine(MOTION, point), atol=1e-4)


def test_itk_resamples_the_scan_into_the_reference(tmp_path):
    fixed, moving = grid_of_scan(), grid_of_scan((2, 2, 5))
    reference = save_volume(tmp_path / 'reference.nii', scan(0, fixed, np.eye(4)), fixed)
    moved = save_volume(tmp_path / 'scan.nii', scan(0, moving, MOTION), moving)
    transform = sitk.ReadTransform(str(save_rigid(tmp_path / 'xfm.txt', np.linalg.inv(MOTION))))
    images = [sitk.ReadImage(str(path), sitk.sitkFloat32) for path in (reference, moved)]
    there = sitk.GetArrayFromImage(sitk.Resample(images[1], images[0], transform))
    here = sitk.GetArrayFromImage(images[0])
    untouched = sitk.GetArrayFromImage(sitk.Resample(images[1], images[0], sitk.Transform()))
    # thick slices and noise blur it, the wrong direction would not overlap
    assert np.corrcoef(there.ravel(), here.ravel())[0, 1] > 0.93
    assert np.corrcoef(untouched.ravel(), here.ravel())[0, 1] < 0.85
