"""Two groups of painted brains of which one has shrunk hippocampi and grown ventricles.

Run it as::

    python lab/atrophy.py make LABEL_MAPS DIR [--ventricles 1.5] [--hippocampus .7]
    bids_synthsr DIR/bids DIR/out group --group-column group --covariates twin --tbm -w DIR/w
    python lab/atrophy.py compare DIR

Every label map gives two people: as it is, and pushed by a gradient field whose divergence lies in
these structures alone. So the groups differ by nothing else. T1w of 1 mm are painted from all of
them, interpolated alike, with texture and noise of their own, and written as if the participant
level had made them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from growth import NOISE

from bids_synthsr.dataset.files import write_json, write_text
from bids_synthsr.dataset.images import load_volume, save_volume
from bids_synthsr.derivatives.digests import describe_outputs
from bids_synthsr.derivatives.places import Derivatives, sidecar_of
from bids_synthsr.derivatives.provenance import write_dataset_description
from bids_synthsr.derivatives.records import Record, write_record
from bids_synthsr.derivatives.tables import table_text
from bids_synthsr.evaluation.painting import paint_contrast
from bids_synthsr.evaluation.shape_changes import (
    HALF_VOXEL,
    BrainInAtlas,
    growth_velocity,
    growths_by_structure,
)
from bids_synthsr.evaluation.truth import make_truth
from bids_synthsr.imaging.displacements import exponential, jacobian_determinants, pull
from bids_synthsr.synthesis.labels import freesurfer_table
from bids_synthsr.values.structures import STRUCTURES

PARTS = {'ventricles': (4, 43), 'hippocampus': (17, 53)}
GROUPS = ('control', 'patient')


def make(maps: Path, folder: Path, factors: dict[str, float]) -> None:
    """Write input and outputs of all people, and what is true."""
    table = freesurfer_table()
    bids, derivatives = folder / 'bids', Derivatives(folder / 'out')
    write_json(bids / 'dataset_description.json', {'Name': 'atrophy', 'BIDSVersion': '1.9.0'})
    derivatives.records.mkdir(parents=True)
    write_dataset_description(derivatives, bids)
    people, truths = [], {}
    for number, path in enumerate(x for x in sorted(maps.glob('*.nii*')) for _ in GROUPS):
        label = f'sub-{number:02d}'
        truth = make_truth(*load_volume(path), path.name, table)
        is_patient = number % 2 == 1
        wanted = sum(
            np.log(factor) * np.isin(truth.labels, PARTS[name]).astype(np.float32)
            for name, factor in factors.items()
        )
        velocity = growth_velocity(wanted) * (1.0 if is_patient else 0.0)
        field = torch.from_numpy(velocity).float()
        generator = torch.Generator().manual_seed(number)
        painted = torch.from_numpy(paint_contrast(truth.labels, 'T1w', table, generator))
        back = exponential(-field) + HALF_VOXEL
        t1w = pull(painted[None], back)[0].numpy()
        t1w += NOISE * np.percentile(t1w, 99) * torch.randn(t1w.shape, generator=generator).numpy()
        brain = np.isin(truth.labels, [x.index for x in STRUCTURES.values() if x.is_brain])
        mask = pull(torch.from_numpy(brain.astype(np.float32))[None], back)[0].numpy() > 0.5
        place = derivatives.exam_of(label)
        one, other = place.synthesized('T1w', 'preproc'), place.synthesized('mask', 'brain')
        rows = [{'index': None, 'name': 'Intracranial', 'volume_mm3': float(mask.sum())}]
        outputs = [
            save_volume(one, t1w.clip(0), truth.grid),
            save_volume(other, mask.astype(np.uint8), truth.grid),
            write_json(sidecar_of(one), {'Synthetic': False}),
            write_text(place.volumes('anyexam'), table_text(rows)),
            write_text(place.selection, table_text([{
                'file': '', 'suffix': 'T1w', 'role': 'reference', 'orientation': 'axial',
                'slice_spacing_mm': '1',
            }])),
        ]  # fmt: skip
        record = Record(
            label, 'finished', outputs=describe_outputs(outputs, derivatives), main='acquired',
            coverage={'brain': 100.0}, run_uuid='made-up',
        )  # fmt: skip
        write_record(place.record, record)
        twin = path.name.split('.')[0]  # what the two people have in common
        people.append({'participant_id': label, 'group': GROUPS[int(is_patient)], 'twin': twin})
        growth = torch.log(jacobian_determinants(exponential(field)).clamp(min=1e-3)).numpy()
        truths[label] = {
            name: float(growth[np.isin(truth.labels, labels)].mean())
            for name, labels in PARTS.items()
        }
        save_volume(folder / f'{label}_labels.nii.gz', _moved(truth.labels, back), truth.grid)
        print(label, truths[label], flush=True)
    write_text(bids / 'participants.tsv', table_text(people))
    (folder / 'truth.json').write_text(json.dumps(truths, indent=2))


def _moved(labels: np.ndarray, back: torch.Tensor) -> np.ndarray:
    """Carry the structures of `PARTS` along, 1 and 2 and so on."""
    moved = np.zeros(labels.shape, np.int16)
    for number, values in enumerate(PARTS.values(), 1):
        inside = torch.from_numpy(np.isin(labels, values).astype(np.float32))
        moved[pull(inside[None], back)[0].numpy() > 0.5] = number
    return moved


def compare(folder: Path) -> None:
    """Print what was found in the structures beside what is true."""
    truths = json.loads((folder / 'truth.json').read_text())
    out = folder / 'out/group_tbm'
    work = next((folder / 'w').glob('*/group_wf/tbm'))
    grid = load_volume(out / 'space-atlas_desc-mean_T1w.nii.gz')[1]
    brains = (
        BrainInAtlas(
            np.load(work / f'deform_all/mapflow/_deform_all{number}/velocity.npy'),
            np.loadtxt(work / f'center/affine-{number}.txt'),
            *load_volume(folder / f'{label}_labels.nii.gz'),
        )
        for number, label in enumerate(truths)
    )
    places, growths = growths_by_structure(brains, grid, len(PARTS))
    likeliest = places.ravel()
    is_patient = np.arange(len(truths)) % 2 == 1
    difference = growths[is_patient].mean(0) - growths[~is_patient].mean(0)
    p = load_volume(out / 'space-atlas_stat-pcluster_statmap.nii.gz')[0].ravel()
    t = load_volume(out / 'space-atlas_stat-t_statmap.nii.gz')[0].ravel()
    for number, name in enumerate(PARTS, 1):
        inside = likeliest == number
        true = np.mean([one[name] for one in truths.values() if one[name]])
        found = difference[number - 1]
        sure = 100 * (p[inside] < 0.05).mean()
        share = 100 * found / true
        print(f'{name}: ln growth {true:+.3f} true, {found:+.3f} found ({share:.0f} %), '
              f'{sure:.0f} % of it below .05, mean t {t[inside].mean():+.1f}')  # fmt: skip
    outside = (p < 0.05) & (likeliest == 0)
    print(f'{(p < 0.05).sum()} voxels below .05, {outside.sum()} of them outside')


def main() -> None:
    """Do as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('task', choices=('make', 'compare'))
    parser.add_argument('folders', type=Path, nargs='+')
    parser.add_argument('--ventricles', type=float, default=1.5)
    parser.add_argument('--hippocampus', type=float, default=0.7)
    options = parser.parse_args()
    if options.task == 'make':
        factors = {'ventricles': options.ventricles, 'hippocampus': options.hippocampus}
        maps, folder = options.folders
        make(maps, folder, factors)
    else:
        compare(options.folders[0])


if __name__ == '__main__':
    main()
