"""Options that users of fMRIPrep, MRIQC and their relatives type are understood, or answered."""

import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import tomli_w
from doors import sub_command

from bids_synthsr.cli import resolve
from bids_synthsr.cli.bids_app import main
from bids_synthsr.cli.door import gigabytes
from bids_synthsr.cli.options import config_of, parse_options
from bids_synthsr.dataset.indexes import INDEX_FILES

BASE = ['bids', 'out', 'participant']
QUICK = [
    '--method',
    'cubic',
    '--output-resolution',
    '4',
    '--skip-bids-validation',
    '--nprocs',
    '1',
]


@pytest.fixture
def refusal(capsys):
    """Give what is told of a command line that is refused."""

    def refuse(*arguments: str) -> str:
        with pytest.raises(SystemExit) as stop:
            parse_options([*BASE, *arguments])
        assert stop.value.code == 2
        return capsys.readouterr().err

    return refuse


@pytest.fixture
def run(bids_dir, tmp_path):
    """Run the program on the phantoms."""

    def call(*arguments: str) -> int:
        folders = [str(bids_dir), str(tmp_path / 'out'), 'participant']
        return main([*folders, *QUICK, '--work-dir', str(tmp_path / 'work'), *arguments])

    return call


@pytest.mark.parametrize(
    ('arguments', 'gb'),
    [
        (['--mem', '16G'], 16),
        (['--mem', '16GB'], 16),
        (['--mem', '16 GiB'], 16),
        (['--mem', '16000M'], 16),
        (['--mem', '16000mb'], 16),
        (['--mem', '1.5T'], 1500),
        (['--mem', '16'], 16),
        (['--mem', '0.5'], 0.5),
        (['--mem-gb', '16'], 16),
        (['--mem_gb', '16'], 16),
        (['--mem-mb', '16000'], 16),
        (['--mem_mb', '16000'], 16),
        (['--mem-mb', '16G'], 16),
    ],
)
def test_memory_has_units(arguments, gb):
    assert gigabytes(parse_options([*BASE, *arguments]).mem) == pytest.approx(gb)


@pytest.mark.parametrize(
    'text', ['', '16X', 'G', '-3', '0', '0G', 'nan', 'inf', '1e400', '16 G B']
)
def test_what_is_no_amount_of_memory_is_refused(refusal, text):
    told = refusal(f'--mem={text}')
    assert f'{text!r} is not a number above 0' in told and 'write 16G, or 16000M' in told


@pytest.mark.parametrize('command', ['participant', 'evaluate'])
def test_a_number_that_the_machine_does_not_have_is_refused_with_both_readings(
    command, run, bids_dir, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(resolve, 'installed_memory_gb', lambda: 64.0)
    if command == 'participant':
        assert run('--mem', '16000', '--dry-run') == 2
    else:
        folders = [str(bids_dir), str(tmp_path / 'out')]
        assert sub_command('evaluate')(['leave-one-out', *folders, '--mem', '16000']) == 2
    told = capsys.readouterr().err
    assert '--mem 16000 is 16000 GB here, and this machine has 64 GB' in told
    assert 'write 16000M for 16 GB, or 16000G if that is meant' in told
    assert not (tmp_path / 'out').exists()


def test_memory_with_a_unit_is_taken_at_its_word(monkeypatch):
    monkeypatch.setattr(resolve, 'installed_memory_gb', lambda: 8.0)
    assert resolve.resolve_memory('64G') == 64 and resolve.resolve_memory('8') == 8
    assert resolve.resolve_memory(None) == 0


@pytest.mark.parametrize(
    ('option', 'name', 'value'),
    [
        *((option, 'nprocs', 3) for option in (
            '--nprocs', '--nthreads', '--n_cpus', '--n-cpus', '--n_procs', '--n-procs')),
        *((option, 'session_label', ['3']) for option in (
            '--session-id', '--session_id', '--session-label')),
        ('--participant_label', 'participant_label', ['3']),
    ],
)  # fmt: skip
def test_spellings_of_the_family_are_one_option(tmp_path, option, name, value):
    assert getattr(parse_options([*BASE, option, '3']), name) == value
    config = tmp_path / 'config.toml'
    content = [str(value[0])] if isinstance(value, list) else value
    config.write_text(tomli_w.dumps({option.strip('-'): content}))
    assert getattr(parse_options([*BASE, '--config-file', str(config)]), name) == value


def test_files_of_plugins_are_checked_by_either_name(run, tmp_path, capsys):
    (tmp_path / 'plugin.json').write_text('{"plugin": "Nope"}')
    assert run('--use-plugin', str(tmp_path / 'plugin.json'), '--dry-run') == 2
    assert 'Nope is unknown' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('text', 'gb'),
    [('mem = 16', 16), ('mem = 0.5', 0.5), ('mem = "16000M"', 16), ('mem-mb = 16000', 16)],
)
def test_config_files_take_memory_as_the_command_line_does(tmp_path, text, gb):
    config = tmp_path / 'config.toml'
    config.write_text(text)
    options = parse_options([*BASE, '--config-file', str(config)])
    assert gigabytes(options.mem) == pytest.approx(gb)


