"""One contract that every method passes, whatever it computes."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from exam_weights import weights_of
from phantoms import centred, head
from slice_scans import trained

from bids_synthsr.api import TISSUE
from bids_synthsr.dataset.weights import SHIPPED, load_exam_unet
from bids_synthsr.imaging.geometry import output_grid
from bids_synthsr.methods import self_supervised
from bids_synthsr.methods.catalogue import METHODS, names_of_networks
from bids_synthsr.methods.exam_size import ExamSize
from bids_synthsr.methods.paired import TrainedPairNetwork
from bids_synthsr.methods.spaced import TrainedSpacingNetwork
from bids_synthsr.networks.loaded import LoadedNetwork
from bids_synthsr.networks.slice_unet import SliceUNet
from bids_synthsr.networks.unet import UNet
from bids_synthsr.reports.boilerplate import MethodFacts, methods_text, summary_text
from bids_synthsr.settings import EFFORTS, PRECISIONS, MethodSettings
from bids_synthsr.values.exam import SUFFIXES, Acquisition
from bids_synthsr.values.method import Image, Observation, Table

EVERY = pytest.mark.parametrize('method', METHODS.values(), ids=METHODS)
SHARED = {'weights', 'method', 'reference', 'contrasts', 'output_resolution', 'fov'}


def scan(contrast, axis):
    """Thick slices of the middle of the phantom, along one axis."""
    voxel, shape = np.full(3, 3.0), np.full(3, 36)
    voxel[axis], shape[axis] = 6.0, 18
    grid = centred(tuple(map(int, shape)), np.diag([*voxel, 1.0]))
    return Observation(
        contrast, head(grid, contrast), grid, Acquisition(axis, 6.0, 6.0), np.eye(4)
    )


def fine_scan():
    """Voxels of 1.2 mm of the same part, for what takes no thick slices."""
    grid = centred((90, 90, 90), np.diag([1.2, 1.2, 1.2, 1.0]))
    return Observation('T1w', head(grid, 'T1w'), grid, Acquisition(2, 1.2, 1.2), np.eye(4))


@pytest.fixture(scope='module')
def thick_exam():
    return [scan('T1w', 2), scan('T2w', 0)]


@pytest.fixture(scope='module')
def fine_exam():
    return [fine_scan()]


@pytest.fixture
def exam(method, thick_exam, fine_exam):
    return fine_exam if method.needs_fine else thick_exam


@pytest.fixture(scope='module', autouse=True)
def short_learning():
    """Let methods that learn from the scan learn for a moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(self_supervised, 'STEPS', dict.fromkeys(EFFORTS, 3))
        yield


