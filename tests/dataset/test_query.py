import ast
import json
import os
import re
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from bids import BIDSLayout

import bids_synthsr
from bids_synthsr.dataset.errors import DatasetError
from bids_synthsr.dataset.filenames import join_name, split_name
from bids_synthsr.dataset.indexes import wipe_index
from bids_synthsr.dataset.query import find_exams
from bids_synthsr.values.exam import SIDECAR_FIELDS, Acquisition

CLINICAL = Path(__file__).resolve().parents[3] / 'shared/data/bids-clinical'


def add_scan(root, name, **sidecar):
    """Write a scan of 16 slices where its name says, with a sidecar where there is content."""
    entities, _, extension = split_name(name)
    folders = [f'{key}-{entities[key]}' for key in ('sub', 'ses') if key in entities]
    path = root.joinpath(*folders, 'anat', name)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nb.Nifti1Image(np.ones((16, 16, 16), np.uint8), np.diag([8.0, 8, 8, 1]))
    image.to_filename(path)
    if sidecar:
        path.with_name(name.removesuffix(extension) + '.json').write_text(json.dumps(sidecar))
    return path


@pytest.fixture
def root(tmp_path):
    """Two participants, one with two sessions; what must not be found lies around."""
    root = tmp_path / 'bids'
    for name in (
        'sub-01_ses-1_T1w.nii.gz',
        'sub-01_ses-1_acq-ax_FLAIR.nii',
        'sub-01_ses-2_run-01_T1w.nii.gz',
        'sub-01_ses-2_run-02_T1w.nii.gz',
        'sub-02_T2w.nii.gz',
        'sub-01_ses-1_T1map.nii.gz',
    ):
        add_scan(root, name)
    add_scan(root / 'derivatives/app', 'sub-01_ses-1_T1w.nii.gz')
    add_scan(root / 'sourcedata', 'sub-07_T1w.nii.gz')
    (root / 'sub-02/func').mkdir()
    (root / 'sub-02/func/sub-02_task-rest_T1w.nii.gz').write_bytes(b'')
    (root / 'dataset_description.json').write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    return root


def found(exams):
    return {exam.label: [scan.name for scan in exam.scans] for exam in exams if not exam.absence}


def absences(exams):
    return {exam.label: exam.absence for exam in exams if exam.absence}


ALL = {
    'sub-01_ses-1': ['acq-ax_FLAIR', 'T1w', 'T1map'],
    'sub-01_ses-2': ['run-01_T1w', 'run-02_T1w'],
    'sub-02': ['T2w'],
}


def test_every_exam_is_found_with_its_scans(root):
    exams = find_exams(root)
    assert found(exams) == ALL
    assert [s.name for exam in exams for s in exam.scans if not s.is_usable] == ['T1map']
    assert [(exam.subject, exam.session) for exam in exams][1:] == [('01', '2'), ('02', None)]


def test_names_survive_being_taken_apart():
    name = 'sub-01_ses-2_acq-a_ce-gad_run-02_part-mag_chunk-1_T2starw.nii.gz'
    assert join_name(*split_name(name)) == name


def test_odd_paths_change_nothing(root, tmp_path):
    odd = tmp_path / 'sub-99' / 'ses-7 (é ü 中)' / 'my data'
    odd.parent.mkdir(parents=True)
    root.rename(odd)
    assert found(find_exams(odd)) == ALL


def test_linked_folders_are_followed(root, tmp_path):
    (root / 'sub-02').rename(tmp_path / 'store')
    (root / 'sub-02').symlink_to(tmp_path / 'store')
    (tmp_path / 'link').symlink_to(root)
    assert found(find_exams(tmp_path / 'link')) == ALL


@pytest.mark.parametrize(
    ('options', 'labels'),
    [
        ({'participant_labels': ['02']}, ['sub-02']),
        ({'participant_labels': ['sub-01']}, ['sub-01_ses-1', 'sub-01_ses-2']),
        ({'session_labels': ['2']}, ['sub-01_ses-2']),
        ({'session_labels': ['ses-1'], 'participant_labels': ['01']}, ['sub-01_ses-1']),
    ],
)
def test_labels_choose_exams(root, options, labels):
    assert list(found(find_exams(root, **options))) == labels


