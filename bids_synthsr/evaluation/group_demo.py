"""A demo data set of two groups: twelve people, of whom six have larger ventricles.

Everybody is the head of the demo in a shape of their own. In patients, the lateral ventricles have
grown and the medial temporal lobes have shrunk, both by known factors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from bids_synthsr.dataset.files import write_text
from bids_synthsr.dataset.images import save_volume
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.tables import read_table, table_text
from bids_synthsr.evaluation.phantoms import (
    Tissues,
    add_noise,
    check_demo_folder,
    describe_demo,
    draw_coil_field,
    draw_patient_motion,
    load_tissues,
    paint_tissues,
    stack_slices,
    write_slices,
)
from bids_synthsr.evaluation.shape_changes import growth_velocity
from bids_synthsr.imaging.displacements import exponential, pull, smooth, upsample
from bids_synthsr.imaging.forward_model import acquire
from bids_synthsr.imaging.geometry import apply_affine

NAME = 'Demo of bids_synthsr: two groups of simulated thick-slice exams of the MNI152 template'
PEOPLE = 12
GROUPS = ('control', 'patient')
FACTORS = {'ventricles': 1.5, 'temporal': 0.75}  # of volumes of patients
PROTOCOL = {'T1w': (2, 5.0, 5.0), 'FLAIR': (1, 5.0, 5.0)}  # axis, spacing and thickness, mm
TEMPORAL_MM, TEMPORAL_RADIUS_MM = (27.0, -20.0, -15.0), 10.0  # of the hippocampus and around it
DEEP_MM, VENTRICLE_VOXELS, BESIDE_MM = 18.0, 3000, (8.0, 25.0)  # of lateral ventricles
SHAPE_MM, SMOOTH_MM = 2.0, 14.0  # sd of how people differ, and over which distance
SPREAD = 0.08  # sd of the logarithm of the ventricles of people of one group
LABELS = {'ventricles': ('Left-Lateral-Ventricle', 'Right-Lateral-Ventricle')}
TRUTH = 'people.tsv'
LEAST = 2  # people of each group whose volumes can be compared


@dataclass(frozen=True)
class GroupComparison:
    """What was found of a difference between the groups of the demo.

    Parameters
    ----------
    structure
        Name of the structure.
    true_percent, found_percent
        By how much it is larger in patients, in the truth and in the volumes that were measured.
    correlation
        Correlation of measured and true volumes over all people.
    people
        Number of people whose volumes were found.
    """

    structure: str
    true_percent: float
    found_percent: float
    correlation: float
    people: int


def make_group_demo(folder: Path, seed: int = 1) -> None:
    """Write ``folder/bids``, a BIDS data set of twelve people, and ``folder/truth``.

    The truth is a table of the true volumes, and the T1w of everybody at 1 mm.

    Parameters
    ----------
    folder
        Folder to be written, which need not exist.
    seed
        Seed of shapes, motion, bias fields and noise.

    Raises
    ------
    ValueError
        If the folder holds, or belongs to, something other than such a demo.
    """
    check_demo_folder(folder, NAME)
    tissues = load_tissues()
    regions = dict(zip(FACTORS, find_regions(tissues), strict=True))
    people, truths = [], []
    for number in range(PEOPLE):
        generator = np.random.default_rng([seed, number])
        is_patient = number % 2 == 1
        label = f'sub-{number + 1:02d}'
        back = _draw_shape(tissues, regions, is_patient, generator)
        shares = np.stack([*(share for _, share in tissues.layers), *regions.values()])
        pulled = pull(torch.from_numpy(shares.astype(np.float32)), back).numpy()
        layers = zip((name for name, _ in tissues.layers), pulled, strict=False)
        person = replace(tissues, layers=tuple(layers))
        people.append({
            'participant_id': label,
            'group': GROUPS[int(is_patient)],
            'age': int(generator.integers(60, 85)),
            'sex': 'FM'[number // 2 % 2],
        })  # fmt: skip
        sizes = zip(regions, pulled[len(tissues.layers) :], strict=True)
        truths.append({'participant_id': label, **{k: f'{x.sum():.0f}' for k, x in sizes}})
        _scan(person, label, folder, generator)
    describe_demo(folder / 'bids', NAME, table_text(people))
    write_text(folder / 'truth' / TRUTH, table_text(truths))


def find_regions(tissues: Tissues) -> tuple[np.ndarray, np.ndarray]:
    """Find lateral ventricles and medial temporal lobes of the template, bool ``(I, J, K)``."""
    shares = dict(tissues.layers)
    fluid = tissues.brain & (shares['gm'] + shares['wm'] < 0.5)
    pieces, count = ndimage.label(
        fluid & (ndimage.distance_transform_edt(tissues.brain) > DEEP_MM)
    )
    vox2ras = tissues.grid.vox2ras
    ventricles = np.zeros(tissues.brain.shape, bool)
    for number in range(1, count + 1):
        at = np.argwhere(pieces == number)
        beside = abs(apply_affine(vox2ras, at.mean(0, keepdims=True))[0, 0])
        if len(at) >= VENTRICLE_VOXELS and BESIDE_MM[0] < beside < BESIDE_MM[1]:
            ventricles |= pieces == number
    points = apply_affine(vox2ras, np.indices(tissues.brain.shape).reshape(3, -1).T)
    mirrored = np.abs(points) * [1, 0, 0] + points * [0, 1, 1]
    near = np.linalg.norm(mirrored - TEMPORAL_MM, axis=1) < TEMPORAL_RADIUS_MM
    return ventricles, near.reshape(tissues.brain.shape) & (shares['gm'] + shares['wm'] > 0.5)


def _draw_shape(
    tissues: Tissues,
    regions: dict[str, np.ndarray],
    is_patient: bool,
    generator: np.random.Generator,
) -> torch.Tensor:
    """Draw where to look for what a person shows, voxels ``(3, I, J, K)``."""
    shares = {name: float(np.log(factor)) * is_patient for name, factor in FACTORS.items()}
    shares['ventricles'] += float(generator.normal(0, SPREAD))
    wanted = sum(share * regions[name].astype(np.float32) for name, share in shares.items())
    fine = tissues.brain.shape
    nodes = [(size + 1) // 2 for size in fine]  # at half of the resolution, from border to border
    sizes = torch.tensor([(a - 1) / (b - 1) for a, b in zip(fine, nodes, strict=True)])
    coarse = upsample(torch.from_numpy(np.asarray(wanted))[None], nodes)[0]
    grown = torch.from_numpy(growth_velocity(coarse.numpy())).float()
    noise = torch.from_numpy(generator.normal(size=(3, *nodes))).float()
    shape = smooth(noise, SMOOTH_MM / 2)
    shape *= SHAPE_MM / 2 / shape.std()
    return upsample(exponential(-(grown + shape)), fine) * sizes[:, None, None, None]


def _scan(person: Tissues, label: str, folder: Path, generator: np.random.Generator) -> None:
    """Write the scans of a person, and their T1w of 1 mm."""
    grid = person.grid
    for contrast, (axis, spacing, thickness) in PROTOCOL.items():
        lattice, slices = stack_slices(grid, axis, spacing, thickness)
        head = paint_tissues(person, contrast) * draw_coil_field(grid.shape, generator)
        moved = draw_patient_motion(grid.center, generator)
        scan = acquire(head, grid, lattice, slices, moved)
        path = folder / 'bids' / label / 'anat' / f'{label}_{contrast}.nii.gz'
        save_volume(path, add_noise(scan, generator), lattice)
        write_slices(path.with_name(f'{label}_{contrast}.json'), slices)
        if contrast == 'T1w':
            truth = folder / 'truth' / f'{label}_T1w.nii.gz'
            save_volume(truth, head.astype(np.float32), grid)


def is_group_demo(folder: Path) -> bool:
    """Whether a folder is a demo of two groups."""
    return (folder / 'truth' / TRUTH).is_file()


def find_group_fault(folder: Path, out: Path) -> str:
    """Say why what was found of a demo cannot be compared; nothing if it can.

    Parameters
    ----------
    folder
        The demo data set, with ``bids`` and ``truth``.
    out
        Output folder of the program.
    """
    if Derivatives(out).group_volumes.is_file():
        return ''
    return (
        f'{out} holds no table of the group: run "bids_synthsr {folder / "bids"} {out}" with '
        '"participant", then with "group"'
    )


def compare_group_demo(folder: Path, out: Path) -> Iterator[GroupComparison]:
    """Compare the volumes of the group with the truth.

    Parameters
    ----------
    folder
        The demo data set, with ``bids`` and ``truth``.
    out
        Output folder of the program.

    Raises
    ------
    ValueError
        If there are too few volumes to compare.
    """
    groups = {row['participant_id']: row['group'] for row in read_table(_people(folder))}
    rows = read_table(Derivatives(out).group_volumes)
    for structure, names in LABELS.items():
        found = {
            row['participant_id']: sum(float(row[name]) for name in names)
            for row in rows
            if all(row.get(name) for name in names)
        }
        if not all(sum(groups.get(x) == group for x in found) >= LEAST for group in GROUPS):
            raise ValueError(
                f'{Derivatives(out).group_volumes} has {" and ".join(names)} of too few people of '
                f'the demo: {LEAST} of each group are the fewest'
            )
        true = {
            row['participant_id']: float(row[structure])
            for row in read_table(folder / 'truth' / TRUTH)
            if row['participant_id'] in found
        }
        yield GroupComparison(
            structure,
            _percent(true, groups),
            _percent({label: found[label] for label in true}, groups),
            float(np.corrcoef([*true.values()], [found[label] for label in true])[0, 1]),
            len(true),
        )


def _people(folder: Path) -> Path:
    return folder / 'bids' / 'participants.tsv'


def _percent(volumes: dict[str, float], groups: dict[str, str]) -> float:
    """By how much the second group is larger than the first, percent."""
    first, second = (
        np.mean([size for label, size in volumes.items() if groups[label] == group])
        for group in GROUPS
    )
    return float(100 * (second / first - 1))
