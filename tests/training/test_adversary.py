"""The critic and the segmenter that judge a network: laws, refusals, and going on exactly."""

import csv
import shutil
from dataclasses import replace

import pytest
import torch
from doors import sub_command
from label_phantoms import write_heads
from small_recipes import EXAM
from torch import nn

from bids_synthsr.dataset.weights import load_weights
from bids_synthsr.imaging.slice_encoding import CHANNELS
from bids_synthsr.networks.critic import Critic
from bids_synthsr.networks.exam_unet import Prediction
from bids_synthsr.synthesis.labels import freesurfer_table
from bids_synthsr.training.adversary import (
    Adversary,
    critic_batches,
    critic_steps,
    gradient_penalty,
    learn_to_tell,
)
from bids_synthsr.training.cohort import read_real_images
from bids_synthsr.training.learner import learn, new_learner
from bids_synthsr.training.loop import TrainingRun, teach_or_report
from bids_synthsr.training.metrics import detail_ratios
from bids_synthsr.training.recipe import AdversaryRecipe, load_recipe
from bids_synthsr.training.samples import Batch, slice_batch
from bids_synthsr.training.segmenter import Segmenter
from bids_synthsr.training.sources import make_sources
from bids_synthsr.training.task import Task

main = sub_command('train')

SHARPENING = """
description = 'Slices of real images, and a critic.'
steps = 4

[network]
name = 'slice_unet'
arguments = { features = 4, levels = 2 }

[samples]
source = 'slices'
shape = [16, 16, 16]
batch = 2

[loss]
l1 = 1.0

[adversary]
weight = 0.01
steps = 2
first_steps = 3
from_step = 1
features = 4
levels = 2

[optimizer]
name = 'adamw'
average = 0.9

[intervals]
log_steps = 1
validation_steps = 4
validation_batches = 2
"""


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Folders of label maps and images, and the files of two recipes."""
    folder = tmp_path_factory.mktemp('data')
    maps, images = write_heads(folder)
    for name, text in (('sharpening', SHARPENING), ('judged', EXAM)):
        (folder / f'{name}.toml').write_text(text, encoding='utf-8')
    return maps, images, folder


def sharpen(data, out, *more):
    _, images, folder = data
    given = ['run', folder / 'sharpening.toml', '--images', images, '--held-out', 'sub-2*']
    return main(
        [*map(str, [*given, '--out', out, *more]), '--device', 'cpu', '--num-threads', '1']
    )


def judge(data, out, *more):
    maps, _, folder = data
    given = ['run', folder / 'judged.toml', '--label-maps', maps, '--out', out, '--set']
    given += ['steps=2', 'intervals.validation_steps=0', *more]
    return main([*map(str, given), '--device', 'cpu', '--num-threads', '1'])


def rows_of(path):
    with path.open(encoding='utf-8') as stream:
        return [{k: v for k, v in row.items() if k != 'seconds'} for row in csv.DictReader(stream)]


def batch_of(target):
    return Batch((), target, target, torch.ones_like(target), [])


class Linear(nn.Module):
    """A critic whose slope is known."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, volume):
        return (volume * self.weight).flatten(1).sum(1)


