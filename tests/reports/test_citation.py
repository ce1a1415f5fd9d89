"""The methods text of a run, and that of an output folder: true of what there is."""

import json
from dataclasses import replace

import pytest

from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.records import Record
from bids_synthsr.reports.citation import write_folder_citation, write_run_citation

SETTINGS = {'method': 'tv', 'contrasts': [], 'reference': None, 'output_resolution': 1.0}
TV = 'on their own grids by multi-channel total variation'
CUBIC = 'interpolated on this grid by cubic splines'


def record(exam, **settings):
    fingerprint = {'settings': SETTINGS | settings, 'version': '0.1'}
    return Record(exam, 'finished', fingerprint, run_uuid='run')


@pytest.fixture
def text_of(tmp_path):
    """Text of the folder that holds exams of these records."""
    return lambda *records: write_folder_citation(Derivatives(tmp_path), records).read_text()


def test_exams_made_alike_share_a_text(text_of):
    text = text_of(record('sub-01'), record('sub-02'))
    assert text.count(TV) == 1 and 'sub-01' not in text and 'bids_synthsr 0.1,' in text


def test_each_way_in_which_exams_were_made_has_its_text(text_of):
    text = text_of(record('sub-01'), record('sub-02', method='cubic'), record('sub-03'))
    first, second = text.index('## sub-01, sub-03\n'), text.index('## sub-02\n')
    assert first < text.index(TV) < second < text.index(CUBIC)


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        ({'reference': 'FLAIR'}, 'a scan that was asked for (FLAIR)'),
        ({'contrasts': ['T1w', 'FLAIR']}, 'the usable T1w and FLAIR scans'),
        ({'transforms': {'FLAIR': '0123'}}, 'Transforms to the reference that were given'),
        ({'output_resolution': 0.8}, '0.8 mm isotropic voxels'),
        ({'fov': 'union'}, 'covers all scans'),
    ],
)
def test_settings_of_exams_are_told(text_of, settings, words):
    assert words in text_of(record('sub-01', **settings))
    assert words not in text_of(record('sub-01'))


def test_what_auto_did_not_do_is_not_told(text_of):
    acquired = replace(record('sub-01', method='auto'), main='acquired')
    outputs = {
        f'sub-02/anat/sub-02_{name}_T1w.nii.gz': None
        for name in ('desc-preproc', 'space-T1w_desc-sr')
    }
    predicted = replace(record('sub-02', method='auto'), main='any-exam', outputs=outputs)
    n4, tv, sr = 'by N4', 'total variation', 'trained on T1w scans of 1 mm'
    assert [word in text_of(acquired) for word in (n4, tv, sr)] == [True, False, False]
    assert [word in text_of(predicted) for word in (n4, tv, sr)] == [False, False, True]


def test_exams_that_are_not_finished_are_left_out(text_of):
    failed = replace(record('sub-01', method='cubic'), state='failed')
    assert CUBIC not in text_of(failed, record('sub-02'))
    assert 'No exam of this folder is finished' in text_of(failed)


@pytest.mark.parametrize(
    'settings',
    [{'method': 'published'}, {'method': []}, {'output_resolution': 'fine'}, {'reference': 3}],
)
def test_exams_of_other_versions_are_named_and_break_nothing(text_of, settings):
    text = text_of(record('sub-01'), record('sub-02', **settings))
    assert TV in text and '## Not described: sub-02\n' in text
    assert 'Not described: sub-02' in text_of(record('sub-02', **settings))


def test_versions_are_those_of_the_run_that_made_the_exam(tmp_path, text_of):
    file = Derivatives(tmp_path).run_facts('run')
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({'versions': {'bids_synthsr': '0.1', 'torch': '2.99'}}))
    assert 'PyTorch 2.99' in text_of(record('sub-01'))
    file.write_text('{"versions": ')
    assert 'PyTorch (' in text_of(record('sub-01'))


def test_text_of_a_run_takes_its_settings(tmp_path):
    run = {'settings': SETTINGS | {'reference': 'T2w'}, 'versions': {}, 'derivatives': ['before']}
    text = write_run_citation(tmp_path / 'CITATION.md', run).read_text()
    assert 'asked for (T2w)' in text and 'Transforms to the reference that were given' in text
    text = write_run_citation(tmp_path / 'CITATION.md', run | {'derivatives': []}).read_text()
    assert 'that were given' not in text
