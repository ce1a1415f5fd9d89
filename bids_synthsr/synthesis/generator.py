"""Random exams from label maps.

What training calls, and nothing else is needed::

    table = freesurfer_table()                             # synthesis/labels.py
    prior = prior_by_name('clinical-2d')                   # synthesis/worlds.py
    heads = [make_head(labels, image, table, name), ...]   # synthesis/heads.py
    sample = generate(heads, prior, table, (128, 128, 128), generator, device)
    again = replay(sample.draws, heads, table, device)     # the same, voxel by voxel

`draw_sample` decides everything that is random, on the CPU and in plain numbers; `apply_draw`
computes, on any device. A `Draw` is stored as JSON and read back (`values.serial`).
Voxel noise comes from seeds of the device's own generator, so a replay is exact on the same kind
of device; everything else is drawn on the CPU and is the same everywhere.

A sample has room for ``prior.slots`` scans; scan 0 is the reference and is always present.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from bids_synthsr.imaging.displacements import pull_at
from bids_synthsr.imaging.intensity import percentile_range
from bids_synthsr.imaging.resampling import sample_linear
from bids_synthsr.synthesis.artefacts import apply_artefacts
from bids_synthsr.synthesis.contrast import (
    apply_bias,
    draw_intensities,
    paint,
    paint_statistics,
    t1w_means,
)
from bids_synthsr.synthesis.deformation import head_positions, warp_labels
from bids_synthsr.synthesis.draws import Draw, ScanDraw, draw_sample
from bids_synthsr.synthesis.fields import Shape
from bids_synthsr.synthesis.heads import Head
from bids_synthsr.synthesis.labels import LabelTable, look_up
from bids_synthsr.synthesis.overlays import (
    add_fat,
    add_tissues,
    pathology_labels,
    remaining_mask,
)
from bids_synthsr.synthesis.priors import GeneratorPrior, Normalisation
from bids_synthsr.synthesis.scanning import acquire_slices, blur, into_box, lay_slices, to_crop
from bids_synthsr.values.serial import as_plain, read_dataclass


@dataclass
class Sample:
    """What a network trains on: a batch of exams on 1 mm grids.

    Parameters
    ----------
    scans
        Scans in [0, 1], ``(B, N, I, J, K)``, resampled as at inference.
    reliability
        Reliability of each voxel of the scans in [0, 1], ``(B, N, I, J, K)``.
    present
        Whether an exam has each of the scans, ``(B, N)`` bool. Absent scans are all zero.
    target
        Image to predict, ``(B, 1, I, J, K)``: the reference at high resolution in the units of
        ``scans[:, 0]``, or the T1w with white matter 1.
    segmentation
        Indices into ``LabelTable.targets``, ``(B, I, J, K)`` int64.
    weight
        Weight of each voxel in the loss, ``(B, 1, I, J, K)``: 1 where the loss counts.
    draws
        Draw of each element of the batch, in JSON types.
    """

    scans: torch.Tensor
    reliability: torch.Tensor
    present: torch.Tensor
    target: torch.Tensor
    segmentation: torch.Tensor
    weight: torch.Tensor
    draws: list[dict[str, Any]]


def generate(
    heads: Sequence[Head],
    prior: GeneratorPrior,
    table: LabelTable,
    shape: Shape,
    generator: torch.Generator,
    device: torch.device | str = 'cpu',
) -> Sample:
    """Generate one exam of each head.

    Parameters
    ----------
    heads
        Label maps, each with or without a real T1w image.
    prior
        Prior of everything that an exam may be.
    table
        Table of all labels that may occur.
    shape
        Number of voxels of a sample along each axis, 1 mm each.
    generator
        Random generator on the CPU, whatever the device.
    device
        Device on which samples are computed.
    """
    draws = [
        replace(draw_sample(prior, table, shape, generator), head=head.name) for head in heads
    ]
    exams = [
        apply_draw(draw, head, table, device) for draw, head in zip(draws, heads, strict=True)
    ]
    return _stack(exams)


def replay(
    draws: Sequence[Mapping[str, Any]],
    heads: Sequence[Head],
    table: LabelTable,
    device: torch.device | str = 'cpu',
) -> Sample:
    """Make the sample of stored draws again, from the same heads.

    Parameters
    ----------
    draws
        Draws in JSON types, as `Sample.draws` holds them.
    heads
        Head to which each of the draws was applied.
    table
        Table of all labels that may occur.
    device
        Device on which samples are computed.

    Raises
    ------
    ValueError
        For a draw that another version of the generator stored.
    """
    restored = [read_dataclass(Draw, draw, 'draw') for draw in draws]
    return _stack(
        [apply_draw(draw, head, table, device) for draw, head in zip(restored, heads, strict=True)]
    )


def _stack(samples: list[Sample]) -> Sample:
    """Put samples of one exam together in a batch."""
    values = {
        name: torch.cat([getattr(sample, name) for sample in samples])
        for name in ('scans', 'reliability', 'present', 'target', 'segmentation', 'weight')
    }
    return Sample(**values, draws=[draw for sample in samples for draw in sample.draws])


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The deformed head of one sample; every volume is ``(I, J, K)``.

    Parameters
    ----------
    scan_labels
        Label values that the scans show.
    target_labels
        Label values that the target shows: healthy tissue where lesions are to be removed.
    segmentation
        Indices into `LabelTable.targets` for the target; background where something was cut away.
    remaining
        Mask of what skull-stripping and defacing left, or None where neither was done.
    image
        Real T1w with white matter 1, or None.
    """

    scan_labels: torch.Tensor
    target_labels: torch.Tensor
    segmentation: torch.Tensor
    remaining: torch.Tensor | None
    image: torch.Tensor | None


