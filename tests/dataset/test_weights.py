"""Files of weights: what is read back, what is refused and how."""

import pickle

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bids_synthsr.dataset import weights as files
from bids_synthsr.dataset.files import sha256
from bids_synthsr.dataset.keras import published_layers, save_keras
from bids_synthsr.dataset.weights import (
    find_published,
    load_network,
    load_published,
    load_weights,
    save_weights,
)
from bids_synthsr.networks.unet import UNet

DESCRIPTION = {'network': 'unet', 'arguments': {'in_channels': 2, 'features': 2}}


@pytest.fixture
def network() -> UNet:
    torch.manual_seed(0)
    network = UNet(2, features=2)
    for name, tensor in network.state_dict().items():
        if 'num_batches' not in name:
            tensor.copy_(torch.rand_like(tensor))
    return network.eval()


@pytest.fixture
def keras_file(tmp_path, network):
    return save_keras(tmp_path / 'net.h5', network.state_dict())


def same(first: UNet, second: UNet) -> bool:
    theirs = second.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in first.state_dict().items())


def test_safetensors_come_back(tmp_path, network):
    path = save_weights(tmp_path / 'net.safetensors', network.state_dict(), DESCRIPTION)
    weights = load_weights(path)
    assert weights.description == DESCRIPTION
    assert weights.file == {'weights': 'net.safetensors', 'sha256': sha256(path)}
    assert len(sha256(path)) == 64
    assert same(load_published(path).network, network)


def test_keras_comes_back(keras_file, network):
    loaded = load_published(keras_file)
    assert same(loaded.network, network)
    assert not loaded.network.training
    assert loaded.file['weights'] == 'net.h5'


def test_published_layout_has_the_published_size():
    shapes = [shape for _, _, layer in published_layers(1, 24) for shape in layer.values()]
    assert sum(map(np.prod, shapes)) == 13_242_049


def test_whole_model_with_other_layers_and_names(tmp_path, keras_file, network):
    """A training checkpoint: below /model_weights, bytes, suffixed names, a second network."""
    path = tmp_path / 'checkpoint.h5'
    with h5py.File(keras_file) as source, h5py.File(path, 'w') as target:
        target.create_group('optimizer_weights')
        target.create_group('model_weights/unet_input').attrs['weight_names'] = np.array([], 'S1')
        for layer in source:
            names = [str(name) for name in source[layer].attrs['weight_names']]
            for prefix, scale in (('', 1.0), ('segmentation_', 2.0)):
                group = target.create_group(f'model_weights/{prefix}{layer}')
                suffixed = [name.replace('/', '_1/') for name in names]
                group.attrs['weight_names'] = np.array(suffixed, 'S')
                for old, new in zip(names, suffixed, strict=True):
                    group[new] = source[layer][old][()] * scale
    assert same(load_published(path).network, network)


def test_other_prefix(keras_file, network):
    with h5py.File(keras_file, 'a') as file:
        for layer in [*file]:
            file.move(layer, layer.replace('unet_', 'general_'))
    assert same(load_published(keras_file).network, network)


def test_every_wrong_layer_is_named(keras_file):
    with h5py.File(keras_file, 'a') as file:
        del file['unet_bn_up_3']
        bias = file['unet_likelihood'].attrs['weight_names'][1]
        del file['unet_likelihood'][bias]
        kernel = file['unet_conv_uparm_5_0'].attrs['weight_names'][0]
        del file['unet_conv_uparm_5_0'][kernel]
        file['unet_conv_uparm_5_0'][kernel] = np.zeros((3, 3, 3, 16, 16))
    with pytest.raises(ValueError, match='these are not the weights of') as error:
        load_weights(keras_file)
    assert 'unet_bn_up_3 is missing' in str(error.value)
    assert 'unet_likelihood has shapes [(1, 1, 1, 2, 1)], not [(1, 1, 1, 2, 1), (1,)]' in str(
        error.value
    )
    assert 'unet_conv_uparm_5_0 has shapes [(3, 3, 3, 16, 16), (16,)], not [(3, 3, 3, 48, 16)' in (
        str(error.value)
    )
    assert 'conv_downarm' not in str(error.value)


def test_other_h5_is_refused(tmp_path):
    with h5py.File(tmp_path / 'data.h5', 'w') as file:
        file['images'] = np.zeros(3)
    with pytest.raises(ValueError, match='unet_conv_downarm_0_0 is missing; unet_conv_downarm_0_'):
        load_weights(tmp_path / 'data.h5')


