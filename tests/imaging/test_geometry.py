"""Laws of grids and rigid transforms."""

import nibabel as nb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from bids_synthsr.imaging.geometry import (
    apply_affine,
    axis_order,
    bounding_box,
    corners_vox,
    crop_grid,
    displacement,
    in_ras_order,
    nearest_rigid,
    output_grid,
    rigid,
    rotation_angle_deg,
    union_grid,
    vox2vox,
    with_spacing,
)
from bids_synthsr.values.grid import Grid

ANGLES = st.tuples(*3 * [st.floats(-0.3, 0.3)])


def oblique(angles=(0.1, -0.2, 0.15), zooms=(-0.9, 0.9, 4.2), shape=(12, 10, 5)) -> Grid:
    scaled = np.diag([*zooms, 1.0])
    return Grid(shape, rigid(np.array(angles), np.array([3.0, -7.0, 11.0])) @ scaled)


def centres(grid: Grid) -> np.ndarray:
    """All voxel centres in RAS mm, sorted, to compare grids as sets of points."""
    points = apply_affine(grid.vox2ras, np.indices(grid.shape).reshape(3, -1).T)
    return points[np.lexsort(points.round(6).T)]


@settings(max_examples=50, deadline=None)
@given(ANGLES, st.permutations(range(3)), st.tuples(*3 * [st.sampled_from((-1, 1))]))
def test_ras_order_keeps_the_voxels_and_agrees_with_nibabel(angles, order, signs):
    vox2ras = oblique(angles).vox2ras.copy()
    vox2ras[:, :3] = vox2ras[:, list(order)] * signs
    grid = Grid((4, 5, 6), vox2ras)
    ordered = in_ras_order(grid)
    np.testing.assert_allclose(centres(ordered), centres(grid), atol=1e-9)
    # turns below 0.3 rad about each axis leave no doubt which axis is nearest: nibabel agrees
    axes, flips = axis_order(vox2ras)
    expected = nb.io_orientation(vox2ras)
    assert [int(expected[axis, 0]) for axis in axes] == [0, 1, 2]
    np.testing.assert_array_equal(flips, [expected[axis, 1] for axis in axes])


def test_axis_order_never_uses_an_axis_twice():
    # 45 degrees between two axes: both point equally to R and A
    turned = oblique((0, 0, np.pi / 4), (1, 1, 1)).vox2ras
    assert sorted(axis_order(turned)[0]) == [0, 1, 2]


def test_with_spacing_keeps_the_corner_and_covers_the_far_end():
    grid = oblique()
    fine = with_spacing(grid, 1.0)
    np.testing.assert_allclose(fine.spacing, 1)
    first = apply_affine(grid.vox2ras, np.full(3, -0.5))
    np.testing.assert_allclose(apply_affine(fine.vox2ras, np.full(3, -0.5)), first, atol=1e-9)
    growth = np.array(fine.shape) - np.array(grid.shape) * grid.spacing
    assert (growth > -1e-3).all() and (growth < 1).all()


def test_with_spacing_is_not_fooled_by_float32_headers():
    # 50 voxels of 1.2 mm, as a float32 sform stores them, are 60 mm and not 61 voxels
    stored = np.diag([np.float32(1.2)] * 3 + [1]).astype(np.float64)
    assert with_spacing(Grid((50, 50, 50), stored), 1.0).shape == (60, 60, 60)


def test_output_grid_of_an_isotropic_ras_scan_is_the_scan_itself():
    grid = Grid((8, 9, 10), np.eye(4))
    assert output_grid(grid) == grid


def test_union_covers_both_and_keeps_the_voxels_of_the_first():
    grid = output_grid(oblique())
    other, other2ref = oblique((0, 0.3, 0)), rigid(np.array([0.2, 0, 0]), np.array([9.0, 0, -6]))
    union = union_grid(grid, [(other, other2ref)])
    corners = apply_affine(
        np.linalg.inv(union.vox2ras) @ other2ref @ other.vox2ras, corners_vox(other)
    )
    assert (corners > -0.5 - 1e-3).all()
    assert (corners < np.array(union.shape) - 0.5 + 1e-3).all()
    offset = vox2vox(grid, union)[:3, 3]
    np.testing.assert_allclose(offset, offset.round(), atol=1e-9)