@pytest.fixture(scope='module')
def networks(tmp_path_factory):
    """A small network of every kind."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'w.safetensors'
    pairs = SliceUNet(1, features=16, levels=2).eval()
    torch.nn.init.normal_(pairs.head.weight, std=0.02)  # or it would add nothing
    return {
        'slice_unet': trained(is_silent=False),
        'exam_unet': load_exam_unet(weights_of(path)),
        'published': LoadedNetwork(UNet(1, features=2).eval(), {'weights': 'w.h5', 'sha256': 'a'}),
        'spaced': TrainedSpacingNetwork(
            trained(is_silent=False).network, {'weights': 'w', 'sha256': 'a'}, SUFFIXES
        ),
        'paired': TrainedPairNetwork(pairs, {'weights': 'w', 'sha256': 'a'}, 1.0),
    }


def arguments_of(method, networks):
    options = method.read_options(MethodSettings())
    kinds = {'trained': method.network, 'beside': method.beside and METHODS[method.beside].network}
    return {**options, **{name: networks[kind] for name, kind in kinds.items() if kind}}


def make(method, exam, networks, **more):
    grid = output_grid(exam[0].grid, 1.0)
    arguments = arguments_of(method, networks) | more
    return method.load().synthesize(exam, grid, **arguments), grid


@pytest.fixture(scope='module')
def kept_syntheses():
    return {}


@pytest.fixture
def synthesis_of(exam, networks, kept_syntheses):
    """Run every method once."""

    def get(method):
        if method.name not in kept_syntheses:
            kept_syntheses[method.name] = make(method, exam, networks)
        return kept_syntheses[method.name]

    return get


@EVERY
def test_names_of_further_volumes_are_known_before_the_work(method, synthesis_of):
    """They are checked against the inputs, which none may replace."""
    names = []
    for image in synthesis_of(method)[0].images:
        labels = [f'{key}-{label}_' for key, label in image.entities.items()]
        name = ''.join(labels) + image.suffix
        names.append(f'{image.desc or TISSUE}_{name}' if name in names else name)
    assert set(names[1:]) <= set(method.name_volumes(['T1w', 'T2w']))
    assert {*method.name_volumes(['T1w'])} == {*method.further_volumes}


@EVERY
def test_the_main_volume_of_a_flair_is_a_t1w_where_the_entry_says_so(method, networks):
    flair = [scan('FLAIR', 2)]
    if method.load().find_obstacle(['FLAIR'], [flair[0].acquisition], 1.0):
        assert not method.makes_t1w and method.name in ('sr-t1', '3t-7t')  # which take T1w alone
    else:
        main = make(method, flair, networks)[0].images[0]
        assert main.suffix == ('T1w' if method.makes_t1w else 'FLAIR')


@EVERY
def test_entry_is_complete(method):
    module = method.load()
    assert all(map(callable, (module.synthesize, module.forecast, module.find_obstacle)))
    settings = {field.name for field in fields(MethodSettings)}
    assert set(method.options) <= settings - SHARED
    assert method.uses_device == bool(method.network)
    assert not method.weights or (SHIPPED / f'{method.weights}.safetensors').is_file()
    assert method.help == method.help.strip() and not method.help.endswith('.')
    assert method.desc.isalnum()
    assert not method.beside or METHODS[method.beside].weights
    assert (method.name in names_of_networks()) == bool(method.network)


@EVERY
def test_texts_of_a_paper_can_be_written(method):
    facts = MethodFacts(method.name, ('T1w', 'T2w'), used=('T1w',), weights='w, SHA-256 abc')
    for text in (summary_text(facts), methods_text(facts)):
        assert '{' not in text and text.count('.') >= 1
    assert '### References' in methods_text(facts)


@EVERY
def test_main_volume_lies_on_the_grid_and_is_an_image(method, synthesis_of):
    synthesis, grid = synthesis_of(method)
    main = synthesis.products[0]
    assert isinstance(main, Image) and main.suffix in SUFFIXES
    assert main.grid == grid and main.voxels.dtype == np.float32
    assert np.isfinite(main.voxels).all() and np.ptp(main.voxels) > 0
    assert main.desc == method.desc


@EVERY
def test_products_have_names_of_their_own(method, synthesis_of):
    synthesis, _ = synthesis_of(method)
    names = [
        (product.suffix, product.desc, *getattr(product, 'entities', {}).values())
        for product in synthesis.products
    ]
    assert len(set(names)) == len(names)
    for product in synthesis.products:
        assert isinstance(product, Image | Table)
        assert product.desc.isalnum() or product.suffix in ('dseg', 'probseg')
        if isinstance(product, Image) and product.suffix == 'dseg':
            assert set(np.unique(product.voxels)) <= set(product.labels)


@EVERY
def test_facts_and_warnings_can_be_stored(method, synthesis_of, exam):
    synthesis, _ = synthesis_of(method)
    facts = json.loads(json.dumps(synthesis.facts))
    assert set(facts['scans']) <= {observation.contrast for observation in exam}
    assert not method.network or len(facts['sha256']) > 0
    assert all(text.endswith('.') for text in synthesis.warnings)
    assert set(synthesis.used or ()) <= set(range(len(exam)))
    if method.name not in ('tv', 'cubic', 'synthsr'):
        assert facts['method'] == method.name


@EVERY
def test_scans_stay_as_they_are_and_equal_scans_give_equal_volumes(method, exam, networks):
    copies = [replace(observation, voxels=observation.voxels.copy()) for observation in exam]
    first, _ = make(method, copies, networks)
    for observation, original in zip(copies, exam, strict=True):
        np.testing.assert_array_equal(observation.voxels, original.voxels)
    second, _ = make(method, copies, networks)
    for one, other in zip(first.images, second.images, strict=True):
        np.testing.assert_array_equal(one.voxels, other.voxels)


@EVERY
def test_less_memory_gives_nearly_the_same(method, synthesis_of, exam, networks):
    if not method.network:
        pytest.skip('it runs no network')
    whole = synthesis_of(method)[0].images[0].voxels
    short = make(method, exam, networks, low_mem=True)[0].images[0].voxels
    # tiles of sr-t1 are normalised apart, probabilities of any-exam are kept in 16 bits
    assert np.abs(whole - short).mean() < 0.01 * np.ptp(whole)


@EVERY
def test_its_network_computes_with_the_numbers_that_were_asked_for(method, exam, networks):
    asked = [method.read_options(MethodSettings(precision=x)).get('precision') for x in PRECISIONS]
    if not method.network:
        assert asked == [None] * len(PRECISIONS)
        return
    assert asked == [method.precision, 'float32', 'bfloat16']
    exact, rounded = (
        make(method, exam, networks, precision=precision)[0] for precision in asked[1:]
    )
    assert (exact.facts['precision'], rounded.facts['precision']) == ('float32', 'bfloat16')
    apart = np.abs(exact.images[0].voxels - rounded.images[0].voxels).mean()
    assert 0 < apart < 0.01 * np.ptp(exact.images[0].voxels)


@EVERY
def test_forecast_grows_with_the_exam(method, exam):
    geometries = [(observation.grid, observation.acquisition) for observation in exam]
    geometries = 2 * geometries if method.needs_fine else geometries
    sizes = [ExamSize(['T1w', 'T2w'][:n], geometries[:n]) for n in (1, 2)]
    small, large = (method.load().forecast(size) for size in sizes)
    assert 0.3 < small.memory_gb <= large.memory_gb and 0 < small.cpu_s <= large.cpu_s


@EVERY
def test_obstacle_is_what_synthesis_would_say(method, exam, networks):
    acquisitions = [observation.acquisition for observation in exam]
    find = method.load().find_obstacle
    assert find(['T1w', 'T2w'][: len(exam)], acquisitions, 1.0) == ''
    obstacle = find(['FLAIR'], acquisitions[:1], 1.0)
    flair = [replace(exam[0], contrast='FLAIR')]
    if obstacle:
        with pytest.raises(ValueError, match=obstacle[:30]):
            make(method, flair, networks)
    else:
        assert make(method, flair, networks)[0].images
    assert bool(find(['T1w'], acquisitions[:1], 2.0)) == (method.only_mm is not None)