def test_damaged_files(tmp_path, keras_file, network):
    cut = tmp_path / 'cut.h5'
    cut.write_bytes(keras_file.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r'cut\.h5: .*truncated'):
        load_weights(cut)
    path = save_weights(tmp_path / 'net.safetensors', network.state_dict(), DESCRIPTION)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r'net\.safetensors is damaged'):
        load_weights(path)


@pytest.mark.parametrize('name', ['net.pt', 'net.pth', 'net.h5', 'net.safetensors'])
def test_pickles_are_refused_under_any_name(tmp_path, name):
    torch.save({'a': torch.zeros(1)}, tmp_path / name)
    with pytest.raises(ValueError, match=f'{name} is a pickle'):
        load_weights(tmp_path / name)
    (tmp_path / name).write_bytes(pickle.dumps({'a': 1}))
    with pytest.raises(ValueError, match=f'{name} is a pickle'):
        load_weights(tmp_path / name)


def test_text_pickle_is_refused_by_its_name(tmp_path):
    (tmp_path / 'net.pkl').write_bytes(pickle.dumps([1], protocol=0))
    with pytest.raises(ValueError, match='is a pickle'):
        load_weights(tmp_path / 'net.pkl')


def test_pointer_is_recognised(tmp_path):
    (tmp_path / 'net.h5').write_text('version https://git-lfs.github.com/spec/v1\n')
    with pytest.raises(ValueError, match=r"neither .* starts with b'version https://'.*git-annex"):
        load_weights(tmp_path / 'net.h5')


def test_foreign_safetensors(tmp_path, network):
    save_file({'a': torch.zeros(1)}, tmp_path / 'a.safetensors')
    with pytest.raises(ValueError, match='does not tell its network'):
        load_weights(tmp_path / 'a.safetensors')
    other = save_weights(tmp_path / 'b.safetensors', {}, {'network': 'exam_unet', 'arguments': {}})
    with pytest.raises(ValueError, match='no published network but exam_unet'):
        load_published(other)
    narrow = {'network': 'unet', 'arguments': {'in_channels': 2, 'features': 3}}
    wrong = save_weights(tmp_path / 'c.safetensors', network.state_dict(), narrow)
    with pytest.raises(ValueError, match=r'does not fit the network.*has shape'):
        load_published(wrong)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.h5: there is no such file'):
        load_weights(tmp_path / 'none.h5')


def test_published_file_is_found_where_it_may_lie(tmp_path):
    models = tmp_path / 'freesurfer/models'
    models.mkdir(parents=True)
    general, hyperfine = (
        models / 'synthsr_v10_210712.h5',
        tmp_path / 'SynthSR_v10_210712_hyperfine.h5',
    )
    for path in (general, hyperfine):
        path.touch()
    environ = {'FREESURFER_HOME': str(tmp_path / 'freesurfer')}
    assert find_published(None, environ) == general
    assert find_published(None, {**environ, 'BIDS_SYNTHSR_WEIGHTS': str(tmp_path)}, 2) == hyperfine
    assert find_published(None, {'BIDS_SYNTHSR_WEIGHTS': str(hyperfine)}) == hyperfine
    assert find_published(general, {'BIDS_SYNTHSR_WEIGHTS': str(tmp_path)}) == general
    assert find_published(models, {}) == general


def test_published_file_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'neither --weights nor \$BIDS_SYNTHSR_WEIGHTS'):
        find_published(None, {})
    with pytest.raises(FileNotFoundError, match=r'--weights names no .*there is no .*net\.h5'):
        find_published(tmp_path / 'net.h5', {'BIDS_SYNTHSR_WEIGHTS': str(tmp_path)})
    with pytest.raises(FileNotFoundError, match=r'\$BIDS_SYNTHSR_WEIGHTS names no'):
        find_published(None, {'BIDS_SYNTHSR_WEIGHTS': str(tmp_path)})
    with pytest.raises(
        FileNotFoundError, match=r'models names .*models or|FREESURFER_HOME/models'
    ):
        find_published(None, {'FREESURFER_HOME': str(tmp_path)}, 2)


def test_weights_are_loaded_once_until_the_file_changes(tmp_path, network, monkeypatch):
    path = save_weights(tmp_path / 'net.safetensors', network.state_dict(), DESCRIPTION)
    reads = []
    monkeypatch.setattr(
        files, 'load_weights', lambda file: reads.append(file) or load_weights(file)
    )
    first = load_network('published', path)
    assert load_network('published', path) is first and reads == [path]
    save_weights(path, network.state_dict(), {**DESCRIPTION, 'licence': 'Apache-2.0'})
    assert load_network('published', path) is not first and len(reads) == 2
    with pytest.raises(FileNotFoundError, match='no such file of weights'):
        load_network('published', tmp_path / 'none.h5')
