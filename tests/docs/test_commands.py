"""Every command that the documents show exists, is spelled right, and runs where it can."""

from __future__ import annotations

import re
import shlex

import pytest
from documented_commands import (
    FAST,
    PAGES,
    ROOT,
    SKIPPED,
    SKIPPED_BEGINNINGS,
    SLOW,
    all_commands,
    commands_of,
    load_generated,
    reason_to_skip,
    run,
    write_surroundings,
)

PROGRAM = ('bids_synthsr', 'synthsr')
# how others call the program: before it, and what stands for it
CALLS = (
    (r'^docker run .*--entrypoint synthsr synthsr ', 'synthsr '),
    (r'^docker run .*? synthsr (?=/)', 'bids_synthsr '),
    (r'^apptainer run .*?\.sif ', 'bids_synthsr '),
    (r'^torchrun .*? -m bids_synthsr\.cli\.synthsr ', 'synthsr '),
    (r'^\.venv/bin/', ''),
)


def words_of(command):
    """Words of a call of the program; none if it is another command."""
    for pattern, start in CALLS:
        command = re.sub(pattern, start, command)
    words = shlex.split(command.split(' > ')[0])
    return words if words[0] in PROGRAM else []


@pytest.fixture(scope='module')
def parsers():
    return load_generated().parsers()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('reader')
    write_surroundings(folder)
    return folder


def test_each_command_is_run_or_skipped_for_a_reason():
    commands = all_commands()
    for command in commands:
        listed = (command in FAST) + (command in SLOW) + bool(reason_to_skip(command))
        assert listed == 1, f'{command}: list it in tests/documented_commands.py'
    for command in (*FAST, *SLOW, *SKIPPED):
        assert command in commands, f'{command}: no document shows it'
    for start in SKIPPED_BEGINNINGS:
        assert any(command.startswith(start) for command in commands), start


@pytest.mark.parametrize('command', [c for c in all_commands() if words_of(c)])
def test_options_are_those_of_the_program(parsers, command):
    """The parser of the program itself takes the command as it stands."""
    name, *arguments = words_of(command)
    parsers[name].parse_args(arguments)


def test_targets_of_make_exist():
    makefile = (ROOT / 'Makefile').read_text()
    for command in all_commands():
        if command.startswith('make '):
            assert re.search(rf'^{command.split()[1]}:', makefile, re.M), command


def test_scripts_call_the_program_with_options_that_exist(parsers):
    """Scripts of the pages are run by system_tests/test_slurm.py; their options are read here."""
    known = parsers['bids_synthsr']._option_string_actions
    scripts = [
        block
        for page in PAGES
        for block in re.findall(r'^```bash\n(#!.*?)^```', page.read_text(), re.M | re.S)
    ]
    calls = [line for script in scripts for line in script.splitlines() if 'bids_synthsr' in line]
    assert calls
    for line in calls:
        for option in re.findall(r'(?<= )--[\w-]+', line):
            assert option in known, line


def test_fast_commands_run_word_for_word(folder):
    for command in FAST:
        done = run(command, folder)
        assert done.returncode == 0, f'{command}\n{done.stdout}{done.stderr}'
    assert len((folder / 'exams.tsv').read_text().splitlines()) == 3


def test_blocks_of_commands_name_their_language():
    """An untyped block would be read by no test."""
    for page in PAGES:
        outside = re.sub(r'^```\S+\n.*?^```$', '', page.read_text(), flags=re.M | re.S)
        assert '```' not in outside, page
        assert list(commands_of(page)) or page.name == 'index.md'
