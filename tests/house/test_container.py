"""What of images and wrapper can be tested without a container engine."""

import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bids_synthsr import __version__
from bids_synthsr.cli.options import build_parser

ROOT = Path(__file__).parents[2]
FILE = ROOT / 'docker/synthsr_docker.py'


@pytest.fixture(scope='module')
def wrapper():
    spec = importlib.util.spec_from_file_location('synthsr_docker', FILE)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def command(tmp_path, monkeypatch, capsys, wrapper):
    """Tell the command that the wrapper would become."""
    (tmp_path / 'bids').mkdir()
    monkeypatch.chdir(tmp_path)
    for name in (*wrapper.PASSED_ON, *(name for name, _ in wrapper.HOMES)):
        monkeypatch.delenv(name, raising=False)

    def build(*own, options=()):
        assert wrapper.main([*own, '--dry-run', 'bids', 'out', 'participant', *options]) == 0
        return shlex.split(capsys.readouterr().out)

    return build


def mounted(command, option='--volume'):
    return [command[i + 1] for i, word in enumerate(command) if word == option]


def test_every_path_among_the_options_is_mounted(wrapper):
    """An option of the program that takes a path and is not known here would not be found."""
    known = {*wrapper.READ, *wrapper.READ_MANY, *wrapper.WRITE}
    for action in build_parser()._actions:
        if action.type is Path and action.option_strings:
            assert known.issuperset(action.option_strings), action.option_strings


def test_docker_sees_only_what_it_needs(command, tmp_path):
    (tmp_path / 'w.safetensors').touch()
    made = command(options=['--weights', 'w.safetensors', '--nprocs', '2', '-w', 'temporary'])
    assert made[:2] == ['docker', 'run'] and {'--read-only', '--rm'} < set(made)
    assert made[made.index('--network') + 1] == 'none'
    assert mounted(made) == [
        f'{tmp_path}/bids:/data:ro',
        f'{tmp_path}/w.safetensors:/in/1/w.safetensors:ro',
        f'{tmp_path}/out:/out',
        f'{tmp_path}/temporary:/made/1',
    ]
    inside = ['--weights', '/in/1/w.safetensors', '--nprocs', '2', '-w', '/made/1']
    assert made[made.index('synthsr') :] == ['synthsr', '/data', '/out', 'participant', *inside]
    assert (tmp_path / 'out').is_dir()  # docker would make it root's


def test_work_folder_is_the_one_that_the_program_would_take(command, tmp_path):
    assert f'{tmp_path}/work:/work' in mounted(command())


def test_several_folders_and_equals_signs(command, tmp_path):
    for name in ('first', 'second'):
        (tmp_path / name).mkdir()
    options = ['-d', 'first', 'second', '--work-dir=w', '--participant-label', '01', 'first']
    made = command(options=options)
    inside = ['/in/1/first', '/in/2/second', '--work-dir=/made/1', *options[4:]]
    assert made[made.index('-d') + 1 :] == inside


def test_options_of_the_family_are_mounted_too(command, tmp_path):
    for name in ('first', 'second', 'a=b'):
        (tmp_path / name).mkdir()
    (tmp_path / 'plugin.yml').touch()
    options = ['--use-plugin', 'plugin.yml', '--mem', '16000M', '--bids-database-wipe', '-d',
               'smriprep=first', 'second', 'a=b', '--derivatives=mine=first']  # fmt: skip
    made = command(options=options)
    inside = ['--use-plugin', '/in/1/plugin.yml', *options[2:6], 'smriprep=/in/2/first',
              '/in/3/second', '/in/4/a=b', '--derivatives=mine=/in/2/first']  # fmt: skip
    assert made[made.index('participant') + 1 : -2] == inside
    assert f'{tmp_path}/first:/in/2/first:ro' in mounted(made)


def test_errors_are_a_line_and_a_line_that_leads_to_help(wrapper, capsys):
    with pytest.raises(SystemExit) as stop:
        wrapper.main(['--engin=podman', 'bids', 'out', 'participant'])
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        'synthsr-docker: error: unrecognized arguments: --engin=podman; did you mean --engine?',
        'For help: synthsr-docker --help',
    ]


