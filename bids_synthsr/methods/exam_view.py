"""The scans of an exam on the output grid, and what a network predicts in windows of them.

The network takes all scans at once, in windows of the size that it was trained on, placed around
the brain: 160 x 192 x 160 mm of the head in all, but for four corners of that box.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from bids_synthsr.imaging.geometry import bounding_box
from bids_synthsr.imaging.head import head_mask
from bids_synthsr.imaging.inference import predict
from bids_synthsr.imaging.intensity import percentile_range
from bids_synthsr.imaging.resampling import reliability, resample
from bids_synthsr.imaging.windows import Start, around, blend, cut, place_windows
from bids_synthsr.morphometry.quality import dice_between
from bids_synthsr.networks.blocks import Offset, thin
from bids_synthsr.networks.exam_unet import (
    EncodedScans,
    ExamUNet,
    Posterior,
    TrainedExamUNet,
    expected_value,
)
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation
from bids_synthsr.values.structures import STRUCTURES, opposite

MARGIN = 16  # voxels beyond the output in which the brain may go on: shows how much is cut off
TOP_TO_BRAIN = 75.0  # mm from the top of the head to the middle of the brain, the first guess
MOST_MOVES = 4  # windows until the brain is in the middle of one
NEAR = 4.0  # voxels from the middle that are near enough
BLOCK = 8  # voxels along each axis: slices up to 9 mm apart leave no block of them unmeasured
LEAST_COVERAGE = 0.95  # of what all scans measured outside of the brain, to predict it alone
VOXELS_AT_ONCE = 40_000  # of all classes: fewer would not pay for the calls


@dataclass(frozen=True, eq=False)
class OutsideBrain:
    """Which scans the T1w outside of the brain is predicted from.

    Parameters
    ----------
    scans
        Indices of these scans.
    intracranial
        1 for classes within the skull, where all scans are used, 0 for others, ``(L,)``.
    """

    scans: Sequence[int]
    intracranial: Tensor


class WindowNetwork(nn.Module):
    """The network with one tensor in, intensities and reliabilities, and one tensor out.

    Parameters
    ----------
    network
        The network that predicts.
    other_sides
        Class on the other side of the head, for each class: the network gets left and right
        exchanged, and its output is exchanged again. None leaves them.
    outside
        Scans that predict T1w and Laplace scale outside of the brain; None for all.
    """

    def __init__(
        self,
        network: ExamUNet,
        other_sides: Sequence[int] | None = None,
        outside: OutsideBrain | None = None,
    ) -> None:
        super().__init__()
        self.network, self.other_sides, self.outside = network, other_sides, outside

    def forward(self, volume: Tensor) -> Tensor:
        """Predict T1w, Laplace scale and probabilities, channels side by side in memory.

        Parameters
        ----------
        volume
            Intensities of the N scans in [0, 1], then their reliability, ``(1, 2 N, I, J, K)``.

        Returns
        -------
        output
            ``(1, 2 + L, I, J, K)``.
        """
        scans, reliable = (volume if self.other_sides is None else volume.flip(2)).chunk(2, 1)
        encoded = self.network.encode(scans, reliable)
        channels = 2 + self.network.classes.count
        output = volume.new_empty(*volume.shape[2:], channels).movedim(-1, 0)
        shares = []
        for offset, rows, posterior in self._predictions(encoded, output):
            part = self._part(output, offset, rows)
            part[0], part[1] = posterior.t1w[0], posterior.scale[0]
            part[2:] = posterior.probabilities[0].movedim(-1, 0)
            if self.outside is not None:
                probabilities = posterior.probabilities[0]
                shares.append(expected_value(probabilities, self.outside.intracranial))
        if self.outside is not None:
            # where these scans measured nothing, the others know more
            unseen = 1 - near_measured(volume.chunk(2, 1)[1][0, [*self.outside.scans]])
            alone = self._predictions(encoded.select(self.outside.scans), output)
            for (offset, rows, posterior), share in zip(alone, shares, strict=True):
                part = self._part(output, offset, rows)
                of_all = torch.maximum(share, self._part(unseen, offset, rows)[0].to(share))
                part[0] = torch.lerp(posterior.t1w[0], part[0], of_all)
                part[1] = torch.lerp(posterior.scale[0], part[1], of_all)
        return output[None]

    def _part(self, volume: Tensor, offset: Offset, rows: slice) -> Tensor:
        """View one voxel of every block in some rows of blocks of a ``(C, I, J, K)`` volume."""
        return thin(volume, offset, self.network.stride)[:, rows]

    def _predictions(
        self, encoded: EncodedScans, output: Tensor
    ) -> Iterator[tuple[Offset, slice, Posterior]]:
        """Predict one part of ``(C, I, J, K)`` after the other: which part, and what for it."""
        count = output.shape[1] // self.network.stride
        for place in self.network.predict_blocks(encoded, voxels_at_once(output)):
            yield place if self.other_sides is None else self._mirrored(*place, count)

    def _mirrored(
        self, offset: Offset, rows: slice, posterior: Posterior, count: int
    ) -> tuple[Offset, slice, Posterior]:
        """Exchange left and right of a prediction in some of ``count`` rows of blocks."""
        other_rows = slice(count - rows.stop, count - rows.start)
        other_offset = (self.network.stride - 1 - offset[0], offset[1], offset[2])
        probabilities = posterior.probabilities.flip(1)[..., self.other_sides]
        exchanged = Posterior(posterior.t1w.flip(1), posterior.scale.flip(1), probabilities)
        return other_offset, other_rows, exchanged


class SubsetNetwork(nn.Module):
    """What the network predicts from subsets of the scans, at one voxel of every block.

    It takes one tensor, as `WindowNetwork` does.

    Parameters
    ----------
    network
        The network that predicts.
    subsets
        Indices of the scans of each of the S subsets.
    """

    def __init__(self, network: ExamUNet, subsets: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.network, self.subsets = network, subsets

    def forward(self, volume: Tensor) -> Tensor:
        """Predict the likeliest class and the Laplace scale, ``(1, S, 2, i, j, k)``.

        Parameters
        ----------
        volume
            Intensities of the N scans in [0, 1], then their reliability, ``(1, 2 N, I, J, K)``.
        """
        encoded = self.network.encode(*volume.chunk(2, 1))
        blocks = (side // self.network.stride for side in volume.shape[2:])
        output = volume.new_empty(len(self.subsets), 2, *blocks)
        for of_subset, subset in zip(output, self.subsets, strict=True):
            predictions = self.network.predict_blocks(
                encoded.select(subset), voxels_at_once(output), offsets=[(0, 0, 0)]
            )
            for _, rows, posterior in predictions:
                of_subset[0, rows] = posterior.probabilities[0].argmax(-1)
                of_subset[1, rows] = posterior.scale[0]
        return output[None]


def near_measured(reliable: Tensor) -> Tensor:
    """Mark where scans measured something nearby, ``(1, I, J, K)`` from 0 to 1, smooth.

    Parameters
    ----------
    reliable
        Reliability of the N scans, ``(N, I, J, K)``.
    """
    is_measured = functional.max_pool3d(reliable, BLOCK, ceil_mode=True).amax(0) > 0
    share = functional.avg_pool3d(is_measured.to(reliable)[None], 3, 1, 1, count_include_pad=False)
    return functional.interpolate(
        share[None], [BLOCK * side for side in share.shape[1:]], mode='trilinear'
    )[0, :, : reliable.shape[1], : reliable.shape[2], : reliable.shape[3]]


def voxels_at_once(volume: Tensor) -> int | None:
    """Return how many voxels of all classes to predict at once on the device of a volume."""
    return VOXELS_AT_ONCE if volume.device.type == 'cpu' else None


@dataclass(frozen=True)
class Canvas:
    """The box that the windows cover, with a margin around the output at most.

    Parameters
    ----------
    low, high
        First voxel of the box, and the one behind its last, counted on the output grid.
    grid
        Number of voxels of the output along each axis.
    """

    low: Start
    high: Start
    grid: tuple[int, ...]

    @classmethod
    def around_windows(
        cls, starts: Sequence[Start], window: Sequence[int], grid: Sequence[int]
    ) -> Canvas:
        """Bound windows, as far as they lie on the output or in its margin.

        Parameters
        ----------
        starts
            First voxel of each window, counted on the output grid.
        window
            Number of voxels of a window along each axis.
        grid
            Number of voxels of the output along each axis.
        """
        axes = [*zip(*starts, strict=True)]
        low = [max(min(axis), -MARGIN) for axis in axes]
        ends = [max(axis) + size for axis, size in zip(axes, window, strict=True)]
        high = [min(end, size + MARGIN) for end, size in zip(ends, grid, strict=True)]
        return cls((low[0], low[1], low[2]), (high[0], high[1], high[2]), tuple(grid))

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of voxels of the box along each axis."""
        return tuple(b - a for a, b in zip(self.low, self.high, strict=True))

    @property
    def inside(self) -> tuple[slice, ...]:
        """Where in the box the output lies."""
        spans = zip(self.low, self.high, self.grid, strict=True)
        return tuple(slice(max(-a, 0), min(b, size) - a) for a, b, size in spans)

    def within(self, start: Start) -> Start:
        """Count a voxel of the output grid from the first one of the box."""
        first, second, third = (at - a for at, a in zip(start, self.low, strict=True))
        return first, second, third

    def on_grid(self, values: Tensor) -> np.ndarray:
        """Put values in the box on the output grid, with 0 around them.

        Parameters
        ----------
        values
            Values of the voxels of the box, of its `shape`.
        """
        whole = torch.zeros(self.grid, dtype=values.dtype)
        spans = zip(self.low, self.high, self.grid, strict=True)
        whole[tuple(slice(max(a, 0), min(b, size)) for a, b, size in spans)] = values[self.inside]
        return whole.numpy()


