"""Runs that are stopped by a signal leave nothing behind, and go on when started again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

COMMAND = Path(sys.executable).with_name('bids_synthsr')


def wait_for(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def heed_ctrl_c():
    """Undo what a shell does to jobs in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def workers_of(run):
    """Processes below a run: the server that makes its workers, and these."""
    return psutil.Process(run.pid).children(recursive=True)


@pytest.mark.parametrize(
    ('number', 'code'),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_stopped_run_leaves_no_process_and_goes_on(bids_dir, tmp_path, number, code):
    out = tmp_path / 'out'
    command = [COMMAND, bids_dir, out, 'participant', '--method', 'cubic', '--nprocs', '2',
               '--output-resolution', '2', '--work-dir', tmp_path / 'work',
               '--skip-bids-validation']  # fmt: skip
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c)

    def is_aligning():
        return any('"align"' in log.read_text() for log in out.glob('logs/*/steps.jsonl'))

    wait_for(is_aligning, 60, 'no alignment was begun')
    workers = workers_of(run)
    assert workers
    run.send_signal(number)
    _, told = run.communicate(timeout=10)
    assert run.returncode == code
    assert 'nipype' not in told  # workers log to the file only
    if number != signal.SIGKILL:
        assert f'Stopped by {number.name}. What is finished stays' in told
        assert 'Traceback' not in told
    # a worker cannot look for its parent while greedy runs
    wait_for(lambda: not any(map(psutil.Process.is_running, workers)), 20, 'a worker is left')
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert '2 of 2 exams finished' in again.stderr
    assert not list(out.rglob('.tmp-*'))


@pytest.mark.parametrize('seconds', [0.5, 1.5, 3.0])
def test_ctrl_c_before_the_first_exam_ends_in_a_sentence(bids_dir, tmp_path, seconds):
    command = [COMMAND, bids_dir, tmp_path / 'out', 'participant', '--method', 'cubic']
    run = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c, start_new_session=True
    )
    time.sleep(seconds)
    helpers = workers_of(run)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal sends it, to all processes
    _, told = run.communicate(timeout=30)
    assert run.returncode == 130
    assert 'stopped' in told.lower() and 'Traceback' not in told
    wait_for(lambda: not any(map(psutil.Process.is_running, helpers)), 30, 'a process is left')
