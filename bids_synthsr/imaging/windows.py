"""Windows of one size over a volume, and the blend of what a network predicts in them.

A network that is normalised over its input finds most in windows of the size that it was trained
on: on more, what it sees of air and neck shifts its features (lab/training-log.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import torch
from torch import Tensor

from bids_synthsr.imaging.inference import Region

Start = tuple[int, int, int]
REACHES = (-16, 17)  # voxels; up to 20 in the training


def cut(volume: Tensor, start: Start, shape: Sequence[int]) -> Tensor:
    """Cut a window out of the last three axes; it may reach beyond the volume, where 0 lies."""
    window = volume.new_zeros((*volume.shape[:-3], *shape))
    of_volume, of_window = _common(volume.shape[-3:], start, shape)
    window[of_window] = volume[of_volume]
    return window


def _common(volume: Sequence[int], start: Start, shape: Sequence[int]) -> tuple[Region, Region]:
    """Find what a window and a volume share, as indices of either."""
    low = [max(at, 0) for at in start]
    high = [min(at + n, size) for at, n, size in zip(start, shape, volume, strict=True)]
    spans = [*zip(low, [max(a, b) for a, b in zip(low, high, strict=True)], strict=True)]
    of_volume = tuple(slice(a, b) for a, b in spans)
    of_window = tuple(slice(a - at, b - at) for (a, b), at in zip(spans, start, strict=True))
    return (..., *of_volume), (..., *of_window)


def around(center: Sequence[float], shape: Sequence[int]) -> Start:
    """Place a window around a voxel."""
    first, second, third = (
        round(at - size / 2 + 0.5) for at, size in zip(center, shape, strict=True)
    )
    return first, second, third


def place_windows(center: Sequence[float], shape: Sequence[int]) -> list[Start]:
    """Place four windows around a voxel, `REACHES` away from it along every axis.

    They are corners of a cube of which no two are neighbours: the other four would show the same
    again, for twice the time (lab/benchmarks.md). All of them show the object as the training
    did, whose samples lie as far from its middle.
    Farther away there is nothing to be had: a network that always saw a brain sees one in a neck.
    An even and an odd distance: a network that works on blocks of 2 voxels leaves a grid of them
    in flat areas, which is another one in the neighbouring window, so that their average is flat.
    """
    middle = around(center, shape)
    return [
        (middle[0] + i, middle[1] + j, middle[2] + k)
        for i, j, k in product(REACHES, repeat=3)
        if (i + j + k - sum(REACHES)) % 2
    ]


def bell(shape: Sequence[int]) -> Tensor:
    """Weights of a window's voxels, a Gaussian whose sd is a quarter of the window."""
    lines = [torch.exp(-((torch.arange(n) - (n - 1) / 2) / (n / 4)).square() / 2) for n in shape]
    return lines[0][:, None, None] * lines[1][:, None] * lines[2]


def blend(
    parts: Iterable[tuple[Start, Tensor]], shape: Sequence[int], dtype: torch.dtype
) -> Tensor:
    """Average windows ``(i, j, k, C)`` by their weights, ``(*shape, C)``; 0 where none lies."""
    total, weights = None, torch.zeros(*shape)
    for start, part in parts:
        part_shape = part.shape[:3]
        weight = bell(part_shape)
        (_, *of_volume), (_, *of_part) = _common(shape, start, part_shape)
        if total is None:
            total = torch.zeros(*shape, part.shape[3], dtype=dtype)
        weights[*of_volume] += weight[*of_part]
        planes = zip(total[*of_volume], part[*of_part], weight[*of_part], strict=True)
        # plane by plane: one plane and its product stay in a fast memory
        for plane, values, counts in planes:
            plane += (values * counts[..., None]).to(dtype)
    if total is None:
        raise ValueError('There is no window to blend')
    return total.div_(weights.clamp(min=1e-6).to(dtype)[..., None])
