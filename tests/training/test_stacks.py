"""Slices between slices: a network that makes them, and one that learns from what it made."""

import json
import math

import numpy as np
import pytest
import torch
from nibabel.affines import apply_affine
from phantoms import centred
from scipy import ndimage

from bids_synthsr.cli.synthsr import main
from bids_synthsr.dataset.images import load_volume, save_volume
from bids_synthsr.dataset.weights import (
    load_paired,
    load_slice_unet,
    load_spaced,
    load_weights,
    save_weights,
)
from bids_synthsr.networks.slice_vae import SliceVAE
from bids_synthsr.synthesis.heads import SliceStack
from bids_synthsr.synthesis.stack_samples import (
    SparsePrior,
    draw_stack,
    leave_slices_out,
    slices_within,
)
from bids_synthsr.training.dense import make_dense
from bids_synthsr.training.stacks import read_made, read_scans, read_stack
from bids_synthsr.values.grid import Grid

SIDE, SPACING, THICKNESS = 64, 4.0, 2.0
STEPS = 500  # of the network that learns ellipses
FIRST = """
description = 'Small slices.'
steps = 12

[network]
name = 'slice_vae'
arguments = { features = 16 }

[samples]
source = 'native-slices'
shape = [32, 32, 8]
batch = 1

[loss]
l1 = 1.0
divergence = 1e-5

[optimizer]
name = 'adamw'
learning_rate = 2e-3

[intervals]
log_steps = 4
validation_steps = 6
validation_batches = 1
checkpoint_steps = 6
"""
SECOND = """
description = 'Small stacks.'
steps = 150

[network]
name = 'slice_unet'
arguments = { features = 16, levels = 2 }

[samples]
source = 'stacks'
shape = [16, 16, 24]
batch = 2

[loss]
l1 = 1.0

[optimizer]
name = 'adamw'
learning_rate = 4e-3
schedule = 'cosine'
clip_norm = 1.0
average = 0.9

[prior]
slice_spacing = [3.0, 6.0]

[intervals]
log_steps = 50
validation_steps = 150
validation_batches = 6
checkpoint_steps = 100
"""


def ellipse(radius):
    """An ellipse of 1 on 0 with a border as soft as a pixel, ``(SIDE, SIDE)``."""
    i, j = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    return (radius - np.hypot(i, 1.3 * j) + 0.5).clip(0, 1).astype(np.float32)


def stack_of(voxels, spacing=SPACING, name='sub-01_T1w.nii.gz'):
    grid = Grid(voxels.shape, np.diag([1.0, 1.0, spacing, 1.0]))
    return SliceStack(torch.from_numpy(voxels).half(), grid, spacing, THICKNESS, name)


@pytest.fixture(scope='module')
def of_ellipses():
    """A network that has seen ellipses of many sizes, each between a smaller and a larger one."""
    torch.manual_seed(0)
    network = SliceVAE(features=32).train()
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    random = np.random.default_rng(0)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group['lr'] = 3e-3 * (1 + math.cos(math.pi * step / STEPS)) / 2
        starts, growths = random.uniform(8, 15, 2), random.uniform(0.5, 2.5, 2)
        stacks = [
            [ellipse(s + g * k) for k in range(5)] for s, g in zip(starts, growths, strict=True)
        ]
        volume = torch.from_numpy(np.array(stacks)).movedim(1, 3)[:, None]
        predicted = network(volume, step)
        loss = (predicted.t1w - volume).abs().mean() + 1e-5 * predicted.divergence
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1)
        optimizer.step()
    return network.eval()


def test_a_slice_between_two_ellipses_is_the_ellipse_between_them(of_ellipses):
    radii = 10 + 2.0 * np.arange(5)  # three of them are given, and two lie between
    given = stack_of(np.stack([ellipse(radius) for radius in radii[::2]], -1), spacing=2.0)
    dense, grid = make_dense(of_ellipses, given)
    assert dense.shape == (SIDE, SIDE, 5) and grid.spacing[2] == 1
    for number in (1, 3):
        made, true = dense[..., number] > 0.5, ellipse(radii[number]) > 0.5
        assert 2 * (made & true).sum() / (made.sum() + true.sum()) > 0.98


