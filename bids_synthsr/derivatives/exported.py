"""Finished exams as folders of subjects of FreeSurfer, for its programs and viewers.

The volumes are conformed as FreeSurfer does: 256 x 256 x 256 voxels of 1 mm, whose axes run to
left, inferior and anterior, around the middle of the field of view.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nb
import numpy as np

from bids_synthsr.dataset.files import written_atomically
from bids_synthsr.dataset.images import load_volume
from bids_synthsr.derivatives.ownership import check_folders_within
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.records import Record, own_outputs, read_records
from bids_synthsr.imaging.geometry import apply_affine
from bids_synthsr.imaging.resampling import resample, take_nearest
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.structures import AROUND, CSF

SIZE = 256
AXES = np.array([[-1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # of the voxels, in RAS+
LEAST_KEPT = 0.999  # of the brain in the field of view
CUBIC, BRIGHTEST = 3, 255


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Parameters
    ----------
    folder
        Folder of the subjects.
    exams
        Labels of the exams that are in it.
    left
        Why other exams are not, by their labels.
    """

    folder: Path
    exams: tuple[str, ...]
    left: dict[str, str]


def export_subjects(derivatives: Derivatives) -> Exported:
    """Write every finished exam as a folder of a subject; what is there is written anew.

    Parameters
    ----------
    derivatives
        Where the outputs lie.

    Raises
    ------
    ValueError
        If the folder is a link, which may lead anywhere.
    """
    folder, done, left = derivatives.exported, [], {}
    checked = {derivatives.root}
    for label, record in sorted(read_records(derivatives).items()):
        if record.state != 'finished':
            continue
        check_folders_within((folder / label / 'mri/orig',), checked)
        try:
            _export(record, derivatives, folder / label)
            done.append(label)
        except ValueError as error:
            left[label] = str(error)
    return Exported(folder, tuple(done), left)


def _export(record: Record, derivatives: Derivatives, folder: Path) -> None:
    """Write the volumes of an exam."""
    names = own_outputs(record)
    if 'T1w' not in names or 'mask' not in names:
        raise ValueError('it has no T1w with a brain mask: choose --method auto')
    t1w, grid = load_volume(derivatives.root / names['T1w'])
    mask = load_volume(derivatives.root / names['mask'])[0]
    conformed = conformed_grid(grid)
    inside = take_nearest(mask, grid, conformed) > 0
    if inside.sum() < LEAST_KEPT * (mask > 0).sum() * np.prod(grid.spacing):
        raise ValueError(f'its brain is not within {SIZE} mm around the middle of the T1w')
    _save(folder / 'mri/orig/001.mgz', t1w.astype(np.float32), grid)
    head = resample(t1w, grid, conformed, order=CUBIC).clip(0, BRIGHTEST).round()
    head = head.astype(np.uint8)
    for name in ('orig', 'nu', 'T1'):
        _save(folder / f'mri/{name}.mgz', head, conformed)
    _save(folder / 'mri/brainmask.mgz', np.where(inside, head, 0).astype(np.uint8), conformed)
    if 'dseg' in names:
        labels = take_nearest(load_volume(derivatives.root / names['dseg'])[0], grid, conformed)
        labels[np.isin(labels, [x for x in AROUND if x != CSF])] = 0
        _save(folder / 'mri/aseg.presurf.mgz', labels.astype(np.int32), conformed)


def conformed_grid(grid: Grid) -> Grid:
    """Lay the voxels of FreeSurfer around the middle of a field of view."""
    vox2ras = np.eye(4)
    vox2ras[:3, :3] = AXES
    middle = apply_affine(grid.vox2ras, np.array(grid.shape) / 2)  # as FreeSurfer counts it
    vox2ras[:3, 3] = middle - apply_affine(vox2ras, np.full(3, SIZE / 2))
    return Grid((SIZE, SIZE, SIZE), vox2ras)


def _save(path: Path, voxels: np.ndarray, grid: Grid) -> None:
    """Write a volume in the format of FreeSurfer, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nb.MGHImage(voxels, grid.vox2ras)
    with written_atomically(path) as temporary:
        image.to_filename(temporary)
