"""What is read is what was planned: a scan that is replaced meanwhile is never taken for it."""

import json
import shutil
from dataclasses import replace

import nibabel as nb
import numpy as np
import pytest
from phantoms import write_description, write_scan

from bids_synthsr.cli.bids_app import main
from bids_synthsr.dataset.errors import FailedExamError
from bids_synthsr.dataset.files import sha256
from bids_synthsr.dataset.scans import load_scan, read_scan
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.run import participant

OPTIONS = ['--method', 'cubic', '--output-resolution', '4', '--skip-bids-validation']


@pytest.fixture
def bids(tmp_path):
    root = tmp_path / 'bids'
    write_description(root)
    for label in ('sub-01', 'sub-02'):
        write_scan(root / label / 'anat', label, 'T1w')
    return root


@pytest.fixture
def run(bids, tmp_path):
    """Run over the data set with an engine in this process, where tests can reach it."""
    plugin = tmp_path / 'plugin.json'
    plugin.write_text('{"plugin": "Linear"}')
    folders = [str(bids), str(tmp_path / 'out'), 'participant', '-w', str(tmp_path / 'work')]
    return lambda *more: main([*folders, *OPTIONS, '--nipype-plugin-file', str(plugin), *more])


def brighten(path, factor=5.0):
    """Write another person's scan: the same head, brighter; size and time stay if they can."""
    image = nb.load(path)
    voxels = np.asarray(image.dataobj) * factor
    nb.save(nb.Nifti1Image(voxels.astype(np.float32), image.affine), path)


def maximum(out, label):
    (path,) = out.glob(f'{label}/anat/{label}_desc-cubic_T1w.nii.gz')
    return float(np.asarray(nb.load(path).dataobj).max())


def test_a_scan_that_is_replaced_after_the_plan_fails_its_exam(bids, run, tmp_path, monkeypatch):
    scan, kept, out = bids / 'sub-01/anat/sub-01_T1w.nii.gz', tmp_path / 'kept', tmp_path / 'out'
    write_plan = participant.write_plan

    def write_plan_and_swap(*arguments):
        shutil.copy2(scan, kept)
        brighten(scan)
        return write_plan(*arguments)

    monkeypatch.setattr(participant, 'write_plan', write_plan_and_swap)
    assert run() == 1
    record = json.loads((out / 'logs/exams/sub-01.json').read_text())
    assert record['state'] == 'failed'
    assert 'sub-01_T1w.nii.gz changed while the run was at work' in record['reason']
    assert not [*out.glob('sub-01/anat/*_T1w.nii.gz')]
    monkeypatch.undo()
    shutil.copy2(kept, scan)
    assert run() == 0
    assert maximum(out, 'sub-01') == maximum(out, 'sub-02')


@pytest.mark.parametrize('changes_header', [False, True])
def test_a_scan_is_known_by_its_content_and_its_header(bids, changes_header):
    path = bids / 'sub-01/anat/sub-01_T1w.nii.gz'
    scan = replace(read_scan(path, 'T1w'), sha256=sha256(path))
    assert load_scan(scan)[0].is_usable
    if changes_header:
        image = nb.load(path)
        affine = image.affine.copy()
        affine[0, 3] += 1
        nb.save(nb.Nifti1Image(np.asarray(image.dataobj), affine), path)
        scan = replace(scan, sha256=sha256(path))
    else:
        brighten(path)
    with pytest.raises(FailedExamError, match='changed while the run was at work'):
        load_scan(scan)
    path.write_bytes(b'')
    with pytest.raises(FailedExamError, match='changed'):
        load_scan(scan)


def test_a_file_that_is_swapped_while_it_is_read_is_seen(bids, monkeypatch):
    path = bids / 'sub-01/anat/sub-01_T1w.nii.gz'
    scan, copy = replace(read_scan(path, 'T1w'), sha256=sha256(path)), path.read_bytes()
    from bids_synthsr.dataset import scans as module

    read_voxels = module.read_voxels

    def swap(file, notes):
        voxels = read_voxels(file, notes)
        shutil.copy(file, file.with_suffix('.other')).replace(file)
        file.write_bytes(copy)
        return voxels

    monkeypatch.setattr(module, 'read_voxels', swap)
    with pytest.raises(FailedExamError, match='changed'):
        load_scan(scan)


def test_an_output_folder_belongs_to_one_data_set(bids, run, tmp_path, capsys):
    out = tmp_path / 'out'
    assert run() == 0
    before = maximum(out, 'sub-01')
    other = tmp_path / 'other'
    write_description(other)
    write_scan(other / 'sub-01/anat', 'sub-01', 'T1w')
    brighten(other / 'sub-01/anat/sub-01_T1w.nii.gz')
    words = [str(other), str(out), 'participant', '-w', str(tmp_path / 'work'), *OPTIONS]
    capsys.readouterr()
    for mode in ([], ['--dry-run'], ['--boilerplate-only'], ['--reports-only']):
        assert main([*words, *mode]) == 2
        assert f'holds what was made of {bids}' in capsys.readouterr().err
    assert maximum(out, 'sub-01') == before
    link = json.loads((out / 'dataset_description.json').read_text())['DatasetLinks']['raw']
    assert link == bids.as_uri()


def test_a_data_set_may_move_and_grow(bids, run, tmp_path, capsys):
    out = tmp_path / 'out'
    assert run() == 0
    moved = bids.rename(tmp_path / 'moved')
    write_scan(moved / 'sub-03/anat', 'sub-03', 'T1w')
    brighten(moved / 'sub-02/anat/sub-02_T1w.nii.gz')
    words = [str(moved), str(out), 'participant', '-w', str(tmp_path / 'work'), *OPTIONS]
    assert main([*words, '--participant-label', '03']) == 0
    capsys.readouterr()
    assert main(words) == 0
    assert '3 of 3 exams finished' in capsys.readouterr().err
    description = json.loads(Derivatives(out).description.read_text())
    assert description['DatasetLinks']['raw'] == moved.as_uri()
    assert maximum(out, 'sub-02') > 2 * maximum(out, 'sub-01')
