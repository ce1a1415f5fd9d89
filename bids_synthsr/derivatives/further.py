"""Records of what is made of finished exams: comparisons of sessions, and surfaces.

They lie beside the records of the exams, and say in the same words what was made of what.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_synthsr.derivatives.digests import describe_outputs
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.records import BROKEN_OFF, Record, read_record, write_record


def begin_outputs(
    path: Path, label: str, outputs: Iterable[Path], derivatives: Derivatives, run_uuid: str
) -> None:
    """Record that outputs are about to be written, before any of them is replaced.

    Parameters
    ----------
    path
        File of the record.
    label
        Label of the exam or of the person.
    outputs
        Paths of what is about to be written.
    derivatives
        Where the outputs lie.
    run_uuid
        Name of the run.
    """
    earlier = read_record(path)
    names = [*(earlier.files if earlier else ()), *map(derivatives.name_of, outputs)]
    leftovers = tuple(dict.fromkeys(names))
    begun = Record(label, 'begun', reason=BROKEN_OFF, leftovers=leftovers, run_uuid=run_uuid)
    write_record(path, begun)


def publish_outputs(
    path: Path,
    label: str,
    fingerprint: Mapping[str, Any],
    outputs: Sequence[Path],
    pages: Sequence[Path],
    derivatives: Derivatives,
    run_uuid: str,
) -> Path:
    """Record that all is written, once what earlier work left is gone.

    Parameters
    ----------
    path
        File of the record.
    label
        Label of the exam or of the person.
    fingerprint
        All that the outputs depend on.
    outputs, pages
        Paths of what was written.
    derivatives
        Where the outputs lie.
    run_uuid
        Name of the run.
    """
    record = Record(
        exam=label,
        state='finished',
        fingerprint=fingerprint,
        outputs=describe_outputs(outputs, derivatives),
        pages=describe_outputs(pages, derivatives),
        run_uuid=run_uuid,
    )
    earlier = read_record(path)
    exams = filter(None, map(read_record, derivatives.records.glob(f'{label}*.json')))
    kept = {*record.outputs, *(name for exam in exams for name in exam.files)}
    for name in earlier.files if earlier else ():
        if name not in kept:  # nor what an exam calls its own
            _remove(derivatives, label, name)
    return write_record(path, record)


def _remove(derivatives: Derivatives, label: str, name: str) -> None:
    """Remove a file of earlier work, if it lies in the folders of the exam or person."""
    path = derivatives.root / name
    folder = derivatives.exam_of(label).folder
    real = derivatives.root.resolve() / folder.relative_to(derivatives.root)
    is_ours = path.name.startswith(f'{label}_') and path.is_relative_to(folder)
    if is_ours and path.parent.resolve() == real / path.parent.relative_to(folder):
        path.unlink(missing_ok=True)
