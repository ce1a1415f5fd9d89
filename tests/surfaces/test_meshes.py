"""Surfaces: where they lie, how they are written, and where planes cut them."""

import nibabel as nb
import numpy as np
import pytest

from bids_synthsr.surfaces.meshes import (
    Mesh,
    cut_by_plane,
    load_mesh,
    load_shape,
    load_surface,
    load_values,
    save_mesh,
    save_values,
)

POINTS = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
TRIANGLES = np.array(
    [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]]
)
OCTAHEDRON = Mesh(POINTS * 10, TRIANGLES)


def test_a_plane_cuts_an_octahedron_in_a_square():
    segments = cut_by_plane(OCTAHEDRON, 2, 5.0)
    assert segments.shape == (4, 2, 3)
    np.testing.assert_allclose(segments[..., 2], 5)
    np.testing.assert_allclose(np.abs(segments[..., :2]).sum(-1), 5)
    assert len(cut_by_plane(OCTAHEDRON, 2, 11.0)) == 0


def test_surfaces_of_freesurfer_lie_where_the_scanner_had_the_head(tmp_path):
    affine = np.array([[-1.0, 0, 0, 150], [0, 0, 1, -90], [0, -1, 0, 140], [0, 0, 0, 1]])
    volume = tmp_path / 'orig.mgz'
    nb.MGHImage(np.zeros((64, 64, 64), np.uint8), affine).to_filename(volume)
    nb.freesurfer.write_geometry(str(tmp_path / 'lh.pial'), OCTAHEDRON.points, TRIANGLES)
    mesh = load_surface(tmp_path / 'lh.pial', volume)
    center = affine @ [32, 32, 32, 1]
    np.testing.assert_allclose(mesh.points.mean(0), center[:3], atol=1e-4)
    np.testing.assert_allclose(mesh.points[0] - center[:3], [10, 0, 0], atol=1e-4)


def test_gifti_gives_back_what_was_written(tmp_path):
    mesh = load_mesh(save_mesh(tmp_path / 'a.surf.gii', OCTAHEDRON, 'lh'))
    np.testing.assert_array_equal(mesh.triangles, TRIANGLES)
    np.testing.assert_allclose(mesh.points, OCTAHEDRON.points)
    values = np.arange(6, dtype=np.float32)
    np.testing.assert_array_equal(
        load_shape(save_values(tmp_path / 'a.shape.gii', values, 'lh')), values
    )


def test_what_is_no_surface_is_named(tmp_path):
    path = tmp_path / 'lh.pial'
    path.write_bytes(b'no surface')
    with pytest.raises(ValueError, match='no surface'):
        load_surface(path, path)
    nb.freesurfer.write_morph_data(str(tmp_path / 'lh.thickness'), np.ones(5, np.float32))
    with pytest.raises(ValueError, match='5 values for 6 vertices'):
        load_values(tmp_path / 'lh.thickness', OCTAHEDRON)
    with pytest.raises(ValueError, match='cannot be read'):
        load_values(tmp_path / 'rh.thickness', OCTAHEDRON)
