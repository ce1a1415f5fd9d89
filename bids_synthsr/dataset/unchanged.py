"""A scan is the one that was planned: its file did not change while the run was at work.

Between the plan of a run and its last exam lie hours. What is read then must be what the record
of the exam names, or another person's head could stand under its label.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import nibabel as nb
import numpy as np

from bids_synthsr.dataset.errors import FailedExamError
from bids_synthsr.dataset.files import sha256, take_stamp
from bids_synthsr.dataset.headers import read_grid
from bids_synthsr.dataset.image_files import UnusableScanError
from bids_synthsr.values.exam import Scan

FORMS_MM = 1e-4  # by which positions may differ that were written to JSON and read back


@contextmanager
def unchanged(scan: Scan) -> Iterator[None]:
    """Read a scan in the block; raise after it if the file is not the one that was planned.

    A scan that was planned without a digest, as a plain file, may be any.

    Raises
    ------
    FailedExamError
        With the file, and what to do.
    """
    if not scan.sha256:
        yield
        return
    before = _stamp_of(scan)
    try:
        yield
    except Exception as error:
        if _has_changed(scan, before):
            raise FailedExamError(_describe(scan)) from error
        raise
    if _has_changed(scan, before):
        raise FailedExamError(_describe(scan))


def _stamp_of(scan: Scan) -> str:
    """Take the stamp of a file; empty for one that is gone."""
    try:
        return take_stamp(scan.path)
    except OSError:
        return ''


def _has_changed(scan: Scan, before: str) -> bool:
    """Whether a file is not what was planned, or changed since it had this stamp."""
    try:
        return _stamp_of(scan) != before or sha256(scan.path) != scan.sha256
    except OSError:
        return True


def check_header(scan: Scan, header: nb.Nifti1Header) -> None:
    """Raise if a header gives another grid than the one that was planned by."""
    if not scan.sha256 or scan.grid is None:
        return
    try:
        grid = read_grid(header, [])
    except UnusableScanError as error:
        raise FailedExamError(_describe(scan)) from error
    is_same = grid.shape == scan.grid.shape and np.allclose(
        grid.vox2ras, scan.grid.vox2ras, rtol=0, atol=FORMS_MM
    )
    if not is_same:
        raise FailedExamError(_describe(scan))


def _describe(scan: Scan) -> str:
    return (
        f'{scan.path.name} changed while the run was at work: nothing is made of it. Start the '
        'same command again, once the data set stays as it is.'
    )
