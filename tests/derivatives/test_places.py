import json
import os
import time

import nibabel as nb
import numpy as np
import pytest

from bids_synthsr import __version__
from bids_synthsr.dataset.files import write_json, write_rows, write_text
from bids_synthsr.dataset.images import save_rigid, save_volume
from bids_synthsr.dataset.validation import run_validator
from bids_synthsr.derivatives.places import Derivatives, remove_leftovers, sidecar_of
from bids_synthsr.derivatives.products import (
    AlignedScans,
    ProductFile,
    registration_products,
    write_synthesis,
)
from bids_synthsr.derivatives.provenance import NOT_BIDS, raw_uri, write_dataset_description
from bids_synthsr.derivatives.saving import save_products
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Image, Synthesis, Table

SCANS = ('T1w', 'acq-ax_run-1_FLAIR', 'acq-ax_run-2_FLAIR', 'ce-gad_T1w', 'echo-1_T2starw')

HEAD = {'size_mm': (160.0, 200.0, 150.0), 'percent': 99.0}


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
        exam.synthesized('T1w', 'tv'): anat + 'desc-tv_T1w.nii.gz',
        exam.synthesized('FLAIR', 'tv'): anat + 'desc-tv_FLAIR.nii.gz',
        exam.synthesized('uncertainty', 'anyexam'): anat + 'desc-anyexam_uncertainty.nii.gz',
        exam.synthesized('dseg', 'anyexam'): anat + 'desc-anyexam_dseg.nii.gz',
        sidecar_of(exam.synthesized('T1w', 'tv')): anat + 'desc-tv_T1w.json',
        exam.volumes('anyexam'): anat + 'desc-anyexam_volumes.tsv',
        exam.selection: anat + 'desc-scans_selection.tsv',
        exam.resampled('FLAIR', 'T1w'): anat + 'space-T1w_desc-resampled_FLAIR.nii.gz',
        exam.resampled('T2w', 'run-2_FLAIR'): anat + 'space-FLAIR_desc-resampled_T2w.nii.gz',
        exam.resampled('UNIT1', 'UNIT1'): anat + 'space-T1w_desc-resampled_UNIT1.nii.gz',
        exam.reliability('run-2_FLAIR', 'T1w'): (
            anat + 'run-2_space-T1w_desc-FLAIR_reliability.nii.gz'
        ),
        exam.resampled('chunk-1_T2w', 'T1w'): (
            anat + 'space-T1w_chunk-1_desc-resampled_T2w.nii.gz'
        ),
        exam.transform('FLAIR', 'T1w'): anat + 'from-FLAIR_to-T1w_mode-image_xfm.txt',
        exam.transform('run-2_FLAIR', 'T2w'): anat + 'run-2_from-FLAIR_to-T2w_mode-image_xfm.txt',
        exam.figures: 'sub-01/ses-1/figures',
        exam.report: 'sub-01_ses-1.html',
        exam.record: 'logs/exams/sub-01_ses-1.json',
        derivatives.exam('02').synthesized('T1w', 'tv'): 'sub-02/anat/sub-02_desc-tv_T1w.nii.gz',
        derivatives.exam('02').report: 'sub-02.html',
        derivatives.labels('anyexam'): 'desc-anyexam_dseg.tsv',
        derivatives.citation: 'logs/CITATION.md',
        derivatives.index: 'index.html',
        derivatives.run_logs('uuid'): 'logs/uuid',
    }
    made = [path.relative_to(derivatives.root).as_posix() for path in names]
    assert made == [*names.values()]


def test_scans_of_one_contrast_do_not_collide(derivatives):
    exam = derivatives.exam('01')
    paths = [
        name(scan, 'T1w')
        for name in (exam.resampled, exam.reliability, exam.transform)
        for scan in SCANS
    ]
    assert len(set(paths)) == len(paths)


def exam_products(folder):
    """Products of both stages of an exam, as files in a work folder."""
    folder.mkdir(exist_ok=True)
    grid = Grid((3, 4, 5), np.eye(4))
    voxels = np.linspace(0, 50, 60, dtype=np.float32).reshape(grid.shape)
    shares = voxels / 50
    resampled, reliability = (
        [str(save_volume(folder / f'{kind}-{n}.nii', volume, grid)) for n in range(len(SCANS))]
        for kind, volume in (('resampled', voxels), ('reliability', shares))
    )
    xfms = [str(save_rigid(folder / f'{n}.txt', np.eye(4))) for n in range(len(SCANS))]
    selection = write_rows(folder / 'rows.json', [{'scan': 'T1w', 'role': 'reference', 'x': ''}])
    alignment = AlignedScans(SCANS, xfms, resampled, reliability)
    fits = [{'name': name, 'status': 'good', 'reason': 'It fits.'} for name in SCANS]
    images = (
        Image('T1w', 'anyexam', voxels, grid),
        Image('FLAIR', 'tv', voxels, grid),
        Image('dseg', 'anyexam', (17 * (shares > 0.5)).astype(np.int16), grid, labels=(0, 17)),
        Image('mask', 'brain', (shares > 0.5).astype(np.uint8), grid),
    )
    rows = [
        {'index': 17, 'name': 'Left-Hippocampus', 'volume_mm3': 1.06},
        {'index': None, 'name': 'Intracranial', 'volume_mm3': 2.0},
    ]
    synthesis = Synthesis(
        (*images, Table('volumes', 'anyexam', rows)), {'method': 'any-exam', 'n': 1}, used=(0, 1)
    )
    made = registration_products(str(selection), alignment, fits, HEAD)
    return [*made, *write_synthesis(synthesis, SCANS, folder)]


