"""Intensities: the mixture that was drawn, physics that doctors would recognise."""

import math
from dataclasses import replace

import pytest
import torch

from bids_synthsr.synthesis.contrast import (
    ContrastDraw,
    apply_bias,
    apply_gamma,
    draw_bias,
    draw_contrast,
    draw_intensities,
    nulling_ti_ms,
    paint,
    paint_statistics,
    spin_echo_signal,
    t1w_means,
)
from bids_synthsr.synthesis.fields import LINEAR_VARIANCE
from bids_synthsr.synthesis.labels import freesurfer_table
from bids_synthsr.synthesis.priors import BiasPrior, ClassStatistics, ContrastPrior
from bids_synthsr.synthesis.tissues import TISSUES
from bids_synthsr.synthesis.worlds import CT, FLAIR, T1_INVERSION, T1_SPIN_ECHO, T2_SPIN_ECHO

TABLE = freesurfer_table()
CLASSES = TABLE.classes


def means_of(prior, seed=0, agent=False):
    draw = draw_contrast(prior, CLASSES, agent, torch.Generator().manual_seed(seed))
    return dict(zip(CLASSES, draw.means, strict=True))


def plain(prior):
    """The prior without spread, so that only physics is left."""
    return ContrastPrior(**{**vars(prior), 'spread': 0.0, 'fat_saturation_probability': 0.0})


@pytest.mark.parametrize('seed', range(3))
def test_signal_orders_tissues_as_in_real_scans(seed):
    for t1w in (T1_SPIN_ECHO, T1_INVERSION):
        means = means_of(plain(t1w), seed)
        assert means['fat'] > means['white-matter'] > means['cortex'] > means['csf'] > means['air']
    t2w = means_of(plain(T2_SPIN_ECHO), seed)
    assert t2w['csf'] > t2w['lesion'] > t2w['cortex'] > t2w['white-matter'] > t2w['bone']
    flair = means_of(plain(FLAIR), seed)
    assert flair['lesion'] > flair['cortex'] > flair['white-matter'] > flair['csf']
    ct = means_of(plain(CT), seed)
    assert ct['bone'] > ct['cortex'] > ct['white-matter'] > ct['csf'] > ct['fat'] > ct['air']


@pytest.mark.parametrize('tr_ms', [6000.0, 9000.0, 11000.0])
def test_fluid_is_dark_in_a_flair_of_any_repetition_time(tr_ms):
    ti_ms = nulling_ti_ms(TISSUES['csf'], tr_ms)
    assert abs(spin_echo_signal(TISSUES['csf'], tr_ms, 100, ti_ms)) < 1e-9
    exact = replace(plain(FLAIR), tr_ms=(tr_ms, tr_ms), ti_per_null=(1, 1))
    assert means_of(exact)['csf'] < 1e-9
    for seed in range(50):
        means = means_of(replace(plain(FLAIR), tr_ms=(tr_ms, tr_ms)), seed)
        assert max(means['csf'], means['ventricle']) < 0.5 * means['white-matter']


def test_inversion_times_beside_a_nulled_tissue_are_refused():
    with pytest.raises(ValueError, match='leave out one'):
        replace(FLAIR, ti_ms=(1800, 2700))


def test_fat_saturation_darkens_fat_alone():
    saturated = ContrastPrior(**{**vars(plain(FLAIR)), 'fat_saturation_probability': 1.0})
    with_fat, without = means_of(plain(FLAIR)), means_of(saturated)
    changed = {name for name in CLASSES if with_fat[name] != without[name]}
    assert changed == {'fat', 'marrow'} and without['fat'] < 0.2 * with_fat['fat']


def test_agent_brightens_what_takes_it_up():
    before, after = means_of(plain(T1_SPIN_ECHO)), means_of(plain(T1_SPIN_ECHO), agent=True)
    changed = {name for name in CLASSES if before[name] != after[name]}
    assert {'vessel', 'dura', 'mass-rim'} <= changed and 'white-matter' not in changed
    assert all(after[name] > before[name] for name in changed)


def test_uniform_classes_stay_in_range_and_air_is_dark():
    prior = ContrastPrior(mean_range=(10, 20), sd_range=(1, 2), gamma=(0.5, 2))
    draw = draw_contrast(prior, CLASSES, False, torch.Generator().manual_seed(0))
    tissue = [i for i, name in enumerate(CLASSES) if name != 'air']
    assert all(10 <= draw.means[i] <= 20 and 1 <= draw.sds[i] <= 2 for i in tissue)
    assert draw.means[CLASSES.index('air')] == draw.sds[CLASSES.index('air')] == 0
    assert 0.5 <= draw.gamma <= 2