@pytest.mark.parametrize(
    ('filters', 'wanted'),
    [
        ({'t1w': {'session': '1'}}, {'sub-01_ses-1': [1, 1], 'sub-02': [1]}),
        ({'t1w': {'session': 'ses-1'}}, {'sub-01_ses-1': [1, 1], 'sub-02': [1]}),
        ({'anat': {'run': 2}}, {'sub-01_ses-2': [0, 1]}),
        ({'anat': {'run': '02'}, 'bold': {'task': 'rest'}}, {'sub-01_ses-2': [0, 1]}),
        ({'anat': {'run': None, 'ses': '*'}}, {'sub-01_ses-1': [1, 1]}),
        ({'anat': {'acq': ['ax', 'sag']}}, {'sub-01_ses-1': [1, 0]}),
        ({'anat': {'acquisition': ['ax', None], 'suffix': 'T2w'}}, {'sub-02': [1]}),
        ({'flair': {'acq': 'sag'}, 't2w': {'datatype': 'anat'}, 't1w': {'run': '*'}},
         {'sub-01_ses-2': [1, 1], 'sub-02': [1]}),
    ],
)  # fmt: skip
def test_filters_choose_scans(root, filters, wanted):
    exams = find_exams(root, filters=filters)
    scans = {e.label: [s for s in e.scans if s.suffix != 'T1map'] for e in exams if not e.absence}
    assert {
        label: [int(s.is_usable) for s in of_exam] for label, of_exam in scans.items()
    } == wanted
    problems = {p for of_exam in scans.values() for scan in of_exam for p in scan.problems}
    assert problems <= {'Excluded by --bids-filter-file.'}


@pytest.mark.parametrize(
    ('filters', 'words'),
    [
        ([], 'they must be an object'),
        ({'T1w': {}}, '"T1w" is no key; there are anat, t1w, '),
        ({'t1w': ['1']}, '"t1w" must hold an object'),
        ({'t1w': {'sesion': '1'}}, '"sesion", which is no entity of a file name; there are sub'),
        ({'t1w': {'run': {'a': 1}}}, '"run" must be text, a number, null, or a list of these'),
        ({'t1w': {'run': []}}, '"run" must be text'),
        (
            {'anat': {'run': 7}},
            r'No scan matches .*"run": 7.* T1w \(sub 01; ses 1, 2; run 01, 02\), T2w \(sub 02\)',
        ),
    ],
)
def test_bad_filters_are_explained(root, filters, words):
    with pytest.raises(DatasetError, match=words):
        find_exams(root, filters=filters)


def test_every_fault_has_a_line(root):
    with pytest.raises(DatasetError) as caught:
        find_exams(root, filters={'t1': {}, 't2': {}})
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'participant_labels': ['1']}, 'Participant "1" is not in the data set: did you mean 01'),
        ({'participant_labels': ['XYZ']}, 'Participant "XYZ" is not .*: there are 01, 02'),
        (
            {'session_labels': ['3']},
            'Session "3" is not among those of these participants: there are 1, 2',
        ),
        ({'session_labels': ['1'], 'participant_labels': ['02']}, 'there are no sessions'),
    ],
)
def test_missing_labels_are_explained(root, options, words):
    with pytest.raises(DatasetError, match=words):
        find_exams(root, **options)


def test_folders_that_are_no_data_set_are_explained(root, tmp_path):
    with pytest.raises(DatasetError, match='is not a folder: give the root'):
        find_exams(tmp_path / 'nowhere')
    with pytest.raises(
        DatasetError, match=r'no dataset_description\.json; did you mean .*/bids\?'
    ):
        find_exams(root.parent)
    with pytest.raises(DatasetError, match=r'did you mean .*/bids\?'):
        find_exams(root / 'sub-01')
    with pytest.raises(DatasetError, match='the least that it must hold'):
        find_exams(root / 'sub-01/ses-1')
    (root / 'dataset_description.json').write_text('{')
    with pytest.raises(DatasetError, match='cannot be read as JSON'):
        find_exams(root)
    (root / 'dataset_description.json').write_text('[]')
    with pytest.raises(DatasetError, match='must hold a JSON object'):
        find_exams(root)


def test_participants_without_scans_are_named(root):
    (root / 'sub-03').mkdir()
    add_scan(root, 'sub-04_T1map.nii.gz')
    exams = find_exams(root)
    assert found(exams) == ALL
    assert list(absences(exams)) == ['sub-03', 'sub-04']
    assert 'sub-03 has no anatomical scan (T1w, ' in absences(exams)['sub-03']
    assert 'sub-04_T1map.nii.gz: T1map is no contrast that is used' in absences(exams)['sub-04']
    assert list(absences(find_exams(root, participant_labels=['03']))) == ['sub-03']


