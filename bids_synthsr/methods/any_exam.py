"""One T1w, its uncertainty and a segmentation of any exam, by our own network.

It sees all scans at once, in windows of the size that it was trained on, placed around the brain:
160 x 192 x 160 mm of the head in all. Chin and neck stay dark. Outside of the brain the T1w is
made of those scans alone with which the network is surest there: where one scan suppresses fat and
another does not, it takes fat for something else (docs/training-log.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from bids_synthsr.imaging.head import head_mask
from bids_synthsr.imaging.inference import precision_for_bfloat16, predict
from bids_synthsr.imaging.intensity import percentile_range
from bids_synthsr.imaging.resampling import reliability, resample
from bids_synthsr.imaging.windows import Start, around, blend, cut, place_windows
from bids_synthsr.morphometry.volumes import (
    Overlap,
    dice_between,
    expected_dice,
    measure_overlap,
    volumes_of,
)
from bids_synthsr.networks.blocks import Offset, thin
from bids_synthsr.networks.exam_unet import (
    EncodedScans,
    ExamUNet,
    Posterior,
    TrainedExamUNet,
    expected_value,
)
from bids_synthsr.settings import LEAST_QUALITY
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.observation import Observation
from bids_synthsr.values.structures import STRUCTURES, opposite
from bids_synthsr.values.synthesis import Product, Synthesis

MARGIN = 16  # voxels beyond the output in which the brain may go on: tells how much is cut off
WHITE_MATTER = 110.0  # intensity, as in FreeSurfer
TOP_TO_BRAIN = 75.0  # mm from the top of the head to the middle of the brain: where to look first
LOOKS, NEAR = 4, 4.0  # windows until the brain is in the middle, and voxels that are near enough
BLOCK = 8  # voxels along each axis: slices up to 9 mm apart leave no block of them unmeasured
LEAST_SEEN = 0.95  # of what all scans see outside of the brain: those that see less cannot tell it
VOXELS_AT_ONCE = 40_000  # of all classes: fewer would not pay for the calls


@dataclass(frozen=True)
class Quality:
    """How far an exam can be trusted; each figure from 0 to 1.

    Parameters
    ----------
    expected_dice
        Mean Dice that the segmentation can expect if the network's probabilities are right.
    coverage
        Share of the brain that lies in the field of view of the output.
    agreement
        Mean Dice between the segmentations of all scans and of all but one, the least over the
        scans; 1 for a single scan, which nothing can contradict.
    """

    expected_dice: float
    coverage: float
    agreement: float

    @property
    def score(self) -> float:
        """All three together: their product."""
        return self.expected_dice * self.coverage * self.agreement

    def as_facts(self) -> dict[str, float]:
        """The figures, rounded."""
        return {name: round(value, 3) for name, value in (*asdict(self).items(),
                                                          ('score', self.score))}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Outside:
    """What the T1w is made of outside of the brain.

    Parameters
    ----------
    scans
        Of these alone.
    within
        ``(L,)``: 1 for classes to which that does not apply, brain and CSF; 0 for others.
    """

    scans: Sequence[int]
    within: Tensor


class Stacked(nn.Module):
    """The network with one tensor in, images and reliabilities, and one out.

    Parameters
    ----------
    network
        What it runs.
    other_sides
        Class on the other side of the head, for each class: the network sees left and right
        exchanged, and the result is as if it did not. None leaves them.
    outside
        Which scans tell T1w and Laplace scale outside of the brain; None for all.
    """

    def __init__(
        self,
        network: ExamUNet,
        other_sides: Sequence[int] | None = None,
        outside: Outside | None = None,
    ) -> None:
        super().__init__()
        self.network, self.other_sides, self.outside = network, other_sides, outside

    def forward(self, volume: Tensor) -> Tensor:
        """``(1, 2 N, I, J, K)`` to T1w, Laplace scale and probabilities, ``(1, 2 + L, ...)``.

        Channels lie side by side in memory.
        """
        scans, trust = (volume if self.other_sides is None else volume.flip(2)).chunk(2, 1)
        encoded = self.network.encode(scans, trust)
        whole = volume.new_empty(*volume.shape[2:], 2 + self.network.classes.count).movedim(-1, 0)
        shares = []
        for piece, told in self._pieces(encoded, whole):
            piece[0], piece[1] = told.t1w[0], told.scale[0]
            piece[2:] = told.probabilities[0].movedim(-1, 0)
            if self.outside is not None:
                shares.append(expected_value(told.probabilities[0], self.outside.within))
        if self.outside is not None:
            pieces = self._pieces(encoded.select(self.outside.scans), whole)
            for (piece, told), share in zip(pieces, shares, strict=True):
                piece[0] = torch.lerp(told.t1w[0], piece[0], share)
                piece[1] = torch.lerp(told.scale[0], piece[1], share)
        return whole[None]

    def _pieces(self, encoded: EncodedScans, whole: Tensor) -> Iterator[tuple[Tensor, Posterior]]:
        """Tell of a part of ``(C, I, J, K)`` after the other: the part, and what is said of it."""
        stride = self.network.stride
        for place, rows, told in self.network.predict_blocks(encoded, at_once(whole)):
            if self.other_sides is not None:
                place, rows, told = self._turned(place, rows, told, whole.shape[1] // stride)
            yield thin(whole, place, stride)[:, rows], told

    def _turned(
        self, place: Offset, rows: slice, told: Posterior, blocks: int
    ) -> tuple[Offset, slice, Posterior]:
        """Say what the other side of the head is called, and where it lies among the blocks."""
        turned = slice(blocks - rows.stop, blocks - rows.start)
        there = (self.network.stride - 1 - place[0], place[1], place[2])
        likely = told.probabilities.flip(1)[..., self.other_sides]
        return there, turned, Posterior(told.t1w.flip(1), told.scale.flip(1), likely)


class Subsets(nn.Module):
    """What the network finds in some of the scans alone, at one voxel of every block.

    It takes one tensor, as `Stacked` does.

    Parameters
    ----------
    network
        What it runs.
    subsets
        S sets of scans.
    """

    def __init__(self, network: ExamUNet, subsets: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.network, self.subsets = network, subsets

    def forward(self, volume: Tensor) -> Tensor:
        """``(1, 2 N, I, J, K)`` to likeliest class and Laplace scale, ``(1, S, 2, i, j, k)``."""
        encoded = self.network.encode(*volume.chunk(2, 1))
        blocks = (side // self.network.stride for side in volume.shape[2:])
        whole = volume.new_empty(len(self.subsets), 2, *blocks)
        for found, kept in zip(whole, self.subsets, strict=True):
            pieces = self.network.predict_blocks(
                encoded.select(kept), at_once(whole), offsets=[(0, 0, 0)]
            )
            for _, rows, told in pieces:
                found[0, rows], found[1, rows] = told.probabilities[0].argmax(-1), told.scale[0]
        return whole[None]


def at_once(volume: Tensor) -> int | None:
    """How many voxels of all classes to make at once, on the device where a volume lies."""
    return VOXELS_AT_ONCE if volume.device.type == 'cpu' else None


def synthesize(
    observations: Sequence[Observation],
    grid: Grid,
    *,
    trained: TrainedExamUNet,
    precision: str = 'auto',
    low_mem: bool = False,
    least_quality: float = LEAST_QUALITY,
) -> Synthesis:
    """Make a 1 mm T1w, its uncertainty, a segmentation and a brain mask of the scans of an exam.

    Parameters
    ----------
    observations
        The exam, reference first; what it looks like is not asked.
    grid
        1 mm, axes in RAS order.
    trained
        The network, on the device that shall run it.
    precision
        See `predict`; ``auto`` is bfloat16 where 16 bits are faster.
    low_mem
        Whether to keep probabilities in 16 bits, in half the memory.
    least_quality
        Score below which a warning tells that the exam is doubtful.

    Raises
    ------
    ValueError
        Where no brain is found.
    """
    device = next(trained.network.parameters()).device
    if precision == 'auto':
        precision = precision_for_bfloat16(device)
    exam, labels = _Exam(observations, grid, trained, precision), trained.labels
    center = exam.find_brain()
    agreement, outside = exam.compare_scans(center)
    seen = exam.predict_around(center, outside, torch.float16 if low_mem else torch.float32)
    quality = Quality(expected_dice(seen.overlap, labels), seen.coverage, agreement)
    facts = {
        'method': 'synthsr',
        'scans': [scan.contrast for scan in observations],
        'scans_reason': 'the network takes all scans of an exam',
        'scans_outside_brain': [observations[scan].contrast for scan in outside],
        'labels': list(labels),
        'is_calibrated': bool(trained.odds),
        'windows': seen.windows,
        'precision': precision,
        'device': device.type,
        'quality': quality.as_facts(),
        'volumes': [
            asdict(volume)
            for volume in volumes_of(seen.overlap, labels, float(np.prod(grid.spacing)))
        ],
        **trained.file,
    }
    doubts = [*exam.doubts, *_doubts(quality, least_quality), *filter(None, [trained.caution])]
    return Synthesis(seen.products(grid), facts, tuple(dict.fromkeys(doubts)))


@dataclass(frozen=True, eq=False)
class _Seen:
    """What the network saw of an exam, on the output grid.

    Parameters
    ----------
    t1w, scale
        ``(I, J, K)`` float32, white matter 1.
    labels
        ``(I, J, K)`` int16.
    overlap
        Sums of the probabilities.
    coverage
        Share of the brain that lies on the grid.
    windows
        Number of windows.
    """

    t1w: np.ndarray
    scale: np.ndarray
    labels: np.ndarray
    overlap: Overlap
    coverage: float
    windows: int

    def products(self, grid: Grid) -> tuple[Product, ...]:
        """The volumes, the T1w first."""
        return (
            Product('T1w', 'synthsr', (WHITE_MATTER * self.t1w).clip(0), grid),
            Product('T1w', 'uncertainty', WHITE_MATTER * self.scale, grid),
            Product('dseg', 'synthsr', self.labels, grid),
            Product('mask', 'brain', brain_mask(self.labels).astype(np.uint8), grid),
        )


@dataclass(frozen=True)
class _Canvas:
    """The box that the windows cover, and a margin of the output at most.

    Parameters
    ----------
    low, high
        Its first voxel, and that behind its last one, counted on the output grid.
    grid
        Shape of the output.
    """

    low: Start
    high: Start
    grid: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the box."""
        return tuple(b - a for a, b in zip(self.low, self.high, strict=True))

    @property
    def inside(self) -> tuple[slice, ...]:
        """Where in the box the output lies."""
        spans = zip(self.low, self.high, self.grid, strict=True)
        return tuple(slice(max(-a, 0), min(b, size) - a) for a, b, size in spans)

    def within(self, start: Start) -> Start:
        """Count a voxel from the first one of the box."""
        first, second, third = (at - a for at, a in zip(start, self.low, strict=True))
        return first, second, third

    def on_grid(self, values: Tensor) -> np.ndarray:
        """Put the part that lies on the output there; 0 is around it."""
        whole = torch.zeros(self.grid, dtype=values.dtype)
        spans = zip(self.low, self.high, self.grid, strict=True)
        whole[tuple(slice(max(a, 0), min(b, size)) for a, b, size in spans)] = values[self.inside]
        return whole.numpy()


