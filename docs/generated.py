"""Parts of the pages that come from the code: a Sphinx extension.

A page asks for them in blocks such as ``{options} synthsr exam``. So they are true by
construction. `parsers` also serves the tests of the commands that the documents show.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import re
import tomllib
import typing
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from bids_synthsr.cli.door import is_telling, typed_default

PARSERS = {
    'bids_synthsr': 'bids_synthsr.cli.options',
    'synthsr': 'bids_synthsr.cli.synthsr',
}  # the commands, and the modules whose `build_parser` describes them
SHIPPED = files('bids_synthsr') / 'data'


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Give the parser of every command and sub-command by its words, ``synthsr train run``."""
    found: dict[str, argparse.ArgumentParser] = {}
    for command, module in PARSERS.items():
        found.update(_with_subparsers(command, importlib.import_module(module).build_parser()))
    return found


def _with_subparsers(
    words: str, parser: argparse.ArgumentParser
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Walk through a parser and all parsers below it."""
    yield words, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from _with_subparsers(f'{words} {name}', below)


def options_text(command: str) -> str:
    """Write the options of a command as Markdown, a table for each group."""
    parser = parsers()[command]
    lines = []
    for group in parser._action_groups:
        actions = [
            action
            for action in group._group_actions
            if not isinstance(action, argparse._HelpAction | argparse._SubParsersAction)
        ]
        if actions:
            title = (group.title or 'options').replace('positional arguments', 'arguments')
            lines += [f'**{title[0].upper()}{title[1:]}**', '']
            first = 'option' if actions[0].option_strings else 'argument'
            lines += [f'| {first} | what it does | default |', '|---|---|---|']
            lines += [_option_row(parser, action) for action in actions]
            lines += ['']
    return '\n'.join(lines)


def _option_row(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Write one option as a row of a table."""
    # the spelling with underscores is for habits of fMRIPrep
    name = ', '.join(f'`{text}`' for text in action.option_strings if '_' not in text)
    value = parser._get_formatter()._format_args(action, _metavar_of(action))
    words = ' '.join(part for part in (name, f'`{value}`' if value else '') if part)
    meaning = (action.help or '') % {**vars(action), 'prog': parser.prog}
    default = f'`{typed_default(action.default)}`' if is_telling(action.default) else ''
    return f'| {_cell(words)} | {_cell(_escaped(meaning))} | {_cell(default)} |'


def _metavar_of(action: argparse.Action) -> str:
    return action.dest.upper() if action.option_strings else action.dest


def _cell(text: str) -> str:
    return ' '.join(text.split()).replace('|', '\\|')


def _escaped(text: str) -> str:
    """Protect what Markdown would take for marks."""
    return re.sub(r'([*_<>\[\]$])', r'\\\1', text).replace('--', '\\-\\-')


def recipes_text(_: str) -> str:
    """Write the recipes that are shipped as a table."""
    lines = ['| recipe | network | what it trains |', '|---|---|---|']
    for path in sorted((SHIPPED / 'recipes').iterdir(), key=lambda path: path.name):
        table = tomllib.loads(path.read_text(encoding='utf-8'))
        name = path.name.removesuffix('.toml')
        lines.append(f'| `{name}` | `{table["network"]["name"]}` | {table["description"]} |')
    return '\n'.join(lines)


def methods_text(_: str) -> str:
    """Write the catalogue of methods as a table."""
    from bids_synthsr.methods.catalogue import METHODS

    lines = ['| `--method` | what it is | file names | weights |', '|---|---|---|---|']
    for method in METHODS.values():
        desc = f'`desc-{method.desc}`' if method.desc else 'those of what it chooses'
        shipped = f'`{method.weights}`, part of the program'
        weights = shipped if method.weights else 'your own' if method.network else ''
        lines.append(f'| `{method.name}` | {_cell(_escaped(method.help))} | {desc} | {weights} |')
    return '\n'.join(lines)


def fields_text(name: str) -> str:
    """Write the fields of a dataclass, ``module:Class prefix``, as a table."""
    where, _, prefix = name.partition(' ')
    module, _, label = where.partition(':')
    owner = getattr(importlib.import_module(module), label)
    texts = _parameter_texts(inspect.getdoc(owner) or '')
    lines = ['| key | default | what it is |', '|---|---|---|']
    hints = typing.get_type_hints(owner)
    for field in dataclasses.fields(owner):
        if not dataclasses.is_dataclass(hints[field.name]) and field.name in texts:
            text = _cell(_escaped_outside_code(texts[field.name]))
            lines.append(f'| `{prefix}{field.name}` | {_default_of(field)} | {text} |')
    return '\n'.join(lines)


def _default_of(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING or field.default == '':
        return ''
    value = field.default
    return f'`{str(value).lower() if isinstance(value, bool) else typed_default(value)}`'


def _escaped_outside_code(text: str) -> str:
    """Turn reStructuredText's double backticks to Markdown's single ones, and protect marks."""
    parts = re.split(r'(`+[^`]+`+)', text)
    return ''.join(f'`{part.strip("`")}`' if part[:1] == '`' else _escaped(part) for part in parts)


def _parameter_texts(docstring: str) -> dict[str, str]:
    """Read the parameters of a numpydoc docstring."""
    section = re.search(r'^Parameters\n-+\n(.*?)(?=\n\n\w+\n-+\n|\Z)', docstring, re.M | re.S)
    entries = re.findall(
        r'^(\w[\w, ]*)\n((?:    .*\n?)*)', section[1] + '\n' if section else '', re.M
    )
    return {
        name.strip(): ' '.join(text.split())
        for names, text in entries
        for name in names.split(',')
    }


def structures_text(_: str) -> str:
    """Write numbers, names and colours of the structures of a segmentation."""
    from bids_synthsr.values.structures import STRUCTURES

    lines = ['| number | name |', '|---|---|']
    return '\n'.join(
        [*lines, *(f'| {number} | {STRUCTURES[number].name} |' for number in STRUCTURES)]
    )


TEXTS: dict[str, Callable[[str], str]] = {
    'options': options_text,
    'recipes': recipes_text,
    'methods': methods_text,
    'fields': fields_text,
    'structures': structures_text,
}


class Generated(SphinxDirective):
    """A block whose Markdown a function of `TEXTS` writes."""

    optional_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        """Write the text, and read it as part of the page."""
        text = TEXTS[self.name](self.arguments[0] if self.arguments else '')
        return self.parse_text_to_nodes(text)


def link_notebook(_app: Sphinx, _name: str, source: list[str]) -> None:
    """Turn links to the lab notebook, which is no part of the site, into downloads."""
    source[0] = re.sub(r'\]\(((?:\.\./)+lab/[\w-]+\.md)(?:#[\w-]*)?\)', r'](path:\1)', source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the blocks."""
    for name in TEXTS:
        app.add_directive(name, Generated)
    app.connect('source-read', link_notebook)
    return {'parallel_read_safe': True, 'parallel_write_safe': True}
