"""The demo data set: BIDS, repeatable, and its truth is what it says."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from bids_synthsr.dataset.images import load_rigid, load_volume
from bids_synthsr.dataset.query import find_exams
from bids_synthsr.evaluation.phantoms import (
    NOISE,
    PROTOCOLS,
    load_tissues,
    make_demo,
    paint_tissues,
)
from bids_synthsr.imaging.forward_model import acquire
from bids_synthsr.imaging.geometry import rotation_angle_deg
from bids_synthsr.values.exam import Acquisition


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp('demo')
    make_demo(folder)
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob('*')
        if path.is_file() and path.suffix != '.gz'  # gzip stores the time
    }


def test_it_is_a_data_set_of_two_exams_with_three_usable_scans(demo):
    exams = find_exams(demo / 'bids')
    assert [exam.label for exam in exams] == ['sub-01_ses-1', 'sub-01_ses-2']
    for exam in exams:
        assert sorted(scan.suffix for scan in exam.scans) == ['FLAIR', 'T1w', 'T2w']
        assert all(scan.is_usable and not scan.warnings for scan in exam.scans)
        for scan in exam.scans:
            _, acquisition = scan.geometry
            assert (
                acquisition.slice_spacing,
                acquisition.slice_thickness,
            ) == PROTOCOLS[exam.session][scan.suffix][1:]


def test_scan_is_the_truth_moved_and_sliced(demo):
    """The scan, simulated again from the truth, differs by nothing but noise."""
    name = 'sub-01_ses-1'
    voxels, grid = load_volume(demo / f'bids/sub-01/ses-1/anat/{name}_T2w.nii.gz')
    truth, source = load_volume(demo / f'truth/{name}_T2w.nii.gz')
    scan2ref = load_rigid(demo / f'truth/{name}_from-T2w_to-T1w_mode-image_xfm.txt')
    axis, spacing, thickness = PROTOCOLS['1']['T2w']
    again = acquire(truth, source, grid, Acquisition(axis, spacing, thickness),
                    np.linalg.inv(scan2ref))  # fmt: skip
    tissue = again > 40
    error = (voxels / 4 - again)[tissue]
    assert abs(error.mean()) < 0.1  # a twentieth of the noise
    assert error.std() == pytest.approx(NOISE, rel=0.05)
    assert 0.5 < rotation_angle_deg(scan2ref) < 9


def test_contrasts_are_those_of_the_brain():
    tissues = load_tissues()
    layers = dict(tissues.layers)
    white, grey = layers['wm'] > 0.95, (layers['gm'] > 0.9) & (layers['wm'] < 0.05)
    t1w, t2w = paint_tissues(tissues, 'T1w'), paint_tissues(tissues, 'T2w')
    assert t1w[white].mean() > t1w[grey].mean() + 20
    assert t2w[white].mean() < t2w[grey].mean() - 15
    assert t1w[0].max() == 0  # air at the border


def test_equal_seeds_give_equal_scans(demo, tmp_path):
    make_demo(tmp_path)
    assert digests(tmp_path) == digests(demo)
    scan = 'bids/sub-01/ses-2/anat/sub-01_ses-2_FLAIR.nii.gz'
    np.testing.assert_array_equal(load_volume(tmp_path / scan)[0], load_volume(demo / scan)[0])


def test_descriptions_are_json(demo):
    for path in demo.rglob('*.json'):
        assert json.loads(path.read_text())
