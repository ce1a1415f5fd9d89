"""The opponent of an adversarial training: it tells real volumes from those that a network made.

As in the code of SynthSR (Iglesias et al. 2021), but that features are averaged over the volume
before they are judged, so that samples may have any size. Nothing is normalised: the penalty on
its gradient is one of each sample (Gulrajani et al. 2017).
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

LEAK = 0.2  # slope of the activation below 0
JUDGES = 512  # features of the last layer


class Critic(nn.Module):
    """Judge volumes: the more real they look, the higher.

    Parameters
    ----------
    features
        Number of features of the first level; each level doubles it and halves the resolution.
    levels
        Number of levels, each of half the resolution.
    """

    def __init__(self, features: int = 32, levels: int = 4) -> None:
        super().__init__()
        widths = [1, *(features * 2**level for level in range(levels))]
        self.convolutions = nn.ModuleList()
        for width_in, width in pairwise(widths):
            self.convolutions.append(nn.Conv3d(width_in, width, 3, padding=1))
            self.convolutions.append(nn.Conv3d(width, width, 3, stride=2, padding=1))
        self.hidden = nn.Linear(widths[-1], JUDGES)
        self.judgement = nn.Linear(JUDGES, 1)

    def forward(self, volume: Tensor) -> Tensor:
        """Judge volumes ``(B, 1, I, J, K)``, one number each: ``(B,)``."""
        for convolution in self.convolutions:
            volume = functional.leaky_relu(convolution(volume), LEAK)
        features = functional.leaky_relu(self.hidden(volume.mean((2, 3, 4))), LEAK)
        return self.judgement(features)[:, 0]
