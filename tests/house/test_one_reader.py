"""One module reads JSON and writes text; what it refuses is refused everywhere."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
THE_ONE = ROOT / 'bids_synthsr/dataset/files.py'
# files of the kernel that say what a process uses, and what it may
ALLOWED = {
    ('bids_synthsr/run/plugin.py', 'write_text'),
    ('bids_synthsr/run/plugin.py', 'read_text'),
    ('bids_synthsr/run/machine.py', 'read_text'),
    ('bids_synthsr/imaging/inference.py', 'read_text'),
}


@cache
def calls_of(path):
    """Names of attributes that a module calls, what they are called on, and with what."""
    return [
        (node.func.attr, ast.unparse(node.func.value), [*map(ast.unparse, node.args)])
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]


def modules():
    return [*(ROOT / 'bids_synthsr').rglob('*.py'), *(ROOT / 'workflows').rglob('*.py')]


def breaches(is_breach):
    return [
        f'{path.relative_to(ROOT)}: {owner}.{name}'
        for path in modules()
        if path != THE_ONE
        for name, owner, _ in calls_of(path)
        if is_breach(name, owner) and (str(path.relative_to(ROOT)), name) not in ALLOWED
    ]


def test_json_is_read_by_one_module():
    assert breaches(lambda name, owner: owner == 'json' and name in ('load', 'loads')) == []


def test_text_is_written_by_one_module():
    assert breaches(lambda name, _: name == 'write_text') == []


def test_no_json_is_dumped_to_a_file():
    assert breaches(lambda name, owner: owner == 'json' and name == 'dump') == []


def test_toml_is_read_by_one_module():
    assert breaches(lambda name, owner: owner == 'tomllib' and name in ('load', 'loads')) == []


def test_text_is_read_by_one_module():
    """Files of the package itself are what they are."""
    shipped = ('files(', 'SHIPPED', 'source')
    breach = breaches(
        lambda name, owner: name == 'read_text' and not any(x in owner for x in shipped)
    )
    assert breach == []


WRITERS = ('savefig', 'to_filename', 'copyfile', 'save', 'save_file', 'imsave')
# names that are given to files of `written_atomically`, and to streams in memory
SAFE = ('temporary', 'buffer', 'text')


def is_safe(words):
    return bool({*words} & {*SAFE}) or any('written_atomically(' in word for word in words)


def targets():
    """Where modules write: the file that is opened, or the words of the call."""
    for path in modules():
        for name, owner, words in calls_of(path):
            mode = next((x for x in words if x[:1] == "'" and {*x} & {*'wax+'}), '')
            if name == 'write_bytes' or (name == 'open' and mode):
                yield str(path.relative_to(ROOT)), name, [owner]
            elif name in WRITERS and words:
                yield str(path.relative_to(ROOT)), name, words


def test_nothing_is_written_into_a_file_that_may_be_a_link():
    allowed = {
        # of a step in its work folder, and of locks, to which nothing is written
        ('bids_synthsr/registration/greedy.py', 'open'),
        ('bids_synthsr/derivatives/locks.py', 'open'),
        # a new folder of the program alone
        ('bids_synthsr/api.py', 'save'),
        ('bids_synthsr/run/processing.py', 'copyfile'),
    }
    others = [(path, name) for path, name, words in targets() if not is_safe(words)]
    assert {*others} - allowed == set()
