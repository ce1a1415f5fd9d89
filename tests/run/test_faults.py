"""Hostile places: read-only folders, full disks, other runs, odd locales, as users meet them."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name('bids_synthsr')
QUICK = ['--method', 'cubic', '--output-resolution', '4', '--nprocs', '1',
         '--skip-bids-validation']  # fmt: skip
# root may write anywhere: without this capability it may do what its files allow
ORDINARY = ['setpriv', '--bounding-set=-dac_override,-dac_read_search', '--inh-caps=-all']


def command(bids, out, *arguments):
    work = ['--work-dir', out.parent / 'work'] if '--work-dir' not in arguments else []
    return [COMMAND, bids, out, 'participant', *QUICK, *work, *arguments]


def run(arguments, prefix=(), **environ):
    done = subprocess.run(
        [*prefix, *map(str, arguments)], capture_output=True, text=True, check=False,
        errors='surrogateescape', env={**os.environ, **environ},
    )  # fmt: skip
    assert 'Traceback' not in done.stderr
    return done.returncode, done.stderr


def is_complete(out):
    made = {path.name for path in out.rglob('*_desc-cubic_*.nii.gz')}
    return made == {'sub-01_desc-cubic_T1w.nii.gz', 'sub-02_desc-cubic_FLAIR.nii.gz'}


@pytest.fixture
def tmpfs(tmp_path):
    """Mount small file systems; needs the rights of an administrator."""
    mounted = []

    def mount(name, kilobytes):
        folder = tmp_path / name
        folder.mkdir()
        made = subprocess.run(
            ['mount', '-t', 'tmpfs', '-o', f'size={kilobytes}k', 'tmpfs', folder],
            capture_output=True, check=False,
        )  # fmt: skip
        if made.returncode:
            pytest.skip('mounting a small file system is not allowed here')
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(['umount', '-l', folder], check=False)


def test_read_only_input_and_home_and_a_locale_without_unicode(bids_dir, tmp_path):
    odd = tmp_path / 'Kränke Köpfe'
    bids_dir.rename(odd)
    home = tmp_path / 'home'
    home.mkdir()
    for path in (*odd.rglob('*'), odd, home):
        path.chmod(0o555 if path.is_dir() else 0o444)
    prefix = ORDINARY if os.geteuid() == 0 and shutil.which('setpriv') else ()
    locale = {'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'}
    out = tmp_path / 'Ergebnis für Köpfe'
    code, told = run(command(odd, out), prefix, HOME=str(home), **locale)
    for path in (odd, *odd.rglob('*'), home):
        path.chmod(0o755)
    assert code == 0, told
    assert is_complete(out)
    assert not list(home.iterdir())
    assert 'K%C3%B6pfe' in (out / 'dataset_description.json').read_text(encoding='utf-8')


@pytest.mark.parametrize('kilobytes', [40, 400])
def test_full_output_disk_is_told_and_the_rest_is_done_later(bids_dir, tmp_path, tmpfs, kilobytes):
    disk = tmpfs('disk', kilobytes)
    out = disk / 'out'
    work = ['--work-dir', tmp_path / 'work']
    code, told = run(command(bids_dir, out, *work))
    assert code != 0
    assert 'No space left on device' in told
    assert not list(out.rglob('.tmp-*'))  # nothing half-written
    subprocess.run(['mount', '-o', 'remount,size=100m', disk], check=True)
    code, told = run(command(bids_dir, out, *work))
    assert code == 0, told
    assert is_complete(out)


def test_full_work_disk_is_told(bids_dir, tmp_path, tmpfs):
    disk = tmpfs('disk', 100)
    out = tmp_path / 'out'
    code, told = run(command(bids_dir, out, '--work-dir', disk / 'work'))
    assert code == 1
    assert 'No space left on device' in told
    subprocess.run(['mount', '-o', 'remount,size=500m', disk], check=True)
    code, told = run(command(bids_dir, out, '--work-dir', disk / 'work'))
    assert code == 0, told
    assert is_complete(out)


def test_two_runs_share_an_output_folder(bids_dir, tmp_path):
    out = tmp_path / 'out'
    runs = [
        subprocess.Popen(command(bids_dir, out), stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [process.communicate(timeout=300)[1] for process in runs]
    for process, words in zip(runs, told, strict=True):  # 1 for what the other has yet to finish
        assert process.returncode == ('worked on by another run' in words), told
    assert is_complete(out)
    # no exam is done by both
    logs = [path.read_text() for path in out.glob('logs/*/steps.jsonl')]
    for exam in ('sub-01', 'sub-02'):
        done = [f'"exam": "{exam}", "step": "record", "status": "end"' in log for log in logs]
        assert done.count(True) == 1


def test_output_that_disappears_is_told(bids_dir, tmp_path):
    out = tmp_path / 'out'
    process = subprocess.Popen(command(bids_dir, out), stderr=subprocess.PIPE, text=True)
    record = out / 'logs/exams/sub-01.json'
    while not (record.is_file() and '"finished"' in record.read_text()):
        time.sleep(0.05)
        assert process.poll() is None
    shutil.rmtree(out, ignore_errors=True)  # the other exam may write while it goes
    told = process.communicate(timeout=300)[1]
    assert process.returncode == 1
    assert 'Traceback' not in told
    assert 'The run ended before this exam was finished' in told or str(out) in told
    assert run(command(bids_dir, out))[0] == 0
    assert is_complete(out)


def test_clock_that_went_backwards_changes_nothing(bids_dir, tmp_path):
    out = tmp_path / 'out'
    assert run(command(bids_dir, out))[0] == 0
    later = time.time() + 1e7
    for path in (*bids_dir.rglob('*'), *out.rglob('*')):
        os.utime(path, (later, later))
    made = {path: path.stat().st_mtime_ns for path in out.rglob('*.nii.gz')}
    code, told = run(command(bids_dir, out))
    assert code == 0 and '2 of 2 exams finished' in told
    assert {path: path.stat().st_mtime_ns for path in out.rglob('*.nii.gz')} == made


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'PK\x03\x04 a pickle', 'is a pickle, and reading a pickle can run any code'),
        (b'\x10\x00\x00\x00\x00\x00\x00\x00{"a": 1', 'is damaged'),
        (b'version https://git-lfs', 'is neither safetensors nor Keras h5'),
    ],
)
def test_bad_weights_end_the_run_before_it_begins(bids_dir, tmp_path, content, words):
    weights, out = tmp_path / 'w.safetensors', tmp_path / 'out'
    weights.write_bytes(content)
    arguments = [COMMAND, bids_dir, out, 'participant', '--method', 'sr-t1', '--weights', weights]
    code, told = run(arguments)
    assert code == 2, told
    assert words in told
    assert not out.exists()
