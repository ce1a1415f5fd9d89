"""From a T1w to a template and back; the files are what other programs read."""

import time

import numpy as np
import pytest
import SimpleITK
import torch
from nitransforms.manip import TransformChain
from phantoms import draw_brain

from bids_synthsr.dataset.composites import (
    affine_of,
    field_of,
    find_composite_fault,
    save_composite,
)
from bids_synthsr.imaging.displacements import upsample
from bids_synthsr.imaging.geometry import apply_affine
from bids_synthsr.registration.standard import StandardTransform, fit_template
from bids_synthsr.values.grid import Grid

SHAPE = (40, 48, 44)
WHERE = Grid(SHAPE, np.array([[2.0, 0, 0, -40], [0, 2, 0, -50], [0, 0, 2, -42], [0, 0, 0, 1]]))
AFFINE = np.array([[1.1, 0.05, 0, 3], [-0.04, 0.95, 0.02, -2], [0, 0.03, 1.02, 1], [0, 0, 0, 1]])


def transform_of(scale: float = 1.0) -> StandardTransform:
    """Make a transform whose displacement is smooth."""
    nodes = torch.randn(3, 5, 5, 5, generator=torch.Generator().manual_seed(0))
    nodes[:, [0, -1]] = nodes[:, :, [0, -1]] = nodes[:, :, :, [0, -1]] = 0
    there = scale * upsample(nodes, SHAPE).numpy()
    return StandardTransform(AFFINE, there, -there, WHERE, 1.0, 1.0)


def points_inside() -> np.ndarray:
    rng = np.random.default_rng(1)
    return apply_affine(WHERE.vox2ras, rng.uniform(8, 30, (50, 3)))


def test_the_file_maps_points_as_the_transform_does(tmp_path):
    transform, points = transform_of(), points_inside()
    path = save_composite(
        tmp_path / 'xfm.h5',
        [field_of(transform.there, WHERE), affine_of(transform.template2t1w)],
    )
    expected = transform.to_t1w(points)
    assert np.abs(expected - apply_affine(AFFINE, points)).max() > 1
    itk = SimpleITK.ReadTransform(str(path))
    flip = np.array([-1, -1, 1])
    by_itk = [np.array(itk.TransformPoint((point * flip).tolist())) * flip for point in points]
    np.testing.assert_allclose(by_itk, expected, atol=1e-4)
    by_nitransforms = TransformChain.from_filename(path, fmt='itk').map(points)
    np.testing.assert_allclose(by_nitransforms, expected, atol=0.1)  # its splines are cubic
    assert find_composite_fault(path) == ''


def test_equal_transforms_make_equal_files(tmp_path):
    files = []
    for name in ('one.h5', 'other.h5'):
        path = save_composite(tmp_path / name, [affine_of(AFFINE)])
        files.append(path.read_bytes())
        time.sleep(1.1)  # ITK writes the second into its files
    assert files[0] == files[1]


def test_the_way_back_is_applied_in_the_other_order(tmp_path):
    transform, points = transform_of(), points_inside()
    path = save_composite(
        tmp_path / 'back.h5',
        [affine_of(np.linalg.inv(transform.template2t1w)), field_of(transform.back, WHERE)],
    )
    itk = SimpleITK.ReadTransform(str(path))
    flip = np.array([-1, -1, 1])
    by_itk = [np.array(itk.TransformPoint((point * flip).tolist())) * flip for point in points]
    np.testing.assert_allclose(by_itk, transform.to_template(points), atol=1e-4)


def test_a_damaged_file_is_told(tmp_path):
    path = tmp_path / 'xfm.h5'
    path.write_bytes(b'nothing of it')
    assert 'cannot be read' in find_composite_fault(path)


def test_a_volume_is_carried_through_affine_and_displacement():
    transform = transform_of()
    source = Grid((60, 70, 60), np.array([[2.0, 0, 0, -60], [0, 2, 0, -70], [0, 0, 2, -60],
                                          [0, 0, 0, 1]]))  # fmt: skip
    ramp = apply_affine(source.vox2ras, np.moveaxis(np.indices(source.shape), 0, -1))[..., 1]
    carried = transform.carry(ramp.astype(np.float32), source, WHERE, order=1)
    points = apply_affine(WHERE.vox2ras, np.moveaxis(np.indices(SHAPE), 0, -1).reshape(-1, 3))
    expected = transform.to_t1w(points)[:, 1].reshape(SHAPE)
    inside = (slice(4, -4),) * 3
    np.testing.assert_allclose(carried[inside], expected[inside], atol=0.01)


def test_what_the_scan_does_not_show_is_empty():
    small = Grid((10, 10, 10), np.diag([2.0, 2, 2, 1]))
    carried = transform_of(0).carry(np.ones((10, 10, 10), np.float32), small, WHERE, order=0)
    assert 0 < carried.mean() < 0.2


def test_a_brain_is_brought_to_the_template(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    template, t1w = (
        draw_brain((34, 40, 34), (13, 16, 13)),
        draw_brain((38, 44, 36), (15, 18, 13.5)),
    )
    spacing = np.diag([3.0, 3, 3, 1])
    grid, head = Grid((34, 40, 34), spacing), Grid((38, 44, 36), spacing.copy())
    transform = fit_template(t1w, head, t1w > 0, template, grid)
    assert transform.overlap > 0.95
    assert transform.correlation > 0.9
    assert transform.growth == pytest.approx(15 * 18 * 13.5 / (13 * 16 * 13), rel=0.1)
    # by the size of the head alone: the affine makes the template's brain as large as this one
    brain_mm3 = (t1w > 0).sum() * head.voxel_volume
    assert transform.intracranial_mm3 == pytest.approx(brain_mm3, rel=0.1)
    there_and_back = transform.to_template(transform.to_t1w(np.array([[50.0, 60, 50]])))
    np.testing.assert_allclose(there_and_back, [[50, 60, 50]], atol=0.3)


def test_what_is_no_brain_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    template = draw_brain((34, 40, 34), (13, 16, 13))
    grid = Grid((34, 40, 34), np.diag([3.0, 3, 3, 1]))
    bar = np.zeros((34, 40, 34), np.float32)
    bar[15:19, 3:37, 15:19] = 100
    with pytest.raises(ValueError, match='brain mask'):
        fit_template(bar, grid, bar > 0, template, grid)
