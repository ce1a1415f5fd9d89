"""Files of the current folder, which may be a data set, are neither imported nor obeyed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from phantoms import write_description, write_scan

from bids_synthsr.run.machine import choose_device

COMMAND = Path(sys.executable).with_name('bids_synthsr')
QUICK = ['participant', '--method', 'cubic', '--output-resolution', '5', '--nprocs', '1',
         '--skip-bids-validation']  # fmt: skip
PLANTED = ('nibabel', 'random', 'selectors', 'torch', 'encodings', 'bids_synthsr', 'site')
LOCALES = {
    'UTF-8': {'LC_ALL': 'C.UTF-8'},
    'ASCII': {'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'},
}


@pytest.fixture
def hostile(tmp_path):
    """A data set that holds programs and settings."""
    root = tmp_path / 'bids'
    write_description(root)
    write_scan(root / 'sub-01/anat', 'sub-01', 'T1w')
    for name in PLANTED:
        (root / f'{name}.py').write_text(f"open('{tmp_path}/pwned-{name}', 'w')\n1 / 0\n")
    (root / 'nipype.cfg').write_text(
        f'[logging]\nlog_to_file = true\nlog_directory = {tmp_path}/pwned-nipype\n'
        '[execution]\nstop_on_first_rerun = true\nremove_node_directories = true\n'
    )
    (root / 'matplotlibrc').write_text(f'backend: module://pwned\nsavefig.directory: {root}\n')
    return root


def run(arguments, folder, **environ):
    variables = {key: value for key, value in os.environ.items() if key != 'PYTHONSAFEPATH'}
    return subprocess.run(
        [*map(str, arguments)], cwd=folder, env={**variables, **environ}, capture_output=True,
        text=True, errors='replace', check=False,
    )  # fmt: skip


@pytest.mark.parametrize('locale', LOCALES)
def test_nothing_of_the_current_folder_is_obeyed(hostile, tmp_path, locale):
    done = run([COMMAND, '.', '../out', *QUICK, '-w', '../work'], hostile, **LOCALES[locale])
    assert done.returncode == 0, done.stderr
    assert 'rcParam' not in done.stderr
    assert not list(tmp_path.glob('pwned*'))
    reports = [COMMAND, '.', '../out', *QUICK, '-w', '../work', '--reports-only']
    done = run(reports, hostile, **LOCALES[locale])
    assert (done.returncode, 'matplotlibrc' in done.stderr) == (0, False), done.stderr
    assert not list(tmp_path.glob('pwned*'))


def test_no_file_of_the_current_folder_is_opened(hostile, tmp_path):
    """In no process of a run, by what the operating system says."""
    if not Path('/usr/bin/strace').exists():
        pytest.skip('strace is not installed')
    folder = tmp_path / 'here'
    folder.mkdir()
    log = tmp_path / 'strace'
    watch = ['strace', '-f', '-y', '-qq', '-e', 'trace=openat,newfstatat', '-o', log]
    probe = run(['strace', '-o', log, 'true'], folder)
    if probe.returncode:
        pytest.skip('strace is not allowed here')
    done = run([*watch, COMMAND, hostile, tmp_path / 'out', *QUICK, '-w', tmp_path / 'w'], folder)
    assert done.returncode == 0, done.stderr
    lines = log.read_text(errors='replace').splitlines()
    assert len(lines) > 1000
    relative = re.compile(rf'AT_FDCWD<{folder}>, "[^/]')
    assert [line for line in lines if f'"{folder}/' in line or relative.search(line)] == []


@pytest.mark.parametrize('command', [['exam', '--help'], ['status', 'nowhere']])
def test_other_commands_started_as_modules_import_nothing_from_it(hostile, tmp_path, command):
    for name in ('site', 'encodings', 'random', 'selectors', 'bids_synthsr'):
        (hostile / f'{name}.py').unlink()  # Python itself has these before any program runs
    done = run([sys.executable, '-m', 'bids_synthsr.cli.synthsr', *command], hostile)
    assert 'Traceback' not in done.stderr
    assert not list(tmp_path.glob('pwned*'))


def test_one_exam_is_made_where_settings_of_nipype_lie(hostile, tmp_path):
    scan = hostile / 'sub-01/anat/sub-01_T1w.nii.gz'
    command = [COMMAND.with_name('synthsr'), 'exam', scan, '-o', tmp_path / 'made.nii']
    done = run([*command, '--method', 'cubic', '--output-resolution', '5'], hostile)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.glob('pwned*'))


def test_probe_of_the_gpu_imports_nothing_from_it(hostile, tmp_path, monkeypatch):
    monkeypatch.chdir(hostile)
    with pytest.raises(ValueError, match='PyTorch finds no such GPU'):
        choose_device('cuda:99')
    assert not list(tmp_path.glob('pwned*'))
