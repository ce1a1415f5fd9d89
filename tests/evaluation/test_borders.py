"""Borders of structures in a T1w: what shift and blur tell of known ones."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bids_synthsr.evaluation.borders import measure_borders

DISTANCE = np.sqrt(((np.indices((50, 50, 50)) - 24.5) ** 2).sum(0))
RADIUS_MM, TRUE_BLUR_MM = 12, 0.8
HIPPOCAMPUS, WHITE_MATTER, CEREBELLUM = 17, 2, 8
LABELS = np.where(DISTANCE < RADIUS_MM, HIPPOCAMPUS, WHITE_MATTER)
ONE_MM = np.ones(3)


def ball(radius: float, blur: float, inside: float = 60, outside: float = 110) -> np.ndarray:
    """Draw a ball, as a scanner with such a blur shows it."""
    return gaussian_filter(np.where(DISTANCE - radius < 0, inside, outside).astype(float), blur)


TRUTH = ball(RADIUS_MM, TRUE_BLUR_MM)


@pytest.mark.parametrize('shift', [-1, 0, 1])
def test_a_structure_that_looks_larger_has_its_border_shifted_outwards(shift):
    volume = 3 * ball(RADIUS_MM + shift, TRUE_BLUR_MM) + 20  # in units of its own
    border = measure_borders(volume, TRUTH, LABELS, ONE_MM)['hippocampus']
    assert border.shift_mm == pytest.approx(shift, abs=0.15)
    assert border.blur_mm <= 0.25


@pytest.mark.parametrize('further', [0.75, 1.5])
def test_a_blurred_border_is_told_from_a_shifted_one(further):
    volume = ball(RADIUS_MM, np.hypot(TRUE_BLUR_MM, further))
    border = measure_borders(volume, TRUTH, LABELS, ONE_MM)['hippocampus']
    assert border.blur_mm == pytest.approx(further, abs=0.3)
    assert abs(border.shift_mm) < 0.2


def test_distances_are_measured_in_mm():
    larger = measure_borders(ball(13, TRUE_BLUR_MM), TRUTH, LABELS, 0.8 * ONE_MM)['hippocampus']
    assert larger.shift_mm == pytest.approx(0.8, abs=0.15)


def test_what_lies_behind_other_tissue_does_not_count():
    labels = LABELS.copy()
    volume = ball(RADIUS_MM, TRUE_BLUR_MM)
    labels[:25], volume[:25] = CEREBELLUM, 0  # a bright half would shift the border
    border = measure_borders(volume, TRUTH, labels, ONE_MM)['hippocampus']
    assert abs(border.shift_mm) <= 0.1


def test_faint_borders_and_absent_structures_are_left_out():
    faint = ball(RADIUS_MM, TRUE_BLUR_MM, 109.9)
    faint[0] = 0  # the range of the head
    labels = LABELS.copy()
    labels[:, :3] = CEREBELLUM
    assert measure_borders(TRUTH, faint, labels, ONE_MM) == {}
    assert measure_borders(TRUTH, TRUTH, np.full_like(LABELS, WHITE_MATTER), ONE_MM) == {}
    assert measure_borders(TRUTH, TRUTH, np.zeros_like(LABELS), ONE_MM) == {}


def test_a_volume_of_the_opposite_contrast_has_no_such_border():
    assert measure_borders(-TRUTH, TRUTH, LABELS, ONE_MM) == {}
