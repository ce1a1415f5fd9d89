"""Building blocks that networks of this package share: convolutions, encoder, decoder, folding.

Shapes are written ``(B, C, I, J, K)``: exams, channels, voxels along R, A and S. Small letters
``(i, j, k)`` count blocks of ``s x s x s`` voxels.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

Norm = Callable[[int], nn.Module]  # builds the normalisation of so many channels
Offset = tuple[int, int, int]  # position of a voxel within its block, from 0


class PointwiseConv(nn.Conv3d):
    """A convolution of one voxel, as a matrix product: some CPUs lack a fast one otherwise.

    Parameters
    ----------
    width_in
        Number of channels of the input.
    width
        Number of channels of the output.
    bias
        Whether to add a constant to each of them.
    """

    def __init__(self, width_in: int, width: int, bias: bool = True) -> None:
        super().__init__(width_in, width, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, width_in, i, j, k)`` to ``(B, width, i, j, k)``, its channels last."""
        return functional.linear(x.movedim(1, -1), self.weight.flatten(1), self.bias).movedim(
            -1, 1
        )


class Block(nn.Module):
    """Apply two convolutions of 3x3x3 voxels, each followed by a GELU.

    Parameters
    ----------
    width_in
        Number of channels of the input.
    width
        Number of channels of the output.
    """

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(width_in, width, 3, padding=1)
        self.second = nn.Conv3d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, width_in, i, j, k)`` to ``(B, width, i, j, k)``."""
        return functional.gelu(self.second(functional.gelu(self.first(x))))


class NormedBlock(Block):
    """Apply two convolutions, each followed by a `VolumeNorm` and a GELU.

    Parameters
    ----------
    width_in
        Number of channels of the input.
    width
        Number of channels of the output.
    """

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__(width_in, width)
        self.norms = nn.ModuleList(VolumeNorm(width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, width_in, i, j, k)`` to ``(B, width, i, j, k)``."""
        for convolution, norm in zip((self.first, self.second), self.norms, strict=True):
            x = functional.gelu(norm(convolution(x)))
        return x


class VolumeNorm(nn.Module):
    """Normalise each channel of each volume, then scale and shift it.

    Parameters
    ----------
    width
        Number of channels of the volume.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(B, F, i, j, k)``."""
        # on a CPU 4 times as fast as instance_norm, which leaves channels_last
        volumes = [
            functional.batch_norm(volume, None, None, self.weight, self.bias, training=True)
            for volume in x.split(1)
        ]
        return volumes[0] if len(volumes) == 1 else torch.cat(volumes)


class Encoder(nn.Module):
    """Compute features of a volume at every level; each level halves the resolution.

    Parameters
    ----------
    channels
        Number of channels of the input.
    widths
        Number of features at each level, the finest first.
    norm
        Builds the normalisation before the pooling of each level.
    block
        Class of the convolutions of each level.
    """

    def __init__(
        self, channels: int, widths: list[int], norm: Norm, block: type[Block] = Block
    ) -> None:
        super().__init__()
        self.first = block(channels, widths[0])
        self.norms = nn.ModuleList(norm(width) for width in widths[:-1])
        self.blocks = nn.ModuleList(block(fine, coarse) for fine, coarse in pairwise(widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map ``(B, C, i, j, k)`` to a tensor per level, ``(B, F_l, i / 2^l, ...)``."""
        levels = [self.first(x)]
        for norm, block in zip(self.norms, self.blocks, strict=True):
            levels.append(block(norm(functional.max_pool3d(levels[-1], 2))))
        return levels


class Decoder(nn.Module):
    """Compute features at the finest level from those of all levels.

    Parameters
    ----------
    widths
        Number of features at each level, the finest first.
    norm
        Builds the normalisation before the convolutions of each level.
    block
        Class of the convolutions of each level.
    concatenates
        Whether a level and the coarser one are concatenated; otherwise they are added.
    """

    def __init__(
        self,
        widths: list[int],
        norm: Norm,
        block: type[Block] = Block,
        *,
        concatenates: bool = False,
    ) -> None:
        super().__init__()
        share = 2 if concatenates else 1
        self._concatenates = concatenates
        self.rises = nn.ModuleList(PointwiseConv(b, a) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(norm(share * width) for width in widths[:-1])
        self.blocks = nn.ModuleList(block(share * width, width) for width in widths[:-1])

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Map a tensor per level to ``(B, F, i, j, k)`` at the finest, not normalised."""
        *finer, x = levels
        for level in reversed(range(len(finer))):
            skip = finer[level]
            risen = functional.interpolate(self.rises[level](x), scale_factor=2.0)
            joined = torch.cat([skip, risen], 1) if self._concatenates else skip + risen
            x = self.blocks[level](self.norms[level](joined))
        return x


def start_at_zero(layer: nn.Conv3d) -> nn.Conv3d:
    """Set weights and bias of a convolution to 0, so that a training starts without it."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def channels_last(volume: Tensor) -> Tensor:
    """Lay the channels of a voxel side by side in memory, where convolutions are fastest."""
    return volume.contiguous(memory_format=torch.channels_last_3d)


def fold(volume: Tensor, stride: int) -> Tensor:
    """Fold blocks of voxels into channels: ``(B, C, I, J, K)`` to ``(B, C s^3, I / s, ...)``."""
    split = volume.unflatten(4, (-1, stride)).unflatten(3, (-1, stride)).unflatten(2, (-1, stride))
    return split.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)  # (B, C s s s, i, j, k)


def unfold(channels: Tensor, stride: int) -> Tensor:
    """Undo `fold`: ``(B, C s^3, i, j, k)`` to ``(B, C, i s, j s, k s)``."""
    split = channels.unflatten(1, (-1, stride, stride, stride))  # (B, C, s, s, s, i, j, k)
    return split.permute(0, 1, 5, 2, 6, 3, 7, 4).flatten(6, 7).flatten(4, 5).flatten(2, 3)


def thin(volume: Tensor, offset: Offset, stride: int) -> Tensor:
    """Take one voxel of every block, a view: ``(..., I, J, K)`` to ``(..., I / stride, ...)``.

    Parameters
    ----------
    volume
        Volume of voxels, ``(..., I, J, K)``.
    offset
        Which voxel of every block, each number below ``stride``.
    stride
        Number of voxels of a block along each axis.
    """
    first, second, third = offset
    return volume[..., first::stride, second::stride, third::stride]
