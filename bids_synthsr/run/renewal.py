"""Reports of finished exams, written anew: all of them on request, and any that is gone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bids_synthsr.derivatives.digests import describe_outputs
from bids_synthsr.derivatives.locks import ExamLocks
from bids_synthsr.derivatives.people import find_people
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.records import (
    Record,
    lost_outputs,
    lost_pages,
    read_record,
    write_record,
)
from bids_synthsr.reports.change_page import write_change_page
from bids_synthsr.reports.exam_pages import write_pages
from bids_synthsr.run.closing import ANOTHER_RUN, write_data_set_index
from bids_synthsr.run.messages import announce
from bids_synthsr.run.plan import Plan
from bids_synthsr.settings import SOME_FAILED, SUCCESS

UNFINISHED = 'It is not finished.'
LOGGER = logging.getLogger('bids_synthsr')


def renew_reports(plans: Sequence[Plan], bids_dir: Path, derivatives: Derivatives) -> int:
    """Write the reports of finished exams and of comparisons anew; return the exit code.

    A report that cannot be written costs that exam alone. Nothing is written to a folder that
    holds no outputs of the program.
    """
    if not (derivatives.description.exists() or derivatives.records.is_dir()):
        announce('%s holds no outputs of the program: nothing has a report', derivatives.root)
        return SOME_FAILED
    faults = []
    with ExamLocks(derivatives.locks) as locks:
        for plan in plans:
            record = _finished(plan, derivatives)
            if record is None:
                announce('%s is not finished: no report', plan.exam)
                faults.append(UNFINISHED)
            elif locks.claim(plan.exam.label):
                faults.append(_renew(plan, record, derivatives))
            else:
                announce('%s: %s', plan.exam, ANOTHER_RUN)
                faults.append(ANOTHER_RUN)
        faults += _renew_comparisons(plans, bids_dir, derivatives, locks)
        has_index = write_data_set_index(derivatives)
    return SUCCESS if has_index and not any(faults) else SOME_FAILED


def _renew_comparisons(
    plans: Sequence[Plan], bids_dir: Path, derivatives: Derivatives, locks: ExamLocks
) -> list[str]:
    """Write the pages of people anew whose comparison is up to date; return why some fail."""
    subjects = sorted({plan.exam.subject for plan in plans})
    faults = []
    for person in find_people(derivatives, bids_dir, subjects):
        path = derivatives.person_record(person.subject)
        record = read_record(path)
        if record is None or record.state != 'finished':
            continue  # nobody has asked for it
        if person.to_do:
            announce('%s: no page of its sessions, for %s', person.label, person.to_do)
            faults.append(person.to_do)
            continue
        if not locks.claim(f'{person.label}_longitudinal'):
            announce('%s: %s', person.label, ANOTHER_RUN)
            faults.append(ANOTHER_RUN)
            continue
        try:
            page = write_change_page(person, derivatives)
            write_record(path, replace(record, pages=describe_outputs([page], derivatives)))
        except Exception as error:  # whatever a damaged file brings about
            LOGGER.debug('', exc_info=True)
            announce('%s: the page of its sessions cannot be written: %s', person.label, error)
            faults.append(str(error) or type(error).__name__)
        else:
            announce('%s', page)
    return faults


def renew_lost_reports(plans: Sequence[Plan], derivatives: Derivatives) -> list[str]:
    """Write the reports anew that finished exams have lost; return why some cannot be written."""
    faults = []
    for plan in plans:
        record = None if plan.to_do else _finished(plan, derivatives)
        if record is not None and lost_pages(record, derivatives):
            faults.append(_renew(plan, record, derivatives))
    return [*filter(None, faults)]


def _finished(plan: Plan, derivatives: Derivatives) -> Record | None:
    """Read the record of an exam; None where it is not finished."""
    record = read_record(derivatives.exam(plan.exam.subject, plan.exam.session).record)
    return record if record is not None and record.state == 'finished' else None


def _renew(plan: Plan, record: Record, derivatives: Derivatives) -> str:
    """Write the report of an exam anew; return why that failed, empty if it did not."""
    place = derivatives.exam(plan.exam.subject, plan.exam.session)
    losses = lost_outputs(record, derivatives)
    if losses:
        announce('%s: no report, for %s. Start again without --reports-only.', plan.exam, losses)
        return losses
    try:
        write_record(place.record, write_pages(place, record, plan.exam.scans))
    except Exception as error:  # whatever a damaged file brings about
        LOGGER.debug('', exc_info=True)
        announce('%s: its report cannot be written: %s', plan.exam, error)
        return str(error) or type(error).__name__
    announce('%s', place.report)
    return ''
