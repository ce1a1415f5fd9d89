"""What is written over, and into whose folder: never an input, never what is somebody else's."""

import json
import os
import shutil
from types import SimpleNamespace

import nibabel as nb
import numpy as np
import pytest
from doors import sub_command
from phantoms import write_description, write_scan

from bids_synthsr.cli.bids_app import main as app
from bids_synthsr.derivatives.ownership import (
    find_file_owner,
    find_folder_owner,
    find_overwritten,
    find_owner,
    lies_in,
)
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.provenance import write_dataset_description

exam, evaluate, demo, train = map(sub_command, ('exam', 'evaluate', 'demo', 'train'))
QUICK = ['--method', 'cubic', '--output-resolution', '4']


def contents(folder):
    """All files below a folder, with what they hold."""
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def run(bids, out, *arguments):
    work = out.parent / 'work'
    return app([str(bids), str(out), 'participant', *QUICK, '--work-dir', str(work),
                '--nprocs', '1', '--skip-bids-validation', *map(str, arguments)])  # fmt: skip


def describe(folder, **content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'dataset_description.json').write_text(json.dumps({'Name': 'x', **content}))


def raw(folder):
    write_description(folder)


def raw_of_old(folder):
    describe(folder)
    (folder / 'sub-09').mkdir()


def fmriprep(folder):
    describe(folder, DatasetType='derivative', GeneratedBy=[{'Name': 'fMRIPrep'}])


def ours_and_others(folder):
    describe(folder, GeneratedBy=[{'Name': 'bids_synthsr'}, {'Name': 'fMRIPrep'}])


def unreadable(folder):
    folder.mkdir()
    (folder / 'dataset_description.json').write_bytes(b'\x00' * 20)


def odd(folder):
    describe(folder, GeneratedBy='bids_synthsr')


def without_description(folder):
    (folder / 'sub-01').mkdir(parents=True)


def page(folder):
    folder.mkdir()
    (folder / 'index.html').write_text('My page')


def a_file(folder):
    folder.write_text('My notes')


def inside(folder):
    raw(folder.parent / 'study')
    folder.symlink_to(folder.parent / 'study/sub-01/anat')
    (folder.parent / 'study/sub-01/anat').mkdir(parents=True)


@pytest.mark.parametrize(
    'make',
    [raw, raw_of_old, fmriprep, ours_and_others, unreadable, odd, without_description, page,
     a_file, inside],
)  # fmt: skip
def test_output_folder_of_somebody_else_is_refused(bids_dir, tmp_path, capsys, make):
    out = tmp_path / 'out'
    make(out)
    before = contents(tmp_path)
    assert run(bids_dir, out) == 2
    told = capsys.readouterr().err
    assert 'choose another folder' in told and len(told.splitlines()) == 1
    assert contents(tmp_path) == before


def test_owner_is_named(tmp_path):
    fmriprep(tmp_path / 'out')
    assert find_owner(Derivatives(tmp_path / 'out')).endswith('is the output of fMRIPrep')


def test_empty_folders_and_our_own_are_nobodys(bids_dir, tmp_path):
    out = Derivatives(tmp_path / 'out')
    assert find_owner(out) == ''
    out.root.mkdir()
    (out.root / 'notes.txt').touch()
    assert find_owner(out) == ''
    write_dataset_description(out, bids_dir)
    assert find_owner(out) == ''
    out.description.write_bytes(b'')  # as after a power cut: the records are still ours
    out.records.mkdir(parents=True)
    assert find_owner(out) == ''


def test_derivatives_of_a_data_set_are_nobodys(bids_dir):
    assert find_owner(Derivatives(bids_dir / 'derivatives/synthsr')) == ''
    describe(bids_dir / 'derivatives')
    assert find_owner(Derivatives(bids_dir / 'derivatives/synthsr')) == ''
    assert find_folder_owner(bids_dir / 'derivatives/synthsr') == ''
    assert 'lies in' in find_owner(Derivatives(bids_dir / 'sub-01/synthsr'))
    assert 'lies in' in find_file_owner(bids_dir / 'sub-01/anat/sub-01_desc-x_T1w.nii.gz')


@pytest.mark.parametrize('link', ['sub-01', 'sub-01/anat', 'sub-01/figures', 'logs', 'logs/exams'])
def test_link_in_the_output_folder_leads_nowhere(bids_dir, tmp_path, capsys, link):
    out, victim = tmp_path / 'out', bids_dir / 'sub-01/anat'
    (victim / '.tmp-mine').touch()
    (out / link).parent.mkdir(parents=True)
    (out / link).symlink_to(victim)
    if not link.startswith('logs'):
        describe(out, GeneratedBy=[{'Name': 'bids_synthsr'}])
    before = contents(bids_dir)
    assert run(bids_dir, out) == 2
    assert f'{out / link} is a link' in capsys.readouterr().err
    assert contents(bids_dir) == before


