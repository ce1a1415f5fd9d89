"""A run at the participant level: find, plan, process, close."""

from __future__ import annotations

import logging
import platform
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import tomli_w

from bids_synthsr.dataset.filenames import plain_label
from bids_synthsr.dataset.files import write_json, write_text
from bids_synthsr.dataset.query import find_exams
from bids_synthsr.dataset.selection import describe_exam
from bids_synthsr.dataset.validation import validate
from bids_synthsr.derivatives.locks import ExamLocks
from bids_synthsr.derivatives.ownership import check_links, check_owner
from bids_synthsr.derivatives.places import Derivatives, remove_leftovers
from bids_synthsr.derivatives.progress import write_absences, write_plan
from bids_synthsr.derivatives.provenance import write_dataset_description
from bids_synthsr.derivatives.records import fingerprint_digest, read_record, reason_to_redo
from bids_synthsr.reports.citation import write_run_citation
from bids_synthsr.run.closing import (
    FAILED,
    LEFT,
    Closing,
    describe_outcomes,
    find_waiting,
    write_data_set_index,
    write_status,
)
from bids_synthsr.run.live import live_view
from bids_synthsr.run.machine import prepare_workers
from bids_synthsr.run.messages import OutputError, announce, log_to_file, print_lines
from bids_synthsr.run.plan import (
    REQUESTS,
    Plan,
    describe_left_out,
    describe_method,
    describe_plans,
    describe_small_memory,
    forecast_scans,
    list_requests,
    plan_exams,
    threads_of,
)
from bids_synthsr.run.plugin import (
    STOPPED,
    ExamByExamPlugin,
    configure_engine,
    exit_code_of,
    request_resources,
    send_crashes,
    stoppable,
)
from bids_synthsr.run.renewal import renew_lost_reports, renew_reports
from bids_synthsr.run.steps import StepLog
from bids_synthsr.run.work_folder import WORKFLOW, UnsafeFolderError, WorkFolder, mend_exam
from bids_synthsr.settings import SOME_FAILED, SUCCESS, WRONG_USE, RunSettings, Settings
from bids_synthsr.values.exam import Exam
from bids_synthsr.values.method import Forecast
from bids_synthsr.workflows.stages import STAGES

LOGGER = logging.getLogger('bids_synthsr')
DEFAULT_PLUGIN, SLURM = 'MultiProc', 'SLURM'
MAX_NAMED = 20  # scans and participants on the terminal that are not processed
EXAMS_PER_GPU = 2  # at once
EXAMS_AT_ONCE, EXAMS_PER_PROCESS = 64, 16  # in one workflow: at least, and for each process
LOG = 'bids_synthsr.log'  # of a run, main process and workers
USAGE = 'resources-{}.json'  # of the part of a run that begins with that exam
VERSIONED = (
    'bids_synthsr', 'nipype', 'pybids', 'nibabel', 'nitransforms', 'picsl-greedy', 'numpy',
    'scipy', 'torch',
)  # fmt: skip
Mode = Literal['process', 'dry-run', 'reports-only', 'boilerplate-only']


