"""Tensor-based morphometry: what is compared, refused and shown, without real registrations."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from bids_synthsr.cli.bids_app import main
from bids_synthsr.dataset.images import load_volume, save_volume
from bids_synthsr.dataset.templates import TemplateFiles
from bids_synthsr.derivatives.group import GroupRow
from bids_synthsr.derivatives.morphometry import (
    LABEL,
    TbmExam,
    choose_for_atlas,
    exams_of,
    read_tbm,
)
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.records import Record
from bids_synthsr.derivatives.shape_maps import (
    keep_transform,
    kept_transform,
    remove_recorded_maps,
)
from bids_synthsr.derivatives.tables import read_table
from bids_synthsr.imaging.displacements import smooth
from bids_synthsr.interfaces.morphometry import AverageShapes, CenterAffines, CompareShapes
from bids_synthsr.registration.standard import StandardTransform
from bids_synthsr.reports.shape_pictures import report_shapes
from bids_synthsr.settings import TbmSettings
from bids_synthsr.values.grid import Grid

SHAPE, SPACING, COUNT = (28, 32, 28), 2.0, 24
IS_SECOND = [bool(number % 2) for number in range(COUNT)]
GRID = Grid(SHAPE, np.diag([SPACING, SPACING, SPACING, 1.0]))
OFF = np.eye(4)  # the template lies 4 mm off
OFF[:3, 3] = 4
PLACE = StandardTransform(OFF, *np.zeros((2, 3, *SHAPE), np.float32), GRID, 0.9, 0.8)
SETTINGS = TbmSettings(permutations=100, fwhm_mm=4.0)


@pytest.fixture
def compared(tmp_path, monkeypatch):
    """Compare brains of which those of the second group have a core that has grown."""
    monkeypatch.chdir(tmp_path)
    x = torch.from_numpy(np.indices(SHAPE) - np.array(SHAPE).reshape(3, 1, 1, 1) / 2).float()
    brain = (x.square().sum(0) < 12**2).numpy().astype(np.float32)
    atlas = save_volume(tmp_path / 'atlas.nii', brain, GRID)
    random = torch.Generator().manual_seed(0)
    growing = 0.12 * x * torch.exp(-x.square().sum(0) / 40) * SPACING
    velocities = []
    for number, second in enumerate(IS_SECOND):
        noise = smooth(torch.randn(3, *SHAPE, generator=random), 3) * 0.6
        path = tmp_path / f'velocity-{number}.npy'
        np.save(path, (noise + growing * second).numpy())
        velocities.append(str(path))
    derivatives = Derivatives(tmp_path / 'out')
    files = TemplateFiles('Made', 2, str(atlas), '', str(atlas))
    step = CompareShapes(
        atlas=str(atlas),
        images=[str(atlas)] * COUNT,
        velocities=velocities,
        design={'levels': ['old', 'new'], 'is_second': IS_SECOND, 'covariates': [[]] * COUNT},
        settings=asdict(SETTINGS),
        fingerprint={
            'version': '0', 'scans': {},
            'settings': {
                **asdict(SETTINGS), 'is_second': IS_SECOND, 'levels': ['old', 'new'],
                'covariates': {}, 'template': 'x', 'resolution': 2,
            },
        },
        transform=str(keep_transform(PLACE, tmp_path / 'place.npz')),
        template=asdict(files),
        output_dir=str(derivatives.root),
        run_uuid='1',
    )  # fmt: skip
    step.run()
    return derivatives


def test_what_has_grown_is_found_there_and_shown(compared):
    folder = compared.group_tbm
    g, p = (
        load_volume(folder / f'space-atlas_stat-{name}_statmap.nii.gz')[0]
        for name in ('g', 'pcluster')
    )
    middle = tuple(size // 2 for size in SHAPE)
    assert p[middle] < 0.05 and g[middle] > 1
    assert (p < 0.05).mean() < 0.3 and p[0, 0, 0] == 1
    first = read_table(compared.group_clusters)[0]
    place = [float(first[f'atlas_{axis}_mm']) for axis in 'xyz']
    there = [float(first[f'{axis}_mm']) for axis in 'xyz']
    np.testing.assert_allclose(np.subtract(place, there), 4)
    assert np.linalg.norm(np.array(place) - SPACING * np.array(middle)) < 10
    described = json.loads((folder / 'space-atlas_stat-g_statmap.json').read_text())
    assert (described['FirstGroup'], described['Permutations']) == ('old', 100)
    record = read_tbm(compared)
    assert record.exam == LABEL and len(record.outputs) == 34
    shown = report_shapes(compared, is_fresh=True)
    assert shown.counts == (12, 12) and len(shown.pictures) == 3 and shown.clusters
    assert shown.least_g == pytest.approx(1.14, abs=0.01)


def test_maps_are_carried_to_the_template_with_what_lies_beyond(compared):
    folder = compared.group_tbm
    for name, beyond in (('g', 0), ('pcluster', 1)):
        ours, there = (
            load_volume(folder / f'{space}_stat-{name}_statmap.nii.gz')[0]
            for space in ('space-atlas', 'space-Made_res-2')
        )
        # the template is the atlas 4 mm, which is 2 voxels, off; its grid has voxels of 4 mm
        np.testing.assert_allclose(there[:12, :12, :12], ours[2:26:2, 2:26:2, 2:26:2], atol=1e-5)
        assert there[0, 0, 0] == beyond
    described = json.loads((folder / 'clusters.json').read_text())
    assert described['StandardSpace'] == 'Made'
    assert described['x_mm']['Units'] == 'mm' and described['size_mm3']['Units'] == 'mm^3'


def test_a_kept_transform_is_the_same(tmp_path):
    there = np.random.default_rng(0).normal(size=(2, 3, 4, 5, 6)).astype(np.float32)
    one = StandardTransform(OFF, *there, Grid((4, 5, 6), GRID.vox2ras), 0.9, 0.8)
    other = kept_transform(keep_transform(one, tmp_path / 'x.npz'))
    points = np.random.default_rng(1).uniform(-9, 9, (20, 3))
    np.testing.assert_array_equal(one.to_t1w(points), other.to_t1w(points))
    assert (other.grid, other.overlap, other.correlation) == (one.grid, 0.9, 0.8)


def test_maps_that_are_gone_or_not_understood_are_not_shown(compared):
    record = json.loads(compared.tbm_record.read_text())
    compared.tbm_record.write_text(
        json.dumps({**record, 'fingerprint': {'settings': {'levels': ['old', 'new']}}})
    )
    assert report_shapes(compared, is_fresh=False) is None
    compared.tbm_record.write_text(json.dumps(record))
    assert not report_shapes(compared, is_fresh=False).is_fresh
    (compared.group_tbm / 'space-atlas_stat-g_statmap.nii.gz').unlink()
    assert report_shapes(compared, is_fresh=False) is None


def test_only_recorded_maps_make_room_for_new_ones(compared):
    folder = compared.group_tbm
    (mine := folder / 'space-Mine_desc-brain_mask.nii.gz').write_bytes(b'')
    outside = save_volume(compared.root / 'T1w.nii', np.ones(SHAPE), GRID)
    record = json.loads(compared.tbm_record.read_text())
    one = next(iter(record['outputs'].values()))
    record['outputs'] |= {'T1w.nii': one, f'{folder.relative_to(compared.root)}/../T1w.nii': one}
    compared.tbm_record.write_text(json.dumps(record))
    assert [*folder.glob('space-Made*')]
    remove_recorded_maps(compared)
    assert not [*folder.glob('space-Made*'), *folder.glob('*statmap*'), *folder.glob('from-*')]
    assert mine.exists() and outside.exists()


def test_the_atlas_is_made_of_the_chosen_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = [
        str(save_volume(tmp_path / f'{number}.nii', np.full(SHAPE, number, np.float32), GRID))
        for number in range(4)
    ]
    found = AverageShapes(images=images, chosen=[1, 3]).run().outputs
    np.testing.assert_array_equal(load_volume(found.atlas)[0], 2)
    assert found.images == [images[1], images[3]]
    for number in range(2):
        np.savetxt(
            tmp_path / f'{number}.txt', np.diag([1.1, 1.1, 1.1, 1]) if number else np.eye(4)
        )
    paths = [str(tmp_path / f'{number}.txt') for number in range(2)]
    centered = CenterAffines(affines=paths).run().outputs.affines
    sizes = [np.log(np.linalg.det(np.loadtxt(path))) for path in centered]
    np.testing.assert_allclose(sum(sizes), 0, atol=1e-9)


def test_the_atlas_takes_as_many_of_both_groups():
    is_second = [True] * 3 + [False] * 30
    chosen = choose_for_atlas(is_second, 6, seed=1)
    assert chosen == sorted(chosen) and sum(is_second[i] for i in chosen) == 3
    assert len(choose_for_atlas(is_second, 60, seed=1)) == 33
    assert choose_for_atlas(is_second, 6, seed=1) == chosen
    assert len(choose_for_atlas(is_second, 10, seed=1)) == 10


def test_exams_that_cannot_be_compared_say_why(tmp_path):
    rows = [
        GroupRow('sub-1', 'finished'),
        GroupRow('sub-2', 'finished', facts={'brain_percent': 60.0}),
    ]
    outputs = {f'sub-2/anat/sub-2_desc-preproc_{x}.nii.gz': None for x in ('T1w', 'mask')}
    records = {
        'sub-1': Record('sub-1', 'finished'),
        'sub-2': Record('sub-2', 'finished', outputs=outputs),
    }
    exams, left_out = exams_of(rows, records, Derivatives(tmp_path))
    assert not exams
    assert left_out['sub-1'].startswith('it has no T1w')
    assert left_out['sub-2'] == 'the T1w holds 60 % of the brain only'


def test_an_output_that_was_changed_is_refused(tmp_path):
    path = save_volume(tmp_path / 't1w.nii.gz', np.ones(SHAPE, np.float32), GRID)
    with pytest.raises(ValueError, match='it was changed'):
        TbmExam('sub-1', str(path), str(path), ('0' * 64, '0' * 64)).load()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('--tbm',), 'need --group-column'),
        (('--tbm', '--group-column', 'x', '--permutations', '10'), 'fewer than 100 tell nothing'),
        (('--tbm', '--group-column', 'x', '--atlas-exams', '1'), 'must be 2 or more'),
    ],
)
def test_wrong_requests_are_refused_before_any_work(tmp_path, capsys, options, message):
    (tmp_path / 'bids').mkdir()
    assert main([str(tmp_path / 'bids'), str(tmp_path / 'out'), 'group', *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