def test_penalty_of_a_linear_critic_is_that_of_its_weights():
    weight = torch.rand(1, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    penalty = gradient_penalty(Linear(weight), torch.rand(3, 1, 4, 5, 6))
    assert penalty.item() == pytest.approx((float(weight.norm()) - 1) ** 2, rel=1e-5)


def test_critic_takes_volumes_of_any_size_and_judges_each_alone():
    critic = Critic(4, 2)
    volumes = torch.rand(3, 1, 8, 9, 13)
    judgements = critic(volumes)
    assert judgements.shape == (3,)
    torch.testing.assert_close(critic(volumes[1:2])[0], judgements[1])


def test_critic_learns_to_tell_what_is_unlike():
    torch.manual_seed(0)
    critic = Critic(8, 2)
    adversary = Adversary(critic, torch.optim.Adam(critic.parameters(), 1e-3, (0.5, 0.9)))
    real, made = torch.rand(4, 1, 8, 8, 8), torch.full((4, 1, 8, 8, 8), 0.5)
    gaps = [
        learn_to_tell(adversary, Prediction(made), batch_of(real), 10.0, seed)['critic_gap']
        for seed in range(60)
    ]
    assert gaps[-1] > gaps[0] + 0.05


def test_a_gap_that_is_not_finite_leaves_the_critic_as_it_was():
    critic = Critic(4, 2)
    adversary = Adversary(critic, torch.optim.Adam(critic.parameters()))
    before = {name: value.clone() for name, value in critic.state_dict().items()}
    real, made = torch.rand(1, 1, 8, 8, 8), torch.full((1, 1, 8, 8, 8), torch.inf)
    with pytest.raises(FloatingPointError, match='critic_gap'):
        learn_to_tell(adversary, Prediction(made), batch_of(real), 10.0, 0)
    assert all(torch.equal(value, before[name]) for name, value in critic.state_dict().items())


def test_critic_steps_begin_where_the_recipe_says():
    recipe = AdversaryRecipe(weight=1, steps=2, first_steps=5, from_step=3)
    assert [critic_steps(recipe, step) for step in range(6)] == [0, 0, 0, 5, 2, 2]
    assert critic_steps(AdversaryRecipe(), 0) == 0


def test_no_batch_of_the_critic_is_drawn_twice(data):
    recipe = load_recipe(str(data[2] / 'sharpening.toml'))

    class Seeds:
        def draw(self, seed):
            return seed

    seeds = [seed for step in range(4) for seed, _ in critic_batches(recipe, step, Seeds())]
    assert len(seeds) == len(set(seeds)) == 3 + 2 + 2


def test_training_with_a_critic_goes_on_exactly(data, tmp_path):
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    assert sharpen(data, whole) == 0
    for step in (1, 3, 4):
        assert sharpen(data, parts, '--max-steps', step) == 0
    assert rows_of(whole / 'metrics.csv') == rows_of(parts / 'metrics.csv')
    one, other = (load_weights(x / 'checkpoint.safetensors').tensors for x in (whole, parts))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert {'critic.hidden.weight', 'critic_optimizer.0.exp_avg'} <= one.keys()
    rows = rows_of(whole / 'metrics.csv')
    assert [float(row['critic_gap']) == 0 for row in rows] == [True, False, False, False]
    assert all(float(row['adversary']) != 0 for row in rows[1:])
    assert 'detail_0.3_0.5' in rows_of(whole / 'validation.csv')[0]


def test_a_critic_of_no_weight_changes_nothing(data, tmp_path):
    changes = ('--set', 'steps=2', 'adversary.weight=0')
    assert sharpen(data, tmp_path / 'none', *changes) == 0
    weights = load_weights(tmp_path / 'none/checkpoint.safetensors').tensors
    assert not [name for name in weights if name.startswith('critic')]
    late = ('--max-steps', 2, '--set', 'adversary.from_step=3')
    assert sharpen(data, tmp_path / 'late', *late) == 0
    late = load_weights(tmp_path / 'late/checkpoint.safetensors').tensors
    assert all(torch.equal(value, late[name]) for name, value in weights.items())


def test_weights_of_a_training_with_a_critic_are_exported_without_it(data, tmp_path):
    assert sharpen(data, tmp_path / 'out', '--max-steps', 2) == 0
    made = tmp_path / 'made.safetensors'
    assert main(['export', str(tmp_path / 'out'), '--out', str(made)]) == 0
    assert not [name for name in load_weights(made).tensors if 'critic' in name]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ('adversary.steps=0', 'adversary.steps is 0'),
        ('adversary.from_step=4', 'adversary.from_step is 4, not 0 to 3'),
        ('adversary.weight=-1', 'adversary.weight is -1'),
        ('adversary.weight=nan', 'adversary.weight is nan'),
        ('adversary.penalty=inf', 'adversary.penalty is inf'),
        ('loss.segmentation=-1', 'loss.segmentation is -1'),
        ('loss.ssim=nan', 'loss.ssim is nan'),
        ('adversary.speed=1', 'speed'),
    ],
)
def test_wrong_critic_is_refused(data, tmp_path, capfd, change, message):
    assert sharpen(data, tmp_path / 'out', '--set', change) == 2
    assert message in capfd.readouterr().err


