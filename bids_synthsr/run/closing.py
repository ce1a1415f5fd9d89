"""How a run ended: records and reports of failed exams, the index, the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bids_synthsr.dataset.files import write_text
from bids_synthsr.dataset.selection import LEFT_OUT, Row
from bids_synthsr.derivatives.locks import one_at_a_time
from bids_synthsr.derivatives.places import Derivatives, ExamDerivatives
from bids_synthsr.derivatives.records import (
    Record,
    read_durations,
    read_events,
    read_record,
    read_records,
    write_record,
)
from bids_synthsr.reports.collect import collect_failure
from bids_synthsr.reports.content import Failure, IndexRow
from bids_synthsr.reports.pages import write_index, write_report
from bids_synthsr.run.crashes import Crash, read_crashes
from bids_synthsr.run.plan import Plan
from bids_synthsr.workflows.stages import JUDGING_STEP, Stage, last_stage, waiting_states

MEND_SCAN = (
    'Mend the scan, or leave it out with --bids-filter-file, and start the same command again: '
    'finished exams are not done twice.'
)
TRY_AGAIN = (
    'Once that is mended, start the same command again: what is finished is not done twice. If '
    'you cannot tell what it means, report it with the crash file below.'
)
UNUSABLE = 'Its voxels cannot be used: see what went wrong.'
FINISHED, FAILED = 'finished', 'failed'
NOT_REACHED = 'The run ended before this exam was finished; start the same command again.'


@dataclass(frozen=True)
class Outcome:
    """How the work on an exam ended.

    Parameters
    ----------
    exam
        Label of the exam, such as ``sub-01_ses-2``.
    state
        ``finished`` or ``failed``, or what an exam is called that waits for a later stage.
    note
        Reason of the failure, or the first of its warnings.
    report
        Path of its page.
    """

    exam: str
    state: str
    note: str
    report: Path


class Closing:
    """Close the exams of a run, each of them once.

    Parameters
    ----------
    derivatives
        Output folder of the run.
    run_uuid
        Name of the run.
    """

    def __init__(self, derivatives: Derivatives, run_uuid: str) -> None:
        self.derivatives, self.run_uuid = derivatives, run_uuid
        self.outcomes: dict[str, Outcome] = {}

    def close(self, plan: Plan, waiting: Mapping[str, str] | None = None) -> Outcome:
        """Find how an exam ended; record a failure and write its report.

        Parameters
        ----------
        plan
            What was to become of the exam.
        waiting
            States of exams that wait for a later stage, by label; see `find_waiting`.
        """
        label = plan.exam.label
        if label not in self.outcomes:
            self.outcomes[label] = self._close(plan, waiting or {})
        return self.outcomes[label]

    def _close(self, plan: Plan, waiting: Mapping[str, str]) -> Outcome:
        place = self.derivatives.exam(plan.exam.subject, plan.exam.session)
        record = read_record(place.record)
        is_done = not plan.to_do or (record is not None and record.run_uuid == self.run_uuid)
        if record is not None and record.state == FINISHED and is_done:
            note = record.warnings[0] if record.warnings else ''
            return Outcome(place.label, FINISHED, note, place.report)
        if place.label in waiting:
            return Outcome(place.label, waiting[place.label], '', place.report)
        crashes = read_crashes(self.derivatives.crashes(self.run_uuid))
        crash = next((crash for crash in crashes if crash.exam == place.label), None)
        reason = plan.fault or (crash.message if crash else NOT_REACHED)
        _record_failure(plan, place, reason, crash, self.run_uuid)
        return Outcome(place.label, FAILED, reason, place.report)


def find_waiting(steps: Path, stage: Stage) -> dict[str, str]:
    """Find the exams that a run has brought to the end of a stage that others follow."""
    last = {'step': stage.last_step, 'status': 'end'}
    events = read_events(steps) if stage is not last_stage() else ()
    return {event['exam']: stage.state for event in events if last.items() <= event.items()}


def _record_failure(
    plan: Plan, place: ExamDerivatives, reason: str, crash: Crash | None, run_uuid: str
) -> None:
    """Write record and report of an exam that failed."""
    record = Record(
        exam=place.label,
        state='failed',
        fingerprint=plan.fingerprint,
        reason=reason,
        durations_s=read_durations(place.dataset.steps(run_uuid), place.label),
        run_uuid=run_uuid,
    )
    write_record(place.record, record)
    failure = _describe_failure(plan, reason, crash)
    rows = plan.rows
    if failure.step == JUDGING_STEP:  # the rows of the plan knew the headers alone
        rows = [unusable(row) for row in rows]
    write_report(collect_failure(place, record, rows, failure), place.report)


def _describe_failure(plan: Plan, reason: str, crash: Crash | None) -> Failure:
    """Describe what went wrong and what to do about it."""
    if crash is None:
        return Failure(step='', message=reason, advice=MEND_SCAN if plan.fault else '')
    advice = MEND_SCAN if crash.step == JUDGING_STEP else TRY_AGAIN
    return Failure(crash.step, reason, advice, str(crash.path), crash.traceback)


def unusable(row: Row) -> Row:
    """Leave a scan out of the selection table, if that has not been done for its header."""
    if row['role'] == LEFT_OUT:
        return row
    return {**row, 'role': LEFT_OUT, 'reason': UNUSABLE}


def write_data_set_index(derivatives: Derivatives) -> None:
    """Write the page of all exams that the output folder records."""
    with one_at_a_time(derivatives.index_lock):  # or a slow run would write what it read long ago
        rows = [_index_row(record, derivatives) for record in read_records(derivatives).values()]
        write_index(rows, derivatives.index)


def _index_row(record: Record, derivatives: Derivatives) -> IndexRow:
    """Show a record in the index."""
    is_finished = record.state == 'finished'
    picture = derivatives.exam_of(record.exam).thumbnail
    has_picture = is_finished and picture.is_file()
    thumbnail = picture.relative_to(derivatives.root).as_posix() if has_picture else ''
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
    """Describe how the exams ended, a line each, and count them."""
    width = max(len(outcome.exam) for outcome in outcomes)
    lines = [f'{o.exam:<{width}}  {o.state:<8}  {o.note}'.rstrip() for o in outcomes]
    counts = Counter(outcome.state for outcome in outcomes)
    summary = [f'{counts[FINISHED]} of {len(outcomes)} exams finished']
    summary += [f'{counts[state]} {state}' for state in waiting_states() if counts[state]]
    lines.append(', '.join([*summary, f'{counts[FAILED]} failed']))
    return '\n'.join(lines)
