"""Structures in evaluations: exams painted from labels, their truth, and the table of volumes."""

import json

import numpy as np
import pytest
import torch
from label_phantoms import draw_labels, grid_of, paint_t1w

from bids_synthsr.cli.evaluate import PAINTED, main
from bids_synthsr.dataset.images import load_rigid, load_volume, save_volume
from bids_synthsr.evaluation.painting import CONTRASTS, as_targets, paint_contrast, paint_truth
from bids_synthsr.evaluation.results import Result, write_table
from bids_synthsr.evaluation.simulated_page import write_evaluation
from bids_synthsr.evaluation.volume_errors import cohens_d, draw_charts, tabulate
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.interfaces.evaluation import (
    CompareVolume,
    PaintHead,
    SimulateExam,
    labels_in_ras,
    take_nearest,
)
from bids_synthsr.run.simulated import can_take, find_maps, read_groups
from bids_synthsr.synthesis.labels import freesurfer_table
from bids_synthsr.values.grid import Grid

TABLE = freesurfer_table()


def result(tmp_path, subject, method, made, true, group=''):
    structures = {
        name: {'dice': 0.8, 'volume_mm3': made, 'reference_mm3': true}
        for name in ('hippocampus', 'cortex')
    }
    measures = {'psnr': 20.0, 'ssim': 0.9, 'l1': 0.02, 'correlation': 0.8}
    return Result(
        subject, '', method, 'T1w', 'axial', 5.0, 5.0, measures, tmp_path / 'none.jpg',
        structures=structures, group=group,
    )  # fmt: skip


@pytest.fixture
def results(tmp_path):
    true = [1000, 1100, 1200, 1400, 1500, 1700]
    return [
        result(
            tmp_path, str(number), 'tv', 1.1 * size, size, 'patient' if number < 3 else 'control'
        )
        for number, size in enumerate(true)
    ]


def test_table_tells_error_bias_and_correlation(results):
    (line,) = tabulate(results)
    hippocampus, ventricles, cortex, _ = line.cells
    assert ventricles is None and line.dices[1] is None
    assert (line.dices[0], line.dices[2], line.dice) == pytest.approx((0.8, 0.8, 0.8))
    assert hippocampus == cortex
    assert hippocampus.error == pytest.approx(0.1) and hippocampus.bias == pytest.approx(0.1)
    assert hippocampus.correlation == pytest.approx(1)
    assert hippocampus.effect == pytest.approx(hippocampus.reference_effect)  # both grow alike


def test_few_heads_have_no_correlation(results):
    (line,) = tabulate(results[:2])
    assert line.cells[0].correlation is None and line.cells[0].effect is None
    assert tabulate([]) == [] and draw_charts([]) == []


def test_effect_is_cohens():
    values = np.array([1.0, 2.0, 3.0, 3.0, 4.0, 5.0])
    groups = ['a'] * 3 + ['b'] * 3
    assert cohens_d(values, groups) == pytest.approx(-2)  # both sds are 1
    assert cohens_d(values, ['a'] * 6) is None and cohens_d(values, [*'aaabbc']) is None
    assert cohens_d(values, ['a'] * 5 + ['b']) is None


def test_page_and_table_show_structures(results, tmp_path):
    page = write_evaluation(results, [], tmp_path / 'page.html').read_text()
    assert 'Bland-Altman' in page and '10.0 % (+10.0); r 1.00; d' in page
    rows = write_table(results, tmp_path / 'table.tsv').read_text()
    assert 'hippocampus\treference_mm3\t1000' in rows and '\tbrain\tpsnr\t20' in rows


