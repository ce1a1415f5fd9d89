"""The weights that come with the program: described, small, and better than interpolation."""

import numpy as np
import pytest
import torch
from nilearn.datasets import load_mni152_template

from bids_synthsr.dataset.files import sha256
from bids_synthsr.dataset.images import volume_of
from bids_synthsr.dataset.weights import SHIPPED, find_shipped, load_slice_unet, load_weights
from bids_synthsr.imaging.forward_model import acquire
from bids_synthsr.imaging.geometry import with_slices
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.imaging.similarity import psnr, scale_to
from bids_synthsr.methods.catalogue import METHODS
from bids_synthsr.methods.sr_t1 import super_resolve
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation

HELD_OUT = (
    'studyforrest', 'sub-17', 'sub-18', 'sub-19', 'sub-20', 'training_seg_18', 'training_seg_19',
    'training_seg_20',
)  # people of the evaluation  # fmt: skip


def test_weights_are_small_and_described():
    files = sorted(SHIPPED.glob('*.safetensors'))
    assert {path.stem for path in files} == {method.weights for method in METHODS.values()} - {''}
    assert sum(path.stat().st_size for path in files) < 60e6
    for path in files:
        told = load_weights(path).description
        assert told['licence'] == 'Apache-2.0'
        names = ' '.join(told['data']['training'] + told['data']['validation'])
        assert not any(person in names for person in HELD_OUT)
        card = path.with_suffix('.md').read_text(encoding='utf-8')
        assert sha256(path) in card and '## Known failures' in card


@pytest.mark.parametrize('slice_axis', [0, 2])
def test_network_beats_interpolation_on_a_head_it_never_saw(slice_axis):
    torch.manual_seed(0)
    voxels, grid = volume_of(load_mni152_template(1))
    box = (slice(20, 116), slice(60, 156), slice(40, 136))
    vox2ras = grid.vox2ras.copy()
    vox2ras[:3, 3] += vox2ras[:3, :3] @ [part.start for part in box]
    voxels, grid = voxels[box].copy(), Grid((96, 96, 96), vox2ras)
    slices = Acquisition(slice_axis, 5.0, 5.0)
    own = with_slices(grid, slice_axis, 5.0)
    scan = Observation('T1w', acquire(voxels, grid, own, slices), own, slices, np.eye(4))
    network = load_slice_unet(find_shipped(METHODS['sr-t1'])).network
    made, _ = super_resolve(scan, grid, network, flip=False, precision='float32')
    cubic = resample(scan.voxels, own, grid, order=3)
    inside = np.zeros(voxels.shape, bool)
    inside[8:-8, 8:-8, 8:-8] = True
    gains = [psnr(scale_to(x, voxels, inside), voxels, inside) for x in (cubic, made)]
    assert gains[1] > gains[0] + 0.5
