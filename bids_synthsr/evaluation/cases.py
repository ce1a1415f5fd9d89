"""The cases of evaluations: which scans methods get, simulated ones or all but one of an exam."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from bids_synthsr import __version__
from bids_synthsr.dataset.selection import (
    PLANES,
    SelectionError,
    describe_exam,
    describe_orientation,
    select_scans,
)
from bids_synthsr.derivatives.records import fingerprint_digest, take_fingerprint
from bids_synthsr.imaging.forward_model import PROFILES
from bids_synthsr.methods.catalogue import METHODS
from bids_synthsr.values.exam import Acquisition, Exam, Scan

Slices = tuple[str, float, float]  # plane, spacing and thickness, mm
OUTPUT_MM = 1.0  # voxels of the volumes that are compared
_ENDINGS = {'gaussian': '', 'box': '_box'}  # of the names of cases, by profile


@dataclass(frozen=True)
class SimulatedCase:
    """Scans that are simulated of every head.

    Parameters
    ----------
    name
        Name in results: letters, digits and underscores.
    contrasts
        What each scan shows; the first one is the reference.
    orientation
        Plane of the slices of the first scan.
    spacing, thickness
        Distance between the centres of the slices, and their thickness, mm.
    methods
        Names of the methods that can take these scans.
    profile
        Profile of the slices: ``gaussian`` or ``box``.
    noise_percent
        Standard deviation of the noise in percent of bright tissue.
    """

    name: str
    contrasts: tuple[str, ...]
    orientation: str
    spacing: float
    thickness: float
    methods: tuple[str, ...]
    profile: str = PROFILES[0]
    noise_percent: float = 0.0


@dataclass(frozen=True)
class LeftOut:
    """A scan of an exam, and the scans from which it is to be explained.

    Parameters
    ----------
    name
        Name in results: letters, digits and underscores.
    others, left_out
        Exams in plain values, as `describe_exam` writes them: the other scans, and the one alone.
    facts
        What the table shows of the case, as `describe_case` writes it.
    methods
        Names of the methods that can take the others.
    """

    name: str
    others: Mapping[str, Any]
    left_out: Mapping[str, Any]
    facts: Mapping[str, str | float]
    methods: tuple[str, ...]


def can_take(method: str, contrasts: Sequence[str], acquisitions: Sequence[Acquisition]) -> bool:
    """Whether a method can process an exam.

    Parameters
    ----------
    method
        Name of the method in the catalogue.
    contrasts, acquisitions
        BIDS suffixes and slices of the scans, the reference's first.
    """
    return not METHODS[method].load().find_obstacle(contrasts, acquisitions, OUTPUT_MM)


def result_name(parent: str, case: str, method: str) -> str:
    """Name the results of a comparison, without an ending.

    Parameters
    ----------
    parent
        Name of the head or of the exam.
    case
        Name of the case among those of the head or exam.
    method
        Name of the method.
    """
    return f'{parent}_{case}_{method.replace("-", "_")}'


def name_truth(method: str, contrast: str, *, is_painted: bool) -> str:
    """Name what the volume of a method is compared with: ``T1w``, or the scan itself at 1 mm.

    Parameters
    ----------
    method
        Name of the method in the catalogue.
    contrast
        Contrast of the reference, such as ``FLAIR``.
    is_painted
        Whether the reference is painted from labels; a real T1w is both.
    """
    return f'{contrast} scan' if is_painted and not METHODS[method].makes_t1w else 'T1w'


def list_simulated_cases(
    exams: Sequence[Sequence[str]],
    slices: Sequence[Slices],
    methods: Sequence[str],
    profiles: Sequence[str] = PROFILES[:1],
    noise_percent: float = 0.0,
) -> tuple[SimulatedCase, ...]:
    """List what is simulated of every head.

    Parameters
    ----------
    exams
        Contrasts of the scans of each exam, the reference first.
    slices
        Slices of the first scan, as `list_slices` lists them.
    methods
        Names of all methods; one that cannot take the scans of a case is left out of it.
    profiles
        Profiles with which all slices are simulated.
    noise_percent
        Standard deviation of the noise of all scans in percent of bright tissue.
    """
    return tuple(
        SimulatedCase(
            _name_of(f'{"_".join(exam)}_{_name_of_slices(*setting)}{_ENDINGS[profile]}'),
            tuple(exam),
            *setting,
            tuple(x for x in methods if can_take(x, exam, _slices_of(exam, setting))),
            profile,
            noise_percent,
        )
        for exam in exams
        for setting in slices
        for profile in profiles
    )


def _slices_of(exam: Sequence[str], setting: Slices) -> list[Acquisition]:
    """Give the slices of every scan of a simulated exam, each in the next plane."""
    plane, spacing, thickness = setting
    first = PLANES.index(plane)
    return [Acquisition((first - n) % 3, spacing, thickness) for n in range(len(exam))]


def list_slices(
    spacings: Sequence[float], thicknesses: Sequence[float | None], planes: Sequence[str]
) -> Iterator[Slices]:
    """List plane, spacing and thickness of the slices to simulate.

    Parameters
    ----------
    spacings
        Distances between the centres of slices, mm.
    thicknesses
        Thicknesses of slices, mm; None is that of the spacing. Thicker ones are left out.
    planes
        Planes in which slices may lie.
    """
    for spacing in spacings:
        thick = dict.fromkeys(spacing if mm is None else mm for mm in thicknesses)
        for thickness in thick:
            if 0 < thickness <= spacing:
                yield from ((plane, spacing, thickness) for plane in planes)


def _name_of_slices(plane: str, spacing: float, thickness: float) -> str:
    """Name slices, with ``p`` for the decimal point."""
    return re.sub(r'\W', 'p', f'{plane}_{spacing:g}_{thickness:g}')


def _name_of(text: str) -> str:
    """Make a name of text: nipype takes letters, digits and underscores only."""
    return re.sub(r'\W', '_', text)


def list_left_out_cases(
    exam: Exam, bids_dir: Path, methods: Sequence[str], takes_subsets: bool
) -> Iterator[LeftOut]:
    """List what can be left out of an exam, and what it is to be explained from.

    Parameters
    ----------
    exam
        The exam, its scans judged by their headers.
    bids_dir
        Root of the data set of the exam.
    methods
        Names of all methods; one that cannot take the scans of a case is left out of it.
    takes_subsets
        Whether to explain a scan from every subset of the others, too.
    """
    try:
        scans = select_scans(exam).scans
    except SelectionError:
        return
    content = fingerprint_digest(take_fingerprint(exam, bids_dir, {}, __version__))
    for scan in scans:
        others = [other for other in scans if other is not scan]
        sizes = range(1 if takes_subsets else max(len(others), 1), len(others) + 1)
        for inputs in (inputs for size in sizes for inputs in combinations(others, size)):
            chosen = select_scans(replace(exam, scans=tuple(inputs))).scans
            contrasts = [other.suffix for other in chosen]
            acquisitions = [other.geometry[1] for other in chosen]
            able = tuple(x for x in methods if can_take(x, contrasts, acquisitions))
            names = '_'.join(other.name for other in inputs)
            if able:
                yield LeftOut(
                    f'{scan.name}_from_{names}'.replace('-', '_'),
                    describe_exam(replace(exam, scans=tuple(inputs)), content),
                    describe_exam(replace(exam, scans=(scan,)), content),
                    describe_case(exam, scan, inputs),
                    able,
                )


def describe_case(exam: Exam, scan: Scan, inputs: Sequence[Scan]) -> dict[str, str | float]:
    """Describe what was left out of what, for the table.

    Parameters
    ----------
    exam
        The exam of which all scans are.
    scan
        The scan that is left out.
    inputs
        The scans from which it is to be explained.
    """
    grid, acquisition = scan.geometry
    return {
        'subject': exam.subject,
        'session': exam.session or '',
        'left_out': scan.name,
        'contrasts': '+'.join(sorted(other.name for other in inputs)),
        'orientation': describe_orientation(grid, acquisition.slice_axis),
        'spacing': acquisition.slice_spacing,
        'thickness': acquisition.slice_thickness,
    }
