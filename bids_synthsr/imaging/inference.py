"""Run a network over a whole volume: padding, tiles, flips, precision, and too little memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, product
from math import ceil, prod
from pathlib import Path
from types import EllipsisType

import torch
from torch import nn

LOGGER = logging.getLogger(__name__)
PRECISIONS = ('auto', 'float32', 'float16', 'bfloat16')
SHARES = (2, 4, 8)  # parts of a volume that are tried one after the other where memory runs out
CPU_DESCRIPTION = Path('/proc/cpuinfo')
OUT_OF_MEMORY = "can't allocate memory"  # as PyTorch's CPU allocator says it
Region = tuple[EllipsisType | slice, ...]


@dataclass(frozen=True)
class Tiling:
    """How a volume is cut where memory is short.

    Parameters
    ----------
    max_voxels
        Number of voxels that the network may get at once.
    margin
        Voxels around each tile that are computed and thrown away; rounded up to the multiple that
        the network's input must have. Where the output depends on voxels no farther away, the
        result equals the untiled one; a smaller margin leaves seams.
    """

    max_voxels: int
    margin: int


@dataclass(frozen=True)
class Tile:
    """A part of a volume, each region being ``(..., slice, slice, slice)``.

    Parameters
    ----------
    source
        What the network gets.
    core
        What is kept of that, in the indices of ``source``.
    target
        The same region, in the indices of the volume.
    """

    source: Region
    core: Region
    target: Region


@dataclass(frozen=True, eq=False)
class Inference:
    """The output of a network for a volume, and how it was computed.

    Parameters
    ----------
    output
        ``(B, D, I, J, K)`` float32 on the CPU.
    precision, device, tiles
        Precision and device on which the network ran in the end, and in how many parts.
    doubts
        Sentences, each about something that went otherwise than was asked for.
    """

    output: torch.Tensor
    precision: str
    device: str
    tiles: int
    doubts: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, str | int]:
        """Facts for the provenance."""
        return {'precision': self.precision, 'device': self.device, 'tiles': self.tiles}


def predict(
    network: nn.Module,
    volume: torch.Tensor,
    *,
    multiple: int = 1,
    flip: bool = False,
    precision: str = 'auto',
    tiling: Tiling | None = None,
) -> Inference:
    """Apply a network in evaluation mode, without gradients, on the device where it lies.

    Where memory runs out, the network runs again in smaller and smaller tiles, if ``tiling`` says
    how, and at last on the CPU; where 16 bits overflow, in float32.

    Parameters
    ----------
    network
        Maps ``(B, C, I, J, K)`` to ``(B, D, I, J, K)``.
    volume
        ``(B, C, I, J, K)``, axes in R, A, S order.
    multiple
        Zeros surround the volume until its sides are multiples of this (see `pad`).
    flip
        Average with the prediction of the volume flipped along R/L, flipped back.
    precision
        One of `PRECISIONS`; ``auto`` is `fastest_precision`.
    tiling
        None gives the network the whole volume at once.

    Raises
    ------
    MemoryError
        Where even the smallest tiles take too much.
    """
    padded, inside = pad(volume, multiple)
    home, doubts = next(network.parameters()).device, []
    try:
        for device, tiles in _attempts(padded.shape[2:], tiling, multiple, home):
            try:
                result = _attempt(network.to(device), padded, tiles, flip, precision)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                doubts.append(_describe_shortage(device, tiles))
                LOGGER.warning('%s (%s)', doubts[-1], str(error).splitlines()[0])
            else:
                doubts += result.doubts
                return replace(result, output=result.output[inside], doubts=tuple(doubts))
    finally:
        network.to(home)
    raise MemoryError(
        f'A volume of {prod(volume.shape[2:]) / 1e6:.1f} million voxels does not fit into memory, '
        'not even in tiles: allow more memory'
    )


def _attempts(
    shape: Sequence[int], tiling: Tiling | None, multiple: int, device: torch.device
) -> Iterator[tuple[torch.device, list[Tile]]]:
    """List devices and tiles in the order in which they are tried."""
    devices = [device] if device.type == 'cpu' else [device, torch.device('cpu')]
    for candidate in devices:
        whole = plan_tiles(shape, tiling, multiple)
        yield candidate, whole
        if tiling is None:
            continue
        for share in SHARES:
            smaller = Tiling(prod(shape) // share, tiling.margin)
            with suppress(ValueError):  # too small for the margin
                tiles = plan_tiles(shape, smaller, multiple)
                if len(tiles) > len(whole):
                    yield candidate, tiles


def _describe_shortage(device: torch.device, tiles: Sequence[Tile]) -> str:
    """Say in a sentence for what memory was too small."""
    parts = 'the whole volume' if len(tiles) == 1 else f'{len(tiles)} tiles'
    return f'Memory of the {device.type} was too small for the network on {parts}.'


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether PyTorch, or Python, ran out of memory."""
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or OUT_OF_MEMORY in str(error)


