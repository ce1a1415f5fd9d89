"""The training loop."""

from __future__ import annotations

import copy
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bids_synthsr.dataset.files import write_text
from bids_synthsr.synthesis.labels import freesurfer_table
from bids_synthsr.training.adversary import MEASURES, critic_batches, learn_to_tell
from bids_synthsr.training.checkpoints import (
    NAME,
    load_checkpoint,
    load_initial_weights,
    save_checkpoint,
)
from bids_synthsr.training.cohort import Cohort
from bids_synthsr.training.journal import Journal
from bids_synthsr.training.learner import (
    Learner,
    LossNotFiniteError,
    learn,
    new_learner,
    teach_critic,
)
from bids_synthsr.training.losses import total_loss
from bids_synthsr.training.metrics import validate_network
from bids_synthsr.training.pictures import batch_tiles, draw_sheet, prediction_tiles
from bids_synthsr.training.processes import Processes
from bids_synthsr.training.recipe import Recipe
from bids_synthsr.training.samples import TRAINING, Batch, seed_of
from bids_synthsr.training.segmenter import Segmenter, load_segmenter
from bids_synthsr.training.sources import Source, make_sources
from bids_synthsr.training.task import Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingRun:
    """Where a training computes and writes, and when it ends: nothing here changes its losses.

    Parameters
    ----------
    folder
        Folder for checkpoint, metrics and pictures. A training that stopped there goes on.
    device
        Device on which to compute.
    last_step
        Step after which to stop.
    minutes
        Time after which to stop, min.
    weights
        File of weights to start a new training from; None for random weights.
    segmenter
        File of weights of a segmenter of T1w, for `LossRecipe.segmentation`; None for none.
    processes
        Processes that train together.
    is_interrupted
        Function that returns whether the training should stop.
    show
        Function that shows the progress line.
    """

    folder: Path
    device: torch.device
    last_step: int
    minutes: float = float('inf')
    weights: Path | None = None
    segmenter: Path | None = None
    processes: Processes = field(default_factory=Processes)
    is_interrupted: Callable[[], bool] = lambda: False
    show: Callable[[str], None] = lambda _: None


def train(recipe: Recipe, cohort: Cohort[Any], run: TrainingRun) -> Learner:
    """Train until the last step, the time limit or an interruption; then write a checkpoint.

    Parameters
    ----------
    recipe
        Recipe of the training.
    cohort
        Heads or images to train on, and those held out.
    run
        Where to compute and write, and when to end.

    Raises
    ------
    ValueError
        Before the first step: for a recipe, data or weights that do not fit each other, and for
        batches that do not fit into memory.
    LossNotFiniteError
        Naming the file that holds what was drawn for the step.
    """
    task = Task(recipe, find_segmenter(recipe, run))
    training, held_out = make_sources(recipe, cohort, run.device)
    check_adversary(recipe, training, run)
    learner = begin(task, run)
    rehearse(task, learner, training)
    run.processes.join(run.device)
    writer = Writer(task, run, learner, held_out, cohort) if run.processes.is_first else None
    take_steps(task, learner, training, run, writer)
    if writer is not None:
        writer.finish()
    run.processes.leave()
    return learner


def find_segmenter(recipe: Recipe, run: TrainingRun) -> Segmenter | None:
    """Load the segmenter of T1w, where the loss wants one.

    Raises
    ------
    ValueError
        Where one is wanted and not given, or given and not wanted, or is the network itself.
    """
    is_wanted = recipe.loss.segmentation > 0
    if is_wanted != (run.segmenter is not None):
        raise ValueError(
            'loss.segmentation needs the weights of a segmenter: give --segmenter FILE, from the '
            'recipe t1-segmenter for example'
            if is_wanted
            else '--segmenter does nothing while loss.segmentation is 0: set its weight'
        )
    if run.segmenter is None:
        return None
    if run.weights is not None and run.weights.samefile(run.segmenter):
        raise ValueError(
            f'--segmenter {run.segmenter} are the weights at the start: a network that judges '
            'itself agrees with itself'
        )
    return load_segmenter(run.segmenter, freesurfer_table().targets, run.device)


