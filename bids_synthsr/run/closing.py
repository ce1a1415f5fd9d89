"""How a run ended: records and reports of failed exams, the index, the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bids_synthsr.dataset.selection import LEFT_OUT, Row
from bids_synthsr.derivatives.locks import one_at_a_time
from bids_synthsr.derivatives.places import Derivatives, ExamDerivatives, write_text
from bids_synthsr.derivatives.records import (
    Record,
    read_events,
    read_record,
    read_records,
    write_record,
)
from bids_synthsr.reports.collect import collect_failure
from bids_synthsr.reports.content import Failure, IndexRow
from bids_synthsr.reports.pages import write_index, write_report
from bids_synthsr.run.crashes import Crash
from bids_synthsr.run.plan import Plan
from bids_synthsr.run.steps import LAST_STEPS

MEND_SCAN = (
    'Mend the scan, or leave it out with --bids-filter-file, and start the same command again: '
    'finished exams are not done twice.'
)
TRY_AGAIN = (
    'Once that is mended, start the same command again: what is finished is not done twice. If '
    'you cannot tell what it means, report it with the crash file below.'
)
JUDGING = 'select'  # the step that reads the voxels
UNUSABLE = 'Its voxels cannot be used: see what went wrong.'
State = Literal['finished', 'registered', 'synthesized', 'failed']
WAITING: Mapping[str, State] = {'register': 'registered', 'synthesize': 'synthesized'}
NOBODY: Mapping[str, State] = {}
NOT_REACHED = 'The run ended before this exam was finished; start the same command again.'


@dataclass(frozen=True)
class Outcome:
    """How the work on an exam ended.

    Parameters
    ----------
    exam
        Its label.
    state
        Whether its outputs are as they should be, or the stage after which it was to wait.
    note
        Why not, or the first of its warnings.
    report
        Its page.
    """

    exam: str
    state: State
    note: str
    report: Path


def close_exam(
    plan: Plan,
    crashes: Sequence[Crash],
    derivatives: Derivatives,
    run_uuid: str,
    waiting: Mapping[str, State] = NOBODY,
) -> Outcome:
    """Tell how an exam ended; record a failure and write its report.

    Parameters
    ----------
    plan
        What was to become of it.
    crashes
        Of the run, of all exams.
    derivatives, run_uuid
        Output folder and name of the run.
    waiting
        See `find_waiting`.
    """
    place = derivatives.exam(plan.exam.subject, plan.exam.session)
    record = read_record(place.record)
    is_done = not plan.to_do or (record is not None and record.run_uuid == run_uuid)
    if record is not None and record.state == 'finished' and is_done:
        note = record.warnings[0] if record.warnings else ''
        return Outcome(place.label, 'finished', note, place.report)
    if place.label in waiting:
        return Outcome(place.label, waiting[place.label], '', place.report)
    crash = next((crash for crash in crashes if crash.exam == place.label), None)
    reason = plan.fault or (crash.message if crash else NOT_REACHED)
    _record_failure(plan, place, reason, crash, run_uuid)
    return Outcome(place.label, 'failed', reason, place.report)


def find_waiting(steps: Path, stage: str) -> dict[str, State]:
    """Find the exams that a run has brought to the end of a stage that others follow."""
    last = {'step': LAST_STEPS[stage], 'status': 'end'}
    events = read_events(steps) if stage in WAITING else ()
    return {event['exam']: WAITING[stage] for event in events if last.items() <= event.items()}


def _record_failure(
    plan: Plan, place: ExamDerivatives, reason: str, crash: Crash | None, run_uuid: str
) -> None:
    """Write record and report of an exam that failed."""
    record = Record(
        exam=place.label,
        state='failed',
        fingerprint=plan.fingerprint,
        reason=reason,
        run_uuid=run_uuid,
    )
    write_record(place.record, record)
    failure = _describe_failure(plan, reason, crash)
    rows = plan.rows
    if failure.step == JUDGING:  # the rows of the plan knew the headers alone
        rows = [unusable(row) for row in rows]
    write_report(collect_failure(place, record, rows, failure), place.report)


def _describe_failure(plan: Plan, reason: str, crash: Crash | None) -> Failure:
    """Tell what went wrong and what to do; an exam that was not reached tells it itself."""
    if crash is None:
        return Failure(step='', message=reason, advice=MEND_SCAN if plan.fault else '')
    advice = MEND_SCAN if crash.step == JUDGING else TRY_AGAIN
    return Failure(crash.step, reason, advice, str(crash.path), crash.traceback)


def unusable(row: Row) -> Row:
    """Leave a scan out of the selection table, if that has not been done for its header."""
    if row['role'] == LEFT_OUT:
        return row
    return {**row, 'role': LEFT_OUT, 'reason': UNUSABLE}


def write_data_set_index(derivatives: Derivatives) -> None:
    """Write the page of all exams that the output folder knows."""
    with one_at_a_time(derivatives.index_lock):  # or a slow run would write what it read long ago
        rows = [_index_row(record, derivatives) for record in read_records(derivatives).values()]
        write_index(rows, derivatives.index)


def _index_row(record: Record, derivatives: Derivatives) -> IndexRow:
    """Show a record in the index."""
    is_finished = record.state == 'finished'
    picture = derivatives.exam_of(record.exam).thumbnail
    shown = is_finished and picture.is_file()
    thumbnail = picture.relative_to(derivatives.root).as_posix() if shown else ''
    state: Literal['complete', 'warned', 'failed']
    state = ('warned' if record.warnings else 'complete') if is_finished else 'failed'
    note = record.reason or (record.warnings[0] if record.warnings else '')
    seconds = sum(record.durations_s.values()) or None
    return IndexRow(record.exam, state, note, f'{record.exam}.html', seconds, thumbnail)


def write_status(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the table of a run as TSV."""
    lines = ['exam\tstate\tnote\treport']
    lines += [f'{o.exam}\t{o.state}\t{o.note or "n/a"}\t{o.report.name}' for o in outcomes]
    write_text(path, '\n'.join(lines) + '\n')


def describe_outcomes(outcomes: Sequence[Outcome]) -> str:
    """Tell how the exams ended, a line each, and the count."""
    width = max(len(outcome.exam) for outcome in outcomes)
    lines = [f'{o.exam:<{width}}  {o.state:<8}  {o.note}'.rstrip() for o in outcomes]
    counts = Counter(outcome.state for outcome in outcomes)
    told = [f'{counts["finished"]} of {len(outcomes)} exams finished']
    told += [f'{counts[state]} {state}' for state in WAITING.values() if counts[state]]
    lines.append(', '.join([*told, f'{counts["failed"]} failed']))
    return '\n'.join(lines)