def _attempt(
    network: nn.Module, padded: torch.Tensor, tiles: Sequence[Tile], flip: bool, precision: str
) -> Inference:
    """Run the network where it lies; again in float32, where 16 bits overflow."""
    device = next(network.parameters()).device
    chosen = fastest_precision(device) if precision == 'auto' else precision
    doubts: tuple[str, ...] = ()
    with evaluation(network), torch.inference_mode():
        with autocast(device, chosen):
            output = _average(network, padded, tiles, flip)
        if chosen != 'float32' and not output.sum().isfinite():  # one pass over it
            doubts = ('The network overflowed in 16 bits and ran again in float32.',)
            LOGGER.warning('%s', *doubts)
            chosen, output = 'float32', _average(network, padded, tiles, flip)
    return Inference(output, chosen, device.type, len(tiles), doubts)


def _average(
    network: nn.Module, volume: torch.Tensor, tiles: Sequence[Tile], flip: bool
) -> torch.Tensor:
    """Predict as the volume lies or, with ``flip``, the mean of both ways, ``(B, D, I, J, K)``."""
    output = _in_tiles(network, volume, tiles)
    if not flip:
        return output
    return output.add_(_in_tiles(network, volume.flip(2), tiles).flip(2)).mul_(0.5)


def _in_tiles(network: nn.Module, volume: torch.Tensor, tiles: Sequence[Tile]) -> torch.Tensor:
    """Predict tile by tile, ``(B, D, I, J, K)`` float32 on the CPU."""
    device = next(network.parameters()).device
    cores = (network(volume[tile.source].to(device))[tile.core].float().cpu() for tile in tiles)
    first = next(cores)
    if len(tiles) == 1:
        return first
    output = first.new_empty((*first.shape[:2], *volume.shape[2:]))
    for tile, core in zip(tiles, chain([first], cores), strict=True):
        output[tile.target] = core
    return output


