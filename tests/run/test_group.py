"""The group level on made-up exams: tables, differences, page, and what is refused."""

import json
import re
import shutil
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from bids_synthsr.cli.bids_app import main
from bids_synthsr.dataset.files import read_json, write_json
from bids_synthsr.derivatives.tables import read_table

ROOT = Path(__file__).parents[2]
COUNT, FAILED = 60, 2
COMPARED = ('--group-column', 'group', '--groups', 'control', 'patient')


def make_group(folder, count):
    spec = spec_from_file_location('made_up', ROOT / 'benchmarks/speed/group.py')
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_group(folder, count)


@pytest.fixture
def group(tmp_path):
    """Run the group level on made-up exams."""
    make_group(tmp_path, COUNT)

    def run(*options):
        return main([str(tmp_path / 'bids'), str(tmp_path / 'out'), 'group', *options])

    run.bids, run.out = tmp_path / 'bids', tmp_path / 'out'
    return run


def data_of(page):
    text = page.read_text().split('<script type="application/json" id="group-data">')[1]
    return json.loads(text.split('</script>')[0])


def test_every_exam_is_a_row_and_missing_ones_say_why(group):
    people = group.bids / 'participants.tsv'
    people.write_text(people.read_text() + 'sub-absent\tcontrol\tKyoto\t70\tF\n')
    assert group() == 0
    for name in ('group_volumes', 'group_qc'):
        rows = read_table(group.out / f'{name}.tsv')
        described = read_json(group.out / f'{name}.json')
        assert len(rows) == COUNT + 1
        assert [*rows[0]][:4] == ['participant_id', 'session_id', 'state', 'reason']
        assert set(rows[0]) <= set(described)
        states = [row['state'] for row in rows]
        assert (states.count('failed'), states.count('missing')) == (FAILED, 1)
        assert all(row['reason'] for row in rows if row['state'] != 'finished')
    volumes = read_table(group.out / 'group_volumes.tsv')[0]
    own = read_table(group.out / 'sub-00000/anat/sub-00000_desc-anyexam_volumes.tsv')
    assert {row['name']: row['volume_mm3'] for row in own}.items() <= volumes.items()
    assert read_json(group.out / 'group_volumes.json')['Left-Caudate']['Units'] == 'mm^3'


def test_what_differs_is_found_and_what_does_not_is_not(group):
    assert group(*COMPARED, '--covariates', 'age', 'sex', 'icv', '--harmonize', 'site') == 0
    effects = {row['structure']: row for row in read_table(group.out / 'group_effects.tsv')}
    for name, percent in (('Hippocampus', -15), ('Lateral-Ventricle', 30)):
        for side in ('Left', 'Right'):
            effect = effects[f'{side}-{name}']
            assert float(effect['percent']) == pytest.approx(percent, abs=5)
            assert float(effect['q']) < 1e-4
            assert float(effect['g_low']) < float(effect['g']) < float(effect['g_high'])
    others = [x for name, x in effects.items() if not name.endswith(('campus', 'al-Ventricle'))]
    assert sum(float(x['q']) < 0.05 for x in others) <= 1
    described = read_json(group.out / 'group_effects.json')
    assert described['FirstGroup'] == 'control'
    assert described['Covariates'] == ['age', 'sex (M, not F)', 'icv']
    assert len(described['LeftOut']) == FAILED
    assert read_json(group.out / 'group_volumes.json')  # as measured, beside the harmonized ones
    assert len(read_table(group.out / 'group_desc-combat_volumes.tsv')) == COUNT - FAILED
    # and a later run without them leaves nothing stale
    assert group() == 0
    assert not [*group.out.glob('group_effects*'), *group.out.glob('*combat*')]


def test_the_page_shows_all_and_takes_ratings_over(group):
    write_json(group.out / 'group_ratings.json', {'sub-00003': {'rating': 3, 'note': '</script>'}})
    assert group(*COMPARED) == 0
    data = data_of(group.out / 'group.html')
    assert len(data['exams']) == COUNT
    assert data['first'] == 'group' and set(data['columns']['site']) <= {
        'Boston',
        'London',
        'Kyoto',
    }
    assert data['ratings']['sub-00003']['note'] == '</script>'
    assert data['measures']['score'][0] == pytest.approx(
        float(read_table(group.out / 'group_qc.tsv')[0]['score']), abs=1e-3
    )
    rated = next(x for x in read_table(group.out / 'group_qc.tsv') if x['rating'])
    assert (rated['participant_id'], rated['rating'], rated['note']) == (
        'sub-00003', '3', '</script>',
    )  # fmt: skip


