"""Trainings: they learn, stop, go on exactly, refuse what does not fit, and tell what they did."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from doors import sub_command
from label_phantoms import draw_labels, grid_of, write_heads
from small_recipes import EXAM

from bids_synthsr.dataset.images import save_volume
from bids_synthsr.dataset.weights import load_weights, save_weights
from bids_synthsr.training import export
from bids_synthsr.training.cohort import read_heads, read_real_images
from bids_synthsr.training.learner import (
    LossNotFiniteError,
    learn,
    learning_rate,
    new_learner,
)
from bids_synthsr.training.loop import TrainingRun, rehearse, train
from bids_synthsr.training.metrics import validate_network
from bids_synthsr.training.recipe import load_recipe
from bids_synthsr.training.sources import make_sources
from bids_synthsr.training.task import Task

main = sub_command('train')

CPU = torch.device('cpu')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Folders of label maps and images, and the file of a recipe."""
    folder = tmp_path_factory.mktemp('data')
    maps, images = write_heads(folder)
    recipe = folder / 'small.toml'
    recipe.write_text(EXAM, encoding='utf-8')
    return maps, images, recipe


@pytest.fixture(scope='module')
def heads(data):
    return read_heads(data[0], [], held_out=['sub-2*'])


@pytest.fixture(scope='module')
def uninterrupted(data, tmp_path_factory):
    out = tmp_path_factory.mktemp('whole') / 'out'
    assert main(command(data, out)) == 0
    return out


def command(data, out, *more):
    maps, _, recipe = data
    given = ['run', recipe, '--label-maps', maps, '--held-out', 'sub-2*', '--out', out, *more]
    return [*map(str, given), '--device', 'cpu', '--num-threads', '1']


def lines(path):
    """Rows of a table without their times."""
    with path.open(encoding='utf-8') as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row.pop('seconds')
    return rows


def same_training(one, other):
    """Whether two folders hold the same training, bit for bit."""
    for table in ('metrics.csv', 'validation.csv'):
        assert lines(one / table) == lines(other / table)
    first, second = (load_weights(path / 'checkpoint.safetensors') for path in (one, other))
    assert first.tensors.keys() == second.tensors.keys()
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)


def test_training_writes_what_it_did(uninterrupted):
    rows = lines(uninterrupted / 'metrics.csv')
    assert [int(row['step']) for row in rows] == list(range(1, 9))
    assert list(rows[0]) == [
        'step', 'loss', 'gradient_norm', 'laplace', 'dice', 'cross_entropy', 'learning_rate',
    ]  # fmt: skip
    validation = lines(uninterrupted / 'validation.csv')
    assert [row['step'] for row in validation] == ['4', '8']
    assert {'psnr_db', 'dice', 'surface_mm'} <= validation[0].keys()
    assert (uninterrupted / 'pictures/step-0000008.png').stat().st_size > 1000
    assert list((uninterrupted / 'tensorboard').iterdir())
    description = load_weights(uninterrupted / 'checkpoint.safetensors').description
    assert description['step'] == 8
    assert description['recipe']['network']['name'] == description['network'] == 'exam_unet'
    assert description['data']['validation'] == ['sub-2_dseg.nii.gz']
    assert description['validation']['step'] == 8


def test_training_that_stopped_goes_on_exactly(data, uninterrupted, tmp_path):
    for last in ('1', '5', '8'):
        assert main(command(data, tmp_path, '--max-steps', last)) == 0
    same_training(tmp_path, uninterrupted)


