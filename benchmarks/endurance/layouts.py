"""Plan every data set of a folder of layouts, their empty images replaced by ones with headers.

    python benchmarks/endurance/layouts.py BIDS_EXAMPLES

takes a checkout of github.com/bids-standard/bids-examples, whose images hold nothing. Each data
set is copied, its anatomical images are given a header and voxels, and the dry run must name every
participant. What it does not name, and every traceback, is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

import nibabel as nb
import numpy as np

from bids_synthsr.cli.bids_app import main as app
from bids_synthsr.dataset.filenames import plain_label

SHAPE = (32, 40, 30)
LARGE = 1 << 20  # bytes: what is larger is no file of a layout


def main() -> int:
    """Plan all data sets; return 1 if one of them is not accounted for."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('layouts', type=Path, help='folder of data sets')
    options = parser.parse_args()
    roots = sorted(file.parent for file in options.layouts.glob('*/dataset_description.json'))
    faults = participants = planned = 0
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        for root in roots:
            labels = [plain_label(x.name[4:]) for x in root.glob('sub-*') if x.is_dir()]
            fault = plan(root, Path(name), labels)
            print(f'{root.name}: {len(labels)} participants{fault and ": "}{fault}', flush=True)
            participants += len(labels)
            planned += bool(labels)
            faults += bool(fault)
    seconds = time.monotonic() - begun
    print(
        f'{len(roots)} data sets, {planned} with participants, {participants} participants, '
        f'{faults} data sets with a fault, {seconds:.0f} s'
    )
    return int(bool(faults))


def plan(root: Path, folder: Path, labels: list[str]) -> str:
    """Plan a data set; describe what is wrong with that, if anything is."""
    bids = folder / 'bids'
    shutil.rmtree(bids, ignore_errors=True)
    shutil.copytree(root, bids, symlinks=True, ignore=_leave_out)
    for path in bids.glob('sub-*/**/anat/*.nii*'):
        is_copy = path.resolve().is_relative_to(bids.resolve())  # links may lead anywhere
        if is_copy and path.is_file() and path.stat().st_size < LARGE:
            write_image(path)
    out, shown = folder / 'out', io.StringIO()
    words = [str(bids), str(out), 'participant', '--dry-run', '--skip-bids-validation', '-v']
    with contextlib.redirect_stderr(shown), contextlib.redirect_stdout(shown):
        try:
            code = app(words)
        except Exception:  # noqa: BLE001
            return traceback.format_exc()
    told = shown.getvalue()
    if 'Traceback' in told:
        return told
    if code == 2 and 'has no ' in told:  # no participants, or none with an anatomical scan
        return ''
    missing = [label for label in labels if f'sub-{label}' not in told]
    if code:
        return f'exit code {code}: {told}'
    return f'{len(missing)} are not named: {", ".join(missing)}' if missing else ''


def _leave_out(folder: str, names: list[str]) -> list[str]:
    """Choose what of a data set is not copied."""
    here = Path(folder)
    return [
        name
        for name in names
        if name in ('derivatives', 'sourcedata')
        or ((here / name).is_file() and (here / name).stat().st_size > LARGE)
    ]


def write_image(path: Path) -> None:
    """Write an image of a head's extent with a header as scanners write it."""
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    image = nb.Nifti1Image(np.ones(SHAPE, np.uint8), affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    path.unlink()
    if path.name.endswith(('.nii', '.nii.gz')):
        nb.save(image, path)


if __name__ == '__main__':
    sys.exit(main())