def replaced(group, old, new):
    people = group.bids / 'participants.tsv'
    people.write_text(people.read_text().replace(old, new))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('--group-column', 'diagnosis'), "No exam has a value of 'diagnosis'.*group, site, age"),
        (('--group-column', 'site'), 'name the two groups'),
        ((*COMPARED[:2], '--groups', 'control', 'case'), 'group is never case.*control, patient'),
        ((*COMPARED, '--covariates', 'group'), 'group .patient, not control. is explained'),
        (('--covariates', 'age'), 'need --group-column'),
        (('--harmonize', 'age'), '--harmonize age: .* has 1 of the exams'),
        ((*COMPARED, '--harmonize', 'group'), 'cannot be told apart from the groups'),
        (('--participant-label', '99999'), 'no exam of sub-99999'),
    ],
)
def test_wrong_requests_name_the_fault_and_the_way_out(group, capsys, options, message):
    assert group(*options) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (group.out / 'group.html').exists()


def test_small_groups_are_refused_or_doubted(group, capsys):
    few = [f'{number:05d}' for number in range(8)]
    assert group(*COMPARED, '--participant-label', *few) == 2
    assert 'has 4 exams with all values, and 5 are the least' in capsys.readouterr().err
    some = [f'{number:05d}' for number in range(12)]
    assert group(*COMPARED, '--participant-label', *some) == 0
    assert '12 exams are few' in capsys.readouterr().err


def test_values_that_are_not_known_leave_exams_out(group, capsys):
    replaced(group, 'sub-00004\tcontrol', 'sub-00004\tn/a')
    assert group(*COMPARED) == 0
    assert 'left out of the comparison' in capsys.readouterr().err
    left = read_json(group.out / 'group_effects.json')['LeftOut']
    assert left['sub-00004'] == 'its group is n/a'


def test_other_methods_in_a_group_are_doubted(group, capsys):
    record = group.out / 'logs/exams/sub-00002.json'
    write_json(record, {**read_json(record), 'main': 'cubic'})
    assert group(*COMPARED) == 0
    assert 'made with different methods' in capsys.readouterr().err


def test_two_sessions_of_a_person_need_a_choice(group, capsys):
    record = read_json(group.out / 'logs/exams/sub-00002.json')
    write_json(
        group.out / 'logs/exams/sub-00000_ses-2.json', {**record, 'exam': 'sub-00000_ses-2'}
    )
    shutil.copytree(group.out / 'sub-00002', group.out / 'sub-00000/ses-2')
    for path in (group.out / 'sub-00000/ses-2').rglob('sub-00002*'):
        path.rename(path.with_name(path.name.replace('sub-00002', 'sub-00000_ses-2')))
    assert group(*COMPARED) == 2
    assert 'sub-00000 have several exams each: choose one session' in capsys.readouterr().err


def test_lost_or_damaged_outputs_cost_that_exam_alone(group):
    (group.out / 'sub-00000/anat/sub-00000_desc-anyexam_volumes.tsv').unlink()
    sidecar = group.out / 'sub-00001/anat/sub-00001_desc-anyexam_T1w.json'
    sidecar.write_text('{' + sidecar.read_text()[1:].replace('}', ' ', 1))
    assert group() == 0
    rows = read_table(group.out / 'group_qc.tsv')
    assert [row['state'] for row in rows[:3]] == ['missing', 'missing', 'finished']
    assert all(row['reason'] for row in rows[:2])


def test_nothing_to_show_is_wrong_use(tmp_path, capsys):
    bids, _ = make_group(tmp_path, 1)
    (tmp_path / 'empty').mkdir()
    assert main([str(bids), str(tmp_path / 'empty'), 'group']) == 2
    assert 'run the participant level first' in capsys.readouterr().err
    assert main([str(bids), str(tmp_path / 'out'), 'participant', '--harmonize', 'site']) == 2
    assert '--harmonize: it is of the group level' in capsys.readouterr().err


