"""Every participant and every image has a fate, and it is told where people look."""

import csv

import nibabel as nb
import numpy as np
import pytest
from phantoms import write_description, write_scan

from bids_synthsr.cli.bids_app import main
from bids_synthsr.cli.synthsr import main as synthsr
from bids_synthsr.dataset.ignoring import IgnoreList
from bids_synthsr.dataset.query import find_exams

OPTIONS = ['--method', 'cubic', '--output-resolution', '4', '--nprocs', '1']
OPTIONS += ['--skip-bids-validation']


def blank_slices(path):
    """Lose too many slices of a scan for it to be used."""
    image = nb.load(path)
    voxels = image.get_fdata().copy()
    axis = int(np.argmax(image.header.get_zooms()))
    middle = voxels.shape[axis] // 2
    np.moveaxis(voxels, axis, 0)[middle - 3 : middle + 3] = 0
    nb.save(nb.Nifti1Image(voxels.astype(np.float32), image.affine), path)


@pytest.fixture(scope='module')
def outcome(tmp_path_factory):
    """Run over a data set in which there is something of every kind."""
    folder = tmp_path_factory.mktemp('accounting')
    bids, out = folder / 'bids', folder / 'out'
    write_description(bids)
    first = bids / 'sub-01/anat'
    for suffix in ('T1w', 'FLAIR'):
        write_scan(first, 'sub-01', suffix)
    write_scan(first, 'sub-01', 'T2w').rename(first / 'sub-01_T1map.nii.gz')
    write_scan(first, 'sub-01', 'T2w').rename(first / 'sub-01_acq-0.8_T2w.nii.gz')
    write_scan(first, 'sub-01', 'T2w').rename(first / 'sub-01_run-9_PDw.nii.gz')
    write_scan(bids / 'sub-02/anat', 'sub-02', 'T2w').rename(
        bids / 'sub-02/anat/sub-02_T2map.nii.gz'
    )
    write_scan(bids / 'sub-03/anat', 'sub-03', 'T1w')
    (bids / 'sub-04/func').mkdir(parents=True)
    write_scan(bids / 'sub-05/anat', 'sub-05', 'T1w').rename(
        bids / 'sub-05/anat/sub-05_UNIT1.nii.gz'
    )
    cut_short = write_scan(first, 'sub-01', 'T2w')
    cut_short.write_bytes(cut_short.read_bytes()[:3000])
    write_scan(bids / 'sub-06/anat', 'sub-06', 'T1w')
    blank_slices(bids / 'sub-06/anat/sub-06_T1w.nii.gz')
    for name in ('sub-01_T2w.BRIK', 'sub-01_FLAIR.mif.gz', 'sub-01_T1w.nii.gz.part'):
        (first / name).write_bytes(b'x')
    (first / 'sub-01_notes.txt').write_text('no scan')
    (bids / 'participants.tsv').write_text('participant_id\tage\nsub-01\t3\nsub-99\t4\n')
    (bids / '.bidsignore').write_text('# not ours\nsub-03/\n*_run-9_*\n')
    folders = [str(bids), str(out), 'participant', '--work-dir', str(folder / 'work')]
    code = main([*folders, *OPTIONS])
    table = next(out.glob('logs/*/scans.tsv'))
    with table.open(newline='') as file:
        rows = list(csv.DictReader(file, delimiter='\t'))
    return code, bids, out, rows


