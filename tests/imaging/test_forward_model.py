import numpy as np
import pytest

from bids_synthsr.imaging.forward_model import AcquisitionOperator, acquire, average_fine_axes
from bids_synthsr.imaging.geometry import apply_affine, rigid
from bids_synthsr.imaging.resampling import FWHM_PER_SIGMA
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid

HEAD = Grid((14, 12, 16), np.eye(4))
MOTION = rigid(np.array([0.1, -0.05, 0.08]), np.array([0.6, -0.4, 0.3]), HEAD.center)


def slices_of(head: Grid, axis: int, spacing: float) -> Grid:
    """Slices across ``axis`` that cover ``head`` edge to edge."""
    step = np.where(np.arange(3) == axis, spacing, 1)
    vox2ras = head.vox2ras @ np.diag([*step, 1])
    vox2ras[:3, 3] = apply_affine(head.vox2ras, (step - 1) / 2)
    shape = np.array(head.shape) // step
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), vox2ras)


def flipped(grid: Grid) -> Grid:
    """The same voxels in the axis order K, I, J, the first of them backwards: left-handed."""
    reorder = np.zeros((4, 4))
    reorder[[2, 0, 1, 3], [0, 1, 2, 3]] = -1, 1, 1, 1
    reorder[2, 3] = grid.shape[2] - 1
    return Grid((grid.shape[2], grid.shape[0], grid.shape[1]), grid.vox2ras @ reorder)


CASES = {
    'aligned': (slices_of(HEAD, 2, 4), Acquisition(2, 4, 4), None),
    'moved': (slices_of(HEAD, 2, 4), Acquisition(2, 4, 4), MOTION),
    'gap': (slices_of(HEAD, 0, 3), Acquisition(0, 3, 2), MOTION),
    'overlap': (slices_of(HEAD, 1, 3), Acquisition(1, 3, 5), MOTION),
    'left-handed': (flipped(slices_of(HEAD, 2, 4)), Acquisition(0, 4, 4), None),
    'left-handed, moved': (flipped(slices_of(HEAD, 2, 4)), Acquisition(0, 4, 4), MOTION),
    'coarse in plane': (Grid((7, 6, 8), np.diag([2.0, 2, 2, 1])), Acquisition(2, 2, 2), MOTION),
    'fine in plane': (Grid((20, 17, 5), np.diag([0.7, 0.7, 3, 1])), Acquisition(2, 3, 3), MOTION),
    'elsewhere': (Grid((5, 5, 5), np.diag([1, 1, 3, 1]) + 100 * np.eye(4, k=3)),
                  Acquisition(2, 3, 3), MOTION),
}  # fmt: skip


@pytest.fixture(params=list(CASES))
def operator(request):
    return AcquisitionOperator(HEAD, *CASES[request.param])


def test_adjoint(operator):
    generator = np.random.default_rng(0)
    x = generator.random(operator.source_shape, np.float32)
    y = generator.random(operator.target_shape, np.float32)
    forward, adjoint = np.vdot(operator.forward(x), y), np.vdot(x, operator.adjoint(y))
    assert forward == pytest.approx(adjoint, rel=1e-5)  # sums of 2,000 float32 products


def test_constant_head_gives_constant_scan(operator):
    scan = operator.forward(np.full(operator.source_shape, 7.0))
    np.testing.assert_allclose(scan[operator.is_seen], 7, rtol=1e-5)
    assert not scan[~operator.is_seen].any()


def test_nothing_is_seen_elsewhere_and_all_in_place():
    assert not AcquisitionOperator(HEAD, *CASES['elsewhere']).is_seen.any()
    assert AcquisitionOperator(HEAD, *CASES['aligned']).is_seen.all()


def test_scan_as_fine_as_the_head_is_the_head():
    head = np.random.default_rng(0).random(HEAD.shape, np.float32)
    np.testing.assert_array_equal(acquire(head, HEAD, HEAD, Acquisition(2, 1, 1)), head)


def test_axis_order_does_not_matter():
    head = np.random.default_rng(0).random(HEAD.shape, np.float32)
    for motion in (None, MOTION):
        straight = acquire(head, HEAD, slices_of(HEAD, 2, 4), Acquisition(2, 4, 4), motion)
        turned = acquire(head, HEAD, flipped(slices_of(HEAD, 2, 4)), Acquisition(0, 4, 4), motion)
        np.testing.assert_allclose(turned, straight.transpose(2, 0, 1)[::-1], atol=1e-5)


