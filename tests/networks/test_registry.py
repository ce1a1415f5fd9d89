"""Names of networks in recipes and weight files."""

import subprocess
import sys

import pytest

from bids_synthsr.networks.exam_unet import ExamUNet
from bids_synthsr.networks.registry import (
    EXAM_UNET,
    NETWORKS,
    SLICE_UNET,
    SLICE_VAE,
    UNET,
    argument_names,
    build_network,
    network_class,
)
from bids_synthsr.networks.slice_unet import SliceUNet
from bids_synthsr.networks.slice_vae import SliceVAE
from bids_synthsr.networks.unet import UNet
from bids_synthsr.training.recipe import load_recipe, shipped_recipes


def test_every_name_has_its_class():
    classes = {name: network_class(name) for name in NETWORKS}
    assert classes == {UNET: UNet, EXAM_UNET: ExamUNet, SLICE_UNET: SliceUNet, SLICE_VAE: SliceVAE}
    with pytest.raises(ValueError, match="no network 'vnet'; choose one of unet, exam_unet"):
        network_class('vnet')


def test_shipped_recipes_name_known_networks_and_arguments():
    for name in shipped_recipes():
        network = load_recipe(name).network
        assert set(network.arguments) <= set(argument_names(network.name))


def test_networks_are_built_of_flat_arguments():
    assert build_network(UNET, {'in_channels': 2, 'features': 2, 'levels': 2}).in_channels == 2
    flat = {'features': 8, 'levels': 2, 'classes': 3, 'class_t1w': [0.0, 1.0, 0.5]}
    network = build_network(EXAM_UNET, flat)
    assert network.classes.count == 3 and network.class_t1w.tolist() == [0, 1, 0.5]
    assert set(flat) <= set(argument_names(EXAM_UNET))
    assert argument_names(SLICE_UNET) == ['channels', 'features', 'levels']


def test_names_are_known_without_pytorch():
    code = 'import sys, bids_synthsr.networks.registry; assert "torch" not in sys.modules'
    subprocess.run([sys.executable, '-c', code], check=True)
