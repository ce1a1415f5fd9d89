"""People with several sessions: what a longitudinal comparison reads, writes and remembers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bids_synthsr import __version__
from bids_synthsr.dataset.filenames import EXAM
from bids_synthsr.dataset.files import sha256
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.records import (
    Record,
    own_outputs,
    read_record,
    read_records,
    reason_to_redo,
)
from bids_synthsr.derivatives.tables import read_table

LEAST_SESSIONS = 2
SECONDS_A_DAY = 86400.0
GONE = 'it is no longer in the input data set'
NO_T1W = 'it has no T1w with a brain mask and a segmentation: choose --method auto'


@dataclass(frozen=True)
class SessionOutputs:
    """Outputs of a finished exam that are compared with those of other sessions.

    Parameters
    ----------
    session
        Label of the session.
    t1w, mask, dseg, volumes
        Paths of the main T1w, the brain mask, the segmentation by structure, and its table.
    made_by
        How the T1w was made: the name of a method, or ``acquired``.
    days
        Days since the first session; None where the data set does not tell.
    digests
        SHA-256 of these files, by their paths relative to the output folder.
    """

    session: str
    t1w: str
    mask: str
    dseg: str
    volumes: str
    made_by: str = ''
    days: float | None = None
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Person:
    """A person whose sessions are to be compared.

    Parameters
    ----------
    subject
        Label of the person.
    sessions
        Finished sessions, in the order in which they were acquired as far as that is known.
    left
        Why other sessions are not among them, by their labels.
    to_do
        Why they must be compared (again); empty where that is done.
    """

    subject: str
    sessions: tuple[SessionOutputs, ...]
    left: Mapping[str, str] = field(default_factory=dict)
    to_do: str = ''

    @property
    def label(self) -> str:
        """Name of the person, such as ``sub-01``."""
        return f'sub-{self.subject}'

    @property
    def is_comparable(self) -> bool:
        """Whether there are sessions to compare."""
        return len(self.sessions) >= LEAST_SESSIONS

    @property
    def fingerprint(self) -> dict[str, Any]:
        """All that the comparison depends on."""
        scans = {
            name: {'sha256': digest}
            for session in self.sessions
            for name, digest in session.digests.items()
        }
        days = {x.session: x.days for x in self.sessions}
        settings = {'days': days, 'left': dict(self.left)}
        return {'version': __version__, 'settings': settings, 'scans': scans}


def find_people(
    derivatives: Derivatives, bids_dir: Path, subjects: Sequence[str] = ()
) -> list[Person]:
    """Find the people of whom an output folder holds several exams.

    Parameters
    ----------
    derivatives
        Where the outputs lie.
    bids_dir
        The input data set, whose ``sessions.tsv`` tell when sessions were acquired.
    subjects
        Labels of the people to look for; empty takes all.
    """
    by_person: dict[str, list[Record]] = {}
    for record in read_records(derivatives).values():
        match = EXAM.fullmatch(record.exam)
        if match and match['session'] and (not subjects or match['subject'] in subjects):
            by_person.setdefault(match['subject'], []).append(record)
    people = (
        _person_of(subject, records, derivatives, bids_dir)
        for subject, records in sorted(by_person.items())
        if len(records) >= LEAST_SESSIONS
    )
    return [_planned(person, derivatives) for person in people]


def _person_of(
    subject: str, records: Sequence[Record], derivatives: Derivatives, bids_dir: Path
) -> Person:
    """Sort the exams of a person into those that can be compared and others."""
    found, left = [], {}
    days = dict(_days_of(bids_dir / f'sub-{subject}' / f'sub-{subject}_sessions.tsv'))
    for record in records:
        session = record.exam.partition('_ses-')[2]
        if not (bids_dir / f'sub-{subject}' / f'ses-{session}').is_dir():
            left[session] = GONE
            continue
        if record.state != 'finished':
            left[session] = 'its exam is not finished'
            continue
        outputs = _outputs_of(record, session, derivatives)
        if outputs is None:
            left[session] = NO_T1W
        else:
            found.append(outputs)
    if all(x.session in days for x in found):
        first = min((days[x.session] for x in found), default=0.0)
        dated = [(days[x.session] - first, x) for x in found]
        dated.sort(key=lambda pair: pair[0])
        found = [replace(x, days=round(day, 2)) for day, x in dated]
    else:
        found.sort(key=lambda x: _natural(x.session))
    return Person(subject, tuple(found), left)


def _outputs_of(record: Record, session: str, derivatives: Derivatives) -> SessionOutputs | None:
    """Name the outputs of an exam that are compared; None where one of them is not there."""
    names = own_outputs(record)
    wanted = ('T1w', 'mask', 'dseg', 'volumes')
    if not all(suffix in names for suffix in wanted):
        return None
    digests = {names[suffix]: record.outputs[names[suffix]].sha256 for suffix in wanted}
    t1w, mask, dseg, volumes = (str(derivatives.root / names[suffix]) for suffix in wanted)
    return SessionOutputs(session, t1w, mask, dseg, volumes, record.main, None, digests)


def _days_of(path: Path) -> Iterator[tuple[str, float]]:
    """Read when sessions were acquired, in days since any time, by their labels.

    Times without a zone are taken for UTC.
    """
    rows: list[dict[str, str]] = []
    with suppress(OSError, ValueError):
        rows = read_table(path)
    times: dict[str, set[float]] = {}
    for row in rows:
        with suppress(ValueError, KeyError, TypeError):
            time = datetime.fromisoformat(row['acq_time'])
            time = time if time.tzinfo else time.replace(tzinfo=UTC)
            known = times.setdefault(row['session_id'].removeprefix('ses-'), set())
            known.add(time.timestamp())
    for session, known in times.items():
        if len(known) == 1:  # a session with two times has none that is known
            yield session, known.pop() / SECONDS_A_DAY


def _natural(label: str) -> list[tuple[int, str]]:
    """Sort labels as people do: ``2`` before ``10``."""
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r'(\d+)', label)]


def _planned(person: Person, derivatives: Derivatives) -> Person:
    """Tell why a person must be compared (again)."""
    record = read_record(derivatives.person_record(person.subject))
    to_do = reason_to_redo(record, person.fingerprint, derivatives)
    return replace(person, to_do=to_do)


def check_unchanged(sessions: Sequence[SessionOutputs], derivatives: Derivatives) -> None:
    """Refuse outputs that another run has replaced since they were planned.

    Raises
    ------
    ValueError
        With the name of the output.
    """
    for session in sessions:
        for name, digest in session.digests.items():
            if sha256(derivatives.root / name) != digest:
                raise ValueError(
                    f'{name} is not what its exam wrote: it was changed, or another run replaces '
                    'it just now. Process the exam again, then compare the sessions.'
                )
