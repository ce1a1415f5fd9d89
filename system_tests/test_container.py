"""The image as a hospital runs it: no network, only the output writable, nobody in particular.

Takes the engine from $ENGINE (podman) and the image from $IMAGE (synthsr); `make image` builds it.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from phantoms import write_description, write_scan

from bids_synthsr.evaluation.phantoms import make_demo

ROOT = Path(__file__).parents[1]
ENGINE, IMAGE = os.environ.get('ENGINE', 'podman'), os.environ.get('IMAGE', 'synthsr')
NOBODY = '1234:1234'  # has no entry in /etc/passwd
STRICT = ('--rm', '--network', 'none', '--read-only', '--tmpfs', '/tmp', '--user', NOBODY)
QUICK = ('--method', 'cubic', '--output-resolution', '4', '--skip-bids-validation')
pytestmark = pytest.mark.skipif(not shutil.which(ENGINE), reason=f'there is no {ENGINE}')


def run(*options, **more):
    command = [ENGINE, 'run', *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, **more)


def mounts(bids, out):
    return ('--volume', f'{bids}:/data:ro', '--volume', f'{out}:/out')


@pytest.fixture
def bids(tmp_path):
    root = tmp_path / 'bids'
    write_description(root)
    for number in range(1, 4):
        name = f'sub-{number:02d}'
        write_scan(root / f'{name}/anat', name, 'T1w')
    for path in (tmp_path, *list(tmp_path.parents)[:2]):
        path.chmod(0o755)
    return root


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / 'out'
    folder.mkdir()
    if os.geteuid() == 0:
        shutil.chown(folder, *map(int, NOBODY.split(':')))
    else:
        folder.chmod(0o777)
    return folder


def times(out):
    return {path: path.stat().st_mtime_ns for path in out.glob('sub-*/**/*.nii.gz')}


def test_demo_without_network_root_or_rights(out, tmp_path):
    make_demo(tmp_path / 'demo')
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / 'demo').rglob('*')}
    done = run(
        *STRICT, *mounts(tmp_path / 'demo/bids', out), IMAGE, '/data', '/out', 'participant'
    )
    assert done.returncode == 0, done.stderr
    assert '2 of 2 exams finished, 0 failed' in done.stderr
    assert {path.stat().st_uid for path in out.rglob('*')} <= {1234, os.geteuid()}
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / 'demo').rglob('*')} == before
    program = [sys.executable, '-m', 'bids_synthsr.cli.synthsr']
    check = [*program, 'demo', 'compare', tmp_path / 'demo', out]
    told = subprocess.run(check, capture_output=True, text=True, check=True).stdout
    errors = [float(line.split()[1]) for line in told.splitlines() if ' mm  (' in line]
    assert len(errors) == 4 and max(errors) < 0.5


@pytest.mark.parametrize('home', ['/nowhere', '/root', '/data'])
def test_home_may_be_anything(bids, out, home):
    options = (*STRICT, '--env', f'HOME={home}', *mounts(bids, out))
    done = run(*options, IMAGE, '/data', '/out', 'participant', *QUICK)
    assert done.returncode == 0, done.stderr
    assert '3 of 3 exams finished' in done.stderr


def state_of(record):
    """How the work on an exam stands: begun while its outputs are written."""
    return json.loads(record.read_text())['state'] if record.is_file() else ''


def test_stopped_it_ends_at_once_and_goes_on_where_it_was(bids, out):
    options = (*STRICT, *mounts(bids, out), '--name', 'synthsr-to-stop')
    program = (IMAGE, '/data', '/out', 'participant', *QUICK, '--nprocs', '1')
    running = subprocess.Popen(
        [ENGINE, 'run', *map(str, options), *program], stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 120
    while state_of(out / 'logs/exams/sub-01.json') != 'finished':
        assert time.monotonic() < end and running.poll() is None
        time.sleep(0.2)
    begun = time.monotonic()
    subprocess.run([ENGINE, 'stop', '--time', '10', 'synthsr-to-stop'], capture_output=True)
    told = running.communicate(timeout=30)[1]
    assert time.monotonic() - begun < 10
    assert running.returncode == 143, told
    assert 'Stopped by SIGTERM. What is finished stays' in told
    finished = times(out)
    assert finished and not list(out.rglob('.tmp-*'))
    done = run(*STRICT, *mounts(bids, out), *program)
    assert done.returncode == 0, done.stderr
    assert '3 of 3 exams finished' in done.stderr
    assert {path: times(out)[path] for path in finished} == finished


def test_other_commands_are_inside(bids, out):
    run(*STRICT, *mounts(bids, out), IMAGE, '/data', '/out', 'participant', *QUICK, check=True)
    status = run(*STRICT, *mounts(bids, out), '--entrypoint', 'synthsr', IMAGE, 'status', '/out')
    assert status.returncode == 0 and '3 exams: 3 finished' in status.stdout


def test_wrapper_takes_paths_as_they_are_outside(bids, tmp_path):
    wrapper = [sys.executable, ROOT / 'docker/synthsr_docker.py', '--engine', ENGINE]
    (tmp_path / 'only.json').write_text(json.dumps({'t1w': {'suffix': 'T1w'}}))
    program = ['bids', 'made here', 'participant', '--bids-filter-file', 'only.json', *QUICK]
    done = subprocess.run(
        [*map(str, wrapper), '--image', IMAGE, *program, '--participant-label', '02'],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '1 of 1 exams finished' in done.stderr
    report = tmp_path / 'made here/sub-02.html'
    assert report.stat().st_uid == os.getuid()
    assert (tmp_path / 'work').is_dir()


def test_nothing_that_only_builders_need_is_inside():
    find = (
        'for name in gcc cc c++ make pip pip3; do ls /opt/bids_synthsr/bin/$name; done 2>/dev/null'
    )
    told = run('--rm', '--entrypoint', 'sh', IMAGE, '-c', find).stdout
    assert not told
    labels = subprocess.run(
        [ENGINE, 'image', 'inspect', IMAGE], capture_output=True, text=True, check=True
    ).stdout
    (image,) = json.loads(labels)
    found = image.get('Labels') or image['Config']['Labels']
    assert len(found['org.opencontainers.image.revision']) == 40
    assert found['org.opencontainers.image.version'] != 'unknown'
