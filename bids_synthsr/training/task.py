"""What a recipe asks of its network: how to build it, feed it and read it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bids_synthsr.imaging.slice_encoding import CHANNELS
from bids_synthsr.networks.exam_unet import Prediction, split_output
from bids_synthsr.networks.registry import (
    EXAM_UNET,
    SLICE_UNET,
    UNET,
    argument_names,
    build_network,
)
from bids_synthsr.synthesis.contrast import t1w_means
from bids_synthsr.synthesis.labels import freesurfer_table
from bids_synthsr.training.recipe import Recipe, unknown_key
from bids_synthsr.training.samples import FOLD, Batch, generator_prior, slots_of


class Task:
    """The network of a recipe between its batches and its losses.

    What the samples and the losses settle is not said twice: channels follow from the scans of
    the prior, the Laplace scale and the classes of the segmentation from the terms of the loss.

    ``labels`` holds the label value of each class of the segmentation.

    Raises
    ------
    ValueError
        For parts of the recipe that do not fit each other.
    """

    def __init__(self, recipe: Recipe) -> None:
        loss = recipe.loss
        is_segmenting = loss.dice > 0 or loss.cross_entropy > 0
        self.recipe = recipe
        self.has_scale = loss.laplace > 0
        self.labels = freesurfer_table().targets if is_segmenting else ()
        self.classes = len(self.labels)
        self._check_source()
        self.slots = slots_of(recipe)
        self._check_network()

    @property
    def arguments(self) -> dict[str, Any]:
        """All arguments of the network's constructor."""
        return {**self.recipe.network.arguments, **self._settled()}

    def _settled(self) -> dict[str, Any]:
        """Arguments that the rest of the recipe settles."""
        name = self.recipe.network.name
        if name == SLICE_UNET:
            return {'channels': CHANNELS}
        if name == EXAM_UNET:
            return {
                'has_scale': self.has_scale,
                'classes': self.classes,
                'class_t1w': self._class_t1w(),
                'tissue_of': self._tissue_of(),
            }
        outputs = 1 + self.has_scale + self.classes
        return {'in_channels': 2 * self.slots, 'out_channels': outputs}

    def _class_t1w(self) -> tuple[float, ...]:
        """T1w intensities of the classes, where both are wanted."""
        if not self.classes or generator_prior(self.recipe).target != 't1w':
            return ()
        return t1w_means(freesurfer_table().target_tissues)

    def _tissue_of(self) -> tuple[int, ...]:
        """Number of the tissue of each class: left and right look alike."""
        if not self.classes:
            return ()
        tissues = freesurfer_table().target_tissues
        numbers = {name: number for number, name in enumerate(dict.fromkeys(tissues))}
        return tuple(numbers[name] for name in tissues)

    def _check_source(self) -> None:
        """Raise where the network cannot take the samples."""
        network, samples = self.recipe.network, self.recipe.samples
        if (network.name == SLICE_UNET) != (samples.source == 'slices'):
            raise ValueError(
                f'recipe: a {network.name} does not train on samples from {samples.source!r}: '
                "slice_unet belongs to 'slices', the others to 'generator'"
            )
        if network.name == SLICE_UNET and (self.classes or self.has_scale):
            raise ValueError('recipe: a slice_unet predicts no segmentation and no Laplace scale: '
                             'leave dice, cross_entropy and laplace out of the loss')  # fmt: skip

    def _check_network(self) -> None:
        """Raise for arguments that the network does not have."""
        network = self.recipe.network
        is_folded = network.name == EXAM_UNET and network.arguments.get('stride', FOLD) == FOLD
        if self.recipe.samples.thinned and (not is_folded or self.recipe.loss.ssim > 0):
            raise ValueError(
                'recipe: samples.thinned is for an exam_unet of stride 2 and a loss without ssim'
            )
        free = [name for name in argument_names(network.name) if name not in self._settled()]
        for key in network.arguments:
            if key not in free:
                raise ValueError(f'recipe: network.arguments: {unknown_key(key, free)}')
        if network.name == UNET and network.residual >= self.slots:
            raise ValueError(
                f'recipe: network.residual is scan {network.residual}, but an exam has '
                f'{self.slots}; the first one is 0'
            )

    def build(self) -> nn.Module:
        """Make the network with the weights of the recipe's seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            network = build_network(self.recipe.network.name, self.arguments)
        multiple = int(network.multiple)  # type: ignore[arg-type]
        shape = self.recipe.samples.shape
        if any(side % multiple or side < 1 for side in shape):
            near = [max(round(side / multiple), 1) * multiple for side in shape]
            raise ValueError(
                f'recipe: samples.shape is {list(shape)}, but this network needs multiples of '
                f'{multiple}, such as {near}'
            )
        return network

    def predict(self, network: nn.Module, batch: Batch) -> Prediction:
        """Run the network on a batch, in the precision of the recipe."""
        is_bf16 = self.recipe.numerics.precision == 'bf16'
        with torch.autocast(batch.target.device.type, torch.bfloat16, enabled=is_bf16):
            output = network(*batch.inputs)
        if isinstance(output, torch.Tensor):
            output = split_output(output, self.has_scale, self.classes)
        if batch.base is None:
            return output
        return output._replace(t1w=output.t1w + batch.base)
