"""The documents are easy to read: short sentences, one a line, and links that lead somewhere.

``python tests/docs/test_prose.py`` lists what breaks these rules.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MOST_WORDS = 25
PAGES = sorted(
    [
        *(ROOT / name for name in ('README.md', 'CHANGES.md', 'CONTRIBUTING.md')),
        ROOT / 'docker/README.md',
        *(ROOT / 'docs').rglob('*.md'),
    ]
)
LAB_PAGES = sorted((ROOT / 'lab').glob('*.md'))
USERS_FOLDERS = ('training', 'evaluation')  # of users, in the how-tos, as well as of the package
FOLDERS = {
    folder.name
    for root in (ROOT, ROOT / 'bids_synthsr')
    for folder in root.iterdir()
    if folder.is_dir() and not folder.name.startswith(('.', '_'))
} - {'build', 'dist', 'demo', 'out', 'work', 'runs', *USERS_FOLDERS}
FENCE = re.compile(r'^\s*(`{3,}|~{3,})')
ITEM = re.compile(r'^\s*(?:[-*+]|\d+\.)\s+')
LINK = re.compile(r'!?\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)[^)]*\)')
CODE = re.compile(r'(`+).+?\1')
# a sentence ends, and another begins on the same line
BORDER = re.compile(r'(?<!et al)(?<!e\.g)(?<!i\.e)(?<!vs)[.!?][)"*_]*\s+(?=[A-Z"(*_])')
END = re.compile(r'[.:!?][)"*_]*$')


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Number and text of every line of prose: no code, tables, headings, comments or settings."""
    fence, is_comment = '', False
    for number, line in enumerate(text.splitlines(), 1):
        mark = FENCE.match(line)
        if fence:
            fence = '' if mark and mark[1].startswith(fence) else fence
            continue
        if mark:
            fence = mark[1]
            continue
        is_comment = is_comment or line.startswith('<!--')
        if is_comment:
            is_comment = '-->' not in line
            continue
        if line.strip() and not line.lstrip().startswith(('|', '#', '(')) and line[:1] != '\t':
            yield number, line


def spoken(line: str) -> str:
    """Reduce a line to what a reader sees: a code span counts as one word."""
    line = re.sub(r'^[\s>]+', '', line)
    line = ITEM.sub('', line)
    line = CODE.sub('Code', line)
    return LINK.sub(lambda link: '' if link[0][0] == '!' else link['text'], line).strip()


def is_indented_code(line: str) -> bool:
    return line.startswith('    ')


def faults_of(text: str) -> Iterator[str]:
    """Describe every line that breaks a rule."""
    for number, line in prose(text):
        words = spoken(line)
        if is_indented_code(line):
            yield f'{number}: indented code; use a fence with its language'
        count = sum(any(map(str.isalnum, word)) for word in words.split())
        if count > MOST_WORDS:
            yield f'{number}: {count} words, at most {MOST_WORDS}: {line}'
        if ';' in words:
            yield f'{number}: semicolon: {line}'
        if BORDER.search(words):
            yield f'{number}: more than one sentence: {line}'
        if words and not END.search(words) and not ITEM.match(line):
            yield f'{number}: a sentence goes on in the next line, or has no end: {line}'


def slug(heading: str) -> str:
    """Make the anchor of a heading as GitHub and MyST do."""
    plain = LINK.sub(lambda link: link['text'], heading).replace('`', '')
    return re.sub(r'[^\w\- ]', '', plain.strip().lower()).replace(' ', '-')


def anchors_of(text: str) -> set[str]:
    """Anchors of the headings of a page, outside of code."""
    outside = re.sub(r'^(`{3,}).*?^\1', '', text, flags=re.M | re.S)
    return {slug(heading) for heading in re.findall(r'^#+ (.+)$', outside, re.M)}


def dead_links_of(path: Path) -> Iterator[str]:
    """Relative links that lead nowhere."""
    for _, line in _lines_with_links(path.read_text(encoding='utf-8')):
        for link in LINK.finditer(CODE.sub('', line)):
            target, _, anchor = link['target'].partition('#')
            if '://' in target or target.startswith('mailto:'):
                continue
            file = (path.parent / target).resolve() if target else path
            if not file.exists():
                yield f'{link["target"]}: no such file'
            elif anchor and anchor not in anchors_of(file.read_text(encoding='utf-8')):
                yield f'{link["target"]}: no such heading'