def test_tiny_rotation_changes_little():
    head = np.random.default_rng(0).random(HEAD.shape, np.float32)
    target, slices = slices_of(HEAD, 1, 3), Acquisition(1, 3, 3)
    nudge = rigid(np.full(3, 1e-5), np.zeros(3), HEAD.center)
    straight = acquire(head, HEAD, target, slices)
    # 1e-5 rad move a voxel by 1e-4 mm: that part of a difference of 1 between neighbours
    np.testing.assert_allclose(acquire(head, HEAD, target, slices, nudge), straight, atol=1e-3)


@pytest.mark.parametrize('thickness', [2, 4, 6])
def test_profile_is_as_wide_as_the_slices_are_thick(thickness):
    head = np.zeros((1, 1, 41), np.float32)
    head[..., 20] = 1
    line = Grid(head.shape, np.eye(4))
    profile = acquire(head, line, line, Acquisition(2, 1, thickness)).ravel()
    offset = np.arange(41) - 20
    added = np.sqrt(thickness**2 - 1) / FWHM_PER_SIGMA  # to the width of a voxel
    assert profile.sum() == pytest.approx(1, rel=1e-5)
    assert profile @ offset == pytest.approx(0, abs=1e-5)
    # the Gaussian is cut off where 0.04 % of it, far out, are lost
    assert profile @ offset**2 == pytest.approx(added**2, rel=0.02)


def test_motion_is_that_from_head_to_scan():
    head = np.random.default_rng(0).random(HEAD.shape, np.float32)
    forward = rigid(np.zeros(3), np.array([0, 0, 4.0]))
    target, slices = slices_of(HEAD, 2, 4), Acquisition(2, 4, 1)
    still, moved = (acquire(head, HEAD, target, slices, to) for to in (None, forward))
    np.testing.assert_allclose(moved[..., 1:], still[..., :-1], atol=1e-6)


def test_fine_axes_are_averaged_edge_to_edge():
    grid = Grid((8, 9, 3), rigid(np.array([0.2, 0, 0]), np.zeros(3)) @ np.diag([0.5, 0.4, 3, 1]))
    voxels = np.random.default_rng(0).random(grid.shape, np.float32)
    averaged, coarse, _ = average_fine_axes(voxels, grid, Acquisition(2, 3.0, 3.0), 1)
    assert averaged.shape == coarse.shape == (4, 3, 3)
    np.testing.assert_allclose(coarse.spacing, (1, 1, 3))
    corner = np.full(3, -0.5)
    np.testing.assert_allclose(
        apply_affine(coarse.vox2ras, corner), apply_affine(grid.vox2ras, corner), atol=1e-12
    )
    first = (voxels[:2, :2].sum((0, 1)) + voxels[:2, 2].sum(0) / 2) / 5
    np.testing.assert_allclose(averaged[0, 0], first, rtol=1e-5)


def test_coarse_axes_are_left_alone():
    voxels = np.random.default_rng(0).random(HEAD.shape, np.float32)
    slices = Acquisition(2, 1.0, 1.0, (3,))
    averaged, grid, acquisition = average_fine_axes(voxels, HEAD, slices, 1)
    np.testing.assert_array_equal(averaged, voxels)
    assert grid == HEAD and acquisition == slices


@pytest.mark.parametrize(('spacing', 'thickness'), [(3, 3), (4, 4), (5, 5), (5, 3), (4, 2)])
def test_slices_with_the_profile_of_a_box_are_means_of_the_voxels_in_them(spacing, thickness):
    head = np.random.default_rng(0).random((3, 4, 60), np.float32)
    grid = Grid(head.shape, np.eye(4))
    target, slices = slices_of(grid, 2, spacing), Acquisition(2, spacing, thickness)
    gap = (spacing - thickness) // 2
    inside = head.reshape(3, 4, -1, spacing)[..., gap : gap + thickness]
    scan = acquire(head, grid, target, slices, profile='box')
    np.testing.assert_allclose(scan, inside.mean(-1), rtol=1e-5)  # float32


@pytest.mark.parametrize('case', ['moved', 'gap', 'left-handed', 'fine in plane'])
def test_boxes_have_an_adjoint_and_keep_a_constant(case):
    operator = AcquisitionOperator(HEAD, *CASES[case], profile='box')
    generator = np.random.default_rng(0)
    x = generator.random(operator.source_shape, np.float32)
    y = generator.random(operator.target_shape, np.float32)
    forward, adjoint = np.vdot(operator.forward(x), y), np.vdot(x, operator.adjoint(y))
    assert forward == pytest.approx(adjoint, rel=1e-5)  # sums of 2,000 float32 products
    scan = operator.forward(np.full(operator.source_shape, 7.0))
    np.testing.assert_allclose(scan[operator.is_seen], 7, rtol=1e-5)
