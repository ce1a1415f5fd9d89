import json
import subprocess
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from bids_synthsr.dataset import validation
from bids_synthsr.dataset.errors import DatasetError
from bids_synthsr.dataset.validation import Fault, Issue, summarise, validate

CLINICAL = Path(__file__).resolve().parents[3] / 'shared/data/bids-clinical'


@pytest.fixture
def root(tmp_path):
    """Two participants: one with two bad scans, one with a bad name and a bad functional scan."""
    root = tmp_path / 'my data'
    image = nb.Nifti1Image(np.ones((3, 3, 3), np.uint8), np.eye(4))
    for label in ('01', '02'):
        folder = root / f'sub-{label}/anat'
        folder.mkdir(parents=True)
        image.to_filename(folder / f'sub-{label}_T1w.nii.gz')
    (root / 'sub-01/anat/sub-01_T2w.nii.gz').write_bytes(b'')
    (root / 'sub-01/anat/sub-01_FLAIR.nii.gz').symlink_to('/nowhere')
    (root / 'sub-02/func').mkdir()
    image.to_filename(root / 'sub-02/func/sub-02_task-rest_bold.nii.gz')
    (root / 'sub-02/anat/notes.txt').write_text('x')
    description = {'Name': 'x', 'BIDSVersion': '1.9.0', 'License': 'CC0', 'Authors': ['A', 'B']}
    (root / 'dataset_description.json').write_text(json.dumps(description))
    (root / 'README').write_text('A data set for a test. ' * 20)
    return root


def test_errors_stop_and_name_the_way_out(root):
    with pytest.raises(DatasetError) as caught:
        validate(root)
    first, *rest = str(caught.value).splitlines()
    assert 'use --skip-bids-validation' in first
    assert len(rest) == 1
    assert rest[0].startswith('NOT_INCLUDED: Files with such naming scheme are not part of BIDS')
    assert rest[0].endswith('In /sub-02/anat/notes.txt')


def test_errors_of_other_participants_and_of_single_scans_are_told(root):
    faults = {fault.code: fault.files for fault in validate(root, ['01'])}
    assert faults['NOT_INCLUDED'] == ('/sub-02/anat/notes.txt',)
    assert faults['EMPTY_FILE'] == ('/sub-01/anat/sub-01_T2w.nii.gz',)
    assert faults['SYMLINK_BROKEN'] == ('/sub-01/anat/sub-01_FLAIR.nii.gz',)
    assert '/sub-02/func/sub-02_task-rest_bold.nii.gz [TaskName]' in faults['SIDECAR_KEY_REQUIRED']


def test_errors_outside_of_what_is_read_do_not_stop(root):
    (root / 'sub-02/anat/notes.txt').unlink()
    assert {fault.code for fault in validate(root)} >= {'EMPTY_FILE', 'SIDECAR_KEY_REQUIRED'}


def test_missing_description_stops(root):
    (root / 'dataset_description.json').unlink()
    with pytest.raises(DatasetError, match=r'MISSING_DATASET_DESCRIPTION: .*_description\.json'):
        validate(root, ['01'])


def test_faults_are_summed_up_the_most_frequent_first():
    issues = [Issue('RARE', 'Rarely. Else not.', '/a')]
    issues += [Issue('OFTEN', 'Often.', f'/{number}') for number in range(5)]
    often, rare = summarise(issues)
    assert str(often) == 'OFTEN: Often. In /0, /1, /2 and 2 more'
    assert rare == Fault('RARE', 'Rarely.', ('/a',))


def test_missing_validator_is_explained(root, monkeypatch, tmp_path):
    monkeypatch.setattr(validation, 'COMMAND', tmp_path / 'nothing')
    with pytest.raises(DatasetError, match=r'not installed .*pip install bids-validator-deno'):
        validate(root)


@pytest.mark.parametrize('script', ['echo "it broke" >&2', 'echo "[]"; echo "it broke" >&2'])
def test_failing_validator_is_explained(root, monkeypatch, tmp_path, script):
    command = tmp_path / 'validator'
    command.write_text(f'#!/bin/sh\n{script}\n')
    command.chmod(0o755)
    monkeypatch.setattr(validation, 'COMMAND', command)
    with pytest.raises(DatasetError, match=r'failed \(it broke\): use --skip-bids-validation'):
        validate(root)


def test_slow_validator_is_explained(root, monkeypatch):
    monkeypatch.setattr(validation, 'TIMEOUT_S', 0)
    with pytest.raises(DatasetError, match='took longer than 0 minutes: use --skip-bids-valid'):
        validate(root)


def test_validator_needs_no_network(root):
    command = ['unshare', '--net', '--map-root-user', 'true']
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip('this machine allows no namespace without network')
    script = (
        f'from bids_synthsr.dataset.validation import validate; validate({str(root)!r}, ["9"])'
    )
    python = str(validation.COMMAND.with_name('python'))
    subprocess.run([*command[:-1], python, '-c', script], check=True)


@pytest.mark.skipif(not CLINICAL.is_dir(), reason='shared data are not here')
def test_clinical_data_set_is_valid():
    assert validate(CLINICAL) == ()
