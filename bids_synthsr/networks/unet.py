"""The U-Net of the published SynthSR networks (Iglesias et al. 2021)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

# How the taps a, b, c of a kernel (rows) make up the kernel (c, b + c, a + b, a) of `Up.merge`
TAPS = ((0, 0, 1, 1), (0, 1, 1, 0), (1, 1, 0, 0))


class UNet(nn.Module):
    """Map the channels of a volume to channels of a volume of the same shape.

    Level ``l`` has ``features * 2**l`` channels and applies two convolutions with ELU, on the way
    down and again, together with what it made then, on the way up. Whatever leaves a level for
    the next is batch-normalised, the skip connections are not, and the last layer is linear.
    In evaluation mode operations are reordered where that gives the same result sooner.

    Parameters
    ----------
    in_channels, out_channels
        Number of channels of input and output.
    features
        Number of channels of the first level; 24 in the published networks.
    levels
        Number of resolutions; 5 in the published networks.
    """

    def __init__(
        self, in_channels: int = 1, out_channels: int = 1, features: int = 24, levels: int = 5
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        widths = [features * 2**level for level in range(levels)]
        self.first = TwoConvolutions(in_channels, features)
        self.down = nn.ModuleList(map(Down, widths[:-1], widths[1:]))
        self.up = nn.ModuleList(map(Up, widths[:0:-1], widths[-2::-1]))
        self.head = LinearHead(features, out_channels)
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    @property
    def multiple(self) -> int:
        """What the sides of the input must be multiples of."""
        return 2 ** len(self.down)

    @property
    def margin(self) -> int:
        """Voxels around a tile on which its output depends; tiles end at multiples of `multiple`.

        Two convolutions need two voxels more than they yield. On the way up, ``n`` voxels are
        copied from ``n / 2`` (rounded up); on the way down, they are pooled from ``2n``.
        """
        voxels = 2
        for _ in self.up:
            voxels = (voxels + 1) // 2 + 2
        for _ in self.down:
            voxels = 2 * voxels + 2
        return voxels

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """Map ``(B, in_channels, I, J, K)`` to ``(B, out_channels, I, J, K)``."""
        skips = [self.first(volume)]  # (B, F, I, J, K)
        for down in self.down:
            skips.append(down(skips[-1]))  # (B, F 2^l, I/2^l, J/2^l, K/2^l)
        x = skips.pop()
        for up in self.up:
            x = up(x, skips.pop())  # (B, F 2^l, I/2^l, J/2^l, K/2^l)
        return self.head(x)


class TwoConvolutions(nn.Module):
    """Two convolutions, each followed by ELU."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv3d(width_in, width, 3, padding=1)
        self.conv1 = nn.Conv3d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve the channels of one tensor."""
        return self.finish(self.conv0(x))

    def finish(self, x: torch.Tensor) -> torch.Tensor:
        """Apply all that follows the first convolution, in place where autograd allows it."""
        return F.elu_(self.conv1(F.elu_(x)))


class Norm(nn.BatchNorm3d):
    """Batch normalisation with the constants of Keras."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-3, momentum=0.01)

    @property
    def scale_and_shift(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What evaluation mode multiplies by and then adds, ``(C,)`` each."""
        mean, variance = self.get_buffer('running_mean'), self.get_buffer('running_var')
        scale = self.weight / torch.sqrt(variance + self.eps)
        return scale, self.bias - scale * mean


class Down(nn.Module):
    """Normalise, halve the resolution by max pooling, convolve."""

    def __init__(self, width_above: int, width: int) -> None:
        super().__init__()
        self.norm = Norm(width_above)
        self.convs = TwoConvolutions(width_above, width)

    def forward(self, above: torch.Tensor) -> torch.Tensor:
        """Map ``(B, C, I, J, K)`` to ``(B, 2C, I/2, J/2, K/2)``."""
        return self.convs(self.pool(above))

    def pool(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise and pool, or the reverse at an eighth of the cost where that is the same.

        The maximum commutes with an increasing function, such as a normalisation by fixed
        statistics whose scales are positive.
        """
        commutes = not self.norm.training and bool((self.norm.weight > 0).all())
        with torch.autocast(x.device.type, enabled=False):  # it would pool in float32 on a CPU
            return self.norm(F.max_pool3d(x, 2)) if commutes else F.max_pool3d(self.norm(x), 2)


class Up(nn.Module):
    """Normalise, double the resolution by copying, convolve together with a skip."""

    taps: torch.Tensor

    def __init__(self, width_below: int, width: int) -> None:
        super().__init__()
        self.norm = Norm(width_below)
        self.convs = TwoConvolutions(width + width_below, width)
        self.register_buffer('taps', torch.tensor(TAPS, dtype=torch.float32), persistent=False)

    def forward(self, below: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Map ``(B, 2C, I/2, J/2, K/2)`` and ``(B, C, I, J, K)`` to ``(B, C, I, J, K)``."""
        return self.convs.finish(self.merge(skip, self.norm(below)))

    def merge(self, skip: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
        """Convolve ``[skip, upsampled below]`` without making either of these tensors.

        The sum over channels falls in two. As neighbours in the upsampled part are copies, the
        taps ``(a, b, c)`` along an axis meet only two voxels of ``below``: at even places with
        weights ``(a, b + c)``, at odd ones with ``(a + b, c)``. This is a transposed convolution
        of stride 2 with the taps ``(c, b + c, a + b, a)``; zero padding comes out the same.
        """
        conv, width = self.convs.conv0, skip.shape[1]
        with torch.autocast(skip.device.type, enabled=False):  # sums of weights in full precision
            kernel = torch.einsum(
                'oiabc,ax,by,cz->ioxyz', conv.weight[:, width:], self.taps, self.taps, self.taps
            )
        merged = F.conv3d(skip, conv.weight[:, :width], conv.bias, padding=1)
        return merged.add_(F.conv_transpose3d(below, kernel, stride=2, padding=1))


class LinearHead(nn.Module):
    """Normalise and apply the linear layer."""

    def __init__(self, width: int, out_channels: int) -> None:
        super().__init__()
        self.norm = Norm(width)
        self.linear = nn.Conv3d(width, out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(B, C, I, J, K)`` to ``(B, D, I, J, K)``; one linear map in evaluation mode."""
        if self.norm.training:
            return self.linear(self.norm(x))
        scale, shift = self.norm.scale_and_shift
        weight, bias = self.linear.weight, self.linear.get_parameter('bias')
        shifted = bias + (weight[..., 0, 0, 0] * shift).sum(1)
        return F.conv3d(x, weight * scale[:, None, None, None], shifted)
