"""Wheel and sdist install in clean environments, without constraints, and the commands run.

Every Python of those below that is here is tried: ``make test-wheels``. PyTorch takes several GB
on Linux, so this is no part of ``make test``. ``WHEEL_OPTIONS`` are passed to pip, such as an
index of CPU builds.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHONS = ('3.11', '3.12', '3.13')
OPTIONS = os.environ.get('WHEEL_OPTIONS', '').split()
SHIPPED = ('data/weights/any-exam.safetensors', 'data/recipes/sr-t1.toml', 'data/report/exam.html',
           'py.typed', 'workflows/exam.py')  # fmt: skip


@pytest.fixture(scope='module')
def dist(tmp_path_factory):
    """Wheel and sdist of the tree."""
    folder = tmp_path_factory.mktemp('dist')
    command = [sys.executable, '-m', 'build', '--outdir', str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    return folder


def test_wheel_and_sdist_hold_code_and_data(dist):
    wheel = zipfile.ZipFile(next(dist.glob('*.whl'))).namelist()
    with tarfile.open(next(dist.glob('*.tar.gz'))) as archive:
        sdist = archive.getnames()
    for name in SHIPPED:
        assert f'bids_synthsr/{name}' in wheel
        assert any(member.endswith(name) for member in sdist)
    assert not [name for name in wheel if name.startswith(('tests', 'benchmarks', 'lab', 'docs'))]


def python_of(version):
    """Interpreter of a version that runs, where pyenv keeps it or on the path.

    pyenv puts a name on the path for every version it keeps, which need not run.
    """
    kept = sorted(Path.home().glob(f'.pyenv/versions/{version}.*/bin/python'), reverse=True)
    named = [path] if (path := shutil.which(f'python{version}')) else []
    candidates = [*map(str, kept), *named]
    return next((path for path in candidates if not subprocess.call([path, '-c', ''])), '')


@pytest.mark.parametrize('kind', ['*.whl', '*.tar.gz'], ids=['wheel', 'sdist'])
@pytest.mark.parametrize('version', PYTHONS)
def test_installs_and_runs_in_a_clean_environment(dist, tmp_path, version, kind):
    python = python_of(version)
    if not python:
        pytest.skip(f'there is no Python {version} here')
    if kind == '*.tar.gz' and version != PYTHONS[0]:
        pytest.skip('the wheel of an sdist is the same for every Python')
    subprocess.run([python, '-m', 'venv', tmp_path / 'venv'], check=True)
    binaries = tmp_path / 'venv/bin'
    package = next(dist.glob(kind))
    install = [binaries / 'pip', 'install', '--quiet', *OPTIONS, package]
    subprocess.run(install, check=True, env={**os.environ, 'PIP_CONSTRAINT': ''})
    subprocess.run([binaries / 'pip', 'check'], check=True)
    subprocess.run([binaries / 'synthsr', '--help'], check=True)
    subprocess.run([binaries / 'synthsr', 'demo', 'make', tmp_path / 'demo'], check=True)
    subprocess.run(
        [binaries / 'bids_synthsr', tmp_path / 'demo/bids', tmp_path / 'out', 'participant',
         '--method', 'cubic', '--output-resolution', '3', '--work-dir', tmp_path / 'work'],
        check=True,
    )  # fmt: skip
    assert len(list((tmp_path / 'out').glob('sub-*/ses-*/anat/*desc-cubic_T1w.nii.gz'))) == 2
