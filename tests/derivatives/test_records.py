import json
import os
from dataclasses import replace

import pytest

from bids_synthsr.derivatives import records as module
from bids_synthsr.derivatives.digests import describe_outputs
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.records import (
    Record,
    fingerprint_digest,
    is_finished,
    read_record,
    read_records,
    reason_to_redo,
    take_fingerprint,
    write_record,
)
from bids_synthsr.values.exam import Exam, Scan

SETTINGS = {'method': 'tv', 'contrasts': ('T1w',), 'weights': None}


@pytest.fixture
def exam(tmp_path):
    folder = tmp_path / 'bids/sub-01/anat'
    folder.mkdir(parents=True)
    scans = []
    for name in ('T1w', 'T2w'):
        path = folder / f'sub-01_{name}.nii.gz'
        path.write_text(name)
        scans.append(Scan(path, name, metadata={'SliceThickness': 5}))
    return Exam('01', None, tuple(scans))


@pytest.fixture
def derivatives(tmp_path):
    return Derivatives(tmp_path / 'out')


@pytest.fixture
def take(exam, tmp_path):
    def take_(exam=exam, settings=SETTINGS, version='1', known=None):
        return take_fingerprint(exam, tmp_path / 'bids', settings, version, known)

    return take_


@pytest.fixture
def record(take, derivatives):
    """Finished exam with one output, as it is read back."""
    output = derivatives.exam('01').synthesized('T1w', 'tv')
    output.parent.mkdir(parents=True)
    output.write_text('volume')
    made = Record(
        'sub-01',
        'finished',
        take(),
        warnings=('Ü.',),
        outputs=describe_outputs([output], derivatives),
        durations_s={'align': 1.5},
        run_uuid='uuid',
    )
    path = write_record(derivatives.exam('01').record, made)
    assert read_record(path) == made
    return read_record(path)


def test_finished_exam_is_not_done_again(record, take, derivatives):
    assert reason_to_redo(record, take(), derivatives) == ''
    assert is_finished(record, take(known=record), derivatives)


def test_times_of_files_decide_nothing(record, exam, take, derivatives):
    os.utime(exam.scans[0].path, (0, 0))
    assert is_finished(record, take(known=record), derivatives)
    assert fingerprint_digest(take()) == fingerprint_digest(record.fingerprint)


def test_unchanged_file_is_not_read_again(record, take, monkeypatch):
    monkeypatch.setattr(module, 'sha256', lambda _: 'another')
    assert take(known=record) == record.fingerprint
    assert take() != record.fingerprint


def changed_file(exam):
    exam.scans[0].path.write_text('changed')
    return exam


def changed_sidecar(exam):
    return replace(exam, scans=(replace(exam.scans[0], metadata={}), exam.scans[1]))


def removed_file(exam):
    exam.scans[0].path.unlink()
    return exam


def removed_scan(exam):
    return replace(exam, scans=exam.scans[1:])


def added_scan(exam):
    path = exam.scans[0].path.with_name('sub-01_PDw.nii.gz')
    path.write_text('PDw')
    return replace(exam, scans=(*exam.scans, Scan(path, 'PDw')))


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (changed_file, 'changed since: sub-01/anat/sub-01_T1w.nii.gz'),
        (changed_sidecar, 'changed since: sub-01/anat/sub-01_T1w.nii.gz'),
        (removed_file, 'changed since: sub-01/anat/sub-01_T1w.nii.gz'),
        (removed_scan, 'changed since: sub-01/anat/sub-01_T1w.nii.gz (removed)'),
        (added_scan, 'changed since: sub-01/anat/sub-01_PDw.nii.gz (added)'),
    ],
)
def test_changed_scans_are_named(record, exam, take, derivatives, change, words):
    now = take(change(exam), known=record)
    assert reason_to_redo(record, now, derivatives) == words
    assert fingerprint_digest(now) != fingerprint_digest(record.fingerprint)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'settings': SETTINGS | {'method': 'cubic'}}, 'changed since: method (tv to cubic)'),
        ({'version': '2'}, 'changed since: version (1 to 2)'),
    ],
)
def test_changed_settings_are_named(record, take, derivatives, options, words):
    assert reason_to_redo(record, take(**options), derivatives) == words


def test_other_reasons_to_do_an_exam(record, take, derivatives):
    assert reason_to_redo(None, take(), derivatives) == 'not done yet'
    failed = replace(record, state='failed', reason='no memory')
    assert reason_to_redo(failed, take(), derivatives) == 'failed before: no memory'
    name = next(iter(record.outputs))
    (derivatives.root / name).unlink()
    assert reason_to_redo(record, take(), derivatives) == f'outputs are gone: {name}'
    assert not is_finished(record, take(), derivatives)


@pytest.mark.parametrize('content', ['', '[]', '{}', '{"exam": "sub-02", "later": 1}'])
def test_record_that_cannot_be_understood_is_none(record, derivatives, content):
    (derivatives.records / 'sub-02.json').write_text(content)
    assert read_records(derivatives) == {'sub-01': record}


def test_no_record_is_none(derivatives):
    assert read_record(derivatives.exam('01').record) is None
    assert read_records(derivatives) == {}


def test_fingerprint_is_json(take):
    assert json.loads(json.dumps(take())) == take()
