"""The private names of nipype that we use: listed, there, and no others."""

import ast
import inspect
from pathlib import Path

import nipype.pipeline.plugins.base as base
import nipype.pipeline.plugins.multiproc as multiproc
from nipype.interfaces.base import SimpleInterface

from bids_synthsr.run import plugin
from bids_synthsr.run.plugin import PRIVATE_NAMES

OF_PYTHON = {'_processes', '_executor_manager_thread', '_exit'}  # concurrent.futures, os


def private_names(path: Path) -> set[str]:
    """Private attributes that a module uses or defines."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return {name for name in used | defined if name.startswith('_') and name[1] != '_'}


def test_all_private_names_are_listed():
    source = Path(inspect.getfile(plugin))
    theirs = inspect.getsource(base) + inspect.getsource(multiproc)
    used = private_names(source) - OF_PYTHON
    of_nipype = {name for name in used if f'def {name}(' in theirs or f'self.{name} ' in theirs}
    assert of_nipype == set(PRIVATE_NAMES)


def test_private_names_are_there():
    theirs = inspect.getsource(base) + inspect.getsource(multiproc)
    for name in PRIVATE_NAMES:
        assert f'def {name}(' in theirs or f'self.{name} = ' in theirs, name


def test_simple_interface_keeps_its_results_where_steps_put_them():
    assert SimpleInterface()._results == {}