def test_gaussian_classes_follow_their_statistics():
    statistics = tuple(ClassStatistics(name, 100.0, 5.0, 1.0, 4.0) for name in CLASSES)
    prior = ContrastPrior('gaussian', statistics=statistics)
    draws = [
        draw_contrast(prior, CLASSES, False, torch.Generator().manual_seed(seed))
        for seed in range(20)
    ]
    means = torch.tensor([draw.means for draw in draws])
    # 20 draws of 35 classes: three standard errors are 3 * 5 / sqrt(700) = 0.6
    assert abs(means.mean() - 100) < 0.6 and abs(means.std() - 5) < 0.6
    assert min(min(draw.sds) for draw in draws) >= 0


def test_statistics_for_other_classes_are_refused():
    statistics = (ClassStatistics('white-matter', 1, 0, 0, 0), ClassStatistics('grey', 1, 0, 0, 0))
    prior = ContrastPrior('gaussian', statistics=statistics)
    with pytest.raises(ValueError, match=r"statistics for 2 classes.*unknown \['grey'\]"):
        draw_contrast(prior, CLASSES, False, torch.Generator())


def test_unknown_tissues_need_statistics():
    with pytest.raises(ValueError, match="Nothing is known of the generation class 'plasma'"):
        t1w_means(['white-matter', 'plasma'])


def contrast_draw(**changes):
    values = {'floor': 0.0, 'gamma': 1.0, 'texture': 0.0, 'texture_spacing': 4.0, 'noise_seed': 1}
    return ContrastDraw((), (), **{**values, **changes})


@pytest.mark.parametrize('texture', [0.0, 0.5, 1.0])
def test_mixture_has_the_means_and_sds_that_were_drawn(texture):
    statistics = torch.tensor([100.0, 5.0])[:, None, None, None].expand(2, 40, 40, 40)
    image = draw_intensities(statistics, contrast_draw(texture=texture))
    # smooth noise has some 1300 nodes here: three standard errors of its sd are 6 %
    assert abs(image.mean() - 100) < 0.5 and image.std() == pytest.approx(5, rel=0.08)


def test_intensities_have_a_floor():
    statistics = torch.tensor([1.0, 10.0])[:, None, None, None].expand(2, 8, 8, 8)
    assert draw_intensities(statistics, contrast_draw()).min() == 0


def test_class_means_drift_in_space_each_in_its_own_way():
    halves = torch.zeros(60, 60, 60, dtype=torch.long)
    halves[30:] = 2
    drifts = {'air': 30.0, 'white-matter': -10.0}
    draw = replace(
        contrast_draw(drift_spacing=12.0),
        means=tuple(100.0 for _ in CLASSES),
        sds=tuple(0.0 for _ in CLASSES),
        drifts=tuple(drifts.get(name, 0.0) for name in CLASSES),
    )
    field = draw_intensities(paint_statistics(halves, draw, TABLE), draw) - 100
    assert field[30:].std() == pytest.approx(10 * math.sqrt(LINEAR_VARIANCE), rel=0.3)
    assert field.diff(dim=1).abs().max() < 30 * 6 / 12  # smooth within a class
    across = torch.stack([field[29].flatten(), field[30].flatten()])
    assert torch.corrcoef(across)[0, 1] < -0.9  # and turned around in the next one


def test_every_class_draws_a_drift_of_its_own():
    prior = ContrastPrior('signal', drift=(0.1, 0.1))
    draw = draw_contrast(prior, CLASSES, False, torch.Generator().manual_seed(0))
    relative = [d / m for d, m in zip(draw.drifts, draw.means, strict=True) if m]
    assert len(set(relative)) == len(relative) and min(relative) < 0 < max(relative)
    still = draw_contrast(ContrastPrior('signal'), CLASSES, False, torch.Generator())
    assert still.drifts == ()


def test_gamma_keeps_the_extremes_and_the_order():
    image = torch.linspace(-3, 7, 50).view(5, 5, 2)
    bent = apply_gamma(image, 1.3)
    torch.testing.assert_close(bent.aminmax(), image.aminmax(), check_stride=False)
    assert (bent.flatten().diff() > 0).all()
    torch.testing.assert_close(apply_gamma(bent, 1 / 1.3), image, rtol=1e-4, atol=1e-4)


def test_bias_is_smooth_positive_and_of_the_drawn_strength():
    draw = draw_bias(BiasPrior(log_sd=0.4, spacing=20), torch.Generator().manual_seed(0))
    log = apply_bias(torch.ones(60, 60, 60), draw).log()
    assert 0.1 < log.std() < 0.4  # interpolation between nodes takes some of the variance
    assert log.diff(dim=0).abs().max() < 0.4 * 6 / 20
    assert (
        apply_bias(image := torch.rand(4, 4, 4), draw_bias(BiasPrior(0), torch.Generator()))
        is image
    )


def test_paint_gives_both_sides_the_same():
    labels = torch.tensor([[[0, 3, 42], [2, 41, 77]]], dtype=torch.int16)
    painted = paint(labels, range(len(CLASSES)), TABLE)
    assert painted[0, 0, 1] == painted[0, 0, 2] == CLASSES.index('cortex')
    assert painted[0, 1, 2] == CLASSES.index('lesion')
