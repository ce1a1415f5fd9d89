"""Effects of scanners are removed as neuroCombat removes them, and nothing else is."""

import numpy as np
import pytest

from bids_synthsr.morphometry.harmonization import harmonize

I = np.arange(18)  # noqa: E741
SITE = np.array([*'aabbcc'] * 3)
AGE, GROUP = 60 + 7 * np.sin(3 * I), (I % 2).astype(float)
KEPT = np.column_stack([AGE, GROUP])


def measures():
    parts = [
        100 + 8 * np.sin(5.1 * I * (f + 1)) + 0.4 * AGE + 5 * (SITE == 'b') * (f + 1) + 3 * GROUP
        for f in range(3)
    ]
    return np.stack(parts, 1) * np.where(SITE == 'c', 1.1, 1)[:, None]


def test_it_equals_neurocombat():
    """neuroCombat 0.2.12 on the same numbers, its first six rows."""
    known = [
        [134.8301, 132.5339, 132.175],
        [129.6785, 130.3774, 139.7679],
        [120.2094, 138.4742, 127.1421],
        [133.3113, 129.5337, 146.6655],
        [135.0172, 129.4512, 123.5938],
        [137.1815, 140.2744, 144.1226],
    ]
    np.testing.assert_allclose(harmonize(measures(), SITE, KEPT)[:6], known, atol=2e-4)


def test_one_scanner_is_left_alone():
    values = measures()
    np.testing.assert_array_equal(harmonize(values, ['a'] * 18, KEPT), values)


def test_effects_of_scanners_go_and_those_of_age_stay():
    random = np.random.default_rng(0)
    count = 120
    site = random.integers(0, 3, count)
    age = random.normal(60, 10, count)
    true = random.normal(100, 3, (count, 20)) - 0.3 * (age - 60)[:, None]
    values = true + random.normal(0, 5, (3, 20))[site]
    found = harmonize(values, site.astype(str), age[:, None])

    def apart(x):
        return np.ptp([x[site == number].mean(0) for number in range(3)], axis=0).mean()

    def slope(x):
        return np.polyfit(age, x, 1)[0].mean()

    assert apart(found) < 0.25 * apart(values)
    assert slope(found) == pytest.approx(slope(true), abs=0.03)


def test_scanners_that_are_the_groups_are_refused():
    site = np.where(GROUP > 0, 'x', 'y')
    with pytest.raises(ValueError, match='cannot be told apart from the groups'):
        harmonize(measures(), site, KEPT)


def test_a_scanner_of_two_exams_is_refused():
    with pytest.raises(ValueError, match='c has 2 of the exams'):
        harmonize(measures(), [*'a' * 8, *'b' * 8, 'c', 'c'], KEPT)
