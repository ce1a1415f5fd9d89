import numpy as np

from bids_synthsr.imaging.geometry import output_grid
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.methods.cubic import synthesize
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation

GRID = Grid((12, 10, 4), np.diag([1.0, 1, 3, 1]))


def scan(contrast: str, voxels: np.ndarray) -> Observation:
    return Observation(contrast, voxels.astype(np.float32), GRID, Acquisition(2, 3, 3), np.eye(4))


def test_interpolates_the_reference_alone():
    voxels = np.random.default_rng(0).random(GRID.shape)
    reference, other = scan('T2w', voxels), scan('FLAIR', 1 - voxels)
    grid = output_grid(GRID)
    (product,) = synthesize([reference, other], grid).products
    assert (product.suffix, product.desc, product.grid) == ('T2w', 'cubic', grid)
    expected = resample(reference.voxels, GRID, grid, order=3)
    inside = (expected >= voxels.min()) & (expected <= voxels.max())
    np.testing.assert_array_equal(product.voxels[inside], expected[inside])


def test_passes_through_the_slices():
    voxels = np.random.default_rng(0).random(GRID.shape)
    (product,) = synthesize([scan('T1w', voxels)], output_grid(GRID)).products
    np.testing.assert_allclose(product.voxels[..., 1::3], voxels, atol=1e-5)


def test_edges_do_not_overshoot():
    voxels = np.zeros(GRID.shape)
    voxels[..., 2:] = 100
    (product,) = synthesize([scan('T1w', voxels)], output_grid(GRID)).products
    assert product.voxels.min() == 0
    assert product.voxels.max() == 100