def test_participants_that_session_or_filter_leave_out_are_named(root):
    assert absences(find_exams(root, session_labels=['2'])) == {
        'sub-02': 'sub-02 has no session 2.'
    }
    filters = {'anat': {'sub': '02'}}
    lack = 'sub-01 has no scan that --bids-filter-file wants.'
    assert absences(find_exams(root, filters=filters)) == {'sub-01': lack}


def test_data_sets_without_scans_are_explained(root):
    for path in root.glob('sub-*/**/*.nii*'):
        path.unlink()
    with pytest.raises(DatasetError, match=r'has no anatomical scan .* of participants 01, 02'):
        find_exams(root)
    for folder in root.glob('sub-*'):
        folder.rename(root / f'derivatives/{folder.name}')
    with pytest.raises(DatasetError, match='no folder in it is named sub-<label>'):
        find_exams(root)


def test_sidecars_are_inherited_the_nearest_counts(root):
    a, b, c, d = SIDECAR_FIELDS[:4]

    def write(path, **values):
        names = {'a': a, 'b': b, 'c': c, 'd': d, 'other': 'PatientName'}
        text = json.dumps({names[key]: value for key, value in values.items()})
        path.write_text('\ufeff' + text, encoding='utf-8')

    write(root / 'T1w.json', a=1, b=1, c=1, d=1, other='Erika')
    write(root / 'acq-other_T1w.json', a=9)
    write(root / 'T2w.json', a=9)
    write(root / 'sub-01/sub-01_T1w.json', b=2, c=2, d=2)
    folder = root / 'sub-01/ses-2/anat'
    write(folder / 'sub-01_ses-2_T1w.json', c=3, d=3)
    write(folder / 'sub-01_ses-2_run-02_T1w.json', d=4)
    first, second = find_exams(root)[1].scans
    assert dict(first.metadata) == {a: 1, b: 2, c: 3, d: 3}
    assert dict(second.metadata) == {a: 1, b: 2, c: 3, d: 4}


