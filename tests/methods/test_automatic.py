"""The default: one T1w of every exam under one name, and the same files beside it."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bids import BIDSLayout
from bids.layout import Query
from exam_weights import weights_of
from knowing import knowing, observe, phantom
from label_phantoms import grid_of
from phantoms import centred, head, write_description
from slice_scans import trained

from bids_synthsr.cli.bids_app import main
from bids_synthsr.dataset.images import save_volume
from bids_synthsr.dataset.validation import run_validator
from bids_synthsr.imaging.geometry import output_grid, rigid
from bids_synthsr.methods.automatic import (
    crosses,
    describe_main,
    find_obstacle,
    method_beside,
    synthesize,
)
from bids_synthsr.values.exam import Acquisition

EVERY_EXAM = [
    ('T1w', 'preproc'), ('uncertainty', 'preproc'), ('dseg', 'anyexam'), ('mask', 'brain'),
    ('dseg', ''), ('probseg', ''), ('probseg', ''), ('probseg', ''), ('volumes', 'anyexam'),
]  # fmt: skip


TURNS = ((0, 0.0), (0, np.pi / 2), (1, np.pi / 2))  # axis and angle of planes that cross


def exam_of(*contrasts, thick=False):
    """The phantom, in every contrast with voxels of 1 mm or slices of 4 mm."""
    scans = []
    for contrast in contrasts:
        scan = replace(observe(phantom(60)), contrast=contrast)
        if thick:
            vox2ras = scan.grid.vox2ras @ np.diag([1, 1, 4, 1.0])
            vox2ras[:3, 3] += scan.grid.vox2ras[:3, 2] * 1.5
            grid = replace(scan.grid, shape=(60, 60, 15), vox2ras=vox2ras)
            voxels = scan.voxels.reshape(60, 60, 15, 4).mean(3)
            acquisition = Acquisition(2, 4.0, 4.0)
            scan = replace(scan, voxels=voxels, grid=grid, acquisition=acquisition)
        scans.append(scan)
    return scans


def made_of(scans, **options):
    grid = output_grid(scans[0].grid)
    return synthesize(scans, grid, trained=knowing(), beside=trained(False), **options)


def names_of(made):
    return [(product.suffix, product.desc) for product in made.products]


def test_a_fine_t1w_is_the_main_volume_as_it_was_acquired():
    made = made_of(exam_of('T1w', 'FLAIR'))
    assert names_of(made) == EVERY_EXAM
    assert (
        made.facts['main'] == 'acquired' and 'no network touched it' in made.facts['main_reason']
    )
    assert [x.origin.is_acquired for x in made.images[:2]] == [True, True]
    assert all(x.origin is None for x in made.images[2:])
    assert made.used is None  # the segmentation is of all scans


@pytest.mark.parametrize(
    ('contrasts', 'thick', 'reason', 'beside'),
    [
        (['T1w', 'T2w'], True, '4 mm, more than 1.5 mm', [('T1w', 'sr')]),
        (['FLAIR'], False, 'No T1w', []),
        (['T2w', 'FLAIR'], True, 'No T1w', []),
        (['ce-gd_T1w'], False, 'no plain T1w', []),
        (['ce-gd_T1w'], True, 'no plain T1w', [('T1w', 'sr')]),
    ],
)
def test_of_every_other_exam_a_network_makes_it(contrasts, thick, reason, beside):
    made = made_of(exam_of(*contrasts, thick=thick))
    assert names_of(made) == [*EVERY_EXAM, *beside]
    assert made.facts['main'] == 'any-exam' and reason in made.facts['main_reason']
    assert all(x.origin.method == 'sr-t1' and x.origin.used == (0,) for x in made.images[8:])


def test_a_fine_t1w_of_a_part_of_the_brain_is_not_the_main_volume():
    t1w, flair = exam_of('T1w', 'FLAIR')
    part = replace(t1w, voxels=t1w.voxels[..., :30], grid=grid_of((60, 60, 30)))
    grid = output_grid(flair.grid)
    made = synthesize([part, flair], grid, trained=knowing(), beside=trained())
    assert made.facts['main'] == 'any-exam' and '% of the brain' in made.facts['main_reason']
    assert names_of(made) == EVERY_EXAM


def test_a_fine_t1w_is_taken_in_the_frame_of_another_reference():
    flair, t1w = exam_of('FLAIR', 'T1w')
    turned = rigid(np.array([0.0, 0.0, 0.1]), np.array([1.0, 0.0, 0.0]), np.full(3, 29.5))
    made = made_of([flair, replace(t1w, scan2ref=turned)])
    assert made.facts['main'] == 'acquired' and made.images[0].origin.used == (1,)
    back = made_of([flair, t1w]).images[0].voxels
    assert np.abs(made.images[0].voxels - back).max() > 20  # moved with its transform


def test_other_contrasts_are_sharpened_on_request():
    made = made_of(exam_of('T1w', 'FLAIR'), sharpen_others=True)
    assert names_of(made) == [*EVERY_EXAM, ('FLAIR', 'tv')]
    flair = made.images[-1]
    assert flair.origin.method == 'tv' and flair.origin.used == (0, 1)
    assert made.facts['beside'] == ['tv']


def test_planes_that_cross_are_joined():
    first = exam_of('T1w', thick=True)[0]
    middle = np.full(3, 29.5)
    turns = [rigid(np.eye(3)[axis] * angle, np.zeros(3), middle) for axis, angle in TURNS]
    planes = [replace(first, scan2ref=turn @ first.scan2ref) for turn in turns]
    made = made_of([*planes, *exam_of('FLAIR', thick=True)])
    assert names_of(made) == [*EVERY_EXAM, ('T1w', 'tv')]
    assert made.images[-1].origin.used == (0, 1, 2)


@pytest.mark.parametrize(
    ('contrasts', 'axes', 'expected'),
    [
        (['T1w', 'T1w', 'T1w'], [2, 1, 0], True),
        (['T1w', 'T1w', 'T1w'], [2, 2, 0], True),
        (['T1w', 'T1w'], [2, 2], False),
        (['T1w'], [2], False),
        (['T1w', 'T2w', 'T2w'], [2, 1, 0], False),
        (['T1w', 'ce-gd_T1w', 'ce-gd_T1w'], [2, 1, 0], False),
        (['T1w', 'FLAIR', 'T1w', 'T1w'], [0, 1, 1, 2], True),
    ],
)
def test_which_planes_cross(contrasts, axes, expected):
    turned = rigid((0.1, 0.0, 0.2), np.zeros(3))[:3, :3]
    normals = [turned @ np.eye(3)[axis] for axis in axes]
    assert crosses(contrasts, normals) == expected


@pytest.mark.parametrize(
    ('contrast', 'slices_mm', 'method'),
    [
        ('T1w', 1.2, ''), ('T1w', 1.8, 'tv'), ('T1w', 5.0, 'sr-t1'), ('T1w', 9.5, 'tv'),
        ('ce-gd_T1w', 5.0, 'sr-t1'), ('FLAIR', 5.0, ''),
    ],
)  # fmt: skip
def test_what_sharpens_a_thick_t1w(contrast, slices_mm, method):
    slices = Acquisition(2, slices_mm, slices_mm)
    assert method_beside([contrast], [slices], [np.eye(3)[2]], slices_mm) == method


def test_voxels_of_another_size_are_refused():
    assert '1 mm only' in find_obstacle(['T1w'], [Acquisition(2, 1.0, 1.0)], 2.0)


@pytest.fixture(scope='module')
def output(tmp_path_factory):
    """Two exams, processed by the whole app: a thick T1w with a FLAIR, and a fine T1w."""
    root = tmp_path_factory.mktemp('auto')
    bids, out = root / 'bids', root / 'out'
    write_description(bids)
    grids = {'sub-01': (26, 32, 24, 6.0, 7.0), 'sub-02': (104, 128, 104, 1.5, 1.5)}
    for subject, (*shape, side, slices) in grids.items():
        grid = centred(tuple(shape), np.diag([side, side, slices, 1.0]))
        for contrast in ('T1w', 'FLAIR'):
            path = bids / subject / f'anat/{subject}_{contrast}.nii.gz'
            save_volume(path, head(grid, contrast), grid)
    command = [
        bids, out, 'participant', '--weights', weights_of(root / 'w.safetensors'), '--work-dir',
        root / 'work', '--nprocs', '1', '--skip-bids-validation', '--min-quality', '0',
    ]  # fmt: skip
    assert main([*map(str, command)]) == 0
    return out


def sidecar(output, name):
    return json.loads((output / name).with_suffix('.json').read_text(encoding='utf-8'))


def test_every_exam_has_the_same_files(output):
    names = [
        {path.name.replace(f'sub-{label}_', '') for path in output.glob(f'sub-{label}/anat/*')}
        for label in ('01', '02')
    ]
    assert names[0] - names[1] == {f'space-T1w_desc-sr_T1w.{end}' for end in ('nii.gz', 'json')}
    assert not names[1] - names[0]
    assert {'desc-preproc_T1w.nii.gz', 'dseg.nii.gz', 'label-GM_probseg.nii.gz'} <= names[0]


def test_sidecar_report_and_index_tell_how_the_t1w_was_made(output):
    thick, fine = (
        sidecar(output, f'sub-{label}/anat/sub-{label}_desc-preproc_T1w') for label in ('01', '02')
    )
    assert thick['Synthetic'] and thick['MethodDetails']['main'] == 'any-exam'
    assert len(thick['Sources']) == 2
    assert not fine['Synthetic'] and fine['MethodDetails']['main'] == 'acquired'
    assert fine['Sources'] == ['bids:raw:sub-02/anat/sub-02_T1w.nii.gz']
    assert 'not acquired' not in fine['Description']
    beside = sidecar(output, 'sub-01/anat/sub-01_space-T1w_desc-sr_T1w')
    assert beside['Method'] == 'sr-t1' and len(beside['Sources']) == 1
    pages = [(output / f'sub-{label}.html').read_text(encoding='utf-8') for label in ('01', '02')]
    assert 'predicted from all scans' in pages[0] and 'sharpened across the slices' in pages[0]
    assert 'the T1w as it was acquired' in pages[1] and 'Tustison' in pages[1]
    index = (output / 'index.html').read_text(encoding='utf-8')
    assert '>any-exam<' in index and '>acquired<' in index
    with (output / 'descriptions.tsv').open(encoding='utf-8') as table:
        described = {row['desc_id'] for row in csv.DictReader(table, delimiter='\t')}
    used = {part for path in output.glob('sub-*/anat/*') for part in path.name.split('_')}
    reliable = {'desc-T1w', 'desc-FLAIR'}  # the contrasts of reliability maps
    assert {part for part in used if part.startswith('desc-')} - reliable <= described


def test_all_scans_were_used(output):
    text = (output / 'sub-02/anat/sub-02_desc-scans_selection.tsv').read_text(encoding='utf-8')
    roles = {row['scan']: row['role'] for row in csv.DictReader(text.splitlines(), delimiter='\t')}
    assert roles == {'T1w': 'reference', 'FLAIR': 'used'}


def test_how_much_of_head_and_brain_is_shown_is_told(output):
    text = (output / 'sub-01/anat/sub-01_desc-scans_selection.tsv').read_text(encoding='utf-8')
    for row in csv.DictReader(text.splitlines(), delimiter='\t'):
        for part in ('head', 'brain'):
            assert 0 < float(row[f'{part}_percent']) <= 100
            assert len(row[f'{part}_mm'].split(' x ')) == 3
    shown = sidecar(output, 'sub-01/anat/sub-01_desc-scans_selection')['OutputCoverage']
    assert {*shown} == {'head', 'brain'} and shown['head']['percent'] > 97
    index = (output / 'index.html').read_text(encoding='utf-8')
    assert 'data-label="Brain shown"' in index and '100 %' in index
    assert 'Brain shown' in (output / 'sub-01.html').read_text(encoding='utf-8')


# the queries of smriprep.utils.bids.collect_derivatives (smriprep/data/io_spec.json, 0.19.5)
NULL = {'datatype': 'anat', 'space': None, 'extension': ['.nii.gz', '.nii']}
QUERIES = {
    'preproc': ({**NULL, 'desc': 'preproc', 'suffix': 'T1w'}, ['desc-preproc_T1w']),
    'mask': ({**NULL, 'desc': 'brain', 'suffix': 'mask'}, ['desc-brain_mask']),
    'dseg': ({**NULL, 'desc': None, 'suffix': 'dseg'}, ['dseg']),
    'tpms': (
        {**NULL, 'label': ['GM', 'WM', 'CSF'], 'suffix': 'probseg'},
        ['label-CSF_probseg', 'label-GM_probseg', 'label-WM_probseg'],
    ),
}


@pytest.fixture(scope='module')
def layout(output):
    return BIDSLayout(output, validate=False, config=['bids', 'derivatives'])


@pytest.mark.parametrize('subject', ['01', '02'])
@pytest.mark.parametrize('query', QUERIES)
def test_fmriprep_finds_what_it_looks_for(layout, subject, query):
    asked, names = QUERIES[query]
    found = layout.get(subject=subject, return_type='filename', **asked)
    assert sorted(found) == [
        str(Path(layout.root, f'sub-{subject}/anat/sub-{subject}_{name}.nii.gz')) for name in names
    ]


def test_one_query_finds_one_t1w_of_every_exam(layout):
    found = layout.get(suffix='T1w', space=Query.NONE, extension='.nii.gz')
    assert [image.filename for image in found] == [
        f'sub-{subject}_desc-preproc_T1w.nii.gz' for subject in ('01', '02')
    ]


def test_no_map_is_taken_for_a_scan(layout):
    """By what niworkflows.utils.bids.collect_data asks for."""
    for suffix in ('T1w', 'FLAIR'):
        found = layout.get(datatype='anat', suffix=suffix, extension='.nii.gz')
        descs = {image.entities['desc'] for image in found}
        assert descs and descs <= {'preproc', 'resampled', 'sr'}


def test_output_is_valid_bids(output):
    assert run_validator(output) == []


@pytest.mark.parametrize(
    ('contrasts', 'sizes_mm', 'told'),
    [
        (['FLAIR', 'T1w'], [5.0, 1.0], 'As it was acquired, with 1 mm at most'),
        (['T1w', 'FLAIR'], [3.0, 1.0], 'has 3 mm, more than 1.5 mm'),
        (['ce-gd_T1w'], [1.0], 'Predicted from all scans by a network. The ce-gd_T1w is no plain'),
        (['T2w'], [1.0], 'Predicted from all scans by a network. No T1w is used.'),
    ],
)
def test_headers_tell_which_t1w_is_the_main_one(contrasts, sizes_mm, told):
    assert told in describe_main(contrasts, sizes_mm)
