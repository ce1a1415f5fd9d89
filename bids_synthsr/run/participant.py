"""A run at the participant level: find, plan, process, close."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

from bids_synthsr.dataset.fetching import fetch, find_absent, find_datalad
from bids_synthsr.dataset.filenames import plain_label
from bids_synthsr.dataset.indexes import wipe_index
from bids_synthsr.dataset.query import find_exams
from bids_synthsr.dataset.validation import validate
from bids_synthsr.derivatives.exported import export_subjects
from bids_synthsr.derivatives.handed_over import check_handover, hand_over
from bids_synthsr.derivatives.locks import ExamLocks
from bids_synthsr.derivatives.ownership import check_links, check_owner, check_source
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.progress import write_absences, write_plan
from bids_synthsr.derivatives.records import fingerprint_digest
from bids_synthsr.run.claims import claim_exams, claim_work
from bids_synthsr.run.closing import (
    FAILED,
    LEFT,
    Closing,
    describe_outcomes,
    find_waiting,
    write_data_set_index,
    write_status,
)
from bids_synthsr.run.fates import write_fates
from bids_synthsr.run.longitudinal import compare_sessions, warn_of_stale
from bids_synthsr.run.messages import OutputError, announce, print_lines
from bids_synthsr.run.opening import command_line, open_run
from bids_synthsr.run.plan import (
    REQUESTS,
    Plan,
    describe_left_out,
    describe_plans,
    describe_unmasked,
    list_requests,
    plan_exams,
)
from bids_synthsr.run.plugin import STOPPED, exit_code_of, stoppable
from bids_synthsr.run.processing import process_exams
from bids_synthsr.run.renewal import renew_lost_reports, renew_reports
from bids_synthsr.run.request import Request
from bids_synthsr.run.surfaces import reconstruct_surfaces, warn_of_stale_surfaces
from bids_synthsr.run.work_folder import UnsafeFolderError, WorkFolder
from bids_synthsr.settings import SOME_FAILED, SUCCESS, WRONG_USE, InputSettings, Settings
from bids_synthsr.values.exam import Exam
from bids_synthsr.workflows.stages import STAGES, last_stage

LOGGER = logging.getLogger('bids_synthsr')
MAX_NAMED = 20  # scans and participants on the terminal that are not processed


def run_participants(request: Request) -> int:
    """Do what is requested, or until a signal; return the exit code of the program."""
    try:
        with stoppable():
            return _plan_and_run(request)
    except KeyboardInterrupt as stop:
        name, code = exit_code_of(stop)
        announce(STOPPED, name)
        return code


def _plan_and_run(request: Request) -> int:
    """Plan, and do with the plans what the mode requests."""
    settings = request.settings
    derivatives = Derivatives(settings.output_dir)
    try:
        check_owner(derivatives)
        check_source(derivatives, settings.input.bids_dir)
        if request.as_dataset:
            check_handover(request.as_dataset, settings.output_dir, settings.input.bids_dir)
        if request.fetches and request.mode in ('process', 'dry-run'):
            _fetch(settings.input, request.mode == 'dry-run')
        exams, absences = _find(settings, request.validates)
        check_links(derivatives, exams)
        plans = plan_exams(exams, settings.input, settings.method, derivatives)
    except (ValueError, OSError) as error:
        announce('%s', error)
        return WRONG_USE
    if request.mode == 'dry-run':
        announce('%s', describe_plans(plans, settings))
        name_left_out([], absences)
        for line in (*describe_unmasked(plans, settings.method), *describe_downstream(request)):
            announce('%s', line)
        announce('%s', REQUESTS)
        return _print_requests(plans, settings)
    if request.mode == 'reports-only':
        return renew_reports(plans, settings.input.bids_dir, derivatives)
    try:
        if request.mode == 'boilerplate-only':
            open_run(request)
            announce('Methods text: %s', derivatives.run_citation(settings.run_uuid))
            return SUCCESS
        work = WorkFolder(settings.work_dir, settings.input.bids_dir, settings.output_dir)
        work.open()
        # workers and what they start do not obey files of the folder that the user is in
        with chdir(work.root):
            return _run(plans, absences, request, work)
    except UnsafeFolderError as error:
        announce('%s', error)
        return WRONG_USE
    except OSError as error:  # such as a full disk
        LOGGER.debug('', exc_info=True)
        announce('The run broke off: %s. Once that is mended, the same command goes on.', error)
        return SOME_FAILED


def describe_downstream(request: Request) -> Iterator[str]:
    """Tell what would be made of the exams once they are finished, a sentence each."""
    if request.surfaces is not None:
        tool = request.surfaces.tool
        yield (
            f'Then {tool.name} {tool.version} would work on each exam, which may take hours, in '
            f'{request.surfaces.subjects_dir}; the table below does not count that'
        )
    if request.longitudinal:
        yield 'Then the sessions of every person with several would be compared'


def _print_requests(plans: Sequence[Plan], settings: Settings) -> int:
    """Print what to request from a scheduler; return the exit code."""
    try:
        print_lines(list_requests(plans, settings).splitlines())
    except OutputError as error:
        announce('%s', error)
        return SOME_FAILED
    return SUCCESS


def _run(
    plans: Sequence[Plan], absences: Mapping[str, str], request: Request, work: WorkFolder
) -> int:
    """Process what is planned; return the exit code."""
    settings = replace(request.settings, work_dir=work.root)
    derivatives = Derivatives(settings.output_dir)
    open_run(request)
    name_left_out(plans, absences)
    for line in describe_unmasked(plans, settings.method):
        announce('%s', line)
    if not settings.input.participant_labels:
        write_absences(derivatives, absences)
    digests = {plan.exam.label: fingerprint_digest(plan.fingerprint) for plan in plans}
    command = command_line(request.command)
    write_plan(derivatives, settings.run_uuid, digests, command, request.started_in)
    closing = Closing(derivatives, settings.run_uuid)
    with ExamLocks(derivatives.locks) as locks, ExamLocks(work.locks) as work_locks:
        if request.empties_work_dir:
            work.empty(work_locks)
        plans = [*claim_exams(plans, locks, derivatives)]
        plans = [claim_work(plan, work_locks, work) for plan in plans]
        for plan in plans:
            if plan.fault and not plan.is_left:
                closing.close(plan)
        if not (settings.run.stop_on_first_crash and closing.outcomes):
            process_exams([plan for plan in plans if plan.is_work], settings, closing)
        faults = renew_lost_reports(plans, derivatives)
        code = _close_run(plans, settings, closing)
        table = derivatives.run_scans(settings.run_uuid)
        write_fates(table, plans, absences, derivatives, closing.outcomes)
        is_exported = not request.exports or _export(derivatives)
        is_made = _make_surfaces(plans, request, settings, locks)
        is_compared = _compare_sessions(request, settings, locks)
        is_given = not request.as_dataset or _hand_over(
            derivatives, settings.input.bids_dir, request.as_dataset
        )
        write_data_set_index(derivatives)  # with the pages that came meanwhile
        is_well = not faults and is_exported and is_made and is_compared and is_given
        return code if is_well else SOME_FAILED


def _export(derivatives: Derivatives) -> bool:
    """Write all finished exams as subjects of FreeSurfer; tell whether that went well."""
    try:
        exported = export_subjects(derivatives)
    except ValueError as error:
        announce('--export: %s', error)
        return False
    announce('%s holds %d exams', exported.folder, len(exported.exams))
    for exam, reason in exported.left.items():
        announce('%s is not in it: %s', exam, reason)
    return not exported.left


def _make_surfaces(
    plans: Sequence[Plan], request: Request, settings: Settings, locks: ExamLocks
) -> bool:
    """Make the surfaces of finished exams if that is requested; tell whether all went well."""
    if settings.run.stage != last_stage().name:
        return True
    is_well = request.surfaces is None or reconstruct_surfaces(
        plans, request.surfaces, settings, locks
    )
    warn_of_stale_surfaces(plans, settings)
    return is_well


def _compare_sessions(request: Request, settings: Settings, locks: ExamLocks) -> bool:
    """Compare the sessions of people if that is requested; tell whether all went well."""
    if settings.run.stage != last_stage().name:
        return True
    if not request.longitudinal:
        warn_of_stale(settings)
        return True
    return compare_sessions(settings, locks)


def _hand_over(derivatives: Derivatives, bids_dir: Path, folder: Path) -> bool:
    """Write the T1w of all finished exams as a raw data set; tell whether that went well."""
    try:
        given = hand_over(derivatives, bids_dir, folder)
    except ValueError as error:
        announce('--as-dataset: %s', error)
        return False
    announce('%s holds the T1w of %d exams as a raw data set', folder, len(given.exams))
    for exam in given.left:
        announce('%s has no T1w and is not in it: choose --method auto', exam)
    return True


def _fetch(inputs: InputSettings, is_dry: bool) -> None:
    """Let datalad fetch what is elsewhere, and say so; a dry run only says it."""
    files = find_absent(inputs.bids_dir, inputs.participant_labels, inputs.session_labels)
    if is_dry and files:
        find_datalad(inputs.bids_dir, files)
        announce('--get would fetch files, whose scans cannot be planned before: %d', len(files))
    elif files:
        announce('datalad fetches %d files of %s', len(files), inputs.bids_dir)
        if fault := fetch(inputs.bids_dir, files):
            announce('datalad could not fetch all: %s', fault)


def _find(settings: Settings, validates: bool) -> tuple[list[Exam], dict[str, str]]:
    """Validate the data set unless that is not wanted, and find its exams.

    Returns
    -------
    exams
        Those to be planned: they have scans, or their participants were asked for.
    absences
        Why other participants have nothing to process, by their labels.
    """
    inputs = settings.input
    if inputs.wipes_database and inputs.database_dir:
        wipe_index(inputs.database_dir)
    exams = find_exams(
        inputs.bids_dir,
        participant_labels=inputs.participant_labels,
        session_labels=inputs.session_labels,
        filters=inputs.filters,
        database_dir=inputs.database_dir,
    )
    if validates:
        for fault in validate(inputs.bids_dir, sorted({exam.subject for exam in exams})):
            LOGGER.info('BIDS validator: %s', fault)
    asked = {plain_label(label) for label in inputs.participant_labels}
    absent = {exam.label for exam in exams if exam.absence and exam.subject not in asked}
    absences = {exam.label: exam.absence for exam in exams if exam.label in absent}
    return [exam for exam in exams if exam.label not in absent], absences


def name_left_out(plans: Sequence[Plan], absences: Mapping[str, str]) -> None:
    """Name scans and participants that are not processed: all in the log, some on the terminal."""
    lines = [*describe_left_out(plans), *(f'{label}: {why}' for label, why in absences.items())]
    for line in lines[:MAX_NAMED]:
        announce('%s', line)
    for line in lines[MAX_NAMED:]:
        LOGGER.info('%s', line)
    if len(lines) > MAX_NAMED:
        announce('%d more are left out: the log names them', len(lines) - MAX_NAMED)


def _close_run(plans: Sequence[Plan], settings: Settings, closing: Closing) -> int:
    """Record failures, write index and table, announce the result; return the exit code."""
    derivatives = Derivatives(settings.output_dir)
    waiting = find_waiting(derivatives.steps(settings.run_uuid), STAGES[settings.run.stage])
    outcomes = [closing.close(plan, waiting) for plan in plans]
    has_index = write_data_set_index(derivatives)
    write_status(derivatives.run_logs(settings.run_uuid) / 'status.tsv', outcomes)
    announce('%s', describe_outcomes(outcomes))
    is_well = has_index and all(x.state not in (FAILED, LEFT) for x in outcomes)
    return SUCCESS if is_well else SOME_FAILED
