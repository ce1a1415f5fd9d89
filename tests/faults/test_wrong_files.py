"""Weights, settings and trainings of anybody give a sentence with the file, never a traceback."""

import math

import h5py
import numpy as np
import pytest
import torch

from bids_synthsr.cli.options import parse_options
from bids_synthsr.dataset.keras import save_keras
from bids_synthsr.dataset.weights import load_network, load_weights, save_weights
from bids_synthsr.networks.registry import build_network
from bids_synthsr.networks.unet import UNet
from bids_synthsr.training.journal import drop_later_lines
from bids_synthsr.training.recipe import load_recipe, shipped_recipes
from bids_synthsr.training.task import Task

ARGUMENTS = {'channels': 5, 'features': 2, 'levels': 1}
KINDS = {'slice_unet': 'slice_unet', 'unet': 'published'}


def header(**changes):
    return {'network': 'slice_unet', 'arguments': ARGUMENTS, **changes}


@pytest.mark.parametrize(
    'description',
    [
        {},
        {'network': 'slice_unet'},
        header(arguments=None),
        header(arguments=[5, 2, 1]),
        header(arguments={}),
        header(arguments={**ARGUMENTS, 'colour': 1}),
        header(arguments={**ARGUMENTS, 'features': -1}),
        header(arguments={**ARGUMENTS, 'features': 2.5}),
        header(arguments={**ARGUMENTS, 'features': [2]}),
        header(arguments={**ARGUMENTS, 'features': '2'}),
        header(arguments={**ARGUMENTS, 'features': True}),
        header(arguments={**ARGUMENTS, 'features': 20_000}),
        header(arguments={**ARGUMENTS, 'features': 1024, 'levels': 8}),
        header(arguments={**ARGUMENTS, 'levels': 60}),
        header(arguments={**ARGUMENTS, 'levels': 10**15}),
        header(network=['slice_unet']),
        {'network': 'unet', 'arguments': {'in_channels': '1'}},
        {'network': 'unet', 'arguments': {'in_channels': {}}},
    ],
)
def test_a_wrong_header_is_refused_at_once(tmp_path, description):
    path = save_weights(tmp_path / 'w.safetensors', {'a': torch.zeros(1)}, description)
    with pytest.raises(ValueError, match=r'w\.safetensors'):
        load_network(KINDS.get(str(description.get('network')), 'slice_unet'), path)


@pytest.mark.parametrize('text', ['', '[1]', 'null', '{"a"', '[' * 100_000])
def test_a_header_that_is_no_object_is_refused(tmp_path, text, monkeypatch):
    monkeypatch.setattr('bids_synthsr.dataset.weights.json.dumps', lambda _: text)
    path = save_weights(tmp_path / 'w.safetensors', {'a': torch.zeros(1)}, {})
    with pytest.raises(ValueError, match=r'w\.safetensors: its header'):
        load_weights(path)


EXAM = {
    'network': 'exam_unet',
    'arguments': {'features': 2, 'levels': 1, 'classes': 2, 'has_scale': True},
    'labels': [0, 2],
    'recipe': {'samples': {'shape': [8, 8, 8]}},
}


def exam_weights(path, **changes):
    network = build_network(EXAM['network'], EXAM['arguments'])
    return save_weights(path, network.state_dict(), {**EXAM, **changes})


def test_the_header_of_the_tests_is_right(tmp_path):
    network = load_network('exam_unet', exam_weights(tmp_path / 'w.safetensors'))
    assert network.window == (8, 8, 8)


@pytest.mark.parametrize(
    'changes',
    [
        {'labels': [[0], 2]},
        {'labels': 'ab'},
        {'labels': [0, 2, 4]},
        {'recipe': None},
        {'recipe': {'samples': {'shape': [8, 8]}}},
        {'recipe': {'samples': {'shape': ['8', 8, 8]}}},
        {'recipe': {'samples': {'shape': 8}}},
        {'odds': 'ab'},
        {'odds': [1]},
        {'odds': [1, -1]},
        {'odds': [1, math.nan]},
    ],
)
def test_wrong_facts_of_an_exam_network_are_refused(tmp_path, changes):
    path = exam_weights(tmp_path / 'w.safetensors', **changes)
    with pytest.raises(ValueError, match=r'label|recipe|odds|class'):
        load_network('exam_unet', path)


def test_weights_that_are_nan_are_refused(tmp_path):
    network = build_network('slice_unet', ARGUMENTS)
    tensors = {name: torch.full_like(x, math.nan) for name, x in network.state_dict().items()}
    path = save_weights(tmp_path / 'w.safetensors', tensors, header())
    with pytest.raises(ValueError, match='NaN'):
        load_network('slice_unet', path)


