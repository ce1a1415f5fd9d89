"""Compare the volumes that one method finds in the same heads from different contrasts.

Run it as ``python benchmarks/contrasts.py OUT/simulate.tsv`` on what ``bids_synthsr-evaluate
simulate ... --exams T1w T2w FLAIR --structures`` wrote: a line per pair of exams and structure,
with the mean difference of the volumes, and of its absolute value, in percent of their mean.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np

from bids_synthsr.reports.structures import SHOWN


def differences(path: Path, method: str) -> Iterator[tuple[str, str, str, np.ndarray]]:
    """Give pairs of exams, a structure, and how much its volumes differ, in percent, by head."""
    volumes: dict[tuple[str, str], dict[tuple[str, ...], float]] = defaultdict(dict)
    with path.open() as file:
        for row in csv.DictReader(file, delimiter='\t'):
            if row['measure'] == 'volume_mm3' and row['method'] == method:
                place = tuple(row[x] for x in ('subject', 'session', 'orientation', 'spacing',
                                               'thickness'))  # fmt: skip
                volumes[row['structure'], row['contrasts']][place] = float(row['value'])
    structures = dict.fromkeys(structure for structure, _ in volumes)
    contrasts = list(dict.fromkeys(contrast for _, contrast in volumes))
    for structure in structures:
        for first, second in combinations(contrasts, 2):
            one, other = volumes[structure, first], volumes[structure, second]
            pairs = np.array([(one[place], other[place]) for place in one if place in other])
            if pairs.size:
                yield first, second, structure, 100 * (pairs[:, 0] - pairs[:, 1]) / pairs.mean(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('table', type=Path)
    parser.add_argument('--method', default='synthsr')
    parser.add_argument('--all', action='store_true', help='every structure, not only four')
    options = parser.parse_args()
    found = list(differences(options.table, options.method))
    if not found:
        parser.error(f'{options.table} holds no volumes of {options.method} from two contrasts of '
                     'a head: run simulate with --structures and several --exams')  # fmt: skip
    for first, second, structure, percent in found:
        if options.all or structure in SHOWN:
            print(
                f'{structure:28} {first:6} - {second:6} {percent.mean():+6.1f} %, '
                f'absolute {np.abs(percent).mean():5.1f} %, {len(percent)} heads'
            )


if __name__ == '__main__':
    main()
