import json
import re
from dataclasses import replace
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from bids_synthsr.dataset.kinds import find_agent
from bids_synthsr.dataset.scans import read_scan
from bids_synthsr.dataset.selection import (
    SAME_NAME,
    SelectionError,
    choose_reference,
    describe_exam,
    describe_orientation,
    leave_out,
    leave_out_failed,
    load_exam,
    parse_reference,
    registration_warnings,
    select_scans,
)
from bids_synthsr.imaging.geometry import rigid
from bids_synthsr.values.exam import Acquisition, Exam, Scan
from bids_synthsr.values.grid import Grid

THICK, THIN = (1, 1, 6), (1, 1, 1)


def scan(suffix, spacing=(1, 1, 5), **entities):
    """Usable scan without a file."""
    path = Path('_'.join([*(f'{key}-{value}' for key, value in entities.items()), suffix]))
    grid = Grid((200, 200, 30), np.diag([*spacing, 1.0]))
    slices = Acquisition(2, spacing[2], spacing[2])
    return Scan(path, suffix, entities, {}, grid, slices, agent=find_agent(entities, {}))


def exam(*scans):
    return Exam('01', '2', scans)


@pytest.mark.parametrize(
    ('scans', 'chosen', 'words'),
    [
        ([scan('T2w', THIN), scan('T1w', THICK)], 1, 'no contrast agent is named'),
        ([scan('T1w', THICK), scan('T1w', THIN)], 1, r'its coarsest axis is the finest \(1.00 mm'),
        ([scan('T1w', (0.4, 0.4, 5)), scan('T1w', THIN)], 1, r'the finest \(1.00 mm\)'),
        ([scan('T1w', (1, 1, 5)), scan('T1w', (0.5, 0.5, 5))], 1, r'smallest \(1.25 mm³\)'),
        ([scan('T1w', THIN), scan('T1w', THIN)], 0, 'the first of equally fine ones'),
        ([scan('T1w', THIN, ce='gad'), scan('T1w', THICK)], 1, 'no contrast agent is named'),
        ([scan('T1w', THIN, acq='postGd'), scan('T1w', THICK)], 1, 'no contrast agent is named'),
        (
            [scan('T2w', THIN), scan('T1w', THICK, ce='gad')],
            1,
            'the only T1w, and for it a contrast agent',
        ),
        ([scan('UNIT1', THIN), scan('T1w', THIN)], 1, 'it is no MP2RAGE'),
        ([scan('UNIT1', THIN), scan('T1w', THICK)], 0, 'its coarsest axis is the finest'),
        ([scan('FLAIR', THICK), scan('T2w'), scan('PDw', THICK)], 1, 'There is no T1w'),
        ([scan('inplaneT1', THICK), scan('FLAIR', THIN)], 1, 'There is no T1w'),
        ([scan('T2w', (1, 1, 5.00001)), scan('FLAIR')], 0, 'There is no T1w'),
    ],
)
def test_reference_is_the_plain_t1w_else_the_finest_scan(scans, chosen, words):
    reference, reason = choose_reference(scans)
    assert reference is scans[chosen]
    assert re.search(words, reason)


@pytest.mark.parametrize(
    ('wanted', 'chosen'),
    [
        ('T2w', 2),
        ('t2w', 2),
        ('suffix=T2w,acq=sag', 1),
        ('acq=sag', 1),
        ('acquisition=sag, suffix=T2w', 1),
        ('run=1,suffix=T1w', 3),
    ],
)
def test_reference_can_be_named(wanted, chosen):
    scans = [
        scan('T1w', THIN),
        scan('T2w', THICK, acq='sag'),
        scan('T2w', acq='ax'),
        scan('T1w', THICK, run='01'),
    ]
    reference, reason = choose_reference(scans, wanted)
    assert reference is scans[chosen]
    assert reason == f'It was asked for (--reference {wanted}).'


def test_named_reference_that_is_not_there_is_explained():
    with pytest.raises(ValueError, match='No usable scan matches --reference T2w; there are T1w'):
        choose_reference([scan('T1w')], 'T2w')
    with pytest.raises(SelectionError, match='sub-01_ses-2: No usable scan matches'):
        select_scans(exam(scan('T1w')), 'T2w')


@pytest.mark.parametrize(
    ('wanted', 'words'),
    [
        ('T3w', r'--reference T3w cannot be understood: give a suffix \(T1w, T2w'),
        ('suffix=', '--reference suffix= cannot be understood'),
        ('acq=sag,T1w', 'cannot be understood'),
        ('axis=sag', '--reference axis=sag cannot be understood'),
    ],
)
def test_reference_that_makes_no_sense_is_explained(wanted, words):
    with pytest.raises(ValueError, match=words):
        parse_reference(wanted)


def test_selection_puts_the_reference_first_and_keeps_the_order_of_the_table():
    scans = [scan('FLAIR'), scan('T1w', THICK), scan('T2w')]
    selection = select_scans(exam(*scans))
    assert selection.scans == (scans[1], scans[0], scans[2])
    assert [row['role'] for row in selection.rows] == ['used', 'reference', 'used']


def test_what_is_not_used_has_its_reason():
    bad = replace(scan('PDw'), problems=('It is broken.', 'It is empty.'))
    scans = [scan('T1w'), scan('FLAIR'), bad]
    rows = select_scans(exam(*scans), contrasts=['T1w']).rows
    assert [row['role'] for row in rows] == ['reference', 'left out', 'left out']
    assert rows[1]['reason'] == 'FLAIR is not among the contrasts asked for: T1w.'
    assert rows[2]['reason'] == 'It is broken. It is empty.'


