"""Judging a scan by its name, sidecar, header and voxels: every verdict is a sentence.

Nothing here raises for a bad scan. What rules it out is written in ``Scan.problems``, what a
reader should know nevertheless in ``Scan.warnings``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bids_synthsr.dataset.headers import find_template, read_grid
from bids_synthsr.dataset.image_files import UnusableScanError, read_header, read_voxels
from bids_synthsr.dataset.kinds import (
    find_agent,
    find_kind_problems,
    find_processing,
    texts_of,
)
from bids_synthsr.dataset.unchanged import check_header, unchanged
from bids_synthsr.dataset.voxels import judge_voxels
from bids_synthsr.values.exam import Acquisition, Scan
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.text import plain_text

MIN_SLICES = 10  # localisers hold 1 to 9; a head of 120 mm in slices of 12 mm holds 10
EVALUATED_SPACING_MM = 7.0  # the coarsest that Iglesias et al. 2021 evaluate, section 3.3.1
MIN_COVERAGE_MM = 60.0  # below half of the MNI152 brain, 145 x 181 x 155 mm: a targeted slab
FULL_COVERAGE_MM = 110.0  # clinical exams of the whole brain (open_ms_data) cover 117 to 145 mm
SPACING_TOLERANCE = 0.05  # of the spacing: headers and sidecars round to 0.1 mm
MAX_SHOWN = 60  # characters of a value in a message
PLAUSIBLE_THICKNESS = (0.3, 2.1)  # of the spacing: from wide gaps to slabs interpolated by two

SCOUT_WORDS = re.compile(r'scout|locali[sz]er|\bsurvey\b|\b3[- ]?plane', re.IGNORECASE)
HEAD_WORDS = re.compile(r'head|brain|skull|neuro|cran|kopf|sch[aä]del|t[eê]te', re.IGNORECASE)


def read_scan(
    path: Path,
    suffix: str,
    entities: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Scan:
    """Judge a scan without reading its voxels.

    Parameters
    ----------
    path
        Path of the image file.
    suffix, entities, metadata
        What its name and sidecar state, as in `Scan`.
    """
    entities, metadata = entities or {}, metadata or {}
    scan = Scan(
        Path(path),
        suffix,
        entities,
        metadata,
        agent=find_agent(entities, metadata),
    )
    processing = find_processing(metadata)
    problems = [*_declared_problems(scan)]
    notes = [*_declared_warnings(scan), *filter(None, [processing])]
    grid = acquisition = None
    try:
        header = read_header(scan.path, notes)
        template = find_template(header)
        notes += filter(None, [template])
        processing = processing or template
        grid = read_grid(header, notes)
        header_axis = header.get_dim_info()[2]
        acquisition = _read_acquisition(grid, header_axis, scan.metadata, notes)
        problems += _coverage_problems(grid, acquisition, scan.entities.get('chunk', ''))
        notes += _coverage_warnings(grid, acquisition)
    except UnusableScanError as error:
        problems.append(str(error))
    return replace(
        scan,
        grid=grid,
        acquisition=acquisition,
        is_processed=bool(processing),
        problems=tuple(problems),
        warnings=tuple(notes),
    )


def load_scan(scan: Scan, is_ct: bool = False) -> tuple[Scan, np.ndarray | None]:
    """Read the voxels of a scan and complete the verdict of `read_scan`.

    Parameters
    ----------
    scan
        Judged by its header.
    is_ct
        Whether its voxels are Hounsfield units, which are left as they are.

    Returns
    -------
    scan
        With digest, and judged by its voxels.
    voxels
        As `judge_voxels` returns them, on ``scan.grid``; None for a scan that is not usable.

    Raises
    ------
    FailedExamError
        If the file is not the one that was planned.
    """
    if not scan.is_usable:
        return scan, None
    notes: list[str] = []
    try:
        with unchanged(scan):
            check_header(scan, read_header(scan.path, []))
            array = read_voxels(scan.path, notes)
    except UnusableScanError as error:
        return replace(scan, problems=(str(error),)), None
    return judge_voxels(replace(scan, warnings=(*scan.warnings, *notes)), array, is_ct)


def _declared_problems(scan: Scan) -> Iterator[str]:
    """List what rules a scan out by its name and sidecar."""
    yield from find_kind_problems(scan.entities, scan.metadata)
    for key in ('SeriesDescription', 'ProtocolName', 'ImageType'):
        text = ' '.join(texts_of(scan.metadata, key))
        if SCOUT_WORDS.search(text):
            yield (
                f'Its sidecar calls it a scout ({key}: {plain_text(text)}); if it is none, '
                f'correct {key}.'
            )
            return


def _declared_warnings(scan: Scan) -> Iterator[str]:
    """List what a reader should know from name and sidecar."""
    if scan.agent:
        yield f'A contrast agent was given ({scan.agent}): vessels and lesions may be enhanced.'
    if scan.is_uniform:
        yield 'It is the uniform image of an MP2RAGE: a T1w whose background is noise.'
    for key in ('BodyPart', 'BodyPartExamined'):
        text = ' '.join(texts_of(scan.metadata, key))
        if text and not HEAD_WORDS.search(text):
            shown = plain_text(text)
            yield f'Its sidecar names another body part ({key}: {shown}): check what it shows.'
            break


def _read_acquisition(
    grid: Grid, header_axis: int | None, metadata: Mapping[str, Any], notes: list[str]
) -> Acquisition:
    """Find the slices: the header's spacing and the sidecar's thickness count.

    Without a thickness, or with one that contradicts the spacing, slices are taken to touch.
    """
    axis = _slice_axis(grid.spacing, header_axis, metadata, notes)
    spacing = round(float(grid.spacing[axis]), 4)  # headers are float32
    step = read_length(metadata, 'SpacingBetweenSlices', notes)
    if step is not None and abs(step - spacing) > SPACING_TOLERANCE * spacing:
        notes.append(
            f'Its slices lie {spacing:.3g} mm apart by its header, but {step:g} mm by its sidecar '
            '(SpacingBetweenSlices); the header counts.'
        )
    thickness = read_length(metadata, 'SliceThickness', notes) or spacing
    low, high = (factor * spacing for factor in PLAUSIBLE_THICKNESS)
    if not low <= thickness <= high:
        notes.append(
            f'Its slices lie {spacing:.3g} mm apart, but by its sidecar they are {thickness:g} mm '
            f'thick (SliceThickness), so it may have been resampled; {spacing:.3g} mm counts.'
        )
        thickness = spacing
    return Acquisition(axis, spacing, thickness)


def _slice_axis(
    spacing: np.ndarray, header_axis: int | None, metadata: Mapping[str, Any], notes: list[str]
) -> int:
    """Find the axis across the slices: of 2-D scans the stated one, else the coarsest."""
    coarsest = 2 - int(np.argmax(np.round(spacing[::-1], 3)))  # of equal ones the last
    direction = str(metadata.get('SliceEncodingDirection'))[:1]
    stated = 'ijk'.index(direction) if direction in tuple('ijk') else header_axis
    if stated is None or metadata.get('MRAcquisitionType') == '3D':
        return coarsest
    if spacing[stated] < (1 - SPACING_TOLERANCE) * spacing[coarsest]:
        notes.append(
            f'Sidecar or header name {"ijk"[stated]} as its slice axis, but {"ijk"[coarsest]} is '
            f'coarser ({spacing[coarsest]:.3g} mm); {"ijk"[coarsest]} counts.'
        )
        return coarsest
    return int(stated)


def read_length(metadata: Mapping[str, Any], key: str, notes: list[str]) -> float | None:
    """Read a length of the sidecar, mm; None where it gives none."""
    value = metadata.get(key)
    if value is None:
        return None
    try:
        length = float(value)
    except (TypeError, ValueError, OverflowError):
        length = math.nan
    if 0 < length < math.inf and not isinstance(value, bool):
        return length
    shown = plain_text(repr(value), MAX_SHOWN)
    notes.append(f'Its sidecar gives {key} as {shown}, which is no length: it was ignored.')
    return None


def _coverage_problems(grid: Grid, acquisition: Acquisition, chunk: str) -> Iterator[str]:
    """List what rules a field of view out."""
    part = f' It is chunk-{chunk} of an image: join its chunks to one file.' if chunk else ''
    extent = (np.asarray(grid.shape) * grid.spacing).min()
    slices = grid.shape[acquisition.slice_axis]
    if slices < MIN_SLICES:
        yield f'It has {slices} slices, as localisers do; at least {MIN_SLICES} are needed.{part}'
    elif min(grid.shape) < MIN_SLICES:
        size = ' x '.join(map(str, grid.shape))
        yield f'It has {size} voxels; at least {MIN_SLICES} along each axis are needed.'
    elif extent < MIN_COVERAGE_MM:
        yield (
            f'It covers {extent:.0f} mm of the head; at least {MIN_COVERAGE_MM:g} mm in every '
            f'direction are needed.{part}'
        )


def _coverage_warnings(grid: Grid, acquisition: Acquisition) -> Iterator[str]:
    """List what a reader should know of a field of view."""
    extent = (np.asarray(grid.shape) * grid.spacing).min()
    if MIN_COVERAGE_MM <= extent < FULL_COVERAGE_MM:
        yield f'It covers {extent:.0f} mm only: a part of the brain may lie outside.'
    if acquisition.slice_spacing > EVALUATED_SPACING_MM:
        yield (
            f'Its slices lie {acquisition.slice_spacing:.3g} mm apart; super-resolution was '
            f'evaluated up to {EVALUATED_SPACING_MM:g} mm, so trust fine detail less.'
        )
