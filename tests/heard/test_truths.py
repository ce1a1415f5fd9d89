"""Evaluations refuse as truth what is none, each with its reason, and go on with the others."""

import csv
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
from bids_synthsr.evaluation.refusals import refuse_heads

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
        ({'sidecar': {'SeriesDescription': 'ax t2_tse'}}, 'calls it a T2w (SeriesDescription'),
        ({'sidecar': {'ProtocolName': 'FLAIR_3D'}}, 'calls it a FLAIR (ProtocolName'),
        ({'sidecar': {'ImageType': ['ORIGINAL', 'PRIMARY', 'P']}}, 'a phase image'),
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
    ],
)
def test_a_t1w_of_about_1_mm_is_a_truth(tmp_path, facts):
    write_t1w(tmp_path, '01', **facts)
    assert faults_of(tmp_path) == ''


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


def test_other_heads_go_on_and_the_page_names_the_refused(tmp_path, capsys):
    labels = draw_labels(48)
    for name, spacing in (('a', 1.0), ('b', 4.0)):
        save_volume(tmp_path / f'maps/{name}_seg.nii.gz', labels, grid_of(labels.shape, spacing))
    out, maps = tmp_path / 'out', str(tmp_path / 'maps')
    assert simulate(maps, out, '--labels', maps, '--exams', 't2w') == 1
    rows = list(csv.DictReader((out / 'simulate.tsv').open(), delimiter='\t'))
    assert {row['subject'] for row in rows} == {'a'}
    assert 'b_seg.nii.gz: Its coarsest axis has 4 mm' in (out / 'simulate.html').read_text()
    assert 'failed: b_seg is no truth' in capsys.readouterr().err


def test_people_who_were_asked_for_and_are_not_there_are_no_success(tmp_path, capsys):
    labels = draw_labels(48)
    save_volume(tmp_path / 'maps/a_seg.nii.gz', labels, grid_of(labels.shape))
    maps, asked = str(tmp_path / 'maps'), ['--participant-label', 'a', 'sub-b']
    out = tmp_path / 'out'
    assert simulate(maps, out, '--labels', maps, '--exams', 't2w', *asked) == 1
    assert (out / 'simulate.tsv').is_file()
    assert 'failed: sub-b was asked for' in capsys.readouterr().err


def test_scans_and_exams_that_are_not_compared_are_told(bids_dir, tmp_path, capsys):
    flair = bids_dir / 'sub-01/anat/sub-01_FLAIR.nii.gz'
    image = nb.load(flair)
    twice = np.repeat(image.get_fdata()[..., None], 2, axis=3)
    nb.save(nb.Nifti1Image(twice, image.affine), flair)
    command = ['leave-one-out', str(bids_dir), str(tmp_path / 'out'), '--methods', 'cubic',
               '--nprocs', '1']  # fmt: skip
    assert main(command) == 0
    told = capsys.readouterr().err
    assert 'sub-01: sub-01_FLAIR.nii.gz is not used: It holds 2 volumes' in told
    assert 'sub-02 has one usable scan: nothing can be left out.' in told
    assert 'It holds 2 volumes' in (tmp_path / 'out/logs/evaluate.log').read_text()
    assert main([*command, '--participant-label', '01', '02']) == 1
    assert 'failed: sub-02 was asked for' in capsys.readouterr().err


def test_an_evaluation_of_nothing_tells_why(bids_dir, tmp_path, capsys):
    shutil.rmtree(bids_dir / 'sub-01')
    write_scan(bids_dir / 'sub-03/anat', 'sub-03', 'T1w').write_bytes(b'no image')
    assert main(['leave-one-out', str(bids_dir), str(tmp_path / 'out')]) == 2
    told = capsys.readouterr().err
    assert 'nothing to leave out' in told and 'sub-02 has one usable scan' in told
    assert 'sub-03_T1w.nii.gz: It is not a readable NIfTI' in told
