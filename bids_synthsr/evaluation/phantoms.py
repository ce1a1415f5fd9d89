"""A demo data set whose truth is known: two sessions of thick-slice scans of one head.

The brain is the MNI152 template that nilearn ships, as grey and white matter; skull and scalp are
drawn around it. The truth lies beside the data set and never inside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nilearn import datasets
from scipy import ndimage

from bids_synthsr.dataset.files import read_text, write_json, write_text
from bids_synthsr.dataset.images import save_rigid, save_volume, volume_of
from bids_synthsr.dataset.query import DESCRIPTION
from bids_synthsr.derivatives.ownership import find_folder_owner
from bids_synthsr.imaging.forward_model import acquire
from bids_synthsr.imaging.geometry import in_ras_order, rigid
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid

# intensities by tissue: what T1w, T2w and FLAIR of 1.5 T look like, white matter of T1w at 110
INTENSITIES = {
    'T1w': {'csf': 25, 'gm': 72, 'wm': 110, 'bone': 10, 'fat': 150, 'skin': 60},
    'T2w': {'csf': 200, 'gm': 98, 'wm': 68, 'bone': 8, 'fat': 110, 'skin': 40},
    'FLAIR': {'csf': 14, 'gm': 92, 'wm': 66, 'bone': 8, 'fat': 110, 'skin': 45},
}
SHELLS = {'skin': 15.0, 'fat': 12.0, 'bone': 8.0, 'csf': 2.0}  # outer surfaces, mm off the brain
# slice axis (R, A, S), spacing and thickness (mm) by session and contrast
PROTOCOLS = {
    '1': {'T1w': (0, 5.0, 4.5), 'T2w': (2, 5.0, 5.0), 'FLAIR': (1, 6.0, 5.0)},
    '2': {'T1w': (0, 6.0, 5.0), 'T2w': (2, 5.5, 5.0), 'FLAIR': (1, 5.0, 4.0)},
}
MAX_ANGLE_DEG, MAX_SHIFT = 5.0, 8.0  # of each axis: a patient who moved between two scans
BIAS, NOISE = 0.15, 2.0  # sd of the log field on 4 nodes an axis, and of the noise
MARGIN = 4  # mm added around the template, which leaves about 25 mm around the brain
SUBJECT = '01'
NAME = 'Demo of bids_synthsr: simulated thick-slice exams of the MNI152 template'


@dataclass(frozen=True, eq=False)
class Tissues:
    """A head as shares of tissue.

    Parameters
    ----------
    layers
        Name and share ``(I, J, K)`` of each tissue, painted in this order over air.
    brain
        ``(I, J, K)`` bool: where the brain is.
    grid
        Where the voxels lie, 1 mm in RAS order.
    """

    layers: tuple[tuple[str, np.ndarray], ...]
    brain: np.ndarray
    grid: Grid


def load_tissues() -> Tissues:
    """Draw a head around the brain of the MNI152 template, 1 mm."""
    grey, grid = volume_of(datasets.load_mni152_gm_template(resolution=1))
    white, _ = volume_of(datasets.load_mni152_wm_template(resolution=1))
    brain = volume_of(datasets.load_mni152_brain_mask(resolution=1))[0] > 0
    grey, white, brain = (np.pad(part, MARGIN) for part in (grey, white, brain))
    vox2ras = grid.vox2ras.copy()
    vox2ras[:3, 3] -= MARGIN * grid.vox2ras[:3, :3].sum(axis=1)
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(~brain), 2.0)
    shells = [(name, np.clip(0.5 + outer - distance, 0, 1)) for name, outer in SHELLS.items()]
    inside = ndimage.gaussian_filter(brain.astype(np.float32), 0.5)
    layers = (*shells, ('csf', inside), ('gm', np.minimum(grey, inside)), ('wm', white * inside))
    return Tissues(layers, brain, in_ras_order(Grid(brain.shape, vox2ras)))


def paint_tissues(tissues: Tissues, contrast: str) -> np.ndarray:
    """Give every tissue its intensity in a contrast, float32 ``(I, J, K)``."""
    painted = np.zeros(tissues.brain.shape, np.float32)
    for name, share in tissues.layers:
        painted += share * (INTENSITIES[contrast][name] - painted)
    return painted


def stack_slices(
    head: Grid, axis: int, spacing: float, thickness: float
) -> tuple[Grid, Acquisition]:
    """Lay slices across one axis of a head, 1 mm in plane, around its centre.

    Parameters
    ----------
    head
        Where the voxels of the head lie.
    axis
        Axis across the slices: 0 is R, 1 is A, 2 is S.
    spacing, thickness
        Distance between the centres of the slices, and their thickness, mm.
    """
    voxel = np.ones(3)
    voxel[axis] = spacing
    shape = np.floor(np.asarray(head.shape) * head.spacing / voxel).astype(int)
    vox2ras = np.diag([*voxel, 1.0])
    vox2ras[:3, 3] = head.center - vox2ras[:3, :3] @ ((shape - 1) / 2)
    grid = Grid((int(shape[0]), int(shape[1]), int(shape[2])), vox2ras)
    return grid, Acquisition(axis, spacing, thickness)


def draw_coil_field(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Draw a smooth field by which a coil multiplies intensities, ``shape``."""
    nodes = generator.normal(0, BIAS, (4, 4, 4))
    zoom = np.asarray(shape) / 4
    return np.exp(ndimage.zoom(nodes, zoom, order=1, grid_mode=True, mode='nearest'))


