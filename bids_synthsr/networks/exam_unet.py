"""One network for exams of any scans: a shared encoder, a fusion per level, one decoder.

    scan 1 -> encoder --.
    scan 2 -> encoder ----> fusion at every level -> decoder -> T1w, its scale, segmentation
    scan N -> encoder --'

Its laws: the order of the scans changes nothing, and a scan that measured nothing (reliability 0
everywhere) changes nothing. Each channel is normalised over the volume: otherwise it learned any
contrast too slowly (lab/training-log.md). So it takes whole volumes; a tile would be normalised
otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from bids_synthsr.networks.blocks import (
    Decoder,
    Encoder,
    NormedBlock,
    Offset,
    channels_last,
    fold,
    thin,
)
from bids_synthsr.networks.fusion import Fusion, Guide, local_contrast
from bids_synthsr.networks.mixture import Mixture, MixtureFit

ALL_ROWS = slice(None)

SCAN_CHANNELS = 2  # image, reliability
LEAST_TRUST = 0.05  # in a scan between its slices, where it was interpolated
FIT_STEP = 2  # blocks along each axis of which the mixture is fitted to one: means need no more
LOWEST_LOG_SCALE = math.log(1e-3)  # of the T1w: a smaller spread would let single voxels rule
# arguments in recipes and weight files, and the fields of `SegmentationClasses` that they fill
CLASS_ARGUMENTS = {'classes': 'count', 'class_t1w': 't1w', 'tissue_of': 'tissues'}


@dataclass(frozen=True)
class SegmentationClasses:
    """The classes of a segmentation, as far as a network has to know them.

    Parameters
    ----------
    count
        Number of classes; 0 for a network without segmentation.
    t1w
        T1w intensity of each class. The T1w is then predicted as a difference from what the
        segmentation leads to expect. Empty predicts the T1w itself.
    tissues
        Number of the tissue of each class, from 0, for the mixture. Classes of one tissue look
        alike.

    Raises
    ------
    ValueError
        If there are intensities, but not one for each class.
    """

    count: int = 0
    t1w: Sequence[float] = ()
    tissues: Sequence[int] = ()

    def __post_init__(self) -> None:
        if self.t1w and len(self.t1w) != self.count:
            raise ValueError(
                f'{len(self.t1w)} T1w intensities were given for {self.count} classes'
            )


class Prediction(NamedTuple):
    """The output of a network, channels first.

    Parameters
    ----------
    t1w
        T1w intensities, ``(B, 1, I, J, K)`` float32.
    log_scale
        Logarithm of the Laplace scale of the T1w, ``(B, 1, I, J, K)`` float32; None without it.
    logits
        Logits of the segmentation, ``(B, L, I, J, K)``, under autocast in 16 bits; None without
        it.
    """

    t1w: Tensor
    log_scale: Tensor | None = None
    logits: Tensor | None = None


class Posterior(NamedTuple):
    """The distribution of T1w and class at some voxels, channels last, float32.

    Parameters
    ----------
    t1w
        T1w intensities, the median of the Laplace distribution, ``(B, i, j, k)``.
    scale
        Laplace scale of the T1w, ``(B, i, j, k)``.
    probabilities
        Probabilities of the classes, ``(B, i, j, k, L)``.
    """

    t1w: Tensor
    scale: Tensor
    probabilities: Tensor


class EncodedScans(NamedTuple):
    """The scans of an exam and the features of each, before they are fused.

    Parameters
    ----------
    scans
        Intensities in [0, 1], ``(B, N, I, J, K)``.
    features
        Features of each of the N scans: a tensor per level, ``(B, F 2^l, i / 2^l, ...)``.
    reliability
        Reliability at each level, ``(B, N, i / 2^l, ...)``.
    present
        Which scans count, ``(B, N)`` bool.
    """

    scans: Tensor
    features: Sequence[Sequence[Tensor]]
    reliability: Sequence[Tensor]
    present: Tensor

    def select(self, subset: Sequence[int]) -> EncodedScans:
        """Return some of the scans, as if there were no others."""
        return EncodedScans(
            self.scans[:, subset],
            [self.features[scan] for scan in subset],
            [level[:, subset] for level in self.reliability],
            self.present[:, subset],
        )


@dataclass(frozen=True, eq=False)
class _DecodedExam:
    """What the heads of the network need to predict any voxel of an exam.

    Parameters
    ----------
    features
        Features of the blocks of the exam, ``(B, F, i, j, k)``.
    scans
        Intensities of the scans, ``(B, N, I, J, K)``.
    trust
        Reliability of the blocks, not below `LEAST_TRUST`, ``(B, N, i, j, k)``; 0 everywhere for
        an absent scan.
    gains
        Gains of the guide for each scan, ``(B, C, i, j, k)``; empty without a guide.
    contrasts
        Local contrast of each scan, ``(B, s^3, i, j, k)``; empty without a guide.
    gates
        Gates of the mixture for each scan, ``(B, T, i, j, k)``; empty without a mixture.
    """

    features: Tensor
    scans: Tensor
    trust: Tensor
    gains: Sequence[Tensor]
    contrasts: Sequence[Tensor]
    gates: Sequence[Tensor]

    def thin_out(self, step: int) -> _DecodedExam:
        """Return one of ``step`` blocks along each axis, with whole scans."""
        blocks = slice(None, None, step)
        return _DecodedExam(
            self.features[..., blocks, blocks, blocks],
            self.scans,
            self.trust[..., blocks, blocks, blocks],
            [gain[..., blocks, blocks, blocks] for gain in self.gains],
            [contrast[..., blocks, blocks, blocks] for contrast in self.contrasts],
            [gate[..., blocks, blocks, blocks] for gate in self.gates],
        )


def class_probabilities(logits: Tensor) -> Tensor:
    """Compute probabilities ``(B, I, J, K, L)`` float32 of logits ``(B, L, I, J, K)``."""
    return logits.movedim(1, -1).softmax(-1, dtype=torch.float32)  # no copy of channels_last


def expected_value(probabilities: Tensor, values: Tensor) -> Tensor:
    """Average values ``(L,)`` by probabilities ``(..., L)``, in their precision: ``(...)``."""
    with torch.autocast(probabilities.device.type, enabled=False):  # 16 bits would show in the T1w
        return probabilities @ values.to(probabilities)


def split_output(output: Tensor, has_scale: bool, classes: int) -> Prediction:
    """Split the channels of an output.

    Parameters
    ----------
    output
        Output of a network, ``(B, 1 + has_scale + classes, I, J, K)``.
    has_scale
        Whether the second channel is the Laplace scale.
    classes
        Number of classes of the segmentation; 0 for none.
    """
    t1w, scale, logits = output.split([1, int(has_scale), classes], 1)
    log_scale = torch.logaddexp(scale.float(), scale.new_tensor(LOWEST_LOG_SCALE))
    return Prediction(t1w.float(), log_scale if has_scale else None, logits if classes else None)


class ExamUNet(nn.Module):
    """Turn the scans of an exam into one T1w, with uncertainty and segmentation.

    Parameters
    ----------
    features
        Number of features at the finest level; they double with every level.
    levels
        Number of resolutions; each but the first halves the voxels of the one before.
    stride
        1 works at the resolution of the input. 2 folds 2x2x2 voxels into channels first and
        unfolds them last: an eighth of the voxels, the same input and output.
    classes
        Classes of the segmentation; None predicts no segmentation.
    has_scale
        Whether to predict the Laplace scale.
    is_guided
        Whether the voxels of the scans steer the output directly; see `Guide`.
    mixture_steps
        Steps by which the segmentation is fitted to the intensities of the exam itself; see
        `Mixture`. 0 for no mixture.

    Raises
    ------
    ValueError
        For another stride, and for a mixture without a tissue of each class.
    """

    later_parts = ('guide.', 'mixture.')  # trainings may start from weights without them

    def __init__(
        self,
        features: int = 32,
        levels: int = 4,
        stride: int = 2,
        classes: SegmentationClasses | None = None,
        has_scale: bool = True,
        is_guided: bool = False,
        mixture_steps: int = 0,
    ) -> None:
        super().__init__()
        classes = classes or SegmentationClasses()
        if stride not in (1, 2):
            raise ValueError(f'ExamUNet works at a stride of 1 or 2, not {stride}')
        if mixture_steps and len(classes.tissues) != classes.count:
            raise ValueError(
                f'{len(classes.tissues)} tissues were given for {classes.count} classes'
            )
        widths = [features * 2**level for level in range(levels)]
        self.stride, self.has_scale, self.classes = stride, has_scale, classes
        self.class_t1w: Tensor
        self.register_buffer('class_t1w', torch.tensor(classes.t1w), persistent=False)
        self.encoder = Encoder(SCAN_CHANNELS * stride**3, widths, nn.Identity, NormedBlock)
        self.fusions = nn.ModuleList(Fusion(width) for width in widths)
        self.decoder = Decoder(widths, nn.Identity, NormedBlock)
        outputs = 1 + has_scale + classes.count
        self.head = nn.Conv3d(features, outputs * stride**3, 1)
        self.guide = Guide(features, outputs) if is_guided else None
        self.mixture = Mixture(features, classes.tissues, mixture_steps) if mixture_steps else None
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> ExamUNet:
        """Build the network from the flat arguments that recipes and weight files hold.

        Parameters
        ----------
        arguments
            Arguments of the constructor by name, but those of `CLASS_ARGUMENTS` (number, T1w
            intensities and tissues of the classes) in place of ``classes``.
        """
        classes = SegmentationClasses(
            **{CLASS_ARGUMENTS[key]: value for key, value in arguments.items()
               if key in CLASS_ARGUMENTS}
        )  # fmt: skip
        others = {key: value for key, value in arguments.items() if key not in CLASS_ARGUMENTS}
        return cls(classes=classes, **others)

    @property
    def multiple(self) -> int:
        """What the input's sides must be multiples of."""
        return self.stride * 2 ** (len(self.fusions) - 1)

    @property
    def offsets(self) -> list[Offset]:
        """All voxels of a block."""
        sides = range(self.stride)
        return [(i, j, k) for i in sides for j in sides for k in sides]

    def forward(
        self,
        scans: Tensor,
        reliability: Tensor,
        present: Tensor | None = None,
        offset: Offset | None = None,
    ) -> Prediction:
        """Predict from all scans at once.

        Parameters
        ----------
        scans
            Intensities in [0, 1], ``(B, N, I, J, K)``.
        reliability
            Reliability of every voxel in [0, 1], ``(B, N, I, J, K)``.
        present
            Which scans count, ``(B, N)`` bool. None takes those whose reliability is not 0
            everywhere.
        offset
            Voxel of every block that alone is predicted, ``(B, C, I / stride, ...)``; None
            predicts all. One of them saves a training most of the time that many classes take.
        """
        exam = self._decode(self.encode(scans, reliability, present))
        offsets = self.offsets if offset is None else [offset]
        fit = self._fit_mixture(exam, offsets[0])
        parts = [self._predict(exam, fit, one) for one in offsets]
        if offset is not None:
            return parts[0]
        outputs = zip(*parts, strict=True)
        return Prediction(*map(self._interleave, outputs))  # type: ignore[arg-type]

    def encode(
        self, scans: Tensor, reliability: Tensor, present: Tensor | None = None
    ) -> EncodedScans:
        """Compute the features of each scan alone. See `forward` for the parameters."""
        self._check(scans, reliability)
        if present is None:
            present = reliability.amax((2, 3, 4)) > 0
        features = [
            self.encoder(channels_last(fold(torch.stack([image, reliable], 1), self.stride)))
            for image, reliable in zip(scans.unbind(1), reliability.unbind(1), strict=True)
        ]
        return EncodedScans(scans, features, self._pyramid(reliability), present)

    def predict_blocks(
        self,
        encoded: EncodedScans,
        max_voxels: int | None = None,
        offsets: Sequence[Offset] | None = None,
    ) -> Iterator[tuple[Offset, slice, Posterior]]:
        """Predict a few rows of blocks at a time, one voxel of each block after the other.

        So the probabilities of many classes need never be there at once. The network must have
        Laplace scale and segmentation.

        Parameters
        ----------
        encoded
            The encoded scans of an exam, all or some of them.
        max_voxels
            Most voxels that are predicted at once, in whole rows, one row at least. None
            predicts all rows at once.
        offsets
            Voxels of every block that are predicted; None for all. The mixture is fitted to the
            first of them.

        Yields
        ------
        offset, rows, posterior
            Which voxel of every block, which rows of blocks, and the prediction there.
        """
        exam = self._decode(encoded)
        offsets = self.offsets if offsets is None else offsets
        fit = self._fit_mixture(exam, offsets[0])
        count, *others = (side // self.stride for side in encoded.scans.shape[2:])
        at_once = count if max_voxels is None else max(max_voxels // math.prod(others), 1)
        for first in range(0, count, at_once):
            rows = slice(first, min(first + at_once, count))
            for offset in offsets:
                yield offset, rows, self._posterior(exam, fit, offset, rows)

    def _decode(self, encoded: EncodedScans) -> _DecodedExam:
        """Fuse and decode the scans, as far as all voxels of a block have it in common."""
        fused = [
            fuse(features, reliability, encoded.present)
            for fuse, features, reliability in zip(
                self.fusions, zip(*encoded.features, strict=True), encoded.reliability, strict=True
            )
        ]
        features = self.decoder(fused)
        finest = [levels[0] for levels in encoded.features]
        trust = (encoded.reliability[0] + LEAST_TRUST) * encoded.present[..., None, None, None]
        gains: Sequence[Tensor] = ()
        contrasts: Sequence[Tensor] = ()
        gates: Sequence[Tensor] = ()
        if self.guide is not None:
            gains = self.guide(features, finest, trust)
            contrasts = [local_contrast(x, self.stride) for x in encoded.scans.split(1, 1)]
        if self.mixture is not None:
            gates = self.mixture.gates(features, finest, trust)
        return _DecodedExam(features, encoded.scans, trust, gains, contrasts, gates)

    @torch.no_grad()
    def _fit_mixture(self, exam: _DecodedExam, offset: Offset) -> MixtureFit | None:
        """Fit the mixture to one voxel of some blocks; None without a mixture."""
        if self.mixture is None:
            return None
        some = exam.thin_out(FIT_STEP)
        logits = self._predict_prior(some, offset, ALL_ROWS).logits
        assert logits is not None  # there are tissues, so there are classes
        images = thin(exam.scans, offset, self.stride)[..., ::FIT_STEP, ::FIT_STEP, ::FIT_STEP]
        spacing_mm = float(self.stride * FIT_STEP)
        fit = self.mixture.fit(logits, some.gates, images, some.trust, spacing_mm)
        return fit.enlarge(exam.features.shape[2:])

    def _predict(self, exam: _DecodedExam, fit: MixtureFit | None, offset: Offset) -> Prediction:
        """Predict one voxel of every block, ``(B, C, i, j, k)``."""
        prediction = self._predict_with_mixture(exam, fit, offset, ALL_ROWS)
        if prediction.logits is None or not len(self.class_t1w):
            return prediction
        probabilities = class_probabilities(prediction.logits)
        t1w = self._add_expected(prediction.t1w[:, 0], probabilities)
        return prediction._replace(t1w=t1w[:, None])

    def _posterior(
        self, exam: _DecodedExam, fit: MixtureFit | None, offset: Offset, rows: slice
    ) -> Posterior:
        """Predict one voxel of every block in some rows of blocks."""
        prediction = self._predict_with_mixture(exam, fit, offset, rows)
        assert prediction.log_scale is not None and prediction.logits is not None
        probabilities = class_probabilities(prediction.logits)
        t1w = self._add_expected(prediction.t1w[:, 0], probabilities)
        return Posterior(t1w, prediction.log_scale[:, 0].exp(), probabilities)

    def _add_expected(self, t1w: Tensor, probabilities: Tensor) -> Tensor:
        """Add the T1w that the classes ``(B, i, j, k, L)`` lead to expect to ``(B, i, j, k)``."""
        values = self.class_t1w
        return t1w + expected_value(probabilities, values) if len(values) else t1w

    def _predict_with_mixture(
        self, exam: _DecodedExam, fit: MixtureFit | None, offset: Offset, rows: slice
    ) -> Prediction:
        """Predict the posterior of the mixture, but the T1w as a difference."""
        prior = self._predict_prior(exam, offset, rows)
        if self.mixture is None or fit is None or prior.logits is None:
            return prior
        gates = [gate[:, :, rows] for gate in exam.gates]
        images = thin(exam.scans, offset, self.stride)[:, :, rows]
        logits = self.mixture.posterior(prior.logits, fit.select_rows(rows), gates, images)
        return prior._replace(logits=logits)

    def _predict_prior(self, exam: _DecodedExam, offset: Offset, rows: slice) -> Prediction:
        """Predict from features and guide alone; this segmentation is the mixture's prior."""
        output = self._apply_head(exam.features[:, :, rows], offset)
        number = (offset[0] * self.stride + offset[1]) * self.stride + offset[2]
        for gains, contrasts in zip(exam.gains, exam.contrasts, strict=True):
            gain = gains[:, :, rows]
            contrast = contrasts[:, number : number + 1, rows]
            output.addcmul_(gain, contrast.to(gain))  # no copy; gradients need none of it
        return split_output(output, self.has_scale, self.classes.count)

    def _apply_head(self, features: Tensor, offset: Offset) -> Tensor:
        """Compute the output channels of one voxel of every block from features of the block."""
        blocks = (-1, self.stride, self.stride, self.stride)
        weight, bias = (x.unflatten(0, blocks)[:, *offset] for x in self.head.parameters())
        output = functional.linear(features.movedim(1, -1), weight.flatten(1), bias)
        return output.movedim(-1, 1)  # faster than a convolution of one voxel

    def _interleave(self, parts: Sequence[Tensor | None]) -> Tensor | None:
        """Join all voxels of the blocks of one output; None where the network has no such."""
        present = [part for part in parts if part is not None]
        if not present:
            return None
        sides = (side * self.stride for side in present[0].shape[2:])
        whole = present[0].new_empty(*present[0].shape[:2], *sides)
        for part, offset in zip(present, self.offsets, strict=True):
            thin(whole, offset, self.stride).copy_(part)
        return whole

    def _pyramid(self, reliability: Tensor) -> list[Tensor]:
        """Average reliability over the voxels of each level, ``(B, N, i, j, k)``."""
        steps = [self.stride, *(2 for _ in range(len(self.fusions) - 1))]
        levels = [reliability]
        for step in steps:
            levels.append(functional.avg_pool3d(levels[-1], step))
        return levels[1:]

    def _check(self, scans: Tensor, reliability: Tensor) -> None:
        """Refuse shapes that do not fit each other or the network."""
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


@dataclass(frozen=True, eq=False)
class TrainedExamUNet:
    """A network with Laplace scale and segmentation, and what has to be known to use it.

    Parameters
    ----------
    network
        The network in evaluation mode.
    labels
        Label value of each class of its segmentation, ``(L,)``.
    window
        Voxels along R, A and S of what it was trained on.
    file
        What provenance should state of the weights: name and SHA-256 of their file.
    caution
        What everyone who uses it must know, a sentence; empty for nothing.
    odds
        Factors of the probabilities of the classes by which these become true ones, ``(L,)``
        (`bids_synthsr.training.calibration`); empty for a network that was not calibrated.

    Raises
    ------
    ValueError
        If the network lacks one of these outputs, or labels or odds do not fit its classes.
    """

    network: ExamUNet
    labels: Sequence[int]
    window: tuple[int, int, int]
    file: Mapping[str, str] = field(default_factory=dict)
    caution: str = ''
    odds: Sequence[float] = ()

    def __post_init__(self) -> None:
        count, has_scale = self.network.classes.count, self.network.has_scale
        if not has_scale or count != len(self.labels):
            raise ValueError(
                f'The network predicts {count} classes '
                f'{"and" if has_scale else "without"} a Laplace scale; any-exam needs '
                f'both, and {len(self.labels)} labels are named'
            )
        if self.odds and len(self.odds) != len(self.labels):
            raise ValueError(f'{len(self.odds)} odds were given for {len(self.labels)} labels')
