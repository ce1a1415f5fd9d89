"""Heads whose structures change by known factors, and what is said of what was found."""

import json

import numpy as np
import pytest
import torch
from label_phantoms import draw_labels, grid_of, paint_t1w

from bids_synthsr.dataset.images import save_volume
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.tables import read_table
from bids_synthsr.evaluation.shape_cases import TRUTH
from bids_synthsr.evaluation.shape_changes import (
    BrainInAtlas,
    balanced_splits,
    change_head,
    false_positive_bound,
    growth_velocity,
    growths_by_structure,
    velocity_of_change,
)
from bids_synthsr.evaluation.shape_findings import (
    MEASURED,
    compare_changes,
    count_false_positives,
    read_findings,
    save_picture,
)
from bids_synthsr.evaluation.shapes_page import (
    ShapesSetting,
    write_shapes_page,
    write_shapes_table,
)
from bids_synthsr.imaging.displacements import exponential, pull, smooth
from bids_synthsr.morphometry.volumes import MAIN
from bids_synthsr.settings import TbmSettings

SIDE = 48
FACTORS = {'thalamus': 1.3, 'white-matter': 0.9}


def head_and_labels():
    labels = draw_labels(SIDE)
    return paint_t1w(labels), labels


@pytest.mark.parametrize('factors', [{'thalamus': 1.3}, FACTORS])
def test_structures_change_by_the_factors(factors):
    head, labels = head_and_labels()
    back = exponential(-velocity_of_change(labels, factors))
    before = change_head(head, labels, factors, is_changed=False)
    after = change_head(head, labels, factors, is_changed=True)
    for number, (name, factor) in enumerate(factors.items(), 1):
        inside = torch.from_numpy(np.isin(labels, MAIN[name]).astype(np.float32))[None]
        assert float(pull(inside, back).sum() / inside.sum()) == pytest.approx(factor, rel=0.02)
        assert after.growth[name] == pytest.approx(np.log(factor), abs=0.06)
        assert before.growth[name] == 0
        sizes = [(one.structures == number).sum() for one in (before, after)]
        assert (sizes[1] > sizes[0]) == (factor > 1)


def test_far_from_what_changes_nothing_moves_and_all_are_interpolated_alike():
    head, labels = head_and_labels()
    before = change_head(head, labels, {'thalamus': 1.3}, is_changed=False)
    after = change_head(head, labels, {'thalamus': 1.3}, is_changed=True)
    rim = labels == 511
    assert np.abs(before.head - after.head)[rim].mean() < 1
    # by half a voxel along every axis: the mean of the eight neighbours
    mean = sum(
        np.roll(head, (-i, -j, -k), (0, 1, 2)) for i in (0, 1) for j in (0, 1) for k in (0, 1)
    )
    np.testing.assert_allclose(before.head[:-1, :-1, :-1], (mean / 8)[:-1, :-1, :-1], atol=1e-3)


def test_a_structure_that_a_head_does_not_have_is_named():
    with pytest.raises(ValueError, match='no hippocampus, which is to change'):
        change_head(*head_and_labels(), {'hippocampus': 0.8}, is_changed=True)


def test_the_divergence_of_the_velocity_is_what_is_wanted():
    wanted = smooth(torch.randn(1, 24, 28, 26, generator=torch.Generator().manual_seed(0)), 3)[0]
    velocity = growth_velocity(wanted.numpy())
    divergence = sum(np.gradient(velocity[axis], axis=axis) for axis in range(3))
    inside = (slice(3, -3),) * 3
    expected = (wanted - wanted.mean()).numpy()
    assert np.corrcoef(divergence[inside].ravel(), expected[inside].ravel())[0, 1] > 0.99


@pytest.mark.parametrize('counts', [(6, 6), (7, 7), (5, 6)])
def test_splits_have_as_many_of_both_groups(counts):
    is_second = [False] * counts[0] + [True] * counts[1]
    splits = balanced_splits(is_second, 20, seed=1)
    for split in splits:
        assert abs(sum(split) - sum(~split)) <= 1
        assert abs(sum(split[: counts[0]]) - counts[0] / 2) <= 0.5
    assert len({tuple(split) for split in splits}) > 10
    again = balanced_splits(is_second, 20, seed=1)
    assert all(np.array_equal(*pair) for pair in zip(splits, again, strict=True))


def test_bound_of_false_positives():
    assert [false_positive_bound(count) for count in (0, 1, 40)] == [0, 1, 6]


def growing_brains(folder, count=12):
    """Brains of which every second has a core that has grown by 20 %, and their maps."""
    grid, random = grid_of((24, 24, 24), 2.0), torch.Generator().manual_seed(0)
    x = torch.from_numpy(np.indices(grid.shape) - 11.5).float() * 2
    radius = x.square().sum(0).sqrt()
    core = (radius < 10).numpy()
    brains, paths = [], []
    for number in range(count):
        noise = smooth(torch.randn(3, *grid.shape, generator=random), 3) * 0.3
        grown = np.log(1.2) / 3 * x * (radius < 14) * (number % 2)
        path = folder / f'velocity-{number}.npy'
        np.save(path, (noise + smooth(grown, 1)).numpy())
        paths.append(path)
        brains.append(BrainInAtlas(np.load(path), np.eye(4), core.astype(np.int16), grid))
    derivatives = Derivatives(folder / 'out')
    place = derivatives.group_tbm
    brain = (radius < 20).numpy()
    save_volume(place / 'space-atlas_desc-mean_T1w.nii.gz', brain * 100.0, grid)
    save_volume(place / 'space-atlas_desc-brain_mask.nii.gz', brain.astype(np.uint8), grid)
    for space in ('space-atlas', 'space-X_res-2'):
        save_volume(
            place / f'{space}_stat-g_statmap.nii.gz', 2.0 * core - 0.01 * radius.numpy(), grid
        )
    save_volume(place / 'space-X_res-2_desc-brain_mask.nii.gz', brain.astype(np.uint8), grid)
    far = np.zeros(grid.shape, bool)
    far[0, 0, :5] = True
    save_volume(place / 'space-atlas_stat-pcluster_statmap.nii.gz', 1.0 - (core | far), grid)
    return brains, paths, derivatives


