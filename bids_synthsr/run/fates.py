"""What became of everyone: a row for each scan and each participant of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bids_synthsr.dataset.files import write_text
from bids_synthsr.dataset.selection import Row
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.tables import read_table, table_text
from bids_synthsr.run.closing import FINISHED, Outcome
from bids_synthsr.run.guard import guarded
from bids_synthsr.run.plan import Plan

COLUMNS = ('file', 'suffix', 'role', 'reason')
NOT_TAKEN = 'not taken'


def write_fates(
    path: Path,
    plans: Sequence[Plan],
    absences: Mapping[str, str],
    derivatives: Derivatives,
    outcomes: Mapping[str, Outcome],
) -> None:
    """Write what became of every scan, and of the participants that have none.

    Parameters
    ----------
    path
        File of the table, TSV.
    plans
        What was to become of each exam.
    absences
        Why other participants have nothing to process, by their labels.
    derivatives
        Output folder, which tells what became of the scans of finished exams.
    outcomes
        How each exam ended, by label. Roles in one that waits are those of the plan.
    """
    rows = [
        row for plan in plans for row in _fates_of(plan, derivatives, outcomes[plan.exam.label])
    ]
    for label, reason in absences.items():
        rows.append(_fate(label, '', {'role': NOT_TAKEN, 'reason': reason}))
    write_text(path, table_text(rows))


def _fates_of(plan: Plan, derivatives: Derivatives, outcome: Outcome) -> Iterator[Row]:
    """List what became of the scans of an exam, as far as that is known."""
    place = derivatives.exam(plan.exam.subject, plan.exam.session)
    rows, label, state = outcome.rows or plan.rows, plan.exam.label, outcome.state
    if state == FINISHED:
        rows = tuple(guarded(lambda: read_table(place.selection), lambda _: [*plan.rows]))
    yield from (_fate(label, state, row) for row in rows)
    if not rows:
        yield _fate(label, state, {'role': NOT_TAKEN, 'reason': plan.fault or plan.exam.absence})


def _fate(label: str, state: str, row: Mapping[str, str]) -> Row:
    """Make a row of the table."""
    return {'exam': label, 'state': state} | {column: row.get(column, '') for column in COLUMNS}
