"""Priors from scans: what was put in is found again."""

import numpy as np
import pytest
import torch

from bids_synthsr.synthesis.contrast import draw_contrast
from bids_synthsr.synthesis.estimation import class_statistics, estimate_contrast_prior
from bids_synthsr.synthesis.labels import freesurfer_table

TABLE = freesurfer_table()


@pytest.fixture
def labels():
    drawn = np.zeros((20, 20, 20), int)
    drawn[2:8], drawn[8:14], drawn[14:18] = 2, 3, 24
    return drawn


def scan(labels, means, sd, seed):
    noise = np.random.default_rng(seed).normal(size=labels.shape) * sd
    return np.select([labels == value for value in means], means.values(), 0) + noise * (
        labels > 0
    )


def test_class_means_and_robust_sds(labels):
    image = scan(labels, {2: 100, 3: 60, 24: 200}, 5, 0)
    image[2:8][image[2:8] > 108] = 5000  # outliers in 5 % of white matter
    image[0, 0, :] = 5000
    found = class_statistics(np.minimum(image, 210), labels, 1.0, TABLE, 'scan')
    unit = 255 / np.percentile(np.minimum(image, 210), 99.5)
    white = found[TABLE.classes.index('white-matter')] / unit
    np.testing.assert_allclose(white, [100, 5], rtol=0.1)
    assert np.isnan(found[TABLE.classes.index('thalamus')]).all()


def test_averaging_gives_the_measured_sd_back(labels):
    """The prior's 1 mm voxels, averaged over the volume of the scan's, have its sd."""
    image = scan(labels, {2: 100, 3: 60, 24: 200}, 5, 1)
    fine, thick = (class_statistics(image, labels, volume, TABLE, 'x') for volume in (1.0, 4.0))
    seen = TABLE.classes.index('cortex')
    assert thick[seen, 1] == pytest.approx(2 * fine[seen, 1])
    assert thick[seen, 0] == fine[seen, 0]
    noise = np.random.default_rng(0).normal(size=(1000, 4)) * thick[seen, 1]
    assert noise.mean(axis=1).std() == pytest.approx(fine[seen, 1], rel=0.1)


def test_gaussians_across_scans_are_widened(labels):
    images = [scan(labels, {2: 100, 3: 50 + 5 * n, 24: 200}, 2, n) for n in range(5)]
    narrow, wide = (
        estimate_contrast_prior(images, [labels] * 5, [1.0] * 5, TABLE, widening)
        for widening in (1, 5)
    )
    index = TABLE.classes.index('cortex')
    first, second = narrow.statistics[index], wide.statistics[index]
    assert second.mean == first.mean and second.mean_sd == pytest.approx(5 * first.mean_sd)
    assert second.sd_sd == pytest.approx(5 * first.sd_sd)
    unit = 255 / np.percentile(images[0], 99.5)
    assert first.mean == pytest.approx(60 * unit, rel=0.03)
    assert first.mean_sd == pytest.approx(np.std([50, 55, 60, 65, 70]) * unit, rel=0.1)


def test_the_prior_covers_every_class_and_can_be_drawn(labels):
    images = [scan(labels, {2: 100, 3: 60, 24: 200}, 2, n) for n in range(2)]
    prior = estimate_contrast_prior(images, [labels] * 2, [1.0, 3.0], TABLE)
    assert [entry.name for entry in prior.statistics] == list(TABLE.classes)
    draw_contrast(prior, TABLE.classes, False, torch.Generator().manual_seed(0))
    by_name = {entry.name: entry for entry in prior.statistics}
    assert by_name['air'].mean == by_name['air'].sd == 0
    # nothing is known of the thalamus: as bright as any class
    levels = [by_name[name].mean for name in ('white-matter', 'cortex', 'csf')]
    assert by_name['thalamus'].mean_sd > 0 and min(levels) < by_name['thalamus'].mean < max(levels)


def test_bad_input_is_named(labels):
    image = scan(labels, {2: 100, 3: 60, 24: 200}, 2, 0)
    with pytest.raises(ValueError, match=r'two or more scans.*got 1, 1 and 1'):
        estimate_contrast_prior([image], [labels], [1.0], TABLE)
    with pytest.raises(
        ValueError, match=r'Scan 2 has shape \(20, 20, 20\), its segmentation \(5, 20'
    ):
        estimate_contrast_prior([image, image], [labels, labels[:5]], [1.0, 1.0], TABLE)
    with pytest.raises(ValueError, match='Scan 1 holds values that are not finite'):
        estimate_contrast_prior([image * np.nan, image], [labels] * 2, [1.0, 1.0], TABLE)
    with pytest.raises(ValueError, match=r'Scan 1 holds labels \[99\]'):
        estimate_contrast_prior(
            [image] * 2, [labels.clip(0, 2) + 97 * (labels > 2)] * 2, [1.0] * 2, TABLE
        )
    with pytest.raises(ValueError, match='Scan 1 is dark'):
        estimate_contrast_prior([image * 0] * 2, [labels] * 2, [1.0] * 2, TABLE)
