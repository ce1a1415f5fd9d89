"""Weights that do not know the newer classes of the segmentation."""

import pytest
import torch

from bids_synthsr.dataset.weights import load_weights, save_weights
from bids_synthsr.networks.exam_unet import ExamUNet
from bids_synthsr.synthesis.labels import HEAD_TISSUE, PART_OF
from bids_synthsr.training.checkpoints import describe, load_initial_weights, with_new_classes
from bids_synthsr.training.learner import new_learner
from bids_synthsr.training.recipe import load_recipe
from bids_synthsr.training.task import Task

SMALL = ['network.arguments={features=8, levels=2, is_guided=true, mixture_steps=1}',
         'samples.shape=[16, 16, 16]', 'optimizer.average=0']  # fmt: skip


@pytest.fixture(scope='module')
def task():
    return Task(load_recipe('any-exam', SMALL))


@pytest.fixture
def older(task, tmp_path):
    """Weights from before fat and skin had classes of their own; their labels and tissues."""
    labels = tuple(x for x in task.labels if x not in PART_OF)
    kept = [task.labels.index(x) for x in labels]
    tissues = [task.arguments['tissue_of'][number] for number in kept]
    numbers = {old: number for number, old in enumerate(dict.fromkeys(tissues))}
    arguments = {
        **task.arguments,
        'classes': len(labels),
        'class_t1w': [task.arguments['class_t1w'][number] for number in kept],
        'tissue_of': [numbers[tissue] for tissue in tissues],
    }
    torch.manual_seed(0)
    network = ExamUNet.from_arguments(arguments)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    message = {**describe(task), 'arguments': arguments, 'labels': labels}
    return save_weights(tmp_path / 'older.safetensors', network.state_dict(), message)


@torch.no_grad()
def test_new_classes_start_as_parts_of_the_old_one(task, older):
    weights = load_weights(older)
    labels = weights.description['labels']
    before = ExamUNet.from_arguments(weights.description['arguments']).eval()
    before.load_state_dict(dict(weights.tensors))
    learner = new_learner(task, torch.device('cpu'))
    load_initial_weights(older, learner, task)
    now = learner.network.eval()
    mine, theirs = now.mixture.of_exam.weight, before.mixture.of_exam.weight
    tissues = dict(zip(task.labels, task.arguments['tissue_of'], strict=True))
    olds = dict(zip(labels, weights.description['arguments']['tissue_of'], strict=True))
    for label in task.labels:
        source = olds[PART_OF.get(label, label)]
        torch.testing.assert_close(mine[tissues[label]], theirs[source])
    now.mixture = before.mixture = None  # the newer classes have Gaussians of their own
    scan = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    message, said = (x(scan, torch.ones_like(scan)).logits.softmax(1) for x in (before, now))
    joined = torch.zeros_like(message)
    for number, label in enumerate(task.labels):
        joined[:, labels.index(PART_OF.get(label, label))] += said[:, number]
    torch.testing.assert_close(joined, message, atol=1e-5, rtol=0)  # sums in another order


def test_other_classes_are_left_to_the_check(task, older):
    weights = load_weights(older)
    message = {**weights.description, 'labels': [x for x in task.labels if x != HEAD_TISSUE]}
    tensors = with_new_classes(weights.tensors, message, task)
    assert all(tensors[name] is value for name, value in weights.tensors.items())
    path = save_weights(older.parent / 'odd.safetensors', weights.tensors, message)
    with pytest.raises(ValueError, match=r'holds exam_unet .* tensors differ, such as'):
        load_initial_weights(path, new_learner(task, torch.device('cpu')), task)


def test_the_same_classes_stay_as_they_are(task):
    network = new_learner(task, torch.device('cpu')).network
    tensors = network.state_dict()
    assert with_new_classes(tensors, describe(task), task) == dict(tensors)
