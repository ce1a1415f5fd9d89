"""The live view: what a person at a terminal sees of a run."""

import io
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from bids_synthsr.run import live
from bids_synthsr.run.live import (
    LiveView,
    describe_gpu,
    describe_work_of,
    live_index,
    live_view,
    used_gb,
)
from bids_synthsr.run.steps import RunProgress, StepLog

RUN = """
import logging, sys, time
from types import SimpleNamespace
from bids_synthsr.run.live import live_view
from bids_synthsr.run.messages import configure_console
from bids_synthsr.run.steps import StepLog
configure_console(0)
log = StepLog(__import__('pathlib').Path(sys.argv[1]), 2)
def event(exam, step):
    return SimpleNamespace(fullname=f'wf.{exam}.exam_wf.{step}', result=None)
with live_view(log.progress, 4.0, 'cpu'):
    log(event('sub_01', 'align'), 'start')
    time.sleep(1.2)
    log(event('sub_01', 'record'), 'end')
"""


def event(exam, step):
    return SimpleNamespace(fullname=f'wf.{exam}.exam_wf.{step}', result=None)


@pytest.fixture
def log(tmp_path):
    """Six exams: one finished, one failed, two at work."""
    log = StepLog(tmp_path / 'steps.jsonl', 6)
    log(event('sub_01', 'record'), 'start')
    log(event('sub_01', 'record'), 'end')
    log.progress.begun -= 120
    log.progress.starts['sub-01'] -= 120
    for exam in ('sub_02', 'sub_03', 'sub_04'):
        log(event(exam, 'align'), 'start')
    log(event('sub_02', 'align'), 'exception')
    return log


def test_view_tells_exams_steps_time_and_memory(log):
    text = io.StringIO()
    Console(file=text, width=100, force_terminal=True).print(LiveView(log.progress, 7.5))
    told = text.getvalue().replace('\n', ' ')
    assert '1 finished, 1 failed, 2 at work, 2 waiting, 2 min 00 s so far' in told
    assert ' left' in told and 'of 7.5 GB' in told
    for words in (('sub-03', 'align'), ('sub-04', 'align')):
        assert '  '.join(words) in told
    assert 'sub-02' not in told


def test_steps_that_ended_are_no_longer_shown(log):
    log(event('sub_03', 'align'), 'end')
    assert set(log.progress.running) == {('sub-04', 'align')}


def test_memory_is_that_of_this_process_and_those_it_started():
    before = used_gb()
    sleeper = 'held = b"x" * 300_000_000; print(flush=True); import time; time.sleep(60)'
    with subprocess.Popen([sys.executable, '-c', sleeper], stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        assert used_gb() - before == pytest.approx(0.3, abs=0.05)
        child.kill()


def test_gpu_is_asked_through_its_driver(tmp_path, monkeypatch, log):
    monkeypatch.setenv('PATH', str(tmp_path))
    assert describe_gpu() == ''
    driver = tmp_path / 'nvidia-smi'
    driver.write_text('#!/bin/sh\necho "37, 2048, 143360"\n')
    driver.chmod(0o755)
    assert describe_gpu() == 'GPU 37 %, 2.0 of 140.0 GB'
    view = LiveView(log.progress, 4.0, shows_gpu=True)
    assert view.summary(time.monotonic()).endswith('GPU 37 %, 2.0 of 140.0 GB')


def test_without_a_terminal_there_is_no_view(log, capsys):
    with live_view(log.progress, 4.0, 'cpu'):
        pass
    assert capsys.readouterr() == ('', '')


def test_messages_stand_above_the_view_on_a_terminal(tmp_path):
    pty = pytest.importorskip('pty')
    main, terminal = pty.openpty()
    command = [sys.executable, '-c', RUN, str(tmp_path / 'steps.jsonl')]
    with subprocess.Popen(command, stderr=terminal, env={**os.environ, 'TERM': 'xterm'}) as run:
        os.close(terminal)
        told = b''
        while True:
            try:
                told += os.read(main, 4096)
            except OSError:  # closed
                break
        assert run.wait() == 0
    text = told.decode()
    assert '1 at work' in text and 'align' in text
    assert 'sub-01 finished; 1 of 2 done' in text


def test_the_index_is_written_while_the_run_goes_on(monkeypatch):
    monkeypatch.setattr(live, 'INDEX_EVERY_S', 0.02)
    monkeypatch.setattr(live, 'INDEX_SHARE', 0.0)
    progress, written = RunProgress(3), []
    progress.running['sub-01', 'synthesize'] = time.monotonic()
    with live_index(progress, written.append):
        wait_until(lambda: written)
        time.sleep(0.2)
        assert written == ['0 finished, 0 failed, of 3 exams. At work: sub-01 (synthesize).']
        progress.running.clear()
        progress.end('sub-01', progress.done)
        progress.end('sub-02', progress.failed)
        wait_until(lambda: len(written) > 1)
    assert written[1:] == [describe_work_of(progress), '']  # in the end none is at work
    assert written[1].startswith('1 finished, 1 failed, of 3 exams. At work: nothing')
    progress.end('sub-03', progress.done)
    time.sleep(0.1)
    assert len(written) == 3  # nothing is written once the run has ended


def test_a_run_that_is_stopped_leaves_no_index_of_one_at_work():
    written = []
    with pytest.raises(KeyboardInterrupt), live_index(RunProgress(1), written.append):
        raise KeyboardInterrupt
    assert written == ['']


def test_writing_takes_a_small_share_of_the_time(monkeypatch):
    monkeypatch.setattr(live, 'INDEX_EVERY_S', 0.01)
    progress, times = RunProgress(1000), []

    def write(_sentence):
        times.append(time.monotonic())
        time.sleep(0.02)
        progress.end(f'sub-{len(times)}', progress.done)

    with live_index(progress, write):
        wait_until(lambda: len(times) > 1)
    assert times[1] - times[0] >= live.INDEX_SHARE * 0.02


def wait_until(is_so, seconds=10.0):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)
