"""Every workflow documents its inputs and outputs: nipype accepts undeclared ones silently."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def builders() -> list[tuple[str, str]]:
    found = []
    for path in sorted((ROOT / 'workflows').glob('*.py')):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and re.fullmatch(r'init_\w+_wf', node.name):
                found.append((path.stem, node.name))
    return found


def section(docstring: str, title: str) -> list[str]:
    """Field names of a numpydoc section, in order."""
    match = re.search(rf'^{title}\n-+\n(.*?)(?=\n\n\w+\n-+\n|\Z)', docstring, re.M | re.S)
    names = re.findall(r'^(\w[\w, ]*)$', match.group(1), re.M) if match else []
    return [name.strip() for line in names for name in line.split(',')]


@pytest.mark.parametrize(('module', 'name'), builders())
def test_builder_is_keyword_only_and_documented(module, name):
    function = getattr(importlib.import_module(f'bids_synthsr.workflows.{module}'), name)
    parameters = inspect.signature(function).parameters
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters.values())
    assert len(parameters) <= 8
    assert section(inspect.getdoc(function), 'Parameters') == list(parameters)
    lines, _ = inspect.getsourcelines(function)
    assert len(lines) <= 100  # with docstring; the body stays under 60
