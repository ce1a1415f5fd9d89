"""Killed in each step, main process or worker: nothing is lost, nothing comes out otherwise."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from phantoms import write_description, write_scan

COMMAND = Path(sys.executable).with_name('bids_synthsr')
STEPS = ('select', 'align', 'grid', 'resample', 'synthesize', 'save', 'report', 'record')
# In every process of the program: the first worker that comes to a step kills itself or the main
# process, before the step, or when all of it is done and nobody has been told yet.
KILLER = """
import os, signal, sys, time
from pathlib import Path

if os.environ.get('KILL_MARKS'):
    import psutil
    from nipype.pipeline.plugins import multiproc

    run_node = multiproc.run_node

    def kill_once(step):
        mark = Path(os.environ['KILL_MARKS']) / step.strip('_0123456789')
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            return
        me = psutil.Process()
        victim = me if os.environ['KILL_WHOM'] == 'worker' else me.parent().parent()
        victim.send_signal(int(os.environ['KILL_SIGNAL']))
        if victim is not me:
            time.sleep(60)  # until the main process has taken this one along

    def run_or_kill(node, updatehash, task):
        if os.environ['KILL_WHEN'] == 'before':
            kill_once(node.name)
        told = run_node(node, updatehash, task)
        if os.environ['KILL_WHEN'] == 'after':
            kill_once(node.name)
        return told

    multiproc.run_node = run_or_kill
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """An exam, and what an undisturbed run makes of it."""
    made = tmp_path_factory.mktemp('kills')
    write_description(made / 'bids')
    write_scan(made / 'bids/sub-01/anat', 'sub-01', 'T1w')
    (made / 'sitecustomize.py').write_text(KILLER)
    assert run(made, made / 'undisturbed').returncode == 0
    return made


def run(folder, out, **killing):
    command = [COMMAND, folder / 'bids', out, 'participant', '--method', 'cubic', '--nprocs', '1',
               '--output-resolution', '4', '--work-dir', out.with_name(f'{out.name}-work'),
               '--skip-bids-validation']  # fmt: skip
    killing = {f'KILL_{name.upper()}': str(value) for name, value in killing.items()}
    variables = {**os.environ, 'PYTHONPATH': str(folder), **killing}
    heed = {'preexec_fn': lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    return subprocess.run(command, env=variables, capture_output=True, text=True, **heed)


def results(out):
    """Files of the exam; of those that hold times and names of runs, the names alone."""
    files = sorted(path for path in out.glob('sub-01/**/*') if path.is_file())
    return {path.relative_to(out).as_posix(): content(path) for path in files}


def content(path):
    if path.name.endswith('.nii.gz'):
        image = nb.load(path)
        return np.asarray(image.dataobj).tobytes(), image.affine.tobytes()
    return path.read_bytes() if path.suffix in ('.txt', '.tsv') else b''


@pytest.mark.parametrize('when', ['before', 'after'])
def test_worker_killed_in_each_step(folder, tmp_path, when):
    (marks := tmp_path / 'marks').mkdir()
    done = run(folder, tmp_path / 'out', marks=marks, whom='worker', when=when,
               signal=signal.SIGKILL.value)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {mark.name for mark in marks.iterdir()} == set(STEPS)
    assert results(tmp_path / 'out') == results(folder / 'undisturbed')


# the two that the program hears share the steps out, since each stop costs a start of the program
@pytest.mark.parametrize(
    ('number', 'steps'),
    [(signal.SIGKILL, STEPS), (signal.SIGTERM, STEPS[::2]), (signal.SIGINT, STEPS[1::2])],
)
def test_main_process_stopped_in_each_step(folder, tmp_path, number, steps):
    (marks := tmp_path / 'marks').mkdir()
    for step in set(STEPS) - set(steps):
        (marks / step).touch()
    when = 'before' if number == signal.SIGINT else 'after'
    codes = []
    while len(codes) <= len(STEPS) and 0 not in codes:
        done = run(folder, tmp_path / 'out', marks=marks, whom='main', when=when,
                   signal=number.value)  # fmt: skip
        codes.append(done.returncode)
    code = -number if number == signal.SIGKILL else 128 + number
    assert codes == [code] * len(steps) + [0]
    assert {mark.name for mark in marks.iterdir()} == set(STEPS)
    assert results(tmp_path / 'out') == results(folder / 'undisturbed')
    assert not list((tmp_path / 'out').rglob('.tmp-*'))
