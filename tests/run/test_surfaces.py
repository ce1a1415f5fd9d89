"""Surfaces by a FAKE FreeSurfer, from the command line to the page.

No test here tells anything about the real tools but what their command lines and files are taken
to be.
"""

import json
import socket
import subprocess
import sys
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from phantoms import write_t1w

from bids_synthsr.cli.bids_app import main
from bids_synthsr.dataset.images import load_grid, load_volume
from bids_synthsr.derivatives.tables import read_table

FAKE = Path(__file__).parent.parent / 'fakes/freesurfer/fake_freesurfer.py'
COMMANDS = ('recon-all', 'recon-all-clinical.sh', 'run_samseg', 'run_fastsurfer.sh')
SUBJECT = 'sub-01_ses-a'


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A FAKE FreeSurfer of version 7.4.1, with a licence; the log of its command lines."""
    home = tmp_path / 'freesurfer'
    (home / 'bin').mkdir(parents=True)
    (home / 'build-stamp.txt').write_text('freesurfer-linux-ubuntu22_x86_64-7.4.1-FAKE\n')
    (home / 'license.txt').write_text('FAKE\n')
    for name in COMMANDS:
        path = home / 'bin' / name
        path.write_text(f'#!{sys.executable}\n' + FAKE.read_text())
        path.chmod(0o755)
    log = tmp_path / 'commands.log'
    monkeypatch.setenv('FREESURFER_HOME', str(home))
    monkeypatch.setenv('FASTSURFER_HOME', str(home))
    monkeypatch.delenv('FS_LICENSE', raising=False)
    monkeypatch.setenv('FAKE_LOG', str(log))
    write_t1w(tmp_path / 'bids', SUBJECT)
    return log


def lines_of(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def folder_of(tmp_path) -> Path:
    return tmp_path / 'out/sourcedata/freesurfer' / SUBJECT


def test_recon_all_gets_the_t1w_and_the_brain_mask(run_brainy, fake, tmp_path):
    assert run_brainy('--recon', 'recon-all') == 0
    first, second = lines_of(fake)
    t1w = tmp_path / f'out/sub-01/ses-a/anat/{SUBJECT}_desc-brainy_T1w.nii.gz'
    subjects = folder_of(tmp_path).parent
    common = f'-subjid {SUBJECT} -sd {subjects}'
    assert first == f'recon-all -autorecon1 {common} -i {t1w} -noskullstrip -openmp 1'
    assert second == f'recon-all -autorecon2 -autorecon3 {common} -openmp 1'
    mask = load_volume(t1w.with_name(f'{SUBJECT}_desc-brain_mask.nii.gz'))[0]
    image = nb.load(folder_of(tmp_path) / 'mri/brainmask.mgz')
    brain = nb.as_closest_canonical(image).get_fdata()
    assert ((brain > 0) <= (mask > 0)).all()
    assert (brain > 0).sum() > 0.9 * (mask > 0).sum()


def test_tables_segmentations_and_surfaces_are_written(run_brainy, fake, tmp_path):
    assert run_brainy('--recon', 'recon-all') == 0
    anat = tmp_path / 'out/sub-01/ses-a/anat'
    grid = load_grid(anat / f'{SUBJECT}_desc-brainy_T1w.nii.gz')
    labels, labels_grid = load_volume(anat / f'{SUBJECT}_desc-aseg_dseg.nii.gz')
    assert labels_grid == grid
    rows = read_table(anat / f'{SUBJECT}_atlas-aseg_desc-recon_volumes.tsv')
    counted = {row['index']: float(row['volume_mm3']) for row in rows if row['index']}
    assert counted['2'] == (labels == 2).sum()  # FAKE counts voxels
    assert any(row['name'] == 'eTIV' for row in rows)
    assert not any('Holes' in row['name'] for row in rows)  # a count is no volume
    left, right = (np.argwhere(labels == value).mean(0)[0] for value in (2, 41))
    assert left < right  # of the grid, whose first axis runs to the right
    cortex = read_table(anat / f'{SUBJECT}_hemi-L_atlas-aparc_desc-recon_morph.tsv')
    assert cortex[0]['name'] == 'bankssts'
    assert float(cortex[0]['thickness_mm']) == 2.5
    pial = nb.load(anat / f'{SUBJECT}_hemi-R_pial.surf.gii').darrays[0].data
    inside = np.linalg.inv(grid.vox2ras) @ [*pial.mean(0), 1]
    np.testing.assert_allclose(inside[:3], np.array(grid.shape) * (0.75, 0.5, 0.5), atol=1.5)
    thickness = nb.load(anat / f'{SUBJECT}_hemi-L_thickness.shape.gii').darrays[0].data
    assert thickness.shape == (len(pial),)
    page = (tmp_path / f'out/{SUBJECT}_surfaces.html').read_text()
    assert 'recon-all 7.4.1' in page
    sidecar = json.loads((anat / f'{SUBJECT}_hemi-L_thickness.json').read_text())
    assert sidecar['SurfaceTool'] == 'recon-all'


def test_the_group_level_gathers_what_was_measured(run_brainy, fake, tmp_path):
    write_t1w(tmp_path / 'bids', 'sub-02_ses-a')
    assert run_brainy('--recon', 'recon-all', '--participant-label', '01') == 0
    assert run_brainy() == 0
    out = tmp_path / 'out'
    group = [str(tmp_path / 'bids'), str(out), 'group']
    assert main(group) == 0
    anat = out / 'sub-01/ses-a/anat'
    own = read_table(anat / f'{SUBJECT}_atlas-aseg_desc-recon_volumes.tsv')
    first, second = read_table(out / 'group_atlas-aseg_desc-recon_volumes.tsv')
    assert (first['tool'], first['reason']) == ('recon-all 7.4.1', '')
    assert {row['name']: row['volume_mm3'] for row in own}.items() <= first.items()
    assert second['reason'] == 'no surfaces were made' and second['eTIV'] == ''
    thickness = read_table(out / 'group_atlas-aparc_desc-thickness_morph.tsv')[0]
    assert float(thickness['lh_bankssts']) == float(thickness['rh_bankssts']) == 2.5
    described = json.loads((out / 'group_atlas-aparc_desc-area_morph.json').read_text())
    assert described['lh_bankssts']['Units'] == 'mm^2'
    record = out / f'logs/surfaces/{SUBJECT}.json'
    content = json.loads(record.read_text())
    for scan in content['fingerprint']['scans'].values():
        scan['sha256'] = '0'
    record.write_text(json.dumps(content))
    assert main(group) == 0  # no exam has surfaces of its T1w any more
    assert not [*out.glob('group_atlas-*')]


def test_what_is_done_is_not_done_again(run_brainy, fake, tmp_path):
    assert run_brainy('--recon', 'recon-all') == 0
    before = lines_of(fake)
    assert run_brainy('--recon', 'recon-all') == 0
    assert lines_of(fake) == before
    (tmp_path / f'out/sub-01/ses-a/anat/{SUBJECT}_hemi-L_pial.surf.gii').unlink()
    assert run_brainy('--recon', 'recon-all') == 0  # written again from the folder
    assert lines_of(fake) == before


def test_a_run_that_fails_is_told_and_goes_on_where_it_was(
    run_brainy, fake, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv('FAKE_FAIL', 'autorecon2')
    assert run_brainy('--recon', 'recon-all') == 1
    assert 'no surfaces' in capsys.readouterr().err
    assert (tmp_path / f'out/sub-01/ses-a/anat/{SUBJECT}_desc-brainy_T1w.nii.gz').is_file()
    monkeypatch.delenv('FAKE_FAIL')
    assert run_brainy('--recon', 'recon-all') == 0
    words = [line.split()[1] for line in lines_of(fake)]
    assert words == ['-autorecon1', '-autorecon2', '-autorecon2']  # the first is not repeated


def test_a_killed_run_leaves_a_lock_that_is_broken(run_brainy, fake, tmp_path, monkeypatch):
    monkeypatch.setenv('FAKE_KILL', 'autorecon2')
    assert run_brainy('--recon', 'recon-all') == 1
    lock = folder_of(tmp_path) / 'scripts/IsRunning.lh+rh'
    assert lock.exists()
    monkeypatch.delenv('FAKE_KILL')
    assert run_brainy('--recon', 'recon-all') == 0
    words = [line.split()[1] for line in lines_of(fake)]
    assert words == ['-autorecon1', '-autorecon2', '-autorecon2']  # the first is not repeated


def test_without_resuming_a_killed_run_begins_anew(run_brainy, fake, monkeypatch):
    monkeypatch.setenv('FAKE_KILL', 'autorecon2')
    assert run_brainy('--recon', 'recon-all') == 1
    monkeypatch.delenv('FAKE_KILL')
    assert run_brainy('--recon', 'recon-all', '--fs-no-resume') == 0
    words = [line.split()[1] for line in lines_of(fake)]
    assert words == ['-autorecon1', '-autorecon2', '-autorecon1', '-autorecon2']


def test_a_lock_of_a_living_run_is_respected(run_brainy, fake, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('FAKE_KILL', 'autorecon2')
    assert run_brainy('--recon', 'recon-all') == 1
    monkeypatch.delenv('FAKE_KILL')
    lock = folder_of(tmp_path) / 'scripts/IsRunning.lh+rh'
    process = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
    try:
        lock.write_text(f'HOST {socket.gethostname()}\nPROCESSID {process.pid}\n')
        assert run_brainy('--recon', 'recon-all') == 1
        assert 'a run works on it' in capsys.readouterr().err
        lock.write_text('HOST elsewhere\nPROCESSID 7\n')  # and the folder was just written to
        assert run_brainy('--recon', 'recon-all') == 1
    finally:
        process.kill()
        process.wait()


def test_an_end_without_the_files_is_no_success(run_brainy, fake, monkeypatch, capsys):
    monkeypatch.setenv('FAKE_PARTIAL', 'autorecon3')
    assert run_brainy('--recon', 'recon-all') == 1
    assert 'ended without an error' in capsys.readouterr().err


def test_another_input_is_refused_until_it_may_be_overwritten(run_brainy, fake, tmp_path, capsys):
    assert run_brainy('--recon', 'recon-all') == 0
    write_t1w(tmp_path / 'bids', SUBJECT, 3.0)
    assert run_brainy('--recon', 'recon-all') == 1
    assert '--fs-overwrite' in capsys.readouterr().err
    assert run_brainy('--recon', 'recon-all', '--fs-overwrite') == 0
    assert run_brainy('--recon', 'recon-all', '--fs-overwrite') == 0
    assert len(lines_of(fake)) == 4


def test_a_folder_of_somebody_else_is_never_touched(run_brainy, fake, tmp_path, capsys):
    theirs = folder_of(tmp_path) / 'mri/orig.mgz'
    theirs.parent.mkdir(parents=True)
    theirs.write_text('years of work')
    assert run_brainy('--recon', 'recon-all', '--fs-overwrite') == 1
    assert 'has not made it' in capsys.readouterr().err
    assert theirs.read_text() == 'years of work'


def test_a_folder_that_took_the_place_of_ours_is_not_used(run_brainy, fake, tmp_path, capsys):
    """What outlives the folder is the note: it must not vouch for what somebody put there."""
    assert run_brainy('--recon', 'samseg') == 0
    folder = folder_of(tmp_path)
    folder.rename(tmp_path / 'away')
    (folder / 'mri').mkdir(parents=True)
    (folder / 'mri/mine.txt').write_text('years of work')
    (tmp_path / f'out/sub-01/ses-a/anat/{SUBJECT}_desc-samseg_dseg.nii.gz').unlink()
    assert run_brainy('--recon', 'samseg') == 0
    kept = [*folder.parent.glob(f'.bids_synthsr/{SUBJECT}-*/mri/mine.txt')]
    assert [path.read_text() for path in kept] == ['years of work']
    assert not (folder / 'mri/mine.txt').exists()


def test_recon_all_goes_on_with_its_own_t1w_alone(run_brainy, fake, tmp_path, monkeypatch):
    monkeypatch.setenv('FAKE_KILL', 'autorecon2')
    assert run_brainy('--recon', 'recon-all') == 1
    monkeypatch.delenv('FAKE_KILL')
    path = folder_of(tmp_path) / 'mri/orig/001.mgz'
    image = nb.load(path)
    voxels = image.get_fdata()[::-1].astype(np.float32)  # somebody else's
    nb.MGHImage(voxels, image.affine).to_filename(path)
    assert run_brainy('--recon', 'recon-all') == 0
    words = [line.split()[1] for line in lines_of(fake)]
    assert words == ['-autorecon1', '-autorecon2', '-autorecon1', '-autorecon2']


def test_a_tool_that_is_killed_is_no_success(run_brainy, fake, monkeypatch, capsys):
    monkeypatch.setenv('FAKE_KILL', 'samseg-stats')
    assert run_brainy('--recon', 'samseg') == 1
    assert 'ended with code' in capsys.readouterr().err
    monkeypatch.delenv('FAKE_KILL')
    assert run_brainy('--recon', 'samseg') == 0
    assert len(lines_of(fake)) == 2


def test_the_version_told_is_that_which_did_the_work(run_brainy, fake, tmp_path):
    assert run_brainy('--recon', 'recon-all') == 0
    (tmp_path / 'freesurfer/build-stamp.txt').write_text('freesurfer-linux-8.1.0-FAKE\n')
    assert run_brainy('--recon', 'recon-all') == 0
    sidecar = tmp_path / f'out/sub-01/ses-a/anat/{SUBJECT}_hemi-L_pial.json'
    assert json.loads(sidecar.read_text())['ToolVersion'] == '7.4.1'


def test_surfaces_of_an_earlier_t1w_are_told(run_brainy, fake, tmp_path, capsys):
    assert run_brainy('--recon', 'recon-all') == 0
    capsys.readouterr()
    assert run_brainy() == 0
    assert 'earlier T1w' not in capsys.readouterr().err
    write_t1w(tmp_path / 'bids', SUBJECT, 3.0)
    assert run_brainy() == 0
    assert 'earlier T1w' in capsys.readouterr().err


def test_a_cut_table_names_the_way_out(run_brainy, fake, tmp_path, capsys):
    assert run_brainy('--recon', 'recon-all') == 0
    stats = folder_of(tmp_path) / 'stats/aseg.stats'
    stats.write_text(stats.read_text()[:-20])
    (tmp_path / f'out/sub-01/ses-a/anat/{SUBJECT}_hemi-L_pial.surf.gii').unlink()
    assert run_brainy('--recon', 'recon-all') == 1
    assert 'Move' in capsys.readouterr().err


@pytest.mark.parametrize('option', [
    ('--recon', 'recon-all'), ('--longitudinal',), ('--export', 'freesurfer'),
])  # fmt: skip
def test_what_cannot_be_done_is_refused(run_brainy, fake, capsys, option):
    assert run_brainy(*option, '--stage', 'synthesize') == 2
    assert 'finished exams' in capsys.readouterr().err
    assert run_brainy(*option, '--method', 'cubic') == 2
    assert 'brain mask' in capsys.readouterr().err


def test_a_dry_run_and_the_index_tell_of_surfaces(run_brainy, fake, tmp_path, capsys):
    assert run_brainy('--recon', 'recon-all', '--dry-run') == 0
    assert 'recon-all 7.4.1 would work on each exam' in capsys.readouterr().err
    assert lines_of(fake) == []
    assert run_brainy('--recon', 'recon-all') == 0
    assert f'{SUBJECT}_surfaces.html' in (tmp_path / 'out/index.html').read_text()


def test_a_wiped_folder_is_made_again(run_brainy, fake, tmp_path):
    import shutil

    assert run_brainy('--recon', 'recon-all') == 0
    shutil.rmtree(folder_of(tmp_path))
    (tmp_path / f'out/sub-01/ses-a/anat/{SUBJECT}_hemi-L_pial.surf.gii').unlink()
    assert run_brainy('--recon', 'recon-all') == 0
    assert len(lines_of(fake)) == 4


@pytest.mark.parametrize('tool', ['recon-all-clinical', 'fastsurfer', 'samseg'])
def test_other_tools_get_their_command_lines(run_brainy, fake, tmp_path, tool):
    assert run_brainy('--recon', tool) == 0
    (line,) = lines_of(fake)
    t1w = tmp_path / f'out/sub-01/ses-a/anat/{SUBJECT}_desc-brainy_T1w.nii.gz'
    subjects = folder_of(tmp_path).parent
    expected = {
        'recon-all-clinical': f'recon-all-clinical.sh {t1w} {SUBJECT} 1 {subjects}',
        'fastsurfer': f'run_fastsurfer.sh --sid {SUBJECT} --sd {subjects} --t1 {t1w}',
        'samseg': f'run_samseg -o {subjects / SUBJECT} --threads 1 -i {t1w}',
    }
    assert line.startswith(expected[tool])
    anat = tmp_path / 'out/sub-01/ses-a/anat'
    assert (anat / f'{SUBJECT}_atlas-aseg_desc-recon_volumes.tsv').is_file()


def test_a_native_scan_is_given_where_the_tool_takes_it(run_brainy, fake, tmp_path):
    assert run_brainy('--recon', 'samseg', '--recon-input', 'native') == 0
    assert f'-i {tmp_path}/bids/sub-01/ses-a/anat/{SUBJECT}_T1w.nii.gz' in lines_of(fake)[0]


@pytest.mark.parametrize(('spoil', 'words'), [
    (lambda home: (home / 'license.txt').unlink(), 'licence'),
    (lambda home: (home / 'bin/recon-all').unlink(), 'is not found'),
    (lambda home: (home / 'build-stamp.txt').write_text('v5.3.0'), 'too old'),
])  # fmt: skip
def test_what_is_missing_is_told_before_any_exam(run_brainy, fake, tmp_path, capsys, spoil, words):
    spoil(tmp_path / 'freesurfer')
    assert run_brainy('--recon', 'recon-all') == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_recon_all_takes_no_native_scan(run_brainy, fake, capsys):
    assert run_brainy('--recon', 'recon-all', '--recon-input', 'native') == 2
    assert 'takes a T1w' in capsys.readouterr().err


def test_no_licence_is_asked_for_without_a_tool(run_brainy, fake, tmp_path):
    (tmp_path / 'freesurfer/license.txt').unlink()
    assert run_brainy() == 0
