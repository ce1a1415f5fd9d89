"""Volumes over time from labels and growth."""

import numpy as np

from bids_synthsr.morphometry.changes import (
    both_sides,
    percent_change,
    shared_labels,
    volumes_over_time,
)


def test_most_sessions_decide_and_of_equals_the_smallest():
    labels = [np.array([[[1, 2, 3]]]), np.array([[[1, 2, 4]]]), np.array([[[2, 2, 4]]])]
    np.testing.assert_array_equal(shared_labels(labels), [[[1, 2, 4]]])
    np.testing.assert_array_equal(shared_labels(labels[:2]), [[[1, 2, 3]]])


def test_a_change_comes_from_growth_alone():
    first, second = np.zeros((4, 4, 4), int), np.zeros((4, 4, 4), int)
    first[:2], second[:3] = 4, 4
    still = np.ones((4, 4, 4))
    volumes = volumes_over_time([first, second], [still, 1.1 * still], 2.0)
    np.testing.assert_allclose(volumes[4], [80, 88])
    np.testing.assert_allclose(percent_change(volumes[4]), [0, 10])
    assert percent_change([0.0, 1.0]) == [None, None]


def test_sides_are_added_session_by_session():
    assert both_sides({4: [1.0, 2], 43: [3.0, 4]}, (4, 43)) == [4.0, 6.0]
    assert both_sides({4: [1.0, 2]}, (4, 43)) == [1.0, 2.0]
