"""The layer table of docs/contributing/architecture.md: what each folder may import."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / 'docs/contributing/architecture.md'


def read_layers() -> dict[str, set[str]]:
    """Read the table of layers: what may be imported, by file or folder.

    A name with a dot in front is a part of the package.
    """
    rows = TABLE.read_text(encoding='utf-8').split('| folder | may import |\n')[1].split('\n\n')[0]
    layers = {}
    for row in rows.splitlines()[1:]:
        folders, names = (re.findall(r'`([^`]+)`', cell) for cell in row.split('|')[1:3])
        allowed = {f'bids_synthsr{name}' if name[0] == '.' else name for name in names}
        layers.update(dict.fromkeys(folders, allowed))
    return layers


LAYERS = read_layers()
STDLIB = __import__('sys').stdlib_module_names


def imports(path: Path) -> list[tuple[str, bool]]:
    """Names of imported modules of a file, and whether each stands at the top of the module."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    top = set(map(id, tree.body))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: relative import'
            found.append((node.module or '', id(node) in top))
    return found


def files_of(layer: str) -> list[Path]:
    place = ROOT / layer
    return [place] if place.is_file() else sorted(place.rglob('*.py'))


@pytest.mark.parametrize('layer', LAYERS)
def test_layer_imports_only_what_it_may(layer):
    allowed = LAYERS[layer]
    for path in files_of(layer):
        for name, _ in imports(path):
            parts = name.split('.')
            prefixes = {'.'.join(parts[: n + 1]) for n in range(len(parts))}
            known = (prefixes - {'bids_synthsr'} if len(parts) > 1 else prefixes) & allowed
            assert parts[0] in STDLIB or known, f'{path.relative_to(ROOT)} imports {name}'


def test_interfaces_import_heavy_modules_only_when_they_run():
    for path in files_of('bids_synthsr/interfaces'):
        at_top = {name.split('.')[0] for name, is_top in imports(path) if is_top}
        assert not at_top & {'torch', 'scipy', 'matplotlib', 'picsl_greedy'}, path


# what --help needs: these import the standard library and each other, and the rest when they run
QUICK = (
    'bids_synthsr.settings', 'bids_synthsr.methods.catalogue', 'bids_synthsr.workflows.stages',
    'bids_synthsr.methods.check', 'bids_synthsr.values.words', 'bids_synthsr.values.text',
    'bids_synthsr.dataset.errors', 'bids_synthsr.dataset.files',
    'bids_synthsr.surfaces', 'bids_synthsr.surfaces.tools',
    'bids_synthsr.cli', 'bids_synthsr.cli.door', 'bids_synthsr.cli.options',
    'bids_synthsr.cli.bids_app', 'bids_synthsr.cli.synthsr', 'bids_synthsr.cli.exam',
    'bids_synthsr.cli.status', 'bids_synthsr.cli.train', 'bids_synthsr.cli.evaluate',
    'bids_synthsr.cli.demo',
)  # fmt: skip


def path_of(module: str) -> Path:
    """File of a module of the package."""
    own = module.replace('bids_synthsr.workflows', 'workflows').replace('.', '/')
    return ROOT / own / '__init__.py' if (ROOT / own).is_dir() else ROOT / f'{own}.py'


@pytest.mark.parametrize('module', QUICK)
def test_command_lines_are_described_by_the_standard_library_alone(module):
    for name, is_top in imports(path_of(module)):
        known = name.split('.')[0] in STDLIB or name in ('bids_synthsr', *QUICK)
        is_for_types = not is_top
        assert known or is_for_types, f'{module} imports {name}'


def reads_of_surroundings(path: Path) -> list[str]:
    """Reads of arguments and of the environment; setting a variable is no read."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    written = {
        id(node.value)
        for node in ast.walk(tree)
        if (isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store))
        or (isinstance(node, ast.Attribute) and node.attr == 'setdefault')
    }
    return [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and ast.unparse(node) in ('os.environ', 'sys.argv')
        and id(node) not in written
    ]


def test_doors_alone_read_arguments_and_environment():
    paths = [*(ROOT / 'bids_synthsr').rglob('*.py'), *(ROOT / 'workflows').glob('*.py')]
    readers = {path.relative_to(ROOT).as_posix() for path in paths if reads_of_surroundings(path)}
    # Python users have no door: there the environment of the process counts
    assert readers <= {
        'bids_synthsr/api.py', 'bids_synthsr/cli/bids_app.py', 'bids_synthsr/cli/door.py',
        'bids_synthsr/run/forking.py',  # puts back what it changes for a process that it starts
    }  # fmt: skip
    parsing = {path.parent.name for path in paths if 'import argparse' in path.read_text()}
    assert parsing == {'cli'}


def test_no_catch_all_modules():
    names = {path.stem for path in (ROOT / 'bids_synthsr').rglob('*.py')}
    assert not names & {'utils', 'helpers', 'common', 'core', 'misc'}


def test_package_files_hold_a_docstring_only():
    for path in [*(ROOT / 'bids_synthsr').rglob('__init__.py'), ROOT / 'workflows/__init__.py']:
        rest = [
            node for node in ast.parse(path.read_text()).body if not isinstance(node, ast.Expr)
        ]
        is_version = [isinstance(node, ast.Assign) for node in rest]
        assert all(is_version) and len(rest) <= (path.parent.name == 'bids_synthsr'), path