def test_union_with_itself_is_itself():
    grid = output_grid(oblique())
    assert union_grid(grid, [(grid, np.eye(4))]) == grid


def test_vox2vox_is_invertible():
    first, second, between = oblique(), oblique((0, 0, 0.3)), rigid(np.ones(3) * 0.1, np.ones(3))
    there = vox2vox(first, second, between)
    back = vox2vox(second, first, np.linalg.inv(between))
    np.testing.assert_allclose(there @ back, np.eye(4), atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(ANGLES)
def test_rigid_is_a_rotation_that_keeps_its_centre(angles):
    center = np.array([10.0, -20, 30])
    transform = rigid(np.array(angles), np.zeros(3), center)
    rotation = transform[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    np.testing.assert_allclose(apply_affine(transform, center), center, atol=1e-9)


def test_rotation_about_s_turns_r_towards_a():
    turned = rigid(np.array([0, 0, np.pi / 2]), np.zeros(3))
    np.testing.assert_allclose(apply_affine(turned, np.array([1.0, 0, 0])), [0, 1, 0], atol=1e-12)
    assert rotation_angle_deg(turned) == pytest.approx(90)


def test_displacement_of_a_translation_is_its_length():
    points = np.random.default_rng(0).normal(size=(5, 3))
    moved = rigid(np.zeros(3), np.array([3.0, 4, 0]))
    np.testing.assert_allclose(displacement(np.eye(4), moved, points), 5)


def test_grids_compare_by_their_points():
    assert Grid((2, 2, 2), np.eye(4)) == Grid((2, 2, 2), np.eye(4) + 1e-6)
    assert Grid((2, 2, 2), np.eye(4)) != Grid((2, 2, 3), np.eye(4))
    assert Grid((2, 2, 2), np.eye(4)) != 'grid'


def test_voxel_volume_and_center():
    grid = oblique()
    assert grid.voxel_volume == pytest.approx(0.9 * 0.9 * 4.2)
    np.testing.assert_allclose(grid.center, apply_affine(grid.vox2ras, corners_vox(grid)).mean(0))


def test_bounding_box_is_the_least_that_holds_the_mask():
    rng = np.random.default_rng(1)
    for _ in range(20):
        mask = rng.random((7, 8, 9)) > 0.99
        box = bounding_box(mask)
        expected = ndimage.find_objects(mask.astype(int))
        assert box == (expected[0] if expected else (slice(0, 7), slice(0, 8), slice(0, 9)))


def test_margin_of_a_bounding_box_ends_at_the_border():
    mask = np.zeros((9, 9, 9), bool)
    mask[1, 4, 8] = True
    assert bounding_box(mask, 2) == (slice(0, 4), slice(2, 7), slice(6, 9))


def test_cropped_grid_leaves_every_voxel_where_it_is():
    grid, box = oblique(), (slice(2, 9), slice(0, 10), slice(3, 4))
    index = np.argwhere(np.ones(grid.shape, bool)).reshape(*grid.shape, 3)
    cropped = crop_grid(grid, box)
    inside = np.argwhere(np.ones(cropped.shape, bool)).reshape(*cropped.shape, 3)
    np.testing.assert_allclose(
        apply_affine(cropped.vox2ras, inside), apply_affine(grid.vox2ras, index[box]), atol=1e-9
    )


def test_the_nearest_rigid_transform_is_rigid_to_the_last_digit():
    true = rigid(np.radians([10.0, -20, 30]), np.array([5.0, 6, 7]))
    nearest = nearest_rigid(true + 1e-5 * np.random.default_rng(1).normal(size=(4, 4)))
    np.testing.assert_array_equal(nearest[3], [0, 0, 0, 1])
    np.testing.assert_allclose(nearest[:3, :3] @ nearest[:3, :3].T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(nearest, true, atol=1e-4)
