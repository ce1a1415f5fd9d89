"""The table of volumes: errors, correlations and effects of groups."""

import numpy as np
import pytest

from bids_synthsr.evaluation.results import Result, write_table
from bids_synthsr.evaluation.simulated_page import write_simulated_page
from bids_synthsr.evaluation.volume_errors import cohens_d, draw_charts, tabulate


def result(tmp_path, subject, method, volume, true, group=''):
    structures = {
        name: {'dice': 0.8, 'volume_mm3': volume, 'reference_mm3': true}
        for name in ('hippocampus', 'cortex')
    }
    measures = {'psnr': 20.0, 'ssim': 0.9, 'l1': 0.02, 'correlation': 0.8}
    return Result(
        subject, '', method, 'T1w', 'axial', 5.0, 5.0, measures, tmp_path / 'none.jpg',
        structures=structures, group=group,
    )  # fmt: skip


@pytest.fixture
def results(tmp_path):
    true = [1000, 1100, 1200, 1400, 1500, 1700]
    return [
        result(
            tmp_path, str(number), 'tv', 1.1 * size, size, 'patient' if number < 3 else 'control'
        )
        for number, size in enumerate(true)
    ]


def test_table_shows_error_bias_and_correlation(results):
    (line,) = tabulate(results)
    hippocampus, ventricles, cortex, _ = line.cells
    assert ventricles is None and line.dices[1] is None
    assert (line.dices[0], line.dices[2], line.dice) == pytest.approx((0.8, 0.8, 0.8))
    assert hippocampus == cortex
    assert hippocampus.error == pytest.approx(0.1) and hippocampus.bias == pytest.approx(0.1)
    assert hippocampus.correlation == pytest.approx(1)
    assert hippocampus.effect == pytest.approx(hippocampus.reference_effect)  # both grow alike


def test_few_heads_have_no_correlation(results):
    (line,) = tabulate(results[:2])
    assert line.cells[0].correlation is None and line.cells[0].effect is None
    assert tabulate([]) == [] and draw_charts([]) == []


def test_effect_is_cohens():
    values = np.array([1.0, 2.0, 3.0, 3.0, 4.0, 5.0])
    groups = ['a'] * 3 + ['b'] * 3
    assert cohens_d(values, groups) == pytest.approx(-2)  # both sds are 1
    assert cohens_d(values, ['a'] * 6) is None and cohens_d(values, [*'aaabbc']) is None
    assert cohens_d(values, ['a'] * 5 + ['b']) is None


def test_page_and_table_show_structures(results, tmp_path):
    page = write_simulated_page(results, [], tmp_path / 'page.html').read_text()
    assert 'Bland-Altman' in page and '10.0 % (+10.0); r 1.00; d' in page
    rows = write_table(results, tmp_path / 'table.tsv').read_text()
    assert 'hippocampus\treference_mm3\t1000' in rows and '\tbrain\tpsnr\t20' in rows