def test_what_was_found_stands_beside_the_truth(tmp_path):
    brains, paths, derivatives = growing_brains(tmp_path)
    places, growths = growths_by_structure(brains, brains[0].grid, 1)
    assert places[12, 12, 12] == 1 and places[2, 2, 2] == 0 and growths.shape == (12, 1)
    is_second = [bool(number % 2) for number in range(12)]
    truths = [{'thalamus': np.log(1.2) * second} for second in is_second]
    before = [np.zeros_like(brain.velocity) for brain in brains[1::2]]
    found = compare_changes(brains, before, truths, is_second, derivatives)
    (row,) = found['structures']
    assert row['true'] == pytest.approx(np.log(1.2)) and row['sure_percent'] == 100
    assert row['found'] == pytest.approx(row['true'], rel=0.3) and 0 < row['error'] < 0.1
    assert row['between'] == pytest.approx(row['found'], abs=0.1)
    assert found['elsewhere_ml'] == pytest.approx(5 * 8 / 1000)
    settings = TbmSettings(permutations=100, fwhm_mm=4.0)
    positive = count_false_positives(paths, is_second, 10, settings, derivatives)
    assert 0 <= positive <= false_positive_bound(10)

    results = []
    for method in (TRUTH, 'cubic'):
        stem = tmp_path / f'tbm_{method}'
        save_picture(derivatives, stem.with_suffix('.jpg'))
        content = {'method': method, 'maps': str(derivatives.group_tbm), **found}
        content |= {'splits': 10, 'positive_splits': positive}
        stem.with_suffix('.json').write_text(json.dumps(content))
        results.append(stem.with_suffix('.json'))
    findings = read_findings(results)
    assert [round(one.correlation, 6) for one in findings] == [1, 1]
    assert np.isnan(read_findings(results[1:])[0].correlation)
    rows = read_table(write_shapes_table(findings, tmp_path / 'tbm.tsv'))
    assert [(x['method'], x['structure']) for x in rows] == [
        (TRUTH, 'thalamus'),
        ('cubic', 'thalamus'),
    ]
    assert float(rows[0]['percent_found']) == pytest.approx(
        100 * row['found'] / row['true'], abs=0.1
    )
    setting = ShapesSetting(6, 6, {'thalamus': 1.2}, ('axial', 5.0, 5.0), 100, 4.0)
    page = write_shapes_page(findings, setting, ['it broke'], tmp_path / 'tbm.html').read_text()
    assert (
        'thalamus \u00d7 1.2' in page and 'it broke' in page and page.count('data:image/jpeg') == 2
    )
    assert f'{positive} of 10' in page


def test_of_a_structure_without_a_voxel_in_the_atlas_nothing_is_said(tmp_path):
    brains, _, derivatives = growing_brains(tmp_path, 4)
    is_second = [False, True] * 2
    truths = [{'thalamus': 0.2 * x, 'hippocampus': -0.3 * x} for x in is_second]
    before = [np.zeros_like(brain.velocity) for brain in brains[1::2]]
    found = compare_changes(brains, before, truths, is_second, derivatives)
    text = json.dumps(found, allow_nan=False)  # NaN is no JSON
    thalamus, hippocampus = json.loads(text)['structures']
    assert None not in thalamus.values() and hippocampus['true'] == pytest.approx(-0.3)
    assert {hippocampus[name] for name in MEASURED} == {None}

    content = {'method': TRUTH, 'maps': str(derivatives.group_tbm), **found}
    content |= {'splits': 0, 'positive_splits': 0}
    (tmp_path / 'tbm_truth.json').write_text(json.dumps(content))
    findings = read_findings([tmp_path / 'tbm_truth.json'])
    table = write_shapes_table(findings, tmp_path / 'tbm.tsv')
    assert 'nan' not in table.read_text()
    row = read_table(table)[1]
    empty = ('ln_growth_found', 'standard_error', 'ln_growth_between', 'percent_found',
             'sure_percent', 'g')  # fmt: skip
    assert {row[name] for name in empty} == {''} and row['ln_growth_true'] == '-0.3000'
    assert table.read_text().splitlines()[2].count('n/a') == len(empty)
    setting = ShapesSetting(2, 2, {'hippocampus': 0.74}, ('axial', 5.0, 5.0), 100, 4.0)
    page = write_shapes_page(findings, setting, [], tmp_path / 'tbm.html').read_text()
    assert 'no voxel of the atlas is called so' in page and 'nan' not in page.split('</table>')[0]


def test_structures_that_change_are_those_that_are_reported():
    from bids_synthsr.cli.evaluate import CHANGES

    assert set(CHANGES) <= set(MAIN)