@dataclass(frozen=True)
class Request:
    """What a door requests of a run.

    Parameters
    ----------
    settings
        All settings of the run.
    command
        Words of the command line, without the name of the program.
    mode
        Whether to process exams, or only to describe what would be done, to write reports anew, or
        to write the methods text.
    empties_work_dir
        Whether what is kept of earlier runs in the work folder is removed before the run.
    validates
        Whether the input data set is validated.
    options
        Options as TOML values, by which the same run can be requested again.
    started_in
        Current folder at the door, which relative paths of the command refer to.
    """

    settings: Settings
    command: Sequence[str] = ()
    mode: Mode = 'process'
    empties_work_dir: bool = False
    validates: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    started_in: Path = field(default_factory=Path.cwd)


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
        exams, absences = _find(settings, request.validates)
        check_links(derivatives, exams)
        plans = plan_exams(exams, settings.input, settings.method, derivatives)
    except (ValueError, OSError) as error:
        announce('%s', error)
        return WRONG_USE
    if request.mode == 'dry-run':
        announce('%s', describe_plans(plans, settings))
        name_left_out([], absences)
        announce('%s', REQUESTS)
        return _print_requests(plans, settings)
    if request.mode == 'reports-only':
        return renew_reports(plans, derivatives)
    try:
        if request.mode == 'boilerplate-only':
            _open_run(request)
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
    _open_run(request)
    name_left_out(plans, absences)
    if not settings.input.participant_labels:
        write_absences(derivatives, absences)
    digests = {plan.exam.label: fingerprint_digest(plan.fingerprint) for plan in plans}
    command = command_line(request.command)
    write_plan(derivatives, settings.run_uuid, digests, command, request.started_in)
    closing = Closing(derivatives, settings.run_uuid)
    with ExamLocks(derivatives.locks) as locks, ExamLocks(work.locks) as work_locks:
        if request.empties_work_dir:
            work.empty(work_locks)
        plans = [*_claimed(plans, locks, derivatives)]
        plans = [_claimed_work(plan, work_locks, work) for plan in plans]
        for plan in plans:
            if plan.fault and not plan.is_left:
                closing.close(plan)
        if not (settings.run.stop_on_first_crash and closing.outcomes):
            _process([plan for plan in plans if plan.is_work], settings, closing)
        faults = renew_lost_reports(plans, derivatives)
        code = _close_run(plans, settings, closing)
        return SOME_FAILED if faults else code


def _claimed(plans: Sequence[Plan], locks: ExamLocks, derivatives: Derivatives) -> Iterator[Plan]:
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


def _claimed_work(plan: Plan, locks: ExamLocks, work: WorkFolder) -> Plan:
    """Lock an exam in the work folder, too: another run may call other folders by these names.

    In two containers ``/data`` and ``/out`` may be different data sets, and ``/work`` the same.
    """
    if not plan.is_work or locks.claim(plan.exam.label):
        return plan
    announce('%s: another run works on an exam of this name in %s', plan.exam, work.root)
    return replace(plan, is_left=True)


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


def _open_run(request: Request) -> None:
    """Prepare the output folder, and write down what is run."""
    settings = request.settings
    derivatives = Derivatives(settings.output_dir)
    logs = derivatives.run_logs(settings.run_uuid)
    log_to_file(logs / LOG)
    LOGGER.info('bids_synthsr %s', shlex.join(request.command))
    write_dataset_description(derivatives, settings.input.bids_dir)
    write_text(logs / 'config.toml', tomli_w.dumps(request.options))
    run = describe_run(settings, request.command)
    write_json(derivatives.run_facts(settings.run_uuid), run)
    write_run_citation(derivatives.run_citation(settings.run_uuid), run)
    crash_dir = derivatives.crashes(settings.run_uuid)
    crash_dir.mkdir()
    configure_engine(
        stops_on_first_crash=settings.run.stop_on_first_crash,
        monitors=settings.run.resource_monitor,
    )


def command_line(command: Sequence[str]) -> str:
    """Write the command as it is typed."""
    return shlex.join(['bids_synthsr', *command])


def describe_run(settings: Settings, command: Sequence[str]) -> dict[str, Any]:
    """Describe what is run where: command, settings that change results, versions, machine."""
    return {
        'command': command_line(command),
        'settings': describe_method(settings.method),
        'derivatives': [str(folder) for folder in settings.input.derivatives],
        'device': settings.run.device,
        'machine': f'{platform.platform()}, {settings.run.nprocs} processes',
        'python': platform.python_version(),
        'versions': {name: version(name) for name in VERSIONED},
    }


