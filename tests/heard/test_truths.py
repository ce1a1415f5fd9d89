"""Evaluations refuse as truth what is none, each with its reason, and go on with the others."""

import json
import shutil

import nibabel as nb
import numpy as np
import pytest
from doors import sub_command
from label_phantoms import draw_labels, grid_of
from phantoms import centred, head, write_scan

from bids_synthsr.dataset.images import save_volume
from bids_synthsr.evaluation.head_files import find_heads, find_maps
from bids_synthsr.evaluation.refusals import describe_missing, load_truth, refuse_heads
from bids_synthsr.run import left_out

main = sub_command('evaluate')


def write_t1w(folder, subject, spacing=(1.5, 1.5, 1.5), volumes=1, sidecar=None):
    """Write the phantom as a T1w of these voxel sizes."""
    shape = tuple(round(length / mm) for length, mm in zip((156, 196, 156), spacing, strict=True))
    grid = centred(shape, np.diag([*spacing, 1.0]))
    path = save_volume(folder / f'sub-{subject}_T1w.nii.gz', head(grid), grid)
    if volumes > 1:
        voxels = np.repeat(head(grid)[..., None], volumes, axis=3)
        nb.save(nb.Nifti1Image(voxels, grid.vox2ras), path)
    if sidecar:
        (folder / f'sub-{subject}_T1w.json').write_text(json.dumps(sidecar))
    return path


def faults_of(folder):
    heads = tuple(find_heads(folder, []).values())
    _, refusals = refuse_heads(heads, folder)
    return ' '.join(refusals)


@pytest.mark.parametrize(
    ('facts', 'reason'),
    [
        ({'spacing': (1.0, 1.0, 5.0)}, 'Its coarsest axis has 5 mm, and a truth may have 1.5 mm'),
        ({'spacing': (1.6, 3.0, 3.0)}, 'Its coarsest axis has 3 mm'),
        ({'spacing': (1.6, 3.0, 3.0), 'volumes': 2}, 'It holds 2 volumes'),
        ({'sidecar': {'SliceThickness': 5.0}}, '(SliceThickness) its slices had 5 mm'),
        ({'sidecar': {'SliceThickness': '4'}}, '(SliceThickness) its slices had 4 mm'),
        ({'sidecar': {'SliceThickness': [4]}}, '(SliceThickness) its slices had 4 mm'),
        ({'sidecar': {'SpacingBetweenSlices': 5}}, '(SpacingBetweenSlices) its slices had 5 mm'),
        ({'sidecar': {'Modality': 'CT'}}, 'calls it CT'),
        ({'sidecar': {'SeriesDescription': 'ax t2_tse'}}, 'calls it a T2w (SeriesDescription'),
        ({'sidecar': {'ProtocolName': 'FLAIR_3D'}}, 'calls it a FLAIR (ProtocolName'),
        ({'sidecar': {'ImageType': ['ORIGINAL', 'PRIMARY', 'P']}}, 'a phase image'),
        ({'sidecar': {'Synthetic': True}}, 'A program made it'),
        ({'sidecar': {'SeriesDescription': 'ep2d_diff_ADC'}}, 'calls it no scan, or several'),
        ({'sidecar': {'SeriesDescription': 't1 t2 ratio'}}, 'calls it no scan, or several'),
        ({'sidecar': {'SeriesDescription': 'mp2rage_INV1'}}, 'an inversion of an MP2RAGE'),
    ],
)
def test_what_is_no_t1w_of_1_mm_is_refused_as_truth(tmp_path, facts, reason):
    write_t1w(tmp_path, '01', **facts)
    assert reason in faults_of(tmp_path) and 'sub-01_T1w.nii.gz' in faults_of(tmp_path)


@pytest.mark.parametrize(
    'facts',
    [
        {},
        {'sidecar': {'SliceThickness': 1.0, 'SeriesDescription': 'AX T1 FLAIR'}},
        {'sidecar': {'SeriesDescription': 'anonymous', 'SliceThickness': 'n/a'}},
        {'sidecar': {'Synthetic': False}},
    ],
)
def test_a_t1w_of_about_1_mm_is_a_truth(tmp_path, facts):
    write_t1w(tmp_path, '01', **facts)
    assert faults_of(tmp_path) == ''


def test_a_sidecar_in_a_plain_folder_is_that_of_one_image(tmp_path):
    for name in ('anna', 'bert'):
        write_t1w(tmp_path, name).rename(tmp_path / f'{name}_T1w.nii.gz')
    (tmp_path / 'bert_T1w.json').write_text('{"SliceThickness": 5}')
    (tmp_path / 'anna_T1w.json').write_text('{"SliceThickness": 1}')
    assert faults_of(tmp_path).startswith('bert_T1w is no truth: bert_T1w.nii.gz: By its sidecar')
    assert 'anna' not in faults_of(tmp_path)


@pytest.mark.parametrize('spacing', [5.0, 2.0])
def test_thick_label_maps_are_no_truth(tmp_path, spacing):
    labels = draw_labels(32)
    save_volume(tmp_path / 'a_seg.nii.gz', labels, grid_of(labels.shape, spacing))
    heads = tuple(find_maps(tmp_path, tmp_path, []).values())
    accepted, (refusal,) = refuse_heads(heads, tmp_path)
    assert not accepted and f'a_seg.nii.gz: Its coarsest axis has {spacing:g} mm' in refusal