def check_adversary(recipe: Recipe, source: Source[Any], run: TrainingRun) -> None:
    """Raise where a critic is wanted that cannot learn.

    Raises
    ------
    ValueError
        Without real T1w as targets, and for several processes.
    """
    if recipe.adversary.weight <= 0:
        return
    if not source.has_real_targets:
        raise ValueError(
            'A critic needs real T1w as targets, or it learns the paint: give --images of all '
            'heads, and a prior whose target is t1w'
        )
    if run.processes.count > 1:
        raise ValueError('A critic trains in one process: start without torchrun')


def take_steps(
    task: Task, learner: Learner, source: Source[Any], run: TrainingRun, writer: Writer | None
) -> None:
    """Take steps until the end."""
    torch.backends.cudnn.benchmark = True  # samples have one size: the search for speed pays
    forward = run.processes.share(learner.network, run.device)
    if task.recipe.numerics.compile:
        forward.compile()
    end = time.monotonic() + 60 * run.minutes
    while not is_over(learner, run, end):
        began = time.monotonic()
        seed = seed_of(task.recipe, TRAINING, learner.step, run.processes.rank)
        batch = source.draw(seed)
        told = teach_or_report(learner, forward, task, source, run, end)
        if told is None:
            continue
        with reporting(batch, learner, run):
            measures = {**learn(learner, forward, task, batch), **told}
        learner.seconds += time.monotonic() - began
        if writer is not None:
            writer.after_step(measures)


def is_over(learner: Learner, run: TrainingRun, end: float) -> bool:
    """Whether to stop before the next step; the same answer in all processes."""
    wish = learner.step >= run.last_step or time.monotonic() >= end or run.is_interrupted()
    return run.processes.agree(wish, run.device)


def begin(task: Task, run: TrainingRun) -> Learner:
    """Make a learner: new, from other weights, or where its training stopped."""
    learner = new_learner(task, run.device)
    checkpoint = run.folder / NAME
    if checkpoint.exists():
        load_checkpoint(checkpoint, learner, task)
        logger.info('Going on at step %d from %s', learner.step, checkpoint)
    elif run.weights is not None:
        load_initial_weights(run.weights, learner, task)
    return learner


def rehearse(task: Task, learner: Learner, source: Source[Any]) -> None:
    """Compute one step on a copy of the network with the largest batch there can be.

    Raises
    ------
    ValueError
        Where the device has not the memory for it.
    """
    network = copy.deepcopy(learner.network).train()
    recipe = task.recipe
    try:
        batch = source.largest()
        prediction = task.predict(network, batch)
        total_loss(task.loss_terms(prediction, batch), recipe.loss).backward()
        if learner.adversary is not None:
            rehearsed = copy.deepcopy(learner.adversary)
            learn_to_tell(rehearsed, prediction, batch, recipe.adversary.penalty, 0)
    except torch.OutOfMemoryError as error:
        samples = recipe.samples
        raise ValueError(
            f'A step on {samples.batch} x {list(samples.shape)} voxels with up to '
            f'{batch.scans.shape[1]} scans does not fit into the memory of '
            f'{batch.target.device}: take smaller samples (--set "samples.shape=[...]"), fewer '
            'in a batch, or fewer network.arguments.features'
        ) from error


def teach_or_report(
    learner: Learner,
    forward: nn.Module,
    task: Task,
    source: Source[Any],
    run: TrainingRun,
    end: float,
) -> dict[str, float] | None:
    """Let the critic take its steps before one of the network; return the mean of its measures.

    Where the training is to stop meanwhile, the critic is again as it was, and None is returned.
    """
    if learner.adversary is None:
        return {}
    measured, before = [], copy.deepcopy(learner.adversary)
    for seed, batch in critic_batches(task.recipe, learner.step, source):
        if is_over(learner, run, end):
            learner.adversary = before
            return None
        with reporting(batch, learner, run):
            measured.append(teach_critic(learner, forward, task, batch, seed))
    return {name: sum(x[name] for x in measured) / max(len(measured), 1) for name in MEASURES}