def _process(plans: Sequence[Plan], settings: Settings, closing: Closing) -> None:
    """Run the workflows of all exams that are to be processed; failures are in crash files."""
    if not plans:
        return
    derivatives, run = Derivatives(settings.output_dir), settings.run
    for plan in plans:
        LOGGER.info('%s: %s', plan.exam, plan.to_do)
        remove_leftovers(derivatives.exam(plan.exam.subject, plan.exam.session))
    num_threads = threads_of(run, len(plans))
    prepare_workers(num_threads)
    needs = {p.exam.label: forecast_scans(p.scans, settings.method, num_threads) for p in plans}
    for line in describe_small_memory(needs, run.mem_gb):
        announce('%s', line)
    steps = StepLog(derivatives.steps(settings.run_uuid), len(plans), STAGES[run.stage])
    announce(
        'Processing %d exams in up to %d processes, logs in %s',
        len(plans),
        run.nprocs,
        steps.path.parent,
    )
    with live_view(steps.progress, run.mem_gb, run.device):
        for part in _parts(plans, run):
            is_well = _process_part(part, needs, settings, steps, closing)
            if run.resource_monitor:
                _keep_usage(settings, steps.path.with_name(USAGE.format(part[0].exam.label)))
            write_data_set_index(derivatives)
            if run.stop_on_first_crash and not is_well:
                break


def _parts(plans: Sequence[Plan], run: RunSettings) -> Iterator[Sequence[Plan]]:
    """Part the exams of one machine: what nipype does at every look grows with their number."""
    size = max(EXAMS_AT_ONCE, EXAMS_PER_PROCESS * run.nprocs)
    if run.plugin.get('plugin', DEFAULT_PLUGIN) != DEFAULT_PLUGIN:
        size = len(plans)
    for first in range(0, len(plans), size):
        yield plans[first : first + size]


def _process_part(
    plans: Sequence[Plan],
    needs: Mapping[str, Forecast],
    settings: Settings,
    steps: StepLog,
    closing: Closing,
) -> bool:
    """Run the workflows of some exams; return whether all went well."""
    from bids_synthsr.workflows.base import exam_name, init_base_wf

    for plan in plans:
        folder = settings.work_dir / WORKFLOW / exam_name(plan.exam.subject, plan.exam.session)
        for fault in mend_exam(folder):
            LOGGER.warning('%s: %s', plan.exam, fault)
    workflow = init_base_wf(
        exams=[
            {
                **describe_exam(plan.exam, fingerprint_digest(plan.fingerprint)),
                'transforms': plan.transforms,
            }
            for plan in plans
        ],
        fingerprints=[plan.fingerprint for plan in plans],
        forecasts=[needs[plan.exam.label] for plan in plans],
        settings=settings,
        num_threads=threads_of(settings.run, steps.progress.exams),
        name=WORKFLOW,
    )
    crash_dir = Derivatives(settings.output_dir).crashes(settings.run_uuid)
    send_crashes(workflow, crash_dir)
    try:
        engine, arguments = _choose_engine(plans, settings, steps, closing)
        if engine == SLURM:
            request_resources(workflow)
        workflow.run(plugin=engine, plugin_args=arguments)
    except RuntimeError as error:
        LOGGER.debug('nipype: %s', error)  # the crash files name the exams that failed
        return False
    return True


def _keep_usage(settings: Settings, path: Path) -> None:
    """Copy what nipype's monitor recorded of some exams; it writes that when they are done."""
    recorded = settings.work_dir / WORKFLOW / 'resource_monitor.json'
    if recorded.is_file():  # not where a run broke off
        shutil.copyfile(recorded, path)
        recorded.unlink()


def _choose_engine(
    plans: Sequence[Plan], settings: Settings, steps: StepLog, closing: Closing
) -> tuple[str | ExamByExamPlugin, dict[str, Any]]:
    """Return nipype's plugin and its arguments: ours unless the user names another one."""
    from bids_synthsr.workflows.base import exam_name

    run = settings.run
    defaults = {
        'n_procs': run.nprocs,
        'n_gpu_procs': EXAMS_PER_GPU,
        'memory_gb': run.mem_gb,
        'raise_insufficient': False,
    }
    arguments = {**defaults, **run.plugin.get('plugin_args', {}), 'status_callback': steps}
    name = run.plugin.get('plugin', DEFAULT_PLUGIN)
    if name != DEFAULT_PLUGIN:
        return name, arguments
    exams = {exam_name(plan.exam.subject, plan.exam.session): plan for plan in plans}

    def close_failed(name: str) -> None:
        closing.close(exams[name])

    log = steps.path.parent / LOG
    return ExamByExamPlugin(list(exams), arguments, log, close_failed), arguments


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
