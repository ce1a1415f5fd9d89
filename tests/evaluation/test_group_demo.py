"""The demo of two groups: what it writes, and what is said of what was found of it."""

import numpy as np
import pytest
from doors import sub_command

from bids_synthsr.dataset.images import load_volume
from bids_synthsr.derivatives.tables import read_table, table_text
from bids_synthsr.evaluation import group_demo
from bids_synthsr.evaluation.group_demo import LABELS, compare_group_demo, find_regions
from bids_synthsr.evaluation.phantoms import load_tissues

main = sub_command('demo')


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp('demo')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group_demo, 'PEOPLE', 2)  # of twelve, for time
        assert main(['make', str(folder), '--group']) == 0
    return folder


def test_regions_of_the_template_are_symmetric_and_as_large_as_they_are():
    tissues = load_tissues()
    for region, low, high in zip(
        find_regions(tissues), (10_000, 5_000), (20_000, 9_000), strict=True
    ):
        assert low < region.sum() < high
        assert np.logical_xor(region, region[::-1]).sum() < 0.1 * region.sum()


def test_it_is_a_data_set_of_two_groups(demo):
    people = read_table(demo / 'bids/participants.tsv')
    assert [row['group'] for row in people] == ['control', 'patient']
    assert set(people[0]) == {'participant_id', 'group', 'age', 'sex'}
    scans = sorted(path.name for path in (demo / 'bids').rglob('*.nii.gz'))
    assert scans == [f'sub-0{n}_{x}.nii.gz' for n in (1, 2) for x in ('FLAIR', 'T1w')]
    assert load_volume(demo / 'bids/sub-01/anat/sub-01_T1w.nii.gz')[1].spacing[2] == 5
    control, patient = read_table(demo / 'truth/people.tsv')
    assert float(patient['ventricles']) > 1.2 * float(control['ventricles'])
    assert float(patient['temporal']) < 0.9 * float(control['temporal'])


def write_volumes(demo, out, volumes):
    groups = ['control', 'patient'] * (len(volumes) // 2)
    labels = [f'sub-{number:02d}' for number in range(1, len(volumes) + 1)]
    people = [{'participant_id': x, 'group': g} for x, g in zip(labels, groups, strict=True)]
    true = [{'participant_id': x, 'ventricles': 100 + 9 * n} for n, x in enumerate(labels)]
    rows = [
        {'participant_id': x, **dict.fromkeys(LABELS['ventricles'], volume)}
        for x, volume in zip(labels, volumes, strict=True)
    ]
    for path, table in (
        (demo / 'bids/participants.tsv', people),
        (demo / 'truth/people.tsv', true),
        (out / 'group_volumes.tsv', rows),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(table_text(table))


def test_comparison_knows_the_truth_when_it_sees_it(tmp_path, capsys):
    demo, out = tmp_path / 'demo', tmp_path / 'out'
    halves = [(100 + 9 * number) / 2 for number in range(6)]
    write_volumes(demo, out, [*halves[:5], 'n/a'])  # one exam without volumes is left out
    (found,) = compare_group_demo(demo, out)
    assert found.found_percent == pytest.approx(found.true_percent, abs=1e-6)
    assert found.correlation == pytest.approx(1) and found.people == 5
    assert main(['compare', str(demo), str(out)]) == 0
    assert 'correlation of the volumes of 5 people 1.000' in capsys.readouterr().out


def test_too_few_volumes_are_told(tmp_path, capsys):
    write_volumes(tmp_path / 'demo', tmp_path / 'out', [50, 'n/a', 60, 'n/a'])
    assert main(['compare', str(tmp_path / 'demo'), str(tmp_path / 'out')]) != 0
    assert 'of too few people of the demo' in capsys.readouterr().err


def test_without_a_table_of_the_group_it_says_what_to_run(demo, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(['compare', str(demo), str(tmp_path)])
    assert stop.value.code == 2 and 'then with "group"' in capsys.readouterr().err


def test_one_demo_does_not_replace_the_other(demo, capsys):
    assert main(['make', str(demo)]) == 2
    assert 'is not of a demo' in capsys.readouterr().err
