"""A network that segments T1w, and does not change, judges the T1w that another one makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from bids_synthsr.dataset.weights import load_exam_unet
from bids_synthsr.imaging.intensity import percentile_range
from bids_synthsr.networks.exam_unet import Prediction
from bids_synthsr.synthesis.labels import PART_OF
from bids_synthsr.training.losses import Likelihood, soft_dice_loss
from bids_synthsr.training.samples import Batch


@dataclass(frozen=True, eq=False)
class Segmenter:
    """Compare what it finds in a predicted T1w with the true segmentation.

    Parameters
    ----------
    network
        Network of one T1w in [0, 1] and its reliability, in evaluation mode, its weights frozen.
    class_of
        Its class for each class of the samples, ``(L,)`` int64.
    file
        Name and SHA-256 of the file of its weights.
    """

    network: nn.Module
    class_of: Tensor
    file: Mapping[str, str] = field(default_factory=dict)

    def loss(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Compute the soft Dice loss of its segmentation of the predicted T1w.

        Intensities are scaled by those of the target, so that a prediction that is too dark is
        seen as such.

        Parameters
        ----------
        prediction
            Prediction whose T1w is judged.
        batch
            Its batch, with a true segmentation.

        Raises
        ------
        ValueError
            For samples without segmentation.
        """
        if batch.segmentation is None:
            raise ValueError('loss.segmentation needs samples with segmentation: label maps')
        limits = [torch.stack(percentile_range(target)) for target in batch.target]
        low, high = torch.stack(limits).view(-1, 2, 1, 1, 1, 1).unbind(1)
        image = ((prediction.t1w - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
        logits = self.network(image, torch.ones_like(image)).logits
        truth = self.class_of.to(batch.segmentation.device)[batch.segmentation]
        return soft_dice_loss(Likelihood(logits, truth))


def load_segmenter(path: Path, labels: Sequence[int], device: torch.device) -> Segmenter:
    """Load a segmenter of T1w.

    Parameters
    ----------
    path
        File of its weights: an exam network with segmentation.
    labels
        Label value of each class of the samples.
    device
        Device on which the segmenter computes.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it holds no such network.
    """
    trained = load_exam_unet(path)
    known = list(trained.labels)
    sources = [label if label in known else PART_OF.get(label, 0) for label in labels]
    missing = [label for label, source in zip(labels, sources, strict=True) if source not in known]
    if missing:
        raise ValueError(f'{path} does not know the labels {missing} of these samples')
    class_of = torch.tensor([known.index(source) for source in sources])
    network = trained.network.requires_grad_(False).eval().to(device)
    return Segmenter(network, class_of, trained.file)