def test_copies_are_used_once():
    scans = [
        replace(scan('T1w', run='1'), digest='a'),
        replace(scan('T1w', THIN, run='2'), digest='a'),
        replace(scan('T2w'), digest='b'),
        scan('PDw'),
        replace(scan('PDw'), path=Path('PDw.nii')),
    ]
    rows = select_scans(exam(*scans)).rows
    assert [row['role'] for row in rows] == ['reference', 'left out', 'used', 'used', 'left out']
    assert rows[1]['reason'] == 'It holds the same voxels as run-1_T1w.'
    assert rows[4]['reason'] == SAME_NAME


def test_exam_without_usable_scan_says_why_of_each():
    scans = [replace(scan(name), problems=(f'{name} is bad.',)) for name in ('T1w', 'T2w')]
    message = 'No usable anatomical scan in sub-01_ses-2: T1w: T1w is bad. T2w: T2w is bad.'
    with pytest.raises(SelectionError, match=message) as caught:
        select_scans(exam(*scans))
    assert [row['role'] for row in caught.value.rows] == ['left out', 'left out']


def test_scan_can_be_left_out_later():
    rows = select_scans(exam(scan('T1w'), scan('T2w'))).rows
    changed = leave_out(rows, 'T2w', 'It does not fit.')
    assert changed[0] == rows[0]
    assert (changed[1]['role'], changed[1]['reason']) == ('left out', 'It does not fit.')


def test_scans_that_cannot_be_aligned_are_left_out_and_named():
    warned = replace(scan('T1w'), warnings=('Thick.',))
    rows = select_scans(exam(warned, scan('T2w'), scan('FLAIR'))).rows
    fits = [
        {'name': 'T1w', 'status': 'good', 'reason': 'It is the reference.'},
        {'name': 'T2w', 'status': 'failed', 'reason': 'It does not fit.'},
        {'name': 'FLAIR', 'status': 'good', 'reason': 'It fits.'},
    ]
    marked = leave_out_failed(rows, fits)
    assert [row['role'] for row in marked] == ['reference', 'left out', 'used']
    assert registration_warnings(marked, fits) == ['T1w: Thick.', 'T2w: It does not fit.']


@pytest.mark.parametrize(
    ('directions', 'axis', 'words'),
    [
        (np.eye(3), 2, 'axial'),
        (np.eye(3)[[1, 2, 0]], 2, 'coronal'),
        (-np.eye(3)[[2, 0, 1]], 2, 'sagittal'),
        (rigid(np.radians([12.0, 0, 0]), np.zeros(3))[:3, :3], 2, 'axial, 12 degrees oblique'),
        (rigid(np.radians([0, 0, 30.0]), np.zeros(3))[:3, :3], 2, 'axial'),
        (rigid(np.radians([4.0, 0, 0]), np.zeros(3))[:3, :3], 2, 'axial'),
    ],
)
def test_orientation_is_that_of_the_slices(directions, axis, words):
    vox2ras = np.eye(4)
    vox2ras[:3, :3] = directions * [1, 1, 5]
    assert describe_orientation(Grid((9, 9, 9), vox2ras), axis) == words


def test_voxels_of_about_one_size_have_no_orientation():
    assert describe_orientation(Grid((9, 9, 9), np.diag([1, 1, 1.2, 1])), 2) == 'isotropic'


@pytest.fixture
def found(tmp_path):
    """Exam with a head of 128 mm, a copy of it in another file, and a constant volume."""
    distance = np.linalg.norm(np.indices((20, 20, 20)) - 9.5, axis=0)
    head = np.maximum(8 - distance, 0).astype(np.float32)
    for name, voxels in {'run-1_T1w': head, 'run-2_T1w': head, 'T2w': head * 0}.items():
        image = nb.Nifti1Image(voxels, np.diag([8.0, 8, 8, 1]))
        image.to_filename(tmp_path / f'{name}.nii.gz')
    scans = [
        read_scan(tmp_path / 'run-1_T1w.nii.gz', 'T1w', {'run': '1'}, {'SliceThickness': 7}),
        read_scan(tmp_path / 'run-2_T1w.nii.gz', 'T1w', {'run': '2'}),
        read_scan(tmp_path / 'T2w.nii.gz', 'T2w'),
        Scan(tmp_path / 'FLAIR.nii.gz', 'FLAIR', problems=('Excluded.',)),
    ]
    return Exam('01', None, tuple(scans))


def test_exam_is_loaded_from_its_description(found):
    described = json.loads(json.dumps(describe_exam(found, 'fingerprint')))
    exam, voxels = load_exam(described)
    assert (exam.subject, exam.session) == ('01', None)
    for before, after in zip(found.scans, exam.scans, strict=True):
        assert before == replace(after, digest='', problems=after.problems[: len(before.problems)])
    assert [*voxels] == ['run-1_T1w', 'run-2_T1w']
    assert voxels['run-1_T1w'].dtype == np.float32


def test_voxels_complete_the_verdicts(found):
    exam, _ = load_exam(describe_exam(found, ''))
    rows = select_scans(exam).rows
    assert [row['role'] for row in rows] == ['reference', 'left out', 'left out', 'left out']
    assert 'the same voxels' in rows[1]['reason']
    assert 'All its voxels have the value 0' in rows[2]['reason']
    assert rows[3]['reason'] == 'Excluded.'
    assert rows[0]['slice_thickness_mm'] == '7'
