"""Which scans of an exam are used, which one is the reference, and why: a row for every scan."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from bids_synthsr.dataset.errors import FailedExamError
from bids_synthsr.dataset.filenames import NOT_USED
from bids_synthsr.dataset.filters import is_field, is_wanted
from bids_synthsr.dataset.ignoring import IGNORED
from bids_synthsr.dataset.kinds import is_ct, is_motion_corrected
from bids_synthsr.dataset.scans import load_scan, read_length
from bids_synthsr.values.exam import CHANNEL_KEYS, SUFFIXES, Exam, Scan, entities_of, suffix_of
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.serial import as_plain, read_dataclass

PLANES = ('sagittal', 'coronal', 'axial')  # by the RAS axis across the slices
ISOTROPIC = 1.25  # largest over smallest voxel size up to which slices do not stand out
OBLIQUE_DEG = 5.0  # slices that are tilted by less count as straight
SPACING_DECIMALS = 2  # mm: voxels that differ by less are equal but for rounding
VOLUME_DECIMALS = 3  # mm3
THICKEST_MM = 20.0  # of slices that sidecars may state: a slab is told as its thickness, too
# by the kind of scan: T1w, T1w with an agent, other; where it is alone, and where others are
ONLY_ONE = (
    'It is the only T1w for which no contrast agent is named.',
    'It is the only T1w, and for it a contrast agent is named.',
    'There is no T1w, and it is the only scan.',
)
BEST_OF = (
    'Of the T1w scans for which no contrast agent is named, ',
    'For every T1w a contrast agent is named; of these ',
    'There is no T1w; of all scans ',
)
DECIDING = (
    'its coarsest axis is the finest ({:.2f} mm)',
    'of equally fine ones, it is a plain one, no echo, flip angle, inversion, MT or part',
    'of equally fine ones, its voxels are the smallest ({1:.2f} mm³)',
    'of equally fine ones, motion is corrected in it',
    'of equally fine ones, it is as acquired',
    'of equally fine ones, it is no MP2RAGE',
    'it is the first of equally fine ones',
)  # by the number of what decides
Rank = tuple[int, float, bool, float, bool, bool, bool]
# a plain scan has none of these
SPECIAL_KEYS = {*CHANNEL_KEYS} - {'ce'}

Role = Literal['reference', 'used', 'aligned', 'left out']
LEFT_OUT: Final = 'left out'
ALIGNED_ONLY = 'It was aligned and brought to the output grid; the volumes are made of others.'
CT_AS_MRI = 'Its sidecar says that it is CT (Modality); use --method synthsr --ct for it.'
NOT_ASKED = 'is not among the contrasts asked for'
# why scans are left out although nothing is wrong with them
IN_ORDER = (NOT_ASKED, NOT_USED, f'in {IGNORED}')
SAME_NAME = 'Another file has the same name, but for its extension or the order of its entities.'
Row = dict[str, str]


class SelectionError(FailedExamError):
    """An exam has no scan that can be used as asked; ``rows`` is its selection table."""

    def __init__(self, message: str, rows: Sequence[Row]) -> None:
        super().__init__(message)
        self.rows = tuple(rows)


@dataclass(frozen=True)
class Verdict:
    """What becomes of a scan, and why in a sentence."""

    scan: Scan
    role: Role
    reason: str

    @property
    def row(self) -> Row:
        """The scan in the selection table."""
        return {
            'scan': self.scan.name,
            'file': self.scan.path.name,
            'suffix': self.scan.suffix,
            'role': self.role,
            'reason': self.reason,
            'warnings': ' '.join(self.scan.warnings),
            **_describe_geometry(self.scan),
        }


@dataclass(frozen=True)
class Selection:
    """The verdicts on the scans of an exam, in the order of their files."""

    verdicts: tuple[Verdict, ...]

    @property
    def scans(self) -> tuple[Scan, ...]:
        """The scans that are used, the reference first."""
        reference_first = sorted(self.verdicts, key=lambda verdict: verdict.role != 'reference')
        return tuple(verdict.scan for verdict in reference_first if verdict.role != LEFT_OUT)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The selection table."""
        return tuple(verdict.row for verdict in self.verdicts)