@torch.no_grad()
def apply_draw(
    draw: Draw, head: Head, table: LabelTable, device: torch.device | str = 'cpu'
) -> Sample:
    """Compute the sample of one draw: a batch of one, from nothing random but the draw's seeds.

    Parameters
    ----------
    draw
        Draw of the exam.
    head
        Label map, with or without a real T1w image.
    table
        Table of all labels that may occur.
    device
        Device on which the sample is computed.
    """
    device = torch.device(device)
    anatomy = deform_head(draw, head, table, device)
    scans = torch.zeros(1, draw.slots, *draw.shape, device=device)
    reliability = torch.zeros_like(scans)
    target = torch.zeros(1, 1, *draw.shape, device=device)
    for slot, scan in enumerate(draw.scans):
        resampled, reliability[0, slot] = make_scan(scan, anatomy, table, draw)
        low, high = normalisation_range(resampled, draw.normalisation)
        scans[0, slot] = ((resampled - low) / (high - low)).clamp_(0, 1)
        if slot == 0 and draw.target == 'reference':
            fine = blur(paint_scan(scan, anatomy.target_labels, table), draw.blur_sd)
            target[0, 0] = (fine - low) / (high - low)
    if draw.target == 't1w':
        painted = paint(anatomy.target_labels, t1w_means(table.classes), table)
        target[0, 0] = blur(painted, draw.blur_sd) if anatomy.image is None else anatomy.image
    if anatomy.remaining is not None:
        target *= anatomy.remaining
    present = torch.arange(draw.slots, device=device)[None] < len(draw.scans)
    weight = field_of_view(draw, device)
    return Sample(
        scans,
        reliability,
        present,
        target,
        anatomy.segmentation[None],
        weight,
        [as_plain(draw)],
    )