def test_critic_needs_real_targets_and_voxels_side_by_side(data, tmp_path, capfd):
    critic = ('--set', 'adversary.weight=0.01', 'adversary.from_step=1')
    assert judge(data, tmp_path / 'out', *critic) == 2
    assert 'real T1w as targets' in capfd.readouterr().err
    assert judge(data, tmp_path / 'out', *critic, 'samples.thinned=true') == 2
    assert 'side by side' in capfd.readouterr().err


def test_critic_sees_real_t1w_of_label_maps(data, tmp_path):
    critic = ('--set', 'adversary.weight=0.01', 'adversary.first_steps=1', 'adversary.steps=1',
              'adversary.features=2', 'adversary.levels=1')  # fmt: skip
    assert judge(data, tmp_path / 'out', '--images', data[1], *critic) == 0
    assert float(rows_of(tmp_path / 'out/metrics.csv')[-1]['critic_penalty']) > 0


class Lookup(nn.Module):
    """A segmenter that knows the tone of every class."""

    def __init__(self, tones):
        super().__init__()
        self.tones = torch.tensor(tones)

    def forward(self, image, _reliability):
        return Prediction(image, None, -1e4 * (image - self.tones.view(1, -1, 1, 1, 1)).abs())


def test_segmentation_of_a_perfect_t1w_costs_nothing_and_a_wrong_one_much():
    tones = (0.0, 0.5, 1.0)
    segmentation = torch.randint(3, (1, 8, 8, 8), generator=torch.Generator().manual_seed(1))
    target = torch.tensor(tones)[segmentation][:, None]
    segmenter = Segmenter(Lookup(tones), torch.arange(3))
    batch = replace(batch_of(target), segmentation=segmentation)
    assert float(segmenter.loss(Prediction(target), batch)) == pytest.approx(0, abs=1e-6)
    assert float(segmenter.loss(Prediction(1 - target), batch)) > 0.5
    merged = Segmenter(Lookup((0.0, 1.0)), torch.tensor([0, 1, 1]))
    assert float(merged.loss(Prediction((target > 0).float()), batch)) == pytest.approx(
        0, abs=1e-6
    )


def test_judge_of_the_t1w_changes_the_network_and_not_itself(data, tmp_path, capfd):
    assert judge(data, tmp_path / 'first', '--set', 'seed=5') == 0
    file = tmp_path / 'segmenter.safetensors'
    assert main(['export', str(tmp_path / 'first'), '--out', str(file), '--full-precision']) == 0
    before = file.read_bytes()
    judged = ('--set', 'loss.segmentation=0.25')
    assert judge(data, tmp_path / 'out', '--segmenter', file, *judged) == 0
    rows = rows_of(tmp_path / 'out/metrics.csv')
    assert all(0 < float(row['segmentation']) <= 1 for row in rows)
    assert file.read_bytes() == before
    assert judge(data, tmp_path / 'none') == 0
    one, other = (
        load_weights(tmp_path / x / 'checkpoint.safetensors').tensors for x in ('out', 'none')
    )
    assert one.keys() == other.keys()
    assert any(not torch.equal(one[name], other[name]) for name in one)
    capfd.readouterr()
    assert judge(data, tmp_path / 'x', *judged) == 2
    assert 'give --segmenter FILE' in capfd.readouterr().err
    assert judge(data, tmp_path / 'x', '--segmenter', file) == 2
    assert 'does nothing while' in capfd.readouterr().err
    assert judge(data, tmp_path / 'x', '--segmenter', file, '--weights', file, *judged) == 2
    assert 'agrees with itself' in capfd.readouterr().err
    assert judge(data, tmp_path / 'x', '--segmenter', tmp_path / 'no', *judged) == 2
    assert '--segmenter' in capfd.readouterr().err
    other = tmp_path / 'other.safetensors'
    assert main(['export', str(tmp_path / 'none'), '--out', str(other), '--full-precision']) == 0
    capfd.readouterr()
    assert judge(data, tmp_path / 'out', '--segmenter', other, *judged) == 2
    assert 'another segmenter' in capfd.readouterr().err
    made = tmp_path / 'made.safetensors'
    assert main(['export', str(tmp_path / 'out'), '--out', str(made)]) == 0
    assert 'segmenter.safetensors' in made.with_suffix('.md').read_text()
    shutil.copy(data[2] / 'judged.toml', tmp_path / 'wrong.safetensors')
    assert judge(data, tmp_path / 'x', '--segmenter', tmp_path / 'wrong.safetensors', *judged) == 2