def test_where_a_slice_was_measured_it_is_what_the_network_makes_of_it_alone(of_ellipses):
    slices = np.stack([ellipse(radius) for radius in (6, 9, 12)], -1)
    dense, grid = make_dense(of_ellipses, stack_of(slices))
    with torch.no_grad():
        mean, _ = of_ellipses.encode(torch.from_numpy(slices).half().float().movedim(2, 0))
        alone = of_ellipses.decode(mean).clamp(min=0).movedim(0, 2).numpy()
    np.testing.assert_allclose(dense[..., ::4], alone, atol=1e-5)
    assert dense.shape[2] == 9 and grid.vox2ras[2, 3] == 0
    again, _ = make_dense(of_ellipses, stack_of(slices))
    np.testing.assert_array_equal(dense, again)


def test_two_slices_of_any_side_are_enough(of_ellipses):
    slices = np.stack([ellipse(radius)[:43, :37] for radius in (8, 9)], -1)
    dense, _ = make_dense(of_ellipses, stack_of(slices, spacing=3.2))
    assert dense.shape == (43, 37, 4)


def test_training_sees_every_second_slice_only():
    network, volume = SliceVAE(features=16).eval(), torch.rand(1, 1, 16, 16, 6)
    changed = volume.clone()
    changed[..., 3] = 0  # it lies between two that are encoded
    assert torch.equal(network(volume).t1w, network(changed).t1w)
    changed[..., 5] = 0  # the last one has no other neighbour
    assert not torch.equal(network(volume).t1w, network(changed).t1w)
    noisy = network.train()
    assert torch.equal(noisy(volume, 3).t1w, noisy(volume, 3).t1w)
    assert not torch.equal(noisy(volume, 3).t1w, noisy(volume, 4).t1w)


def test_slices_that_stay_are_those_of_the_stack():
    voxels = np.random.default_rng(0).random((24, 24, 40)).astype(np.float32)
    stack, prior = stack_of(voxels, spacing=1.0), SparsePrior(gain=(1, 1), gamma=(1, 1))
    for seed in range(6):
        draw = draw_stack(prior, [stack], (16, 16, 24), torch.Generator().manual_seed(seed))
        channels, wanted = leave_slices_out(draw, stack, (16, 16, 24))
        positions = (draw.corner[2] + np.arange(24) - draw.first) / draw.every
        stays = (positions == positions.round()) & (positions >= 0)
        assert 2 <= draw.every <= 9 and stays.any()
        torch.testing.assert_close(
            channels[0, ..., stays], wanted[0, ..., stays], atol=1e-3, rtol=0
        )
        assert not torch.allclose(channels[0], wanted[0], atol=1e-2)


def write_scans(folder, contrast='T1w', count=3, axis=2):
    """Phantoms with smooth folds, cut into slices with gaps."""
    folder.mkdir(parents=True)
    for number in range(count):
        random = np.random.default_rng(number)
        fine = ndimage.gaussian_filter(random.normal(size=(64, 66, 68)), 3)
        fine = (1 + 0.3 * fine / fine.std()).clip(0.1) + 0.05 * random.normal(size=fine.shape)
        fine = fine.clip(0) * (np.indices(fine.shape)[0] > 3)
        fine = np.moveaxis(fine, 2, axis)  # 17 slices
        taken = [slice(None)] * 3
        taken[axis] = slice(0, None, int(SPACING))
        spacing = np.ones(3)
        spacing[axis] = SPACING
        grid = centred(fine[tuple(taken)].shape, np.diag([*spacing, 1.0]))
        name = f'sub-{number:02}_{contrast}'
        save_volume(folder / f'{name}.nii.gz', (500 * fine[tuple(taken)]).astype(np.int16), grid)
        (folder / f'{name}.json').write_text(json.dumps({'SliceThickness': THICKNESS}))
    return folder


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_slices_are_read_as_they_lie(tmp_path, axis):
    path = write_scans(tmp_path / 'scans', count=1, axis=axis) / 'sub-00_T1w.nii.gz'
    stack = read_stack(path)
    assert (stack.spacing_mm, stack.thickness_mm) == (SPACING, THICKNESS)
    assert stack.voxels.shape[2] == 17
    assert np.abs(stack.grid.directions[axis, 2]) == pytest.approx(1)
    voxels, grid = load_volume(path)
    found = np.indices(stack.voxels.shape).reshape(3, -1)
    places = apply_affine(np.linalg.inv(grid.vox2ras) @ stack.grid.vox2ras, found.T)
    np.testing.assert_allclose(places, places.round(), atol=1e-4)  # 1 mm within slices
    there = voxels[tuple(places.round().astype(int).T)]
    read = stack.voxels.numpy().ravel().astype(np.float32)
    slope = (read * there).sum() / np.square(there).sum()
    np.testing.assert_allclose(read, slope * there, atol=2e-3)  # nothing is blurred


