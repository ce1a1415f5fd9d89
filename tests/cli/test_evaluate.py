"""Evaluation against a known truth: its cases, its numbers, its table and page."""

import csv
import json

import numpy as np
import pytest
from nilearn.datasets import load_mni152_template

from bids_synthsr.cli.evaluate import main
from bids_synthsr.dataset.images import save_volume, volume_of
from bids_synthsr.dataset.selection import PLANES
from bids_synthsr.evaluation.results import COLUMNS, Result, write_table
from bids_synthsr.evaluation.simulated_page import gains_over_baseline, summarise, write_evaluation
from bids_synthsr.imaging.similarity import closeness, psnr, ssim
from bids_synthsr.run.simulated import find_heads, list_cases

MEASURES = {'psnr', 'ssim', 'l1', 'correlation'}


def result(tmp_path, subject, method, axis, value, spacing=5.0):
    measures = {'psnr': value, 'ssim': 0.9, 'l1': 0.02, 'correlation': 0.8}
    plane = PLANES[axis]
    picture = tmp_path / 'none.jpg'
    return Result(subject, '', method, 'T1w', plane, spacing, spacing, measures, picture)


@pytest.fixture
def results(tmp_path):
    return [
        result(tmp_path, subject, method, axis, base + gain + axis)
        for subject, base in (('01', 30), ('02', 20))
        for axis in range(3)
        for method, gain in (('cubic', 0), ('tv', 1 if subject == '01' else -0.5))
    ]


def test_heads_of_folders_and_data_sets_are_found(tmp_path):
    for name in ('sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz', 'plain_T1w.nii', 'T1w.nii.txt',
                 'derivatives/x/sub-01/anat/sub-01_T1w.nii.gz', 'x_T2w.nii.gz'):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_heads(tmp_path, [])
    assert list(found) == ['plain_T1w', 'sub_01_ses_1_T1w']
    assert found['sub_01_ses_1_T1w']['subject'] == '01'
    assert found['sub_01_ses_1_T1w']['session'] == '1'
    assert list(find_heads(tmp_path, ['sub-01'])) == ['sub_01_ses_1_T1w']
    with pytest.raises(FileNotFoundError, match='holds no T1w images of 07'):
        find_heads(tmp_path, ['07'])
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other/plain_T1w.nii.gz').touch()
    with pytest.raises(ValueError, match=r'has the name of .*plain_T1w.nii.*rename one of them'):
        find_heads(tmp_path, [])


def test_cases_are_all_that_make_sense():
    cases = dict(list_cases([2, 5.5], [None, 3.0], ['axial', 'coronal']))
    assert [tuple(setting.values()) for setting in cases.values()] == [
        ('axial', 2, 2), ('coronal', 2, 2), ('axial', 5.5, 5.5), ('coronal', 5.5, 5.5),
        ('axial', 5.5, 3.0), ('coronal', 5.5, 3.0),
    ]  # fmt: skip
    assert all(name.isidentifier() for name in cases)
    assert len(dict(list_cases([3], [None, 3.0], ['axial']))) == 1


def test_gains_are_over_cubic_of_the_same_scan(results):
    gains = gains_over_baseline(results)
    assert len(gains) == 6
    assert {round(gain, 6) for gain in gains.values()} == {1, -0.5}


def test_summary_tells_mean_and_worst(results):
    tv = next(row for row in summarise(results) if row.method == 'tv')
    assert (tv.count, tv.gain, tv.least_gain) == (6, pytest.approx(0.25), pytest.approx(-0.5))
    assert tv.means['psnr'] == pytest.approx(25 + 0.25 + 1)
    cubic = next(row for row in summarise(results) if row.method == 'cubic')
    assert cubic.gain is None
    alone = summarise([r for r in results if r.method == 'tv'])
    assert alone[0].gain is None


def test_table_has_a_line_per_measure(results, tmp_path):
    path = write_table(results, tmp_path / 'table.tsv')
    rows = list(csv.DictReader(path.open(), delimiter='\t'))
    assert tuple(rows[0]) == COLUMNS and len(rows) == len(MEASURES) * len(results)
    assert rows[0]['orientation'] == 'sagittal' and rows[0]['session'] == 'n/a'


def test_page_tells_what_failed(results, tmp_path):
    page = write_evaluation(results, ['sub_03_axial'], tmp_path / 'page.html').read_text()
    assert 'sub_03_axial' in page and '+0.25' in page and '-0.50' in page
    assert (
        'src="http' not in page
        and 'url(http' not in page
        and '<link rel="icon" href="data:' in page
    )


def test_closeness_is_measured_in_the_mask():
    rng = np.random.default_rng(1)
    truth = rng.random((9, 9, 9))
    image, mask = truth + 0.1, truth > 0.2
    image[~mask] = 9
    found = closeness(image, truth, mask)
    assert found['l1'] == pytest.approx(0.1 / np.ptp(truth[mask]))
    assert found['psnr'] == psnr(image, truth, mask) and found['ssim'] == ssim(image, truth, mask)
    assert found['correlation'] == pytest.approx(1)
    assert closeness(np.zeros(truth.shape), truth, mask)['correlation'] == 0


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--weights', 'published=x'], 'with a method of --methods'),
        (['--methods', 'sr-t1', '--weights', 'sr-t1=no.safetensors'], 'there is no such file'),
        (['--participant-label', '07'], 'holds no T1w images of 07'),
        (['--spacing', '3', '--thickness', '5'], 'give a --thickness of at most the --spacing'),
        (['--work-dir', 'in/work'], 'lies in the input data set'),
    ],
)
def test_wrong_use_is_told_and_writes_nothing(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in/a_T1w.nii.gz').touch()
    assert main(['simulate', str(tmp_path / 'in'), str(tmp_path / 'out'), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_whole_command_then_again_from_what_is_done(tmp_path, capsys):
    heads = tmp_path / 'heads'
    save_volume(heads / 'sub-01_T1w.nii.gz', *volume_of(load_mni152_template(2)))
    (heads / 'sub-02_T1w.nii.gz').write_bytes(b'not an image')
    out = tmp_path / 'out'
    command = ['simulate', str(heads), str(out), '--methods', 'cubic', '--spacing', '6',
               '--thickness', 'equal', '--planes', 'axial', '--nprocs', '1']  # fmt: skip
    assert main(command) == 1  # the other head went on
    rows = list(csv.DictReader((out / 'simulate.tsv').open(), delimiter='\t'))
    values = {row['measure']: float(row['value']) for row in rows}
    assert {row['subject'] for row in rows} == {'01'} and set(values) == MEASURES
    assert 15 < values['psnr'] < 40 and 0.5 < values['ssim'] < 1
    assert 'sub-02_T1w.nii.gz' in (out / 'simulate.html').read_text()
    told = capsys.readouterr().err
    assert 'failed: sub-02_T1w, conform: ' in told and 'sub-02_T1w.nii.gz' in told
    made = next(out.rglob('synthesize/volume-0.nii')).stat().st_mtime_ns
    (out / 'results' / 'sub_01_T1w_T1w_axial_6_6_cubic.json').unlink()
    assert main(command) == 1
    assert next(out.rglob('synthesize/volume-0.nii')).stat().st_mtime_ns == made
    told = json.loads((out / 'results' / 'sub_01_T1w_T1w_axial_6_6_cubic.json').read_text())
    assert told['measures']['psnr'] == pytest.approx(values['psnr'], rel=1e-4)