@pytest.mark.parametrize('session', ['1', None])
def test_output_is_valid_bids(derivatives, raw, tmp_path, session):
    exam = derivatives.exam('01', session)
    sources = {
        name: raw_uri(raw / f'{exam.label}/anat/{exam.label}_{name}.nii.gz', raw) for name in SCANS
    }
    write_dataset_description(derivatives, raw)
    outputs = save_products(exam_products(tmp_path / 'work'), exam, sources)
    assert all(path.is_file() for path in outputs) and len(outputs) == len(set(outputs))
    for text in (
        exam.report,
        exam.record,
        exam.figures / 'one.svg',
        derivatives.index,
        derivatives.citation,
        derivatives.run_logs('uuid') / 'crash.txt',
        derivatives.root / '.tmp-synthsr-abc.html',
    ):
        write_text(text, 'x')
    assert run_validator(derivatives.root) == []


def test_one_sink_writes_images_tables_and_transforms(derivatives, tmp_path):
    exam, sources = derivatives.exam('01'), {name: f'bids:raw:{name}' for name in SCANS}
    save_products(exam_products(tmp_path), exam, sources)
    stored = {
        exam.synthesized('T1w', 'anyexam'): np.float32,
        exam.synthesized('dseg', 'anyexam'): np.int16,
        exam.synthesized('mask', 'brain'): np.uint8,
        exam.resampled('T1w', 'T1w'): np.int16,
        exam.reliability('T1w', 'T1w'): np.uint8,
    }
    for path, kind in stored.items():
        assert nb.load(path).get_data_dtype() == kind
    np.testing.assert_allclose(
        nb.load(exam.reliability('T1w', 'T1w')).get_fdata().max(), 1, atol=1e-6
    )
    assert exam.volumes('anyexam').read_text().splitlines() == [
        'index\tname\tvolume_mm3',
        '17\tLeft-Hippocampus\t1.1',
        'n/a\tIntracranial\t2.0',
    ]
    assert exam.selection.read_text() == 'scan\trole\tx\nT1w\treference\tn/a\n'
    assert 'Left-Hippocampus' in derivatives.labels('anyexam').read_text()
    assert read(sidecar_of(exam.transform(SCANS[1], SCANS[0])))['Fit']['reason'] == 'It fits.'


def test_sidecars_say_what_is_synthetic_and_where_it_comes_from(derivatives, tmp_path):
    exam, sources = derivatives.exam('01'), {name: f'bids:raw:{name}' for name in SCANS}
    save_products(exam_products(tmp_path), exam, sources)
    main = read(sidecar_of(exam.synthesized('T1w', 'anyexam')))
    assert main['Synthetic'] is True and 'not acquired' in main['Description']
    assert main['Sources'] == [f'bids:raw:{name}' for name in SCANS[:2]]
    assert main['SpatialReference'] == 'bids:raw:T1w'
    assert (main['Method'], main['MethodDetails']['n']) == ('any-exam', 1)
    assert main['GeneratedBy'] == {'Name': 'bids_synthsr', 'Version': __version__}
    space = derivatives.uri(exam.synthesized('T1w', 'anyexam'))
    beside = exam.path_of('FLAIR', {'space': 'T1w', 'desc': 'tv'})
    assert read(sidecar_of(beside))['SpatialReference'] == space
    assert read(sidecar_of(exam.synthesized('mask', 'brain')))['Type'] == 'Brain'
    resampled = read(sidecar_of(exam.resampled(SCANS[1], SCANS[0])))
    assert resampled['Synthetic'] is False and resampled['SpatialReference'] == space
    assert resampled['Sources'] == [f'bids:raw:{SCANS[1]}']
    moved = read(sidecar_of(exam.transform(SCANS[1], SCANS[0])))
    assert moved['Sources'] == [f'bids:raw:{SCANS[1]}', 'bids:raw:T1w']
    assert 'SpatialReference' not in moved


def test_products_travel_between_steps_as_plain_values(tmp_path):
    for product in exam_products(tmp_path):
        assert ProductFile(**json.loads(json.dumps(product.as_plain()))).file == product.file


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
    with pytest.raises(TypeError):
        write_text(path, b'never')
    assert path.read_bytes() == 'ü\n'.encode()
    assert [*path.parent.iterdir()] == [path]


def test_leftovers_of_a_killed_run_are_removed(derivatives):
    exam = derivatives.exam('01', '1')
    own = exam.folder / 'anat/.tmp-synthsr-1.nii.gz'
    stale, fresh = (
        derivatives.root / '.tmp-synthsr-old.html',
        derivatives.root / '.tmp-synthsr-new.html',
    )
    other = derivatives.exam('02').folder / 'anat/.tmp-synthsr-2.nii.gz'
    kept = exam.synthesized('T1w', 'tv')
    for path in (own, stale, fresh, other, kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    os.utime(stale, (time.time() - 3600,) * 2)
    remove_leftovers(exam)
    remove_leftovers(derivatives.exam('03'))
    assert [path.exists() for path in (own, stale, fresh, other, kept)] == [False, False] + [
        True
    ] * 3
