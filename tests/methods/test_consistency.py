"""Data consistency: a volume whose slices are those that were measured."""

from dataclasses import replace

import numpy as np
import pytest
from phantoms import centred, head

from bids_synthsr.imaging.forward_model import acquire
from bids_synthsr.imaging.geometry import output_grid
from bids_synthsr.imaging.similarity import psnr
from bids_synthsr.methods import cubic, cubic_consistent
from bids_synthsr.methods.consistency import (
    NOISE_FACTOR,
    THICKNESS_SHARE,
    WEIGHT,
    make_consistent,
)
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.method import Observation

SLICES = Acquisition(2, 4.0, 4.0)


@pytest.fixture(scope='module')
def exam():
    """A head of 1 mm, its slices, and where both lie."""
    lattice = centred((60, 60, 15), np.diag([1.0, 1.0, 4.0, 1.0]))
    grid = output_grid(lattice, 1.0)
    truth = head(grid, 'T1w')
    scan = Observation('T1w', acquire(truth, grid, lattice, SLICES), lattice, SLICES, np.eye(4))
    return truth, grid, scan


def test_the_slices_are_met_and_the_head_comes_nearer(exam):
    truth, grid, scan = exam
    interpolated = cubic.synthesize([scan], grid).images[0].voxels
    made = cubic_consistent.synthesize([scan], grid)
    facts = made.facts['consistency']
    assert facts['misfit'] < 0.3 * facts['misfit_before']
    inside = truth > 0
    scores = [psnr(volume, truth, inside) for volume in (interpolated, made.images[0].voxels)]
    assert scores[1] > scores[0] + 0.5


def test_what_is_consistent_stays_as_it_is(exam):
    truth, grid, scan = exam
    slices = Acquisition(2, 4.0, 4.0 * THICKNESS_SHARE)  # what it takes them for
    scan = replace(scan, voxels=acquire(truth, grid, scan.grid, slices))
    volume, consistency = make_consistent(truth, grid, scan)
    np.testing.assert_allclose(volume, truth, atol=1e-3 * truth.max())
    assert consistency.misfit_before < 1e-5


def test_units_do_not_matter_and_beyond_the_scan_nothing_changes(exam):
    _, grid, scan = exam
    volume = cubic.synthesize([scan], grid).images[0].voxels
    once, _ = make_consistent(volume, grid, scan)
    loud, _ = make_consistent(7 * volume, grid, replace(scan, voxels=7 * scan.voxels))
    np.testing.assert_allclose(loud, 7 * once, atol=1e-3 * loud.max())
    wide = replace(
        scan, voxels=scan.voxels[:, :, :8], grid=centred((60, 60, 8), scan.grid.vox2ras)
    )
    above = np.full(grid.shape, 5.0, np.float32)
    changed, _ = make_consistent(above, grid, wide)
    assert (changed[:, :, -8:] == 5).all() and np.ptp(changed[:, :, 20:40]) > 0


def test_a_noisy_scan_counts_less(exam):
    _, grid, scan = exam
    random = np.random.default_rng(0)
    noisy = replace(scan, voxels=np.abs(scan.voxels + random.normal(0, 8, scan.voxels.shape)))
    volume = cubic.synthesize([noisy], grid).images[0].voxels
    clean, loud = (make_consistent(volume, grid, one)[1] for one in (scan, noisy))
    assert loud.noise > 2 * clean.noise
    assert loud.weight == pytest.approx(WEIGHT + NOISE_FACTOR * loud.noise**2)


def test_slices_that_are_boxes_lose_nothing(exam):
    """Where the profile is not the one that is taken for granted."""
    truth, grid, scan = exam
    slabs = np.add.reduceat(truth, range(0, truth.shape[2], 4), axis=2) / 4
    boxes = replace(scan, voxels=slabs.astype(np.float32))
    volumes = [m.synthesize([boxes], grid).images[0].voxels for m in (cubic, cubic_consistent)]
    scores = [psnr(volume, truth, truth > 0) for volume in volumes]
    assert scores[1] > scores[0]


def test_the_ends_of_the_view_stay_as_bright(exam):
    """Voxels beyond the scan, which methods set to 0, are no part of its slices."""
    lattice = centred((60, 60, 12), np.diag([1.0, 1.0, 2.2, 1.0]))
    scan = Observation('T1w', np.full(lattice.shape, 100, np.float32), lattice,
                       Acquisition(2, 2.2, 2.2), np.eye(4))  # fmt: skip
    for grid in (output_grid(lattice, 1.0), output_grid(centred((60, 60, 40), np.eye(4)), 1.0)):
        made = cubic_consistent.synthesize([scan], grid).images[0].voxels
        interpolated = cubic.synthesize([scan], grid).images[0].voxels
        np.testing.assert_allclose(made[interpolated > 99], 100, atol=0.5)
