"""Sessions of one person: brought together without bias, and compared."""

import numpy as np
import pytest
import torch
from phantoms import draw_brain

from bids_synthsr.imaging.geometry import displacement, rigid
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.registration.within_person import (
    SessionT1w,
    align_sessions,
    carry_deformed,
    find_changes,
    least_squares,
    rigid_log,
)
from bids_synthsr.values.grid import Grid

SPACING = 2.5
MOVES = (
    rigid(np.radians([0.0, 0, 0]), np.zeros(3)),
    rigid(np.radians([4.0, -3, 5]), np.array([5.0, -3, 2])),
    rigid(np.radians([-2.0, 6, -3]), np.array([-4.0, 2, 6])),
)


def make_session(move, brain=None):
    brain = draw_brain((40, 46, 38), (16, 19, 15)) if brain is None else brain
    grid = Grid(brain.shape, np.diag([SPACING] * 3 + [1.0]))
    carried = resample(brain, grid, grid, move, order=1)
    return SessionT1w(carried, (carried > 20).astype(np.uint8), grid)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures('folder')
def test_sessions_meet_half_way_whatever_their_order():
    sessions = [make_session(move) for move in MOVES]
    space = align_sessions(sessions)
    points = np.array([[50.0, 57, 47], [30, 40, 50], [70, 80, 40]])
    for one, move in zip(space.to_sessions, MOVES, strict=True):
        # from the first session to the common space, and on to this one
        found = one @ np.linalg.inv(space.to_sessions[0])
        assert displacement(found, move, points).max() < 0.4
    mean = np.mean([rigid_log(one) for one in space.to_sessions], 0)
    np.testing.assert_allclose(mean, 0, atol=2e-2)
    turned = align_sessions(sessions[::-1])
    for one, other in zip(space.to_sessions, turned.to_sessions[::-1], strict=True):
        assert displacement(one, other, points).max() < 0.1
    assert space.disagreement_mm < 0.5  # of 2.5 mm voxels


@pytest.mark.usefixtures('folder')
def test_no_change_is_none_and_changes_sum_to_none():
    sessions = [make_session(move) for move in MOVES[:2]]
    grid, changes = find_changes(sessions, align_sessions(sessions))
    inside = carry_deformed(
        sessions[0].mask, sessions[0], align_sessions(sessions).to_sessions[0],
        (grid, changes[0]), 0,
    ) > 0  # fmt: skip
    growth = [np.exp(change.log_jacobian)[inside].mean() for change in changes]
    assert abs(growth[1] / growth[0] - 1) < 0.02
    summed = changes[0].displacement + changes[1].displacement
    assert np.abs(summed[:, inside]).mean() < 0.1


@pytest.mark.usefixtures('folder')
def test_another_head_is_refused():
    small = np.zeros((40, 46, 38), np.float32)
    small[18:22, 20:26, 17:21] = 100
    sessions = [make_session(MOVES[0]), make_session(MOVES[0], small)]
    with pytest.raises(ValueError, match='of one person'):
        find_changes(sessions, align_sessions(sessions))


def test_least_squares_places_things_by_their_distances():
    true = torch.tensor([1.0, -4, 3, 0])
    placed = least_squares(lambda one, other: true[other] - true[one], 4)
    np.testing.assert_allclose(torch.stack(placed), true - true.mean(), atol=1e-6)
    assert abs(sum(placed)) < 1e-6
