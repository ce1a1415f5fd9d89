"""The sessions of people are compared, once their exams are finished."""

from __future__ import annotations

import logging
from dataclasses import asdict
from functools import partial

from bids_synthsr.dataset.filenames import plain_label
from bids_synthsr.derivatives.locks import ExamLocks
from bids_synthsr.derivatives.people import Person, find_people
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.records import read_record
from bids_synthsr.run.downstream import run_parts
from bids_synthsr.run.messages import announce
from bids_synthsr.settings import Settings

LOGGER = logging.getLogger('bids_synthsr')
WITHOUT = '%s: what %s shows is of sessions that are no longer there'
STALE = (
    '%s: the comparison of its sessions is out of date (%s); the same command with '
    '--longitudinal makes it anew'
)


def compare_sessions(settings: Settings, locks: ExamLocks) -> bool:
    """Compare the sessions of every person who has several; tell whether all went well.

    Parameters
    ----------
    settings
        Settings of the run, with the work folder that belongs to its input and output.
    locks
        Locks of this run in the output folder.
    """
    derivatives = Derivatives(settings.output_dir)
    people, is_well = [], True
    for person in find_people(derivatives, settings.input.bids_dir, _subjects(settings)):
        for session, reason in person.left.items():
            announce('%s: ses-%s is not compared: %s', person.label, session, reason)
        if not person.is_comparable:
            announce('%s: fewer than two sessions can be compared', person.label)
            if derivatives.person_record(person.subject).is_file():
                announce(WITHOUT, person.label, derivatives.person_page(person.subject))
                is_well = False
        elif not person.to_do:
            LOGGER.info('%s: its sessions are compared already', person.label)
        elif locks.claim(f'{person.label}_longitudinal'):
            people.append(person)
        else:
            announce('%s: another run compares its sessions', person.label)
            is_well = False
    if people:
        announce('Comparing the sessions of %d people', len(people))
        is_well = _run(people, settings, derivatives) and is_well
    return is_well


def warn_of_stale(settings: Settings) -> None:
    """Name the people whose sessions were compared before their volumes changed."""
    derivatives = Derivatives(settings.output_dir)
    for person in find_people(derivatives, settings.input.bids_dir, _subjects(settings)):
        record = read_record(derivatives.person_record(person.subject))
        if record and record.state == 'finished' and not person.is_comparable:
            announce(WITHOUT, person.label, derivatives.person_page(person.subject))
        elif record and record.state == 'finished' and person.to_do:
            announce(STALE, person.label, person.to_do)


def _subjects(settings: Settings) -> tuple[str, ...]:
    return tuple(map(plain_label, settings.input.participant_labels))


def _run(people: list[Person], settings: Settings, derivatives: Derivatives) -> bool:
    """Run the workflow of some people; name those that failed."""
    from bids_synthsr.workflows.longitudinal import init_longitudinal_wf

    plain = [
        {
            'subject': person.subject,
            'sessions': [asdict(session) for session in person.sessions],
            'left': dict(person.left),
        }
        for person in people
    ]
    build = partial(
        init_longitudinal_wf,
        people=plain,
        output_dir=str(settings.output_dir),
        run_uuid=settings.run_uuid,
        work_dir=settings.work_dir,
    )
    wanted = {x.label: (derivatives.person_record(x.subject), x.fingerprint) for x in people}
    failures = run_parts(build, wanted, settings, 1)
    for person in people:
        if person.label in failures:
            reason = failures[person.label]
            announce('%s: its sessions could not be compared: %s', person.label, reason)
        else:
            page = derivatives.person_page(person.subject)
            announce('%s: %d sessions compared: %s', person.label, len(person.sessions), page)
    return not failures
