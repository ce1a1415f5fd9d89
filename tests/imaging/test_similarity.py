"""What volumes have in common, against its definition."""

import math

import numpy as np
import pytest
from scipy import ndimage

from bids_synthsr.imaging.similarity import (
    agreement,
    closeness,
    fit_monotone,
    joint_histogram,
    match_histogram,
    normalized_mutual_information,
    psnr,
    scale_to,
    ssim,
    ssim_parts,
)

EVERYWHERE = np.ones((12, 12, 12), bool)


@pytest.fixture
def volume():
    return np.random.default_rng(1).normal(100, 20, (12, 12, 12))


def test_whole_values_are_counted_as_they_are():
    counts = joint_histogram(np.array([0.0, 2, 2, 3]), np.array([1.0, 0, 0, 3]), 4)
    expected = np.zeros((4, 4))
    expected[0, 1], expected[2, 0], expected[3, 3] = 1, 2, 1
    np.testing.assert_array_equal(counts, expected)


def test_values_between_bins_are_shared():
    counts = joint_histogram(np.array([1.25]), np.array([0.5]), 3)
    np.testing.assert_allclose(counts, [[0, 0, 0], [0.375, 0.375, 0], [0.125, 0.125, 0]])


def test_histogram_counts_every_pair_once_whatever_the_order():
    first, second = np.random.default_rng(2).uniform(0, 15, (2, 500))
    counts = joint_histogram(first, second, 16)
    assert counts.sum() == pytest.approx(500)
    np.testing.assert_allclose(counts.T, joint_histogram(second, first, 16))


def test_information_is_one_for_a_relabelling_and_zero_for_independence():
    values = np.random.default_rng(3).integers(0, 8, 4000).astype(float)
    relabelled = (5 * values + 3) % 8  # a permutation of the 8 values
    assert normalized_mutual_information(joint_histogram(values, relabelled, 8)) == pytest.approx(
        1
    )
    independent = np.outer([1, 2, 3], [4, 1, 5])
    assert normalized_mutual_information(independent) == pytest.approx(0, abs=1e-12)


def test_information_of_nothing_is_nothing():
    assert normalized_mutual_information(np.zeros((4, 4))) == 0
    assert normalized_mutual_information(np.eye(4)[:1]) == 0  # one pair of values only


def test_scaling_undoes_any_line(volume):
    np.testing.assert_allclose(scale_to(3 * volume - 7, volume, EVERYWHERE), volume)


def test_a_flat_image_is_scaled_to_the_mean(volume):
    fitted = scale_to(np.full_like(volume, 3), volume, EVERYWHERE)
    np.testing.assert_allclose(fitted, volume.mean())
    assert closeness(fitted, volume, EVERYWHERE)['correlation'] == 0


def test_scaling_is_exact_for_a_million_voxels_in_single_precision():
    truth = np.random.default_rng(5).normal(100, 20, (110, 110, 110)).astype(np.float32)
    mask = np.ones(truth.shape, bool)
    fitted = scale_to(4 * truth + 30, truth, mask)
    np.testing.assert_allclose(fitted, truth, rtol=1e-5)  # some units of float32


def test_psnr_is_range_over_error(volume):
    error = 2.0 * (-1) ** np.arange(volume.size).reshape(volume.shape)
    expected = 20 * np.log10(np.ptp(volume) / 2)
    assert psnr(volume + error, volume, EVERYWHERE) == pytest.approx(expected)


def test_only_the_mask_counts(volume):
    mask = EVERYWHERE.copy()
    mask[0] = False
    spoilt = volume.copy()
    spoilt[0] = 1e4
    assert psnr(spoilt + 1, volume, mask) == pytest.approx(psnr(volume + 1, volume, mask))


def test_ssim_is_one_for_the_truth_and_falls_with_noise(volume):
    noise = np.random.default_rng(4).normal(size=volume.shape)
    scores = [ssim(volume + sd * noise, volume, EVERYWHERE) for sd in (0, 5, 20)]
    assert scores[0] == pytest.approx(1)
    assert scores[0] > scores[1] > scores[2] > 0