def select_scans(
    exam: Exam,
    reference: str | None = None,
    contrasts: Sequence[str] = (),
    takes_ct: bool = False,
) -> Selection:
    """Decide which scans of an exam are used, and which one is the reference.

    Parameters
    ----------
    exam
        Its scans judged by their headers (a plan), or by their voxels, too (`load_exam`).
    reference
        Suffix or filter that names the reference; None leaves it to `choose_reference`.
    contrasts
        Suffixes that may be used; empty takes all.
    takes_ct
        Whether scans that their sidecar calls CT may be used.

    Raises
    ------
    SelectionError
        If no scan can be used, or none as the reference that is asked for.
    """
    verdicts = _judge(exam.scans, contrasts, takes_ct)
    usable = [verdict.scan for verdict in verdicts if verdict.role == 'used']
    rows = [verdict.row for verdict in verdicts]
    if not usable:
        reasons = ' '.join(f'{row["file"]}: {row["reason"]}' for row in rows)
        raise SelectionError(f'No usable anatomical scan in {exam}: {reasons}', rows)
    try:
        scan, reason = choose_reference(usable, reference)
    except ValueError as error:
        raise SelectionError(f'{exam}: {error}', rows) from error
    return Selection(
        tuple(
            Verdict(scan, 'reference', reason) if verdict.scan is scan else verdict
            for verdict in verdicts
        )
    )


def left_out_rows(scans: Iterable[Scan]) -> tuple[Row, ...]:
    """Make the selection table of scans none of which can be used."""
    return tuple(Verdict(scan, LEFT_OUT, ' '.join(scan.problems)).row for scan in scans)


def _judge(scans: Iterable[Scan], contrasts: Sequence[str], takes_ct: bool) -> list[Verdict]:
    """Leave out the scans that cannot be used, are not asked for, or come twice."""
    verdicts: list[Verdict] = []
    names: set[str] = set()
    files: dict[str, str] = {}
    for scan in scans:
        reason = ' '.join(scan.problems)
        if not reason and contrasts and scan.suffix not in contrasts:
            reason = f'{scan.suffix} {NOT_ASKED}: {", ".join(contrasts)}.'
        if not reason and not takes_ct and is_ct(scan.metadata):
            reason = CT_AS_MRI
        if not reason and scan.digest in files:
            reason = f'It holds the same voxels as {files[scan.digest]}.'
        if not reason and scan.name in names:
            reason = SAME_NAME
        if not reason:
            names.add(scan.name)
            files |= {scan.digest: scan.path.name} if scan.digest else {}
        verdicts.append(Verdict(scan, LEFT_OUT if reason else 'used', reason or 'It is usable.'))
    return verdicts


def choose_reference(scans: Sequence[Scan], query: str | None = None) -> tuple[Scan, str]:
    """Choose the scan whose frame the output takes.

    A T1w for which no contrast agent is named comes first, then a T1w with one, then any other
    scan. Of equals it is the one whose coarsest axis is finest: a scan of 1 mm comes before thick
    slices, however fine these are in plane. Then a plain one comes before those of an echo, flip
    angle, inversion, magnetisation transfer or part, and then count the volume of a voxel, whether
    motion is corrected, whether it is as acquired, and last the order of the names. A T1w with an
    agent comes before other contrasts because it differs from what the output shows in vessels
    and lesions only, and the others in every tissue.

    Parameters
    ----------
    scans
        Usable ones, at least one.
    query
        Suffix (``T2w``) or filter (``suffix=T2w,acq=sag``) that the reference must match.

    Returns
    -------
    scan
        The reference.
    reason
        Why, a sentence.

    Raises
    ------
    ValueError
        If the filter cannot be understood, or no scan matches; the message names those there are.
    """
    if query:
        filters = {'anat': parse_reference(query)}
        matching = [scan for scan in scans if is_wanted(filters, scan.suffix, scan.entities)]
        if not matching:
            names = ', '.join(scan.name for scan in scans)
            raise ValueError(f'No usable scan matches --reference {query}; there are {names}')
        return min(matching, key=_rank), f'It was asked for (--reference {query}).'
    ranks = sorted(map(_rank, scans))
    return min(scans, key=_rank), _describe_choice(ranks)


