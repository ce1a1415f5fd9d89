"""Ask how well a polynomial of a scan's intensities tells the T1w: what a network must beat.

Run it as ``python lab/polynomial.py WORK OUT/simulate.tsv`` on the work folder and the
table that ``synthsr evaluate simulate MAPS OUT --labels MAPS ... -w WORK`` left: a line per
contrast and setting, with the mean absolute error in the brain over the range of the truth, of
the polynomial (fitted to the truth of the very head, cubic interpolation between slices) and of
the method.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

from bids_synthsr.dataset.images import load_volume
from bids_synthsr.imaging.resampling import resample

DEGREE = 5
ROUNDS, LEAST_ERROR = 15, 2e-3  # of reweighting; as a share of the range, so that 1 / 0 is avoided


def least_absolute_error(intensities: np.ndarray, truth: np.ndarray) -> float:
    """Fit a polynomial for the least absolute error, by weights 1 / error."""
    span = np.ptp(truth)
    scaled = 2 * (intensities - intensities.min()) / np.ptp(intensities) - 1
    powers = np.polynomial.chebyshev.chebvander(scaled, DEGREE)
    weights = np.ones(len(truth))
    for _ in range(ROUNDS):
        weighted = weights[:, None] * powers
        errors = np.abs(powers @ np.linalg.solve(powers.T @ weighted, weighted.T @ truth) - truth)
        weights = 1 / np.maximum(errors, LEAST_ERROR * span)
    return float(errors.mean() / span)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('work', type=Path)
    parser.add_argument('table', type=Path)
    parser.add_argument('--method', default='any-exam')
    options = parser.parse_args()
    found = defaultdict(list)
    with options.table.open() as file:
        rows = [row for row in csv.DictReader(file, delimiter='\t')
                if row['structure'] == 'brain' and row['measure'] == 'l1'
                and row['method'] == options.method]  # fmt: skip
    for row in rows:
        (head,) = options.work.rglob(f'{row["subject"]}/truth/paint')
        setting = tuple(row[x] for x in ('contrasts', 'orientation', 'spacing', 'thickness'))
        truth, grid = load_volume(head / 'head.nii')
        mask = load_volume(head / 'mask.nii')[0] > 0
        scan, scan_grid = load_volume(
            head.parents[1] / '_'.join(setting) / 'simulate' / 'scan-0.nii'
        )
        cubic = resample(scan, scan_grid, grid, order=3)
        error = least_absolute_error(cubic[mask], truth[mask].astype(float))
        found[setting].append((error, float(row['value'])))
    for setting, errors in found.items():
        polynomial, method = np.mean(errors, 0)
        print(
            f'{" ".join(setting):24s} polynomial {polynomial:.3f}, {options.method} {method:.3f}'
        )


if __name__ == '__main__':
    main()
