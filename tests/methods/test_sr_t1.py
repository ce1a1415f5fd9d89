"""Super-resolution of a T1w by a network: geometry that no network can mend, and its weights."""

import numpy as np
import pytest
import torch
from slice_scans import ARGUMENTS, network, scan, trained

from bids_synthsr.dataset.weights import find_shipped, load_slice_unet, save_weights
from bids_synthsr.imaging.geometry import output_grid, rigid
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.methods.catalogue import METHODS
from bids_synthsr.methods.sr_t1 import super_resolve, synthesize
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation

TURNS = {
    'plain': np.eye(4),
    'left-handed': np.diag([-1.0, 1, 1, 1]),
    'upside down': np.diag([1.0, -1, -1, 1]),
    'permuted': np.eye(4)[[1, 2, 0, 3]],
    'oblique': rigid(np.radians([8.0, -5, 11]), np.array([3.0, 4, 5])),
}


@pytest.mark.parametrize('slice_axis', [0, 1, 2])
@pytest.mark.parametrize('turned', TURNS.values(), ids=TURNS)
def test_network_that_adds_nothing_gives_cubic_interpolation(slice_axis, turned):
    observation = scan(slice_axis, turned=turned)
    grid = output_grid(observation.grid)
    made, _ = super_resolve(observation, grid, network(), precision='float32')
    expected = resample(observation.voxels, observation.grid, grid, order=3).clip(0)
    np.testing.assert_allclose(made, expected, atol=2e-3)  # of 150, in float32


def test_finer_planes_are_smoothed_like_everywhere_else():
    observation = scan(in_plane=0.6)
    grid = output_grid(observation.grid)
    made, _ = super_resolve(observation, grid, network(), precision='float32')
    # `resample` would smooth nothing across the slices either: they are coarser than the grid
    expected = resample(observation.voxels, observation.grid, grid, order=3).clip(0)
    np.testing.assert_allclose(made, expected, atol=2e-3)


def test_larger_field_of_view_is_empty_around_the_scan():
    observation = scan()
    grid = output_grid(observation.grid)
    vox2ras = grid.vox2ras.copy()
    vox2ras[:3, 3] -= 5
    wide = Grid(tuple(size + 10 for size in grid.shape), vox2ras)
    made, _ = super_resolve(observation, wide, network(is_silent=False), precision='float32')
    assert (made[:5] == 0).all() and (made[..., -5:] == 0).all()
    assert (made[5:-5, 5:-5, 5:-5] > 0).mean() > 0.99


def test_unit_of_the_intensities_does_not_matter():
    observation = scan()
    louder = Observation('T1w', 1000 * observation.voxels, *list(vars(observation).values())[2:])
    grid, made = output_grid(observation.grid), network(is_silent=False)
    quiet, _ = super_resolve(observation, grid, made, precision='float32')
    loud, _ = super_resolve(louder, grid, made, precision='float32')
    np.testing.assert_allclose(loud, 1000 * quiet, rtol=1e-3)


def test_flipped_scan_gives_the_flipped_volume():
    """Exact because the prediction is the mean of both ways."""
    observation, made = scan(), network(is_silent=False)
    grid = output_grid(observation.grid)
    mirrored = Observation(
        'T1w', observation.voxels[::-1].copy(), *list(vars(observation).values())[2:]
    )
    one, _ = super_resolve(observation, grid, made, precision='float32')
    other, _ = super_resolve(mirrored, grid, made, precision='float32')
    np.testing.assert_allclose(other[::-1], one, atol=1e-3)


def test_facts_tell_what_was_used_and_doubts_what_was_not_learned():
    observation = scan(spacing=12.0)
    grid = output_grid(observation.grid)
    made = synthesize([observation, scan(contrast='T2w')], grid, trained=trained())
    (product,) = made.products
    assert (product.suffix, product.desc) == ('T1w', 'sr')
    assert made.facts['scans'] == ['T1w'] and made.facts['sha256'] == 'abc'
    assert 'lie 12 mm apart; the network learned from 2 to 9 mm' in made.warnings[0]


def test_other_contrasts_are_refused():
    observation = scan(contrast='FLAIR')
    with pytest.raises(ValueError, match='the reference is a FLAIR: name a T1w with --reference'):
        synthesize([observation], output_grid(observation.grid), trained=trained())


def test_grid_must_be_parallel():
    observation = scan()
    grid = output_grid(scan(turned=TURNS['oblique']).grid)
    with pytest.raises(ValueError, match='not parallel'):
        super_resolve(observation, grid, network(), precision='float32')


# weights


@pytest.fixture
def weights(tmp_path):
    description = {'network': 'slice_unet', 'arguments': ARGUMENTS}
    tensors = {name: value.half() for name, value in network().state_dict().items()}
    return save_weights(tmp_path / 'sr.safetensors', tensors, description)


def test_weights_in_16_bits_are_loaded(weights):
    loaded = load_slice_unet(weights)
    assert not loaded.network.training and len(loaded.file['sha256']) == 64
    assert {value.dtype for value in loaded.network.state_dict().values()} == {torch.float32}


def test_wrong_weights_are_told(tmp_path, weights):
    other = tmp_path / 'other.safetensors'
    save_weights(other, {}, {'network': 'unet', 'arguments': {}})
    with pytest.raises(ValueError, match=r'is no network for sr-t1 \(slice_unet\) but unet'):
        load_slice_unet(other)
    save_weights(other, {'network.x': torch.ones(1)}, {'network': 'slice_unet', 'arguments': {}})
    with pytest.raises(ValueError, match='is a checkpoint of a training; make weights'):
        load_slice_unet(other)
    save_weights(other, {}, {'network': 'slice_unet', 'arguments': ARGUMENTS})
    with pytest.raises(ValueError, match='does not fit the network that it names'):
        load_slice_unet(other)
    with pytest.raises(FileNotFoundError, match='sr-t1 needs --weights FILE'):
        find_shipped(METHODS['sr-t1'], None, tmp_path)
    with pytest.raises(FileNotFoundError, match='nowhere: there is no such file'):
        find_shipped(METHODS['sr-t1'], tmp_path / 'nowhere')
    assert find_shipped(METHODS['sr-t1'], weights) == weights


def test_stripes_of_interleaved_slices_are_not_sharpened():
    even = np.arange(20) % 2 == 0
    i, j, k = np.ogrid[:40, :40, :20]
    head = (100 + i + j + 10 * np.sin(k / 3)).astype(np.float32)
    head += np.random.default_rng(0).standard_normal(head.shape).astype(np.float32)
    head[:5], head[:, :5] = 0, 0  # air
    grid = Grid(head.shape, np.diag([1.0, 1, 4, 1]))
    volumes = []
    for gain in (0.0, 0.05):
        striped = head * np.where(even, 1 + gain / 2, 1 - gain / 2).astype(np.float32)
        observation = Observation('T1w', striped, grid, Acquisition(2, 4.0, 4.0), np.eye(4))
        made = synthesize([observation], output_grid(grid), trained=trained())
        assert made.facts['interleaving'] == pytest.approx(gain, abs=5e-3)
        volumes.append(made.products[0].voxels)
    np.testing.assert_allclose(volumes[1], volumes[0], atol=0.02 * head.max())
