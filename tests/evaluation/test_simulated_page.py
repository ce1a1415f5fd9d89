"""Results of simulated scans: gains, summary, table and page."""

import csv
from dataclasses import replace

import pytest

from bids_synthsr.dataset.selection import PLANES
from bids_synthsr.evaluation.results import COLUMNS, SIMULATED, Result, write_table
from bids_synthsr.evaluation.simulated_page import (
    gains_over_baseline,
    summarise_settings,
    write_simulated_page,
)

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


def test_gains_are_over_cubic_of_the_same_scan(results):
    gains = gains_over_baseline(results)
    assert len(gains) == 6
    assert {round(gain, 6) for gain in gains.values()} == {1, -0.5}


def test_summary_has_mean_and_worst(results):
    tv = next(row for row in summarise_settings(results) if row.method == 'tv')
    assert (tv.count, tv.gain, tv.least_gain) == (6, pytest.approx(0.25), pytest.approx(-0.5))
    assert tv.means['psnr'] == pytest.approx(25 + 0.25 + 1)
    cubic = next(row for row in summarise_settings(results) if row.method == 'cubic')
    assert cubic.gain is None
    alone = summarise_settings([r for r in results if r.method == 'tv'])
    assert alone[0].gain is None


def test_table_has_a_line_per_measure(results, tmp_path):
    path = write_table(results, tmp_path / 'table.tsv')
    rows = list(csv.DictReader(path.open(), delimiter='\t'))
    assert tuple(rows[0]) == (*COLUMNS, *SIMULATED) and len(rows) == len(MEASURES) * len(results)
    assert rows[0]['orientation'] == 'sagittal' and rows[0]['session'] == 'n/a'
    assert [rows[0][name] for name in SIMULATED] == ['T1w', 'gaussian', '0']


def test_there_is_no_gain_over_cubic_that_was_compared_with_another_truth(results, tmp_path):
    flair = [replace(x, contrasts='FLAIR', truth='FLAIR scan', profile='box') for x in results]
    painted = [replace(x, method='any-exam', truth='T1w') for x in flair if x.method == 'tv']
    gains = gains_over_baseline([*flair, *painted])
    assert len(gains) == 6 and {method for _, method in gains} == {'tv'}
    rows = summarise_settings([*results, *flair, *painted])
    assert [(x.method, x.truth, x.profile, x.gain is None) for x in rows] == [
        ('cubic', 'T1w', 'gaussian', True), ('tv', 'T1w', 'gaussian', False),
        ('cubic', 'FLAIR scan', 'box', True), ('tv', 'FLAIR scan', 'box', False),
        ('any-exam', 'T1w', 'box', True),
    ]  # fmt: skip
    noisy = [replace(x, noise_percent=2.0) for x in [*results, *flair]]
    page = write_simulated_page(noisy, [], tmp_path / 'page.html').read_text()
    assert 'with noise of 2 % of bright tissue' in page and 'with that scan at 1 mm' in page
    assert '<td>FLAIR scan</td>' in page
    assert 'FLAIR, profile: box' in page and page.count('PSNR above cubic') == 2


def test_without_cubic_there_is_no_chart_of_gains(results, tmp_path):
    page = write_simulated_page(results, [], tmp_path / 'page.html').read_text()
    assert 'PSNR above cubic' in page and 'painted' not in page
    alone = [result for result in results if result.method == 'tv']
    page = write_simulated_page(alone, [], tmp_path / 'page.html', painted=1).read_text()
    assert 'PSNR above cubic' not in page and 'The truth of 1 is no scan' in page


def test_page_lists_what_failed(results, tmp_path):
    page = write_simulated_page(results, ['sub_03_axial'], tmp_path / 'page.html').read_text()
    assert 'sub_03_axial' in page and '+0.25' in page and '-0.50' in page
    assert (
        'src="http' not in page
        and 'url(http' not in page
        and '<link rel="icon" href="data:' in page
    )
