"""Words of the command line: what is accepted, what is refused and how."""

import re
import subprocess
import sys
import tomllib

import pytest
import tomli_w
from documented_commands import load_generated

from bids_synthsr.cli.options import build_parser, config_of, parse_options

documented_parsers = load_generated().parsers
BASE = ['bids', 'out', 'participant']


def refusal(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        parse_options([*BASE, *arguments])
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_help_imports_nothing_heavy():
    code = (
        'import sys\n'
        'from bids_synthsr.cli import bids_app\n'
        'try:\n    bids_app.main(["--help"])\nexcept SystemExit:\n    pass\n'
        'heavy = {"torch", "nipype", "bids", "nibabel", "scipy"} & set(sys.modules)\n'
        'sys.exit(str(heavy) if heavy else 0)'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert '--participant-label' in done.stdout


def test_every_option_is_documented():
    for action in build_parser()._actions:
        assert action.help


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--nprocs', '0'], "'0' is not a whole number of at least 1"),
        (['--mem', '-3'], "'-3' is not a number above 0"),
        (['--output-resolution', '9'], 'is 9.0 mm, not in 0 to 5 mm'),
        (['--method', 'any-exam', '--output-resolution', '2'], 'any-exam makes 1 mm'),
        (['--method', 'magic'], 'invalid choice'),
        (['--ct'], '--ct is for --method synthsr'),
        (['--method', 'tv', '--precision', 'float32'], '--precision is for networks (auto, '),
        (['--precision', 'float8'], 'invalid choice'),
        (['--min-quality', '7'], '--min-quality is 7, not from 0 to 1'),
        (['--method', 'synthsr', '--output-resolution', '2'], 'synthsr makes 1 mm'),
        (['--participant-lable', '01'], 'unrecognized arguments'),
    ],
)
def test_wrong_use_is_refused_with_its_reason(capsys, arguments, message):
    assert message in refusal(capsys, *arguments)


def test_both_levels_of_bids_apps_are_there():
    for level in ('participant', 'group'):
        assert parse_options(['bids', 'out', level]).analysis_level == level


def test_config_file_gives_defaults_and_the_command_line_wins(tmp_path):
    config = tmp_path / 'config.toml'
    config.write_text(
        'method = "cubic"\nnprocs = 3\nparticipant-label = ["01", "02"]\nlow-mem = true\n'
    )
    options = parse_options([*BASE, '--config-file', str(config), '--nprocs', '2'])
    assert (options.method, options.nprocs, options.low_mem) == ('cubic', 2, True)
    assert options.participant_label == ['01', '02']


def test_config_of_a_run_repeats_it(tmp_path):
    first = parse_options([*BASE, '--fov', 'union', '--contrasts', 'T1w', '-w', 'some where'])
    config = tmp_path / 'config.toml'
    config.write_text(tomli_w.dumps(config_of(first)))
    assert tomllib.loads(config.read_text())['fov'] == 'union'
    again = parse_options([*BASE, '--config-file', str(config)])
    assert {**vars(again), 'config_file': None} == vars(first)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('methd = "tv"', 'there is no option methd; did you mean method?'),
        ('method = "magic"', "method is 'magic', not one of"),
        ('low_mem = "yes"', "low_mem is 'yes', not true or false"),
        ('nprocs = 0', "'0' is not a whole number"),
        ('nprocs = ', 'is not valid TOML'),
    ],
)
def test_faulty_config_is_refused(tmp_path, capsys, text, message):
    config = tmp_path / 'config.toml'
    config.write_text(text)
    assert message in refusal(capsys, '--config-file', str(config))


def test_missing_config_is_named(capsys):
    assert 'nowhere.toml: No such file' in refusal(capsys, '--config-file', 'nowhere.toml')


def test_contrasts_are_known_words_in_any_letter_case(capsys):
    assert parse_options([*BASE, '--contrasts', 't1w', 'flair']).contrasts == ['T1w', 'FLAIR']
    assert 'contrast FLIAR is unknown; did you mean FLAIR?' in refusal(
        capsys, '--contrasts', 'FLIAR'
    )


def test_contrasts_of_a_config_file_are_checked_too(tmp_path, capsys):
    config = tmp_path / 'config.toml'
    config.write_text('contrasts = ["t1w", "T9w"]\n')
    assert 'contrast T9w is unknown' in refusal(capsys, '--config-file', str(config))


@pytest.mark.parametrize('words', list(documented_parsers()))
def test_no_parser_takes_abbreviations(words):
    """An abbreviated ``--config FILE`` would be taken, and the file never read."""
    assert not documented_parsers()[words].allow_abbrev


@pytest.mark.parametrize('words', list(documented_parsers()))
def test_help_shows_no_defaults_of_python(words):
    text = documented_parsers()[words].format_help()
    defaults = re.findall(r'\(default:\s+([^)]*)\)', text)
    assert not [x for x in defaults if re.search(r"[\[\]'(]|None|False|inf", x)], defaults


def test_weights_of_a_method_without_a_network_are_refused(capsys):
    message = refusal(capsys, '--method', 'cubic', '--weights', 'nowhere.h5')
    assert (
        '--weights are for auto, sr-t1, any-exam, synthsr, spacing, 3t-7t; cubic reads none'
        in message
    )
