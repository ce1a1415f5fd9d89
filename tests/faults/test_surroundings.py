"""Odd paths, streams and temporary folders."""

import os
import subprocess
import sys
from pathlib import Path

import nibabel as nb
import pytest
from phantoms import write_description, write_scan

from bids_synthsr.cli.resolve import check_names

COMMAND = Path(sys.executable).with_name('bids_synthsr')
QUICK = ['participant', '--method', 'cubic', '--output-resolution', '5', '--nprocs', '1',
         '--skip-bids-validation']  # fmt: skip


@pytest.fixture
def bids(tmp_path):
    root = tmp_path / 'bids'
    write_description(root)
    write_scan(root / 'sub-01/anat', 'sub-01', 'T1w')
    return root


def run(bids, out, *arguments, shell='', **environ):
    command = [COMMAND, bids, out, *QUICK, *arguments]
    if shell:
        command = ['sh', '-c', f'"$@" {shell}', 'sh', *command]
    done = subprocess.run(
        [*map(os.fsencode, command)], env={**os.environ, **environ}, capture_output=True,
        check=False,
    )  # fmt: skip
    told = done.stderr.decode(errors='replace')
    assert 'Traceback' not in told
    assert 'Exception ignored' not in told
    return done.returncode, told


def test_percent_signs_in_all_paths(bids, tmp_path):
    home = tmp_path / '100 %(home)s %'
    home.mkdir()
    bids = bids.rename(home / 'bids %d')
    broken = write_scan(bids / 'sub-02/anat', 'sub-02', 'T1w')
    broken.write_bytes(broken.read_bytes()[:-300])
    out = home / 'out %s%%'
    code, told = run(bids, out, '-w', home / 'w%', HOME=str(home))
    assert (code, '1 of 2 exams finished, 1 failed' in told) == (1, True), told
    assert list(out.glob('logs/*/crash/crash-*.txt'))


def test_a_home_that_is_closed_makes_no_folder_in_the_input(bids, tmp_path):
    before = sorted(bids.rglob('*'))
    code, told = run(bids, tmp_path / 'out', '-w', bids / 'w', HOME='/nonexistent')
    assert code == 2 and 'lies in the input' in told
    assert sorted(bids.rglob('*')) == before


@pytest.mark.parametrize('place', ['sub-01/anat', '.', 'logs'])
def test_odd_leftovers_end_nothing(bids, tmp_path, place):
    out = tmp_path / 'out'
    (out / place).mkdir(parents=True, exist_ok=True)
    (out / 'logs/exams').mkdir(parents=True, exist_ok=True)
    (out / place / '.tmp-synthsr-x').mkdir()
    (out / place / '.tmp-synthsr-link').symlink_to('/nonexistent')
    os.mkfifo(out / place / '.tmp-synthsr-pipe')
    code, told = run(bids, out, '-w', tmp_path / 'w')
    assert code == 0, told
    (out / place / '.tmp-mine').touch()
    os.utime(out / place / '.tmp-mine', (0, 0))
    assert run(bids, out, '-w', tmp_path / 'w', '--method', 'cubic', '--fov', 'union')[0] == 0
    assert (out / place / '.tmp-mine').is_file(), 'a file of somebody else'
    assert (out / place / '.tmp-synthsr-x').is_dir()
    assert (out / place / '.tmp-synthsr-link').is_symlink()


@pytest.mark.parametrize('kind', ['pipe', 'link'])
def test_odd_locks_are_refused(bids, tmp_path, kind):
    out, elsewhere = tmp_path / 'out', tmp_path / 'elsewhere'
    (out / 'logs/exams').mkdir(parents=True)
    if kind == 'pipe':
        os.mkfifo(out / 'logs/index.lock')
    else:
        (out / 'logs/index.lock').symlink_to(elsewhere)
    code, told = run(bids, out, '-w', tmp_path / 'w')
    assert code == 1 and 'index.html could not be written' in told
    assert not elsewhere.exists()


@pytest.mark.parametrize('ending', ['.nii.gz', '.nii'])
def test_a_scan_of_terabytes_is_a_fault_of_that_scan(bids, tmp_path, ending):
    good = bids / 'sub-01/anat/sub-01_T1w.nii.gz'
    huge = bids / f'sub-02/anat/sub-02_T1w{ending}'
    huge.parent.mkdir(parents=True)
    nb.save(nb.load(good), huge)
    if ending == '.nii.gz':
        huge.write_bytes(b'')
    os.truncate(huge, 1 << 42)
    code, told = run(bids, tmp_path / 'out', '-w', tmp_path / 'w', '--dry-run')
    assert code == 0
    assert '2 exams: 1 to process, 0 finished, 1 that cannot be processed' in told


@pytest.mark.parametrize('option', ['bids_dir', 'output_dir', '--work-dir'])
def test_folder_whose_name_is_not_utf8_is_refused(bids, tmp_path, option):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b'/K\xf6pfe'))
    folders = {'bids_dir': bids, 'output_dir': tmp_path / 'out', '--work-dir': tmp_path / 'w'}
    folders[option] = odd
    if option == 'bids_dir':
        bids.rename(odd)
    code, told = run(folders['bids_dir'], folders['output_dir'], '-w', folders['--work-dir'])
    assert code == 2
    assert f'{option} ' in told and 'is not in UTF-8: rename the folder' in told


@pytest.mark.parametrize('name', ["it's", 'a b', '$(touch x)', 'a;b', 'a%b', 'a"b', 'a\\b'])
def test_folder_that_scripts_of_a_cluster_cannot_take_is_refused(name):
    folders = {'output_dir': Path('/data') / name}
    check_names(folders, {})
    check_names(folders, {'plugin': 'MultiProc'})
    check_names({'output_dir': Path('/data/Köpfe-1.2_a')}, {'plugin': 'SLURM'})
    with pytest.raises(ValueError, match='choose another folder'):
        check_names(folders, {'plugin': 'SLURM'})


def test_temporary_folder_too_long_for_sockets(bids, tmp_path):
    long = tmp_path / ('scheduler-' * 12)
    long.mkdir()
    code, told = run(bids, tmp_path / 'out', '-w', tmp_path / 'w', TMPDIR=str(long))
    assert code == 0, told


@pytest.mark.parametrize('shell', ['2>&-', '>&-', '<&-', '<&- >&- 2>&-'])
def test_closed_streams(bids, tmp_path, shell):
    code, told = run(bids, tmp_path / 'out', '-w', tmp_path / 'w', shell=shell)
    assert code == 0, told
    assert list(tmp_path.rglob('*_desc-cubic_T1w.nii.gz'))


@pytest.mark.parametrize('shell', ['>/dev/full', '| true'])
def test_table_that_nobody_takes(bids, tmp_path, shell):
    """The pipe is closed before the table is written: what reads it ends at once."""
    shell = shell if shell[0] == '>' else '>"$FIFO"'
    reader = None
    fifo = tmp_path / 'pipe'
    if 'FIFO' in shell:
        os.mkfifo(fifo)
        reader = subprocess.Popen(['sh', '-c', ': <"$0"', fifo])
    code, told = run(bids, tmp_path / 'out', '--dry-run', shell=shell, FIFO=str(fifo))
    if reader:
        reader.wait()
    assert code == 1
    assert 'Standard output cannot be written: ' in told
