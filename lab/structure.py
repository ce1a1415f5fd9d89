"""Measure the structure of the code: functions, parameters, and imports between modules.

python lab/structure.py [CHECKOUT ...]      # of this commit, or of other checkouts
"""

import ast
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]


def modules(root: Path) -> dict[str, ast.Module]:
    """All modules of the package, by their names."""
    files = {
        **dict.fromkeys((root / 'bids_synthsr').rglob('*.py'), 'bids_synthsr.'),
        **dict.fromkeys((root / 'workflows').rglob('*.py'), 'bids_synthsr.workflows.'),
    }
    trees = {}
    for path, prefix in files.items():
        base = root / ('workflows' if 'workflows' in prefix else 'bids_synthsr')
        name = prefix + '.'.join(path.relative_to(base).with_suffix('').parts)
        trees[name.removesuffix('.__init__')] = ast.parse(path.read_text(encoding='utf-8'))
    return trees


def functions(trees: dict[str, ast.Module]) -> list[tuple[int, int, str]]:
    """Lines and parameters of every function, without its docstring, and its name."""
    rows = []
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                first = node.body[0]
                if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                    lines -= (first.end_lineno or 0) - first.lineno + 1
                names = [x.arg for x in (*node.args.args, *node.args.kwonlyargs)]
                count = len([name for name in names if name not in ('self', 'cls')])
                rows.append((lines, count, f'{module}.{node.name}'))
    return rows


def imports(trees: dict[str, ast.Module], at_top: bool) -> dict[str, set[str]]:
    """Imports between modules of the package: of all, or of those at the top alone."""
    edges: dict[str, set[str]] = defaultdict(set)
    for module, tree in trees.items():
        for node in tree.body if at_top else ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = [f'{node.module}.{alias.name}' for alias in node.names]
                names = [name for name in inner if name in trees] or [node.module]
            edges[module] |= {name for name in names if name in trees and name != module}
    return edges


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import one another, by Tarjan's algorithm."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in edges.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group: list[str] = []
            while not group or group[-1] != node:
                group.append(stack.pop())
            groups.append(group)

    sys.setrecursionlimit(10_000)
    for node in list(edges):
        if node not in index:
            visit(node)
    return [group for group in groups if len(group) > 1]


def depth(edges: dict[str, set[str]]) -> int:
    """Longest chain of imports; modules of a circle count once."""
    known: dict[str, int] = {}

    def of(node: str, above: frozenset[str]) -> int:
        if node not in known:
            others = [x for x in edges.get(node, ()) if x not in above]
            known[node] = 1 + max((of(x, above | {node}) for x in others), default=0)
        return known[node]

    return max(of(node, frozenset()) for node in list(edges))


def main() -> None:
    for root in [Path(arg) for arg in sys.argv[1:]] or [ROOT]:
        trees = modules(root)
        rows = functions(trees)
        lines = np.array([row[0] for row in rows])
        longest, widest = max(rows), max(rows, key=lambda row: row[1])
        top, every = imports(trees, at_top=True), imports(trees, at_top=False)
        print(f'{len(trees)} modules, {len(rows)} functions (docstrings not counted)')
        print(
            f'lines: median {np.median(lines):.0f}, 90th percentile {np.percentile(lines, 90):.0f}'
            f', longest {longest[0]} ({longest[2]})'
        )
        print(f'most parameters: {widest[1]} ({widest[2]})')
        print(
            f'imports between modules: {sum(map(len, top.values()))} at the top, '
            f'{sum(map(len, every.values()))} in all; depth {depth(top)} and {depth(every)}; '
            f'circles {len(circles(top))} and {len(circles(every))}'
        )
        for group in circles(every):
            print(f'  circle: {", ".join(sorted(group))}')


if __name__ == '__main__':
    main()