@dataclass(frozen=True, eq=False)
class BlendedPrediction:
    """The average of what the network predicts in the windows around the brain.

    Parameters
    ----------
    t1w, scale
        T1w, white matter 1, and its Laplace scale in the box of the canvas, ``(a, b, c)``.
    probabilities
        Probabilities of the classes in the box, ``(a, b, c, L)``; 0 where no window lies.
    canvas
        Where the box lies on the output grid.
    windows
        Number of windows that were averaged.
    """

    t1w: Tensor
    scale: Tensor
    probabilities: Tensor
    canvas: Canvas
    windows: int


class ExamView:
    """The scans of an exam on the output grid, and the network that predicts windows of it.

    ``warnings`` collects what went otherwise than requested while the network ran.

    Parameters
    ----------
    observations
        Scans of the exam, the reference first.
    grid
        The output grid: 1 mm, axes in RAS order.
    trained
        The network, on the device that shall run it.
    precision
        Precision of its arithmetic, one of `bids_synthsr.imaging.inference.PRECISIONS`.
    """

    def __init__(
        self,
        observations: Sequence[Observation],
        grid: Grid,
        trained: TrainedExamUNet,
        precision: str,
    ) -> None:
        self.trained, self.precision, self.count = trained, precision, len(observations)
        images = [resample(scan.voxels, scan.grid, grid, scan.scan2ref) for scan in observations]
        reliable = [
            reliability(scan.grid, grid, scan.scan2ref, scan.acquisition) for scan in observations
        ]
        self.head = _bounds(head_mask(images[0], 2))
        self.volume = torch.from_numpy(np.stack([*images, *reliable]))  # (2 N, I, J, K)
        structures = [STRUCTURES[label] for label in trained.labels]
        self.is_brain = torch.tensor([structure.is_brain for structure in structures])
        self.is_within = torch.tensor([structure.is_intracranial for structure in structures])
        self.warnings: list[str] = []

    def find_brain(self) -> list[float]:
        """Move a window until the brain is in its middle, and return that voxel.

        Raises
        ------
        ValueError
            If the network finds no brain.
        """
        (low, high) = self.head
        center = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
        center[2] = max(high[2] - TOP_TO_BRAIN, center[2])
        network = SubsetNetwork(self.trained.network, [range(self.count)])
        stride = self.trained.network.stride
        for _ in range(MOST_MOVES):
            start = around(center, self.trained.window)
            classes = self._predict_window(start, network)[0, 0].long()
            brain = self.is_brain[classes]
            if not brain.any():
                raise ValueError(
                    'The network finds no brain in this exam: look at its scans, and leave out '
                    'what shows another part of the body (--bids-filter-file)'
                )
            middle = [at + stride * by for at, by in zip(start, _middle(brain), strict=True)]
            is_near = max(abs(a - b) for a, b in zip(middle, center, strict=True)) < NEAR
            center = middle
            if is_near:
                break
        return center

    def predict_around(
        self, center: Sequence[float], outside: Sequence[int], dtype: torch.dtype
    ) -> BlendedPrediction:
        """Predict the head around a voxel in four windows, two of them mirrored.

        Parameters
        ----------
        center
            Voxel in the middle of the brain, counted on the output grid.
        outside
            Indices of the scans from which the T1w outside of the brain is predicted.
        dtype
            Data type of the blended prediction.
        """
        starts = place_windows(center, self.trained.window)
        fewer = None
        if len(outside) < self.count:
            fewer = OutsideBrain(outside, self.is_within.float())
        plain, mirrored = (
            WindowNetwork(self.trained.network, sides, fewer)
            for sides in (None, self._other_sides())
        )
        canvas = Canvas.around_windows(starts, self.trained.window, self.volume.shape[1:])
        networks = (plain, mirrored, mirrored, plain)
        parts = (
            (canvas.within(start), self._predict_window(start, network).movedim(0, -1))
            for start, network in zip(starts, networks, strict=True)
        )
        blended = blend(parts, canvas.shape, dtype)
        return BlendedPrediction(
            blended[..., 0].float(), blended[..., 1].float(), blended[..., 2:], canvas, len(starts)
        )

    def compare_scans(self, center: Sequence[float]) -> tuple[float, tuple[int, ...]]:
        """Compare the predictions from all scans and from some of them in the middle window.

        Parameters
        ----------
        center
            Voxel in the middle of the brain, counted on the output grid.

        Returns
        -------
        agreement
            Dice between the segmentations from all scans and from all but one, the least.
        outside
            Scans with which the Laplace scale outside of the brain is smallest, among those that
            measured as much of it: all, all but one, or a single one.
        """
        every = tuple(range(self.count))
        if self.count < 2:
            return 1.0, every
        all_but_one = [tuple(scan for scan in every if scan != out) for out in every]
        subsets = [*dict.fromkeys([every, *all_but_one, *((scan,) for scan in every)])]
        start, labels = around(center, self.trained.window), self.trained.labels
        output = self._predict_window(start, SubsetNetwork(self.trained.network, subsets))
        classes, scales = output[:, 0].long(), output[:, 1]
        whole, *others = np.asarray(labels)[classes[: 1 + self.count].numpy()]
        agreement = min(dice_between(whole, other, labels) for other in others)
        is_outside = torch.from_numpy(whole > 0) & ~self.is_within[classes[0]]
        if not is_outside.any():
            return agreement, every
        measured = self._measured(start, is_outside, subsets)
        spreads = scales[:, is_outside].mean(1)
        spreads[measured < LEAST_COVERAGE * measured[0]] = torch.inf
        return agreement, subsets[int(spreads.argmin())]

    def _predict_window(self, start: Start, network: nn.Module) -> Tensor:
        """Run a `WindowNetwork` or a `SubsetNetwork` on one window: its output without batch."""
        window = cut(self.volume, start, self.trained.window)
        for image in window[: self.count]:
            low, high = percentile_range(image)
            image.sub_(low).div_((high - low).clamp(min=1e-6)).clamp_(0, 1)
        run = predict(network, window[None], precision=self.precision)
        self.warnings += run.doubts
        return run.output[0]

    def _measured(self, start: Start, mask: Tensor, subsets: Sequence[Sequence[int]]) -> Tensor:
        """Count how much of a mask ``(i, j, k)`` the scans of each subset measured, ``(S,)``."""
        reliable = cut(self.volume[self.count :], start, self.trained.window)
        is_measured = functional.max_pool3d(reliable, BLOCK) > 0  # (N, a, b, c)
        blocks = BLOCK // self.trained.network.stride
        share = functional.avg_pool3d(mask[None].float(), blocks)[0]
        return torch.stack([share[is_measured[[*subset]].any(0)].sum() for subset in subsets])

    def _other_sides(self) -> list[int]:
        """Return the class on the other side of the head, for each class."""
        classes = {label: number for number, label in enumerate(self.trained.labels)}
        return [classes.get(opposite(label), number) for label, number in classes.items()]


def largest_piece(mask: np.ndarray) -> np.ndarray:
    """Keep the largest connected part of a mask; nothing of an empty one."""
    pieces, count = ndimage.label(mask)
    return pieces == np.bincount(pieces.ravel())[1:].argmax() + 1 if count else mask


def _bounds(mask: np.ndarray) -> tuple[list[int], list[int]]:
    """Return the first voxel of a mask and the one behind its last; all where it is empty."""
    box = bounding_box(mask)
    return [part.start for part in box], [part.stop for part in box]


def _middle(brain: Tensor) -> list[float]:
    """Return the middle of the box around the largest piece of a mask, voxels of it.

    As in the training, whose crops lie around the middle of the brain's box.
    """
    low, high = _bounds(largest_piece(brain.numpy()))
    return [(a + b - 1) / 2 for a, b in zip(low, high, strict=True)]
