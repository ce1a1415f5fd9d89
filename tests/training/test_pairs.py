"""Pairs of scans: found by name, registered and checked, and learned from."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from phantoms import centred, head
from scipy import ndimage

from bids_synthsr.cli.synthsr import main
from bids_synthsr.dataset.images import load_volume, save_volume
from bids_synthsr.dataset.weights import find_shipped, load_paired, load_slice_unet
from bids_synthsr.imaging.geometry import rigid
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.methods.catalogue import METHODS
from bids_synthsr.synthesis.heads import ImagePair
from bids_synthsr.synthesis.paired_images import PairPrior, apply_pair, draw_pair
from bids_synthsr.training import pairs
from bids_synthsr.training.cohort import PairFiles
from bids_synthsr.training.pairs import (
    pair_folders,
    pair_scans,
    read_pairs,
    register_pair,
    with_field_of,
)

GRID = centred((50, 54, 46), np.diag([3.0, 3.0, 3.0, 1.0]))
MOVED = rigid(np.radians([3, -2, 4]), np.array([3.0, -2, 1]), np.zeros(3))
RECIPE = """
description = 'Small pairs.'
steps = 300

[network]
name = 'slice_unet'
arguments = { features = 16, levels = 2 }

[samples]
source = 'pairs'
spacing_mm = 2.0
shape = [24, 24, 24]
batch = 2

[loss]
l1 = 1.0

[optimizer]
name = 'adamw'
learning_rate = 4e-3
schedule = 'cosine'
clip_norm = 1.0
average = 0.9