def deform_head(draw: Draw, head: Head, table: LabelTable, device: torch.device) -> Anatomy:
    """Deform and crop a head, and draw into it what its label map does not show."""
    positions = head_positions(draw.deformation, head.center, draw.shape, device)
    labels = warp_labels(head.labels.to(device), positions)
    if draw.deformation.flip:
        labels = look_up(table.mirror_of, labels)
    image = None
    if head.image is not None and draw.target == 't1w':
        image = pull_at(head.image.to(device)[None], positions)[0]
    labels = add_fat(labels, draw.tissues)
    healthy = add_tissues(labels, draw.tissues, table)
    disease = pathology_labels(labels, draw.pathology, table)
    scan_labels = target_labels = healthy
    if disease is not None:
        scan_labels = torch.where(disease > 0, disease, healthy)
        if draw.pathology.is_target:
            target_labels = scan_labels
            labels = torch.where(disease > 0, disease, labels)
            if image is not None:
                painted = paint(disease, t1w_means(table.classes), table)
                image = torch.where(disease > 0, painted, image)
    segmentation = look_up(table.target_of, labels)
    remaining = remaining_mask(labels, draw.removal, table)
    if remaining is not None:
        segmentation *= remaining
    return Anatomy(scan_labels, target_labels, segmentation, remaining, image)


def paint_scan(scan: ScanDraw, labels: torch.Tensor, table: LabelTable) -> torch.Tensor:
    """Paint a scan that has not moved at high resolution, bias field included: ``(I, J, K)``."""
    statistics = paint_statistics(labels, scan.contrast, table)
    return apply_bias(draw_intensities(statistics, scan.contrast), scan.bias)


def make_scan(
    scan: ScanDraw, anatomy: Anatomy, table: LabelTable, draw: Draw
) -> tuple[torch.Tensor, torch.Tensor]:
    """Paint, acquire, corrupt and resample one scan.

    Parameters
    ----------
    scan
        Draw of the scan.
    anatomy
        Deformed head of the sample.
    table
        Table of all labels that may occur.
    draw
        Draw of the whole exam.

    Returns
    -------
    resampled
        Intensities on the crop, ``draw.shape``, not normalised.
    reliability
        Reliability of each voxel in [0, 1], ``draw.shape``.
    """
    slices = lay_slices(scan.motion, scan.acquisition, draw.shape)
    if scan.motion.is_moved:
        # statistics are interpolated: interpolation would soften the noise of an image unevenly
        margin = math.ceil(3 * max(scan.acquisition.profile_sd)) + 1
        statistics = paint_statistics(anatomy.scan_labels, scan.contrast, table)
        statistics = into_box(statistics, slices, margin)
        fine = apply_bias(draw_intensities(statistics, scan.contrast), scan.bias)
    else:
        fine = paint_scan(scan, anatomy.scan_labels, table)
    native = acquire_slices(fine, slices, scan.acquisition, draw.blur_sd)
    native = apply_artefacts(native, scan.artefacts)
    if anatomy.remaining is not None:
        native2crop = slices.native2crop[None].to(native.device)
        mask = anatomy.remaining[None, None].float()
        remaining = sample_linear(mask, native2crop, slices.native_shape)
        native = native * (remaining[0, 0] > 0.5)
    return to_crop(native, slices, scan.motion.is_moved, draw.shape)


def normalisation_range(
    image: torch.Tensor, kind: Normalisation
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the intensities that become 0 and 1.

    Parameters
    ----------
    image
        Intensities of a scan, of any shape.
    kind
        ``min-max``, or ``percentiles`` (0.1 and 99.9).
    """
    if kind == 'min-max':
        low, high = torch.aminmax(image)
    else:
        low, high = percentile_range(image)
    return low, high.maximum(low + 1e-6)


def field_of_view(draw: Draw, device: torch.device) -> torch.Tensor:
    """Mark what the reference scan covers, 1 or 0: ``(1, 1, *draw.shape)``."""
    slices = lay_slices(draw.scans[0].motion, draw.scans[0].acquisition, draw.shape)
    lines = []
    for axis, size in enumerate(draw.shape):
        index = (torch.arange(size, device=device) - slices.first[axis]) / slices.spacing[axis]
        lines.append(((index >= -0.5) & (index <= slices.native_shape[axis] - 0.5)).float())
    return (lines[0][:, None, None] * lines[1][:, None] * lines[2])[None, None]
