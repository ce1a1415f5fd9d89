"""Exams are locked in output and work folder, so that two runs never work on the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from bids_synthsr.derivatives.locks import ExamLocks
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.records import read_record, reason_to_redo
from bids_synthsr.run.messages import announce
from bids_synthsr.run.plan import Plan
from bids_synthsr.run.work_folder import WorkFolder


def claim_exams(
    plans: Sequence[Plan], locks: ExamLocks, derivatives: Derivatives
) -> Iterator[Plan]:
    """Leave the exams to others on which these work; see what they have finished meanwhile."""
    for plan in plans:
        if not plan.to_do:
            yield plan
        elif not locks.claim(plan.exam.label):
            announce('%s: another run works on it, and is left to do so', plan.exam)
            yield replace(plan, is_left=True)
        elif plan.fault:
            yield plan
        else:
            record = read_record(derivatives.exam(plan.exam.subject, plan.exam.session).record)
            to_do = reason_to_redo(record, plan.fingerprint, derivatives)
            yield replace(plan, to_do=to_do)


def claim_work(plan: Plan, locks: ExamLocks, work: WorkFolder) -> Plan:
    """Lock an exam in the work folder, too: another run may call other folders by these names.

    In two containers ``/data`` and ``/out`` may be different data sets, and ``/work`` the same.
    """
    if not plan.is_work or locks.claim(plan.exam.label):
        return plan
    announce('%s: another run works on an exam of this name in %s', plan.exam, work.root)
    return replace(plan, is_left=True)
