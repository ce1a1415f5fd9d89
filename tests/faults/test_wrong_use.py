"""Wrong use is refused with a sentence and code 2, before anything is made."""

import json

import pytest
from doors import sub_command

from bids_synthsr.cli.bids_app import main

QUICK = [
    '--method',
    'cubic',
    '--output-resolution',
    '4',
    '--skip-bids-validation',
    '--nprocs',
    '1',
]


def run(bids, out, *arguments):
    work = ['--work-dir', str(out.parent / 'work')]
    return main([str(bids), str(out), 'participant', *QUICK, *work, *map(str, arguments)])


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'plugin': 'Nope'}, 'Nope is unknown; there are'),
        ({'plugin': 'slurm'}, 'slurm is written SLURM'),
        ({'plugin': ['SLURM']}, "['SLURM'] is unknown"),
        (['a'], 'holds list, not keys with values'),
        ({'plugin_args': ['a']}, "plugin_args are ['a'], not keys with values"),
        ({'plugin_args': {'n_procs': 'x'}}, "n_procs is 'x', not a whole number"),
        ({'plugin_args': {'n_procs': 0}}, 'n_procs is 0, not a whole number'),
        ({'plugin_args': {'memory_gb': -1}}, 'memory_gb is -1, not a number above 0'),
        ({'plugin_arg': {}}, 'plugin_arg is unknown; did you mean plugin_args?'),
    ],
)
def test_plugin_files_are_checked_first(bids_dir, tmp_path, capsys, content, message):
    file = tmp_path / 'plugin.json'
    file.write_text(json.dumps(content))
    assert run(bids_dir, tmp_path / 'out', '--nipype-plugin-file', file) == 2
    told = capsys.readouterr().err
    assert message in told and 'Traceback' not in told
    assert not (tmp_path / 'out').exists() and not (tmp_path / 'work').exists()


@pytest.mark.parametrize('below', ['', 'deeper'])
def test_outputs_that_are_files_are_refused(bids_dir, tmp_path, capsys, below):
    (tmp_path / 'out').write_text('a file')
    assert run(bids_dir, tmp_path / 'out' / below) == 2
    told = capsys.readouterr().err
    assert f'{tmp_path / "out"} is a file' in told and 'Traceback' not in told
    assert (tmp_path / 'out').read_text() == 'a file'


def test_table_of_a_dry_run_is_explained_beside_it(bids_dir, tmp_path, capsys):
    assert run(bids_dir, tmp_path / 'out', '--dry-run') == 0
    printed = capsys.readouterr()
    assert 'The table on standard output is what to request from a scheduler' in printed.err
    assert '1.25 times the memory forecast and 0.5 GB, and 3 times the time' in printed.err
    lines = printed.out.splitlines()
    assert lines[0].startswith('exam\t') and {line.count('\t') for line in lines} == {4}


def test_first_crash_stops_a_run_by_its_header_too(bids_dir, tmp_path, capsys):
    (bids_dir / 'sub-01/anat/sub-01_T1w.nii.gz').write_bytes(b'no image')
    for path in (bids_dir / 'sub-01/anat').glob('*.nii.gz'):
        path.write_bytes(b'no image')
    assert run(bids_dir, tmp_path / 'out', '--stop-on-first-crash') == 1
    assert 'Processing' not in capsys.readouterr().err
    assert not list((tmp_path / 'out').glob('sub-02/**/*.nii.gz'))


@pytest.mark.parametrize('action', ['make', 'compare'])
def test_demos_that_cannot_be_made_end_in_a_sentence(tmp_path, capsys, action):
    (tmp_path / 'file').write_text('a file')
    folder = str(tmp_path / 'file' / 'demo')
    try:
        code = sub_command('demo')([action, folder, *([folder] if action == 'compare' else [])])
    except SystemExit as stop:
        code = stop.code
    told = capsys.readouterr().err
    assert code == 2 and folder in told and 'Traceback' not in told


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--max-steps', '-5'], "'-5' is not a whole number of at least 0"),
        (['--time-limit', '-1'], "'-1' is not a number above 0"),
        (['--weights', '/nonexist'], '--weights /nonexist: there is no such file'),
    ],
)
def test_trainings_refuse_what_they_would_not_do(tmp_path, capsys, arguments, message):
    images, out = tmp_path / 'images', tmp_path / 'out'
    images.mkdir()
    command = ['run', 'sr-t1', '--images', str(images), '--out', str(out), *arguments]
    try:
        code = sub_command('train')(command)
    except SystemExit as stop:
        code = stop.code
    assert code == 2 and message in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--spacing', '500'], '500 mm is not from 0.5 to 20 mm'),
        (['--spacing', 'inf', '--thickness', 'equal'], "'inf' is not a number above 0"),
        (['--spacing', 'nan'], "'nan' is not a number above 0"),
        (['--thickness', '0'], "'0' is not a number above 0"),
        (['--thickness', '99'], '99 mm is not from 0.5 to 20 mm'),
        (['--noise', '30'], "'30' is no percentage from 0 to 20"),
        (['--noise', '-1'], "'-1' is no percentage from 0 to 20"),
        (['--profile', 'sinc'], "invalid choice: 'sinc'"),
        (['--exams', 't1w+FLIAR'], 'contrast FLIAR is unknown; did you mean FLAIR?'),
        (['--methods', 'cubic', '--weights', 'cubic=x.h5'], 'cubic reads none'),
    ],
)
def test_evaluations_refuse_nonsense(tmp_path, capsys, arguments, message):
    (tmp_path / 'a_T1w.nii.gz').touch()
    command = ['simulate', str(tmp_path), str(tmp_path.parent / 'never'), *arguments]
    try:
        code = sub_command('evaluate')(command)
    except SystemExit as stop:
        code = stop.code
    assert code == 2 and message in capsys.readouterr().err
