"""Compare the errors that a method expects with those that it makes.

Run it on what ``synthsr evaluate simulate ... --labels MAPS --structures`` wrote::

    python lab/uncertainty.py OUT/simulate.tsv

It prints a line per contrast with the mean absolute error of the T1w in the brain, expected and
made; and a line per structure with the error of its volume, mean with and without its sign, and
its `uncertainty_mm3`, in percent of the true volume, with the median of their quotient and the
share of exams whose error is not greater than it.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

# values by measure, of a scan and a structure (or the brain)
Measures = Mapping[str, float]
EXAM = ('subject', 'session', 'orientation', 'spacing', 'thickness')
SIZES = ('volume_mm3', 'reference_mm3', 'uncertainty_mm3')


def read_table(path: Path, method: str) -> dict[tuple[str, ...], Measures]:
    """Read the measures of a method, by contrasts, structure, and exam."""
    found: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    with path.open() as file:
        for row in csv.DictReader(file, delimiter='\t'):
            if row['method'] == method:
                place = row['contrasts'], row['structure'], *(row[name] for name in EXAM)
                found[place][row['measure']] = float(row['value'])
    return dict(found)


def tell_t1w(contrast: str, exams: Iterable[Measures]) -> str:
    """Say how the error of the T1w was expected, as shares of its range in the brain."""
    made, expected = np.array([(x['l1'], x['expected_l1']) for x in exams]).T
    return f'{contrast:28} {len(made)} exams: L1 {made.mean():.3f}, expected {expected.mean():.3f}'


def tell_structure(name: str, exams: Iterable[Measures]) -> str:
    """Say how the errors of volumes compare with their uncertainty."""
    volume, true, doubt = np.array([[x[size] for size in SIZES] for x in exams]).T
    error, doubt = 100 * (volume / true - 1), 100 * doubt / true
    return (
        f'{name:28} {len(error)} exams: error {error.mean():+5.1f} %, absolute '
        f'{np.abs(error).mean():4.1f} %, uncertainty {doubt.mean():4.1f} %, quotient '
        f'{np.median(np.abs(error) / doubt):.2f}, {100 * (np.abs(error) <= doubt).mean():3.0f} % '
        'within'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('table', type=Path)
    parser.add_argument('--method', default='any-exam')
    options = parser.parse_args()
    measured = read_table(options.table, options.method)
    by_contrast, by_structure = defaultdict(list), defaultdict(list)
    for (contrast, structure, *_), measures in measured.items():
        if 'expected_l1' in measures:
            by_contrast[contrast].append(measures)
        if 'uncertainty_mm3' in measures:
            by_structure[structure].append(measures)
    if not by_structure:
        parser.error(f'no structures of {options.method}: run simulate with --structures')
    for contrast, exams in by_contrast.items():
        print(tell_t1w(contrast, exams))
    for structure, exams in by_structure.items():
        print(tell_structure(structure, exams))


if __name__ == '__main__':
    main()
