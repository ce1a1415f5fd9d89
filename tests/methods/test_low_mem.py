"""``--low-mem``: every network can be cut as small as that asks for, and is."""

import numpy as np
import pytest
import torch
from phantoms import centred, write_scan

from bids_synthsr.dataset import weights as files
from bids_synthsr.dataset.images import save_rigid, save_volume
from bids_synthsr.dataset.weights import save_weights
from bids_synthsr.imaging.geometry import output_grid
from bids_synthsr.imaging.inference import Tiling, plan_tiles
from bids_synthsr.imaging.slice_encoding import CHANNELS
from bids_synthsr.interfaces.methods import Synthesize
from bids_synthsr.methods import sr_t1, synthsr
from bids_synthsr.networks.loaded import LoadedNetwork
from bids_synthsr.networks.slice_unet import SliceUNet
from bids_synthsr.networks.unet import UNet

ARGUMENTS = {'channels': CHANNELS, 'features': 16, 'levels': 2}


def limits():
    own = synthsr.LOW_MEM_VOXELS, UNet().margin, synthsr.MULTIPLE
    yield pytest.param(*own, id='published')
    network = SliceUNet(CHANNELS)
    own = sr_t1.LOW_MEM_VOXELS, sr_t1.TILE_MARGIN, network.multiple
    yield pytest.param(*own, id='sr-t1')


@pytest.mark.parametrize('shape', [(256, 256, 256), (192, 1024, 320), (1024, 1024, 320)])
@pytest.mark.parametrize(('max_voxels', 'margin', 'multiple'), limits())
def test_margin_of_the_network_leaves_room_for_small_tiles(shape, max_voxels, margin, multiple):
    tiles = plan_tiles(shape, Tiling(max_voxels, margin), multiple)
    sizes = [[part.stop - part.start for part in tile.source[1:]] for tile in tiles]
    assert len(tiles) > 1 and max(map(np.prod, sizes)) <= max_voxels


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid = centred((40, 48, 12), np.diag([4.0, 4.0, 12.0, 1.0]))
    out = output_grid(grid, 4.0)
    scan = write_scan(tmp_path, 'sub-01', 'T1w', grid)
    return {
        'scans': [str(scan)],
        'contrasts': ['T1w'],
        'acquisitions': [{'slice_axis': 2, 'slice_spacing': 12.0, 'slice_thickness': 12.0}],
        'scan2ref': [str(save_rigid(tmp_path / 'scan2ref.txt', np.eye(4)))],
        'grid': str(save_volume(tmp_path / 'grid.nii', np.zeros(out.shape), out)),
    }


@pytest.mark.parametrize('low_mem', [False, True])
def test_super_resolution_is_cut(inputs, tmp_path, monkeypatch, low_mem):
    monkeypatch.setattr(sr_t1, 'LOW_MEM_VOXELS', 64 * 64 * 40)
    file = save_weights(
        tmp_path / 'sr.safetensors',
        SliceUNet(**ARGUMENTS).state_dict(),
        {'network': 'slice_unet', 'arguments': ARGUMENTS},
    )
    done = Synthesize(**inputs, method='sr-t1', weights=str(file), low_mem=low_mem).run()
    facts = done.outputs.products[0]['sidecar']['MethodDetails']
    assert (facts['tiles'] > 1) == low_mem


@pytest.mark.parametrize('low_mem', [False, True])
def test_published_network_is_cut(inputs, monkeypatch, low_mem):
    monkeypatch.setattr(synthsr, 'LOW_MEM_VOXELS', 128 * 128 * 160)
    trained = LoadedNetwork(UNet(features=2, levels=3))
    torch.nn.init.constant_(trained.network.head.linear.bias, 0.25)  # not 0 everywhere
    monkeypatch.setattr(files, 'load_network', lambda *_: trained)
    done = Synthesize(**inputs, method='synthsr', weights=inputs['grid'], low_mem=low_mem).run()
    facts = done.outputs.products[0]['sidecar']['MethodDetails']
    assert (facts['tiles'] > 1) == low_mem
