import json
import os
import time

import numpy as np
import pytest

from bids_synthsr import __version__
from bids_synthsr.dataset.images import save_rigid, save_volume
from bids_synthsr.dataset.selection import write_selection
from bids_synthsr.dataset.validation import run_validator
from bids_synthsr.derivatives.places import (
    NOT_BIDS,
    Derivatives,
    Provenance,
    raw_uri,
    remove_leftovers,
    sidecar_of,
    write_dataset_description,
    write_json,
    write_text,
)
from bids_synthsr.values.grid import Grid

SCANS = ('T1w', 'acq-ax_run-1_FLAIR', 'acq-ax_run-2_FLAIR', 'ce-gad_T1w', 'echo-1_T2starw')


@pytest.fixture
def raw(tmp_path):
    raw = tmp_path / 'my data'
    raw.mkdir()
    write_json(raw / 'dataset_description.json', {'Name': 'Klinik Ü', 'BIDSVersion': '1.9.0'})
    return raw


@pytest.fixture
def derivatives(tmp_path):
    return Derivatives(tmp_path / 'out')


def test_names_are_those_of_the_design(derivatives):
    exam = derivatives.exam('01', '1')
    anat = 'sub-01/ses-1/anat/sub-01_ses-1_'
    names = {
        exam.product('T1w', 'tv'): anat + 'desc-tv_T1w.nii.gz',
        exam.product('FLAIR', 'tv'): anat + 'space-T1w_desc-tv_FLAIR.nii.gz',
        exam.product('T1w', 'uncertainty'): anat + 'desc-uncertainty_T1w.nii.gz',
        exam.product('dseg', 'synthsr'): anat + 'desc-synthsr_dseg.nii.gz',
        sidecar_of(exam.product('T1w', 'tv')): anat + 'desc-tv_T1w.json',
        exam.volumes('synthsr'): anat + 'desc-synthsr_volumes.tsv',
        exam.selection: anat + 'desc-scans_selection.tsv',
        exam.resampled('FLAIR'): anat + 'space-T1w_desc-preproc_FLAIR.nii.gz',
        exam.reliability('run-2_FLAIR'): anat + 'run-2_space-T1w_desc-reliability_FLAIR.nii.gz',
        exam.resampled('chunk-1_T2w'): anat + 'space-T1w_chunk-1_desc-preproc_T2w.nii.gz',
        exam.transform('FLAIR'): anat + 'from-FLAIR_to-T1w_mode-image_xfm.txt',
        exam.transform('run-2_FLAIR'): anat + 'run-2_from-FLAIR_to-T1w_mode-image_xfm.txt',
        exam.figures: 'sub-01/ses-1/figures',
        exam.report: 'sub-01_ses-1.html',
        exam.record: 'logs/exams/sub-01_ses-1.json',
        derivatives.exam('02').product('T1w', 'tv'): 'sub-02/anat/sub-02_desc-tv_T1w.nii.gz',
        derivatives.exam('02').report: 'sub-02.html',
        derivatives.labels('synthsr'): 'desc-synthsr_dseg.tsv',
        derivatives.citation: 'logs/CITATION.md',
        derivatives.index: 'index.html',
        derivatives.run_logs('uuid'): 'logs/uuid',
    }
    made = [path.relative_to(derivatives.root).as_posix() for path in names]
    assert made == [*names.values()]


def test_scans_of_one_contrast_do_not_collide(derivatives):
    exam = derivatives.exam('01')
    paths = [
        name(scan) for name in (exam.resampled, exam.reliability, exam.transform) for scan in SCANS
    ]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize('session', ['1', None])
def test_output_is_valid_bids(derivatives, raw, session):
    exam = derivatives.exam('01', session)
    volume, grid = np.ones((3, 4, 5), np.float32), Grid((3, 4, 5), np.eye(4))
    sources = {
        name: raw_uri(raw / f'{exam.label}/anat/{exam.label}_{name}.nii.gz', raw) for name in SCANS
    }
    provenance = Provenance(sources, derivatives.uri(exam.product('T1w', 'tv')))
    write_dataset_description(derivatives, raw)
    for suffix in ('T1w', 'FLAIR'):
        path = save_volume(exam.product(suffix, 'tv'), volume, grid)
        write_json(sidecar_of(path), provenance.product(derivatives.uri(path), SCANS, 'tv'))
    for scan in SCANS:
        for kind in ('resampled', 'reliability'):
            path = save_volume(getattr(exam, kind)(scan), volume, grid)
            write_json(sidecar_of(path), getattr(provenance, kind)(scan))
        save_rigid(exam.transform(scan), np.eye(4))
    save_volume(exam.product('dseg', 'synthsr'), volume.astype(np.uint8), grid)
    write_selection(exam.selection, [{'scan': 'T1w'}])
    for text in (
        exam.report,
        exam.record,
        exam.figures / 'one.svg',
        exam.volumes('tv'),
        derivatives.index,
        derivatives.citation,
        derivatives.run_logs('uuid') / 'crash.txt',
        derivatives.root / '.tmp-abc.html',
    ):
        write_text(text, 'x')
    write_text(derivatives.labels('synthsr'), 'index\tname\n1\tbrain\n')
    assert run_validator(derivatives.root) == []