def test_shipped_segmenter_recipe_knows_the_labels_of_all_samples():
    task = Task(load_recipe('t1-segmenter'))
    assert task.labels == freesurfer_table().targets and task.slots == 1


def test_detail_ratios_tell_blur_from_invention():
    generator = torch.Generator().manual_seed(2)
    target = torch.rand(1, 1, 24, 24, 24, generator=generator)
    same = detail_ratios(target, target)
    assert list(same.values()) == pytest.approx([1, 1, 1])
    blurred = nn.functional.avg_pool3d(target, 3, 1, 1)
    noisy = target + 0.3 * torch.rand(target.shape, generator=generator)
    assert detail_ratios(blurred, target)['detail_0.3_0.5'] < 0.2
    assert detail_ratios(noisy, target)['detail_0.3_0.5'] > 1.02


def test_network_is_drawn_towards_what_the_critic_takes_for_real(data):
    recipe = load_recipe(str(data[2] / 'sharpening.toml'))
    recipe = replace(
        recipe,
        loss=replace(recipe.loss, l1=1e-3),
        adversary=replace(recipe.adversary, from_step=0, weight=1.0),
        optimizer=replace(recipe.optimizer, learning_rate=1e-2),
    )
    task = Task(recipe)
    learner = new_learner(task, torch.device('cpu'))
    target = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    batch = slice_batch(target.repeat(1, CHANNELS, 1, 1, 1), target, [])
    terms = [learn(learner, learner.network, task, batch)['adversary'] for _ in range(20)]
    assert terms[-1] < terms[0] - 0.01


def test_a_network_with_a_mixture_may_judge(data, tmp_path):
    mixture = ('--set', 'network.arguments={features=8, levels=2, mixture_steps=2}', 'steps=1')
    assert judge(data, tmp_path / 'first', *mixture) == 0
    file = tmp_path / 'segmenter.safetensors'
    assert main(['export', str(tmp_path / 'first'), '--out', str(file)]) == 0
    judged = ('--segmenter', file, '--set', 'loss.segmentation=1', 'seed=3')
    assert judge(data, tmp_path / 'out', *judged) == 0


def test_a_stop_among_the_steps_of_the_critic_leaves_it_as_it_was(data, tmp_path):
    recipe = load_recipe(str(data[2] / 'sharpening.toml'))
    task = Task(replace(recipe, adversary=replace(recipe.adversary, from_step=0)))
    source = make_sources(recipe, read_real_images([data[1]]), torch.device('cpu'))[0]
    learner = new_learner(task, torch.device('cpu'))
    before = {k: v.clone() for k, v in learner.adversary.critic.state_dict().items()}
    asked = iter([False, False, True])
    run = TrainingRun(tmp_path, torch.device('cpu'), 4, is_interrupted=lambda: next(asked))
    told = teach_or_report(learner, learner.network, task, source, run, float('inf'))
    assert told is None
    after = learner.adversary.critic.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert next(asked, None) is None
