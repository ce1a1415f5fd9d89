"""How exams of a run are closed: once each, by what is on record."""

import pytest

from bids_synthsr.derivatives.digests import OutputFile
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.records import Record, read_record, write_record
from bids_synthsr.run import closing as module
from bids_synthsr.run.closing import Closing, find_waiting
from bids_synthsr.run.plan import Plan
from bids_synthsr.values.exam import Exam
from bids_synthsr.workflows.stages import STAGES

ROW = {'scan': 'T1w', 'role': 'used', 'reason': 'It is usable.', 'file': 'x', 'orientation': '',
       'voxels': '', 'voxel_size_mm': '', 'warnings': ''}  # fmt: skip


@pytest.fixture
def closing(tmp_path):
    derivatives = Derivatives(tmp_path)
    derivatives.crashes('run').mkdir(parents=True)
    return Closing(derivatives, 'run')


def plan(**fields):
    return Plan(Exam('01', None, ()), [ROW], {'scans': {}}, **{'to_do': 'not done yet', **fields})


def test_a_failing_exam_is_closed_and_reported_once(closing, monkeypatch):
    written = []
    monkeypatch.setattr(module, 'write_report', lambda _, path: written.append(path))
    first = closing.close(plan(fault='No scan.'))
    assert closing.close(plan(fault='Another reason.')) is first
    assert (first.state, first.note, len(written)) == ('failed', 'No scan.', 1)
    assert read_record(closing.derivatives.exam('01').record).reason == 'No scan.'


def test_an_exam_on_record_is_finished(closing):
    outputs = {'a.nii.gz': OutputFile(0, '')}
    record = Record('sub-01', 'finished', warnings=('Thick.',), outputs=outputs, run_uuid='run')
    write_record(closing.derivatives.exam('01').record, record)
    assert closing.close(plan()).note == 'Thick.'


def test_an_exam_that_waits_is_no_failure(closing):
    stage = STAGES['register']
    steps = closing.derivatives.steps('run')
    event = f'{{"exam": "sub-01", "step": "{stage.last_step}", "status": "end"}}\n'
    steps.write_text(event)
    waiting = find_waiting(steps, stage)
    assert waiting == {'sub-01': 'registered'}
    assert closing.close(plan(), waiting).state == 'registered'
    assert find_waiting(steps, STAGES['report']) == {}
