"""How a run ended: records and reports of failed exams, the index, the table."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bids_synthsr.dataset.files import write_text
from bids_synthsr.dataset.selection import LEFT_OUT, Row
from bids_synthsr.derivatives.locks import one_at_a_time
from bids_synthsr.derivatives.places import Derivatives, ExamDerivatives
from bids_synthsr.derivatives.progress import read_absences
from bids_synthsr.derivatives.records import (
    MAX_REASON,
    Record,
    read_durations,
    read_events,
    read_record,
    read_records,
    reason_to_redo,
    write_unfinished_record,
)
from bids_synthsr.reports.citation import write_folder_citation
from bids_synthsr.reports.collect import collect_failure
from bids_synthsr.reports.content import Failure, IndexRow
from bids_synthsr.reports.pages import write_index, write_report
from bids_synthsr.run.crashes import Crash, read_crashes
from bids_synthsr.run.guard import describe_error, guarded
from bids_synthsr.run.messages import announce
from bids_synthsr.run.plan import Plan
from bids_synthsr.values.text import plain_text
from bids_synthsr.workflows.stages import JUDGING_STEP, Stage, last_stage, waiting_states

LOGGER = logging.getLogger('bids_synthsr')
MEND_SCAN = (
    'Mend the scan, or leave it out with --bids-filter-file, and start the same command again: '
    'finished exams are not done twice.'
)
TRY_AGAIN = (
    'Once that is mended, start the same command again: what is finished is not done twice. If '
    'you cannot tell what it means, report it with the crash file below.'
)
UNUSABLE = 'Its voxels cannot be used.'
FINISHED, FAILED = 'finished', 'failed'
LEFT = 'left'  # to another run
ANOTHER_RUN = 'It is worked on by another run: start again when that has ended.'
UNCLOSED = 'How it ended could not be found out ({}).'
UNSHOWN = 'Its record cannot be shown ({}).'
NOT_REACHED = 'The run ended before this exam was finished; start the same command again.'


@dataclass(frozen=True)
class Outcome:
    """How the work on an exam ended.

    Parameters
    ----------
    exam
        Label of the exam, such as ``sub-01_ses-2``.
    state
        ``finished``, ``failed`` or ``left`` to another run, or what an exam is called that waits
        for a later stage.
    note
        Reason of the failure, or its warnings, a line each.
    report
        Path of its page.
    rows
        Rows of its scans where it failed, as far as they are known.
    """

    exam: str
    state: str
    note: str
    report: Path
    rows: Sequence[Row] = ()


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
            place = self.derivatives.exam(plan.exam.subject, plan.exam.session)
            self.outcomes[label] = guarded(
                lambda: self._close(plan, place, waiting or {}),
                lambda error: Outcome(label, FAILED, UNCLOSED.format(error), place.report),
            )
        return self.outcomes[label]

    def _close(self, plan: Plan, place: ExamDerivatives, waiting: Mapping[str, str]) -> Outcome:
        record = read_record(place.record)
        if plan.is_left:
            plan = replace(plan, to_do=reason_to_redo(record, plan.fingerprint, self.derivatives))
        is_done = not plan.to_do or (record is not None and record.run_uuid == self.run_uuid)
        if record is not None and record.state == FINISHED and is_done:
            note = '\n'.join(record.warnings)
            return Outcome(place.label, FINISHED, note, place.report)
        if plan.is_left:
            return Outcome(place.label, LEFT, ANOTHER_RUN, place.report)
        if place.label in waiting:
            return Outcome(place.label, waiting[place.label], '', place.report)
        crashes = read_crashes(self.derivatives.crashes(self.run_uuid))
        crash = next((crash for crash in crashes if crash.exam == place.label), None)
        reason = plan.fault or (crash.message if crash else NOT_REACHED)
        reason = plain_text(reason, MAX_REASON)
        rows = plan.rows
        if crash and crash.step == JUDGING_STEP:  # the rows of the plan knew the headers alone
            rows = tuple(unusable(row, reason) for row in rows)
        reason += guarded(
            lambda: _record_failure(replace(plan, rows=rows), place, reason, crash, self.run_uuid),
            lambda error: f' Its record or report could not be written: {error}.',
        )
        return Outcome(place.label, FAILED, reason, place.report, rows)


def find_waiting(steps: Path, stage: Stage) -> dict[str, str]:
    """Find the exams that a run has brought to the end of a stage that others follow."""
    last = {'step': stage.last_step, 'status': 'end'}
    events = read_events(steps) if stage is not last_stage() else ()
    return {event['exam']: stage.state for event in events if last.items() <= event.items()}


def _record_failure(
    plan: Plan, place: ExamDerivatives, reason: str, crash: Crash | None, run_uuid: str
) -> str:
    """Write record and report of an exam that failed; return that no more is to be said."""
    record = Record(
        exam=place.label,
        state='failed',
        fingerprint=plan.fingerprint,
        reason=reason,
        durations_s=read_durations(place.dataset.steps(run_uuid), place.label),
        run_uuid=run_uuid,
    )
    record = write_unfinished_record(place, record)
    failure = _describe_failure(plan, reason, crash)
    write_report(collect_failure(place, record, plan.rows, failure), place.report)
    return ''


def _describe_failure(plan: Plan, reason: str, crash: Crash | None) -> Failure:
    """Describe what went wrong and what to do about it."""
    if crash is None:
        return Failure(step='', message=reason, advice=MEND_SCAN if plan.fault else '')
    advice = MEND_SCAN if crash.step == JUDGING_STEP else TRY_AGAIN
    return Failure(crash.step, reason, advice, str(crash.path), crash.traceback)


def unusable(row: Row, reason: str) -> Row:
    """Leave a scan out of the selection table, if that has not been done for its header."""
    if row['role'] == LEFT_OUT:
        return row
    return {**row, 'role': LEFT_OUT, 'reason': f'{UNUSABLE} {reason}'}


def write_data_set_index(derivatives: Derivatives, work: str = '') -> bool:
    """Write page and methods text of all exams on record; return whether that went well.

    Parameters
    ----------
    derivatives
        Output folder of the run.
    work
        What a run is doing at this moment, in a sentence; empty where it has ended.
    """
    try:
        # or a slow run would write what it read long ago
        with one_at_a_time(derivatives.index_lock):
            records = read_records(derivatives)
            rows = [_safe_row(x, derivatives) for x in records.values() if x.state != 'begun']
            absences = read_absences(derivatives)
            lacking = {x: absences[x] for x in absences if x not in records}
            write_index(rows, derivatives.index, lacking, derivatives.further_pages(), work)
            write_folder_citation(derivatives, records.values())
    except Exception as error:
        LOGGER.debug('', exc_info=True)
        announce('%s could not be written: %s', derivatives.index, describe_error(error))
        return False
    return True


def _safe_row(record: Record, derivatives: Derivatives) -> IndexRow:
    """Show a record in the index; one that cannot be shown costs no other its row."""
    page = f'{record.exam}.html'
    return guarded(
        lambda: _index_row(record, derivatives),
        lambda error: IndexRow(record.exam, 'failed', UNSHOWN.format(error), page, None, ''),
    )


def _index_row(record: Record, derivatives: Derivatives) -> IndexRow:
    """Show a record in the index."""
    is_finished = record.state == 'finished'
    picture = derivatives.exam_of(record.exam).thumbnail
    has_picture = is_finished and picture.is_file()
    thumbnail = picture.relative_to(derivatives.root).as_posix() if has_picture else ''
    state: Literal['complete', 'warned', 'failed']
    state = ('warned' if record.warnings else 'complete') if is_finished else 'failed'
    note = record.reason or ' '.join(record.warnings)
    seconds = sum(record.durations_s.values()) or None
    return IndexRow(
        record.exam,
        state,
        note,
        f'{record.exam}.html',
        seconds,
        thumbnail,
        record.main,
        dict(record.coverage),
    )


def write_status(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the table of a run as TSV."""
    lines = ['exam\tstate\tnote\treport']
    for outcome in outcomes:
        note = plain_text(outcome.note, MAX_REASON) or 'n/a'
        lines.append('\t'.join((outcome.exam, outcome.state, note, outcome.report.name)))
    write_text(path, '\n'.join(lines) + '\n')


def describe_outcomes(outcomes: Sequence[Outcome]) -> str:
    """Describe how the exams ended, a line each, and count them."""
    width = max(len(outcome.exam) for outcome in outcomes)
    indent = '\n' + ' ' * (width + 12)
    lines = [
        f'{o.exam:<{width}}  {o.state:<8}  {indent.join(o.note.splitlines())}'.rstrip()
        for o in outcomes
    ]
    counts = Counter(outcome.state for outcome in outcomes)
    summary = [f'{counts[FINISHED]} of {len(outcomes)} exams finished']
    others = (*waiting_states(), LEFT)
    summary += [f'{counts[state]} {state}' for state in others if counts[state]]
    lines.append(', '.join([*summary, f'{counts[FAILED]} failed']))
    return '\n'.join(lines)
