"""The output covers what any scan shows of the head, and tables tell how much each shows."""

import numpy as np
import pytest
from phantoms import centred, head

from bids_synthsr.imaging.coverage import (
    LEAST_MM,
    MARGIN_MM,
    head_grid,
    head_points,
    measure_coverage,
)
from bids_synthsr.imaging.geometry import apply_affine, output_grid, rigid
from bids_synthsr.values.grid import Grid

HEAD_MM = np.array([150.0, 190.0, 150.0])  # of the phantom
WHOLE = centred((70, 80, 70), np.diag([3.0, 3, 3, 1]))  # 210 x 240 x 210 mm
# axial slices that end above: 36 mm of the head lie below them
SHORT = Grid((70, 80, 24), np.diag([3.0, 3, 6, 1]) @ np.eye(4))
SHORT.vox2ras[:3, 3] = [-103.5, -118.5, -36]
SAGITTAL = centred((36, 80, 70), np.diag([5.0, 3, 3, 1]))
STILL = np.eye(4)


def shown(grid, slice_axis=2, scan2ref=STILL):
    """Where a scan on a grid shows the phantom, in the frame of the reference."""
    return apply_affine(scan2ref, head_points(head(grid), grid, slice_axis))


def extent(grid):
    corners = apply_affine(grid.vox2ras, np.array([[-0.5] * 3, np.array(grid.shape) - 0.5]))
    return corners.min(0), corners.max(0)


@pytest.mark.parametrize('spacing', [1.0, 2.0])
def test_output_covers_what_another_scan_shows_of_the_head(spacing):
    grid = output_grid(SHORT, spacing)
    heads = [shown(SHORT), shown(SAGITTAL, 0)]
    covering = head_grid(grid, heads, [(SHORT, STILL), (SAGITTAL, STILL)])
    low, high = extent(covering)
    assert (low <= -HEAD_MM / 2 - MARGIN_MM + 4).all() and (
        high >= HEAD_MM / 2 + MARGIN_MM - 4
    ).all()
    # voxels stay where those of the reference are
    steps = (covering.vox2ras[:3, 3] - grid.vox2ras[:3, 3]) / spacing
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-6)
    np.testing.assert_array_equal(covering.vox2ras[:3, :3], grid.vox2ras[:3, :3])


def test_air_is_trimmed_and_nothing_is_covered_that_no_scan_shows():
    covering = head_grid(output_grid(WHOLE, 1.0), [shown(WHOLE)], [(WHOLE, STILL)])
    size = np.array(covering.shape)
    assert (size <= np.maximum(HEAD_MM + 2 * MARGIN_MM, LEAST_MM) + 8).all()
    assert (size >= LEAST_MM).all()
    alone = head_grid(output_grid(SHORT, 1.0), [shown(SHORT)], [(SHORT, STILL)])
    low, high = extent(alone)
    assert low[2] == pytest.approx(-39) and high[2] <= 105 + 1


def test_a_scan_that_shows_no_head_keeps_its_field_of_view():
    empty = head_points(np.zeros(WHOLE.shape), WHOLE, 2)
    covering = head_grid(output_grid(WHOLE, 3.0), [empty], [(WHOLE, STILL)])
    assert covering.shape == WHOLE.shape


def test_a_moved_scan_counts_where_it_lies_in_the_frame_of_the_reference():
    scan2ref = rigid(np.radians([0, 0, 10.0]), np.array([5.0, -3, 30]))
    moved = Grid(SAGITTAL.shape, np.linalg.inv(scan2ref) @ SAGITTAL.vox2ras)
    heads = [shown(SHORT), apply_affine(scan2ref, head_points(head(SAGITTAL), moved, 0))]
    still = [shown(SHORT), shown(SAGITTAL, 0)]
    grid = output_grid(SHORT, 1.0)
    assert (
        head_grid(grid, heads, [(SHORT, STILL), (moved, scan2ref)]).shape
        == head_grid(grid, still, [(SHORT, STILL), (SAGITTAL, STILL)]).shape
    )


def test_share_and_length_of_the_head_are_those_of_the_phantom():
    heads = [shown(SHORT), shown(SAGITTAL, 0)]
    views = [(SHORT, STILL), (SAGITTAL, STILL)]
    short, sagittal = measure_coverage(heads, views, np.eye(3))
    # an ellipsoid cut at -39 of its radius of 75
    part = 0.52
    inside = 1 - (1 - part) ** 2 * (2 + part) / 4
    assert short.percent == pytest.approx(100 * inside, abs=2)
    assert sagittal.percent > 99
    assert sagittal.size_mm == pytest.approx(tuple(HEAD_MM), abs=9)
    assert short.size_mm[2] == pytest.approx(75 + 39, abs=9)