def test_all_fields_that_are_read_are_listed_and_no_others():
    """Names of fields, such as ``SliceThickness``, stand in code where they are read."""
    package = Path(bids_synthsr.__file__).parent
    texts = {
        node.value
        for name in ('dataset/scans.py', 'dataset/kinds.py', 'values/exam.py')
        for top in ast.parse((package / name).read_text(encoding='utf-8')).body
        if name.endswith('kinds.py') or not isinstance(top, ast.Assign)
        for node in ast.walk(top)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    fields = {text for text in texts if re.fullmatch(r'([A-Z]+[a-z]+){2,}', text)}
    assert fields <= set(SIDECAR_FIELDS) <= texts


@pytest.mark.parametrize('content', ['{"SliceThickness": 8', '[1]', ''])
def test_broken_sidecar_costs_a_warning(root, content):
    (root / 'sub-02/anat/sub-02_T2w.json').write_text(content)
    exams = find_exams(root)
    assert found(exams) == ALL
    scan = exams[2].scans[0]
    assert scan.is_usable
    assert 'Its sidecar sub-02_T2w.json cannot be read as JSON' in scan.warnings[0]


def test_sidecar_in_another_encoding_is_read(root):
    content = '{"InstitutionName": "Spital Zürich", "SliceThickness": 7.5}'
    (root / 'sub-02/anat/sub-02_T2w.json').write_bytes(content.encode('latin-1'))
    scan = find_exams(root)[2].scans[0]
    assert not any('sidecar' in warning for warning in scan.warnings)
    assert scan.acquisition == Acquisition(2, 8.0, 7.5)


def test_scan_in_the_folder_of_another_participant_is_refused(root):
    path = root / 'sub-02/anat/sub-02_T2w.nii.gz'
    path.rename(path.with_name('sub-01_T2w.nii.gz'))
    scan = find_exams(root)[2].scans[0]
    assert 'Its name says sub-01, but it lies in another folder' in scan.problems[0]


def test_content_that_is_not_here_is_told(root):
    path = root / 'sub-02/anat/sub-02_T2w.nii.gz'
    path.unlink()
    path.symlink_to('../../.git/annex/objects/xx/MD5E-s1--a.nii.gz')
    scan = find_exams(root)[2].scans[0]
    assert f'datalad get {path}' in scan.problems[0]


def test_closed_folder_costs_its_exam_only(root, tmp_path):
    add_scan(root, 'sub-02x_T1w.nii.gz')
    (root / 'sub-02/anat').chmod(0)
    was = os.geteuid()
    for parent in (root, *tmp_path.parents[:3], tmp_path):
        parent.chmod(parent.stat().st_mode | 0o055)
    if was == 0:
        os.seteuid(65534)  # root may enter everything
    try:
        exams = find_exams(root)
    finally:
        os.seteuid(was)
        (root / 'sub-02/anat').chmod(0o755)
    assert found(exams) == ALL | {'sub-02': ['anat'], 'sub-02x': ['T1w']}
    assert 'cannot be entered: check its permissions' in exams[2].scans[0].problems[0]


def test_database_is_made_once_for_all_participants(root, tmp_path, caplog):
    database = tmp_path / 'index'
    assert list(found(find_exams(root, participant_labels=['02'], database_dir=database)))
    assert found(find_exams(root, database_dir=database)) == ALL
    assert not caplog.records


def test_database_that_is_older_than_the_data_is_made_anew(root, tmp_path, caplog):
    database = tmp_path / 'index'

    def names():
        caplog.clear()
        exams = find_exams(root, participant_labels=['02'], database_dir=database)
        return [scan.name for exam in exams for scan in exam.scans if scan.is_usable]

    assert names() == ['T2w'] and not caplog.records
    add_scan(root, 'sub-02_FLAIR.nii.gz')
    assert names() == ['FLAIR', 'T2w']
    assert 'is older than the data set' in caplog.text
    (root / 'sub-02/anat/sub-02_T2w.nii.gz').unlink()
    assert names() == ['FLAIR'] and 'is older' in caplog.text
    assert names() == ['FLAIR'] and not caplog.records
    sidecar = root / 'sub-02/anat/sub-02_FLAIR.json'
    sidecar.write_text('{"ImageType": ["ORIGINAL", "PRIMARY", "P"]}')
    assert names() == [] and 'is older' in caplog.text
    add_scan(root, 'sub-03_T1w.nii.gz')
    assert 'sub-03' in found(find_exams(root, database_dir=database))


def test_database_of_somebody_else_is_used_and_never_replaced(root, tmp_path, caplog):
    database = tmp_path / 'index'
    BIDSLayout(root, validate=False, database_path=database)
    before = (database / 'layout_index.sqlite').read_bytes()
    add_scan(root, 'sub-02_FLAIR.nii.gz')
    exams = find_exams(root, participant_labels=['02'], database_dir=database)
    assert [scan.name for scan in exams[0].scans if scan.is_usable] == ['T2w']
    assert 'was not made by this program' in caplog.text and '--bids-database-wipe' in caplog.text
    assert (database / 'layout_index.sqlite').read_bytes() == before
    wipe_index(database)
    exams = find_exams(root, participant_labels=['02'], database_dir=database)
    assert [scan.name for scan in exams[0].scans] == ['FLAIR', 'T2w']


def test_database_that_cannot_be_used_is_explained(root, tmp_path):
    find_exams(root, database_dir=tmp_path / 'index')
    other = tmp_path / 'other'
    add_scan(other, 'sub-02_T2w.nii.gz')
    (other / 'dataset_description.json').write_text('{}')
    with pytest.raises(DatasetError, match=f'is of {root}: delete it'):
        find_exams(other, database_dir=tmp_path / 'index')
    (tmp_path / 'index/layout_index.sqlite').write_bytes(b'spoilt' * 100)
    with pytest.raises(DatasetError, match=r'cannot be used .*: delete it'):
        find_exams(root, database_dir=tmp_path / 'index')


@pytest.mark.skipif(not CLINICAL.is_dir(), reason='shared data are not here')
def test_clinical_data_set():
    exams = find_exams(CLINICAL)
    suffixes = {exam.label: ' '.join(scan.suffix for scan in exam.scans) for exam in exams}
    assert suffixes == dict.fromkeys(
        ('sub-01_ses-1', 'sub-01_ses-2', 'sub-03_ses-2', 'sub-04_ses-1'), 'FLAIR T1w T2w'
    ) | {'sub-03_ses-1': 'FLAIR T2w'}
    assert all(not scan.problems + scan.warnings for exam in exams for scan in exam.scans)