def _canvas_around(starts: Sequence[Start], window: Sequence[int], grid: Sequence[int]) -> _Canvas:
    """Bound windows, as far as they lie on the output or in its margin."""
    low = [max(min(axis), -MARGIN) for axis in zip(*starts, strict=True)]
    ends = [max(axis) + size for axis, size in zip(zip(*starts, strict=True), window, strict=True)]
    high = [min(end, size + MARGIN) for end, size in zip(ends, grid, strict=True)]
    return _Canvas((low[0], low[1], low[2]), (high[0], high[1], high[2]), tuple(grid))


class _Exam:
    """The scans of an exam on the output grid, and the network that looks at them.

    Parameters
    ----------
    observations, grid
        See `synthesize`.
    trained, precision
        See `synthesize`.
    """

    def __init__(
        self,
        observations: Sequence[Observation],
        grid: Grid,
        trained: TrainedExamUNet,
        precision: str,
    ) -> None:
        places = {index: number for number, index in enumerate(trained.labels)}
        self.other_sides = [places.get(opposite(index), own) for index, own in places.items()]
        self.network, self.precision = trained.network, precision
        self.labels, self.window, self.odds = trained.labels, trained.window, trained.odds
        self.count = len(observations)
        images = [resample(scan.voxels, scan.grid, grid, scan.scan2ref) for scan in observations]
        trusts = [reliability(scan.grid, grid, scan.scan2ref) for scan in observations]
        self.head = _box(head_mask(images[0], 2))
        self.volume = torch.from_numpy(np.stack([*images, *trusts]))  # (2 N, I, J, K)
        structures = [STRUCTURES[index] for index in trained.labels]
        self.is_brain = torch.tensor([structure.is_brain for structure in structures])
        self.is_within = torch.tensor([structure.is_intracranial for structure in structures])
        self.doubts: list[str] = []

    def look(self, start: Start, network: nn.Module) -> Tensor:
        """Let a `Stacked` or `Subsets` see one window: what it makes, without batch.

        Parameters
        ----------
        start
            First voxel of the window.
        network
            What shall see it.
        """
        window = cut(self.volume, start, self.window)
        for image in window[: self.count]:
            low, high = percentile_range(image)
            image.sub_(low).div_((high - low).clamp(min=1e-6)).clamp_(0, 1)
        run = predict(network, window[None], precision=self.precision)
        self.doubts += run.doubts
        return run.output[0]

    def find_brain(self) -> list[float]:
        """Move a window until the brain is in its middle: that voxel.

        Raises
        ------
        ValueError
            If the network sees no brain.
        """
        (low, high) = self.head
        center = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
        center[2] = max(high[2] - TOP_TO_BRAIN, center[2])
        network = Stacked(self.network)
        for _ in range(LOOKS):
            start = around(center, self.window)
            likely = self.look(start, network)[2:].movedim(0, -1) @ self.is_brain.float()
            if float(likely.max()) < 0.5:
                raise ValueError(
                    'The network finds no brain in this exam: look at its scans, and leave out '
                    'what shows another part of the body (--bids-filter-file)'
                )
            found = [at + middle for at, middle in zip(start, _center(likely), strict=True)]
            is_near = max(abs(a - b) for a, b in zip(found, center, strict=True)) < NEAR
            center = found
            if is_near:
                break
        return center

    def predict_around(
        self, center: Sequence[float], outside: Sequence[int], dtype: torch.dtype
    ) -> _Seen:
        """Predict the head around a voxel; what lies farther away stays 0.

        Parameters
        ----------
        center
            That voxel.
        outside
            Scans of which the T1w is made outside of the brain.
        dtype
            Of the probabilities.
        """
        starts = place_windows(center, self.window)
        fewer = Outside(outside, self.is_within.float()) if len(outside) < self.count else None
        plain, mirrored = (
            Stacked(self.network, sides, fewer) for sides in (None, self.other_sides)
        )
        canvas = _canvas_around(starts, self.window, self.volume.shape[1:])
        # of any two neighbours one is mirrored
        networks = [(plain, mirrored)[number.bit_count() % 2] for number in range(len(starts))]
        parts = (
            (canvas.within(start), self.look(start, network).movedim(0, -1))
            for start, network in zip(starts, networks, strict=True)
        )
        made = blend(parts, canvas.shape, dtype)
        likely = made[..., 2:]
        if self.odds:
            multiply_odds(likely, torch.tensor(self.odds))
        classes = most_likely(likely)
        keep_one_brain(likely, classes, self.is_brain)
        is_brain, inside = self.is_brain[classes], canvas.inside
        values = torch.tensor(self.labels, dtype=torch.int16)
        return _Seen(
            canvas.on_grid(made[..., 0].float()),
            canvas.on_grid(made[..., 1].float()),
            canvas.on_grid(values[classes]),
            measure_overlap(likely[inside], classes[inside], self.labels),
            float(is_brain[inside].sum() / is_brain.sum().clamp(min=1)),
            len(starts),
        )

    def compare_scans(self, center: Sequence[float]) -> tuple[float, tuple[int, ...]]:
        """Compare what all scans show in the middle window with what some of them show alone.

        Returns
        -------
        agreement
            Dice between the segmentations of all scans and of all but one, the least.
        outside
            Scans that leave the smallest Laplace scale outside of the brain, of those that see
            as much of it: all, all but one, or a single one.
        """
        every = tuple(range(self.count))
        if self.count < 2:
            return 1.0, every
        all_but_one = [tuple(scan for scan in every if scan != out) for out in every]
        subsets = [*dict.fromkeys([every, *all_but_one, *((scan,) for scan in every)])]
        start = around(center, self.window)
        found = self.look(start, Subsets(self.network, subsets))
        classes, scales = found[:, 0].long(), found[:, 1]
        whole, *others = np.asarray(self.labels)[classes[: 1 + self.count].numpy()]
        agreement = min(dice_between(whole, other, self.labels) for other in others)
        is_outside = torch.from_numpy(whole > 0) & ~self.is_within[classes[0]]
        if not is_outside.any():
            return agreement, every
        seen = self._seen(start, is_outside, subsets)
        spreads = scales[:, is_outside].mean(1)
        spreads[seen < LEAST_SEEN * seen[0]] = torch.inf
        return agreement, subsets[int(spreads.argmin())]

    def _seen(self, start: Start, mask: Tensor, subsets: Sequence[Sequence[int]]) -> Tensor:
        """Count how much of a mask ``(i, j, k)`` lies in the field of view of scans."""
        trust = cut(self.volume[self.count :], start, self.window)
        is_seen = functional.max_pool3d(trust, BLOCK) > 0  # (N, a, b, c)
        share = functional.avg_pool3d(mask[None].float(), BLOCK // self.network.stride)[0]
        return torch.stack([share[is_seen[[*kept]].any(0)].sum() for kept in subsets])


def multiply_odds(likely: Tensor, odds: Tensor) -> None:
    """Multiply probabilities ``(I, J, K, L)`` by odds ``(L,)``, in place; their sum stays 1.

    Where no window looked, it stays 0.
    """
    for plane in likely:  # a copy of all would double the memory
        weighed = plane.float()
        total = (weighed @ odds).clamp(min=1e-6)
        plane.copy_(weighed.mul_(odds).div_(total[..., None]))


def most_likely(likely: Tensor) -> Tensor:
    """Choose the class of every voxel: ``(I, J, K, L)`` to ``(I, J, K)`` int64."""
    return torch.stack([plane.float().argmax(-1) for plane in likely])


def keep_one_brain(likely: Tensor, classes: Tensor, is_brain: Tensor) -> None:
    """Take brain away that hangs together with no other, in place: there is one brain.

    Parameters
    ----------
    likely
        ``(I, J, K, L)`` probabilities.
    classes
        ``(I, J, K)`` the likeliest.
    is_brain
        ``(L,)`` which classes are brain.
    """
    found = is_brain[classes].numpy()
    stray = torch.from_numpy(found & ~_largest_piece(found))
    own = likely[stray].float() * ~is_brain  # (V, L)
    own /= own.sum(1, keepdim=True).clamp(min=1e-6)
    likely[stray] = own.to(likely.dtype)
    classes[stray] = own.argmax(1)


def brain_mask(labels: np.ndarray) -> np.ndarray:
    """Mark brain, ventricles and CSF, with what they enclose: bool ``(I, J, K)``."""
    within = [index for index, structure in STRUCTURES.items() if structure.is_intracranial]
    return ndimage.binary_fill_holes(np.isin(labels, within))


def _largest_piece(mask: np.ndarray) -> np.ndarray:
    """Keep of a mask the largest part that hangs together; nothing of an empty one."""
    pieces, count = ndimage.label(mask)
    return pieces == np.bincount(pieces.ravel())[1:].argmax() + 1 if count else mask


def _box(mask: np.ndarray) -> tuple[list[int], list[int]]:
    """Bound a mask: its first voxel, and that behind its last one; all where it is empty."""
    if not mask.any():
        return [0, 0, 0], list(mask.shape)
    found = ndimage.find_objects(mask.astype(np.uint8))[0]
    return [part.start for part in found], [part.stop for part in found]


def _center(likely: Tensor) -> list[float]:
    """Find the middle of the box around the largest piece of what is likelier than not, voxels.

    As in the training, where crops lie around that of the brain.
    """
    low, high = _box(_largest_piece((likely > 0.5).numpy()))
    return [(a + b - 1) / 2 for a, b in zip(low, high, strict=True)]


def _doubts(quality: Quality, least: float) -> list[str]:
    """Tell why an exam is doubtful."""
    if quality.score >= least:
        return []
    worst = min(asdict(quality).items(), key=lambda item: item[1])[0]
    reason = {
        'expected_dice': 'the network is unsure of its segmentation',
        'coverage': 'part of the brain lies outside of the field of view',
        'agreement': 'its scans contradict each other',
    }[worst]
    doubt = (
        f'The quality of this exam is {quality.score:.2f}, below {least:g}: {reason}. '
        'Look at it before you use it.'
    )
    return [doubt]
