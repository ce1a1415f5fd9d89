"""One T1w, its uncertainty and a segmentation of any exam, by our own network.

The head is predicted in windows around the brain (`bids_synthsr.methods.exam_view`). Chin and neck
stay dark. Outside of the brain the T1w is predicted from those scans alone with which the network
is surest there: where one scan suppresses fat and another does not, it takes fat for something
else (lab/training-log.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from bids_synthsr.imaging.coverage import (
    Coverage,
    describe_cut_brain,
    find_cuts,
    measure_coverage,
)
from bids_synthsr.imaging.geometry import apply_affine, crop_grid
from bids_synthsr.imaging.inference import precision_for_bfloat16
from bids_synthsr.imaging.resampling import in_field_of_view
from bids_synthsr.methods.exam_size import TORCH_GB, ExamSize
from bids_synthsr.methods.exam_view import BlendedPrediction, ExamView, largest_piece
from bids_synthsr.morphometry.quality import Quality, expected_dice, quality_warnings
from bids_synthsr.morphometry.volumes import (
    ProbabilitySums,
    rows_of,
    sum_probabilities,
    volumes_of,
)
from bids_synthsr.networks.exam_unet import TrainedExamUNet
from bids_synthsr.settings import LEAST_QUALITY
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import (
    Image,
    MethodForecast,
    Observation,
    Product,
    Synthesis,
    Table,
)
from bids_synthsr.values.structures import STRUCTURES, TISSUES

METHOD, DESC = 'any-exam', 'anyexam'
WHITE_MATTER = 110.0  # intensity, as in FreeSurfer
NETWORK_MM = 1.0  # voxels of the output that it makes
THINNED = 2  # voxels of the brain from one that is listed to the next
STEM = (16,)  # label values of what goes on into the neck
WINDOWS_GB = 3.5  # probabilities of all classes in the windows


def synthesize(
    observations: Sequence[Observation],
    grid: Grid,
    *,
    trained: TrainedExamUNet,
    precision: str = 'auto',
    low_mem: bool = False,
    least_quality: float = LEAST_QUALITY,
) -> Synthesis:
    """Predict a 1 mm T1w, its uncertainty, a segmentation and a brain mask from an exam.

    Parameters
    ----------
    observations
        Scans of the exam, the reference first; of any contrasts.
    grid
        The output grid: 1 mm, axes in RAS order.
    trained
        The network, on the device that shall run it.
    precision
        Precision of its arithmetic, one of `bids_synthsr.imaging.inference.PRECISIONS`; ``auto``
        is bfloat16 where 16 bits are faster.
    low_mem
        Whether to keep probabilities in 16 bits, in half the memory.
    least_quality
        Score below which a warning calls the exam doubtful.

    Raises
    ------
    ValueError
        Where no brain is found.
    """
    if precision == 'auto':
        precision = precision_for_bfloat16(_device_of(trained))
    view = ExamView(observations, grid, trained, precision)
    center = view.find_brain()
    agreement, outside = view.compare_scans(center)
    blended = view.predict_around(center, outside, torch.float16 if low_mem else torch.float32)
    segmentation = segment(blended, trained)
    expected = expected_dice(segmentation.sums, trained.labels)
    quality = Quality(expected, segmentation.coverage, agreement)
    coverages, cuts = cover_brain(observations, grid, segmentation)
    volumes = volumes_of(segmentation.sums, trained.labels, float(np.prod(grid.spacing)))
    facts = {
        'method': METHOD,
        'scans': [scan.contrast for scan in observations],
        'scans_reason': 'the network takes all scans of an exam',
        'scans_outside_brain': [observations[scan].contrast for scan in outside],
        **_network_facts(view),
        'windows': blended.windows,
        'quality': quality.as_facts(),
        'brain_coverage': [asdict(coverage) for coverage in coverages],
        'brain_cut_mm2': cuts,
    }
    doubts = [*describe_cut_brain(cuts), *quality_warnings(quality, least_quality)]
    warnings = [*view.warnings, *doubts, *filter(None, [trained.caution])]
    images = _images(blended, segmentation, grid, trained.labels)
    products: tuple[Product, ...] = (*images, Table('volumes', DESC, rows_of(volumes)))
    return Synthesis(products, facts, tuple(dict.fromkeys(warnings)))


def forecast(size: ExamSize) -> MethodForecast:
    """Forecast memory, which probabilities take most of, and time from the number of scans."""
    memory_gb = TORCH_GB + WINDOWS_GB + 0.08 * size.output_millions
    seconds = 25.0 * len(size.contrasts)
    return MethodForecast(memory_gb, seconds if size.in_16_bits else 2 * seconds)


def find_obstacle(
    contrasts: Sequence[str],  # noqa: ARG001
    acquisitions: Sequence[Acquisition],  # noqa: ARG001
    spacing_mm: float,
) -> str:
    """Describe why an exam cannot be processed, in a sentence; empty if it can.

    Parameters
    ----------
    contrasts, acquisitions
        BIDS suffixes and slices of the scans; the network takes all.
    spacing_mm
        Voxel size of the output, mm.
    """
    if abs(spacing_mm - NETWORK_MM) > 0.01:
        return f'The network makes voxels of {NETWORK_MM:g} mm only.'
    return ''


def _network_facts(view: ExamView) -> dict[str, Any]:
    """List what provenance should state of the network, and where it ran."""
    return {
        'labels': list(view.trained.labels),
        'is_calibrated': bool(view.trained.odds),
        'precision': view.precision,
        'device': _device_of(view.trained).type,
        **view.trained.file,
    }


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The segmentation of an exam on the output grid.

    Parameters
    ----------
    labels
        Label values, ``(I, J, K)`` int16.
    tissues
        Probability of each of `TISSUES`, ``(I, J, K)`` float32.
    brain
        Some voxels of the brain, ``(N, 3)``, counted on the output grid, beyond which they may
        lie.
    sums
        Sums of the probabilities on the output grid, by class.
    coverage
        Share of the brain that lies on the output grid, 0 to 1.
    """

    labels: np.ndarray
    tissues: tuple[np.ndarray, ...]
    brain: np.ndarray
    sums: ProbabilitySums
    coverage: float


