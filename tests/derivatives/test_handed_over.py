"""The T1w of finished exams as a raw data set, in a folder that is nobody else's."""

import json

import numpy as np
import pytest
from bids import BIDSLayout
from phantoms import write_description, write_scan

from bids_synthsr.dataset.files import write_json
from bids_synthsr.dataset.images import save_volume
from bids_synthsr.dataset.validation import run_validator
from bids_synthsr.derivatives.digests import describe_outputs
from bids_synthsr.derivatives.handed_over import check_handover, hand_over
from bids_synthsr.derivatives.places import Derivatives, sidecar_of
from bids_synthsr.derivatives.records import Record, write_record
from bids_synthsr.values.grid import Grid


@pytest.fixture
def bids(tmp_path):
    root = tmp_path / 'bids'
    write_description(root)
    for subject in ('01', '02', '03'):
        write_scan(root / f'sub-{subject}/anat', f'sub-{subject}', 'T1w')
    (root / 'participants.tsv').write_text(
        'participant_id\tage\nsub-01\t30\nsub-02\tn/a\nsub-03\t50\n'
    )
    return root


@pytest.fixture
def derivatives(tmp_path):
    return Derivatives(tmp_path / 'out')


def finish(derivatives, subject, session=None, main='any-exam', suffix='T1w', state='finished'):
    """Write a main volume, another one and the record of an exam."""
    place = derivatives.exam(subject, session)
    rng = np.random.default_rng(int(subject))
    grid = Grid((20, 21, 22), np.diag([1.0, 1, 1, 1]))
    outputs = []
    for entities in ({'desc': 'preproc'}, {'space': 'T1w', 'desc': 'sr'}):
        path = place.path_of(suffix, entities)
        save_volume(path, rng.uniform(0, 110, grid.shape).astype(np.float32), grid)
        write_json(sidecar_of(path), {'Method': 'auto', 'Synthetic': main != 'acquired',
                                      'Sources': [f'bids:raw:sub-{subject}']})  # fmt: skip
        outputs += [path, sidecar_of(path)]
    digests = describe_outputs(outputs, derivatives)
    write_record(place.record, Record(place.label, state, main=main, outputs=digests))
    return place


def test_every_finished_exam_is_in_it(bids, derivatives, tmp_path):
    first = finish(derivatives, '01')
    finish(derivatives, '02', session='a', main='acquired')
    finish(derivatives, '03', state='failed')
    folder = tmp_path / 'raw'
    given = hand_over(derivatives, bids, folder)
    assert (given.exams, given.left) == (('sub-01', 'sub-02_ses-a'), ())
    layout = BIDSLayout(folder)
    found = [path.filename for path in layout.get(suffix='T1w', extension='.nii.gz')]
    assert found == ['sub-01_rec-anyexam_T1w.nii.gz', 'sub-02_ses-a_rec-acquired_T1w.nii.gz']
    t1w = folder / 'sub-01/anat' / found[0]
    assert t1w.samefile(first.path_of('T1w', {'desc': 'preproc'}))
    sidecar = json.loads(sidecar_of(t1w).read_text())
    assert sidecar['Synthetic'] is True and sidecar['Modality'] == 'MR'
    assert (folder / 'participants.tsv').read_text() == (
        'participant_id\tage\nsub-01\t30\nsub-02\tn/a\n'
    )
    assert [issue for issue in run_validator(folder) if issue['severity'] == 'error'] == []


def test_it_is_brought_up_to_date(bids, derivatives, tmp_path):
    folder = tmp_path / 'raw'
    finish(derivatives, '01', main='acquired')
    hand_over(derivatives, bids, folder)
    place = finish(derivatives, '01')
    check_handover(folder, derivatives.root, bids)
    hand_over(derivatives, bids, folder)
    names = sorted(path.name for path in (folder / 'sub-01/anat').iterdir())
    assert names == ['sub-01_rec-anyexam_T1w.json', 'sub-01_rec-anyexam_T1w.nii.gz']
    t1w = folder / 'sub-01/anat' / names[1]
    assert t1w.samefile(place.path_of('T1w', {'desc': 'preproc'}))


def test_what_is_no_longer_finished_goes_and_nothing_of_others(bids, derivatives, tmp_path):
    folder = tmp_path / 'raw'
    finish(derivatives, '01')
    finish(derivatives, '02')
    hand_over(derivatives, bids, folder)
    theirs = folder / 'sub-02/anat/sub-02_rec-mine_T1w.nii.gz'
    theirs.write_text('precious')
    write_json(sidecar_of(theirs), {'GeneratedBy': [{'Name': 'me'}]})
    finish(derivatives, '02', state='failed')
    assert hand_over(derivatives, bids, folder).exams == ('sub-01',)
    assert sorted(path.name for path in theirs.parent.iterdir()) == [
        'sub-02_rec-mine_T1w.json', 'sub-02_rec-mine_T1w.nii.gz',
    ]  # fmt: skip


def test_a_link_into_the_input_is_not_followed(bids, derivatives, tmp_path):
    folder = tmp_path / 'raw'
    finish(derivatives, '01')
    folder.mkdir()
    (folder / 'sub-01').symlink_to(bids / 'sub-01')
    before = sorted((bids / 'sub-01/anat').iterdir())
    with pytest.raises(ValueError, match='is a link'):
        hand_over(derivatives, bids, folder)
    assert sorted((bids / 'sub-01/anat').iterdir()) == before


def test_copies_take_the_place_of_links(bids, derivatives, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError('no links here')

    monkeypatch.setattr('os.link', refuse)
    place = finish(derivatives, '01')
    hand_over(derivatives, bids, tmp_path / 'raw')
    copy = tmp_path / 'raw/sub-01/anat/sub-01_rec-anyexam_T1w.nii.gz'
    source = place.path_of('T1w', {'desc': 'preproc'})
    assert not copy.samefile(source)
    assert copy.read_bytes() == source.read_bytes()


def test_an_exam_without_t1w_is_named(bids, derivatives, tmp_path):
    finish(derivatives, '01', main='tv', suffix='FLAIR')
    given = hand_over(derivatives, bids, tmp_path / 'raw')
    assert (given.exams, given.left) == ((), ('sub-01',))


def test_folders_of_others_are_refused(bids, derivatives, tmp_path):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine/notes.txt').write_text('precious')
    write_description(tmp_path / 'other')
    content = json.loads((tmp_path / 'other/dataset_description.json').read_text())
    content |= {'GeneratedBy': [{'Name': 'bids_synthsr', 'Version': '0.1.0'}]}
    write_json(tmp_path / 'other/dataset_description.json', content)  # as that of the demo
    derivatives.root.mkdir()
    for folder in (
        bids, bids / 'raw', bids / 'sub-01', derivatives.root, derivatives.root / 'raw', tmp_path,
        tmp_path / 'mine', tmp_path / 'other', tmp_path / 'other/sub-01',
    ):  # fmt: skip
        with pytest.raises(ValueError, match='choose another folder'):
            check_handover(folder, derivatives.root, bids)
    check_handover(tmp_path / 'new', derivatives.root, bids)
    (tmp_path / 'empty').mkdir()
    check_handover(tmp_path / 'empty', derivatives.root, bids)