def test_maps_are_paired_with_images_and_people_with_groups(tmp_path):
    for name in ('maps/a_seg.nii.gz', 'maps/b_seg.nii.gz', 'images/a_T1w.nii.gz'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_maps(tmp_path / 'maps', tmp_path / 'images', [])
    assert found['a_seg']['image'].endswith('a_T1w.nii.gz') and 'image' not in found['b_seg']
    assert list(find_maps(tmp_path / 'maps', tmp_path / 'images', ['b'])) == ['b_seg']
    assert {head['subject'] for head in found.values()} == {'a', 'b'}
    (tmp_path / 'maps/training_seg_18.nii.gz').touch()
    again = find_maps(tmp_path / 'maps', tmp_path / 'images', ['training_seg_18'])
    assert again['training_seg_18']['subject'] == 'training_seg_18'
    with pytest.raises(FileNotFoundError, match='holds no label maps of c'):
        find_maps(tmp_path / 'maps', tmp_path / 'images', ['c'])
    (tmp_path / 'participants.tsv').write_text('participant_id\tgroup\nsub-a\tpatient\n')
    assert read_groups(tmp_path / 'participants.tsv') == {'a': 'patient'}
    assert read_groups(tmp_path / 'none.tsv') == {}


def test_labels_come_in_ras_order_without_the_air_around(tmp_path):
    labels = np.zeros((40, 44, 48), np.float32)
    labels[6:38, 6:38, 8:40] = draw_labels()
    turned, grid = labels_in_ras(labels, grid_of(labels.shape), 'map')
    left = Grid(
        (48, 44, 40), np.array([[0, 0, -1.0, 39], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    )
    again, same = labels_in_ras(labels[::-1].transpose(2, 1, 0), left, 'map')
    np.testing.assert_array_equal(again, turned)
    assert same == grid and turned.shape < labels.shape
    np.testing.assert_array_equal(take_nearest(turned, grid, grid_of(labels.shape)), labels)


@pytest.mark.parametrize(
    ('voxels', 'spacing', 'message'),
    [(draw_labels(), 2.0, 'voxels of 2 x 2 x 2 mm; label maps must have 1 mm'),
     (draw_labels() + 0.5, 1.0, 'no whole numbers'), (np.zeros((8, 8, 8)), 1.0, 'is empty')],
)  # fmt: skip
def test_what_is_no_label_map_is_told(voxels, spacing, message):
    with pytest.raises(ValueError, match=message):
        labels_in_ras(voxels, grid_of(voxels.shape, spacing), 'map')


def test_truth_of_a_label_map_is_its_t1w_and_its_brain(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = draw_labels()
    path = save_volume(tmp_path / 'map.nii.gz', labels, grid_of(labels.shape))
    image = save_volume(tmp_path / 'map_T1w.nii.gz', paint_t1w(labels), grid_of(labels.shape))
    painted = PaintHead(labels=str(path)).run().outputs
    head, mask = load_volume(painted.head)[0], load_volume(painted.mask)[0] > 0
    own = load_volume(painted.labels)[0]
    assert head[own == 2].mean() == pytest.approx(1000, rel=0.03)
    np.testing.assert_array_equal(mask, np.isin(own, (2, 41, 3, 42, 10, 49, 24)))
    assert set(np.unique(load_volume(painted.reference)[0])) == {
        0,
        2,
        41,
        3,
        42,
        10,
        49,
        24,
        165,
        118,
    }
    real = PaintHead(labels=str(path), image=str(image)).run().outputs
    np.testing.assert_allclose(load_volume(real.head)[0], paint_t1w(labels), atol=1e-3)
    np.testing.assert_array_equal(load_volume(real.labels)[0], labels)


def test_scans_of_an_exam_lie_where_their_transforms_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = draw_labels()
    grid = grid_of(labels.shape)
    head = save_volume(tmp_path / 'head.nii', paint_t1w(labels), grid)
    maps = save_volume(tmp_path / 'labels.nii', labels, grid)
    made = SimulateExam(
        head=str(head), labels=str(maps), exam=['T1w', 'T1w'], orientation='axial', spacing=1.0,
        thickness=1.0, seed=1,
    ).run().outputs  # fmt: skip
    assert made.contrasts == ['T1w', 'T1w']
    assert [slices['slice_axis'] for slices in made.acquisitions] == [2, 1]
    np.testing.assert_array_equal(load_rigid(made.scan2ref[0]), np.eye(4))
    moved = load_rigid(made.scan2ref[1])
    assert np.abs(moved - np.eye(4)).max() > 0.5
    back = resample(*load_volume(made.scans[1]), grid, moved)
    brain = np.isin(labels, (2, 41, 3, 42, 10, 49))
    truth, there = paint_t1w(labels)[brain], load_volume(made.scans[1])[0][brain]
    assert np.corrcoef(back[brain], truth)[0, 1] > 0.9 > np.corrcoef(there, truth)[0, 1]


@pytest.mark.parametrize('contrast', CONTRASTS)
def test_contrasts_are_painted_equally_for_equal_seeds(contrast):
    labels = draw_labels()
    one, other = (
        paint_contrast(labels, contrast, TABLE, torch.Generator().manual_seed(3)) for _ in range(2)
    )
    np.testing.assert_array_equal(one, other)
    assert one.shape == labels.shape and np.isfinite(one).all() and one.min() >= 0


def test_expected_errors_stand_beside_those_that_were_made(tmp_path):
    labels = np.repeat(np.int16([17, 53]), 256).reshape(8, 8, 8)
    truth = np.random.default_rng(0).uniform(0, 1, labels.shape)
    volumes = {'head': truth, 'volume': 2 * truth + 3, 'uncertainty': np.full(labels.shape, 0.1),
               'mask': np.ones(labels.shape), 'labels': labels}  # fmt: skip
    path = {name: str(save_volume(tmp_path / f'{name}.nii', voxels, grid_of(labels.shape)))
            for name, voxels in volumes.items()}  # fmt: skip
    size = {'name': 'Hippocampus', 'volume_mm3': 250.0, 'uncertainty_mm3': 20.0}
    CompareVolume(
        volumes=[path['volume'], path['uncertainty']], head=path['head'], mask=path['mask'],
        entities=[{'suffix': 'T1w', 'desc': 'anyexam'}, {'suffix': 'T1w', 'desc': 'uncertainty'}],
        segmentation=path['labels'], reference=path['labels'],
        sizes=[{'index': 17, **size}, {'index': 53, **size}],
        facts={'orientation': 'axial'}, place=str(tmp_path / 'found'),
    ).run()  # fmt: skip
    told = json.loads((tmp_path / 'found.json').read_text())
    assert told['measures']['expected_l1'] == pytest.approx(0.05 / np.ptp(truth), rel=1e-4)
    assert told['measures']['l1'] == pytest.approx(0, abs=1e-5)
    assert told['structures']['hippocampus'] == {
        'dice': 1, 'volume_mm3': 500, 'reference_mm3': 512, 'uncertainty_mm3': 40,
    }  # fmt: skip


def test_command_line_offers_every_contrast():
    assert tuple(CONTRASTS) == PAINTED


def test_truth_calls_parcels_cortex_bone_skull_and_fat_adipose():
    labels = np.array([[[1005, 2005, 515, 507, 511, 601, 17, 0]]])
    np.testing.assert_array_equal(
        as_targets(labels, TABLE), [[[3, 42, 165, 258, 118, 125, 17, 0]]]
    )
    assert paint_truth(np.full((8, 8, 8), 2), TABLE).max() == pytest.approx(1, abs=1e-5)


def test_sharpening_needs_a_t1w_reference():
    assert can_take('tv', ['T2w']) and can_take('sr-t1', ['T1w', 'T2w'])
    assert not can_take('sr-t1', ['T2w', 'T1w'])


def test_painted_exams_need_labels(tmp_path, capsys):
    save_volume(tmp_path / 'in/a_T1w.nii.gz', np.ones((4, 4, 4)), grid_of((4, 4, 4)))
    command = ['simulate', str(tmp_path / 'in'), str(tmp_path / 'out'), '--methods', 'cubic']
    assert main([*command, '--exams', 'T2w+T1w']) == 2
    assert '--exams T2w+T1w is painted from labels: give --labels' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, '--exams', 'T9w'])
    assert "'T9w' is none of T1w, T2w" in capsys.readouterr().err


def test_whole_command_on_label_maps(tmp_path):
    labels = draw_labels(64)
    save_volume(tmp_path / 'maps/a_seg.nii.gz', labels, grid_of(labels.shape))
    out = tmp_path / 'out'
    command = ['simulate', str(tmp_path / 'maps'), str(out), '--labels', str(tmp_path / 'maps'),
               '--methods', 'cubic,sr-t1', '--spacing', '4', '--thickness', 'equal', '--planes',
               'axial', '--exams', 'T2w+FLAIR', '--nprocs', '1']  # fmt: skip
    assert main(command) == 0
    told = json.loads((out / 'results' / 'a_seg_T2w_FLAIR_axial_4_4_cubic.json').read_text())
    assert told['contrasts'] == 'T2w+FLAIR' and told['structures'] == {}
    assert len(list((out / 'results').glob('*.json'))) == 1  # sr-t1 needs a T1w
