"""Compare the volumes that one method finds in the same heads from different contrasts.

Run it on what ``synthsr evaluate simulate ... --exams T1w T2w FLAIR --structures`` wrote::

    python lab/contrasts.py OUT/simulate.tsv

or on real exams, on the outputs of runs that each knew one contrast::

    bids_synthsr BIDS OUT_T1w participant --method synthsr --contrasts T1w    (and so on)
    python lab/contrasts.py OUT_T1w OUT_T2w OUT_FLAIR

It prints a line per pair of contrasts and structure, with the mean difference of the volumes, and
of its absolute value, in percent of their mean.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np

from bids_synthsr.evaluation.volume_errors import SHOWN
from bids_synthsr.morphometry.volumes import MAIN

# volume, mm3, by structure, contrast and head
Volumes = dict[str, dict[str, dict[tuple[str, ...], float]]]


def read_table(path: Path, method: str, volumes: Volumes) -> None:
    """Read the volumes of a method from the table of an evaluation."""
    with path.open() as file:
        for row in csv.DictReader(file, delimiter='\t'):
            if row['measure'] == 'volume_mm3' and row['method'] == method:
                head = tuple(row[x] for x in ('subject', 'session', 'orientation', 'spacing',
                                              'thickness'))  # fmt: skip
                volumes[row['structure']][row['contrasts']][head] = float(row['value'])


def read_outputs(folder: Path, volumes: Volumes) -> None:
    """Read the volumes of all exams that a run of the app put out."""
    for path in sorted(folder.rglob('*_volumes.tsv')):
        exam = path.name.split('_desc-')[0]
        with path.open() as file:
            found = {row['index']: float(row['volume_mm3'])
                     for row in csv.DictReader(file, delimiter='\t')}  # fmt: skip
        for structure, indices in MAIN.items():
            volumes[structure][folder.name][(exam,)] = sum(found[str(index)] for index in indices)


def differences(volumes: Volumes) -> Iterator[tuple[str, str, str, np.ndarray]]:
    """Give pairs of contrasts, a structure, and how much it differs, in percent, by head."""
    for structure, by_contrast in volumes.items():
        for first, second in combinations(by_contrast, 2):
            one, other = by_contrast[first], by_contrast[second]
            pairs = np.array([(one[head], other[head]) for head in one if head in other])
            if pairs.size:
                yield first, second, structure, 100 * (pairs[:, 0] - pairs[:, 1]) / pairs.mean(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('outputs', type=Path, nargs='+', help='a table, or folders')
    parser.add_argument('--method', default='any-exam', help='of the table')
    parser.add_argument('--all', action='store_true', help='every structure, not only four')
    options = parser.parse_args()
    volumes: Volumes = defaultdict(lambda: defaultdict(dict))
    for path in options.outputs:
        if path.is_dir():
            read_outputs(path, volumes)
        else:
            read_table(path, options.method, volumes)
    found = list(differences(volumes))
    if not found:
        parser.error('no volumes of a head from two contrasts: run simulate with --structures and '
                     'several --exams, or the app with --contrasts')  # fmt: skip
    for first, second, structure, percent in found:
        if options.all or structure in SHOWN:
            print(
                f'{structure:28} {first:6} - {second:6} {percent.mean():+6.1f} %, '
                f'absolute {np.abs(percent).mean():5.1f} %, {len(percent)} heads'
            )


if __name__ == '__main__':
    main()
