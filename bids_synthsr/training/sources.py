"""Sources of batches: each kind knows its data, its prior and the networks that it suits.

`SOURCES` holds every kind under the name that a recipe gives it. A new kind is a class and an
entry there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Generic

import torch

from bids_synthsr.imaging.slice_encoding import CHANNELS
from bids_synthsr.networks.exam_unet import thin
from bids_synthsr.networks.registry import SLICE_UNET, SLICE_VAE
from bids_synthsr.networks.slice_vae import SliceVAE
from bids_synthsr.synthesis.fields import draw_index
from bids_synthsr.synthesis.generator import Sample, generate
from bids_synthsr.synthesis.heads import Head, ImagePair, RealImage, SliceStack
from bids_synthsr.synthesis.labels import freesurfer_table
from bids_synthsr.synthesis.paired_images import PairPrior, apply_pair, draw_pair
from bids_synthsr.synthesis.priors import GeneratorPrior
from bids_synthsr.synthesis.stack_samples import (
    SparsePrior,
    StackDraw,
    StackPrior,
    cut_stack,
    draw_stack,
    leave_slices_out,
    slices_within,
)
from bids_synthsr.synthesis.thick_slices import SlicePrior, draw_slices, make_slices
from bids_synthsr.synthesis.worlds import prior_by_name
from bids_synthsr.training.cohort import Cohort, DataChoice, Item, read_heads, read_real_images
from bids_synthsr.training.pairs import read_pairs
from bids_synthsr.training.recipe import Recipe
from bids_synthsr.training.samples import Batch, as_batch, slice_batch
from bids_synthsr.training.stacks import read_made, read_scans
from bids_synthsr.values.serial import as_plain, read_dataclass

FOLD = 2  # voxels along each axis of a block of which a thinned sample keeps one


class Source(ABC, Generic[Item]):
    """Where batches come from.

    Attributes
    ----------
    item
        Type of the items from which samples are made.
    needs
        Name of the data that the source needs, and of their option, for messages.
    networks
        Names of the networks that take its samples.
    channels
        Channels of each scan: intensities, and reliability where it varies.

    Parameters
    ----------
    recipe
        Recipe of the training.
    items
        Heads or images to draw from.
    device
        Where samples are computed.
    is_training
        Whether a training learns from its batches; validation may see more of every sample.
    """

    item: ClassVar[type]
    needs: ClassVar[str]
    networks: ClassVar[tuple[str, ...]]
    channels: ClassVar[int] = 2

    def __init__(
        self,
        recipe: Recipe,
        items: Sequence[Item],
        device: torch.device,
        is_training: bool = False,
    ) -> None:
        self.samples, self.network, self.is_training = recipe.samples, recipe.network, is_training
        self.items: Sequence[Item] = items
        self.device = device
        self.prior = self.make_prior(recipe)

    @staticmethod
    @abstractmethod
    def read(data: DataChoice) -> Cohort[Any]:
        """Read the data that samples are made from."""

    @classmethod
    @abstractmethod
    def make_prior(cls, recipe: Recipe) -> Any:
        """Make the prior of the samples; raise where the recipe has it wrong."""

    @classmethod
    @abstractmethod
    def count_scans(cls, recipe: Recipe) -> int:
        """Count the scans that an exam of the recipe may have; raise where its prior is wrong."""

    @property
    @abstractmethod
    def has_real_targets(self) -> bool:
        """Whether every target is a real image, not painted."""

    @abstractmethod
    def draw(self, seed: int) -> Batch:
        """Draw the batch of a seed."""

    @abstractmethod
    def largest(self) -> Batch:
        """Make an empty batch as large as any that may be drawn."""


def generator_prior(recipe: Recipe) -> GeneratorPrior:
    """Make the prior of the generator: the named one with the changes of the recipe."""
    named = prior_by_name(recipe.samples.prior)
    return read_dataclass(GeneratorPrior, recipe.prior, 'recipe: prior', named)


class GeneratorSource(Source[Head]):
    """Exams generated from label maps; training sees one voxel of each block, where wanted."""

    item = Head
    needs = 'label maps (--label-maps)'
    networks = ('unet', 'exam_unet')

    def __init__(
        self,
        recipe: Recipe,
        items: Sequence[Head],
        device: torch.device,
        is_training: bool = False,
    ) -> None:
        super().__init__(recipe, items, device, is_training)
        self.table = freesurfer_table()

    @staticmethod
    def read(data: DataChoice) -> Cohort[Head]:
        """Read label maps, and the real images of the same heads where there are folders."""
        if data.label_maps is None:
            raise ValueError(
                'This recipe trains on label maps: give their folder with --label-maps'
            )
        return read_heads(data.label_maps, data.images, data.exclude, data.held_out)

    @classmethod
    def make_prior(cls, recipe: Recipe) -> GeneratorPrior:
        """Make the prior of the generator."""
        return generator_prior(recipe)

    @classmethod
    def count_scans(cls, recipe: Recipe) -> int:
        """Count the scans that a generated exam may have."""
        return generator_prior(recipe).slots

    @property
    def has_real_targets(self) -> bool:
        """Whether every head has its real T1w, and that is the target."""
        return self.prior.target == 't1w' and all(head.image is not None for head in self.items)

    def draw(self, seed: int) -> Batch:
        """Draw heads and an exam of each."""
        generator = torch.Generator().manual_seed(seed)
        heads = [
            self.items[draw_index([1.0] * len(self.items), generator)]
            for _ in range(self.samples.batch)
        ]
        sample = generate(
            heads, self.prior, self.table, self.samples.shape, generator, self.device
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
        if not (self.is_training and self.samples.thinned):
            return batch
        corner = (number // FOLD**2, number // FOLD % FOLD, number % FOLD)
        segmentation = batch.segmentation
        return replace(
            batch,
            inputs=(*batch.inputs, None, corner),
            target=thin(batch.target, corner, FOLD),
            weight=thin(batch.weight, corner, FOLD),
            segmentation=None if segmentation is None else thin(segmentation, corner, FOLD),
        )


class RealSource(Source[Item]):
    """Parts of real images, for a network that adds to what it is given.

    Attributes
    ----------
    prior_type
        Type of the prior, whose defaults a recipe may change.
    """

    networks = ('slice_unet',)
    prior_type: ClassVar[type]

    @classmethod
    def make_prior(cls, recipe: Recipe) -> Any:
        """Make the prior: the default with the changes of the recipe."""
        if recipe.samples.prior:
            raise ValueError(
                f'recipe: samples.prior is {recipe.samples.prior!r}, but samples from '
                f'{recipe.samples.source!r} have no named priors: leave it out and set what '
                'differs under [prior]'
            )
        return read_dataclass(cls.prior_type, recipe.prior, 'recipe: prior')

    @classmethod
    def count_scans(cls, recipe: Recipe) -> int:
        """Count one scan, whatever the recipe; raise where its prior is wrong."""
        cls.make_prior(recipe)
        return 1

    @property
    def has_real_targets(self) -> bool:
        """Whether targets are real: they are, always."""
        return True

    def largest(self) -> Batch:
        """Make a dark batch of the only size there is."""
        shape = (self.samples.batch, self.channels, *self.samples.shape)
        channels = torch.zeros(shape, device=self.device)
        return slice_batch(channels, channels[:, :1], [])


class SliceSource(RealSource[RealImage]):
    """Thick slices of real images."""

    item = RealImage
    needs = 'real images (--images)'
    channels = CHANNELS
    prior_type = SlicePrior

    @staticmethod
    def read(data: DataChoice) -> Cohort[RealImage]:
        """Read real images."""
        return read_real_images(data.images, data.exclude, data.held_out)

    def draw(self, seed: int) -> Batch:
        """Draw images, and slices across each."""
        generator = torch.Generator().manual_seed(seed)
        shape = self.samples.shape
        draws = [
            draw_slices(self.prior, self.items, shape, generator)
            for _ in range(self.samples.batch)
        ]
        channels, target = make_slices(draws, self.items, shape)
        return slice_batch(channels, target, as_plain(draws))


class PairSource(RealSource[ImagePair]):
    """Parts of pairs of real images; what is validated is what was scanned, unchanged."""

    item = ImagePair
    needs = 'pairs of images (--inputs and --targets, or --pairs)'
    channels = 1
    prior_type = PairPrior

    def __init__(
        self,
        recipe: Recipe,
        items: Sequence[ImagePair],
        device: torch.device,
        is_training: bool = False,
    ) -> None:
        super().__init__(recipe, items, device, is_training)
        self.by_name = {item.name: item for item in items}
        if not is_training:
            bias = replace(self.prior.bias, probability=0.0)
            self.prior = replace(self.prior, gamma=(1.0, 1.0), bias=bias, noise_probability=0.0)

    @staticmethod
    def read(data: DataChoice) -> Cohort[ImagePair]:
        """Read and register pairs of images."""
        if not data.pairs:
            raise ValueError(
                'This recipe trains on pairs of images: give --inputs and --targets, or --pairs'
            )
        return read_pairs(data.pairs, data.spacing_mm, data.held_out)

    def draw(self, seed: int) -> Batch:
        """Draw pairs, and a part of each."""
        generator = torch.Generator().manual_seed(seed)
        shape = self.samples.shape
        draws = [
            draw_pair(self.prior, self.items, shape, generator) for _ in range(self.samples.batch)
        ]
        parts = [apply_pair(draw, self.by_name[draw.pair], shape) for draw in draws]
        given, wanted = (torch.stack(images) for images in zip(*parts, strict=True))
        return slice_batch(given, wanted, as_plain(draws))


class NativeSliceSource(RealSource[SliceStack]):
    """Neighbouring slices of scans as they were measured."""

    item = SliceStack
    needs = 'scans of thick slices (--images)'
    networks = (SLICE_VAE,)
    channels = 1
    prior_type = StackPrior

    @staticmethod
    def read(data: DataChoice) -> Cohort[SliceStack]:
        """Read scans with the distance of their slices."""
        return read_scans(data.images, data.exclude, data.held_out)

    def draw(self, seed: int) -> Batch:
        """Draw scans, and some slices of each."""
        draws = self._draw_stacks(seed)
        parts = [cut_stack(draw, stack, self.samples.shape) for draw, stack in draws]
        slices, weight = torch.stack(parts), self._weigh(draws)
        batch = slice_batch(slices, slices, as_plain([draw for draw, _ in draws]))
        if not self.is_training:  # validation asks for what is made between slices
            weight[..., [*SliceVAE.list_seen(slices.shape[4])]] = 0
        return replace(batch, inputs=(slices, seed), weight=weight, naive=None)

    def _weigh(self, draws: Sequence[tuple[StackDraw, SliceStack]]) -> torch.Tensor:
        """Let slices count that the stacks have, ``(B, 1, I, J, K)``."""
        weights = [slices_within(draw, stack, self.samples.shape) for draw, stack in draws]
        return torch.stack(weights).to(self.device)

    def _draw_stacks(self, seed: int) -> list[tuple[StackDraw, SliceStack]]:
        """Draw parts of stacks, each with the stack that it is cut from."""
        generator = torch.Generator().manual_seed(seed)
        by_name = {stack.name: stack for stack in self.items}
        draws = [
            draw_stack(self.prior, self.items, self.samples.shape, generator)
            for _ in range(self.samples.batch)
        ]
        return [(draw, by_name[draw.stack]) for draw in draws]


class StackSource(NativeSliceSource):
    """Stacks of slices that were made between those of scans, of which some are left out."""

    needs = 'stacks that "synthsr train stacks" made (--images)'
    networks = (SLICE_UNET,)
    channels = CHANNELS
    prior_type = SparsePrior

    @staticmethod
    def read(data: DataChoice) -> Cohort[SliceStack]:
        """Read stacks that were made."""
        return read_made(data.images, data.exclude, data.held_out)

    def draw(self, seed: int) -> Batch:
        """Draw stacks, and the slices of each that stay."""
        draws = self._draw_stacks(seed)
        parts = [leave_slices_out(draw, stack, self.samples.shape) for draw, stack in draws]
        channels, wanted = (torch.stack(images) for images in zip(*parts, strict=True))
        batch = slice_batch(channels, wanted, as_plain([draw for draw, _ in draws]))
        return replace(batch, weight=self._weigh(draws))


SOURCES: dict[str, type[Source[Any]]] = {
    'generator': GeneratorSource,
    'slices': SliceSource,
    'pairs': PairSource,
    'native-slices': NativeSliceSource,
    'stacks': StackSource,
}


def source_of(recipe: Recipe) -> type[Source[Any]]:
    """Look up the kind of source that a recipe names.

    Raises
    ------
    ValueError
        For a name that no kind has.
    """
    name = recipe.samples.source
    if name not in SOURCES:
        raise ValueError(f'recipe: samples.source is {name!r}; choose one of {", ".join(SOURCES)}')
    return SOURCES[name]


def make_sources(
    recipe: Recipe, cohort: Cohort[Any], device: torch.device
) -> tuple[Source[Any], Source[Any] | None]:
    """Make the sources of training and of validation; None where nothing is held out.

    Parameters
    ----------
    recipe
        Recipe of the training.
    cohort
        Heads or images, of the kind that the recipe needs.
    device
        Where samples are computed.

    Raises
    ------
    ValueError
        Where the cohort does not hold what the recipe needs.
    """
    kind = source_of(recipe)
    if not cohort.training or not isinstance(cohort.training[0], kind.item):
        raise ValueError(f'This recipe trains on {kind.needs}: none is given')
    cohort = cohort.to(device)
    held_out = kind(recipe, cohort.held_out, device) if cohort.held_out else None
    return kind(recipe, cohort.training, device, is_training=True), held_out
