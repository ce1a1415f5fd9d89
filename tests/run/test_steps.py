"""The progress of a run: how long it will take yet, and what it is at meanwhile."""

import logging
import time
from types import SimpleNamespace

import pytest

from bids_synthsr.derivatives.records import read_steps
from bids_synthsr.run import live
from bids_synthsr.run.steps import RunProgress, StepLog
from bids_synthsr.workflows.stages import STAGES


def event(exam, step, **fields):
    return SimpleNamespace(fullname=f'wf.{exam}.exam_wf.{step}', result=None, **fields)


def progress(exams, ended, at_work):
    """Exams that ended (begin and end, s ago), and those at work (begin, s ago)."""
    now = time.monotonic()
    made = RunProgress(exams)
    for number, (begin, end) in enumerate(ended):
        made.starts[f'done-{number}'] = now - begin
        made.ends[f'done-{number}'] = now - end
        made.done.add(f'done-{number}')
    made.starts |= {f'work-{number}': now - begin for number, begin in enumerate(at_work)}
    return made


@pytest.mark.parametrize(
    ('exams', 'ended', 'at_work', 'seconds'),
    [
        (2, [(198, 0)], [198], 19.8),  # two at once: the other one is nearly done as well
        (2, [(198, 0)], [98], 100),
        (2, [(100, 0)], [], 100),  # one after the other
        (8, [(100, 0)], [100], (6 * 100 + 10) / 2),
        (8, [(100, 0), (100, 0)], [], 6 * 100 / 2),
        (3, [(100, 0)], [100, 5], (10 + 95) / 2),
    ],
)
def test_time_left_knows_how_many_are_at_work_and_since_when(exams, ended, at_work, seconds):
    assert progress(exams, ended, at_work).seconds_left == pytest.approx(seconds, rel=0.05)


def test_before_an_exam_has_ended_no_time_is_told():
    assert progress(3, [], [50]).seconds_left is None
    assert str(progress(3, [], [50])) == '0 of 3 done'


def test_exams_that_failed_at_once_do_not_count_as_quick():
    run = progress(4, [(100, 0)], [])
    now = time.monotonic()
    run.starts['broken'], run.ends['broken'] = now - 1, now
    run.failed.add('broken')
    assert run.seconds_left == pytest.approx(200, rel=0.05)


@pytest.mark.parametrize('name', STAGES)
def test_exams_are_called_by_the_state_of_their_stage(tmp_path, caplog, name):
    log = StepLog(tmp_path / 'steps.jsonl', 2, STAGES[name])
    logging.getLogger('bids_synthsr').propagate = True
    with caplog.at_level('INFO', logger='bids_synthsr'):
        log(event('sub_01', STAGES[name].last_step), 'end')  # the work folder held it
    assert f'sub-01 {STAGES[name].state}; 1 of 2 done' in caplog.text


def test_without_a_terminal_lines_tell_what_is_at_work(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(live, 'LINE_EVERY_S', 0.02)
    logging.getLogger('bids_synthsr').propagate = True
    log = StepLog(tmp_path / 'steps.jsonl', 2)
    with caplog.at_level('INFO', logger='bids_synthsr'), live.live_view(log.progress, 1.0, 'cpu'):
        log(event('sub_01', 'align'), 'start')
        log.progress.running['sub-01', 'align'] -= 65
        time.sleep(0.2)
    assert 'At work: sub-01 align (1 min 05 s); 0 of 2 done' in caplog.text
    count = caplog.text.count('At work')
    time.sleep(0.1)
    assert caplog.text.count('At work') == count


def test_internal_steps_and_the_report_itself_take_no_time(tmp_path):
    log = StepLog(tmp_path / 'steps.jsonl', 1)
    runtime = SimpleNamespace(runtime=SimpleNamespace(duration=2.0))
    for step in ('first', 'align', 'keep', 'save', 'report', 'record'):
        node = event('sub_01', step, run_without_submitting=step in ('first', 'keep'))
        node.result = runtime
        log(node, 'end')
    assert [step.name for step in read_steps(log.path, 'sub-01')] == ['align', 'save']