def _describe_choice(ranks: Sequence[Rank]) -> str:
    """Describe why the first of sorted ranks comes before the second, a sentence."""
    kind, spacing, _, volume, *_ = ranks[0]
    if len(ranks) == 1 or ranks[1][0] != kind:
        return ONLY_ONE[kind]
    pairs = zip(ranks[0][1:], ranks[1][1:], strict=True)
    deciding = next(
        (number for number, (one, other) in enumerate(pairs) if one != other), len(DECIDING) - 1
    )
    return f'{BEST_OF[kind]}{DECIDING[deciding].format(spacing, volume)}.'


def _rank(scan: Scan) -> Rank:
    """Order scans by how well they serve as the reference.

    Kind, size of the coarsest axis (mm), whether it is special, size of a voxel (mm3), and what
    else name and sidecar tell.
    """
    is_t1w = suffix_of(scan.contrast) == 'T1w'
    grid = scan.grid
    return (
        int(bool(scan.agent)) if is_t1w else 2,
        math.inf if grid is None else round(_coarsest_mm(scan, grid), SPACING_DECIMALS),
        bool(SPECIAL_KEYS & entities_of(scan.contrast).keys()),
        math.inf if grid is None else round(grid.voxel_volume, VOLUME_DECIMALS),
        not is_motion_corrected(scan.entities, scan.metadata),
        scan.is_processed,
        scan.is_uniform,
    )


def _coarsest_mm(scan: Scan, grid: Grid) -> float:
    """Find the coarsest axis as it was acquired: voxels may be finer where it was resampled."""
    thickness = read_length(scan.metadata, 'SliceThickness', []) or 0.0
    return max(float(grid.spacing.max()), thickness if thickness < THICKEST_MM else 0.0)


def parse_reference(query: str) -> dict[str, str]:
    """Take apart what names a reference: ``T2w``, ``suffix=T2w,acq=sag``."""
    text = query if '=' in query else f'suffix={query}'
    parts = [part.strip().partition('=') for part in text.split(',')]
    fields = {key: value for key, _, value in parts}
    suffixes = {suffix.lower(): suffix for suffix in SUFFIXES}
    if 'suffix' in fields:
        fields['suffix'] = suffixes.get(fields['suffix'].lower(), '')
    if not all(fields.values()) or not all(map(is_field, fields)):
        raise ValueError(
            f'--reference {query} cannot be understood: give a suffix ({", ".join(SUFFIXES)}) '
            'or a filter such as suffix=T2w,acq=sag'
        )
    return fields


def _describe_geometry(scan: Scan) -> Row:
    """Describe where the voxels of a scan lie; without usable geometry nothing is known."""
    grid, acquisition = scan.grid, scan.acquisition
    fields = ('voxels', 'voxel_size_mm', 'voxel_volume_mm3', 'slice_spacing_mm')
    if grid is None or acquisition is None:
        return dict.fromkeys((*fields, 'slice_thickness_mm', 'orientation'), '')
    return {
        'voxels': ' x '.join(map(str, grid.shape)),
        'voxel_size_mm': ' x '.join(f'{size:.3g}' for size in grid.spacing),
        'voxel_volume_mm3': f'{grid.voxel_volume:.3f}',
        'slice_spacing_mm': f'{acquisition.slice_spacing:g}',
        'slice_thickness_mm': f'{acquisition.slice_thickness:g}',
        'orientation': describe_orientation(grid, acquisition.slice_axis),
    }


def describe_orientation(grid: Grid, slice_axis: int) -> str:
    """Name the plane of slices: ``axial``, ``sagittal, 12 degrees oblique``, ``isotropic``."""
    if grid.spacing.max() <= ISOTROPIC * grid.spacing.min():
        return 'isotropic'
    normal = np.abs(grid.directions[:, slice_axis])
    tilt_deg = math.degrees(math.acos(min(1.0, normal.max())))
    plane = PLANES[int(normal.argmax())]
    return plane if tilt_deg < OBLIQUE_DEG else f'{plane}, {tilt_deg:.0f} degrees oblique'


def leave_out(rows: Iterable[Row], scan: str, reason: str) -> tuple[Row, ...]:
    """Mark the scan of a name as left out after all, such as one that cannot be aligned."""
    changed = {'role': LEFT_OUT, 'reason': reason}
    return tuple(row | changed if row['scan'] == scan else row for row in rows)


