"""Process a thousand exams of which fifty are broken, and check that the others do not notice.

    python benchmarks/endurance/thousand.py [--exams 1000] [--broken 50] [--nprocs 2] [--out DIR]

prints time, memory of the main process and, where the table is not as it must be, what is wrong.
The exit code is 0 where every exam ended as it had to. ``--out`` keeps the outputs.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path

import numpy as np
from faults import APP, FAULTS, QUICK

sys.path.insert(0, str(Path(__file__).parents[2] / 'tests'))
from phantoms import centred, write_description, write_scan

FATAL = (
    'gzip cut short', 'not a NIfTI', 'text, zipped', 'zero bytes', 'all NaN', 'constant',
    'four dimensions', 'colours', 'localiser of two slices', 'singular sform',
    'content not fetched (datalad)', 'no permission to read',
)  # fmt: skip
AS_NOBODY = ['setpriv', '--bounding-set=-dac_override,-dac_read_search', '--inh-caps=-all']


def write_data_set(root: Path, exams: int, broken: int) -> dict[str, str]:
    """Write the exams, evenly broken; tell the fault of each, empty for none."""
    write_description(root)
    every, faults, subjects = exams // max(broken, 1), cycle(FATAL), {}
    for number in range(exams):
        subject = f'sub-{number + 1:04d}'
        is_broken = broken and number % every == every // 2 and number // every < broken
        subjects[subject] = next(faults) if is_broken else ''
        grid = centred((26, 32, 24), np.diag([6.0, 6.0, 7.0, 1.0]))
        path = write_scan(root / subject / 'anat', subject, 'T1w', grid)
        if subjects[subject]:
            FAULTS[subjects[subject]](path)
    return subjects


def main() -> int:
    """Run and check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--exams', type=int, default=1000)
    parser.add_argument('--broken', type=int, default=50)
    parser.add_argument('--nprocs', type=int, default=2)
    parser.add_argument('--out', type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        out = options.out or folder / 'out'
        subjects = write_data_set(folder / 'bids', options.exams, options.broken)
        arguments = [*QUICK, '--nprocs', str(options.nprocs), '-w', str(folder / 'work')]
        prefix = AS_NOBODY if os.geteuid() == 0 else []  # root may read everything otherwise
        begun = time.monotonic()
        done = subprocess.run(
            [*prefix, *APP, str(folder / 'bids'), str(out), 'participant', *arguments],
            stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        seconds = time.monotonic() - begun
        (table,) = out.glob('logs/*/status.tsv')
        with table.open(encoding='utf-8') as file:
            rows = {row['exam']: row for row in csv.DictReader(file, delimiter='\t')}
        wrong = [
            f'{subject} ({fault or "not broken"}): {rows.get(subject)}'
            for subject, fault in subjects.items()
            if subject not in rows
            or (rows[subject]['state'] == 'failed') != bool(fault)
            or (bool(fault) and rows[subject]['note'] == 'n/a')
            or not (out / f'{subject}.html').is_file()
        ]
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
        states = [row['state'] for row in rows.values()]
        print(f'{states.count("finished")} finished, {states.count("failed")} failed, '
              f'exit code {done.returncode}')  # fmt: skip
        print(f'{seconds:.0f} s, {seconds / options.exams:.2f} s an exam, '
              f'largest process {peak:.2f} GB')  # fmt: skip
        print('\n'.join(wrong) or 'every exam ended as it had to')
        return int(bool(wrong) or done.returncode != 1)


if __name__ == '__main__':
    sys.exit(main())