def test_label_maps_of_several_volumes_and_thick_images_of_theirs_are_no_truth(tmp_path):
    labels = draw_labels(64)
    four = np.repeat(labels[..., None], 2, axis=3)
    nb.save(nb.Nifti1Image(four, np.eye(4)), tmp_path / 'sub-01_seg.nii.gz')
    save_volume(tmp_path / 'sub-02_seg.nii.gz', labels, grid_of(labels.shape))
    write_t1w(tmp_path, '02', spacing=(1.6, 3.0, 5.0))
    save_volume(tmp_path / 'sub-03_seg.nii.gz', labels, grid_of(labels.shape))
    heads = tuple(find_maps(tmp_path, tmp_path, []).values())
    accepted, refusals = refuse_heads(heads, tmp_path)
    assert [head.subject for head in accepted] == ['03']
    assert 'sub-01_seg.nii.gz: It holds 2 volumes' in refusals[0]
    assert 'sub-02_T1w.nii.gz: Its coarsest axis has 5 mm' in refusals[1]


def test_images_of_freesurfer_are_not_passed_over(tmp_path):
    path = write_t1w(tmp_path, '01')
    image = nb.load(path)
    nb.save(nb.MGHImage(image.get_fdata(dtype=np.float32), image.affine), tmp_path / 'b_T1w.mgz')
    path.unlink()
    (head,) = find_heads(tmp_path, []).values()
    assert (head.name, head.image.name) == ('b_T1w', 'b_T1w.mgz')


QUICK = ['--methods', 'cubic', '--spacing', '6', '--thickness', 'equal', '--planes', 'axial']


def simulate(folder, out, *arguments):
    return main(['simulate', str(folder), str(out), *QUICK, '--nprocs', '1', *arguments])


def test_nothing_left_is_a_failure_with_all_reasons(tmp_path, capsys):
    write_t1w(tmp_path / 't1w', '01', spacing=(1.6, 3.0, 5.0))
    write_t1w(tmp_path / 't1w', '02', spacing=(1.6, 3.0, 3.0), volumes=2)
    assert simulate(tmp_path / 't1w', tmp_path / 'out') == 1
    told = capsys.readouterr().err
    assert 'failed: sub_01_T1w is no truth: sub-01_T1w.nii.gz: Its coarsest axis' in told
    assert 'failed: sub_02_T1w is no truth: sub-02_T1w.nii.gz: It holds 2 volumes' in told
    assert 'Traceback' not in told and not list((tmp_path / 'out').glob('simulate.*'))


def test_images_that_are_no_t1w_are_named(tmp_path, capsys):
    write_t1w(tmp_path / 't1w', '01').rename(tmp_path / 't1w/sub-01_FLAIR.nii.gz')
    write_t1w(tmp_path / 't1w', '01', spacing=(1.6, 3.0, 5.0))
    assert simulate(tmp_path / 't1w', tmp_path / 'out') == 1
    told = capsys.readouterr().err
    assert 'Not compared, as the names do not end in T1w: sub-01_FLAIR.nii.gz.' in told


@pytest.mark.parametrize('spoil', [lambda x: np.full_like(x, 7), lambda x: x * np.nan])
def test_voxels_that_show_no_head_are_no_truth(tmp_path, spoil):
    path = write_t1w(tmp_path, '01')
    image = nb.load(path)
    nb.save(nb.Nifti1Image(spoil(image.get_fdata(dtype=np.float32)), image.affine), path)
    with pytest.raises(ValueError, match='is no truth: '):
        load_truth(path)


def test_a_truth_lacks_no_slice(tmp_path):
    path = write_t1w(tmp_path, '01', spacing=(3.0, 3.0, 3.0))
    voxels, grid = load_truth(path)
    assert voxels.shape == grid.shape
    image = nb.load(path)
    lacking = image.get_fdata(dtype=np.float32)
    lacking[..., 25] = 0
    nb.save(nb.Nifti1Image(lacking, image.affine), path)
    with pytest.raises(ValueError, match=r'Slice 25 .* is blank'):
        load_truth(path)


def test_people_who_were_asked_for_and_are_not_there_are_no_success():
    assert describe_missing(['a', 'sub-b'], ['a', 'c']) == (
        'sub-b was asked for, and nothing of it can be compared',
    )
    assert describe_missing([], ['a']) == ()


@pytest.fixture
def notes(monkeypatch):
    """Give the notes of a comparison of real exams, which is not made."""
    given = []
    monkeypatch.setattr(left_out, 'run_comparisons', lambda *arguments: given.extend(arguments[4]))
    return given


def test_scans_and_exams_that_are_not_compared_are_told(bids_dir, tmp_path, capsys, notes):
    flair = bids_dir / 'sub-01/anat/sub-01_FLAIR.nii.gz'
    image = nb.load(flair)
    twice = np.repeat(image.get_fdata()[..., None], 2, axis=3)
    nb.save(nb.Nifti1Image(twice, image.affine), flair)
    command = ['leave-one-out', str(bids_dir), str(tmp_path / 'out'), '--methods', 'cubic']
    main(command)
    assert notes[0].startswith('sub-01: sub-01_FLAIR.nii.gz is not used: It holds 2 volumes')
    assert notes[1:] == ['sub-02 has one usable scan: nothing can be left out.']
    assert 'was asked for' not in capsys.readouterr().err
    assert main([*command, '--participant-label', '01', '02']) == 1
    assert 'failed: sub-02 was asked for' in capsys.readouterr().err


def test_an_evaluation_of_nothing_tells_why(bids_dir, tmp_path, capsys):
    shutil.rmtree(bids_dir / 'sub-01')
    write_scan(bids_dir / 'sub-03/anat', 'sub-03', 'T1w').write_bytes(b'no image')
    assert main(['leave-one-out', str(bids_dir), str(tmp_path / 'out')]) == 2
    told = capsys.readouterr().err
    assert 'nothing to leave out' in told and 'sub-02 has one usable scan' in told
    assert 'sub-03_T1w.nii.gz: It is not a readable NIfTI' in told
