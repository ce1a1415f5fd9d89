"""Draws: everything random about a generated exam, in plain numbers that can be stored."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch

from bids_synthsr.synthesis.artefacts import ArtefactDraw, draw_artefacts
from bids_synthsr.synthesis.contrast import BiasDraw, ContrastDraw, draw_bias, draw_contrast
from bids_synthsr.synthesis.deformation import ShapeDraw, draw_shape
from bids_synthsr.synthesis.fields import Shape, draw_chance, draw_index
from bids_synthsr.synthesis.labels import LabelTable
from bids_synthsr.synthesis.overlays import (
    PathologyDraw,
    RemovalDraw,
    TissueDraw,
    draw_pathology,
    draw_removal,
    draw_tissues,
)
from bids_synthsr.synthesis.priors import GeneratorPrior, Normalisation, ScanPrior, Target
from bids_synthsr.synthesis.scanning import (
    AcquisitionDraw,
    MotionDraw,
    draw_acquisition,
    draw_scan_motion,
)


@dataclass(frozen=True)
class ScanDraw:
    """One scan of an exam.

    Parameters
    ----------
    suffix
        BIDS suffix of what the scan is like; empty for a contrast that has none.
    has_agent
        Whether a contrast agent was given.
    contrast, bias, motion, acquisition, artefacts
        Draws of the steps that make the scan, in their order.
    """

    suffix: str
    has_agent: bool
    contrast: ContrastDraw
    bias: BiasDraw
    motion: MotionDraw
    acquisition: AcquisitionDraw
    artefacts: ArtefactDraw


@dataclass(frozen=True)
class Draw:
    """One exam: with a head it gives the same sample again.

    Parameters
    ----------
    shape
        Number of voxels of the crop along each axis, 1 mm each.
    slots
        Number of scans that a sample has room for.
    target, normalisation, blur_sd
        Copies of these fields of `GeneratorPrior`.
    deformation, tissues, pathology, removal
        Draws of the steps that change the head, in their order.
    scans
        Draws of the scans, with the reference first.
    head
        Name of the head to which the draw was applied.
    """

    shape: Shape
    slots: int
    target: Target
    normalisation: Normalisation
    blur_sd: float
    deformation: ShapeDraw
    tissues: TissueDraw
    pathology: PathologyDraw
    removal: RemovalDraw
    scans: tuple[ScanDraw, ...]
    head: str = ''


def draw_sample(
    prior: GeneratorPrior, table: LabelTable, shape: Shape, generator: torch.Generator
) -> Draw:
    """Draw an exam.

    Parameters
    ----------
    prior
        Prior of everything that an exam may be.
    table
        Table of all labels that may occur; it names the generation classes.
    shape
        Number of voxels of the crop along each axis, 1 mm each.
    generator
        Random generator on the CPU; equal states give equal draws.
    """
    return Draw(
        shape=shape,
        slots=prior.slots,
        target=prior.target,
        normalisation=prior.normalisation,
        blur_sd=prior.blur_sd,
        deformation=draw_shape(prior.shape, generator),
        tissues=draw_tissues(prior.tissues, generator),
        pathology=draw_pathology(prior.pathology, generator),
        removal=draw_removal(prior.removal, generator),
        scans=_draw_scans(prior, table, generator),
    )


def _draw_scans(
    prior: GeneratorPrior, table: LabelTable, generator: torch.Generator
) -> tuple[ScanDraw, ...]:
    """Draw the scans, with the reference first and in its place."""
    kinds = prior.scans
    if prior.scan_counts:
        weights = [kind.weight for kind in prior.scans]
        count = draw_index(prior.scan_counts, generator) + 1
        kinds = tuple(prior.scans[draw_index(weights, generator)] for _ in range(count))
    scans = [_draw_scan(kind, table, generator) for kind in kinds]
    reference = min(scans, key=_unfitness) if prior.scan_counts else scans[0]
    scans.sort(key=lambda scan: scan is not reference)
    return dataclasses.replace(scans[0], motion=MotionDraw()), *scans[1:]


def _draw_scan(kind: ScanPrior, table: LabelTable, generator: torch.Generator) -> ScanDraw:
    has_agent = draw_chance(kind.agent_probability, generator)
    acquisition = draw_acquisition(kind.acquisition, generator)
    return ScanDraw(
        suffix=kind.suffix,
        has_agent=has_agent,
        contrast=draw_contrast(kind.contrast, table.classes, has_agent, generator),
        bias=draw_bias(kind.bias, generator),
        motion=draw_scan_motion(kind.motion, generator),
        acquisition=acquisition,
        artefacts=draw_artefacts(kind.artefacts, acquisition.slice_axis, generator),
    )


def _unfitness(scan: ScanDraw) -> tuple[bool, float]:
    """Rank scans as inference does: a T1w without agent first, then the smallest voxels."""
    is_plain_t1w = scan.suffix == 'T1w' and not scan.has_agent
    return not is_plain_t1w, math.prod(scan.acquisition.spacing)
