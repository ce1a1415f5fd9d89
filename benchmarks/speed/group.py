"""Time the group level on made-up exams: tables and page of a data set of any size.

Run it as ``python benchmarks/speed/group.py FOLDER [--exams 1000]``. The exams are files of the
participant level without voxels, with volumes around those of a real head; one in thirty failed.
The target for 1,000 exams is 20 s, 1 GB and a page of 1 MB.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from bids_synthsr.dataset.files import write_json, write_text
from bids_synthsr.derivatives.digests import describe_outputs
from bids_synthsr.derivatives.group_design import GroupRequest
from bids_synthsr.derivatives.places import Derivatives, sidecar_of
from bids_synthsr.derivatives.provenance import write_dataset_description
from bids_synthsr.derivatives.records import Record, write_record
from bids_synthsr.derivatives.tables import table_text
from bids_synthsr.morphometry.image_quality import MEASURES
from bids_synthsr.run.group import run_group
from bids_synthsr.values.structures import STRUCTURES

GB_PER_MAXRSS = 1024 / 1e9  # Linux counts in KiB
SITES, GROUPS = ('Boston', 'London', 'Kyoto'), ('control', 'patient')
SHRUNK = {'Left-Hippocampus': 0.85, 'Right-Hippocampus': 0.85, 'Left-Lateral-Ventricle': 1.3,
          'Right-Lateral-Ventricle': 1.3}  # fmt: skip
FAILS = 30  # one exam in so many


def make_group(folder: Path, count: int, seed: int = 1) -> tuple[Path, Path]:
    """Make an input data set and outputs of exams that look finished.

    Parameters
    ----------
    folder
        Where both are made.
    count
        Number of exams.
    seed
        Seed of their volumes.

    Returns
    -------
    bids_dir, output_dir
        The input data set, without images, and the folder of outputs.
    """
    bids_dir, derivatives = folder / 'bids', Derivatives(folder / 'out')
    random = np.random.default_rng(seed)
    write_json(bids_dir / 'dataset_description.json', {'Name': 'made up', 'BIDSVersion': '1.9.0'})
    derivatives.records.mkdir(parents=True, exist_ok=True)
    write_dataset_description(derivatives, bids_dir)
    people = []
    for number in range(count):
        label = f'sub-{number:05d}'
        group, site = GROUPS[number % 2], SITES[int(random.integers(len(SITES)))]
        age = float(random.normal(70, 8))
        sex = 'FM'[int(random.integers(2))]
        people.append(
            {
                'participant_id': label,
                'group': group,
                'site': site,
                'age': f'{age:.1f}',
                'sex': sex,
            }
        )
        (bids_dir / label / 'anat').mkdir(parents=True, exist_ok=True)
        if number % FAILS == FAILS - 1:
            record = Record(
                label, 'failed', reason='No scan of it shows a brain.', run_uuid='made-up'
            )
        else:
            record = _make_exam(derivatives, label, group, site, age, random)
        write_record(derivatives.exam_of(label).record, record)
    write_text(bids_dir / 'participants.tsv', table_text(people))
    return bids_dir, derivatives.root


def _make_exam(
    derivatives: Derivatives,
    label: str,
    group: str,
    site: str,
    age: float,
    random: np.random.Generator,
) -> Record:
    """Write tables and sidecars of an exam, and return its record."""
    place = derivatives.exam_of(label)
    place.folder.joinpath('anat').mkdir(parents=True, exist_ok=True)
    size = random.normal(1, 0.08)
    rows = []
    for structure in STRUCTURES.values():
        if not structure.is_brain:
            continue
        volume = 3000.0 + 40 * structure.index
        volume *= size * random.normal(1, 0.06) * (1 - 0.004 * (age - 70))
        volume *= SHRUNK.get(structure.name, 1) if group == GROUPS[1] else 1
        volume *= 1 + 0.05 * SITES.index(site)
        rows.append({'index': structure.index, 'name': structure.name, 'volume_mm3': volume})
    rows.append({'index': None, 'name': 'Intracranial', 'volume_mm3': 1.5e6 * size})
    t1w = place.synthesized('T1w', 'anyexam')
    write_text(t1w, '')
    score = float(random.beta(20, 4))
    details = {'quality': {'score': score, 'expected_dice': score, 'agreement': score},
               'sha256': 'f' * 64}  # fmt: skip
    quality = {name: float(random.normal(5, 0.5)) for name in MEASURES}
    sidecar = {'MethodDetails': details, 'ImageQuality': quality}
    scan = {
        'scan': 'FLAIR', 'file': f'{label}_FLAIR.nii.gz', 'suffix': 'FLAIR', 'role': 'reference',
        'reason': 'It is usable.', 'orientation': 'axial',
        'slice_spacing_mm': str(int(random.choice([3, 5]))),
    }  # fmt: skip
    outputs = [
        t1w,
        write_json(sidecar_of(t1w), sidecar),
        write_text(place.volumes('anyexam'), table_text(rows)),
        write_text(place.selection, table_text([scan])),
    ]
    return Record(
        label,
        'finished',
        outputs=describe_outputs(outputs, derivatives),
        main='any-exam',
        coverage={'head': 99.0, 'brain': 100.0},
        durations_s={'synthesize': 60.0},
        run_uuid='made-up',
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--exams', type=int, default=1000)
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    begun = time.time()
    bids_dir, output_dir = make_group(options.folder.resolve(), options.exams)
    print(f'{options.exams} exams made in {time.time() - begun:.0f} s')
    for wanted in (
        GroupRequest(),
        GroupRequest('group', covariates=('age', 'sex', 'icv'), scanner_column='site'),
    ):
        begun = time.time()
        code = run_group(bids_dir, output_dir, wanted)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * GB_PER_MAXRSS
        page = (output_dir / 'group.html').stat().st_size / 1e6
        print(f'code {code}: {time.time() - begun:.1f} s, {memory:.2f} GB, page {page:.2f} MB')


if __name__ == '__main__':
    main()