@pytest.mark.parametrize('link', ['file', 'folder'])
def test_scan_that_lies_in_the_output_folder_is_refused(bids_dir, tmp_path, capsys, link):
    out, anat = tmp_path / 'out', bids_dir / 'sub-02/anat'
    describe(out, GeneratedBy=[{'Name': 'bids_synthsr'}])
    scan = anat / 'sub-02_FLAIR.nii.gz'
    kept = out / 'sub-02/anat/sub-02_desc-cubic_FLAIR.nii.gz'
    if link == 'file':
        kept.parent.mkdir(parents=True)
        scan.rename(kept)
        scan.symlink_to(kept)
    else:
        (out / 'sub-02').mkdir()
        anat.rename(kept.parent)
        anat.symlink_to(kept.parent)
    before = contents(out)
    assert run(bids_dir, out) == 2
    assert 'leads into output_dir' in capsys.readouterr().err
    assert contents(out) == before


def test_file_that_is_a_link_to_an_input_is_replaced_not_written_into(bids_dir, tmp_path):
    out = tmp_path / 'out'
    describe(out, GeneratedBy=[{'Name': 'bids_synthsr'}])
    anat, scan = out / 'sub-02/anat', bids_dir / 'sub-02/anat/sub-02_FLAIR.nii.gz'
    anat.mkdir(parents=True)
    (anat / 'sub-02_desc-cubic_FLAIR.nii.gz').symlink_to(scan)
    os.link(scan, anat / 'sub-02_space-FLAIR_desc-resampled_FLAIR.nii.gz')
    before = contents(bids_dir)
    assert run(bids_dir, out, '--participant-label', '02') == 0
    assert contents(bids_dir) == before


@pytest.mark.parametrize('folder', ['', 'index', 'sub-01', 'derivatives/index'])
def test_index_of_the_input_is_not_made_in_it(bids_dir, tmp_path, capsys, folder):
    before = sorted(bids_dir.rglob('*'))
    assert run(bids_dir, tmp_path / 'out', '--bids-database-dir', bids_dir / folder) == 2
    assert 'which is never written to' in capsys.readouterr().err
    assert sorted(bids_dir.rglob('*')) == before


def test_folders_are_compared_by_what_they_are(tmp_path):
    (tmp_path / 'a/b').mkdir(parents=True)
    (tmp_path / 'link').symlink_to(tmp_path / 'a/b')
    assert lies_in(tmp_path / 'link/new/file', tmp_path / 'a')
    assert lies_in(tmp_path / 'a', tmp_path / 'a')
    assert not lies_in(tmp_path / 'a', tmp_path / 'link')


@pytest.fixture
def scans(tmp_path):
    return [write_scan(tmp_path, 'p', contrast) for contrast in ('T1w', 'FLAIR')]


@pytest.mark.parametrize('kind', ['same', 'link', 'hard link'])
@pytest.mark.parametrize(('method', 'name'), [('tv', 'FLAIR'), ('any-exam', 'uncertainty')])
def test_further_volume_never_replaces_a_scan(scans, tmp_path, capsys, kind, method, name):
    taken = tmp_path / f'o_{name}.nii.gz'
    flair = scans[1].rename(taken) if kind == 'same' else scans[1]
    if kind == 'link':
        taken.symlink_to(flair)
    if kind == 'hard link':
        os.link(flair, taken)
    before = contents(tmp_path)
    arguments = [*map(str, (scans[0], flair)), '-o', str(tmp_path / 'o.nii.gz')]
    with pytest.raises(SystemExit) as stop:
        exam([*arguments, '--method', method, '--contrasts', 'T1w', 'FLAIR'])
    assert stop.value.code == 2
    assert f'{taken} would replace the input {flair}' in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_further_volume_replaces_only_what_the_command_made(scans, tmp_path, capsys):
    output, other = tmp_path / 'o.nii.gz', tmp_path / 'o_FLAIR.nii.gz'
    words = [*map(str, scans), '-o', str(output), *QUICK, '--method', 'tv']
    other.write_bytes(scans[1].read_bytes())
    before = contents(tmp_path)
    with pytest.raises(SystemExit) as stop:
        exam(words)
    assert stop.value.code == 2
    assert f'{other} is there already' in capsys.readouterr().err
    assert contents(tmp_path) == before
    other.unlink()
    assert exam(words) == 0
    assert exam(words) == 0
    other.unlink()
    other.symlink_to(tmp_path / 'nowhere')
    with pytest.raises(SystemExit):
        exam(words)


@pytest.mark.parametrize(
    ('output', 'words'),
    [
        ('p_T1w.json/out.nii.gz', 'is a file, not a folder'),
        ('folder.nii.gz', 'is a folder'),
        ('study/sub-01/anat/sub-01_T1w.nii.gz', 'a data set that this program has not made'),
    ],
)
def test_place_that_cannot_be_written_to_is_wrong_use(scans, tmp_path, capsys, output, words):
    (tmp_path / 'folder.nii.gz').mkdir()
    write_description(tmp_path / 'study')
    write_scan(tmp_path / 'study/sub-01/anat', 'sub-01', 'T1w')
    before = contents(tmp_path)
    with pytest.raises(SystemExit) as stop:
        exam([str(scans[0]), '-o', str(tmp_path / output), *QUICK])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
    assert contents(tmp_path) == before