def test_sidecars_tell_what_is_synthetic_and_where_it_comes_from():
    provenance = Provenance({'T1w': 'bids:raw:t1', 'FLAIR': 'bids:raw:flair'}, 'bids::main')
    facts = {'weights': {'name': 'w.h5', 'sha256': 'abc'}}
    main = provenance.product('bids::main', ['T1w', 'FLAIR'], 'tv', facts)
    assert main['Synthetic'] is True
    assert 'not acquired' in main['Description']
    assert main['Sources'] == ['bids:raw:t1', 'bids:raw:flair']
    assert main['SpatialReference'] == 'bids:raw:t1'
    assert main['MethodDetails'] == facts
    assert main['GeneratedBy'] == {'Name': 'bids_synthsr', 'Version': __version__}
    other = provenance.product('bids::other', ['FLAIR'], 'tv')
    assert (other['SpatialReference'], other['Sources']) == ('bids::main', ['bids:raw:flair'])
    resampled = provenance.resampled('FLAIR')
    assert 'Synthetic' not in resampled
    assert (resampled['Sources'], resampled['SpatialReference']) == (
        ['bids:raw:flair'],
        'bids::main',
    )


def test_uris_name_the_data_set(raw, derivatives):
    assert raw_uri(raw / 'sub-01/anat/x.nii', raw) == 'bids:raw:sub-01/anat/x.nii'
    assert derivatives.uri(derivatives.root / 'sub-01/x.nii') == 'bids::sub-01/x.nii'


def read(path):
    return json.loads(path.read_text(encoding='utf-8'))


def test_description_links_to_the_input(raw, derivatives):
    write_dataset_description(derivatives, raw)
    description = read(derivatives.description)
    assert description['DatasetType'] == 'derivative'
    assert description['Name'] == '1 mm volumes of Klinik Ü'
    assert description['DatasetLinks'] == {'raw': raw.as_uri()}
    assert description['SourceDatasets'] == [{'URL': raw.as_uri()}]
    inside = Derivatives(raw / 'derivatives' / 'synthsr')
    write_dataset_description(inside, raw)
    assert read(inside.description)['DatasetLinks'] == {'raw': '../..'}


@pytest.mark.parametrize('doi', ['10.1/x', 'doi:10.1/x', 'https://doi.org/10.1/x'])
def test_description_names_the_doi_of_the_input(raw, derivatives, doi):
    write_json(raw / 'dataset_description.json', {'DatasetDOI': doi})
    write_dataset_description(derivatives, raw)
    source = {'DOI': 'doi:10.1/x', 'URL': 'https://doi.org/10.1/x'}
    assert read(derivatives.description)['SourceDatasets'] == [source]
    assert read(derivatives.description)['Name'] == '1 mm volumes of my data'


def test_lines_of_a_user_stay_in_the_ignore_file(raw, derivatives):
    derivatives.root.mkdir()
    derivatives.ignored.write_text('mine/\nlogs\n')
    write_dataset_description(derivatives, raw)
    lines = derivatives.ignored.read_text().splitlines()
    assert lines[:2] == ['mine/', 'logs']
    assert set(NOT_BIDS) < set(lines)
    assert len(lines) == len(set(lines))


def test_text_is_written_whole_or_not_at_all(tmp_path):
    path = write_text(tmp_path / 'new' / 'ü.txt', 'ü\n')
    assert path.read_bytes() == 'ü\n'.encode()
    with pytest.raises(UnicodeEncodeError):
        write_text(path, 'never \ud800')
    assert path.read_bytes() == 'ü\n'.encode()
    assert [*path.parent.iterdir()] == [path]


def test_leftovers_of_a_killed_run_are_removed(derivatives):
    exam = derivatives.exam('01', '1')
    own = exam.folder / 'anat/.tmp-1.nii.gz'
    stale, fresh = derivatives.root / '.tmp-old.html', derivatives.root / '.tmp-new.html'
    other = derivatives.exam('02').folder / 'anat/.tmp-2.nii.gz'
    kept = exam.product('T1w', 'tv')
    for path in (own, stale, fresh, other, kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    os.utime(stale, (time.time() - 3600,) * 2)
    remove_leftovers(exam)
    remove_leftovers(derivatives.exam('03'))
    assert [path.exists() for path in (own, stale, fresh, other, kept)] == [False, False] + [
        True
    ] * 3
