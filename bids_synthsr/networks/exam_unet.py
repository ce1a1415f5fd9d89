"""One network for exams of any scans: a shared encoder, a fusion per level, one decoder.

    scan 1 -> encoder --.
    scan 2 -> encoder ----> fusion at every level -> decoder -> T1w, its spread, segmentation
    scan N -> encoder --'

Its laws: the order of the scans changes nothing, and a scan that measured nothing (reliability 0
everywhere) changes nothing. Each channel is normalised over the volume: otherwise it learned any
contrast too slowly (docs/training-log.md). So it takes whole volumes; a tile would be normalised
otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from bids_synthsr.networks.mixture import Gaussians, Mixture

Norm = Callable[[int], nn.Module]  # makes the normalisation of so many channels
Place = tuple[int, int, int]  # of a voxel in a block of voxels
ALL_ROWS = slice(None)

SCAN_CHANNELS = 2  # image, reliability
LEAST_TRUST = 0.05  # in a scan between its slices, where it was interpolated
FUSED_AT_ONCE = 250_000  # numbers of one scan, 1 MB
SURROUNDINGS = 8  # voxels along each axis, over which the contrast of a voxel is judged
NOISE, LARGEST_CONTRAST = 0.02, 3.0  # of intensities in [0, 1]: less is flat; standard deviations
LOWEST_LOG_SCALE = math.log(1e-3)  # of the T1w: a smaller spread would let single voxels rule


class Prediction(NamedTuple):
    """What a network says of every voxel.

    Parameters
    ----------
    t1w
        ``(B, 1, I, J, K)`` float32.
    log_scale
        ``(B, 1, I, J, K)`` float32: logarithm of the Laplace scale of the T1w; None without it.
    logits
        ``(B, L, I, J, K)`` of the segmentation, under autocast in 16 bits; None without it.
    """

    t1w: Tensor
    log_scale: Tensor | None = None
    logits: Tensor | None = None


class Told(NamedTuple):
    """What a network with Laplace scale and segmentation says of some voxels, float32.

    Parameters
    ----------
    t1w
        ``(B, i, j, k)``.
    scale
        ``(B, i, j, k)``: Laplace scale of the T1w.
    likely
        ``(B, i, j, k, L)``: probabilities of the classes.
    """

    t1w: Tensor
    scale: Tensor
    likely: Tensor


class Heard(NamedTuple):
    """What the encoder makes of the scans of an exam, each for itself.

    Parameters
    ----------
    scans
        ``(B, N, I, J, K)``.
    encoded
        Of each of the N scans: a tensor per level, ``(B, F 2^l, i / 2^l, ...)``.
    trusts
        Reliability at each level, ``(B, N, i / 2^l, ...)``.
    present
        ``(B, N)`` bool: scans that count.
    """

    scans: Tensor
    encoded: Sequence[Sequence[Tensor]]
    trusts: Sequence[Tensor]
    present: Tensor

    def only(self, kept: Sequence[int]) -> Heard:
        """The same of some of the scans, as if there were no others."""
        return Heard(
            self.scans[:, kept],
            [self.encoded[scan] for scan in kept],
            [trust[:, kept] for trust in self.trusts],
            self.present[:, kept],
        )


def probabilities(logits: Tensor) -> Tensor:
    """``(B, L, I, J, K)`` of any precision to ``(B, I, J, K, L)`` float32."""
    return logits.movedim(1, -1).softmax(-1, dtype=torch.float32)  # no copy of channels_last


def mean_of_classes(likely: Tensor, values: Tensor) -> Tensor:
    """Average values ``(L,)`` by probabilities ``(..., L)``, in their precision: ``(...)``."""
    with torch.autocast(likely.device.type, enabled=False):  # 16 bits would show in the T1w
        return likely @ values.to(likely)


def split_output(output: Tensor, has_scale: bool, classes: int) -> Prediction:
    """Tell the channels of an output ``(B, 1 + has_scale + classes, I, J, K)`` apart."""
    t1w, scale, logits = output.split([1, int(has_scale), classes], 1)
    log_scale = torch.logaddexp(scale.float(), scale.new_tensor(LOWEST_LOG_SCALE))
    return Prediction(t1w.float(), log_scale if has_scale else None, logits if classes else None)


class ExamUNet(nn.Module):
    """Turn the scans of an exam into one T1w, with uncertainty and segmentation.

    Parameters
    ----------
    features
        At the finest level; they double with every level.
    levels
        Resolutions; each but the first halves the voxels of the one before.
    stride
        1 works at the resolution of the input. 2 folds 2x2x2 voxels into channels first and
        unfolds them last: an eighth of the voxels, the same input and output.
    classes
        Of the segmentation; 0 for none.
    has_scale
        Whether to predict the Laplace scale.
    class_t1w
        T1w intensity of each class: the T1w is predicted as a difference from what the
        segmentation leads to expect. Empty for none.
    is_guided
        Whether the voxels of the scans steer the output directly; see `Guide`.
    mixture_steps
        Steps by which the segmentation is fitted to the intensities of the exam itself; see
        `Mixture`. 0 for none.
    tissue_of
        Number of the tissue of each class, for the mixture.
    """

    later_parts = ('guide.', 'mixture.')  # trainings may start from weights without them

    def __init__(
        self,
        features: int = 32,
        levels: int = 4,
        stride: int = 2,
        classes: int = 0,
        has_scale: bool = True,
        class_t1w: Sequence[float] = (),
        is_guided: bool = False,
        mixture_steps: int = 0,
        tissue_of: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if stride not in (1, 2):
            raise ValueError(f'ExamUNet works at a stride of 1 or 2, not {stride}')
        if class_t1w and len(class_t1w) != classes:
            raise ValueError(f'{len(class_t1w)} T1w intensities were given for {classes} classes')
        if mixture_steps and len(tissue_of) != classes:
            raise ValueError(f'{len(tissue_of)} tissues were given for {classes} classes')
        widths = [features * 2**level for level in range(levels)]
        self.stride, self.has_scale, self.classes = stride, has_scale, classes
        self.class_t1w: Tensor
        self.register_buffer('class_t1w', torch.tensor(class_t1w), persistent=False)
        self.encoder = Encoder(SCAN_CHANNELS * stride**3, widths, nn.Identity, NormedBlock)
        self.fusions = nn.ModuleList(Fusion(width) for width in widths)
        self.decoder = Decoder(widths, nn.Identity, NormedBlock)
        outputs = 1 + has_scale + classes
        self.head = nn.Conv3d(features, outputs * stride**3, 1)
        self.guide = Guide(features, outputs) if is_guided else None
        self.mixture = Mixture(features, tissue_of, mixture_steps) if mixture_steps else None
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    @property
    def multiple(self) -> int:
        """What the input's sides must be multiples of."""
        return self.stride * 2 ** (len(self.fusions) - 1)

    def forward(
        self,
        scans: Tensor,
        reliability: Tensor,
        present: Tensor | None = None,
        place: Place | None = None,
    ) -> Prediction:
        """Predict from all scans at once.

        Parameters
        ----------
        scans
            ``(B, N, I, J, K)`` intensities in [0, 1].
        reliability
            ``(B, N, I, J, K)`` in [0, 1].
        present
            ``(B, N)`` bool: scans that count. None takes those whose reliability is not 0
            everywhere.
        place
            One of the ``stride`` voxels along each axis, from 0: predict those alone, ``(B, C,
            I / stride, ...)``. Training saves most of the time that many classes take.
        """
        speaker = self._join(self.hear(scans, reliability, present))
        if place is not None:
            return speaker.at(place)
        outputs = zip(*map(speaker.at, self.places), strict=True)
        return Prediction(*(self._whole(parts) for parts in outputs))  # type: ignore[arg-type]

    def _whole(self, parts: Sequence[Tensor | None]) -> Tensor | None:
        """Put one of the outputs together; None where the network does not have it."""
        there = [part for part in parts if part is not None]
        if not there:
            return None
        sides = (side * self.stride for side in there[0].shape[2:])
        whole = there[0].new_empty(*there[0].shape[:2], *sides)
        for part, place in zip(there, self.places, strict=True):
            thin(whole, place, self.stride).copy_(part)
        return whole

    @property
    def places(self) -> list[Place]:
        """All voxels of a block."""
        sides = range(self.stride)
        return [(i, j, k) for i in sides for j in sides for k in sides]

    def hear(self, scans: Tensor, reliability: Tensor, present: Tensor | None = None) -> Heard:
        """Encode each scan for itself. See `forward`."""
        self._check(scans, reliability)
        if present is None:
            present = reliability.amax((2, 3, 4)) > 0
        encoded = [
            self.encoder(channels_last(fold(torch.stack([image, trust], 1), self.stride)))
            for image, trust in zip(scans.unbind(1), reliability.unbind(1), strict=True)
        ]
        return Heard(scans, encoded, self._pyramid(reliability), present)

    def pieces(
        self,
        heard: Heard,
        max_voxels: int | None = None,
        places: Sequence[Place] | None = None,
    ) -> Iterator[tuple[Place, slice, Told]]:
        """Tell of a few rows of blocks at a time, one place of them after the other.

        So what is made of many classes need never be there at once.

        Parameters
        ----------
        heard
            The scans, or some `only`.
        max_voxels
            Of a piece, in whole rows, one at least. None takes all rows at once.
        places
            Of every block, of which to tell; None for all. The mixture is fitted to the first.

        Yields
        ------
        place, rows, told
            What is said at one place of every block of these rows.
        """
        speaker = self._join(heard)
        rows, *others = (side // self.stride for side in heard.scans.shape[2:])
        at_once = rows if max_voxels is None else max(max_voxels // math.prod(others), 1)
        for first in range(0, rows, at_once):
            span = slice(first, min(first + at_once, rows))
            for place in self.places if places is None else places:
                yield place, span, speaker.tell(place, span)

    def _join(self, heard: Heard) -> _Speaker:
        """Make features of the exam, of which every voxel can be told."""
        fused = [
            fuse(features, trust, heard.present)
            for fuse, features, trust in zip(
                self.fusions, zip(*heard.encoded, strict=True), heard.trusts, strict=True
            )
        ]
        features = self.decoder(fused)
        finest = [levels[0] for levels in heard.encoded]
        trust = (heard.trusts[0] + LEAST_TRUST) * heard.present[..., None, None, None]
        return _Speaker(self, features, finest, heard.scans, trust)

    def head_at(self, features: Tensor, place: Place) -> Tensor:
        """Channels of one place of every block, of the features of all of it."""
        blocks = (-1, self.stride, self.stride, self.stride)
        weight, bias = (x.unflatten(0, blocks)[:, *place] for x in self.head.parameters())
        said = functional.linear(features.movedim(1, -1), weight.flatten(1), bias)
        return said.movedim(-1, 1)  # faster than a convolution of one voxel

    def _pyramid(self, reliability: Tensor) -> list[Tensor]:
        """Mean reliability at the voxels of each level, ``(B, N, i, j, k)``."""
        steps = [self.stride, *(2 for _ in range(len(self.fusions) - 1))]
        levels = [reliability]
        for step in steps:
            levels.append(functional.avg_pool3d(levels[-1], step))
        return levels[1:]

    def _check(self, scans: Tensor, reliability: Tensor) -> None:
        if scans.shape != reliability.shape:
            raise ValueError(
                f'Each scan needs its reliability map: {tuple(scans.shape)} scans, '
                f'{tuple(reliability.shape)} maps'
            )
        if any(side % self.multiple for side in scans.shape[2:]):
            raise ValueError(
                f'A volume of {tuple(scans.shape[2:])} cannot be halved as often as this network '
                f'does: pad its sides to multiples of {self.multiple}'
            )


class _Speaker:
    """Tell what a network says of the voxels, one place of every block at a time.

    Parameters
    ----------
    network
        Whose heads speak.
    features
        ``(B, F, i, j, k)`` of the blocks of the exam.
    of_scans
        The same of each of the N scans.
    scans
        ``(B, N, I, J, K)``.
    trust
        ``(B, N, i, j, k)``: reliability of the blocks; 0 everywhere for a scan that is not there.
    """

    def __init__(
        self,
        network: ExamUNet,
        features: Tensor,
        of_scans: Sequence[Tensor],
        scans: Tensor,
        trust: Tensor,
    ) -> None:
        self.network, self.features, self.scans, self.trust = network, features, scans, trust
        self.gains: Sequence[Tensor] = ()
        self.contrasts: Sequence[Tensor] = ()
        if network.guide is not None:
            self.gains = network.guide(features, of_scans, trust)
            self.contrasts = [local_contrast(x, network.stride) for x in scans.split(1, 1)]
        self.gates: Sequence[Tensor] = ()
        if network.mixture is not None:
            self.gates = network.mixture.gates(features, of_scans, trust)
        self.found: list[list[Gaussians]] = []

    def at(self, place: Place) -> Prediction:
        """Predict the voxels at one place of the blocks, ``(B, C, i, j, k)``."""
        made = self._judged(place, ALL_ROWS)
        if made.logits is None or not len(self.network.class_t1w):
            return made
        t1w = self._with_expected(made.t1w[:, 0], probabilities(made.logits))
        return made._replace(t1w=t1w[:, None])

    def tell(self, place: Place, rows: slice) -> Told:
        """Tell of these voxels in some rows of blocks; Laplace scale and classes are needed."""
        made = self._judged(place, rows)
        assert made.log_scale is not None and made.logits is not None  # see `TrainedExamUNet`
        likely = probabilities(made.logits)
        t1w = self._with_expected(made.t1w[:, 0], likely)
        return Told(t1w, made.log_scale[:, 0].exp(), likely)

    def _with_expected(self, t1w: Tensor, likely: Tensor) -> Tensor:
        """Add to ``(B, i, j, k)`` the T1w that its classes ``(B, i, j, k, L)`` lead to expect."""
        values = self.network.class_t1w
        return t1w + mean_of_classes(likely, values) if len(values) else t1w

    def _judged(self, place: Place, rows: slice) -> Prediction:
        """Predict with what the mixture finds, but without the T1w that classes lead to expect."""
        network, images = self.network, thin(self.scans, place, self.network.stride)
        made = self._of_features(place, rows)
        if network.mixture is not None and made.logits is not None:
            if not self.found:  # the mixture is fitted to all voxels of the first place asked for
                every = made if rows == ALL_ROWS else self._of_features(place, ALL_ROWS)
                assert every.logits is not None
                self.found = network.mixture.fit(every.logits, self.gates, images, self.trust)
            found = [[replace(own, gain=own.gain[rows]) for own in exam] for exam in self.found]
            gates = [gate[:, rows] for gate in self.gates]
            logits = network.mixture.judge(made.logits, found, gates, images[:, :, rows])
            made = made._replace(logits=logits)
        return made

    def _of_features(self, place: Place, rows: slice) -> Prediction:
        """Predict from features and guide alone."""
        network = self.network
        output = network.head_at(self.features[:, :, rows], place)
        number = (place[0] * network.stride + place[1]) * network.stride + place[2]
        for gain, contrast in zip(self.gains, self.contrasts, strict=True):
            own = gain[:, :, rows]
            output = output.addcmul(own, contrast[:, number : number + 1, rows].to(own))
        return split_output(output, network.has_scale, network.classes)


@dataclass(frozen=True, eq=False)
class TrainedExamUNet:
    """A network with Laplace scale and segmentation, and what has to be known to use it.

    Parameters
    ----------
    network
        In evaluation mode.
    labels
        Label value of each class of its segmentation.
    window
        Voxels along R, A and S of what it was trained on.
    file
        What provenance should tell of the weights: name and SHA-256 of their file.
    caution
        What everyone who uses it must know, a sentence; empty for nothing.
    odds
        By which the probabilities of the classes are multiplied to be true ones
        (`training/calibration.py`); empty for a network that was not calibrated.

    Raises
    ------
    ValueError
        If it has not these outputs.
    """

    network: ExamUNet
    labels: Sequence[int]
    window: tuple[int, int, int]
    file: Mapping[str, str] = field(default_factory=dict)
    caution: str = ''
    odds: Sequence[float] = ()

    def __post_init__(self) -> None:
        if not self.network.has_scale or self.network.classes != len(self.labels):
            raise ValueError(
                f'The network tells {self.network.classes} classes '
                f'{"and" if self.network.has_scale else "without"} a Laplace scale; synthsr needs '
                f'both, and {len(self.labels)} labels are named'
            )
        if self.odds and len(self.odds) != len(self.labels):
            raise ValueError(f'{len(self.odds)} odds were given for {len(self.labels)} labels')


class Encoder(nn.Module):
    """Features of a volume at every level."""

    def __init__(
        self, channels: int, widths: list[int], norm: Norm, block: type[Block] | None = None
    ) -> None:
        super().__init__()
        block = block or Block
        self.first = block(channels, widths[0])
        self.norms = nn.ModuleList(norm(width) for width in widths[:-1])
        self.blocks = nn.ModuleList(block(fine, coarse) for fine, coarse in pairwise(widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        """From ``(B, C, i, j, k)`` to a tensor per level, ``(B, F 2^l, i / 2^l, ...)``."""
        levels = [self.first(x)]
        for norm, block in zip(self.norms, self.blocks, strict=True):
            levels.append(block(norm(functional.max_pool3d(levels[-1], 2))))
        return levels


class Fusion(nn.Module):
    """Join the scans voxel by voxel, channel by channel.

    Each scan bids for each channel with a learned function of its features and its reliability
    there; the softmax over the scans that are present weighs their features. One scan passes
    unchanged, whatever it bids.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bid = nn.Conv3d(width, width, 1)
        self.trust = nn.Parameter(torch.zeros(width))

    def forward(self, features: Sequence[Tensor], reliability: Tensor, present: Tensor) -> Tensor:
        """Fuse the features ``(B, F, i, j, k)`` of each scan.

        Parameters
        ----------
        features
            Of N scans.
        reliability
            ``(B, N, i, j, k)``.
        present
            ``(B, N)``.
        """
        if len(features) == 1:
            return features[0]
        if torch.is_grad_enabled():
            return self._fuse(features, reliability, present)
        fused = torch.empty_like(features[0])
        at_once = max(FUSED_AT_ONCE // features[0][0, :, 0].numel(), 1)
        for first in range(0, fused.shape[2], at_once):
            rows = slice(first, first + at_once)
            few = [own[:, :, rows] for own in features]
            fused[:, :, rows] = self._fuse(few, reliability[:, :, rows], present)
        return fused

    def _fuse(self, features: Sequence[Tensor], reliability: Tensor, present: Tensor) -> Tensor:
        """Do so with all voxels at once, of which many leave the processor's fast memory."""
        trust = self.trust.view(1, -1, 1, 1, 1)
        bids = [
            self.bid(own).float() + trust * reliable[:, None]
            for own, reliable in zip(features, reliability.unbind(1), strict=True)
        ]
        lowest = torch.finfo(torch.float32).min  # exp() of it is exactly 0 beside any other bid
        bids = [
            bid.masked_fill(~is_present.view(-1, 1, 1, 1, 1), lowest)
            for bid, is_present in zip(bids, present.unbind(1), strict=True)
        ]
        highest = reduce(torch.maximum, [bid.detach() for bid in bids])
        weights = [torch.exp(bid - highest) for bid in bids]  # a stack would lose channels_last
        total = reduce(torch.add, weights)
        shares = [(weight / total).to(features[0]) for weight in weights]
        return reduce(
            torch.add, [share * own for share, own in zip(shares, features, strict=True)]
        )


class Guide(nn.Module):
    """Gains by which the voxels of the scans steer the output.

    A voxel of the output is what the features of its block say, and for every scan a gain times
    how far the voxel stands out from its surroundings there (`local_contrast`). Gains change from
    block to block; so an edge in a scan is an edge in T1w and segmentation where features say so.
    Local affine maps of an image, predicted at a lower resolution, as in Gharbi et al. 2017.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.of_exam = silent(nn.Conv3d(width, outputs, 1))
        self.of_scan = silent(nn.Conv3d(width, outputs, 1))

    def forward(self, features: Tensor, of_scans: Sequence[Tensor], trust: Tensor) -> list[Tensor]:
        """Predict the gains of each scan, ``(B, C, i, j, k)``.

        Parameters
        ----------
        features
            ``(B, F, i, j, k)`` of the exam.
        of_scans
            The same of each of the N scans.
        trust
            ``(B, N, i, j, k)``: gains go by a scan's share of it; 0 for one that is not there.
        """
        shares = (trust / trust.sum(1, keepdim=True).clamp(min=1e-6)).split(1, 1)
        common = self.of_exam(features)
        return [
            (common + self.of_scan(own)) * share.to(common)
            for own, share in zip(of_scans, shares, strict=True)
        ]


class Decoder(nn.Module):
    """From the coarsest level back to the finest, which meet as their sum or side by side."""

    def __init__(
        self,
        widths: list[int],
        norm: Norm,
        block: type[Block] | None = None,
        *,
        concatenates: bool = False,
    ) -> None:
        super().__init__()
        block = block or Block
        share = 2 if concatenates else 1
        self._concatenates = concatenates
        self.rises = nn.ModuleList(nn.Conv3d(b, a, 1) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(norm(share * width) for width in widths[:-1])
        self.blocks = nn.ModuleList(block(share * width, width) for width in widths[:-1])

    def forward(self, levels: list[Tensor]) -> Tensor:
        """From a tensor per level to ``(B, F, i, j, k)`` at the finest, not normalised."""
        *finer, x = levels
        for level in reversed(range(len(finer))):
            risen = functional.interpolate(self.rises[level](x), scale_factor=2.0)
            met = (
                torch.cat([finer[level], risen], 1) if self._concatenates else finer[level] + risen
            )
            x = self.blocks[level](self.norms[level](met))
        return x


class Block(nn.Module):
    """Two convolutions, each followed by a GELU."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(width_in, width, 3, padding=1)
        self.second = nn.Conv3d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, width_in, i, j, k)`` to ``(B, width, i, j, k)``."""
        return functional.gelu(self.second(functional.gelu(self.first(x))))


class NormedBlock(Block):
    """The same, each convolution normalised over the volume, channel by channel."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__(width_in, width)
        self.norms = nn.ModuleList(VolumeNorm(width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, width_in, i, j, k)`` to ``(B, width, i, j, k)``."""
        for convolution, norm in zip((self.first, self.second), self.norms, strict=True):
            x = functional.gelu(norm(convolution(x)))
        return x


class VolumeNorm(nn.Module):
    """Normalise each channel of each volume, then scale and shift it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, F, i, j, k)`` to the same."""
        # on a CPU 4 times as fast as instance_norm, which leaves channels_last
        volumes = [
            functional.batch_norm(volume, None, None, self.weight, self.bias, training=True)
            for volume in x.split(1)
        ]
        return volumes[0] if len(volumes) == 1 else torch.cat(volumes)


def silent(layer: nn.Conv3d) -> nn.Conv3d:
    """Let a convolution start as 0."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def channels_last(volume: Tensor) -> Tensor:
    """Lay a volume out as convolutions like it best."""
    return volume.contiguous(memory_format=torch.channels_last_3d)


def fold(volume: Tensor, stride: int) -> Tensor:
    """Fold blocks of voxels into channels: ``(B, C, I, J, K)`` to ``(B, C s^3, I / s, ...)``."""
    split = volume.unflatten(4, (-1, stride)).unflatten(3, (-1, stride)).unflatten(2, (-1, stride))
    return split.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)  # (B, C s s s, i, j, k)


def unfold(channels: Tensor, stride: int) -> Tensor:
    """Undo `fold`: ``(B, C s^3, i, j, k)`` to ``(B, C, i s, j s, k s)``."""
    split = channels.unflatten(1, (-1, stride, stride, stride))  # (B, C, s, s, s, i, j, k)
    return split.permute(0, 1, 5, 2, 6, 3, 7, 4).flatten(6, 7).flatten(4, 5).flatten(2, 3)


def local_contrast(image: Tensor, stride: int) -> Tensor:
    """Tell how far voxels stand out from their surroundings, in standard deviations.

    Parameters
    ----------
    image
        ``(B, 1, I, J, K)`` in [0, 1].
    stride
        Of the blocks.

    Returns
    -------
    contrast
        ``(B, s^3, I / s, J / s, K / s)``, folded; between -`LARGEST_CONTRAST` and that.
    """
    folded = fold(image, stride)
    moments = functional.avg_pool3d(torch.cat([image, image.square()], 1), SURROUNDINGS,
                                    ceil_mode=True)  # fmt: skip
    near = functional.interpolate(moments, size=folded.shape[2:], mode='trilinear')
    mean, square = near.split(1, 1)
    sd = (square - mean.square()).clamp(min=0).sqrt()
    return ((folded - mean) / (sd + NOISE)).clamp(-LARGEST_CONTRAST, LARGEST_CONTRAST)


def thin(volume: Tensor, place: Place, stride: int) -> Tensor:
    """Take one voxel of every block: ``(..., I, J, K)`` to ``(..., I / stride, ...)``."""
    first, second, third = place
    return volume[..., first::stride, second::stride, third::stride]
