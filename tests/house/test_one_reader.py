"""One module reads JSON and writes text; what it refuses is refused everywhere."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
THE_ONE = ROOT / 'bids_synthsr/dataset/files.py'
# the files of the kernel that say what a process uses
ALLOWED = {('bids_synthsr/run/plugin.py', 'write_text')}


def calls_of(path):
    """Names of attributes that a module calls, with what they are called on."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr, ast.unparse(node.func.value)


def breaches(is_breach):
    modules = [*(ROOT / 'bids_synthsr').rglob('*.py'), *(ROOT / 'workflows').rglob('*.py')]
    return [
        f'{path.relative_to(ROOT)}: {owner}.{name}'
        for path in modules
        if path != THE_ONE
        for name, owner in calls_of(path)
        if is_breach(name, owner) and (str(path.relative_to(ROOT)), name) not in ALLOWED
    ]


def test_json_is_read_by_one_module():
    assert breaches(lambda name, owner: owner == 'json' and name in ('load', 'loads')) == []


def test_text_is_written_by_one_module():
    assert breaches(lambda name, _: name == 'write_text') == []


def test_no_json_is_dumped_to_a_file():
    assert breaches(lambda name, owner: owner == 'json' and name == 'dump') == []
