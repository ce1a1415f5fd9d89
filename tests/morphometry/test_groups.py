"""Differences between groups against other ways to compute them."""

import numpy as np
import pytest
from scipy import stats

from bids_synthsr.morphometry.groups import (
    LARGE,
    compare_groups,
    dependent_column,
    false_discovery,
    noncentral_interval,
)

NONE = np.zeros((40, 0))


@pytest.fixture
def sample():
    random = np.random.default_rng(0)
    is_second = np.arange(40) % 2 == 1
    age = random.normal(60, 10, 40) + 5 * is_second
    values = 100 + 4 * is_second - 0.5 * age + random.normal(0, 3, 40)
    return values, is_second, age[:, None]


def test_without_covariates_it_is_the_t_test(sample):
    values, is_second, _ = sample
    effect = compare_groups(values, is_second, NONE)
    known = stats.ttest_ind(values[is_second], values[~is_second])
    assert effect.t == pytest.approx(known.statistic)
    assert effect.p == pytest.approx(known.pvalue)
    interval = known.confidence_interval(0.95)
    assert effect.interval == pytest.approx((interval.low, interval.high))
    pooled = np.sqrt((values[is_second].var(ddof=1) + values[~is_second].var(ddof=1)) / 2)
    d = (values[is_second].mean() - values[~is_second].mean()) / pooled
    assert effect.g == pytest.approx(d * (1 - 3 / (4 * 38 - 1)), rel=1e-3)  # Hedges' correction


def test_a_covariate_that_differs_between_the_groups_is_held_fixed(sample):
    values, is_second, age = sample
    adjusted, raw = (compare_groups(values, is_second, x) for x in (age, NONE))
    low, high = adjusted.interval
    assert low < 4 < high
    assert abs(adjusted.difference - 4) < abs(raw.difference - 4)
    assert adjusted.counts == (20, 20)
    # the same by residuals (Frisch, Waugh, Lovell)
    rest = np.column_stack([np.ones(40), age])
    residuals = [
        x - rest @ np.linalg.lstsq(rest, x, rcond=None)[0] for x in (values, is_second * 1.0)
    ]
    assert adjusted.difference == pytest.approx(
        residuals[0] @ residuals[1] / (residuals[1] @ residuals[1])
    )


@pytest.mark.parametrize(('t', 'freedom'), [(0.0, 10), (3.0, 20), (-5.0, 30), (12.0, 140)])
def test_ends_of_the_interval_leave_the_tails(t, freedom):
    low, high = noncentral_interval(t, freedom)
    assert stats.nct.sf(t, freedom, low) == pytest.approx(0.025, abs=1e-6)
    assert stats.nct.cdf(t, freedom, high) == pytest.approx(0.025, abs=1e-6)


def test_intervals_of_many_exams_go_on_from_those_of_few():
    few, many = (noncentral_interval(2.5, LARGE + by) for by in (0, 1))
    assert few == pytest.approx(many, abs=0.01)


def test_what_cannot_be_told_apart_is_refused(sample):
    values, is_second, age = sample
    with pytest.raises(ValueError, match='cannot be told apart'):
        compare_groups(values, is_second, np.column_stack([age, is_second]))
    design = np.column_stack([np.ones(40), is_second, age, 2 * age])
    names = ['mean', 'group', 'age', 'age twice']
    assert dependent_column(design, names) == 'age twice'
    assert dependent_column(design[:, :3], names) == ''


def test_false_discoveries():
    np.testing.assert_allclose(false_discovery(np.array([0.01, 0.02, 0.5])), [0.03, 0.03, 0.5])
    assert len(false_discovery(np.array([]))) == 0