def test_a_sidecar_without_thickness_is_told(tmp_path, caplog):
    path = write_scans(tmp_path / 'scans', count=1) / 'sub-00_T1w.nii.gz'
    path.with_name('sub-00_T1w.json').unlink()
    assert read_stack(path).thickness_mm == SPACING
    assert 'no sidecar tells how thick its slices are; 4 mm, their distance' in caplog.text


def test_slices_that_a_stack_does_not_have_do_not_count():
    stack = stack_of(np.full((24, 24, 20), 0.6, np.float32), spacing=1.0)
    draw = draw_stack(SparsePrior(), [stack], (16, 16, 32), torch.Generator().manual_seed(0))
    weight = slices_within(draw, stack, (16, 16, 32))
    assert weight[..., :20].all() and not weight[..., 20:].any()
    _, wanted = leave_slices_out(draw, stack, (16, 16, 32))
    assert (wanted[weight > 0] > 0.1).all()


@pytest.fixture(scope='module')
def scans(tmp_path_factory):
    return write_scans(tmp_path_factory.mktemp('data') / 'scans', 'T2w')


@pytest.fixture(scope='module')
def slices_run(scans, tmp_path_factory):
    """A training of the network of slices, some seconds long."""
    folder = tmp_path_factory.mktemp('first')
    (folder / 'vae.toml').write_text(FIRST)
    training = ['train', 'run', str(folder / 'vae.toml'), '--images', str(scans)]
    held_out = ['--held-out', 'sub-02*', '--device', 'cpu']
    assert main([*training, *held_out, '--out', str(folder / 'run')]) == 0
    # one that is interrupted ends with the same weights
    other = [*training, *held_out, '--out', str(folder / 'other')]
    assert main([*other, '--max-steps', '6']) == 0 and main(other) == 0
    return folder / 'run', folder / 'other'


def test_a_training_that_goes_on_is_the_same_training(slices_run):
    one, other = (load_weights(run / 'checkpoint.safetensors') for run in slices_run)
    assert one.tensors.keys() == other.tensors.keys()
    assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)


@pytest.fixture(scope='module')
def weights(scans, slices_run, tmp_path_factory):
    """Weights that learned from what the network of slices made."""
    folder = tmp_path_factory.mktemp('second')
    stacks = str(folder / 'stacks')
    making = ['train', 'stacks', str(slices_run[0]), '--images', str(scans), '--device', 'cpu']
    assert main([*making, '--out', stacks]) == 0
    (folder / 'sr.toml').write_text(SECOND)
    training = ['train', 'run', str(folder / 'sr.toml'), '--images', stacks, '--device', 'cpu']
    assert main([*training, '--out', str(folder / 'run'), '--max-steps', '4']) == 0
    file = folder / 'spacing.safetensors'
    assert main(['train', 'export', str(folder / 'run'), '--out', str(file)]) == 0
    return file


def test_stacks_say_what_they_are(weights):
    folder = weights.parent / 'stacks'
    made = read_made([folder]).training
    assert [stack.spacing_mm for stack in made] == [1.0] * 3
    assert made[0].thickness_mm == THICKNESS and made[0].voxels.shape[2] == 65
    facts = json.loads((folder / 'sub-00_T2w.json').read_text())
    assert (
        facts['Sources'] == ['scans/sub-00_T2w.nii.gz'] and 'Not measured' in facts['Description']
    )


def test_a_scan_gets_slices_between_its_own(weights, scans, tmp_path, capsys):
    made = tmp_path / 'made.nii.gz'
    command = ['exam', str(scans / 'sub-02_T2w.nii.gz'), '--output', str(made)]
    chosen = ['--method', 'spacing', '--weights', str(weights)]
    assert main([*command, *chosen]) == 0
    _, grid = load_volume(made)
    np.testing.assert_allclose(grid.spacing, 1, atol=1e-6)
    facts = json.loads((tmp_path / 'made.json').read_text())
    assert facts['Method'] == 'spacing' and facts['Synthetic']
    other = write_scans(tmp_path / 'other', 'FLAIR', count=1) / 'sub-00_FLAIR.nii.gz'
    capsys.readouterr()
    assert main(['exam', str(other), '--output', str(made), *chosen]) != 0
    assert 'learned from T2w, but the reference is a FLAIR' in capsys.readouterr().err


