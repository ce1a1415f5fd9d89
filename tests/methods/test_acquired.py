"""A T1w of fine voxels stays what it is, even in intensity, with white matter at 110."""

from dataclasses import replace

import numpy as np
import pytest
from knowing import observe, phantom

from bids_synthsr.imaging.bias import estimate_bias
from bids_synthsr.imaging.geometry import output_grid
from bids_synthsr.methods.acquired import coarsest_mm, find_difference, find_part, prepare_t1w
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid

LABELS = phantom(60)
MASK = np.isin(LABELS, (2, 41, 24))
SPACING = np.ones(3)


def field(strength):
    """A smooth factor that grows along R and falls along S."""
    i, _, k = np.meshgrid(*(np.linspace(-1, 1, 60),) * 3, indexing='ij')
    return np.exp(strength * (i - k) / 2).astype(np.float32)


def t1w(strength=0.0, noise=0.0):
    """The phantom as a T1w, both sides of the brain alike, times the field, with noise."""
    scan = replace(observe(np.where(LABELS == 41, 2, LABELS)), contrast='T1w')
    random = np.random.default_rng(3).normal(0, 1, LABELS.shape)
    voxels = (500 * scan.voxels * field(strength) + noise * random).astype(np.float32)
    return replace(scan, voxels=voxels)


def test_bias_field_is_found_but_for_its_level():
    voxels = t1w(0.5, noise=5.0).voxels
    found = estimate_bias(voxels, MASK, SPACING)
    ratio = (found / field(0.5))[MASK]
    assert found.dtype == np.float32 and found.shape == LABELS.shape
    assert ratio.std() / ratio.mean() < 0.25 * field(0.5)[MASK].std()
    assert np.median(found[MASK]) == pytest.approx(1, rel=1e-3)


def test_nothing_to_fit_is_told():
    with pytest.raises(ValueError, match='no positive intensities'):
        estimate_bias(np.zeros(LABELS.shape, np.float32), MASK, SPACING)


@pytest.mark.parametrize('strength', [0.0, 0.5])
def test_white_matter_is_110_and_even(strength):
    scan = t1w(strength, noise=3.0)
    image, error, facts = prepare_t1w(scan, output_grid(scan.grid), LABELS, MASK)
    assert image.dtype == error.dtype == np.float32 and image.shape == LABELS.shape
    white = image[(LABELS == 2) | (LABELS == 41)]
    assert np.median(white) == pytest.approx(110, abs=2) and white.std() < 10
    # 3 of 450, in units of the T1w
    expected = np.sqrt(2 / np.pi) * 3 * 110 / 450
    assert np.median(error[MASK]) == pytest.approx(expected, rel=0.2)
    assert facts['noise_sd'] == pytest.approx(3, rel=0.2)


def test_detail_of_the_scan_stays():
    scan = t1w()
    scan.voxels[30, 30, 30] = 0
    image, *_ = prepare_t1w(scan, output_grid(scan.grid), LABELS, MASK)
    assert image[30, 30, 30] < 10 < 100 < image[34, 30, 30]


def test_beyond_its_field_of_view_there_is_nothing():
    scan = t1w(noise=3.0)
    short = replace(scan, voxels=scan.voxels[..., :32], grid=Grid((60, 60, 32), scan.grid.vox2ras))
    *made, _ = prepare_t1w(short, scan.grid, LABELS, MASK)
    for image in made:
        assert not image[..., 33:].any() and image[..., :31][MASK[..., :31]].all()
    assert 'shows' in find_part(short, scan.grid, MASK)
    assert not find_part(scan, scan.grid, MASK)


def test_a_t1w_without_white_matter_is_refused():
    scan = t1w()
    with pytest.raises(ValueError, match='Left-Cerebral-White-Matter'):
        prepare_t1w(scan, scan.grid, np.zeros_like(LABELS), MASK)


@pytest.mark.parametrize(
    ('contrast', 'size_mm', 'word'),
    [
        ('T1w', 1.0, ''),
        ('T1w', 1.5, ''),
        ('T1w', 1.504, ''),  # rounding of a header
        ('acq-UNIT1_T1w', 1.0, ''),
        ('T1w', 1.6, '1.6 mm'),
        ('FLAIR', 1.0, 'no T1w'),
        ('ce-gd_T1w', 1.0, 'no plain T1w'),
        ('echo-2_T1w', 1.0, 'no plain T1w'),
    ],
)
def test_which_scans_are_taken_as_they_are(contrast, size_mm, word):
    doubt = find_difference(contrast, size_mm)
    assert word in doubt and bool(doubt) == bool(word)


def test_thick_slices_that_overlap_are_coarse():
    scan = replace(t1w(), acquisition=Acquisition(2, 1.0, 3.0))
    sizes = [coarsest_mm(x.grid, x.acquisition) for x in (scan, t1w())]
    assert sizes == [3.0, 1.0]
