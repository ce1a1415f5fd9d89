"""Batches: what a recipe's network sees in one step, as a function of the step alone.

A batch is drawn from the seed of its step, so that step 1000 is the same batch whether a training
ran through, was resumed, or only draws its gallery; no state of a random generator needs storing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from bids_synthsr.imaging.slice_encoding import CHANNELS
from bids_synthsr.networks.exam_unet import thin
from bids_synthsr.synthesis.fields import draw_index
from bids_synthsr.synthesis.generator import Head, Sample, generate
from bids_synthsr.synthesis.labels import freesurfer_table
from bids_synthsr.synthesis.priors import GeneratorPrior
from bids_synthsr.synthesis.thick_slices import SlicePrior, draw_slices, make_slices
from bids_synthsr.synthesis.worlds import prior_by_name
from bids_synthsr.training.cohort import Cohort, Photograph
from bids_synthsr.training.recipe import NetworkRecipe, Recipe, dataclass_from

TRAINING, VALIDATION, GALLERY, CALIBRATION = range(4)  # streams of seeds
FOLD = 2  # voxels along each axis of a block of which a thinned sample keeps one


@dataclass(eq=False)
class Batch:
    """What goes into a network, and what should come out.

    Parameters
    ----------
    inputs
        Arguments of the network.
    scans
        ``(B, N, I, J, K)`` as people would look at them.
    target, weight
        ``(B, 1, I, J, K)``: the T1w, and where the loss counts.
    draws
        For each element what was drawn, in JSON types.
    base
        ``(B, 1, I, J, K)`` to which the output is added; None where the network does so itself.
    naive
        ``(B, 1, I, J, K)`` what interpolation gives for the target; None where it gives nothing.
    segmentation
        ``(B, I, J, K)`` class indices; None without labels.
    """

    inputs: tuple[Any, ...]
    scans: Tensor
    target: Tensor
    weight: Tensor
    draws: list[dict[str, Any]]
    base: Tensor | None = None
    naive: Tensor | None = None
    segmentation: Tensor | None = None


class Source(Protocol):
    """Where batches come from."""

    def draw(self, seed: int) -> Batch:
        """Draw the batch of a seed."""

    def largest(self) -> Batch:
        """Make an empty batch as large as any that may be drawn."""


def seed_of(recipe: Recipe, stream: int, step: int, rank: int = 0) -> int:
    """Seed of a batch: independent for every recipe seed, stream, step and process."""
    sequence = np.random.SeedSequence([recipe.seed, stream, step, rank])
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator_prior(recipe: Recipe) -> GeneratorPrior:
    """Prior of the generator: the named one with the changes of the recipe."""
    named = prior_by_name(recipe.samples.prior)
    return dataclass_from(GeneratorPrior, recipe.prior, 'recipe: prior', named)


def slice_prior(recipe: Recipe) -> SlicePrior:
    """Prior of the slices of real images: the default with the changes of the recipe."""
    if recipe.samples.prior:
        raise ValueError(
            f'recipe: samples.prior is {recipe.samples.prior!r}, but slices of real images have '
            'no named priors: leave it out and set what differs under [prior]'
        )
    return dataclass_from(SlicePrior, recipe.prior, 'recipe: prior')


def slots_of(recipe: Recipe) -> int:
    """Count the scans that an exam of the recipe may have."""
    if recipe.samples.source == 'slices':
        slice_prior(recipe)  # raises where it is wrong
        return 1
    return generator_prior(recipe).slots


def sources_of(
    recipe: Recipe, cohort: Cohort, device: torch.device
) -> tuple[Source, Source | None]:
    """Make the sources of training and of validation; None where nothing is held out.

    Raises
    ------
    ValueError
        Where the cohort has not what the recipe needs.
    """
    cohort = cohort.to(device)
    training = _source(recipe, cohort.training, cohort.photographs, device)
    if isinstance(training, GeneratorSource):
        training.is_thinned = recipe.samples.thinned
    if training is None:
        needed = {'generator': 'label maps (--label-maps)', 'slices': 'real images (--images)'}
        raise ValueError(f'This recipe trains on {needed[recipe.samples.source]}: none is given')
    return training, _source(recipe, cohort.held_out, cohort.held_out_photographs, device)


def _source(
    recipe: Recipe,
    heads: Sequence[Head],
    photographs: Sequence[Photograph],
    device: torch.device,
) -> Source | None:
    """Make a source of the heads that the recipe needs; None where there are none."""
    if recipe.samples.source == 'slices':
        return SliceSource(recipe, photographs) if photographs else None
    return GeneratorSource(recipe, heads, device) if heads else None


class GeneratorSource:
    """Exams generated from label maps; thinned where the recipe asks for it and training draws."""

    is_thinned = False

    def __init__(self, recipe: Recipe, heads: Sequence[Head], device: torch.device) -> None:
        self.samples, self.network = recipe.samples, recipe.network
        self.prior = generator_prior(recipe)
        self.table = freesurfer_table()
        self.heads, self.device = heads, device

    def draw(self, seed: int) -> Batch:
        """Draw heads and an exam of each."""
        generator = torch.Generator().manual_seed(seed)
        drawn = [
            self.heads[draw_index([1.0] * len(self.heads), generator)]
            for _ in range(self.samples.batch)
        ]
        sample = generate(
            drawn, self.prior, self.table, self.samples.shape, generator, self.device
        )
        batch = as_batch(sample, self.network, self.prior.target == 'reference')
        return self._thinned(batch, seed % FOLD**3)

    def largest(self) -> Batch:
        """Make a batch of as many scans as an exam may have, all dark."""
        size, slots, shape = self.samples.batch, self.prior.slots, self.samples.shape
        dark = torch.zeros(size, slots, *shape, device=self.device)
        sample = Sample(
            scans=dark,
            reliability=torch.ones_like(dark),
            present=torch.ones(size, slots, dtype=torch.bool, device=self.device),
            target=dark[:, :1],
            segmentation=torch.zeros(size, *shape, dtype=torch.int64, device=self.device),
            weight=torch.ones_like(dark[:, :1]),
            draws=[],
        )
        batch = as_batch(sample, self.network, self.prior.target == 'reference')
        return self._thinned(batch, 0)

    def _thinned(self, batch: Batch, number: int) -> Batch:
        """Ask for one voxel of every block only, where that is wanted."""
        if not self.is_thinned:
            return batch
        place = (number // FOLD**2, number // FOLD % FOLD, number % FOLD)
        segmentation = batch.segmentation
        return replace(
            batch,
            inputs=(*batch.inputs, None, place),
            target=thin(batch.target, place, FOLD),
            weight=thin(batch.weight, place, FOLD),
            segmentation=None if segmentation is None else thin(segmentation, place, FOLD),
        )


def as_batch(sample: Sample, network: NetworkRecipe, is_super_resolution: bool) -> Batch:
    """Arrange a sample for a network.

    The published U-Net takes image and reliability of each scan in turn as channels, and has one
    for every scan there might be; the exam network takes the scans that there are.
    """
    count = int(sample.present.sum(1).max())
    inputs: tuple[Tensor, ...] = (sample.scans[:, :count], sample.reliability[:, :count])
    if network.name == 'unet':
        inputs = (torch.stack([sample.scans, sample.reliability], 2).flatten(1, 2),)
    is_residual = network.name == 'unet' and network.residual >= 0
    return Batch(
        inputs=inputs,
        scans=sample.scans[:, :count],
        target=sample.target,
        weight=sample.weight,
        draws=sample.draws,
        base=sample.scans[:, network.residual][:, None] if is_residual else None,
        naive=sample.scans[:, :1] if is_super_resolution else None,
        segmentation=sample.segmentation,
    )


class SliceSource:
    """Thick slices of real images."""

    def __init__(self, recipe: Recipe, images: Sequence[Photograph]) -> None:
        self.samples, self.prior, self.images = recipe.samples, slice_prior(recipe), images

    def draw(self, seed: int) -> Batch:
        """Draw images, and slices across each."""
        generator = torch.Generator().manual_seed(seed)
        shape = self.samples.shape
        draws = [
            draw_slices(self.prior, self.images, shape, generator)
            for _ in range(self.samples.batch)
        ]
        channels, target = make_slices(draws, self.images, shape)
        return slice_batch(channels, target, [vars(draw) for draw in draws])

    def largest(self) -> Batch:
        """Make a dark batch."""
        shape, device = self.samples.shape, self.images[0].voxels.device
        channels = torch.zeros(self.samples.batch, CHANNELS, *shape, device=device)
        return slice_batch(channels, channels[:, :1], [])


def slice_batch(channels: Tensor, target: Tensor, draws: list[dict[str, Any]]) -> Batch:
    """Arrange encoded slices for a network."""
    return Batch(
        inputs=(channels,),
        scans=channels[:, :1],
        target=target,
        weight=torch.ones_like(target),
        draws=draws,
        naive=channels[:, :1],
    )