def leave_out_failed(rows: Iterable[Row], fits: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Mark the scans that could not be aligned as left out.

    Parameters
    ----------
    rows
        Rows of the selection table.
    fits
        How well each scan fits: its ``name``, ``status`` and ``reason``.
    """
    marked = tuple(rows)
    for fit in fits:
        if fit['status'] == 'failed':
            marked = leave_out(marked, fit['name'], fit['reason'])
    return list(marked)


def add_coverages(
    rows: Iterable[Row], part: str, coverages: Mapping[str, Mapping[str, Any]]
) -> list[Row]:
    """Add to the scans how much of the head or brain they show, of what all show together.

    Parameters
    ----------
    rows
        Rows of the selection table.
    part
        What is shown: ``head`` or ``brain``.
    coverages
        Fields of `bids_synthsr.imaging.coverage.Coverage` by the names of the scans.
    """
    return [row | _coverage_columns(part, coverages.get(row['scan'])) for row in rows]


def _coverage_columns(part: str, coverage: Mapping[str, Any] | None) -> Row:
    """Write lengths (left-right, back-front, down-up) and share; empty where nothing is known."""
    if coverage is None:
        return {f'{part}_mm': '', f'{part}_percent': ''}
    lengths = ' x '.join(f'{length:.0f}' for length in coverage['size_mm'])
    return {f'{part}_mm': lengths, f'{part}_percent': f'{coverage["percent"]:.0f}'}


def mark_aligned(rows: Iterable[Row], sources: Sequence[str]) -> list[Row]:
    """Mark the scans that were aligned and are in no volume that the method made.

    Parameters
    ----------
    rows
        Rows of the selection table.
    sources
        Names of the scans that the volumes were made of.
    """
    changed = {'role': 'aligned', 'reason': ALIGNED_ONLY}
    return [
        row | changed if row['role'] == 'used' and row['scan'] not in sources else row
        for row in rows
    ]


def registration_warnings(rows: Iterable[Row], fits: Iterable[Mapping[str, Any]]) -> list[str]:
    """List what a reader must know: which scans were left out unasked, of the others, of fits."""
    of_fits = [f'{fit["name"]}: {fit["reason"]}' for fit in fits if fit['status'] != 'good']
    fitted = {fit['name'] for fit in fits}
    left_out = [
        f'{row["scan"]} is left out: {row["reason"]}'
        for row in rows
        if row['role'] == LEFT_OUT and row['scan'] not in fitted
        if not any(words in row['reason'] for words in IN_ORDER)
    ]
    of_scans = [
        f'{row["scan"]}: {row["warnings"]}'
        for row in rows
        if row['warnings'] and row['role'] != LEFT_OUT
    ]
    return left_out + of_scans + of_fits


def describe_exam(exam: Exam, fingerprint: str) -> dict[str, Any]:
    """Describe an exam in JSON types, for a process that is to `load_exam` it.

    Parameters
    ----------
    exam
        The exam as it was found.
    fingerprint
        Changes when the content of a file changes, although its name does not.
    """
    return {**as_plain(exam), 'fingerprint': fingerprint}


def load_exam(
    description: Mapping[str, Any], is_ct: bool = False
) -> tuple[Exam, dict[str, np.ndarray]]:
    """Read the voxels of an exam and complete the verdicts on its scans.

    Parameters
    ----------
    description
        The exam, as `describe_exam` describes it.
    is_ct
        Whether its voxels are Hounsfield units.

    Returns
    -------
    exam
        Every scan, usable or not.
    voxels
        ``(I, J, K)`` float32 of the usable scans by their names, on their grids.
    """
    scans: list[Scan] = []
    voxels: dict[str, np.ndarray] = {}
    for described in scans_of(description):
        scan, volume = load_scan(described, is_ct)
        scans.append(scan)
        if volume is not None:
            voxels.setdefault(scan.name, volume)
    return Exam(description['subject'], description['session'], tuple(scans)), voxels


def scans_of(description: Mapping[str, Any]) -> list[Scan]:
    """Read the scans of a described exam back, judged by their headers."""
    return [read_dataclass(Scan, scan, 'scan') for scan in description['scans']]
