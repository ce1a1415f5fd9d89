"""People whose ventricles grow between sessions, to see what ``--longitudinal`` finds of it.

Run it as::

    python lab/growth.py make LABEL_MAPS DIR [--growth 1.1]
    bids_synthsr DIR/bids OUT participant --longitudinal
    python lab/growth.py compare DIR OUT

Each person has three sessions of the same contrasts, painted from the label map: ``before`` has
axial slices, ``same`` and ``grown`` sagittal and coronal ones, each with a pose and noise of its
own. In ``grown`` the lateral ventricles are larger by the given factor: the labels
are pushed apart by a gradient field whose divergence lies in the ventricles alone.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from bids_synthsr.dataset.images import load_volume, save_volume
from bids_synthsr.derivatives.tables import read_table
from bids_synthsr.evaluation.painting import draw_head_motion, paint_contrast
from bids_synthsr.evaluation.shape_changes import HALF_VOXEL, growth_velocity
from bids_synthsr.evaluation.truth import Truth, make_truth
from bids_synthsr.imaging.displacements import exponential, pull
from bids_synthsr.imaging.forward_model import acquire
from bids_synthsr.imaging.geometry import with_slices
from bids_synthsr.morphometry.volumes import MAIN
from bids_synthsr.synthesis.labels import LabelTable, freesurfer_table
from bids_synthsr.values.exam import Acquisition

VENTRICLES = (4, 43)
SESSIONS = {'before': 2, 'same': 0, 'grown': 1}  # axis of the slices of the first scan
SPACING_MM, CONTRASTS = 5.0, ('T1w', 'FLAIR')
TRIES = 3  # to meet the wanted growth
NOISE = 0.02  # of the brightest


def growth_of(labels: np.ndarray, factor: float) -> torch.Tensor:
    """Find where in a head to look for what its grown twin shows, voxels ``(3, I, J, K)``."""
    inside = np.isin(labels, VENTRICLES).astype(np.float32)
    share = np.log(factor)
    for _ in range(TRIES):
        velocity = torch.from_numpy(growth_velocity(share * inside)).float()
        back = exponential(-velocity)
        reached = float(pull(torch.from_numpy(inside[None]), back).sum() / inside.sum())
        share += np.log(factor) - np.log(reached)
    return back


def make(maps: Path, folder: Path, factor: float) -> None:
    """Write the data set, and the volumes that are true."""
    table, truths = freesurfer_table(), []
    for number, path in enumerate(sorted(maps.glob('*.nii*'))):
        subject = path.name.split('.')[0].rpartition('_')[2]
        truth = make_truth(*load_volume(path), path.name, table)
        still = torch.zeros(3, *truth.labels.shape)
        for session, axis in SESSIONS.items():
            moved = growth_of(truth.labels, factor) if session == 'grown' else still
            generator = torch.Generator().manual_seed(100 * number + axis)
            anat = folder / f'bids/sub-{subject}/ses-{session}/anat'
            scan_head(anat, f'sub-{subject}_ses-{session}', truth, moved, (table, axis, generator))
            truths += [
                {'subject': subject, 'session': session, 'structure': name, 'mm3': size}
                for name, size in sizes_of(truth.reference, moved)
            ]
    describe = {'Name': 'Growing ventricles', 'BIDSVersion': '1.10.0', 'DatasetType': 'raw'}
    (folder / 'bids/dataset_description.json').write_text(json.dumps(describe))
    (folder / 'truth.json').write_text(json.dumps(truths, indent=2))


def sizes_of(labels: np.ndarray, moved: torch.Tensor) -> Iterator[tuple[str, float]]:
    """Measure the structures of a head that is pulled along a field."""
    for name, values in MAIN.items():
        inside = torch.from_numpy(np.isin(labels, values).astype(np.float32))
        yield name, float(pull(inside[None], moved).sum())


def scan_head(
    anat: Path,
    stem: str,
    truth: Truth,
    moved: torch.Tensor,
    how: tuple[LabelTable, int, torch.Generator],
) -> None:
    """Write the scans of a session: painted, pulled along a field, and acquired in a new pose."""
    table, axis, generator = how
    anat.mkdir(parents=True, exist_ok=True)
    for number, contrast in enumerate(CONTRASTS):
        same = torch.Generator().manual_seed(number)
        painted = torch.from_numpy(paint_contrast(truth.labels, contrast, table, same))
        # all are interpolated alike, grown or not
        fine = pull(painted[None], moved + HALF_VOXEL)[0].numpy()
        pose = draw_head_motion(generator, truth.grid.center)
        slices = Acquisition((axis - number) % 3, SPACING_MM, SPACING_MM)
        grid = with_slices(truth.grid, slices.slice_axis, SPACING_MM)
        voxels = acquire(fine, truth.grid, grid, slices, np.linalg.inv(pose))
        noise = torch.randn(voxels.shape, generator=generator).numpy()
        voxels = (voxels + NOISE * np.percentile(voxels, 99) * noise).clip(0)
        path = anat / f'{stem}_{contrast}.nii.gz'
        save_volume(path, voxels, grid)
        sidecar = {'SliceThickness': SPACING_MM, 'MRAcquisitionType': '2D'}
        (anat / f'{stem}_{contrast}.json').write_text(json.dumps(sidecar))


def compare(folder: Path, out: Path) -> None:
    """Print what was measured beside what is true, in percent of the first session."""
    truths: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for row in json.loads((folder / 'truth.json').read_text()):
        truths[row['subject'], row['structure']][row['session']] = row['mm3']
    errors: dict[str, list[float]] = defaultdict(list)
    print('subject  structure  session  true, measured, by each session alone, %')
    for (subject, structure), true in truths.items():
        table = out / f'sub-{subject}/anat/sub-{subject}_desc-longitudinal_volumes.tsv'
        sizes: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for line in read_table(table):
            if int(line['index']) in MAIN[structure]:
                for column in ('volume_mm3', 'own_volume_mm3'):
                    sizes[column][line['session_id'].removeprefix('ses-')] += float(line[column])
        for session in ('same', 'grown'):
            changes = [
                100 * (volumes[session] / volumes['before'] - 1)
                for volumes in (true, *sizes.values())
            ]
            print(f'{subject}  {structure:24s} {session:6s}', *(f'{x:+.2f}' for x in changes))
            errors[f'{structure} {session}'].append(changes[1] - changes[0])
    for name, values in errors.items():
        print(f'mean error of {name:32s} {np.mean(values):+.2f}')


def main() -> None:
    """Do as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('task', choices=('make', 'compare'))
    parser.add_argument('first', type=Path)
    parser.add_argument('second', type=Path)
    parser.add_argument('--growth', type=float, default=1.1)
    options = parser.parse_args()
    if options.task == 'make':
        make(options.first, options.second, options.growth)
    else:
        compare(options.first, options.second)


if __name__ == '__main__':
    main()
