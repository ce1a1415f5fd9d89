"""Scans of thick slices and a small network, for tests of super-resolution."""

from __future__ import annotations

import numpy as np
import torch

from bids_synthsr.imaging.slice_encoding import CHANNELS
from bids_synthsr.networks.loaded import LoadedNetwork
from bids_synthsr.networks.slice_unet import SliceUNet
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation

ARGUMENTS = {'channels': CHANNELS, 'features': 16, 'levels': 2}


def network(is_silent=True):
    torch.manual_seed(1)
    made = SliceUNet(**ARGUMENTS).eval()
    if not is_silent:
        torch.nn.init.normal_(made.head.weight, std=0.05)
    return made


def scan(slice_axis=2, spacing=4.0, in_plane=1.0, turned=None, contrast='T1w'):
    """A smooth random volume on voxels that are long along one axis."""
    voxel, shape = np.full(3, in_plane), [24, 22, 20]
    voxel[slice_axis], shape[slice_axis] = spacing, 7
    vox2ras = (np.eye(4) if turned is None else turned) @ np.diag([*voxel, 1])
    rough = np.random.default_rng(2).random(shape)
    voxels = (100 * rough + 50).astype(np.float32)
    acquisition = Acquisition(slice_axis, spacing, spacing)
    return Observation(contrast, voxels, Grid(tuple(shape), vox2ras), acquisition, np.eye(4))


def trained(is_silent=True):
    """The small network, as methods take it."""
    return LoadedNetwork(network(is_silent), {'weights': 'w.safetensors', 'sha256': 'abc'})
