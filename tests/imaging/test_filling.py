"""Lesions are filled by what is around them, and nothing else changes."""

import numpy as np
import pytest
from scipy import ndimage

from bids_synthsr.imaging.filling import fill_lesions, find_lesion_fault, mark_lesion
from bids_synthsr.imaging.forward_model import acquire
from bids_synthsr.imaging.geometry import rigid, with_slices
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation

GRID = Grid((64, 64, 40), np.diag([1.0, 1.0, 1.0, 1.0]))
# white matter, cortex, ventricle, lesion
LEVELS = {'T1w': (100, 65, 25, 60), 'FLAIR': (60, 75, 15, 120)}


def ball(center, radius):
    distance = np.linalg.norm(np.indices(GRID.shape).T - center, axis=-1).T
    return distance < radius


WHITE, VENTRICLE = ball((32, 32, 20), 22), ball((32, 32, 20), 7)
HEAD = ball((32, 32, 20), 28)
DEEP, BESIDE = ball((46, 32, 20), 4), ball((23, 32, 20), 5) & ~VENTRICLE
BORDER = ball((32, 53, 20), 5)  # of white matter and cortex
LESION = DEEP | BESIDE | BORDER


def paint(contrast, lesion=None):
    white, cortex, ventricle, sick = LEVELS[contrast]
    voxels = np.zeros(GRID.shape)
    for inside, level in ((HEAD, cortex), (WHITE, white), (VENTRICLE, ventricle)):
        voxels[inside] = level
    if lesion is not None:
        voxels[lesion] = sick
    return voxels + np.random.default_rng(1).normal(0, 2, GRID.shape) * HEAD


def scan(contrast, lesion=None, axis=2, scan2ref=None):
    slices = Acquisition(axis, 4.0, 4.0)
    grid = with_slices(GRID, axis, 4.0)
    scan2ref = np.eye(4) if scan2ref is None else scan2ref
    voxels = acquire(paint(contrast, lesion), GRID, grid, slices, np.linalg.inv(scan2ref))
    return Observation(contrast, voxels, grid, slices, scan2ref)


def exam(lesion=None):
    moved = rigid(np.radians([3, -2, 4]), np.array([2.0, -1, 1]), np.array([32.0, 32, 20]))
    return [scan('T1w', lesion), scan('FLAIR', lesion, 1, moved)]


def marks(scans):
    return [mark_lesion(LESION, GRID, one.grid, np.linalg.inv(one.scan2ref)) for one in scans]


@pytest.fixture(scope='module')
def filled():
    scans = exam(LESION)
    return fill_lesions(scans, marks(scans))


@pytest.mark.parametrize('index', [0, 1])
def test_filled_lesions_are_nearer_to_healthy_tissue(filled, index):
    healthy, sick = exam()[index], exam(LESION)[index]
    lesion = marks([sick])[0]
    white = LEVELS[sick.contrast][0]
    error, before, constant = (
        np.abs(voxels - healthy.voxels)[lesion].mean()
        for voxels in (filled[index], sick.voxels, np.full(lesion.shape, white))
    )
    assert error < before / 2
    assert error < constant


def test_nothing_else_changes(filled):
    for voxels, one, lesion in zip(filled, exam(LESION), marks(exam()), strict=True):
        axis = one.acquisition.slice_axis
        plane = np.moveaxis(np.ones((1, 3, 3), bool), 0, axis)
        beyond = ~ndimage.binary_dilation(lesion, plane)
        assert np.array_equal(voxels[beyond], one.voxels[beyond])
        assert voxels.dtype == np.float32


def test_scans_without_lesions_are_returned_as_they_are():
    scans = exam(LESION)
    nothing = [np.zeros(one.grid.shape, bool) for one in scans]
    assert all(made is one.voxels for made, one in
               zip(fill_lesions(scans, nothing), scans, strict=True))  # fmt: skip


def test_other_scans_may_have_no_lesion_marked():
    scans = exam(LESION)
    first = marks(scans)[0]
    made = fill_lesions(scans, [first, np.zeros(scans[1].grid.shape, bool)])
    assert made[1] is scans[1].voxels
    assert np.abs(made[0] - scans[0].voxels)[first].mean() > 5


def test_large_lesions_are_filled_from_afar():
    large = ball((32, 32, 20), 15)
    one = scan('T1w', large)
    lesion = mark_lesion(large, GRID, one.grid)
    made = fill_lesions([one], [lesion])[0]
    assert np.isfinite(made).all()
    assert np.median(made[lesion]) > 85


def test_lesions_at_the_border_of_the_view_are_filled():
    one = scan('T1w')
    lesion = np.zeros(one.grid.shape, bool)
    lesion[:12, 26:38, 5] = True
    assert np.isfinite(fill_lesions([one], [lesion])[0]).all()


def test_where_nothing_is_healthy_is_refused():
    one = scan('T1w')
    with pytest.raises(ValueError, match='healthy'):
        fill_lesions([one], [np.ones(one.grid.shape, bool)])


def test_small_lesions_between_slices_are_marked():
    thin = np.zeros(GRID.shape, bool)
    thin[30:33, 30:33, 20:22] = True
    coarse = with_slices(GRID, 2, 4.0)
    assert mark_lesion(thin, GRID, coarse)[30:33, 30:33].sum() == 9
    assert mark_lesion(thin, GRID, GRID).sum() == thin.sum()


def test_masks_that_are_no_lesions_are_described():
    one = scan('T1w')
    lesion = marks([one])[0]
    assert find_lesion_fault(lesion, one) == ''
    whole = lesion.copy()
    whole[:, :, 5] = True
    assert 'whole head in slice 5' in find_lesion_fault(whole & (one.voxels > 20), one)
    corner = np.zeros(lesion.shape, bool)
    corner[:3, :3] = True
    assert 'outside of the head' in find_lesion_fault(corner, one)