def test_other_engines(command, tmp_path):
    podman = command('--engine', 'podman', '--gpu', '--image', 'localhost/synthsr:1')
    assert podman[0] == 'podman' and 'nvidia.com/gpu=all' in podman
    assert 'localhost/synthsr:1' in podman
    apptainer = command('--engine', 'apptainer', '--gpu')
    assert apptainer[:3] == ['apptainer', 'run', '--containall'] and '--nv' in apptainer
    assert f'{tmp_path}/bids:/data:ro' in mounted(apptainer, '--bind')
    assert 'synthsr.sif' in apptainer


def test_what_a_slurm_job_may_use_is_passed_on(command, monkeypatch):
    monkeypatch.setenv('SLURM_MEM_PER_NODE', '4000')
    assert 'SLURM_MEM_PER_NODE=4000' in command()


def test_templates_are_shown_to_the_container(command, monkeypatch, tmp_path):
    (tmp_path / 'templates').mkdir()
    monkeypatch.setenv('TEMPLATEFLOW_HOME', str(tmp_path / 'templates'))
    words = command()
    assert 'TEMPLATEFLOW_HOME=/templateflow' in words
    assert f'{tmp_path}/templates:/templateflow:ro' in mounted(words)


def test_tools_of_surfaces_are_shown_where_they_are_asked_for(command, monkeypatch, tmp_path):
    (tmp_path / 'freesurfer').mkdir()
    (tmp_path / 'license.txt').write_text('x')
    monkeypatch.setenv('FREESURFER_HOME', str(tmp_path / 'freesurfer'))
    monkeypatch.setenv('FS_LICENSE', str(tmp_path / 'license.txt'))
    assert not any('freesurfer' in word for word in command())
    words = command(options=['--recon', 'recon-all'])
    assert 'FREESURFER_HOME=/opt/freesurfer' in words and 'FS_LICENSE=/opt/license.txt' in words
    assert f'{tmp_path}/freesurfer:/opt/freesurfer:ro' in mounted(words)
    assert f'{tmp_path}/license.txt:/opt/license.txt:ro' in mounted(words)


@pytest.mark.parametrize('sign', [':', ','])
@pytest.mark.parametrize('option', [None, '--weights', '-w'])
def test_path_that_separates_a_mount_is_refused(wrapper, tmp_path, capsys, sign, option):
    odd = tmp_path / f'a{sign}ro'
    odd.mkdir()
    folders = [str(tmp_path), str(tmp_path / 'out')] if option else [str(odd), str(odd)]
    command = ['--dry-run', *folders, 'participant', *([option, str(odd)] if option else [])]
    assert wrapper.main(command) == 2
    assert f'{odd} has a {sign!r} in its name' in capsys.readouterr().err


def test_missing_files_and_engines_are_told(command, wrapper, tmp_path, capsys, monkeypatch):
    for option, value in (('--weights', 'nowhere'), ('-d', 'nowhere')):
        assert wrapper.main(['bids', 'out', 'participant', option, value]) == 2
        assert 'nowhere does not exist' in capsys.readouterr().err
    monkeypatch.setenv('PATH', str(tmp_path))
    assert wrapper.main(['bids', 'out', 'participant']) == 2
    assert 'there is no docker here' in capsys.readouterr().err


def test_wrapper_needs_nothing_but_python(tmp_path):
    done = subprocess.run(
        [sys.executable, '-I', '-S', FILE, '--help'], capture_output=True, text=True, check=True
    )
    assert '--engine' in done.stdout


def test_versions_agree():
    project = tomllib.loads((ROOT / 'docker/pyproject.toml').read_text())['project']
    assert project['version'] == __version__


def test_both_recipes_of_images_install_the_same():
    """Dockerfile and Apptainer definition share install.sh, its source and the environment."""
    docker, apptainer = ROOT / 'Dockerfile', ROOT / 'docker/synthsr.def'
    copied = set(re.findall(r'^    (\S+) /source/\1$', apptainer.read_text(), re.MULTILINE))
    kept = set(re.findall(r'^!(\S+)', (ROOT / '.dockerignore').read_text(), re.MULTILINE))
    assert copied == kept and all((ROOT / name).exists() for name in kept)
    for text in (docker.read_text(), apptainer.read_text()):
        assert 'sh /source/docker/install.sh /source /opt/bids_synthsr' in text
        for variable in ('PATH=/opt/bids_synthsr/bin', 'LANG=C.UTF-8', 'PYTHONNOUSERSITE=1'):
            assert variable in text