@pytest.mark.parametrize(
    ('exam', 'file', 'role', 'words'),
    [
        ('sub-01', 'sub-01_T1w.nii.gz', 'reference', 'no contrast agent is named'),
        ('sub-01', 'sub-01_FLAIR.nii.gz', 'aligned', 'the volumes are made of others'),
        ('sub-01', 'sub-01_T1map.nii.gz', 'left out', 'T1map is no contrast that is used'),
        ('sub-01', 'sub-01_acq-0.8_T2w.nii.gz', 'left out', 'is no entity with a label'),
        ('sub-01', 'sub-01_T2w.nii.gz', 'left out', 'copy'),
        ('sub-01', 'sub-01_run-9_PDw.nii.gz', 'left out', '"*_run-9_*" in .bidsignore'),
        ('sub-02', 'n/a', 'not taken', 'T2map is no contrast that is used'),
        ('sub-03', 'n/a', 'not taken', '"sub-03/" in .bidsignore'),
        ('sub-04', 'n/a', 'not taken', 'has no anatomical scan'),
        ('sub-05', 'sub-05_UNIT1.nii.gz', 'reference', 'no contrast agent is named'),
        ('sub-01', 'sub-01_T2w.BRIK', 'left out', 'It is no NIfTI file'),
        ('sub-01', 'sub-01_FLAIR.mif.gz', 'left out', 'It is no NIfTI file'),
        ('sub-01', 'sub-01_T1w.nii.gz.part', 'left out', 'It is no NIfTI file'),
        ('sub-06', 'sub-06_T1w.nii.gz', 'left out', 'Its voxels cannot be used. '),
        ('sub-99', 'n/a', 'not taken', 'no folder, although participants.tsv names it'),
    ],
)
def test_every_scan_and_participant_stands_in_the_table_of_the_run(
    outcome, exam, file, role, words
):
    code, _, _, rows = outcome
    assert code == 1
    (row,) = (row for row in rows if (row['exam'], row['file']) == (exam, file))
    state = 'failed' if exam == 'sub-06' else 'finished'
    assert row['state'] == ('n/a' if role == 'not taken' else state)
    assert row['role'] == role and words in row['reason']


def test_the_uniform_image_makes_the_t1w(outcome):
    assert (outcome[2] / 'sub-05/anat/sub-05_desc-cubic_T1w.nii.gz').is_file()


def test_the_table_has_no_more_than_there_is(outcome):
    assert len(outcome[3]) == 15


def test_those_that_are_not_taken_stand_in_log_index_and_status(outcome, capsys):
    _, _, out, _ = outcome
    assert synthsr(['status', str(out)]) == 1
    texts = [
        capsys.readouterr().out,
        (out / 'index.html').read_text(),
        next(out.glob('logs/*/bids_synthsr.log')).read_text(),
    ]
    for text in texts:
        assert all(label in text for label in ('sub-02', 'sub-03', 'sub-04', 'sub-99'))


def test_a_scan_that_is_left_out_is_told_wherever_people_look(outcome):
    out = outcome[2]
    texts = [
        (out / 'index.html').read_text(),
        (out / 'sub-01.html').read_text(),
        next(out.glob('logs/*/bids_synthsr.log')).read_text(),
        next(out.glob('logs/*/status.tsv')).read_text(),
    ]
    for text in texts:
        assert 'T2w is left out: ' in text and 'acq-0.8_T2w.nii.gz is left out: ' in text
        assert 'PDw is left out' not in text and 'T1map is left out' not in text


@pytest.mark.parametrize('label', ['02', '03', '04'])
def test_a_participant_who_is_asked_for_and_not_done_is_a_failure(outcome, tmp_path, label):
    _, bids, _, _ = outcome
    folders = [str(bids), str(tmp_path / 'out'), 'participant', '--work-dir', str(tmp_path / 'w')]
    assert main([*folders, *OPTIONS, '--participant-label', label]) == 1


@pytest.mark.parametrize(
    ('patterns', 'path', 'pattern'),
    [
        ('*_FLAIR.nii.gz', 'sub-01/anat/sub-01_FLAIR.nii.gz', '*_FLAIR.nii.gz'),
        ('/sub-01/', 'sub-01/anat/sub-01_T1w.nii.gz', '/sub-01/'),
        ('sub-*/ses-2/**', 'sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz', 'sub-*/ses-2/**'),
        ('*_T1w*\n!sub-01_*', 'sub-01/anat/sub-01_T1w.nii.gz', ''),
        ('# sub-01\n\n', 'sub-01/anat/sub-01_T1w.nii.gz', ''),
        ('\n\n# x\n \n*_T1w*', 'sub-01/anat/sub-01_T1w.nii.gz', '*_T1w*'),
        ('anat/other', 'sub-01/anat/sub-01_T1w.nii.gz', ''),
    ],
)
def test_patterns_are_those_of_gitignore(tmp_path, patterns, path, pattern):
    (tmp_path / '.bidsignore').write_text(patterns)
    assert IgnoreList(tmp_path).find_pattern(tmp_path / path) == pattern


