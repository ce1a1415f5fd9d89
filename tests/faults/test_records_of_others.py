"""A record that no run writes counts as none, and costs no other exam its place in the index."""

import json
import os

import pytest
from doors import sub_command

from bids_synthsr.cli.bids_app import main as app
from bids_synthsr.derivatives.digests import OutputFile
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.records import (
    Record,
    read_durations,
    read_record,
    write_record,
)
from bids_synthsr.reports.pages import duration
from bids_synthsr.run import closing
from bids_synthsr.run.closing import write_data_set_index

status = sub_command('status')
OUTPUTS = {'sub-01/anat/sub-01_desc-x_T1w.nii.gz': OutputFile(0, '')}


@pytest.fixture
def derivatives(tmp_path):
    return Derivatives(tmp_path / 'out')


def write(derivatives, label='sub-01', **fields):
    path = derivatives.records / f'{label}.json'
    return write_record(path, Record(label, 'finished', **{'outputs': OUTPUTS, **fields}))


def test_times_that_no_step_takes_spoil_no_index(derivatives):
    path = write(derivatives, durations_s={'a': 1.7e308, 'b': 1.7e308})
    write(derivatives, 'sub-02', durations_s={'a': 1e8})
    assert read_record(path) is None
    assert write_data_set_index(derivatives)
    assert 'sub-02' in derivatives.index.read_text()


def test_times_that_no_step_takes_enter_no_record(tmp_path):
    events = [{'exam': 'sub-01', 'step': step, 'status': 'end', 'seconds': seconds}
              for step, seconds in (('a', 1.0), ('b', 1.7e308))]  # fmt: skip
    (tmp_path / 'steps.jsonl').write_text('\n'.join(map(json.dumps, events)))
    assert read_durations(tmp_path / 'steps.jsonl', 'sub-01') == {'a': 1.0}


def test_a_record_that_cannot_be_shown_costs_no_other_its_row(derivatives, monkeypatch):
    write(derivatives)
    write(derivatives, 'sub-02')
    show = closing._index_row

    def stumble(record, place):
        return show(record, place) if record.exam == 'sub-02' else 1 // 0

    monkeypatch.setattr(closing, '_index_row', stumble)
    assert write_data_set_index(derivatives)
    page = derivatives.index.read_text()
    assert 'sub-02' in page and 'Its record cannot be shown (ZeroDivisionError' in page


def test_endless_times_can_be_written():
    assert duration(float('inf')) == duration(float('nan')) == 'unknown'


@pytest.mark.parametrize(
    'fields',
    [{'outputs': {}}, {'leftovers': ('../x',)}, {'leftovers': ('/etc/x',)},
     {'pages': {'../x.html': OutputFile(0, '')}}],
)  # fmt: skip
def test_a_finished_record_names_outputs_of_its_folder(derivatives, capsys, fields):
    assert read_record(write(derivatives, **fields)) is None
    assert status([str(derivatives.root), '--check']) != 0
    assert 'finished' not in capsys.readouterr().out


def reports_only(bids, out):
    return app([str(bids), str(out), 'participant', '--method', 'cubic', '--reports-only',
                '--work-dir', str(out.parent / 'work'), '--skip-bids-validation'])  # fmt: skip


def test_no_report_of_what_is_not_finished_is_no_success(bids_dir, tmp_path, capsys):
    out = tmp_path / 'out'
    assert reports_only(bids_dir, out) == 1
    assert 'holds no outputs of the program' in capsys.readouterr().err and not out.exists()
    derivatives = Derivatives(out)
    derivatives.records.mkdir(parents=True)
    assert reports_only(bids_dir, out) == 1
    assert 'is not finished: no report' in capsys.readouterr().err


def test_reports_without_an_index_are_no_success(bids_dir, tmp_path, monkeypatch):
    derivatives = Derivatives(tmp_path / 'out')
    derivatives.records.mkdir(parents=True)
    derivatives.index.mkdir()
    write(derivatives)
    write(derivatives, 'sub-02')
    monkeypatch.setattr('bids_synthsr.run.renewal._renew', lambda *_: '')
    assert reports_only(bids_dir, derivatives.root) == 1


@pytest.mark.parametrize('main', [app, sub_command('status')])
def test_a_current_folder_that_is_gone_is_wrong_use(tmp_path, monkeypatch, capsys, main):
    (tmp_path / 'gone').mkdir()
    monkeypatch.chdir(tmp_path / 'gone')
    (tmp_path / 'gone').rmdir()
    code = main(['o'] if main is not app else ['a', 'b', 'participant'])
    os.chdir(tmp_path)
    told = capsys.readouterr().err
    assert code == 2 and 'has been removed: change to another one' in told
    assert len(told.splitlines()) == 1