def add_noise(scan: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Add Rician noise; int16, as scanners store."""
    real, imaginary = generator.normal(0, NOISE, (2, *scan.shape))
    return np.round(4 * np.hypot(scan + real, imaginary)).astype(np.int16)


def draw_patient_motion(center: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw how a patient moved between two scans, ``(4, 4)`` RAS+ mm."""
    angles = np.radians(generator.uniform(-MAX_ANGLE_DEG, MAX_ANGLE_DEG, 3))
    return rigid(angles, generator.uniform(-MAX_SHIFT, MAX_SHIFT, 3), center)


def make_demo(folder: Path, seed: int = 1) -> None:
    """Write ``folder/bids``, a BIDS data set, and ``folder/truth``.

    The truth holds each contrast of each session at 1 mm, bias field included, and the brain
    mask, all in the frame of the T1w, and the true transforms of the other scans to it.

    Parameters
    ----------
    folder
        Folder to be written, which need not exist.
    seed
        Seed of motion, bias fields and noise.

    Raises
    ------
    ValueError
        If the folder holds, or belongs to, something other than a demo.
    """
    check_demo_folder(folder, NAME)
    generator = np.random.default_rng(seed)
    tissues = load_tissues()
    bids, truth = folder / 'bids', folder / 'truth'
    describe_demo(bids, NAME, f'participant_id\nsub-{SUBJECT}\n')
    save_volume(truth / 'brain_mask.nii.gz', tissues.brain.astype(np.uint8), tissues.grid)
    for session, protocol in PROTOCOLS.items():
        name = f'sub-{SUBJECT}_ses-{session}'
        anat = bids / f'sub-{SUBJECT}' / f'ses-{session}' / 'anat'
        for contrast, (axis, spacing, thickness) in protocol.items():
            grid, slices = stack_slices(tissues.grid, axis, spacing, thickness)
            moved = contrast != 'T1w'
            ref2scan = draw_patient_motion(tissues.grid.center, generator) if moved else np.eye(4)
            head = paint_tissues(tissues, contrast) * draw_coil_field(
                tissues.grid.shape, generator
            )
            scan = acquire(head, tissues.grid, grid, slices, ref2scan)
            save_volume(truth / f'{name}_{contrast}.nii.gz', head.astype(np.float32), tissues.grid)
            save_volume(anat / f'{name}_{contrast}.nii.gz', add_noise(scan, generator), grid)
            write_slices(anat / f'{name}_{contrast}.json', slices)
            if moved:
                path = truth / f'{name}_from-{contrast}_to-T1w_mode-image_xfm.txt'
                save_rigid(path, np.linalg.inv(ref2scan))


def check_demo_folder(folder: Path, name: str) -> None:
    """Refuse a folder in which a demo would replace what is no such demo.

    Parameters
    ----------
    folder
        Folder that is to be written.
    name
        Name of the data set.

    Raises
    ------
    ValueError
        With the folder, and the way out.
    """
    owner = find_folder_owner(folder)
    if owner:
        raise ValueError(f'{owner}: choose another folder')
    description = folder / 'bids' / DESCRIPTION
    is_demo = description.is_file() and name in read_text(description)
    for path in (folder / 'bids', folder / 'truth'):
        is_free = not path.exists() or (path.is_dir() and not any(path.iterdir()))
        if path.is_symlink() or not (is_demo or is_free):
            raise ValueError(f'{path} is not of a demo: choose another folder')


def describe_demo(bids: Path, name: str, participants: str) -> None:
    """Write what makes a folder a BIDS data set.

    Parameters
    ----------
    bids
        Folder of the data set.
    name
        Name of the data set.
    participants
        Table of the people, TSV.
    """
    bids.mkdir(parents=True, exist_ok=True)
    description = {
        'Name': name,
        'BIDSVersion': '1.10.0',
        'DatasetType': 'raw',
        'Authors': ['bids_synthsr'],
        'License': 'CC0',
    }
    write_json(bids / DESCRIPTION, description)
    write_text(bids / 'participants.tsv', participants)
    write_text(bids / 'README', 'Simulated by bids_synthsr; the truth lies in ../truth.\n')


def write_slices(path: Path, slices: Acquisition) -> None:
    """Write the sidecar of a scan.

    Parameters
    ----------
    path
        JSON file to be written.
    slices
        Spacing and thickness of its slices.
    """
    content = {
        'Modality': 'MR',
        'MRAcquisitionType': '2D',
        'SliceThickness': slices.slice_thickness,
        'SpacingBetweenSlices': slices.slice_spacing,
    }
    write_json(path, content)
