"""Rules on words that a machine can hold: unique names, and parameter texts that stand alone.

``python tests/house/test_words.py [FOLDER ...]`` lists what breaks them.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / 'bids_synthsr'
# what wraps another module may have its name: interfaces/resampling over imaging/resampling
WRAPPERS = ('interfaces', 'workflows', 'run', 'cli')
LEAST_WORDS = 4
# names that several modules define because a boundary asks for them (see docs/contributing)
SHARED_NAMES = {
    'main', 'build_parser', 'add_parser', 'run', 'synthesize', 'forecast', 'find_obstacle',
}  # fmt: skip
# what a radiologist would not say of a program, and participles that stand for things
VERB_WORDS = re.compile(r'\b(hear|heard|speaks?|speaker|told|bids? for)\b', re.I)


def modules(*folders: str) -> list[Path]:
    """All modules of the package, the workflows included."""
    places = [ROOT / folder for folder in folders] or [PACKAGE, ROOT / 'workflows']
    return sorted(
        path
        for place in places
        for path in ([place] if place.is_file() else place.rglob('*.py'))
        if path.name != '__init__.py'
    )


def duplicate_stems(paths: list[Path]) -> list[str]:
    by_stem = defaultdict(list)
    for path in paths:
        by_stem[path.stem].append(path.parent.name)
    return [
        f'{stem}: {", ".join(folders)}'
        for stem, folders in by_stem.items()
        if len([folder for folder in folders if folder not in WRAPPERS]) > 1
    ]


def duplicate_names(paths: list[Path]) -> list[str]:
    """Public classes and functions at the top of modules, by name."""
    by_name = defaultdict(list)
    for path in paths:
        for node in ast.parse(path.read_text(encoding='utf-8')).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith('_'):
                by_name[node.name].append(f'{path.parent.name}/{path.stem}')
    return [
        f'{name}: {", ".join(places)}'
        for name, places in by_name.items()
        if len(places) > 1 and name not in SHARED_NAMES
    ]


def parameter_texts(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line, names and text of every parameter that a docstring describes."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if not isinstance(node, ast.ClassDef | ast.FunctionDef):
            continue
        docstring = ast.get_docstring(node) or ''
        section = re.search(r'^Parameters\n-+\n(.*?)(?=\n\n\w+\n-+\n|\Z)', docstring, re.M | re.S)
        if not section:
            continue
        for found in re.finditer(
            r'^(\w[\w, *]*)\n((?:    .*\n?|\n(?=    ))*)', section[1] + '\n', re.M
        ):
            yield node.lineno, found[1], ' '.join(found[2].split())


def unreadable(text: str) -> bool:
    """Whether a text cannot stand alone, as in a tooltip."""
    is_reference = re.match(r'See `', text) is not None
    return text.startswith('Of ') or (len(text.split()) < LEAST_WORDS and not is_reference)


def unreadable_parameters(paths: list[Path]) -> list[str]:
    return [
        f'{path.relative_to(ROOT)}:{line} {names}: {text}'
        for path in paths
        for line, names, text in parameter_texts(path)
        if unreadable(text)
    ]


def test_module_names_are_unique():
    assert duplicate_stems(modules()) == []


def test_public_names_are_unique():
    assert duplicate_names(modules()) == []


def test_texts_of_parameters_can_be_read_alone():
    assert unreadable_parameters(modules()) == []


if __name__ == '__main__':
    listed = modules(*sys.argv[1:])
    lines = [*duplicate_stems(modules()), *duplicate_names(modules())]
    sys.stdout.write('\n'.join([*lines, *unreadable_parameters(listed)]) + '\n')
