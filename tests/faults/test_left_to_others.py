"""Work that is left to another run, and which run was the last: never silent, never a guess."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from doors import sub_command

from bids_synthsr.cli.bids_app import main as app
from bids_synthsr.cli.options import parse_options
from bids_synthsr.cli.resolve import settings_of
from bids_synthsr.derivatives.digests import OutputFile
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.progress import read_runs, write_plan
from bids_synthsr.derivatives.records import Record, read_record, write_record
from bids_synthsr.run.closing import ANOTHER_RUN, Closing
from bids_synthsr.run.plan import Plan
from bids_synthsr.values.exam import Exam

status = sub_command('status')
HOLD = """
import sys
from pathlib import Path
from bids_synthsr.derivatives.locks import ExamLocks
locks = ExamLocks(Path(sys.argv[1]))
assert all([locks.claim(label) for label in sys.argv[2:]])
print('held', flush=True)
sys.stdin.read()
"""


@pytest.fixture
def another_run(tmp_path):
    """Another process that works on both exams."""
    command = [sys.executable, '-c', HOLD, str(Derivatives(tmp_path / 'out').locks)]
    with subprocess.Popen(
        [*command, 'sub-01', 'sub-02'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == 'held\n'
        yield process
        process.communicate('')


@pytest.mark.usefixtures('another_run')
def test_exams_that_are_left_to_another_run_are_not_done(bids_dir, tmp_path, capsys):
    arguments = [str(bids_dir), str(tmp_path / 'out'), 'participant', '--method', 'cubic',
                 '--work-dir', str(tmp_path / 'work'), '--skip-bids-validation']  # fmt: skip
    assert app(arguments) == 1
    told = capsys.readouterr().err
    for exam in ('sub-01', 'sub-02'):
        assert f'{exam}  left      {ANOTHER_RUN}' in told
    assert '0 of 2 exams finished, 2 left, 0 failed' in told
    table = next((tmp_path / 'out').glob('logs/*/status.tsv')).read_text()
    assert table.count('\tleft\tIt is worked on by another run') == 2
    assert status([str(tmp_path / 'out')]) == 1


@pytest.mark.parametrize(('method', 'state'), [('cubic', 'finished'), ('tv', 'left')])
def test_what_another_run_finishes_counts_if_its_settings_are_ours(tmp_path, method, state):
    derivatives = Derivatives(tmp_path)
    fingerprint = {'version': '1', 'settings': {'method': 'cubic'}, 'scans': {}}
    theirs = {**fingerprint, 'settings': {'method': method}}
    outputs = {'a.nii.gz': OutputFile(0, '')}
    derivatives.root.joinpath('a.nii.gz').touch()
    record = Record('sub-01', 'finished', theirs, outputs=outputs, run_uuid='b')
    write_record(derivatives.exam('01').record, record)
    plan = Plan(Exam('01', None, ()), [], fingerprint, 'not done yet', is_left=True)
    assert Closing(derivatives, 'a').close(plan).state == state
    assert read_record(derivatives.exam('01').record).fingerprint == theirs


def test_last_run_is_the_one_that_began_last_whatever_its_clock_says(tmp_path, capsys):
    """Runs of machines in other time zones, and one whose clock was set back."""
    derivatives = Derivatives(tmp_path)
    for name in ('20260105-120000_a', '20260105-030000_b', '19700101-000000_c'):
        write_plan(
            derivatives, name, {'sub-01': ''}, f'bids_synthsr in {name} participant', Path('/')
        )
    names = [run.run_uuid for run in read_runs(derivatives)]
    assert names == ['20260105-120000_a', '20260105-030000_b', '19700101-000000_c']
    assert status([str(tmp_path)]) == 1
    assert 'bids_synthsr in 19700101-000000_c participant' in capsys.readouterr().out


def test_plans_without_a_number_come_first(tmp_path):
    derivatives = Derivatives(tmp_path)
    path = write_plan(derivatives, '20270101_old', {'sub-01': ''}, 'old', Path('/'))
    content = json.loads(path.read_text())
    path.write_text(json.dumps({x: content[x] for x in ('exams', 'command', 'started_in')}))
    derivatives.run_plan('20260101_odd').parent.mkdir()
    derivatives.run_plan('20260101_odd').write_text(
        '{"exams": [], "command": "", "started_in": ""}'
    )
    write_plan(derivatives, '20260102_new', {'sub-01': ''}, 'new', Path('/'))
    assert [run.command for run in read_runs(derivatives)] == ['', 'old', 'new']
    assert read_runs(derivatives)[-1].number == 1


def test_runs_are_named_by_the_time_of_the_world(bids_dir, tmp_path, monkeypatch):
    monkeypatch.setenv('TZ', 'Asia/Tokyo')
    time.tzset()
    options = parse_options(
        [str(bids_dir), str(tmp_path / 'out'), 'participant', '--device', 'cpu']
    )
    name = settings_of(options, {}).run_uuid
    begun = datetime.strptime(name[:15], '%Y%m%d-%H%M%S').replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - begun).total_seconds()) < 60
    monkeypatch.undo()
    time.tzset()
