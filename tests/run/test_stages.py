"""The stages of an exam as runs of their own, which together do what a whole run does."""

import json

import pytest
from doors import sub_command
from phantoms import write_description, write_scan

from bids_synthsr.cli.bids_app import main

tell_status = sub_command('status')


def run(bids, out, *arguments):
    quick = ['--method', 'cubic', '--output-resolution', '4', '--skip-bids-validation']
    return main([str(bids), str(out), 'participant', *quick, '--nprocs', '1', *arguments])


def computed(out):
    """Steps that the last run really did, and that were not in the work folder already."""
    log = max(out.glob('logs/*/steps.jsonl'), key=lambda path: path.stat().st_mtime)
    events = map(json.loads, log.read_text().splitlines())
    return {event['step'] for event in events if 'mem_peak_gb' in event}


@pytest.fixture
def bids(tmp_path):
    root = tmp_path / 'bids'
    write_description(root)
    for contrast in ('T1w', 'T2w'):
        write_scan(root / 'sub-01/anat', 'sub-01', contrast)
    return root


def test_each_stage_does_its_part(bids, tmp_path, capsys):
    out, work = tmp_path / 'out', ('--work-dir', str(tmp_path / 'work'))
    parts = {
        'register': ({'select', 'align', 'grid', 'resample'}, 'registered'),
        'synthesize': ({'synthesize'}, 'synthesized'),
        'report': ({'save', 'report', 'record'}, 'finished'),
    }
    for stage, (steps, state) in parts.items():
        assert run(bids, out, *work, '--stage', stage) == 0
        assert computed(out) == steps
        assert f'sub-01  {state}' in capsys.readouterr().err
        is_last = stage == 'report'
        assert (tell_status([str(out)]) == 0) == is_last
        told = capsys.readouterr().out
        assert 'missing' in told if is_last else 'last step: ' in told
        assert bool(list(out.glob('sub-01/**/*.nii.gz'))) == is_last
    whole = tmp_path / 'whole'
    assert run(bids, whole, '--work-dir', str(tmp_path / 'other')) == 0
    made, expected = (
        {path.name: path.read_bytes() for path in folder.glob('sub-01/anat/*.txt')}
        for folder in (out, whole)
    )
    assert made == expected


def test_stage_does_what_was_not_done_before(bids, tmp_path):
    out = tmp_path / 'out'
    assert run(bids, out, '--work-dir', str(tmp_path / 'work'), '--stage', 'synthesize') == 0
    assert computed(out) >= {'select', 'align', 'synthesize'}


def test_exam_that_fails_in_a_stage_is_told(bids, tmp_path, capsys):
    for path in bids.glob('sub-01/anat/*.nii.gz'):
        path.write_bytes(path.read_bytes()[:-300])
    out = tmp_path / 'out'
    assert run(bids, out, '--work-dir', str(tmp_path / 'work'), '--stage', 'register') == 1
    assert '0 of 1 exams finished, 1 failed' in capsys.readouterr().err
    assert json.loads((out / 'logs/exams/sub-01.json').read_text())['state'] == 'failed'
