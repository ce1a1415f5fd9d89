"""Transforms that earlier runs have found, or people have corrected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bids_synthsr.dataset.files import read_object, sha256
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.provenance import raw_uri
from bids_synthsr.values.exam import Exam, Scan


def find_transforms(
    folders: Iterable[Path], exam: Exam, scans: Sequence[Scan], bids_dir: Path
) -> dict[str, dict[str, str]]:
    """Find the transforms of an exam's scans to its reference.

    Parameters
    ----------
    folders
        Output folders; the first that has a transform of a scan gives it.
    exam
        The exam whose scans these are.
    scans
        Those that are to be used, the reference first.
    bids_dir
        The input data set.

    Returns
    -------
    transforms
        By the name of each scan that has one: its ``file``, the ``sha256`` of that, and the name
        of the ``reference``. It counts if its sidecar names scan and reference as its sources.
    """
    transforms: dict[str, dict[str, str]] = {}
    for folder in folders:
        place = Derivatives(folder).exam(exam.subject, exam.session)
        for scan in scans[1:]:
            path, pair = place.transform(scan.name, scans[0].name), [scan, scans[0]]
            sources = [raw_uri(source.path, bids_dir) for source in pair]
            if scan.name not in transforms and path.is_file() and sources_of(path) == sources:
                transforms[scan.name] = {
                    'file': str(path),
                    'sha256': sha256(path),
                    'reference': scans[0].name,
                }
    return transforms


def sources_of(path: Path) -> list[str]:
    """Read the sources in the sidecar of a transform; none where it cannot be read."""
    try:
        return list(read_object(path.with_suffix('.json'))['Sources'])
    except (OSError, ValueError, KeyError, TypeError):
        return []
