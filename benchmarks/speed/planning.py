"""Time what comes before any work: finding, judging and planning 1,000 exams of 3 scans each.

Run it as ``python benchmarks/speed/planning.py [EXAMS]``; the target is under 60 s for 1,000.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nb
import numpy as np

from bids_synthsr.dataset.query import find_exams
from bids_synthsr.dataset.selection import select_scans
from bids_synthsr.derivatives.records import take_fingerprint

CONTRASTS = ('T1w', 'T2w', 'FLAIR')
SIDECAR = {'MRAcquisitionType': '2D', 'SliceThickness': 6.0, 'SpacingBetweenSlices': 7.0}


def make_data_set(root: Path, exams: int) -> None:
    """Write tiny scans, their sidecars, and functional scans that must not slow the query."""
    voxels = np.zeros((16, 16, 20), np.uint8)
    image = nb.Nifti1Image(voxels, np.diag([14.0, 14, 7, 1]))
    root.mkdir(parents=True)
    (root / 'dataset_description.json').write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    image.to_filename(root / 'scan.nii.gz')
    content = (root / 'scan.nii.gz').read_bytes()
    for number in range(exams):
        stem = f'sub-{number:04}_ses-1'
        folder = root / f'sub-{number:04}' / 'ses-1'
        for kind in ('anat', 'func'):
            (folder / kind).mkdir(parents=True)
        for contrast in CONTRASTS:
            (folder / 'anat' / f'{stem}_{contrast}.nii.gz').write_bytes(content)
            (folder / 'anat' / f'{stem}_{contrast}.json').write_text(json.dumps(SIDECAR))
            (folder / 'func' / f'{stem}_task-{contrast}_bold.nii.gz').write_bytes(content)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / 'bids'
        make_data_set(root, count)
        start = time.perf_counter()
        exams = find_exams(root)
        found = time.perf_counter()
        used = sum(len(select_scans(exam).scans) for exam in exams)
        planned = time.perf_counter()
        for exam in exams:
            take_fingerprint(exam, root, {}, '1')
        fingerprinted = time.perf_counter()
    print(f'{len(exams)} exams, {used} scans used')
    print(f'found and judged {found - start:.1f} s')
    print(f'planned          {planned - found:.1f} s')
    print(f'fingerprinted    {fingerprinted - planned:.1f} s')


if __name__ == '__main__':
    main()