@contextmanager
def reporting(batch: Batch, learner: Learner, run: TrainingRun) -> Iterator[None]:
    """Write down what was drawn for a step whose loss is not finite."""
    try:
        yield
    except LossNotFiniteError as error:
        path = run.folder / f'not-finite-step-{learner.step:07d}-process-{run.processes.rank}.json'
        write_text(path, json.dumps(batch.draws, indent=1))
        raise LossNotFiniteError(
            f'Step {learner.step} is not finite ({error}). What was drawn for it stands in '
            f'{path}. The last checkpoint is sound: lower optimizer.learning_rate, set '
            'optimizer.clip_norm, or use numerics.precision = "fp32"'
        ) from error


class Writer:
    """Everything that one process writes while all of them train."""

    def __init__(
        self,
        task: Task,
        run: TrainingRun,
        learner: Learner,
        held_out: Source[Any] | None,
        cohort: Cohort[Any],
    ) -> None:
        run.folder.mkdir(parents=True, exist_ok=True)
        self.task, self.run, self.learner, self.held_out = task, run, learner, held_out
        self.intervals = task.recipe.intervals
        data = with_earlier_data(cohort.names, learner.data)
        self.facts = {'data': data, 'device': str(run.device), 'validation': {}}
        self.journal = Journal(run.folder, learner, run.last_step, run.show)
        self.saved_step, self.saved_at = learner.step, time.monotonic()

    def after_step(self, measures: dict[str, float]) -> None:
        """Log, validate and save where it is time to."""
        step, intervals = self.learner.step, self.intervals
        self.journal.note(self.learner, measures, intervals.log_steps)
        if is_due(step, intervals.validation_steps):
            self.validate()
        minutes = (time.monotonic() - self.saved_at) / 60
        has_waited = 0 < intervals.checkpoint_minutes <= minutes
        if has_waited or is_due(step, intervals.checkpoint_steps):
            self.save()

    def validate(self) -> None:
        """Measure the average network on held-out heads, and draw some of them."""
        if self.held_out is None:
            return
        count = self.intervals.validation_batches
        metrics, examples = validate_network(self.learner.average, self.task, self.held_out, count)
        rows = [[*batch_tiles(batch), *prediction_tiles(output)] for batch, output in examples]
        self.journal.validated(self.learner, metrics, draw_sheet(rows))
        self.facts['validation'] = {'step': self.learner.step, **metrics}

    def save(self) -> None:
        """Write a checkpoint over the last one."""
        save_checkpoint(self.run.folder / NAME, self.learner, self.task, self.facts)
        self.saved_step, self.saved_at = self.learner.step, time.monotonic()

    def finish(self) -> None:
        """Write what is not yet written."""
        if self.saved_step != self.learner.step or not (self.run.folder / NAME).exists():
            self.save()
        self.journal.close()


def with_earlier_data(
    names: Mapping[str, Sequence[str]], earlier: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Name all that weights were ever trained on, those of an earlier training first.

    Parameters
    ----------
    names
        Names of what this training uses, by ``training`` and ``validation``.
    earlier
        Names of what the weights at its start were trained on, likewise.
    """
    training = [*dict.fromkeys([*earlier.get('training', ()), *names['training']])]
    seen = sorted({*training} & {*names['validation']})
    if seen:
        logger.warning(
            'Held out, but the weights at the start were trained on them: %s. What they are '
            'validated by says too much.',
            ', '.join(seen),
        )
    return {'training': training, 'validation': [*names['validation']]}


def is_due(step: int, interval: int) -> bool:
    """Whether a step ends an interval; 0 never does."""
    return interval > 0 and step % interval == 0
