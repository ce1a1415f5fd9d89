"""Break scans in every way that was met, run the program on them, and tell what its user sees.

    python benchmarks/endurance/faults.py [--huge]

makes a data set of phantoms, an exam for each fault and three without, processes it, and prints a
table in Markdown: what was done to the scan, how the exam ended, and in which words. `--huge` adds
a scan of 1024 x 1024 x 300 voxels, which takes minutes and 7 GB.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / 'tests'))
from phantoms import centred, write_description, write_scan

GOOD = 3
SLICE_MM = 7.0
HUGE = '1024 x 1024 x 300 voxels'
GRID = centred((36, 36, 26), np.diag([6.4, 6.4, SLICE_MM, 1.0]))
APP = [sys.executable, '-m', 'bids_synthsr.cli.bids_app']
QUICK = ['--method', 'cubic', '--output-resolution', '4', '--skip-bids-validation']


def with_voxels(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """Make a fault of a change of the voxels."""

    def spoil(path: Path) -> None:
        image = nb.Nifti1Image.from_filename(path)
        voxels = change(image.get_fdata(dtype=np.float32))
        nb.save(nb.Nifti1Image(voxels, image.affine), path)

    return spoil


def with_header(change: Callable[[nb.Nifti1Header], None]) -> Callable[[Path], None]:
    """Make a fault of a change of the header."""

    def spoil(path: Path) -> None:
        image = nb.Nifti1Image.from_filename(path)
        voxels, header = image.get_fdata(dtype=np.float32), image.header.copy()
        change(header)
        nb.save(nb.Nifti1Image(voxels, None, header), path)

    return spoil


def scaled(factors: list[float]) -> Callable[[Path], None]:
    """Make a fault of other voxel sizes."""

    def spoil(path: Path) -> None:
        image = nb.Nifti1Image.from_filename(path)
        affine = image.affine @ np.diag([*factors, 1])
        nb.save(nb.Nifti1Image(image.get_fdata(dtype=np.float32), affine), path)

    return spoil


def few(values: float) -> Callable[[np.ndarray], np.ndarray]:
    """Set five voxels."""

    def change(voxels: np.ndarray) -> np.ndarray:
        voxels[3:8, 3, 3] = values
        return voxels

    return change


def colours(path: Path) -> None:
    """Store colours."""
    image = nb.Nifti1Image.from_filename(path)
    rgb = np.zeros(image.shape, dtype=[('R', 'u1'), ('G', 'u1'), ('B', 'u1')])
    nb.save(nb.Nifti1Image(rgb, image.affine), path)


def singular(header: nb.Nifti1Header) -> None:
    """Leave the third axis out."""
    header['srow_z'], header['sform_code'], header['qform_code'] = 0, 1, 0


def without_forms(header: nb.Nifti1Header) -> None:
    """Say nothing of where the voxels lie."""
    header['sform_code'] = header['qform_code'] = 0


def contradicting(header: nb.Nifti1Header) -> None:
    """Move the qform by 20 mm."""
    qform = header.get_sform() @ np.eye(4)
    qform[:3, 3] += 20
    header.set_qform(qform, 1)


def duplicated(path: Path) -> None:
    """Copy the scan as another run."""
    name = path.name.replace('_T1w', '_run-2_T1w')
    shutil.copyfile(path, path.with_name(name))


def dangling(path: Path) -> None:
    """Link to content that is not here."""
    path.unlink()
    path.symlink_to('../.git/annex/objects/MD5E-s123.nii.gz')


def contradicted(path: Path) -> None:
    """Let the sidecar tell another thickness and spacing."""
    told = '{"SliceThickness": 1.0, "SpacingBetweenSlices": 3.3, "MRAcquisitionType": "2D"}'
    path.with_name(path.name.replace('.nii.gz', '.json')).write_text(told)


def accompanied(change: Callable[[Path], None]) -> Callable[[Path], None]:
    """Add a T2w in which something is changed."""

    def spoil(path: Path) -> None:
        change(write_good(path.parent, path.name.split('_')[0], 'T2w'))

    return spoil


def elsewhere(path: Path) -> None:
    """Let the header put the scan 500 mm away."""
    image = nb.Nifti1Image.from_filename(path)
    affine = image.affine.copy()
    affine[0, 3] += 500
    nb.save(nb.Nifti1Image(image.get_fdata(dtype=np.float32), affine), path)


def enlarged(factors: list[int]) -> Callable[[Path], None]:
    """Make many small voxels of each."""

    def spoil(path: Path) -> None:
        image = nb.Nifti1Image.from_filename(path)
        voxels = image.get_fdata(dtype=np.float32).astype(np.uint8)
        for axis, factor in enumerate(factors):
            voxels = voxels.repeat(factor, axis)
        affine = image.affine @ np.diag([*(1 / np.array(factors)), 1])
        nb.save(nb.Nifti1Image(voxels, affine), path)

    return spoil


def huge(path: Path) -> None:
    """Store a head on 1024 x 1024 x 300 voxels."""
    write_scan(path.parent, path.name.split('_')[0], 'T1w',
               centred((64, 64, 100), np.diag([4.0, 4.0, 2.1, 1.0])))  # fmt: skip
    enlarged([16, 16, 3])(path)


def trunk(path: Path) -> None:
    """Show an object 400 mm wide."""
    write_scan(path.parent, path.name.split('_')[0], 'T1w',
               centred((60, 30, 16), np.diag([7.0, 8.0, 12.0, 1.0])))  # fmt: skip
    with_voxels(lambda voxels: np.where(np.indices(voxels.shape)[1] > 3, 100, 0).astype('f4'))(
        path
    )


FAULTS: dict[str, Callable[[Path], object]] = {
    'gzip cut short': lambda path: path.write_bytes(path.read_bytes()[:-300]),
    'not a NIfTI': lambda path: path.write_bytes(b'this is not an image ' * 20),
    'text, zipped': lambda path: path.write_bytes(gzip.compress(b'no image')),
    'zero bytes': lambda path: path.write_bytes(b''),
    'all NaN': with_voxels(lambda voxels: np.full_like(voxels, np.nan)),
    'five voxels NaN': with_voxels(few(np.nan)),
    'five voxels infinite': with_voxels(few(np.inf)),
    'constant': with_voxels(np.ones_like),
    'all negative': with_voxels(lambda voxels: -voxels - 1),
    'four dimensions': with_voxels(lambda voxels: np.repeat(voxels[..., None], 3, 3)),
    'colours': colours,
    'localiser of two slices': with_voxels(lambda voxels: voxels[..., 7:9]),
    'singular sform': with_header(singular),
    'no sform, no qform': with_header(without_forms),
    'qform 20 mm off the sform': with_header(contradicting),
    'sidecar contradicts header': contradicted,
    'voxel sizes in metres': scaled([1e-3] * 3),
    'voxels of 40 mm': scaled([1, 1, 40 / SLICE_MM]),
    'voxels of 0.2 x 0.2 x 7 mm, 1152 x 1152 in a slice': enlarged([32, 32, 1]),
    'slices of 12 mm': lambda path: write_scan(path.parent, path.name.split('_')[0], 'T1w'),
    'another body part': trunk,
    'the scan twice': duplicated,
    'beside it a T2w of nothing but noise': accompanied(
        with_voxels(lambda voxels: np.random.default_rng(0).random(voxels.shape, np.float32))
    ),
    'beside it a T2w that lies 500 mm away': accompanied(elsewhere),
    'content not fetched (datalad)': dangling,
    'no permission to read': lambda path: path.chmod(0),
}


def write_good(folder: Path, name: str, contrast: str) -> Path:
    """Write a scan that has no fault, and a sidecar that fits it."""
    path = write_scan(folder, name, contrast, GRID)
    told = f'{{"MRAcquisitionType": "2D", "SliceThickness": {SLICE_MM}}}'
    path.with_name(path.name.replace('.nii.gz', '.json')).write_text(told)
    return path


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--huge', action='store_true', help='and a scan of 1024 x 1024 x 300')
    faults = {**FAULTS, **({HUGE: huge} if parser.parse_args().huge else {})}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subjects = write_data_set(folder / 'bids', faults)
        prefix = []
        if os.geteuid() == 0:  # who may read everything otherwise
            prefix = [
                'setpriv',
                '--bounding-set=-dac_override,-dac_read_search',
                '--inh-caps=-all',
            ]
        places = [str(folder / 'bids'), str(folder / 'out'), 'participant']
        done = subprocess.run(
            [*prefix, *APP, *places, '-w', str(folder / 'work'), *QUICK],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        (table,) = (folder / 'out').glob('logs/*/status.tsv')
        with table.open(encoding='utf-8') as file:
            rows = {row['exam']: row for row in csv.DictReader(file, delimiter='\t')}
        print('| the only T1w of an exam | exam | what is told |\n|---|---|---|')
        for subject, fault in subjects.items():
            row = rows[f'sub-{subject}']
            told = row['note'].split(f'sub-{subject}_T1w.nii.gz: ')[-1].removesuffix('n/a')
            note = told.replace('|', '/').replace(str(folder), '...')
            print(f'| {fault} | {row["state"]} | {note} |')
        print(f'\nExit code {done.returncode}; {done.stderr.strip().splitlines()[-1]}.')
    return 0


def write_data_set(root: Path, faults: dict[str, Callable[[Path], object]]) -> dict[str, str]:
    """Write an exam for each fault and some without; tell the faults by subject."""
    write_description(root)
    faults = {**faults, **{f'none ({number})': lambda _path: None for number in range(GOOD)}}
    subjects = {f'{number:02d}': fault for number, fault in enumerate(faults, 1)}
    for subject, fault in subjects.items():
        faults[fault](write_good(root / f'sub-{subject}/anat', f'sub-{subject}', 'T1w'))
    return subjects


if __name__ == '__main__':
    sys.exit(main())