def segment(blended: BlendedPrediction, trained: TrainedExamUNet) -> Segmentation:
    """Calibrate probabilities, in place, and choose the likeliest class of every voxel.

    Parameters
    ----------
    blended
        What the network predicts around the brain; its probabilities become the calibrated ones.
    trained
        The network, for the label values and the odds of its classes.
    """
    probabilities, canvas = blended.probabilities, blended.canvas
    is_brain = torch.tensor([STRUCTURES[label].is_brain for label in trained.labels])
    if trained.odds:
        multiply_odds(probabilities, torch.tensor(trained.odds))
    classes = most_likely(probabilities)
    keep_one_brain(probabilities, classes, is_brain)
    labels = torch.tensor(trained.labels, dtype=torch.int16)[classes]
    brain, inside = is_brain[classes], canvas.inside
    return Segmentation(
        canvas.on_grid(labels),
        tuple(canvas.on_grid(share) for share in tissue_shares(probabilities, trained.labels)),
        THINNED * brain[::THINNED, ::THINNED, ::THINNED].nonzero().numpy() + np.array(canvas.low),
        sum_probabilities(probabilities[inside], classes[inside], trained.labels),
        float(brain[inside].sum() / brain.sum().clamp(min=1)),
    )


def cover_brain(
    observations: Sequence[Observation], grid: Grid, segmentation: Segmentation
) -> tuple[list[Coverage], dict[str, float]]:
    """Measure how much of the brain the scans show, and where none shows more of it.

    Parameters
    ----------
    observations
        Scans of the exam, the reference first.
    grid
        Grid of the output.
    segmentation
        The segmentation on it.

    Returns
    -------
    coverages, cuts
        Coverage of every scan and last of the output, and the area of each cut, mm², by its side.
    """
    views = [(scan.grid, scan.scan2ref) for scan in observations]
    brain = apply_affine(grid.vox2ras, segmentation.brain)
    coverages = measure_coverage([brain], [*views, (grid, np.eye(4))], grid.directions)
    first, second, third = (slice(-1, size + 1) for size in grid.shape)
    wider = crop_grid(grid, (first, second, third))
    seen = [in_field_of_view(scan.grid, wider, scan.scan2ref) for scan in observations]
    is_above_neck = np.zeros(max(STRUCTURES) + 1, bool)
    is_above_neck[[x.index for x in STRUCTURES.values() if x.is_brain and x.index not in STEM]] = (
        True
    )
    above_neck = is_above_neck[segmentation.labels]
    return coverages, find_cuts(above_neck, np.logical_or.reduce(seen), grid.spacing)


def tissue_shares(probabilities: Tensor, labels: Sequence[int]) -> Iterator[Tensor]:
    """Add up the probabilities of the structures of each of `TISSUES`, ``(I, J, K)`` float32.

    Parameters
    ----------
    probabilities
        Probabilities of the classes, ``(I, J, K, L)``.
    labels
        Label value of each class.
    """
    of_tissue = torch.tensor(
        [[float(STRUCTURES[label].tissue == tissue) for tissue in TISSUES] for label in labels]
    )
    shares = torch.stack([plane.float() @ of_tissue for plane in probabilities])
    yield from shares.clamp_(0, 1).unbind(-1)


