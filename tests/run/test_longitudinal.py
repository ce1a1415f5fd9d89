"""The sessions of a person compared, from the command line to the page."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from phantoms import write_t1w

from bids_synthsr.dataset.images import load_rigid, load_volume
from bids_synthsr.derivatives.tables import read_table

BEFORE, GROWN = 1.0, 3.0


@pytest.fixture
def out(tmp_path):
    for session, brightness in (('a', BEFORE), ('b', GROWN), ('c', BEFORE)):
        write_t1w(tmp_path / 'bids', f'sub-01_ses-{session}', brightness)
    write_t1w(tmp_path / 'bids', 'sub-02_ses-a')
    return tmp_path / 'out'


@pytest.fixture
def pair(tmp_path):
    for session in 'ab':
        write_t1w(tmp_path / 'bids', f'sub-01_ses-{session}')
    return tmp_path / 'out'


def rows_of(out: Path, name: str = 'Left-Lateral-Ventricle'):
    table = read_table(out / 'sub-01/anat/sub-01_desc-longitudinal_volumes.tsv')
    return {row['session_id']: row for row in table if row['name'] == name}


def test_what_grows_is_told_and_what_does_not_stays(run_brainy, out, tmp_path):
    times = ('session_id\tacq_time', 'ses-a\t2020-01-01',
             'ses-b\t2022-01-01T01:00+10:00', 'ses-c\t2021-01-01')  # fmt: skip
    (tmp_path / 'bids/sub-01/sub-01_sessions.tsv').write_text('\n'.join(times) + '\n')
    assert run_brainy('--longitudinal') == 0
    rows = rows_of(out)
    assert [*rows] == ['ses-a', 'ses-c', 'ses-b']  # by their time
    assert float(rows['ses-b']['days']) == 730.6  # in UTC
    change = {session: float(row['change_percent']) for session, row in rows.items()}
    true = float(rows['ses-b']['own_volume_mm3']) / float(rows['ses-a']['own_volume_mm3'])
    assert abs(change['ses-c']) < 1
    assert 0.5 < change['ses-b'] / (100 * (true - 1)) < 1.2
    assert abs(float(rows_of(out, 'Left-Cerebral-Cortex')['ses-b']['change_percent'])) < 5
    growth, grid = load_volume(
        out / 'sub-01/ses-b/anat/sub-01_ses-b_space-subject_logjacobian.nii.gz'
    )
    average, average_grid = load_volume(
        out / 'sub-01/anat/sub-01_space-subject_desc-average_T1w.nii.gz'
    )
    assert grid == average_grid
    dseg = load_volume(out / 'sub-01/anat/sub-01_space-subject_desc-brainy_dseg.nii.gz')[0]
    assert growth[dseg == 4].mean() > 0.1
    assert not growth[average == 0].any()
    page = (out / 'sub-01_longitudinal.html').read_text()
    assert 'ses-b, day 731' in page
    assert not (out / 'sub-02_longitudinal.html').exists()
    transform = out / 'sub-01/ses-a/anat/sub-01_ses-a_from-T1w_to-subject_mode-image_xfm.txt'
    assert np.abs(load_rigid(transform)[:3, 3]).max() < 1  # the head lay still
    record = json.loads((out / 'logs/longitudinal/sub-01.json').read_text())
    assert record['state'] == 'finished'


def test_it_is_done_once_and_again_when_a_session_changes(run_brainy, out, tmp_path, capsys):
    assert run_brainy('--longitudinal') == 0
    table = out / 'sub-01/anat/sub-01_desc-longitudinal_volumes.tsv'
    before = table.stat().st_mtime_ns
    assert run_brainy('--longitudinal') == 0
    assert table.stat().st_mtime_ns == before
    write_t1w(tmp_path / 'bids', 'sub-01_ses-c', GROWN)
    capsys.readouterr()
    assert run_brainy() == 0
    assert 'is out of date' in capsys.readouterr().err
    assert run_brainy('--longitudinal') == 0
    assert float(rows_of(out)['ses-c']['change_percent']) > 5
    assert 'is out of date' not in capsys.readouterr().err


def test_a_session_that_fails_is_named_and_others_are_compared(run_brainy, out, tmp_path, capsys):
    scan = tmp_path / 'bids/sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz'
    scan.write_bytes(b'no image')
    assert run_brainy('--longitudinal') == 1
    assert 'ses-b is not compared' in capsys.readouterr().err
    assert [*rows_of(out)] == ['ses-a', 'ses-c']
    assert 'ses-b is not compared' in (out / 'sub-01_longitudinal.html').read_text()


def test_a_session_that_is_added_and_broken_is_named(run_brainy, pair, tmp_path):
    assert run_brainy('--longitudinal') == 0
    write_t1w(tmp_path / 'bids', 'sub-01_ses-d').write_bytes(b'no image')
    assert run_brainy('--longitudinal') == 1
    assert 'ses-d is not compared' in (pair / 'sub-01_longitudinal.html').read_text()


def test_a_session_with_two_times_has_none(run_brainy, pair, tmp_path):
    rows = ('session_id\tacq_time', 'ses-a\t2020-01-01', 'ses-a\t2023-01-01', 'ses-b\t2021-01-01')
    (tmp_path / 'bids/sub-01/sub-01_sessions.tsv').write_text('\n'.join(rows) + '\n')
    assert run_brainy('--longitudinal') == 0
    assert [row['days'] for row in rows_of(pair).values()] == ['', '']


def test_reports_only_writes_pages_anew_and_tells_stale_ones(run_brainy, pair, tmp_path, capsys):
    assert run_brainy('--longitudinal') == 0
    page = pair / 'sub-01_longitudinal.html'
    written = page.read_text()
    page.write_text('torn')
    assert run_brainy('--reports-only') == 0
    assert page.read_text() == written
    (pair / 'sub-01/anat/sub-01_desc-longitudinal_volumes.tsv').unlink()
    capsys.readouterr()
    assert run_brainy('--reports-only') == 1
    assert 'no page of its sessions, for' in capsys.readouterr().err


def test_a_session_that_left_the_input_is_not_compared(run_brainy, pair, tmp_path):
    for session in 'cd':
        write_t1w(tmp_path / 'bids', f'sub-01_ses-{session}')
    assert run_brainy() == 0
    shutil.rmtree(tmp_path / 'bids/sub-01/ses-b')
    shutil.rmtree(tmp_path / 'bids/sub-01/ses-d')
    assert run_brainy('--longitudinal') == 0
    assert [*rows_of(pair)] == ['ses-a', 'ses-c']
    page = (pair / 'sub-01_longitudinal.html').read_text()
    assert 'ses-b is not compared: it is no longer in the input data set' in page


def test_what_can_no_longer_be_compared_is_told(run_brainy, pair, tmp_path, capsys):
    assert run_brainy('--longitudinal') == 0
    scan = tmp_path / 'bids/sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz'
    scan.write_bytes(b'no image')
    capsys.readouterr()
    assert run_brainy('--longitudinal') == 1
    assert 'no longer there' in capsys.readouterr().err


def test_an_output_of_an_exam_is_never_removed(run_brainy, pair):
    """Whatever a record of comparisons claims, what an exam calls its own stays."""
    assert run_brainy('--longitudinal') == 0
    t1w = 'sub-01/ses-a/anat/sub-01_ses-a_desc-brainy_T1w.nii.gz'
    path = pair / 'logs/longitudinal/sub-01.json'
    record = json.loads(path.read_text())
    mine = pair / 'sub-01/ses-a/anat/sub-01_ses-a_old.nii.gz'
    mine.write_bytes(b'of an earlier comparison')
    record |= {'state': 'failed', 'leftovers': [t1w, mine.relative_to(pair).as_posix()]}
    path.write_text(json.dumps(record))
    assert run_brainy('--longitudinal') == 0
    assert (pair / t1w).is_file()
    assert not mine.exists()


def test_an_output_that_was_changed_is_refused(run_brainy, pair, tmp_path, capsys):
    assert run_brainy() == 0
    path = pair / 'sub-01/ses-b/anat/sub-01_ses-b_desc-brain_mask.nii.gz'
    path.write_bytes(path.read_bytes()[:-9] + b'123456789')  # of the same size, and another
    assert run_brainy('--longitudinal') == 1
    assert 'is not what its exam wrote' in capsys.readouterr().err
