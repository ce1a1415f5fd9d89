"""The layer table of the design: what each folder may import."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
P = 'bids_synthsr.'
VALUES = {'numpy', P + 'settings', P + 'values'}
NUMERICS = VALUES | {'scipy', 'torch', P + 'imaging'}
FILES = NUMERICS | {
    P + 'methods', P + 'morphometry', P + 'networks', P + 'synthesis', P + 'dataset',
    P + 'registration', P + 'derivatives', P + 'reports', P + 'evaluation', 'bids_synthsr',
    'nibabel', 'bids', 'nilearn', 'nitransforms', 'matplotlib', 'jinja2', 'PIL', 'h5py',
    'safetensors', 'bids_validator_deno',
}  # fmt: skip
LAYERS = {
    'bids_synthsr/settings.py': VALUES,
    'bids_synthsr/values': VALUES | {'cattrs'},
    'bids_synthsr/imaging': NUMERICS,
    'bids_synthsr/synthesis': NUMERICS | {P + 'synthesis'},
    'bids_synthsr/networks': NUMERICS | {P + 'networks'},
    'bids_synthsr/morphometry': NUMERICS | {P + 'morphometry'},
    'bids_synthsr/methods': NUMERICS | {P + 'methods', P + 'networks', P + 'morphometry'},
    'bids_synthsr/dataset': FILES,
    'bids_synthsr/registration': FILES | {'picsl_greedy'},
    'bids_synthsr/derivatives': FILES,
    'bids_synthsr/reports': FILES,
    'bids_synthsr/evaluation': FILES,
    'bids_synthsr/training': FILES | {P + 'training', 'tensorboard', 'psutil'},
    'bids_synthsr/interfaces': FILES | {'nipype', P + 'interfaces'},
    'workflows': {
        'nipype', 'niflow', P + 'interfaces', P + 'workflows', P + 'settings',
        P + 'values.exam', P + 'values.forecast', P + 'evaluation.cases',
        P + 'evaluation.head_files',
    },
}  # fmt: skip
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


def test_command_line_words_need_only_the_standard_library():
    for name, _ in imports(ROOT / 'bids_synthsr/cli/options.py'):
        assert name.split('.')[0] in STDLIB or name in ('bids_synthsr', 'bids_synthsr.settings')


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
