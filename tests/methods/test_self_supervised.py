"""Super-resolution that learns from the scan alone: what it gains, states and refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from phantoms import centred

from bids_synthsr.imaging.displacements import smooth
from bids_synthsr.imaging.forward_model import acquire
from bids_synthsr.imaging.geometry import output_grid, rigid
from bids_synthsr.imaging.similarity import psnr
from bids_synthsr.methods import cubic_consistent, self_supervised
from bids_synthsr.methods.self_supervised import find_obstacle, synthesize
from bids_synthsr.networks.plane_net import PlaneNet
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.method import Observation

SLICES = Acquisition(2, 4.0, 4.0)


def textured(axis=2, shift=0.0):
    """A ball of sharp texture that is alike in all directions, and thick slices of it."""
    shape, voxel = np.full(3, 64), np.ones(3)
    shape[axis], voxel[axis] = 16, 4.0
    lattice = centred(tuple(map(int, shape)), np.diag([*voxel, 1.0]))
    grid = output_grid(lattice, 1.0)
    noise = torch.randn(1, 64, 64, 64, generator=torch.Generator().manual_seed(0))
    waves = smooth(noise, 1.6)[0].numpy()
    radius = np.linalg.norm(np.indices(grid.shape) - 31.5, axis=0)
    head = np.where(radius < 28, 100 + 60 * np.sign(waves) + shift, 0).astype(np.float32)
    slices = Acquisition(axis, 4.0, 4.0)
    return (
        head,
        grid,
        Observation('T2w', acquire(head, grid, lattice, slices), lattice, slices, np.eye(4)),
    )


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(self_supervised, 'STEPS', dict.fromkeys(self_supervised.EFFORTS, 4))


@pytest.mark.parametrize('axis', [0, 2])
def test_it_gains_over_interpolation_that_is_consistent(monkeypatch, axis):
    monkeypatch.setattr(self_supervised, 'STEPS', {'quick': 120})
    head, grid, scan = textured(axis)
    made = synthesize([scan], grid, effort='quick')
    base = cubic_consistent.synthesize([scan], grid)
    inside = head > 0
    scores = [psnr(one.images[0].voxels, head, inside) for one in (base, made)]
    assert scores[1] > scores[0] + 0.1
    (facts,) = made.facts['estimates']
    assert facts['held_out_gain_db'] > 0.5 and not made.warnings


def test_a_network_that_has_learned_nothing_interpolates():
    channels = torch.rand(2, 10, 7, 9)
    torch.testing.assert_close(PlaneNet(10)(channels), channels[:, 0])


def test_without_a_gain_it_is_interpolated_and_said(monkeypatch, short):
    _, grid, scan = textured()
    monkeypatch.setattr(self_supervised, 'held_out_gain', lambda *_: -0.2)
    made = synthesize([scan], grid, effort='quick')
    base = cubic_consistent.synthesize([scan], grid).images[0].voxels
    assert np.abs(made.images[0].voxels - base).mean() < 0.01 * base.max()  # but for the rims
    assert 'does not help on slices that were left out' in made.warnings[0]


def test_a_scan_upside_down_gives_the_volume_upside_down(short):
    """The first axis of the file runs from the other end."""
    _, grid, scan = textured()
    turned = scan.grid.vox2ras.copy()
    turned[:3, 3] = scan.grid.vox2ras[:3, 3] + scan.grid.vox2ras[:3, 2] * 15
    turned[:3, 2] *= -1
    flipped = replace(
        scan,
        voxels=np.ascontiguousarray(scan.voxels[:, :, ::-1]),
        grid=replace(scan.grid, vox2ras=turned),
    )
    one, other = (synthesize([x], grid, effort='quick').images[0].voxels for x in (scan, flipped))
    assert np.abs(one - other).mean() < 0.01 * one.max()


def test_every_contrast_gets_a_volume_in_the_frame_of_the_reference(short):
    _, grid, scan = textured()
    other = replace(textured(axis=0)[2], contrast='FLAIR', scan2ref=np.eye(4) + 1e-3)
    other.scan2ref[3] = [0, 0, 0, 1]
    tiny = replace(scan, contrast='PDw', voxels=scan.voxels[:, :, :3])
    tiny = replace(tiny, grid=centred((64, 64, 3), scan.grid.vox2ras))
    made = synthesize([scan, other, replace(scan), tiny], grid, effort='quick')
    assert [image.suffix for image in made.images] == ['T2w', 'FLAIR']
    assert made.used == (0, 1) and all(image.grid == grid for image in made.images)
    assert 'The PDw has 3 slices' in made.warnings[0]
    inside = made.images[0].voxels > 50
    assert np.corrcoef(*(image.voxels[inside] for image in made.images))[0, 1] > 0.5


def test_an_oblique_scan_that_was_not_moved_costs_nothing(short):
    _, grid, scan = textured()
    vox2ras = rigid(np.radians([20, 10, 5]), np.zeros(3), np.zeros(3)) @ scan.grid.vox2ras
    oblique = replace(scan, contrast='FLAIR', grid=replace(scan.grid, vox2ras=vox2ras))
    made = synthesize([scan, oblique], grid, effort='quick')
    assert [image.suffix for image in made.images] == ['T2w', 'FLAIR']


def test_a_grid_narrower_than_a_patch_can_be_learned_on(short):
    _, _, scan = textured()
    narrow = output_grid(centred((40, 64, 64), np.eye(4)), 1.0)
    assert np.isfinite(synthesize([scan], narrow, effort='quick').images[0].voxels).all()


@pytest.mark.parametrize('turned', [False, True])
def test_nothing_is_learned_from_slices_that_are_missing(monkeypatch, short, turned):
    _, grid, scan = textured()
    learned = []
    monkeypatch.setattr(
        self_supervised, 'held_out_gain', lambda stack, _: learned.append(stack) or 1.0
    )
    if turned:
        vox2ras = scan.grid.vox2ras @ np.diag([1.0, 1.0, -1.0, 1.0])
        vox2ras[:3, 3] += scan.grid.vox2ras[:3, 2] * 15
        flipped = np.ascontiguousarray(scan.voxels[:, :, ::-1])
        scan = replace(scan, voxels=flipped, grid=replace(scan.grid, vox2ras=vox2ras))
    slices = replace(scan.acquisition, missing=(2, 7))
    synthesize([replace(scan, acquisition=slices)], grid, effort='quick')
    used = {*learned[0].learned, *learned[0].held_out}
    assert {*range(16)} - used == ({13, 8} if turned else {2, 7})


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda v: v[:, :, :3], 'has 3 slices, and 4 are the fewest'),
        (lambda v: v[:40], 'are 40 mm wide'),
        (lambda v: 0 * v, 'no positive intensities'),
    ],
)
def test_scans_that_nothing_can_be_learned_from_are_refused(change, message):
    _, grid, scan = textured()
    voxels = np.ascontiguousarray(change(scan.voxels))
    with pytest.raises(ValueError, match=message):
        synthesize(
            [replace(scan, voxels=voxels, grid=centred(voxels.shape, scan.grid.vox2ras))], grid
        )


def test_fine_slices_have_nothing_to_gain():
    assert 'nothing to gain' in find_obstacle(['FLAIR'], [Acquisition(2, 1.2, 1.2)], 1.0)
    assert not find_obstacle(['FLAIR'], [Acquisition(2, 3.0, 3.0)], 1.0)