def test_weights_tell_what_they_are_for(weights):
    assert load_spaced(weights).contrasts == ('T2w',)
    for load in (load_slice_unet, load_paired):
        with pytest.raises(ValueError, match='--method spacing'):
            load(weights)


def test_names_must_tell_the_contrast(scans, weights, tmp_path):
    unknown = tmp_path / 'head.nii.gz'
    unknown.write_bytes((scans / 'sub-00_T2w.nii.gz').read_bytes())
    with pytest.raises(ValueError, match='its name must tell one contrast, as head_T1w'):
        read_stack(unknown)
    loaded = load_weights(weights)
    data = {**loaded.description['data'], 'training': ['head.nii.gz']}
    nameless = tmp_path / 'nameless.safetensors'
    save_weights(nameless, loaded.tensors, {**loaded.description, 'data': data})
    with pytest.raises(ValueError, match='does not tell from which contrast it learned'):
        load_spaced(nameless)


def test_what_was_left_out_comes_back_better_than_by_cubic_interpolation(tmp_path):
    folder = tmp_path / 'stacks'
    folder.mkdir()
    lines = np.indices((40, 40, 60)).sum(0)
    for number in range(3):
        random = np.random.default_rng(number)
        wave = np.sin(lines / 1.9 + random.uniform(0, 6))  # too fast for slices 5 mm apart
        shade = ndimage.gaussian_filter(random.normal(size=wave.shape), 6)
        voxels = 0.6 + 0.2 * wave + 0.1 * shade / shade.std()
        grid = Grid(wave.shape, np.eye(4))
        save_volume(folder / f'sub-{number}_T1w.nii.gz', voxels.astype(np.float32), grid)
        facts = {'SliceThickness': 2.0, 'SliceSpacingBefore': 4.0}
        (folder / f'sub-{number}_T1w.json').write_text(json.dumps(facts))
    (tmp_path / 'sr.toml').write_text(SECOND)
    command = ['train', 'run', str(tmp_path / 'sr.toml'), '--images', str(folder)]
    chosen = ['--held-out', 'sub-2*', '--device', 'cpu', '--out', str(tmp_path / 'run')]
    assert main([*command, *chosen]) == 0
    description = load_weights(tmp_path / 'run/checkpoint.safetensors').description
    assert description['validation']['gain_db'] > 1


def test_what_is_no_stack_and_no_network_of_slices_is_refused(scans, weights, tmp_path, capsys):
    with pytest.raises(ValueError, match='was not made by "synthsr train stacks"'):
        read_made([scans])
    command = ['train', 'stacks', str(weights), '--images', str(scans), '--device', 'cpu']
    assert main([*command, '--out', str(tmp_path / 'out')]) == 2
    assert 'of slice_unet, not of slice_vae' in capsys.readouterr().err
    assert main([*command, '--out', str(scans / 'out')]) == 2
    assert 'is read and never written to' in capsys.readouterr().err
    broken = tmp_path / 'broken'
    broken.mkdir()
    (broken / 'sub-01_T1w.nii.gz').write_bytes(b'')
    with pytest.raises(ValueError, match='is empty'):
        read_scans([broken])


def test_nothing_is_written_over(scans, slices_run, tmp_path, capsys):
    links = tmp_path / 'links'
    links.mkdir()
    for scan in scans.iterdir():
        (links / scan.name).symlink_to(scan)
    before = {path: path.read_bytes() for path in scans.iterdir()}
    command = ['train', 'stacks', str(slices_run[0]), '--images', str(links), '--device', 'cpu']
    assert main([*command, '--out', str(scans)]) == 2
    assert 'would replace the input' in capsys.readouterr().err
    assert {path: path.read_bytes() for path in scans.iterdir()} == before
    other = tmp_path / 'other'
    other.mkdir()
    (other / 'sub-00_T2w.json').write_text('{}')
    assert main([*command, '--out', str(other)]) == 2
    assert 'holds a sub-00_T2w that is no stack' in capsys.readouterr().err
    assert [*other.iterdir()] == [other / 'sub-00_T2w.json']
    with pytest.raises(ValueError, match='have one name: rename or --exclude'):
        read_scans([scans, links])


def test_few_scans_are_told(scans, caplog):
    read_scans([scans])
    assert '3 scans are few to learn from' in caplog.text
