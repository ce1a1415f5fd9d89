"""Files of options, recipes and notes are read by one reader, and what fails is one sentence."""

import os

import pytest
from doors import sub_command

from bids_synthsr.cli.bids_app import main as app
from bids_synthsr.dataset.files import parse_toml, read_toml

train = sub_command('train')


def pipe(path):
    os.mkfifo(path)


def endless(path):
    path.symlink_to('/dev/zero')


def brackets(path):
    path.write_text('x = ' + '[' * 2000)


def digits(path):
    path.write_text('nprocs = ' + '9' * 5000)


def hexadecimal(path):
    path.write_text('method = 0x' + 'F' * 5000)


def deep_keys(path):
    path.write_text('.'.join('a' * 200) + ' = 1')


def no_text(path):
    path.write_bytes(b'method = "\xff"')


def large(path):
    path.write_bytes(b'#' * (2 << 20))


FILES = [pipe, endless, brackets, digits, hexadecimal, deep_keys, no_text, large]


@pytest.mark.parametrize('write', FILES)
def test_a_bad_configuration_is_wrong_use(tmp_path, capsys, write):
    write(path := tmp_path / 'c.toml')
    with pytest.raises(SystemExit) as end:
        app(['bids', 'out', 'participant', '--config-file', str(path)])
    told = capsys.readouterr().err
    assert end.value.code == 2 and f'--config-file {path}' in told and 'Traceback' not in told


@pytest.mark.parametrize('write', FILES)
def test_a_bad_recipe_is_wrong_use(tmp_path, capsys, write):
    write(path := tmp_path / 'r.toml')
    assert train(['run', str(path), '--label-maps', str(tmp_path), '--out', 'x']) == 2
    told = capsys.readouterr().err
    assert str(path) in told and len(told.splitlines()) == 1


@pytest.mark.parametrize('change', ['x=' + '[' * 2000, '.'.join('a' * 200) + '=1',
                                    'steps=' + '9' * 5000])  # fmt: skip
def test_a_bad_change_of_a_recipe_is_wrong_use(tmp_path, capsys, change):
    command = ['run', 'any-exam', '--label-maps', str(tmp_path), '--out', str(tmp_path / 'x')]
    assert train([*command, '--set', change]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_notes_that_are_a_pipe_are_not_waited_for(tmp_path, capsys):
    os.mkfifo(tmp_path / 'notes.md')
    (tmp_path / 't').mkdir()
    command = ['export', str(tmp_path / 't'), '--out', str(tmp_path / 'w.safetensors')]
    assert train([*command, '--notes', str(tmp_path / 'notes.md')]) == 2
    assert 'notes.md: It is no regular file' in capsys.readouterr().err


def test_toml_of_programs_is_read(tmp_path):
    (tmp_path / 'a.toml').write_text('\ufeffa.b = [{c = 1.5}]\n', encoding='utf-8')
    assert read_toml(tmp_path / 'a.toml') == {'a': {'b': [{'c': 1.5}]}}
    assert parse_toml('a = 9223372036854775807') == {'a': (1 << 63) - 1}
    with pytest.raises(ValueError, match='needs more than 64 bits'):
        parse_toml('a = [9223372036854775808]')


ESCAPES = r'a\u001b[2Jb\nforged: all is well'


@pytest.mark.parametrize('text', [f'"{ESCAPES}" = 1', f'reference = ["{ESCAPES}"]'])
def test_a_configuration_forges_no_line(tmp_path, capsys, text):
    (tmp_path / 'c.toml').write_text(text)
    with pytest.raises(SystemExit):
        app(['bids', 'out', 'participant', '--config-file', str(tmp_path / 'c.toml')])
    told = capsys.readouterr().err
    assert '\x1b' not in told and not any(x.startswith('forged') for x in told.splitlines())