def change_keras(path, change):
    save_keras(path, UNet(1, features=2).state_dict())
    with h5py.File(path, 'a') as file:
        change(file, 'unet_conv_downarm_0_0')


def claim_a_terabyte(file, layer):
    name = f'{layer}/weight:0'
    group = file[layer]
    del group[name]
    group.create_dataset(name, (3, 3, 3, 1, 2**38), 'f4', chunks=(3, 3, 3, 1, 1024))


def claim_a_terabyte_in_a_bias(file, layer):
    name = f'{layer}/bias:0'
    group = file[layer]
    del group[name]
    group.create_dataset(name, (2**38,), 'f4', chunks=(1024,))


def name_by_numbers(file, layer):
    file[layer].attrs['weight_names'] = np.arange(2)


def loop(file, layer):
    del file[layer]
    file[layer] = h5py.SoftLink(f'/{layer}')


def put_a_data_set(file, layer):
    del file[layer]
    file[layer] = np.zeros(3)


def put_a_group(file, layer):
    name = f'{layer}/weight:0'
    del file[layer][name]
    file[layer].create_group(name)


@pytest.mark.parametrize(
    'change',
    [
        claim_a_terabyte,
        claim_a_terabyte_in_a_bias,
        name_by_numbers,
        loop,
        put_a_data_set,
        put_a_group,
    ],
)
def test_odd_keras_files_are_refused(tmp_path, change):
    path = tmp_path / 'w.h5'
    change_keras(path, change)
    with pytest.raises(ValueError, match=r'w\.h5'):
        load_weights(path)


@pytest.mark.parametrize(
    'line',
    [
        'verbose = "abc"',
        'verbose = -1',
        'participant-label = 1',
        'reference = 5',
        'device = 5',
        'device = 2020-01-01',
        'stage = []',
        'stage = ["register", "report"]',
        'low-mem = 1',
        'nprocs = true',
        'nprocs = 2.5',
        'mem = "much"',
        'method = ["tv"]',
        'weights = 3',
        'work-dir = {a = 1}',
        'contrasts = [["T1w"]]',
        'output-resolution = "fine"',
    ],
)
def test_a_wrong_type_in_the_config_file_is_wrong_use(tmp_path, line, capsys):
    file = tmp_path / 'config.toml'
    file.write_text(line + '\n')
    with pytest.raises(SystemExit) as stop:
        parse_options(['bids', 'out', 'participant', '--config-file', str(file)])
    assert stop.value.code == 2
    assert '--config-file' in capsys.readouterr().err


def test_right_types_in_the_config_file_are_taken(tmp_path):
    file = tmp_path / 'config.toml'
    file.write_text(
        'verbose = 1\nparticipant-label = "01"\nlow-mem = true\nnprocs = 2\nmem = 4\n'
        'work-dir = "w"\ncontrasts = ["T1w"]\noutput-resolution = 2\nmethod = "tv"\n'
    )
    options = parse_options(['bids', 'out', 'participant', '--config-file', str(file)])
    assert options.participant_label == ['01'] and options.output_resolution == 2.0


@pytest.mark.parametrize('content', [b'', b'\n', b'nonsense\n1,2\n', b'\xff\xfe\x00', b'{}'])
def test_an_odd_table_is_set_aside(tmp_path, content):
    path = tmp_path / 'metrics.csv'
    path.write_bytes(content)
    drop_later_lines(path, 10)
    assert not path.exists()
    assert path.with_suffix('.unreadable').read_bytes() == content


def test_odd_lines_of_a_table_are_dropped(tmp_path):
    path = tmp_path / 'metrics.csv'
    path.write_text('step,loss\n5,1\nx,2\n7\n20,3\n')
    drop_later_lines(path, 10)
    assert path.read_text() == 'step,loss\n5,1\n'


@pytest.mark.parametrize(
    'change',
    [
        'network.arguments.features="8"',
        'network.arguments.features=0',
        'network.arguments.levels=99',
        'samples.batch=0',
        'samples.shape=[0, 8, 8]',
        'steps=-1',
    ],
)
def test_a_recipe_of_impossible_numbers_is_refused_at_once(change):
    with pytest.raises(ValueError, match=change.split('=')[0].rpartition('.')[2]):
        Task(load_recipe('any-exam', [change])).build()


def test_all_shipped_recipes_pass(recwarn):
    for name in shipped_recipes():
        Task(load_recipe(name)).build()
    assert not [x for x in recwarn if 'meta' in str(x.message)]