def test_ssim_of_a_constant_shift_is_its_luminance():
    truth = np.full((9, 9, 9), 50.0)
    truth[4, 4, 4] = 51.0  # a range of 1, hardly any structure
    shifted = truth + 50
    one = np.zeros_like(truth, dtype=bool)
    one[0, 0, 0] = one[4, 4, 4] = True
    # far from the bright voxel contrast and structure are 1: 2 m n / (m² + n²)
    corner = 2 * 50 * 100 / (50**2 + 100**2)
    assert ssim(shifted, truth, one) == pytest.approx(corner, abs=0.02)


@pytest.mark.parametrize('sign', [1, -1])
def test_any_monotone_curve_is_fitted(sign):
    image = np.random.default_rng(1).uniform(-2, 2, 20_000)
    other = sign * np.exp(image)
    assert np.corrcoef(fit_monotone(image, other), other)[0, 1] > 0.995
    assert np.corrcoef(fit_monotone(image, image**2), image**2)[0, 1] < 0.8  # no monotone curve


def test_agreement_sees_shared_anatomy_only():
    rng = np.random.default_rng(1)
    anatomy, mask = rng.random((30, 30, 30)), np.ones((30, 30, 30), bool)
    mask[:3] = False
    scan = 1000 - 300 * anatomy**2
    same = agreement(np.where(mask, anatomy, 9), scan, mask)
    assert same['correlation'] > 0.99 and same['l1'] < 0.01
    other = agreement(rng.random(anatomy.shape), scan, mask)
    assert abs(other['correlation']) < 0.1 and other['nmi'] < 0.1 * same['nmi']
    flat = agreement(np.zeros(anatomy.shape), scan, mask)
    assert flat['correlation'] == 0 and np.isfinite(list(flat.values())).all()


def test_closeness_is_measured_in_the_mask():
    rng = np.random.default_rng(1)
    truth = rng.random((9, 9, 9))
    image, mask = truth + 0.1, truth > 0.2
    image[~mask] = 9
    measures = closeness(image, truth, mask)
    assert measures['l1'] == pytest.approx(0.1 / np.ptp(truth[mask]))
    assert measures['psnr'] == psnr(image, truth, mask) and measures['ssim'] == ssim(
        image, truth, mask
    )
    assert measures['correlation'] == pytest.approx(1)
    assert closeness(np.zeros(truth.shape), truth, mask)['correlation'] == 0


def test_parts_of_ssim_tell_what_differs():
    random = np.random.default_rng(0)
    truth = ndimage.gaussian_filter(random.normal(size=(24, 24, 24)), 1.5)
    truth = 1 + 0.2 * truth / truth.std()
    mask = np.ones(truth.shape, bool)
    mean = ndimage.gaussian_filter(truth, 6)
    same = ssim_parts(truth, truth, mask)
    assert all(value == pytest.approx(1) for value in same.values())
    brighter = ssim_parts(truth + 0.5, truth, mask)
    assert brighter['luminance'] < 0.95
    assert brighter['contrast'] == pytest.approx(1) and brighter['structure'] == pytest.approx(1)
    flatter = ssim_parts(mean + 0.4 * (truth - mean), truth, mask)
    assert flatter['contrast'] < 0.85 < 0.97 < flatter['structure']
    noisy = ssim_parts(truth + random.normal(0, 0.2, truth.shape), truth, mask)
    assert noisy['structure'] < 0.8 < 0.99 < noisy['luminance']


def test_ssim_is_the_product_of_its_parts_where_these_do_not_vary():
    ramp = np.indices((24, 24, 24)).sum(0) / 24.0
    mask = np.zeros(ramp.shape, bool)
    mask[11:13, 11:13, 11:13] = True
    other = 0.5 * ramp + 0.3
    product = math.prod(ssim_parts(other, ramp, mask).values())
    assert ssim(other, ramp, mask) == pytest.approx(product, rel=1e-3)


def test_a_matched_histogram_is_that_of_the_truth_and_air_stays_dark():
    random = np.random.default_rng(0)
    truth = random.gamma(3.0, 1.0, (20, 20, 20)) + 0.5
    image = np.sqrt(truth)
    image[0] = 0
    mask = image > 0
    matched = match_histogram(image, truth, mask)
    np.testing.assert_allclose(matched[mask], truth[mask], rtol=0.05)
    assert not matched[0].any()