def multiply_odds(probabilities: Tensor, odds: Tensor) -> None:
    """Multiply probabilities by the odds of their classes, in place; their sum stays 1.

    Where no window lies, it stays 0.

    Parameters
    ----------
    probabilities
        Probabilities of the classes, ``(I, J, K, L)``.
    odds
        Factor of each class, ``(L,)``.
    """
    for plane in probabilities:  # a copy of all would double the memory
        weighted = plane.float()
        total = (weighted @ odds).clamp(min=1e-6)
        plane.copy_(weighted.mul_(odds).div_(total[..., None]))


def most_likely(probabilities: Tensor) -> Tensor:
    """Choose the likeliest class of every voxel: ``(I, J, K, L)`` to ``(I, J, K)`` int64."""
    return torch.stack([plane.float().argmax(-1) for plane in probabilities])


def keep_one_brain(probabilities: Tensor, classes: Tensor, is_brain: Tensor) -> None:
    """Remove brain that is not connected with the largest piece of it, in place.

    Parameters
    ----------
    probabilities
        Probabilities of the classes, ``(I, J, K, L)``.
    classes
        Likeliest class of every voxel, ``(I, J, K)``.
    is_brain
        Which classes are brain, ``(L,)``.
    """
    brain = is_brain[classes].numpy()
    stray = torch.from_numpy(brain & ~largest_piece(brain))
    others = probabilities[stray].float() * ~is_brain  # (V, L)
    others /= others.sum(1, keepdim=True).clamp(min=1e-6)
    probabilities[stray] = others.to(probabilities.dtype)
    classes[stray] = others.argmax(1)


def intracranial_mask(labels: np.ndarray) -> np.ndarray:
    """Mark brain, ventricles and CSF of a segmentation, with what they enclose.

    Parameters
    ----------
    labels
        Label values, ``(I, J, K)``.
    """
    within = [index for index, structure in STRUCTURES.items() if structure.is_intracranial]
    return ndimage.binary_fill_holes(np.isin(labels, within))


def _images(
    blended: BlendedPrediction, segmentation: Segmentation, grid: Grid, labels: Sequence[int]
) -> tuple[Image, ...]:
    """Put the volumes on the output grid, the T1w first."""
    maps = (blended.t1w, without_block_pattern(blended.scale))
    t1w, scale = (blended.canvas.on_grid(x) for x in maps)
    mask = intracranial_mask(segmentation.labels).astype(np.uint8)
    return (
        Image('T1w', DESC, (WHITE_MATTER * t1w).clip(0), grid),
        Image('uncertainty', DESC, WHITE_MATTER * scale, grid),
        Image('dseg', DESC, segmentation.labels, grid, tuple(labels)),
        Image('mask', 'brain', mask, grid),
        Image('dseg', '', tissue_labels(segmentation.labels), grid, (0, 1, 2, 3)),
        *(
            Image('probseg', '', shares, grid, entities={'label': tissue})
            for tissue, shares in zip(TISSUES, segmentation.tissues, strict=True)
        ),
    )


def without_block_pattern(scale: Tensor) -> Tensor:
    """Average neighbours, 1 2 1 along each axis, so that every second voxel is no surer.

    A network that works on blocks of 2 voxels leaves such a pattern, which says nothing.

    Parameters
    ----------
    scale
        Laplace scale, ``(I, J, K)``; 0 where nothing was predicted, which stays and counts for
        nothing.
    """
    is_known = (scale > 0).to(scale)
    sums, counts = scale, is_known
    for axis in range(3):
        sums, counts = (_binomial(x, axis) for x in (sums, counts))
    return is_known * sums / counts.clamp(min=1e-6)


def _binomial(volume: Tensor, axis: int) -> Tensor:
    """Average 1 2 1 along an axis; the border is continued."""
    size = volume.shape[axis]
    ends = volume.narrow(axis, 0, 1), volume.narrow(axis, size - 1, 1)
    wider = torch.cat([ends[0], volume, ends[1]], axis)
    return wider.narrow(axis, 0, size) / 4 + volume / 2 + wider.narrow(axis, 2, size) / 4


def tissue_labels(labels: np.ndarray) -> np.ndarray:
    """Number the tissue of every voxel as in `TISSUES`, from 1; 0 outside of the brain.

    Parameters
    ----------
    labels
        Label values of structures, ``(I, J, K)``.
    """
    values = np.zeros(max(STRUCTURES) + 1, np.int16)
    for number, tissue in enumerate(TISSUES, 1):
        values[[index for index, x in STRUCTURES.items() if x.tissue == tissue]] = number
    return values[labels]


def _device_of(trained: TrainedExamUNet) -> torch.device:
    """Return the device on which the network lies."""
    return next(trained.network.parameters()).device
