"""How far the work is, from the files alone."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from doors import sub_command

from bids_synthsr.cli.bids_app import main as app
from bids_synthsr.cli.status import command_for
from bids_synthsr.derivatives.digests import OutputFile, describe_outputs
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.progress import read_progress, read_runs, write_plan
from bids_synthsr.derivatives.records import Record, fingerprint_digest, write_record

main = sub_command('status')


@pytest.fixture
def out(tmp_path):
    """Four exams planned: one finished, one failed, one cut off, one whose output is gone."""
    derivatives = Derivatives(tmp_path / 'out')
    exams = [f'sub-0{number}_ses-1' for number in range(1, 5)]
    words = "bids_synthsr 'my bids' out participant --participant-label 01 02 03 04 --nprocs 2"
    write_plan(derivatives, '20260101-1_a', dict.fromkeys(exams, ''), words, Path('/data'))
    made = derivatives.root / 'made.nii.gz'
    made.write_bytes(b'volume')
    outputs = describe_outputs([made], derivatives)
    records = (
        Record(exams[0], 'finished', outputs=outputs, warnings=('It is dark.',)),
        Record(exams[1], 'failed', reason='No usable anatomical scan'),
        Record(exams[3], 'finished', outputs={**outputs, 'gone.nii.gz': OutputFile(1, '')}),
    )
    derivatives.records.mkdir(parents=True)
    for record in records:
        (derivatives.records / f'{record.exam}.json').write_text(json.dumps(asdict(record)))
    event = {'time': 1, 'exam': exams[2], 'step': 'align', 'status': 'start'}
    derivatives.steps('20260101-1_a').write_text(json.dumps(event) + '\n{"time": 2, "ex')
    return derivatives.root


def test_finished_failed_and_missing_exams_are_told(out, capsys):
    assert main([str(out)]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0] == 'sub-02_ses-1  failed    No usable anatomical scan'
    assert told[1] == 'sub-03_ses-1  missing   last step: align started'
    assert told[2] == 'sub-04_ses-1  missing   outputs are gone: gone.nii.gz'
    assert told[3] == '4 exams: 1 finished, 1 failed, 2 missing'
    assert told[5] == (
        "cd /data && bids_synthsr 'my bids' out participant --nprocs 2 "
        '--participant-label 02 03 04'
    )


def test_exams_in_hand_are_running_and_no_command_repeats_them(out, capsys):
    """Those that the run has done keep their lock to its end, and are not running."""
    labels = [f'sub-0{number}_ses-1' for number in range(1, 5)]
    hold = f"""
import time
from pathlib import Path
from bids_synthsr.derivatives.locks import ExamLocks
from bids_synthsr.derivatives.places import Derivatives

with ExamLocks(Derivatives(Path({str(out)!r})).locks) as locks:
    print([locks.claim(label) for label in {labels[:3]!r}], flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, '-c', hold], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline().strip() == '[True, True, True]'
        assert main([str(out)]) == 1
        told = capsys.readouterr().out.splitlines()
        run.kill()
    assert told[0] == 'sub-02_ses-1  running'
    assert told[1] == 'sub-03_ses-1  running   last step: align started'
    assert told[3] == '4 exams: 1 finished, 0 failed, 2 running, 1 missing'
    assert told[5].endswith('--participant-label 04')
    record = Record('sub-02_ses-1', 'failed', reason='Dark', run_uuid='20260101-1_a')
    assert read_state(out, record) == 'failed'


def read_state(out, record):
    """State of an exam with a record while a run holds its lock."""
    derivatives = Derivatives(out)
    write_record(derivatives.exam_of(record.exam).record, record)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('bids_synthsr.derivatives.progress.find_claimed', lambda _, labels: labels)
        exams = read_progress(derivatives, read_runs(derivatives))
    return next(exam.state for exam in exams if exam.exam == record.exam)


def test_finished_exams_are_listed_where_asked_for(out, capsys):
    main([str(out), '--all'])
    assert 'sub-01_ses-1  finished  It is dark.' in capsys.readouterr().out


def test_later_run_gives_the_command(out, capsys):
    write_plan(
        Derivatives(out), '20260102-1_b', {'sub-05': ''}, 'bids_synthsr a b participant', out
    )
    main([str(out)])
    told = capsys.readouterr().out
    assert 'sub-05        missing\n' in told
    assert f'cd {out} && bids_synthsr a b participant --participant-label 02 03 04 05' in told


def test_other_folder_is_refused(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert 'holds no logs of bids_synthsr' in capsys.readouterr().err


def test_other_options_stay():
    made = command_for(['1'], 'x a --participant_label 1 2 --fov union')
    assert list(made) == ['x', 'a', '--fov', 'union', '--participant-label', '1']


def test_real_run_can_be_told(bids_dir, tmp_path, capsys):
    (bids_dir / 'sub-02/anat/sub-02_FLAIR.nii.gz').write_bytes(b'not an image')
    out = tmp_path / 'out'
    app([str(bids_dir), str(out), 'participant', '--method', 'cubic', '--output-resolution', '4',
         '--work-dir', str(tmp_path / 'work'), '--skip-bids-validation'])  # fmt: skip
    capsys.readouterr()
    assert main([str(out)]) == 1
    told = capsys.readouterr().out
    assert 'sub-02  failed    ' in told and '2 exams: 1 finished, 1 failed, 0 missing' in told
    assert told.rstrip().endswith('--participant-label 02')


def test_exam_that_the_last_run_wanted_otherwise_is_missing(tmp_path, capsys):
    derivatives = Derivatives(tmp_path)
    fingerprint = {'version': '1', 'settings': {'method': 'tv'}, 'scans': {}}
    outputs = {'a.nii.gz': OutputFile(0, '')}
    (tmp_path / 'a.nii.gz').touch()
    record = Record('sub-01', 'finished', fingerprint=fingerprint, outputs=outputs)
    write_record(derivatives.exam('01').record, record)
    digest = fingerprint_digest(fingerprint)
    write_plan(derivatives, 'a', {'sub-01': digest}, 'bids_synthsr a b participant', tmp_path)
    assert main([str(tmp_path)]) == 0
    write_plan(derivatives, 'b', {'sub-01': 'other'}, 'bids_synthsr a b participant', tmp_path)
    assert main([str(tmp_path)]) == 1
    assert 'other settings or scans than the last run asked for' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('command', 'expected'),
    [
        (
            'bids_synthsr a b participant --stage register -w x',
            'bids_synthsr a b participant -w x --participant-label 01',
        ),
        (
            'bids_synthsr --stage=register --participant-label 7 8 -w x -- a b participant',
            'bids_synthsr -w x --participant-label 01 -- a b participant',
        ),
    ],
)
def test_command_finishes_exams_and_can_be_parsed(command, expected):
    assert ' '.join(command_for(['01'], command)) == expected
