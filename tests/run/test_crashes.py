"""What crash files and step logs tell of a run."""

import json
from types import SimpleNamespace

import pytest

from bids_synthsr.run.crashes import exam_label, last_error, read_crashes
from bids_synthsr.run.messages import NOTE
from bids_synthsr.run.steps import StepLog

CRASH = """Node: bids_synthsr_wf.sub_01_ses_2.exam_wf.align_wf.align
Working directory: /work

Node inputs:

scan = <undefined>

Traceback (most recent call last):
  File "base.py", line 1, in run
    raise NodeExecutionError(
nipype.pipeline.engine.nodes.NodeExecutionError: Exception raised while executing Node align.

Traceback:
\tTraceback (most recent call last):
\t  File "alignment.py", line 2, in _run_interface
\t    raise ValueError('scan.nii is empty')
\tValueError: scan.nii is empty
"""


@pytest.fixture
def node():
    runtime = [SimpleNamespace(duration=2.0), SimpleNamespace(duration=3.0)]
    return SimpleNamespace(
        fullname='bids_synthsr_wf.sub_01_ses_2.exam_wf.align_wf.align',
        result=SimpleNamespace(runtime=runtime),
        mem_peak_gb=1.5,
        mem_gb=2.0,
    )


def test_crash_names_exam_step_and_the_error_itself(tmp_path):
    (tmp_path / 'crash-1.txt').write_text(CRASH)
    (crash,) = read_crashes(tmp_path)
    assert (crash.exam, crash.step) == ('sub-01_ses-2', 'align')
    assert crash.message == 'scan.nii is empty'
    assert crash.path == tmp_path / 'crash-1.txt' and crash.traceback == CRASH


def test_crash_file_that_tells_nothing_is_passed_over(tmp_path):
    (tmp_path / 'crash-1.txt').write_text('torn off')
    (tmp_path / 'crash-2.txt').write_text('Node: wf.sub_01')
    assert read_crashes(tmp_path) == []
    assert read_crashes(tmp_path / 'nowhere') == []


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('KeyError: 1\nValueError: told\n', 'told'),
        ('torch.cuda.OutOfMemoryError: no memory', 'no memory'),
        ('KeyboardInterrupt: ', 'KeyboardInterrupt'),
        ('some words\nthe last line\n', 'the last line'),
    ],
)
def test_last_error_counts(text, message):
    assert last_error(text) == message


@pytest.mark.parametrize('label', ['sub-01', 'sub-A1_ses-2', 'sub-01_ses-pre'])
def test_labels_survive_the_names_of_workflows(label):
    assert exam_label(label.replace('-', '_')) == label


def test_steps_are_logged_with_what_they_cost(tmp_path, node):
    log = StepLog(tmp_path / 'logs' / 'steps.jsonl', 1)
    log(node, 'start')
    log(node, 'end')
    log(SimpleNamespace(fullname='_align0'), 'end')  # a part of a step
    start, end = map(json.loads, log.path.read_text().splitlines())
    assert (start['exam'], start['step'], start['status']) == ('sub-01_ses-2', 'align', 'start')
    assert (end['seconds'], end['mem_peak_gb']) == (5.0, 1.5)


def test_step_of_several_parts_starts_once(tmp_path, node):
    log = StepLog(tmp_path / 'steps.jsonl', 1)
    for status in ('start', 'start', 'end'):
        log(node, status)
    events = [json.loads(line)['status'] for line in log.path.read_text().splitlines()]
    assert events == ['start', 'end'] and not log.progress.running


def test_step_without_cost_is_logged(tmp_path, node):
    node.result = None
    log = StepLog(tmp_path / 'steps.jsonl', 1)
    log(node, 'end')
    assert 'seconds' not in json.loads(log.path.read_text())


def event(exam, step):
    return SimpleNamespace(fullname=f'wf.{exam}.exam_wf.{step}', result=None)


def test_what_ended_and_what_is_left_is_told_once_per_exam(tmp_path, caplog):
    log = StepLog(tmp_path / 'steps.jsonl', 3)
    with caplog.at_level(NOTE):
        log(event('sub_01', 'align'), 'end')
        log(event('sub_01', 'record'), 'end')
        log(event('sub_02', 'align'), 'exception')
        log(event('sub_02', 'grid'), 'exception')
        log(event('sub_03', 'record'), 'end')
    first, second, third = (record.getMessage() for record in caplog.records)
    assert first.startswith('sub-01 finished; 1 of 3 done, about 0.') and first.endswith(' s left')
    assert second.startswith('sub-02 failed at align; 2 of 3 done')
    assert third == 'sub-03 finished; all 3 done'