def test_training_that_was_killed_goes_on_exactly(data, uninterrupted, tmp_path):
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    started = subprocess.Popen(
        [sys.executable, '-m', 'bids_synthsr.cli.synthsr', 'train', *command(data, tmp_path)],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    metrics = tmp_path / 'metrics.csv'
    while not metrics.exists() or len(metrics.read_text().splitlines()) < 6:
        assert started.poll() is None
        time.sleep(0.01)
    started.send_signal(signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL
    stopped = load_weights(tmp_path / 'checkpoint.safetensors').description['step']
    assert 3 <= stopped < 8
    assert main(command(data, tmp_path)) == 0
    same_training(tmp_path, uninterrupted)


def test_means_over_several_steps_survive_a_stop(data, tmp_path):
    often = ('--set', 'intervals.log_steps=4', 'intervals.validation_steps=0')
    for out, stops in ((tmp_path / 'a', ('8',)), (tmp_path / 'b', ('3', '6', '8'))):
        for last in stops:
            assert main(command(data, out, '--max-steps', last, *often)) == 0
    assert lines(tmp_path / 'a/metrics.csv') == lines(tmp_path / 'b/metrics.csv')
    assert len(lines(tmp_path / 'a/metrics.csv')) == 2


def test_line_that_was_half_written_is_dropped(data, uninterrupted, tmp_path):
    assert main(command(data, tmp_path, '--max-steps', '4')) == 0
    with (tmp_path / 'metrics.csv').open('a', encoding='utf-8') as stream:
        stream.write('5,1.0,0.3,2')
    assert main(command(data, tmp_path)) == 0
    assert lines(tmp_path / 'metrics.csv') == lines(uninterrupted / 'metrics.csv')


def test_time_limit_and_signals_end_it_with_a_checkpoint(heads, tmp_path, data):
    recipe = load_recipe(str(data[2]))
    learner = train(recipe, heads, TrainingRun(tmp_path / 'a', CPU, last_step=8, minutes=0.0))
    assert learner.step == 0
    assert (tmp_path / 'a/checkpoint.safetensors').exists()
    answers = iter([False, False, True])
    run = TrainingRun(tmp_path / 'b', CPU, last_step=8, is_interrupted=lambda: next(answers))
    assert train(recipe, heads, run).step == 2
    assert load_weights(tmp_path / 'b/checkpoint.safetensors').description['step'] == 2


def test_checkpoints_come_by_time_too(heads, tmp_path, data):
    changes = ['intervals.checkpoint_steps=0', 'intervals.checkpoint_minutes=1e-9']
    recipe = load_recipe(str(data[2]), changes)
    seen = []

    def look(_):
        path = tmp_path / 'checkpoint.safetensors'
        seen.append(load_weights(path).description['step'] if path.exists() else None)

    train(recipe, heads, TrainingRun(tmp_path, CPU, last_step=3, show=look))
    assert seen == [None, 1, 2]


def test_other_recipe_does_not_go_on(data, uninterrupted, capsys):
    code = main(command(data, uninterrupted, '--set', 'optimizer.learning_rate=2e-3'))
    assert code == 2
    message = capsys.readouterr().err
    assert 'optimizer.learning_rate: 0.001 there, 0.002 here' in message
    assert '--weights' in message
    assert main(command(data, uninterrupted, '--set', 'intervals.log_steps=5')) == 0


def test_training_starts_from_other_weights(data, uninterrupted, tmp_path, capsys):
    weights = uninterrupted / 'checkpoint.safetensors'
    start = ('--weights', weights, '--max-steps', 0)
    assert main(command(data, tmp_path / 'a', *start)) == 0
    started, source = load_weights(tmp_path / 'a/checkpoint.safetensors'), load_weights(weights)
    for name, value in started.tensors.items():
        assert torch.equal(value, source.tensors[name.replace('network.', 'average.', 1)])
    guided = ('--set', 'network.arguments.is_guided=true')
    assert main(command(data, tmp_path / 'c', *start, *guided)) == 0
    added = load_weights(tmp_path / 'c/checkpoint.safetensors').tensors.keys() - started.tensors
    assert added and all('guide' in name for name in added)
    wider = ('--set', 'network.arguments.features=16')
    assert main(command(data, tmp_path / 'b', *start, *wider)) == 2
    message = capsys.readouterr().err
    assert (
        "exam_unet {'features': 8" in message and "asks for exam_unet {'features': 16" in message
    )


def test_loss_that_is_not_finite_stops_it_and_reports_the_draw(data, heads, tmp_path):
    recipe = load_recipe(str(data[2]), ['optimizer.clip_norm=0', 'optimizer.average=0'])
    poisoned = replace(heads.training[0], image=torch.full(heads.training[0].labels.shape, 1.0))
    poisoned.image[:] = float('nan')
    cohort = replace(heads, training=(poisoned,), held_out=())
    with pytest.raises(
        LossNotFiniteError, match=r'Step 0 is not finite \(loss nan.*json'
    ) as message:
        train(recipe, cohort, TrainingRun(tmp_path, CPU, last_step=8))
    (stored,) = tmp_path.glob('not-finite-*.json')
    assert str(stored) in str(message.value)
    (draw,) = json.loads(stored.read_text())
    assert draw['head'] == 'sub-0_dseg.nii.gz' and draw['scans']


def test_weights_do_not_change_where_the_loss_is_not_finite(data, heads):
    task = Task(load_recipe(str(data[2])))
    learner = new_learner(task, CPU)
    before = {name: value.clone() for name, value in learner.network.state_dict().items()}
    batch = make_sources(task.recipe, heads, CPU)[0].draw(0)
    batch.target[:] = torch.inf
    with pytest.raises(LossNotFiniteError):
        learn(learner, learner.network, task, batch)
    assert learner.step == 0
    after = learner.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_memory_is_tried_before_training(data, heads, monkeypatch):
    task = Task(load_recipe(str(data[2])))
    learner = new_learner(task, CPU)

    def run_out(*_):
        raise torch.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(Task, 'predict', run_out)
    with pytest.raises(ValueError, match=r'1 x \[16, 16, 16\] voxels with up to 4 scans does not'):
        rehearse(task, learner, make_sources(task.recipe, heads, CPU)[0])


@pytest.mark.parametrize(
    ('name', 'changes', 'share'),
    [
        ('small', ['optimizer.learning_rate=2e-2'], 0.3),
        ('flair-axial-5mm', ['optimizer.learning_rate=3e-3', 'prior.shape.crop_jitter=2'], 0.3),
        ('sr-t1', ['optimizer.learning_rate=1e-2', 'samples.batch=1'], 0.8),
    ],
)
def test_small_network_learns_one_sample(data, heads, name, changes, share):
    """The error falls to a share of that of saying nothing, or of interpolation."""
    common = [
        'samples.shape=[16, 16, 16]', 'network.arguments={features=8, levels=2}', 'steps=80',
        'numerics.precision=fp32', 'optimizer.average=0', 'optimizer.warmup_steps=0',
    ]  # fmt: skip
    recipe = load_recipe(str(data[2]) if name == 'small' else name, [*common, *changes])
    cohort = read_real_images([data[1]]) if name == 'sr-t1' else heads
    task = Task(recipe)
    learner = new_learner(task, CPU)
    batch = make_sources(recipe, cohort, CPU)[0].draw(3)
    for _ in range(recipe.steps):
        learn(learner, learner.network, task, batch)
    with torch.no_grad():
        learned = task.predict(learner.network, batch).t1w
    naive = torch.zeros_like(batch.target) if batch.naive is None else batch.naive
    error, before = ((x - batch.target).abs().mean().item() for x in (learned, naive))
    assert error < share * before


def test_learning_rate_warms_up_and_follows_a_cosine(data):
    recipe = load_recipe(str(data[2]), ['steps=100', 'optimizer.warmup_steps=10'])
    rates = [learning_rate(recipe, step) for step in range(101)]
    assert rates[0] == pytest.approx(1e-4, rel=0.01)
    assert max(rates) == rates[9] or max(rates) == rates[10]
    assert rates[50] == pytest.approx(5e-4)
    assert rates[100] == 0
    constant = load_recipe('t1-coronal-5mm')
    assert learning_rate(constant, 0) == learning_rate(constant, 199_999) == 1e-4


def test_average_follows_the_network(data, heads):
    task = Task(load_recipe(str(data[2])))
    learner = new_learner(task, CPU)
    batch = make_sources(task.recipe, heads, CPU)[0].draw(0)
    for _ in range(3):
        before = learner.average.get_parameter('head.weight').clone()
        learn(learner, learner.network, task, batch)
        decay = min(0.9, learner.step / (9 + learner.step))
        expected = before.lerp(learner.network.get_parameter('head.weight'), 1 - decay)
        torch.testing.assert_close(learner.average.get_parameter('head.weight'), expected)


def test_validation_is_the_same_every_time(data, heads):
    task = Task(load_recipe(str(data[2])))
    network = new_learner(task, CPU).average
    held_out = make_sources(task.recipe, heads, CPU)[1]
    assert held_out is not None
    first, examples = validate_network(network, task, held_out, 2)
    assert validate_network(network, task, held_out, 2)[0] == first
    assert len(examples) == 2


def test_two_processes_train_one_network(data, tmp_path):
    script = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2']
    arguments = command(data, tmp_path, '--max-steps', '2')
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(
        [*script, '-m', 'bids_synthsr.cli.synthsr', 'train', *arguments],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(lines(tmp_path / 'metrics.csv')) == 2


def test_export_writes_weights_and_their_card(uninterrupted, tmp_path, capsys):
    path, notes = tmp_path / 'small.safetensors', tmp_path / 'notes.md'
    notes.write_text('## Known failures\n')
    arguments = ['--out', str(path), '--licence', 'CC0-1.0', '--notes', str(notes)]
    assert main(['export', str(uninterrupted), *arguments]) == 0
    exported = load_weights(path)
    source = load_weights(uninterrupted / 'checkpoint.safetensors')
    assert exported.tensors['head.weight'].dtype == torch.float16
    expected = source.tensors['average.head.weight'].half()
    assert torch.equal(exported.tensors['head.weight'], expected)
    assert exported.description['licence'] == 'CC0-1.0'
    card = path.with_suffix('.md').read_text()
    for part in (
        'A small exam network.',
        'sub-2_dseg',
        'psnr_db',
        'learning_rate',
        'CC0-1.0',
        'Known',
    ):
        assert part in card
    assert main(['export', str(path), '--out', str(tmp_path / 'b.safetensors')]) == 0
    assert main(['export', str(tmp_path / 'no'), '--out', str(tmp_path / 'c.safetensors')]) == 2
    assert 'there is no such file of weights' in capsys.readouterr().err


def test_export_calibrates_on_the_heads_of_the_training(
    data, uninterrupted, tmp_path, capsys, monkeypatch
):
    path = tmp_path / 'small.safetensors'
    command = ['export', str(uninterrupted), '--out', str(path), '--exams', '4', '--label-maps']
    loaded = []
    monkeypatch.setattr(
        export, 'load_weights', lambda path: loaded.append(path) or load_weights(path)
    )
    assert main([*command, str(data[0])]) == 0
    assert loaded == [uninterrupted / 'checkpoint.safetensors']  # once for both
    message = capsys.readouterr().err
    assert 'exam 1 of 4' in message and 'Sums of probabilities' in message
    description = load_weights(path).description
    odds = dict(zip(description['labels'], description['odds'], strict=True))
    assert odds[0] == 1 and odds[2] == odds[41] != 1
    assert 'Odds by which probabilities of the classes are multiplied: [1.0, ' in (
        path.with_suffix('.md').read_text()
    )
    few = tmp_path / 'few'
    few.mkdir()
    (few / 'sub-0_dseg.nii.gz').symlink_to(data[0] / 'sub-0_dseg.nii.gz')
    assert main([*command, str(few)]) == 2
    assert 'sub-1_dseg.nii.gz is not among the label maps: give' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [(['--exams', '4'], '--exams are those of a calibration: give --label-maps, too'),
     (['--exams', '0', '--label-maps', 'MAPS'], '--exams 0: a calibration needs 1 at least')],
)  # fmt: skip
def test_calibration_says_what_it_needs(data, uninterrupted, tmp_path, capsys, arguments, message):
    given = [str(data[0]) if word == 'MAPS' else word for word in arguments]
    out = ['--out', str(tmp_path / 'w.safetensors')]
    assert main(['export', str(uninterrupted), *out, *given]) == 2
    assert message in capsys.readouterr().err


def test_weights_that_cannot_be_calibrated_are_refused(data, uninterrupted, tmp_path, capsys):
    own = load_weights(uninterrupted / 'checkpoint.safetensors')
    recipe = own.description['recipe']
    without = {**recipe, 'loss': {**recipe['loss'], 'dice': 0.0, 'cross_entropy': 0.0}}
    for changes, message in (
        ({'recipe': without}, 'weights of exam_unet without one: leave it out'),
        ({'labels': [0, 2]}, 'has other classes than this version: first train on from them'),
    ):
        path = save_weights(tmp_path / 'w.safetensors', own.tensors, own.description | changes)
        command = ['export', path, '--out', tmp_path / 'x.safetensors', '--label-maps', data[0]]
        assert main([*map(str, command)]) == 2
        assert message in capsys.readouterr().err
    save_weights(path, own.tensors, {'network': 'exam_unet'})
    assert main([*map(str, command)]) == 2
    assert 'is no checkpoint of a training: it holds no recipe' in capsys.readouterr().err


def test_gallery_draws_exams_and_real_scans(data, tmp_path):
    maps, images, recipe = data
    out = tmp_path / 'gallery.png'
    scan = images / 'sub-0_T1w.nii.gz'
    given = ['gallery', recipe, '--label-maps', maps, '--rows', 2, '--scans', scan, '--out', out]
    assert main(list(map(str, given))) == 0
    assert out.read_bytes().startswith(b'\x89PNG')


def test_priors_are_estimated_from_files(data, tmp_path, capsys):
    maps, images, _ = data
    out = tmp_path / 'prior.toml'
    scans, labels = sorted(images.iterdir()), sorted(maps.iterdir())
    given = ['estimate-priors', '--scans', *scans, '--label-maps', *labels, '--out', out]
    assert main(list(map(str, given))) == 0
    assert 'name = "white-matter"' in out.read_text()
    assert main(list(map(str, ['estimate-priors', '--scans', *scans, '--label-maps', labels[0],
                               '--out', out]))) == 2  # fmt: skip
    assert '3 scans and 1 label maps' in capsys.readouterr().err
    shifted = save_volume(tmp_path / 'a.nii.gz', draw_labels(), grid_of((32, 32, 32), 1.5))
    assert main(list(map(str, ['estimate-priors', '--scans', scans[0], '--label-maps', shifted,
                               '--out', out]))) == 2  # fmt: skip
    assert 'resample the labels on the grid of the scan' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['nothing'], 'nothing is neither a recipe file nor one of 3t-7t'),
        (['any-exam'], 'give their folder with --label-maps'),
        (['sr-t1'], 'trains on real images'),
        (['sr-t1', '--set', 'optimiser.name=adam'], "did you mean 'optimizer'"),
        (['sr-t1', '--images', 'nowhere'], 'nowhere is not a folder'),
    ],
)
def test_wrong_use_is_reported(arguments, message, tmp_path, capsys):
    assert main(['run', *arguments, '--out', str(tmp_path / 'out')]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_damaged_checkpoint_is_reported(data, tmp_path, capsys):
    (tmp_path / 'checkpoint.safetensors').write_bytes(b'no safetensors at all')
    assert main(command(data, tmp_path)) == 2
    assert str(Path(tmp_path, 'checkpoint.safetensors')) in capsys.readouterr().err


@pytest.mark.parametrize('name', ['w.md', 'w.txt', 'w'])
def test_weights_are_exported_under_their_own_ending_only(uninterrupted, tmp_path, name, capsys):
    assert main(['export', str(uninterrupted), '--out', str(tmp_path / name)]) == 2
    assert f'{name}: weights are files that end in .safetensors' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_state_of_a_training_is_never_overwritten(uninterrupted, tmp_path, capsys):
    copied = tmp_path / 'out'
    shutil.copytree(uninterrupted, copied)
    checkpoint = copied / 'checkpoint.safetensors'
    before = checkpoint.read_bytes()
    assert main(['export', str(copied), '--out', str(checkpoint)]) == 2
    assert 'holds the state of a training' in capsys.readouterr().err
    assert checkpoint.read_bytes() == before


def test_all_heads_that_weights_were_ever_trained_on_are_named(data, uninterrupted, tmp_path):
    maps, _, _ = data
    fewer = tmp_path / 'fewer'
    fewer.mkdir()
    for file in sorted(maps.glob('sub-[12]*')):
        shutil.copy(file, fewer / file.name.replace('sub-1', 'sub-9'))
    weights = uninterrupted / 'checkpoint.safetensors'
    words = command((fewer, *data[1:]), tmp_path / 'out', '--weights', weights, '--max-steps', '1')
    assert main(words) == 0
    names = load_weights(tmp_path / 'out/checkpoint.safetensors').description['data']['training']
    before = load_weights(weights).description['data']['training']
    assert set(before) < set(names) and any(name.startswith('sub-9') for name in names)


def test_a_training_that_stops_says_how_to_go_on(data, tmp_path, capsys):
    assert main(command(data, tmp_path / 'out', '--max-steps', '1')) == 0
    assert 'Step 1 of 8' in capsys.readouterr().err


@pytest.mark.parametrize('changes', [{'step': 'one'}, {'step': -1}, {'sums': []}, {'recipe': 1}])
def test_an_odd_checkpoint_is_named(data, uninterrupted, tmp_path, changes, capsys):
    weights = load_weights(uninterrupted / 'checkpoint.safetensors')
    folder = tmp_path / 'out'
    path = folder / 'checkpoint.safetensors'
    save_weights(path, weights.tensors, {**weights.description, **changes})
    assert main(command(data, folder)) == 2
    assert 'checkpoint.safetensors' in capsys.readouterr().err
