"""Measures of image quality on images whose measures are known."""

import numpy as np
import pytest

from bids_synthsr.morphometry.image_quality import MEASURES, measure_quality

MEANS, SD = {1: 60.0, 2: 110.0, 3: 20.0}, 5.0


@pytest.fixture
def head():
    tissue = np.zeros((40, 40, 40), np.int16)
    tissue[10:30, 10:30, 10:16] = 3
    tissue[10:30, 10:30, 16:23] = 1
    tissue[10:30, 10:30, 23:30] = 2
    random = np.random.default_rng(0)
    means = np.vectorize(lambda label: MEANS.get(label, 3.0))(tissue)
    return means + random.normal(0, SD, tissue.shape), tissue


def test_ratios_are_those_of_means_and_noise(head):
    found = measure_quality(*head, is_acquired=True)
    assert found['snr_wm'] == pytest.approx(MEANS[2] / SD, rel=0.05)
    assert found['snr_gm'] == pytest.approx(MEANS[1] / SD, rel=0.05)
    assert found['cnr'] == pytest.approx(50 / (SD * 2**0.5), rel=0.05)
    assert found['cjv'] == pytest.approx(2 * SD / 50, rel=0.05)
    assert 0 < found['efc'] < 1
    assert found['fber'] > 50


def test_the_unit_does_not_matter(head):
    voxels, tissue = head
    one, other = (measure_quality(x, tissue, is_acquired=True) for x in (voxels, 1e4 * voxels))
    assert one == pytest.approx(other, rel=1e-3)


def test_noise_makes_all_of_them_worse(head):
    voxels, tissue = head
    noisy = voxels + np.random.default_rng(1).normal(0, 10, voxels.shape)
    good, bad = (measure_quality(x, tissue, is_acquired=True) for x in (voxels, noisy))
    assert bad['snr_total'] < good['snr_total'] and bad['cnr'] < good['cnr']
    assert bad['cjv'] > good['cjv'] and bad['efc'] > good['efc'] and bad['fber'] < good['fber']


def test_what_cannot_be_told_is_nothing(head):
    voxels, tissue = head
    computed = measure_quality(voxels, tissue, is_acquired=False)
    assert computed['efc'] is None and computed['fber'] is None
    assert computed['cnr'] is not None
    empty = measure_quality(voxels * 0, tissue * 0, is_acquired=True)
    assert empty == dict.fromkeys(MEASURES)
