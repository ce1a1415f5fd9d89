"""A variational autoencoder of slices, in whose latent space slices can be mixed.

After Xuan et al. 2020 (arXiv 2003.12627), with the loss on the slice between two of Sander et al.
2022 (arXiv 2202.09258). The latent keeps its place in the plane, since a single vector cannot
carry the folds of a brain.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bids_synthsr.networks.exam_unet import Prediction

FOLD = 4  # works on 4x4 pixels folded into channels
LATENT = 32  # channels of the latent, at an eighth of the pixels along each axis
LOG_VARIANCE = -6.0  # of the latent at the start: noise as large as its mean would hide all


class SlicePrediction(Prediction):
    """What the network makes of a stack: ``t1w`` holds all slices, whatever they show.

    Attributes
    ----------
    divergence
        How far the distribution of the latents is from a normal one, nats for each number, a
        scalar.
    """

    divergence: Tensor


class SliceVAE(nn.Module):
    """Encode every second slice, and predict all: those between from the mean of two latents.

    Parameters
    ----------
    features
        Number of features at a quarter of the pixels; twice as many at an eighth.
    """

    multiple = 2 * FOLD  # what the sides of a slice must be multiples of

    def __init__(self, features: int = 64) -> None:
        super().__init__()
        wide = 2 * features
        last = nn.Conv2d(wide, 2 * LATENT, 3, padding=1)
        nn.init.constant_(last.get_parameter('bias')[LATENT:], LOG_VARIANCE)
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(FOLD),
            *layer(FOLD**2, features),
            *layer(features, wide, stride=2),
            *layer(wide, wide),
            last,
        )
        self.decoder = nn.Sequential(
            *layer(LATENT, wide),
            *layer(wide, wide),
            nn.Conv2d(wide, 4 * features, 3, padding=1),
            nn.PixelShuffle(2),
            *layer(features, features),
            nn.Conv2d(features, FOLD**2, 3, padding=1),
            nn.PixelShuffle(FOLD),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @staticmethod
    def list_seen(count: int) -> list[int]:
        """List which slices of ``count`` are encoded: the first, the third, ... and the last."""
        return sorted({*range(0, count, 2), count - 1})

    def encode(self, slices: Tensor) -> tuple[Tensor, Tensor]:
        """Encode slices ``(B, I, J)``: mean and log variance, ``(B, LATENT, I / 8, J / 8)``."""
        mean, log_variance = self.encoder(slices[:, None]).float().chunk(2, 1)
        return mean, log_variance.clamp(-20, 10)

    def decode(self, latent: Tensor) -> Tensor:
        """Decode ``(B, LATENT, i, j)`` into slices ``(B, 8 i, 8 j)``, float32."""
        slices: Tensor = self.decoder(latent)[:, 0].float()
        return slices

    def forward(self, stack: Tensor, seed: int = 0) -> SlicePrediction:
        """Predict a stack ``(B, 1, I, J, K)`` from its first, third, ... and last slice.

        Parameters
        ----------
        stack
            Intensities, about 0 to 1.
        seed
            Seed of the noise of the latents, which training adds.
        """
        planes = stack[:, 0].movedim(3, 1)  # (B, K, I, J)
        size, count = planes.shape[:2]
        seen = self.list_seen(count)
        between = [number for number in range(count) if number not in seen]
        mean, log_variance = self.encode(planes[:, seen].flatten(0, 1))
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).mean() / 2
        means = mean.unflatten(0, (size, -1))  # (B, S, LATENT, i, j)
        lower, upper = ([seen.index(number + step) for number in between] for step in (-1, 1))
        latents = means
        if self.training:
            spread = (0.5 * log_variance).exp().view_as(means)
            generator = torch.Generator(means.device).manual_seed(seed)
            noise = torch.randn(means.shape, generator=generator, device=means.device)
            latents = means + spread * noise
        mixed = (means[:, lower] + means[:, upper]) / 2
        decoded = self.decode(torch.cat([latents, mixed], 1).flatten(0, 1))
        order = torch.tensor([*seen, *between]).argsort().to(stack.device)
        predicted = decoded.unflatten(0, (size, -1))[:, order]
        prediction = SlicePrediction(predicted.movedim(1, 3)[:, None])
        prediction.divergence = divergence
        return prediction


def layer(width_in: int, width: int, stride: int = 1) -> list[nn.Module]:
    """Build a convolution of 3x3 pixels and a GELU: a norm would hide how much a slice shows."""
    return [nn.Conv2d(width_in, width, 3, stride, padding=1), nn.GELU()]