def pad(volume: torch.Tensor, multiple: int) -> tuple[torch.Tensor, Region]:
    """Surround ``(B, C, I, J, K)`` with zeros up to multiples of ``multiple``.

    The volume lies in the middle, half a voxel towards the front where that is not possible.

    Returns
    -------
    padded, inside
        The larger volume, and where the given one lies in it.
    """
    shape = volume.shape[2:]
    whole = [_round_up(size, multiple) for size in shape]
    front = [(full - size) // 2 for full, size in zip(whole, shape, strict=True)]
    inside: Region = (..., *(slice(at, at + n) for at, n in zip(front, shape, strict=True)))
    padded = volume.new_zeros((*volume.shape[:2], *whole))
    padded[inside] = volume
    return padded, inside


def _round_up(size: int, multiple: int) -> int:
    """Smallest multiple that is not below ``size``."""
    return ceil(size / multiple) * multiple


def plan_tiles(shape: Sequence[int], tiling: Tiling | None, multiple: int) -> list[Tile]:
    """Cut a volume into few tiles of at most ``tiling.max_voxels``; None makes a single tile.

    Tiles start and end at multiples of ``multiple``, so that a network pools the same voxels
    together as in the whole volume, and end where the volume ends, so that its own padding meets
    the same border.
    """
    tiling = tiling or Tiling(prod(shape), 0)
    margin = _round_up(tiling.margin, multiple)
    cores = list(shape)
    while True:
        spans = [_spans(size, core, margin) for size, core in zip(shape, cores, strict=True)]
        largest = prod(max(part.stop - part.start for part, _, _ in axis) for axis in spans)
        if largest <= tiling.max_voxels:
            return [_tile(parts) for parts in product(*spans)]
        longest = cores.index(max(cores))
        if cores[longest] <= multiple:
            raise ValueError(
                f'Tiles of at most {tiling.max_voxels} voxels are too small for a margin of '
                f'{margin}: the smallest tile has {largest} voxels; allow more memory'
            )
        parts = len(spans[longest]) + 1
        shorter = _round_up(ceil(shape[longest] / parts), multiple)
        cores[longest] = min(shorter, cores[longest] - multiple)


def _tile(parts: Sequence[tuple[slice, slice, slice]]) -> Tile:
    """Put the spans of three axes together."""
    source, core, target = zip(*parts, strict=True)
    return Tile((..., *source), (..., *core), (..., *target))


def _spans(size: int, core: int, margin: int) -> list[tuple[slice, slice, slice]]:
    """Cut one axis: source, core and target slices of each part (see `Tile`)."""
    spans = []
    for start in range(0, size, core):
        stop = min(start + core, size)
        low, high = max(start - margin, 0), min(stop + margin, size)
        spans.append((slice(low, high), slice(start - low, stop - low), slice(start, stop)))
    return spans


@contextmanager
def evaluation(network: nn.Module) -> Iterator[None]:
    """Put a network in evaluation mode, and back in training mode where it was."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def autocast(device: torch.device, precision: str = 'auto') -> torch.autocast:
    """Let convolutions and matrix products run in the given precision."""
    if precision not in PRECISIONS:
        raise ValueError(f'Precision {precision!r} is not one of {", ".join(PRECISIONS)}')
    chosen = fastest_precision(device) if precision == 'auto' else precision
    dtype = getattr(torch, chosen)
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def precision_for_bfloat16(device: torch.device) -> str:
    """Name the precision for a network that was trained in bfloat16.

    float16, which may be faster, overflows in it.
    """
    return 'float32' if fastest_precision(device) == 'float32' else 'bfloat16'


def fastest_precision(device: torch.device) -> str:
    """Name the precision in which the device multiplies matrices fastest.

    Where float16 is as fast as bfloat16 it is the better: its rounding error is an eighth. Of
    CPUs without AMX those of AMD that have AVX-512 for bfloat16 take 16 bits: the networks are
    1.2 to 1.8 times as fast in them. On an Intel Xeon of that kind 32 bits were 1.3 to 1.7 times
    as fast (lab/benchmarks.md).
    """
    if device.type == 'cuda' or (device.type == 'cpu' and _cpu_has('amx_fp16')):
        return 'float16'
    if device.type == 'cpu' and (
        _cpu_has('amx_tile') or (_cpu_has('avx512_bf16') and _cpu_is_of_amd())
    ):
        return 'bfloat16'
    return 'float32'


def _cpu_has(feature: str) -> bool:
    """Tell whether PyTorch reports an instruction set; versions that cannot tell say no."""
    is_supported = getattr(torch.cpu, f'_is_{feature}_supported', None)
    return is_supported is not None and is_supported()


@cache
def _cpu_is_of_amd() -> bool:
    """Tell whether the processor names AMD as its vendor; where no file tells, it does not."""
    try:
        return 'AuthenticAMD' in CPU_DESCRIPTION.read_text()
    except OSError:
        return False