@pytest.mark.parametrize('resolution', ['-3', '0', 'nan', 'inf', '6'])
def test_impossible_resolution_is_wrong_use(scans, tmp_path, capsys, resolution):
    with pytest.raises(SystemExit) as stop:
        exam([str(scans[0]), '-o', str(tmp_path / 'o.nii'), '--method', 'cubic',
              f'--output-resolution={resolution}'])  # fmt: skip
    assert stop.value.code == 2
    assert 'not in 0 to 5 mm' in capsys.readouterr().err


def test_full_disk_leaves_nothing_of_an_exam(scans, tmp_path, capsys, monkeypatch):
    """The second of two volumes cannot be written: there is none."""
    write = nb.Nifti1Image.to_stream
    written = []

    def fill(image, stream):
        written.append(stream)
        if len(written) == 2:
            raise OSError(28, 'No space left on device')
        write(image, stream)

    volume = nb.Nifti1Image(np.eye(4, dtype=np.float32)[None], np.eye(4))
    monkeypatch.setattr(
        'bids_synthsr.api.synthesize_exam',
        lambda *_, **__: SimpleNamespace(volumes={'T1w': volume, 'FLAIR': volume}, left_out=()),
    )
    monkeypatch.setattr(nb.Nifti1Image, 'to_stream', fill)
    out = tmp_path / 'made/o.nii.gz'
    assert exam([*map(str, scans), '-o', str(out), '--method', 'tv']) == 1
    told = f'synthsr exam: {out} cannot be written: No space left on device'
    assert told in capsys.readouterr().err
    assert len(written) == 2 and not list(out.parent.iterdir())


def test_evaluation_writes_to_no_data_set(bids_dir, tmp_path, capsys):
    other = tmp_path / 'other'
    raw(other)
    before = contents(other)
    assert evaluate(['leave-one-out', str(bids_dir), str(other), '--methods', 'cubic']) == 2
    assert 'choose another folder' in capsys.readouterr().err
    assert contents(other) == before


@pytest.mark.parametrize('name', ['bids', 'truth', ''])
def test_demo_replaces_nothing_but_a_demo(tmp_path, capsys, name):
    raw(tmp_path / name)
    before = contents(tmp_path)
    assert demo(['make', str(tmp_path)]) == 2
    assert 'choose another folder' in capsys.readouterr().err
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    'arguments',
    [
        ['export', 'x.safetensors', '--out', 'x.safetensors'],
        ['export', 'x.safetensors', '--out', 'y.safetensors', '--notes', 'y.md'],
        ['estimate-priors', '--scans', 'a.nii', '--label-maps', 'b.nii', '--out', 'b.nii'],
        ['gallery', 'any-exam', '--label-maps', 'maps', '--out', 'maps/a.png'],
        ['run', 'any-exam', '--label-maps', 'maps', '--out', 'maps'],
        ['run', 'any-exam', '--label-maps', 'maps', '--out', 'study'],
    ],
)
def test_training_writes_over_nothing_that_it_reads(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    for name in ('x.safetensors', 'y.md', 'a.nii', 'b.nii'):
        (tmp_path / name).write_text(name)
    (tmp_path / 'maps').mkdir()
    raw(tmp_path / 'study')
    before = contents(tmp_path)
    assert train(arguments) == 2
    assert '--out: ' in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_overwritten_input_is_seen_before_it_exists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_overwritten([tmp_path / 'a.nii'], [tmp_path / '../x/a.nii']) == ''
    (tmp_path / 'a.nii').touch()
    shutil.copy(tmp_path / 'a.nii', tmp_path / 'b.nii')
    assert find_overwritten([tmp_path / 'a.nii'], [tmp_path / 'b.nii']) == ''
    assert find_overwritten([tmp_path / 'a.nii'], [tmp_path / 'b.nii', tmp_path / 'a.nii'])


@pytest.mark.parametrize('name', ['sourcedata', 'derivatives', 'code', 'D'])
def test_a_data_set_is_one_whatever_its_folder_is_called(bids_dir, scans, tmp_path, capsys, name):
    root = tmp_path / name
    shutil.copytree(bids_dir, root)
    before = contents(root)
    target = next(root.rglob('*_FLAIR.nii.gz'))
    with pytest.raises(SystemExit) as stop:
        exam([str(scans[0]), '-o', str(target), *QUICK])
    assert stop.value.code == 2
    assert run(bids_dir, target.parent / 'new', '--boilerplate-only') == 2
    assert contents(root) == before


def test_a_shelf_of_derivatives_with_a_description_holds_others(tmp_path):
    shelf = tmp_path / 'study/derivatives'
    describe(shelf, DatasetType='derivative', GeneratedBy=[{'Name': 'fMRIPrep'}])
    assert not find_folder_owner(shelf / 'bids_synthsr')
    assert find_folder_owner(shelf / 'sub-01/new')
