"""Compare every image and transform of two output folders, voxel for voxel (28 November 2026).

The step that laid out the house anew was to change no voxel. Make the outputs of the commit before
it (22117af) and of the one after in environments of their own, and compare::

    make demo                                     # in both, and the five clinical exams:
    bids_synthsr BIDS OUT participant --method auto        # also cubic, and the network of
    bids_synthsr BIDS OUT participant --method any-exam    # any exam: "synthsr" in 22117af
    python lab/voxel_equality.py BEFORE/OUT AFTER/OUT

Names may differ by what methods are called. The exit code is 0 where everything is equal.
"""

import argparse
import sys
from pathlib import Path

import nibabel as nb
import numpy as np

# what the outputs of 22117af are called now
RENAMED = {'desc-synthsr': 'desc-anyexam', 'desc-published': 'desc-synthsr'}


def new_name(name: str) -> str:
    """Give the name that an output of 22117af has now."""
    return next((name.replace(old, new) for old, new in RENAMED.items() if old in name), name)


def outputs(folder: Path) -> dict[str, Path]:
    """Images, transforms and tables of all exams, by path relative to the output folder."""
    files = [
        path
        for ending in ('.nii.gz', '_xfm.txt', '.tsv')
        for path in folder.glob(f'sub-*/**/*{ending}')
    ]
    return {path.relative_to(folder).as_posix(): path for path in files}


def difference(before: Path, after: Path) -> str:
    """Say in what two files differ; nothing where they are equal."""
    if not before.name.endswith('.nii.gz'):
        return '' if before.read_text() == after.read_text() else 'text differs'
    one, other = (nb.Nifti1Image.from_filename(path) for path in (before, after))
    if one.shape != other.shape or not np.array_equal(one.affine, other.affine):
        return f'grids differ: {one.shape} and {other.shape}'
    if one.get_data_dtype() != other.get_data_dtype():
        return f'types differ: {one.get_data_dtype()} and {other.get_data_dtype()}'
    voxels, others = np.asanyarray(one.dataobj), np.asanyarray(other.dataobj)
    if np.array_equal(voxels, others):
        return ''
    gap = np.abs(voxels.astype(float) - others)
    return f'{np.count_nonzero(gap)} of {gap.size} voxels differ, by {gap.max():.3g} at most'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('before', type=Path, help='output folder of the commit before')
    parser.add_argument('after', type=Path, help='output folder of the commit after')
    options = parser.parse_args()
    before = {new_name(name): path for name, path in outputs(options.before).items()}
    after = outputs(options.after)
    faults = [f'{name}: only before' for name in sorted(before.keys() - after.keys())]
    faults += [f'{name}: only after' for name in sorted(after.keys() - before.keys())]
    shared = sorted(before.keys() & after.keys())
    faults += [
        f'{name}: {found}' for name in shared if (found := difference(before[name], after[name]))
    ]
    print('\n'.join(faults))
    images = sum(name.endswith('.nii.gz') for name in shared)
    print(f'{len(shared)} files compared, {images} of them images; {len(faults)} faults')
    return 1 if faults or not images else 0


if __name__ == '__main__':
    sys.exit(main())
