"""What is no truth: refused by what headers, names and sidecars tell, before anything is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bids_synthsr.dataset.filenames import split_name, without_prefix
from bids_synthsr.dataset.guessing import UntoldError, recognize
from bids_synthsr.dataset.headers import read_grid
from bids_synthsr.dataset.image_files import UnusableScanError, read_header
from bids_synthsr.dataset.kinds import is_ct, is_synthetic
from bids_synthsr.dataset.scans import load_scan, read_scan
from bids_synthsr.dataset.selection import LEFT_OUT, SelectionError, select_scans
from bids_synthsr.dataset.sidecars import Sidecars
from bids_synthsr.evaluation.head_files import HeadFiles
from bids_synthsr.values.exam import Exam
from bids_synthsr.values.grid import Grid

COARSEST_TRUTH_MM = 1.5  # of slices and voxels: what is coarser holds no detail of 1 mm
LEAST_SCANS = 2  # of an exam of which one is left out


def refuse_heads(
    heads: Sequence[HeadFiles], images: Path
) -> tuple[tuple[HeadFiles, ...], tuple[str, ...]]:
    """Part heads into those that can serve as the truth, and sentences on the others.

    Parameters
    ----------
    heads
        Files of the heads.
    images
        Folder of the T1w images, above which no sidecar is inherited.
    """
    root = images.resolve()
    sidecars = Sidecars(root, root.rglob('*.json'))
    faults = {head.name: next(_head_faults(head, sidecars), '') for head in heads}
    return (
        tuple(head for head in heads if not faults[head.name]),
        tuple(f'{name} is no truth: {fault}' for name, fault in faults.items() if fault),
    )


def _head_faults(head: HeadFiles, sidecars: Sidecars) -> Iterator[str]:
    """List why a head cannot serve as the truth, each file by its name."""
    if head.labels is not None:
        yield from (f'{head.labels.name}: {fault}' for fault in _map_faults(head.labels))
    if head.image is not None:
        metadata, _ = sidecars.inherited(head.image)
        yield from (f'{head.image.name}: {fault}' for fault in _t1w_faults(head.image, metadata))


def _map_faults(path: Path) -> Iterator[str]:
    """List what is wrong with the header of a label map."""
    try:
        grid = read_grid(read_header(path, []), [])
    except UnusableScanError as error:
        yield str(error)
        return
    yield from _thickness_faults('Its coarsest axis has', float(grid.spacing.max()))


def _t1w_faults(path: Path, metadata: Mapping[str, Any]) -> Iterator[str]:
    """List why a file is no T1w of about 1 mm."""
    scan = read_scan(path, 'T1w', split_name(path.name)[0], metadata)
    yield from scan.problems
    if 'desc' in scan.entities or is_synthetic(metadata):
        yield 'A program made it, by its name (desc-) or sidecar (Synthetic).'
    for key in ('SeriesDescription', 'ProtocolName'):
        kind = _kind_told(str(metadata.get(key)))
        if kind != 'a T1w':
            yield f'Its sidecar calls it {kind} ({key}: {metadata[key]}), not a T1w.'
    if is_ct(metadata):
        yield 'Its sidecar calls it CT, not a T1w.'
    if scan.grid is not None:
        yield from _thickness_faults('Its coarsest axis has', float(scan.grid.spacing.max()))
    for key in ('SliceThickness', 'SpacingBetweenSlices'):
        stated = _number_of(metadata.get(key))
        yield from _thickness_faults(f'By its sidecar ({key}) its slices had', stated)


def _kind_told(text: str) -> str:
    """Read which kind of image a description tells; a T1w where it tells nothing."""
    try:
        return f'a {recognize(text)[0]}'
    except UntoldError:
        return 'a T1w'
    except ValueError:
        return 'no scan, or several'


def load_truth(path: Path) -> tuple[np.ndarray, Grid]:
    """Read the voxels of a T1w that is to serve as the truth, ``(I, J, K)``, and its grid.

    Raises
    ------
    ValueError
        If they show no whole head, or slices were lost.
    """
    scan, voxels = load_scan(read_scan(path, 'T1w'))
    if voxels is None or scan.grid is None:
        raise ValueError(f'{path.name} is no truth: {" ".join(scan.problems)}')
    if scan.acquisition is not None and scan.acquisition.missing:
        raise ValueError(f'{path.name} is no truth: {" ".join(scan.warnings)}')
    return voxels, scan.grid


def _number_of(value: Any) -> float:
    """Read a number of a sidecar, which may be text or alone in a list; 0 where it is none."""
    if isinstance(value, list) and len(value) == 1:
        return _number_of(value[0])
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def _thickness_faults(words: str, length_mm: float) -> Iterator[str]:
    """Refuse what is too coarse to tell how good a volume of 1 mm is."""
    if round(length_mm, 2) > COARSEST_TRUTH_MM:
        yield f'{words} {length_mm:.3g} mm, and a truth may have {COARSEST_TRUTH_MM:g} mm at most.'


def describe_missing(labels: Sequence[str], present: Sequence[str]) -> tuple[str, ...]:
    """Name the people who were asked for and are not there, a sentence each.

    Parameters
    ----------
    labels
        Labels that were asked for, with or without ``sub-``.
    present
        Labels of all that are compared, without it.
    """
    absent = sorted({*without_prefix(labels, 'sub')} - {*present})
    return tuple(
        f'sub-{label} was asked for, and nothing of it can be compared' for label in absent
    )


def describe_unused(exam: Exam) -> Iterator[str]:
    """Tell what of an exam cannot be left out or explain another scan, a sentence each.

    Parameters
    ----------
    exam
        The exam, its scans judged by their headers.
    """
    if exam.absence:
        yield f'{exam}: {exam.absence}'
        return
    try:
        selection = select_scans(exam)
    except SelectionError as error:
        yield str(error)
        return
    for row in selection.rows:
        if row['role'] == LEFT_OUT:
            yield f'{exam}: {row["file"]} is not used: {row["reason"]}'
    if len(selection.scans) < LEAST_SCANS:
        yield f'{exam} has one usable scan: nothing can be left out.'