[intervals]
log_steps = 50
validation_steps = 150
validation_batches = 4
checkpoint_steps = 100
"""


def write_pair(folder, name, seed=0, names=('inputs', 'targets'), shift=0.0, folds_seed=5):
    """A head as two scanners see it: blurred, noisy and moved, and with another contrast."""
    truth = head(GRID, 'T1w')
    folds = np.random.default_rng(folds_seed).normal(size=truth.shape)
    folds = ndimage.gaussian_filter(folds, 1.5)
    truth = truth / truth.max() * (1 + 0.25 * folds / folds.std()).clip(0.2, 1.8) / 1.8
    truth = ndimage.shift(truth, (0, shift, 0), order=1).clip(0)
    random = np.random.default_rng(seed)
    soft = ndimage.gaussian_filter(truth, 0.5) ** 0.8 + random.normal(0, 0.01, truth.shape)
    given = resample((700 * soft.clip(0)).astype(np.float32), GRID, GRID, MOVED)
    for place, voxels in zip(names, (given, 90 * truth**1.4), strict=True):
        path = folder / place
        path.mkdir(parents=True, exist_ok=True)
        save_volume(path / name, voxels.astype(np.float32), GRID)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp('pairs')
    for number in range(3):
        write_pair(place, f'sub-0{number}_T1w.nii.gz', number, shift=1.5 * number)
    return place


def test_pairs_share_a_name(folder, tmp_path, caplog):
    files = pair_folders(folder / 'inputs', folder / 'targets', ['sub-02*'])
    assert [pair.given.name for pair in files] == ['sub-00_T1w.nii.gz', 'sub-01_T1w.nii.gz']
    assert all(pair.wanted.parent.name == 'targets' for pair in files)
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other/a.nii.gz').write_bytes(b'')
    with pytest.raises(ValueError, match='no file name in common'):
        pair_folders(folder / 'inputs', tmp_path / 'other')
    assert 'a.nii.gz' in caplog.text


def test_pairs_of_a_data_set_are_found_by_entities(tmp_path, caplog):
    names = (
        'sub-01/anat/sub-01_acq-3T_T1w.nii.gz', 'sub-01/anat/sub-01_acq-7T_T1w.nii.gz',
        'sub-02/ses-1/anat/sub-02_ses-1_acq-3T_T1w.nii.gz',
        'sub-02/ses-1/anat/sub-02_ses-1_acq-7T_run-1_T1w.nii.gz',
        'sub-02/ses-2/anat/sub-02_ses-2_acq-3T_T1w.nii.gz',
        'sub-01/anat/sub-01_acq-7T_T2w.nii.gz',
    )  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files = pair_scans(tmp_path, 'acq-3T', 'acq-7T')
    assert [pair.wanted.name for pair in files] == [
        'sub-01_acq-7T_T1w.nii.gz', 'sub-02_ses-1_acq-7T_run-1_T1w.nii.gz',
    ]  # fmt: skip
    assert 'sub-02_ses-2_acq-3T_T1w.nii.gz is left out' in caplog.text
    (tmp_path / names[3].replace('run-1', 'run-2')).touch()
    with pytest.raises(ValueError, match=r'run-1.* and .*run-2.* all fit acq-7T'):
        pair_scans(tmp_path, 'acq-3T', 'acq-7T')
    assert len(pair_scans(tmp_path, 'acq-3T', 'acq-7T_run-2')) == 1
    with pytest.raises(ValueError, match='names no entities'):
        pair_scans(tmp_path, '3T', 'acq-7T')
    with pytest.raises(ValueError, match='no session'):
        pair_scans(tmp_path, 'acq-1T', 'acq-9T')


def test_the_two_are_brought_to_each_other(folder):
    files = pair_folders(folder / 'inputs', folder / 'targets')[0]
    pair = register_pair(files, 2.0)
    assert np.allclose(pair.grid.spacing, 2)
    shown = pair.wanted > 0.2
    assert np.corrcoef(pair.given[shown], pair.wanted[shown])[0, 1] > 0.9
    original, grid = load_volume(files.given)
    unmoved = resample(original, grid, pair.grid)
    assert np.corrcoef(unmoved[shown], pair.wanted[shown])[0, 1] < 0.85


def test_what_does_not_fit_is_left_out_and_said_to_be(folder, tmp_path, caplog):
    noise = np.random.default_rng(0).uniform(0, 100, GRID.shape).astype(np.float32)
    wrong = save_volume(tmp_path / 'sub-09_T1w.nii.gz', noise, GRID)
    good = pair_folders(folder / 'inputs', folder / 'targets')[0]
    files = [good, PairFiles(good.given, wrong)]
    assert len(read_pairs(files[:1], 3.0).training) == 1
    with pytest.raises(ValueError, match='None of 1 pairs can be used'):
        read_pairs(files[1:], 3.0)
    assert 'does not fit sub-09_T1w.nii.gz' in caplog.text


def test_two_people_are_no_pair_though_their_heads_can_be_aligned(tmp_path, monkeypatch):
    for name, seed in (('one', 5), ('other', 6)):
        write_pair(tmp_path / name, 'sub-01_T1w.nii.gz', folds_seed=seed)
    good = SimpleNamespace(status='good', reason='')
    monkeypatch.setattr(pairs, 'align_scan', lambda *_: (np.linalg.inv(MOVED), good))
    one, other = (tmp_path / name / 'inputs/sub-01_T1w.nii.gz' for name in ('one', 'other'))
    wanted = tmp_path / 'one/targets/sub-01_T1w.nii.gz'
    assert register_pair(PairFiles(one, wanted), 3.0).given.any()
    with pytest.raises(ValueError, match='does not show the same head as sub-01_T1w'):
        register_pair(PairFiles(other, wanted), 3.0)


@pytest.mark.parametrize(('value', 'said'), [(np.nan, 'not finite'), (0, 'shows nothing')])
def test_what_holds_no_image_is_found_before_the_alignment(tmp_path, monkeypatch, value, said):
    write_pair(tmp_path, 'sub-01_T1w.nii.gz')
    files = pair_folders(tmp_path / 'inputs', tmp_path / 'targets')[0]
    voxels, grid = load_volume(files.wanted)
    voxels[...] = np.where(np.isnan(value), voxels, 0)
    voxels[3, 3, 3] = value
    save_volume(files.wanted, voxels, grid)
    monkeypatch.delattr(pairs, 'align_scan')
    with pytest.raises(ValueError, match=said):
        register_pair(files, 3.0)


def test_the_field_of_a_coil_is_not_learned():
    coordinates = np.indices((40, 40, 40)) / 40
    tissue = np.where(np.linalg.norm(coordinates - 0.5, axis=0) < 0.45, 0.8, 0)
    tissue[10:20, 10:30, 10:30] *= 0.7
    field = np.exp(0.5 * (coordinates[0] - 0.5)).astype(np.float32)
    evened = with_field_of((tissue * field).astype(np.float32), tissue, 4.0)
    inside = tissue > 0.5
    before = np.std(np.log(field[inside]))
    assert np.std(np.log(evened[inside] / tissue[inside])) < before / 4
    assert np.array_equal(with_field_of(0 * tissue, tissue, 4.0), 0 * tissue)


def test_a_sample_is_drawn_by_its_seed_and_only_the_input_changes():
    voxels = torch.rand(30, 30, 30).half()
    both = [ImagePair(voxels, voxels**2, 'a'), ImagePair(voxels, voxels**2, 'b')]
    draws = [
        draw_pair(PairPrior(), both, (16, 16, 16), torch.Generator().manual_seed(7))
        for _ in range(2)
    ]
    assert draws[0] == draws[1]
    given, wanted = apply_pair(draws[0], both[0], (16, 16, 16))
    again, _ = apply_pair(draws[0], both[0], (16, 16, 16))
    assert torch.equal(given, again) and given.shape == (1, 16, 16, 16)
    flipped = voxels.flip([axis for axis, turn in enumerate(draws[0].flips) if turn])
    part = flipped[tuple(slice(c, c + 16) for c in draws[0].corner)]
    assert torch.equal(wanted[0], (part**2).float())
    assert not torch.equal(given[0], part.float())


CHOSEN = ['--exclude', 'sub-00*', '--held-out', 'sub-02*', '--device', 'cpu']


@pytest.fixture(scope='module')
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp('recipe') / 'pairs.toml'
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture(scope='module')
def named(folder):
    return ['--inputs', str(folder / 'inputs'), '--targets', str(folder / 'targets')]


@pytest.fixture(scope='module')
def weights(recipe, named, tmp_path_factory):
    """Weights of a training of some seconds."""
    place = tmp_path_factory.mktemp('training')
    path = place / 'pairs.safetensors'
    assert main(['train', 'run', recipe, *named, *CHOSEN, '--out', str(place / 'run')]) == 0
    assert main(['train', 'export', str(place / 'run'), '--out', str(path)]) == 0
    return path


def test_weights_tell_what_they_are_for(weights):
    assert load_paired(weights).spacing_mm == 2.0
    with pytest.raises(ValueError, match='--method 3t-7t'):
        load_slice_unet(weights)
    with pytest.raises(ValueError, match='did not learn from pairs'):
        load_paired(find_shipped(METHODS['sr-t1']))


def test_a_network_that_learned_is_nearer_than_what_it_is_given(weights, named, tmp_path, capsys):
    out = tmp_path / 'judged'
    judging = ['evaluate', 'pairs', str(out), '--weights', str(weights)]
    assert main([*judging, *named, *CHOSEN, '--save-volumes']) == 0
    kept = [out / place / 'sub-02_T1w.nii.gz' for place in ('given', 'network', 'wanted')]
    assert len({load_volume(path)[1].shape for path in kept}) == 1
    table = [line.split('\t') for line in (out / 'pairs.tsv').read_text().splitlines()]
    rows = {row[1]: dict(zip(table[0], row, strict=True)) for row in table[1:]}
    assert set(rows) == {'as it is', 'histogram matched', 'network'}
    assert float(rows['network']['psnr']) > float(rows['as it is']['psnr'])
    assert len(rows['network']['ssim']) > 4  # digits that tell versions apart
    assert (out / 'pairs.png').stat().st_size > 10_000
    assert 'psnr is best by the network in' in capsys.readouterr().err
    # what was kept may be judged, but not written over
    own = ['--inputs', str(out / 'given'), '--targets', str(out / 'wanted'), '--device', 'cpu']
    assert main([*judging, *own]) == 2
    assert 'holds the input' in capsys.readouterr().err


def test_a_critic_goes_on_from_the_weights(weights, recipe, named, tmp_path):
    small = ['weight=0.01', 'steps=1', 'first_steps=1', 'features=8', 'levels=2']
    changes = ['steps=2', *(f'adversary.{change}' for change in small)]
    start = ['--weights', str(weights), '--out', str(tmp_path), '--set', *changes]
    assert main(['train', 'run', recipe, *named, *CHOSEN, *start]) == 0
    assert (tmp_path / 'checkpoint.safetensors').is_file()


def test_an_exam_gets_the_voxels_of_the_training(weights, folder, tmp_path, capsys):
    fine = resample(*load_volume(folder / 'inputs/sub-02_T1w.nii.gz'), _fine())
    scan, made = tmp_path / 'fine_T1w.nii.gz', tmp_path / 'made.nii.gz'
    save_volume(scan, fine, _fine())
    command = ['exam', str(scan), '--output', str(made), '--method', '3t-7t', '--weights']
    assert main([*command, str(weights)]) == 0
    _, grid = load_volume(made)
    np.testing.assert_allclose(grid.spacing, 2.0, atol=1e-6)
    assert 'method 3t-7t' in json.loads((tmp_path / 'made.json').read_text())['Description']
    assert main([*command, str(weights), '--output-resolution', '1.5']) == 2
    assert 'pairs.safetensors makes volumes of 2 mm only' in capsys.readouterr().err


def _fine():
    return centred((125, 135, 115), np.diag([1.2, 1.2, 1.2, 1.0]))


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        ([], 'trains on pairs of images'),
        (['--inputs', '.'], 'need --inputs and --targets'),
        (['--pairs', '.', '--input', 'acq-3T'], 'need --pairs, --input and --target'),
        (['--pairs', '.', '--inputs', '.'], 'not by both'),
    ],
)
def test_wrong_use(tmp_path, capsys, options, said):
    command = ['train', 'run', '3t-7t', '--out', str(tmp_path / 'run'), '--device', 'cpu']
    assert main([*command, *options]) == 2
    assert said in capsys.readouterr().err