@pytest.mark.parametrize('content', [b'\xff\xfe*\n', b'[\n', b''])
def test_a_list_that_is_odd_ends_nothing(tmp_path, content):
    bids = tmp_path / 'bids'
    write_description(bids)
    write_scan(bids / 'sub-01/anat', 'sub-01', 'T1w')
    (bids / '.bidsignore').write_bytes(content)
    (exam,) = find_exams(bids)
    assert exam.scans[0].is_usable


def test_images_astray_and_without_an_ending_are_named(tmp_path):
    bids = tmp_path / 'bids'
    write_description(bids)
    session = bids / 'sub-01/ses-1'
    write_scan(session / 'anat', 'sub-01_ses-1', 'T2w')
    write_scan(session / 'old/anat', 'sub-01_ses-1', 'T1w')
    write_scan(session / 'dwi/anat', 'sub-01_ses-1', 'FLAIR')  # other data are not looked into
    for name in ('IM0001', 'sub-01_ses-1_FLAIR', 'scan.h5', 'T1w.nii.gz.bak'):
        (session / 'anat' / name).write_bytes(b'x')
    (session / 'anat/README').write_text('no scan')
    (exam,) = find_exams(bids)
    problems = {scan.path.name: ' '.join(scan.problems) for scan in exam.scans}
    assert problems.pop('sub-01_ses-1_T2w.nii.gz') == ''
    assert 'lies in old: move it out' in problems.pop('sub-01_ses-1_T1w.nii.gz')
    assert {*problems} == {'IM0001', 'sub-01_ses-1_FLAIR', 'scan.h5', 'T1w.nii.gz.bak'}
    assert all('It is no NIfTI file' in problem for problem in problems.values())


def test_a_dry_run_says_why_there_is_nothing_to_process(tmp_path, capsys):
    bids = tmp_path / 'bids'
    write_description(bids)
    for session in ('1', '2'):
        write_scan(bids / f'sub-01/ses-{session}/anat', f'sub-01_ses-{session}', 'T1w')
    write_scan(bids / 'sub-02/ses-1/anat', 'sub-02_ses-1', 'T1w')
    folders = [str(bids), str(tmp_path / 'out'), 'participant', '--dry-run', *OPTIONS]
    asked = ['--participant-label', '01', '02', '--session-label', '2']
    assert main([*folders, *asked]) == 0
    told = capsys.readouterr().err
    assert 'sub-02: cannot be processed\n  sub-02 has no' in told
    assert main([*folders, '--participant-label', '02', '--session-label', '2']) == 2
    assert 'Session "2" is not among those of these participants: there are 1' in (
        capsys.readouterr().err
    )


def test_folders_that_are_no_participants_are_named(tmp_path, caplog):
    bids = tmp_path / 'bids'
    write_description(bids)
    write_scan(bids / 'sub-01/anat', 'sub-01', 'T1w')
    for folder in ('05', 'rawdata/sub-06', 'sbu-08', 'derivatives/x', 'sourcedata/sub-09', '.git'):
        write_scan(bids / folder / 'anat', 'sub-05', 'T1w')
    write_description(bids / 'fmriprep')
    write_scan(bids / 'fmriprep/sub-01/anat', 'sub-01', 'T1w')
    write_scan(bids, 'sub-05', 'T1w')
    (bids / 'notes').mkdir()
    find_exams(bids)
    named = {record.getMessage().split(' ')[0] for record in caplog.records}
    assert named == {'05', 'rawdata', 'sbu-08', 'sub-05_T1w.nii.gz'}
    caplog.clear()
    find_exams(bids, participant_labels=['01'])
    assert not caplog.records