def volumes_of(group, label):
    return group.out / f'{label}/anat/{label}_desc-anyexam_volumes.tsv'


def renew(group, label):
    """Let the record of an exam describe its files as they are now."""
    path = group.out / f'logs/exams/{label}.json'
    record = read_json(path)
    for name, output in record['outputs'].items():
        output['size'] = (group.out / name).stat().st_size
    write_json(path, record)


def change(group, label, old, new):
    path = volumes_of(group, label)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    renew(group, label)


def test_a_structure_that_one_exam_lacks_is_compared_in_the_others(group):
    lines = volumes_of(group, 'sub-00003').read_text().splitlines(keepends=True)
    volumes_of(group, 'sub-00003').write_text(
        ''.join(line for line in lines if 'Left-Hippocampus' not in line)
    )
    renew(group, 'sub-00003')
    assert group(*COMPARED) == 0
    effects = {row['structure']: row for row in read_table(group.out / 'group_effects.tsv')}
    lacking, whole = effects['Left-Hippocampus'], effects['Right-Hippocampus']
    assert int(lacking['n_second']) == int(whole['n_second']) - 1
    assert float(lacking['q']) < 1e-4
    assert group(*COMPARED, '--harmonize', 'site') == 0
    left = read_json(group.out / 'group_effects.json')['StructuresLeftOut']
    assert left == {'Left-Hippocampus': '1 exams do not have it, such as sub-00003'}


@pytest.mark.parametrize('volume', ['-3.0', 'nan', 'inf', 'much'])
def test_a_volume_that_cannot_be_costs_its_exam(group, volume):
    path = volumes_of(group, 'sub-00002')
    cells = path.read_text().splitlines()[3].split('\t')
    change(group, 'sub-00002', f'{cells[1]}\t{cells[2]}', f'{cells[1]}\t{volume}')
    assert group(*COMPARED) == 0
    row = read_table(group.out / 'group_volumes.tsv')[2]
    assert row['state'] == 'missing' and 'its outputs cannot be read' in row['reason']
    assert 'NaN' not in (group.out / 'group.html').read_text().split('group-data')[1]
    assert 'sub-00002' in read_json(group.out / 'group_effects.json')['LeftOut']


@pytest.mark.parametrize(
    'content',
    [
        {'ImageQuality': 'good', 'MethodDetails': []},
        {'ImageQuality': None, 'MethodDetails': None},
        {'ImageQuality': {'cnr': 'x'}, 'MethodDetails': {'quality': {'score': [1]}}},
        {'MethodDetails': {'quality': 'score'}},
    ],
)
def test_sidecars_of_the_wrong_type_cost_only_what_they_tell(group, content):
    write_json(group.out / 'sub-00001/anat/sub-00001_desc-anyexam_T1w.json', content)
    renew(group, 'sub-00001')
    assert group() == 0
    row = read_table(group.out / 'group_qc.tsv')[1]
    assert row['state'] == 'finished' and row['score'] == '' and row['cnr'] == ''
    assert read_table(group.out / 'group_volumes.tsv')[1]['Left-Caudate']


def test_covariates_are_taken_as_numbers_or_refused(group, capsys):
    people = read_table(group.bids / 'participants.tsv')
    age = people[4]['age']
    replaced(group, f'{people[4]["site"]}\t{age}\t', f'{people[4]["site"]}\t89+\t')
    assert group(*COMPARED, '--covariates', 'age') == 2
    told = capsys.readouterr().err
    assert "age is '89+' for sub-" in told and 'write n/a to leave the exam out' in told
    replaced(group, '\tF\n', '\tM\n')
    assert group(*COMPARED, '--covariates', 'sex') == 2
    assert 'sex is M in all exams: leave it out' in capsys.readouterr().err


