"""Scans and folders whose names are not quite those of BIDS are never passed over."""

import os
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from bids_synthsr.dataset.filenames import name_fault, plain_label, plain_name, split_name
from bids_synthsr.dataset.query import find_exams
from bids_synthsr.dataset.selection import SelectionError, select_scans
from bids_synthsr.derivatives.places import Derivatives


@pytest.fixture
def root(tmp_path):
    root = tmp_path / 'bids'
    add(root, 'sub-01/anat/sub-01_T1w.nii.gz')
    (root / 'dataset_description.json').write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    return root


def add(root, name):
    path = root / os.fsdecode(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nb.Nifti1Image(np.ones((16, 16, 16), np.uint8), np.diag([8.0, 8, 8, 1]))
    image.to_filename(path.with_name('scan.nii.gz'))
    path.with_name('scan.nii.gz').rename(path)


def exam_of(root, label):
    return {exam.label: exam for exam in find_exams(root)}[label]


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('sub-01/anat/sub-01_acq-0.8mm_T1w.nii.gz', '"acq-0.8mm" is no entity'),
        ('sub-01/anat/sub-01_acq-_T1w.nii.gz', '"acq-" is no entity'),
        ('sub-01/anat/sub-01_mine_T1w.nii.gz', '"mine" is no entity'),
        ('sub-01/anat/sub-01__T2w.nii.gz', '"" is no entity'),
        ('sub-01/anat/sub-01_acq-a_acq-b_T1w.nii.gz', '"acq" 2 times'),
        ('sub-01/anat/sub-01_t1w.nii.gz', 'ends in "t1w", which is no contrast'),
        ('sub-01/anat/sub-01_T2w.NII.GZ', 'ends in ".NII.GZ" instead of ".nii.gz"'),
        ('sub-01/anat/sub-01_T2w.nii.bz2', 'no NIfTI file'),
        ('sub-01/anat/T1.mgz', 'no NIfTI file'),
        (b'sub-01/anat/sub-01_T2w\xe9.nii.gz', r'"T2w\xe9", which is no contrast'),
        (b'sub-01/anat/sub-01_T2w\x1b[2J.nii.gz', '"T2w [2J", which is no contrast'),
        ('sub-01/anat/sub-01_desc-preproc_T1w.nii.gz', 'as derivatives have'),
        ('sub-01/anat/sub-01_space-MNI_T1w.nii.gz', 'as derivatives have'),
        ('sub-01/anat/sub-01_from-a_to-b_T1w.nii.gz', 'as derivatives have'),
        ('sub-01/anat/sub-01_T1map.nii.gz', 'T1map is no contrast that is used'),
        ('sub-01/sub-01_T2w.nii.gz', 'outside of a folder anat'),
        ('sub-01/Anat/sub-01_T2w.nii.gz', 'Its folder Anat must be called anat'),
        ('sub-01/anat/more/sub-01_T2w.nii.gz', 'a folder inside of anat'),
    ],
)
def test_a_scan_is_left_out_with_its_reason(root, name, words):
    add(root, name)
    exam = exam_of(root, 'sub-01')
    assert [scan.name for scan in exam.scans if scan.is_usable] == ['T1w']
    (odd,) = (scan for scan in exam.scans if not scan.is_usable)
    assert words in odd.problems[0]
    (row,) = (row for row in select_scans(exam).rows if row['role'] == 'left out')
    assert row['reason'] == odd.problems[0] and row['file'] == plain_name(
        Path(os.fsdecode(name)).name
    )


@pytest.mark.parametrize(
    ('folder', 'label'),
    [
        ('sub-3.1', 'sub-3~2E1'),
        ('sub-', 'sub-~'),
        ('sub-01_ses-2', 'sub-01~5Fses~2D2'),
        ('sub-$(touch x);y', 'sub-~24~28touch~20x~29~3By'),
        ('Sub-02', 'sub-Sub~2D02'),
        (b'sub-\xff', 'sub-~ED~B3~BF'),
        ('sub-02/ses-', 'sub-02_ses-~'),
        ('sub-02/ses-a.b', 'sub-02_ses-a~2Eb'),
        ('sub-02/visit', 'sub-02_ses-visit'),
    ],
)
def test_a_folder_is_an_exam_that_cannot_be_processed(root, folder, label):
    add(root, os.fsencode(folder) + b'/anat/sub-02_T1w.nii.gz')
    exam = exam_of(root, label)
    with pytest.raises(SelectionError, match='is not named as BIDS wants it'):
        select_scans(exam)
    place = Derivatives(root.parent / 'out').exam_of(label)
    assert place.label == label and place.report.parent == root.parent / 'out'
    assert exam_of(root, 'sub-01').scans[0].is_usable


def test_labels_stay_apart():
    labels = ['01', '01_ses-2', '01~5Fses~2D2', '', '~', 'a b', 'a  b', 'x' * 300, 'y' * 300]
    labels += [f'{"-" * 300}{end}' for end in 'ab']
    plain = [plain_label(label) for label in labels]
    assert len(set(plain)) == len(labels) and plain[0] == '01'
    assert all(len(x.encode()) <= 300 for x in plain)


def test_a_folder_of_other_images_is_no_exam(root):
    add(root, 'sub-01/mri/orig.mgz')
    add(root, 'sub-01/func/sub-01_task-rest_bold.nii.gz')
    add(root, 'sub-01/anat/.hidden_T1w.nii.gz')
    add(root, 'subjects/x.nii.gz/y_T1w.nii.gz')
    assert [exam.label for exam in find_exams(root) if exam.scans] == ['sub-01']
    assert [scan.name for scan in exam_of(root, 'sub-01').scans] == ['T1w']


def test_the_order_of_entities_does_not_make_another_name(root):
    add(root, 'sub-01/anat/sub-01_acq-a_run-1_T1w.nii.gz')
    add(root, 'sub-01/anat/sub-01_run-1_acq-a_T1w.nii.gz')
    rows = select_scans(exam_of(root, 'sub-01')).rows
    assert [row['reason'] for row in rows if row['role'] == 'left out'] == [
        'Another file has the same name, but for its extension or the order of its entities.'
    ]


def test_settings_of_pybids_in_the_data_set_are_not_obeyed(root):
    for folder in (root, root / 'sub-01/anat'):
        os.mkfifo(folder / 'layout_config.json')
    assert exam_of(root, 'sub-01').scans[0].is_usable


def test_links_in_circles_end(root):
    for folder in (root / 'sub-01', root / 'sub-01/anat'):
        (folder / 'loop').symlink_to(folder)
        (folder / 'itself').symlink_to('itself')
    assert [scan.name for scan in exam_of(root, 'sub-01').scans if scan.is_usable] == ['T1w']


def test_good_names_have_no_fault():
    for name in (
        'sub-01_ses-2_acq-a+b_run-02_part-mag_T2starw.nii.gz',
        'T1w.nii',
        'sub-1_UNIT1.nii',
    ):
        assert not name_fault(name)
        assert split_name(name)