def test_config_of_a_run_repeats_the_options_of_the_family(tmp_path):
    words = ['--mem', '16000M', '--notrack', '--write-graph', '--bids-database-wipe',
             '--derivatives', 'smriprep=there', '--session-id', '1']  # fmt: skip
    first = parse_options([*BASE, *words])
    config = tmp_path / 'config.toml'
    config.write_text(tomli_w.dumps(config_of(first)))
    assert tomllib.loads(config.read_text())['mem'] == '16000M'
    again = parse_options([*BASE, '--config-file', str(config)])
    assert {**vars(again), 'config_file': None} == vars(first)


@pytest.mark.parametrize(
    ('words', 'meant'),
    [
        (['--participant-lable', '01'], '--participant-label'),
        (['--participants_label', '01'], '--participant-label'),
        (['--sessoin-id=1'], '--session-id'),
        (['--nthread', '1'], '--nthreads'),
        (['--workdir', 'x'], '--work-dir'),
        (['-mem', '16'], '--mem'),
    ],
)
def test_options_that_there_are_not_name_what_may_be_meant(capsys, words, meant):
    for command in ([*words, *BASE], [*BASE, *words]):
        with pytest.raises(SystemExit) as stop:
            parse_options(command)
        lines = capsys.readouterr().err.splitlines()
        option = words[0].partition('=')[0]
        assert stop.value.code == 2
        assert lines == [
            f'bids_synthsr: error: unrecognized arguments: {option}; did you mean {meant}?',
            'For help: bids_synthsr --help',
        ]


def test_nothing_is_guessed_where_nothing_comes_near(refusal):
    assert 'did you mean' not in refusal('--xyzzy')


def test_values_that_begin_with_a_dash_are_no_options(refusal):
    assert parse_options(['-w', 'x', '--', *BASE]).work_dir.name == 'x'
    assert 'is not a number above 0' in refusal('--mem', '-3')


@pytest.mark.parametrize(
    ('words', 'prog'),
    [
        (['exam', 'a.nii', '--ouput', 'x'], 'synthsr exam'),
        (['exam', 'a.nii'], 'synthsr exam'),
        (['evaluate', 'simulate', 'a', 'b', '--spacings', '3'], 'synthsr evaluate simulate'),
        (['--verison'], 'synthsr'),
        (['xam'], 'synthsr'),
    ],
)
def test_errors_are_a_line_and_a_line_that_leads_to_help(words, prog):
    program = [sys.executable, '-m', 'bids_synthsr.cli.synthsr', *words]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    first, second = done.stderr.splitlines()
    assert done.returncode == 2 and first.startswith(f'{prog}: error: ')
    assert second == f'For help: {prog} --help'


def test_nothing_is_tracked_and_that_is_said(run, capsys):
    assert run('--notrack', '--dry-run') == 0
    assert '--notrack: nothing is tracked, with or without it' in capsys.readouterr().err


def test_graph_of_the_steps_lies_beside_the_log(run, tmp_path):
    assert run('--write-graph', '--participant-label', '02') == 0
    (graph,) = (tmp_path / 'out').glob('logs/*/graph.dot')
    assert re.match(r'digraph .*\{', graph.read_text()) and 'synthesize' in graph.read_text()
    assert (graph.parent / 'bids_synthsr.log').is_file()
    assert graph.with_suffix('.svg').exists() == bool(shutil.which('dot'))


def test_named_derivatives_are_those_of_the_folder(run, bids_dir, tmp_path, capsys):
    assert run('--derivatives', f'mine={tmp_path / "nowhere"}', '--dry-run') == 2
    assert f'--derivatives {tmp_path / "nowhere"} is not a folder' in capsys.readouterr().err
    (tmp_path / 'a=b').mkdir()
    for given in (f'mine={bids_dir}', str(bids_dir), str(tmp_path / 'a=b')):
        assert run('-d', given, '--dry-run') == 0
    assert resolve._folders([tmp_path / 'a=b'], '-d') == ((tmp_path / 'a=b').resolve(),)


def test_an_index_is_wiped_alone_and_made_anew(run, tmp_path):
    index = tmp_path / 'index'
    index.mkdir()
    (index / 'mine.txt').write_text('stays')
    options = ['--bids-database-dir', str(index), '--dry-run']
    assert run(*options) == 0
    assert INDEX_FILES[0] in {path.name for path in index.iterdir()}
    first = (index / INDEX_FILES[0]).stat().st_mtime_ns
    assert run(*options) == 0
    assert (index / INDEX_FILES[0]).stat().st_mtime_ns == first
    assert run(*options, '--bids-database-wipe') == 0
    assert (index / INDEX_FILES[0]).stat().st_mtime_ns > first
    assert (index / 'mine.txt').read_text() == 'stays'
