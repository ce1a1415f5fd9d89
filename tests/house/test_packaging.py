"""What is installed is what stands in the tree."""

import configparser
import importlib.metadata
from pathlib import Path

import bids_synthsr

ROOT = Path(__file__).resolve().parents[2]


def configuration() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / 'setup.cfg')
    return parser


def test_package_list_equals_the_tree():
    listed = set(configuration()['options']['packages'].split())
    standing = {
        '.'.join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / 'bids_synthsr').rglob('__init__.py')
    }
    assert listed == standing | {'bids_synthsr.workflows'}


def test_every_command_exists():
    scripts = configuration()['options.entry_points']['console_scripts'].strip().splitlines()
    for line in scripts:
        module, function = line.split('=')[1].strip().split(':')
        assert callable(getattr(importlib.import_module(module), function))


def test_version_is_that_of_the_package():
    assert importlib.metadata.version('bids_synthsr') == bids_synthsr.__version__


def test_constraints_pin_every_dependency():
    pinned = {
        line.split('==')[0].lower().replace('_', '-')
        for line in (ROOT / 'constraints.txt').read_text().splitlines()
        if '==' in line
    }
    options = configuration()['options']
    extras = configuration()['options.extras_require']
    lines = [options['install_requires'], extras['train'], extras['test']]
    needed = {
        line.split('>=')[0].strip().lower().replace('_', '-')
        for line in '\n'.join(lines).splitlines()
        if line.strip()
    }
    assert needed <= pinned, needed - pinned
