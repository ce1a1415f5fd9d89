"""What a recipe asks of its network: how to build it, run it and read its output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bids_synthsr.networks.exam_unet import Prediction, split_output
from bids_synthsr.networks.registry import (
    EXAM_UNET,
    NETWORKS,
    SLICE_UNET,
    SLICE_VAE,
    UNET,
    argument_names,
    build_network,
)
from bids_synthsr.synthesis.contrast import t1w_means
from bids_synthsr.synthesis.labels import freesurfer_table
from bids_synthsr.training.losses import loss_terms
from bids_synthsr.training.recipe import Recipe
from bids_synthsr.training.samples import Batch
from bids_synthsr.training.segmenter import Segmenter
from bids_synthsr.training.sources import FOLD, SOURCES, generator_prior, source_of
from bids_synthsr.values.serial import unknown_key


class Task:
    """The network of a recipe between its batches and its losses.

    A recipe does not repeat what samples and losses settle: channels follow from the scans of the
    prior, the Laplace scale and the classes of the segmentation from the terms of the loss.

    Parameters
    ----------
    recipe
        Recipe of the training.
    segmenter
        Judge of the T1w, where the loss wants one.

    Attributes
    ----------
    labels
        Label value of each class of the segmentation.
    slots
        Number of scans that an exam may have.
    has_scale
        Whether the network predicts the Laplace scale.

    Raises
    ------
    ValueError
        For parts of the recipe that do not fit each other.
    """

    def __init__(self, recipe: Recipe, segmenter: Segmenter | None = None) -> None:
        loss = recipe.loss
        is_segmenting = loss.dice > 0 or loss.cross_entropy > 0
        self.recipe, self.segmenter = recipe, segmenter
        self.has_scale = loss.laplace > 0
        self.labels = freesurfer_table().targets if is_segmenting else ()
        self.classes = len(self.labels)
        self._check_source()
        self.slots = source_of(recipe).count_scans(recipe)
        self._check_network()

    @property
    def arguments(self) -> dict[str, Any]:
        """All arguments of the network's constructor."""
        return {**self.recipe.network.arguments, **self._settled()}

    def _settled(self) -> dict[str, Any]:
        """Arguments that the rest of the recipe settles."""
        name = self.recipe.network.name
        if name == SLICE_UNET:
            return {'channels': source_of(self.recipe).channels}
        if name == SLICE_VAE:
            return {}
        if name == EXAM_UNET:
            return {
                'has_scale': self.has_scale,
                'classes': self.classes,
                'class_t1w': self._class_t1w(),
                'tissue_of': self._tissue_of(),
            }
        outputs = 1 + self.has_scale + self.classes
        channels = source_of(self.recipe).channels * self.slots
        return {'in_channels': channels, 'out_channels': outputs}

    def _class_t1w(self) -> tuple[float, ...]:
        """Return the T1w intensities of the classes, where both are wanted."""
        if not self.classes or generator_prior(self.recipe).target != 't1w':
            return ()
        return t1w_means(freesurfer_table().target_tissues)

    def _tissue_of(self) -> tuple[int, ...]:
        """Return the number of the tissue of each class: left and right look alike."""
        if not self.classes:
            return ()
        tissues = freesurfer_table().target_tissues
        numbers = {name: number for number, name in enumerate(dict.fromkeys(tissues))}
        return tuple(numbers[name] for name in tissues)

    def _check_source(self) -> None:
        """Raise where the network cannot take the samples."""
        network, source = self.recipe.network, source_of(self.recipe)
        if network.name not in NETWORKS:
            raise ValueError(
                f'recipe: network.name is {network.name!r}; choose one of {", ".join(NETWORKS)}'
            )
        if network.name not in source.networks:
            fit = [name for name, kind in SOURCES.items() if network.name in kind.networks]
            raise ValueError(
                f'recipe: {network.name} does not train on samples from '
                f'{self.recipe.samples.source!r}: set samples.source to {" or ".join(fit)}'
            )
        if network.name in (SLICE_UNET, SLICE_VAE) and (self.classes or self.has_scale):
            raise ValueError(
                f'recipe: a {network.name} predicts no segmentation and no Laplace scale: leave '
                'dice, cross_entropy and laplace out of the loss'
            )
        if self.recipe.loss.divergence > 0 and network.name != SLICE_VAE:
            raise ValueError('recipe: loss.divergence is for a slice_vae')

    def _check_network(self) -> None:
        """Raise for arguments that the network does not have."""
        network = self.recipe.network
        is_folded = network.name == EXAM_UNET and network.arguments.get('stride', FOLD) == FOLD
        if self.recipe.samples.thinned and (not is_folded or self.recipe.loss.ssim > 0):
            raise ValueError(
                'recipe: samples.thinned is for an exam_unet of stride 2 and a loss without ssim'
            )
        is_judged = self.recipe.adversary.weight > 0 or self.recipe.loss.segmentation > 0
        if self.recipe.samples.thinned and is_judged:
            raise ValueError(
                'recipe: a critic and loss.segmentation see voxels side by side: set '
                'samples.thinned = false'
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

    def loss_terms(self, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        """Compute every term of the loss that has a weight, unweighted, float32 scalars.

        That of a critic is not among them: it depends on the state of the training.
        """
        terms = loss_terms(prediction, batch, self.recipe.loss)
        if self.segmenter is not None:
            is_bf16 = self.recipe.numerics.precision == 'bf16'
            with torch.autocast(batch.target.device.type, torch.bfloat16, enabled=is_bf16):
                terms['segmentation'] = self.segmenter.loss(prediction, batch)
        return terms

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