def test_intracranial_volume_as_covariate_does_not_disturb_combat(group):
    """It is explained by itself, and its rest is rounding: no effect may be drawn towards that."""
    found = []
    for _ in range(2):
        assert group(*COMPARED, '--covariates', 'icv', '--harmonize', 'site') == 0
        found.append(read_table(group.out / 'group_desc-combat_volumes.tsv')[0])
        for number in range(COUNT):
            label = f'sub-{number:05d}'
            if volumes_of(group, label).is_file():
                text = volumes_of(group, label).read_text()
                name, volume = text.splitlines()[-1].rsplit('\t', 1)
                change(group, label, f'{name}\t{volume}', f'{name}\t{1.0001 * float(volume)}')
    assert 'Intracranial' not in found[0]
    for name in ('Left-Caudate', 'Right-Hippocampus'):
        assert float(found[0][name]) == pytest.approx(float(found[1][name]), abs=0.11)


def test_one_scanner_is_nothing_to_harmonize(group, capsys):
    for site in ('Boston', 'London'):
        replaced(group, site, 'Kyoto')
    assert group('--harmonize', 'site') == 2
    assert 'all exams have Kyoto' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('old', 'new', 'code', 'message'),
    [
        ('\n', '\r\n', 0, 'of 60 exams are finished'),
        ('sub-00001\t', '\t\t\t\t\nsub-00001\t', 0, 'of 60 exams are finished'),
        (
            'participant_id',
            'id',
            2,
            'has no column participant_id, which BIDS wants first: there is id',
        ),
        ('sub-00001\t', 'sub-00002\t', 2, 'lists sub-00002 twice'),
    ],
)
def test_tables_of_people_as_they_come(group, capsys, old, new, code, message):
    replaced(group, old, new)
    assert group() == code
    assert message in capsys.readouterr().err


def test_tables_that_cannot_be_understood_are_refused(group, capsys):
    sessions = group.bids / 'sub-00001/sub-00001_sessions.tsv'
    sessions.write_text('name\tage\na\t1\n')
    assert group() == 2
    assert 'has no column session_id' in capsys.readouterr().err
    sessions.unlink()
    people = group.bids / 'participants.tsv'
    people.write_bytes(people.read_text().replace('Boston', 'Zürich').encode('latin-1'))
    assert group() == 2
    assert 'is not UTF-8' in capsys.readouterr().err


def test_groups_without_any_rest_are_no_effect(group, capsys):
    for number in range(COUNT):
        label = f'sub-{number:05d}'
        if volumes_of(group, label).is_file():
            rows = [line.split('\t') for line in volumes_of(group, label).read_text().splitlines()]
            for row in rows[1:]:
                row[2] = str(100 + 50 * (number % 2))
            volumes_of(group, label).write_text('\n'.join(map('\t'.join, rows)) + '\n')
            renew(group, label)
    assert group(*COMPARED) == 2
    assert 'explain it without any rest' in capsys.readouterr().err


def test_ratings_of_the_wrong_type_are_not_taken(group):
    ratings = {
        'sub-00000': {'rating': 9, 'note': ['x']},
        'sub-00001': [1],
        'sub-00002': {'rating': 2},
    }
    write_json(group.out / 'group_ratings.json', ratings)
    assert group() == 0
    assert data_of(group.out / 'group.html')['ratings'] == {'sub-00002': {'rating': 2}}


def test_what_is_of_the_participant_level_is_refused(group, capsys):
    assert group('--dry-run') == 2
    assert 'of the participant level' in capsys.readouterr().err
    shutil.rmtree(group.bids)
    assert group() == 2
    assert 'there is no such folder' in capsys.readouterr().err


def test_relative_paths_are_those_of_the_current_folder(group, monkeypatch, capsys):
    monkeypatch.chdir(group.bids.parent)
    monkeypatch.setenv('TEMPLATEFLOW_HOME', str(group.bids))
    monkeypatch.setattr('bids_synthsr.dataset.templates.PATIENCE_S', 0.1)
    assert main(['bids', 'out', 'group']) == 0
    capsys.readouterr()
    assert main(['bids', 'out', 'group', *COMPARED, '--tbm']) == 1  # they have no brain masks
    told = capsys.readouterr().err
    assert 'it has no T1w with a brain mask (leave it out with --participant-label)' in told
    assert not (group.out / 'group_tbm').exists()