def absent_files_of(text: str) -> Iterator[str]:
    """Paths in code that begin with a folder of the repository or package, and do not exist."""
    for code in re.findall(r'^```.*?^```|`[^`\n]+`', text, re.M | re.S):
        for path in re.findall(r'(?<![\w./*-])(?:[\w-]+/)+[\w.*/-]*\w', code):
            if path.split('/')[0] in FOLDERS and not is_file_of_repository(path):
                yield path


def is_file_of_repository(path: str) -> bool:
    """Whether a path, pattern or module leads somewhere, from the repository or the package."""
    roots = (ROOT, ROOT / 'bids_synthsr')
    return any(any(root.glob(name)) for root in roots for name in (path, f'{path}.py'))


def _lines_with_links(text: str) -> Iterator[tuple[int, str]]:
    """Lines outside of code; tables, too, hold links."""
    outside = re.sub(r'^(`{3,}).*?^\1', '', text, flags=re.M | re.S)
    yield from enumerate(outside.splitlines(), 1)


@pytest.mark.parametrize('path', PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_page_is_easy_to_read(path):
    assert list(faults_of(path.read_text(encoding='utf-8'))) == []


@pytest.mark.parametrize(
    'path', [*PAGES, *LAB_PAGES], ids=lambda path: str(path.relative_to(ROOT))
)
def test_files_of_the_repository_that_are_named_exist(path):
    assert list(absent_files_of(path.read_text(encoding='utf-8'))) == []


@pytest.mark.parametrize(
    ('text', 'names'),
    [
        ('Run `python benchmarks/contrasts.py OUT` now.', ['benchmarks/contrasts.py']),
        ('See `docs/training-log` and `imaging/nothing`.',
         ['docs/training-log', 'imaging/nothing']),
        ('```bash\npython lab/gone.py\n```', ['lab/gone.py']),
        ('See `lab/contrasts.py`, `lab/*.py`, `imaging/resampling` and `out/logs/x.json`.', []),
    ],
)  # fmt: skip
def test_files_that_are_gone_are_noticed(text, names):
    assert list(absent_files_of(text)) == names


@pytest.mark.parametrize('path', PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    assert list(dead_links_of(path)) == []


def test_every_page_is_in_a_list_of_contents():
    """A page that no list of contents names would be on the site and not be found."""
    listed = set()
    for path in (ROOT / 'docs').rglob('*.md'):
        for block in re.findall(r'^```\{toctree\}\n(.*?)^```', path.read_text(), re.M | re.S):
            names = [line for line in block.splitlines() if line and line[0] != ':']
            listed |= {(path.parent / f'{name}.md').resolve() for name in names}
    pages = {path for path in PAGES if path.is_relative_to(ROOT / 'docs')}
    assert pages - listed == {ROOT / 'docs/index.md'}


def test_front_page_is_short():
    assert len((ROOT / 'README.md').read_text().splitlines()) < 120


@pytest.mark.parametrize(
    ('text', 'fault'),
    [
        ('One sentence. Another one.', 'more than one sentence'),
        ('A sentence that\ngoes on.', 'goes on in the next line'),
        ('Short; but two.', 'semicolon'),
        ('word ' * 26 + '.', '26 words'),
        ('    code', 'indented code'),
    ],
)
def test_rules_find_what_breaks_them(text, fault):
    assert fault in ' '.join(faults_of(text))


def test_rules_let_good_prose_pass():
    text = (
        '# A title; long\n\nIglesias et al. 2021 did it (see `a; b`).\n\n- an item\n'
        '- Another.\n  It goes on.\n\n| a; b |\n|---|\n\n```text\na; b\n```\n'
    )
    assert list(faults_of(text)) == []


if __name__ == '__main__':
    for page in PAGES:
        for fault in (*faults_of(page.read_text(encoding='utf-8')), *dead_links_of(page)):
            sys.stdout.write(f'{page.relative_to(ROOT)}:{fault}\n')
