"""A run at the participant level: find, plan, process, close."""

from __future__ import annotations

import logging
import platform
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, nullcontext
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import tomli_w

from bids_synthsr import __version__
from bids_synthsr.dataset.files import write_json, write_text
from bids_synthsr.dataset.query import find_exams
from bids_synthsr.dataset.selection import describe_exam
from bids_synthsr.dataset.validation import validate
from bids_synthsr.derivatives.locks import ExamLocks
from bids_synthsr.derivatives.places import Derivatives, remove_leftovers
from bids_synthsr.derivatives.progress import write_plan
from bids_synthsr.derivatives.provenance import write_dataset_description
from bids_synthsr.derivatives.records import fingerprint_digest, read_record, reason_to_redo
from bids_synthsr.reports.boilerplate import citation_markdown
from bids_synthsr.reports.collect import collect_report, method_facts
from bids_synthsr.reports.pages import write_report, write_thumbnail
from bids_synthsr.run.closing import (
    FAILED,
    Closing,
    describe_outcomes,
    find_waiting,
    write_data_set_index,
    write_status,
)
from bids_synthsr.run.live import live_view
from bids_synthsr.run.machine import prepare_workers
from bids_synthsr.run.messages import (
    announce,
    log_to_file,
)
from bids_synthsr.run.plan import (
    REQUESTS,
    Plan,
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
    stoppable,
)
from bids_synthsr.run.steps import StepLog
from bids_synthsr.settings import SOME_FAILED, SUCCESS, WRONG_USE, RunSettings, Settings
from bids_synthsr.values.exam import Exam
from bids_synthsr.values.method import Forecast
from bids_synthsr.workflows.stages import STAGES

LOGGER = logging.getLogger('bids_synthsr')
DEFAULT_PLUGIN, SLURM = 'MultiProc', 'SLURM'
EXAMS_PER_GPU = 2  # at once
EXAMS_AT_ONCE, EXAMS_PER_PROCESS = 64, 16  # in one workflow: at least, and for each process
LOG = 'bids_synthsr.log'  # of a run, main process and workers
USAGE = 'resources-{}.json'  # of the part of a run that begins with that exam
WORKFLOW = f'bids_synthsr_{__version__.replace(".", "_")}_wf'  # another version starts anew
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
        Whether the work folder is emptied before the run.
    validates
        Whether the input data set is validated.
    options
        Options as TOML values, by which the same run can be requested again.
    """

    settings: Settings
    command: Sequence[str] = ()
    mode: Mode = 'process'
    empties_work_dir: bool = False
    validates: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)


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
        exams = _find(settings, request.validates)
        plans = plan_exams(exams, settings.input, settings.method, derivatives)
    except (ValueError, OSError) as error:
        announce('%s', error)
        return WRONG_USE
    if request.mode == 'dry-run':
        announce('%s', describe_plans(plans, settings))
        announce('%s', REQUESTS)
        sys.stdout.write(list_requests(plans, settings))
        return SUCCESS
    if request.mode == 'reports-only':
        return _rewrite_reports(plans, derivatives)
    try:
        return _run(plans, request)
    except OSError as error:  # such as a full disk
        LOGGER.debug('', exc_info=True)
        announce('The run broke off: %s. Once that is mended, the same command goes on.', error)
        return SOME_FAILED


def _run(plans: Sequence[Plan], request: Request) -> int:
    """Process what is planned; return the exit code."""
    settings = request.settings
    derivatives = Derivatives(settings.output_dir)
    _open_run(request)
    if request.mode == 'boilerplate-only':
        announce('Methods text: %s', derivatives.citation)
        return SUCCESS
    labels = [plan.exam.label for plan in plans]
    write_plan(derivatives, settings.run_uuid, labels, command_line(request.command), Path.cwd())
    closing = Closing(derivatives, settings.run_uuid)
    with ExamLocks(derivatives.locks) as locks:
        plans = [*_claimed(plans, locks, derivatives)]
        for plan in plans:
            if plan.fault:
                closing.close(plan)
        if not (settings.run.stop_on_first_crash and closing.outcomes):
            _process([plan for plan in plans if plan.to_do and not plan.fault], settings, closing)
        return _close_run(plans, settings, closing)


def _claimed(plans: Sequence[Plan], locks: ExamLocks, derivatives: Derivatives) -> Iterator[Plan]:
    """Leave the exams out on which another run works; see what it has finished meanwhile."""
    for plan in plans:
        if not plan.to_do:
            yield plan
        elif locks.claim(plan.exam.label):
            record = read_record(derivatives.exam(plan.exam.subject, plan.exam.session).record)
            to_do = reason_to_redo(record, plan.fingerprint, derivatives)
            yield replace(plan, to_do=to_do)
        else:
            announce('%s: another run works on it, and is left to do so', plan.exam)


def _find(settings: Settings, validates: bool) -> list[Exam]:
    """Validate the data set unless that is not wanted, and find its exams."""
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
    return exams


def _open_run(request: Request) -> None:
    """Prepare output and work folder, and write down what is run."""
    settings = request.settings
    derivatives = Derivatives(settings.output_dir)
    logs = derivatives.run_logs(settings.run_uuid)
    log_to_file(logs / LOG)
    LOGGER.info('bids_synthsr %s', shlex.join(request.command))
    if request.empties_work_dir and settings.work_dir.is_dir():
        shutil.rmtree(settings.work_dir)
    write_dataset_description(derivatives, settings.input.bids_dir)
    write_text(logs / 'config.toml', tomli_w.dumps(request.options))
    run = describe_run(settings, request.command)
    write_json(derivatives.run_facts(settings.run_uuid), run)
    write_text(derivatives.citation, citation_markdown(method_facts(run, {})))
    crash_dir = derivatives.crashes(settings.run_uuid)
    crash_dir.mkdir()
    configure_engine(
        crash_dir,
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
    from bids_synthsr.workflows.base import init_base_wf

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
    settings.work_dir.mkdir(parents=True, exist_ok=True)
    # nipype's monitor leaves its samples in the current folder
    aside = chdir(settings.work_dir) if settings.run.resource_monitor else nullcontext()
    try:
        with aside:
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
    if not plans:
        return SUCCESS  # all are left to other runs
    derivatives = Derivatives(settings.output_dir)
    waiting = find_waiting(derivatives.steps(settings.run_uuid), STAGES[settings.run.stage])
    outcomes = [closing.close(plan, waiting) for plan in plans]
    write_data_set_index(derivatives)
    write_status(derivatives.run_logs(settings.run_uuid) / 'status.tsv', outcomes)
    announce('%s', describe_outcomes(outcomes))
    return SOME_FAILED if any(outcome.state == FAILED for outcome in outcomes) else SUCCESS


def _rewrite_reports(plans: Sequence[Plan], derivatives: Derivatives) -> int:
    """Write the reports of finished exams anew; return the exit code."""
    for plan in plans:
        place = derivatives.exam(plan.exam.subject, plan.exam.session)
        record = read_record(place.record)
        if record is None or record.state != 'finished':
            announce('%s is not finished: no report', plan.exam)
            continue
        report = collect_report(place, record, plan.exam.scans)
        write_report(report, place.report)
        write_thumbnail(report, place.thumbnail)
        announce('%s', place.report)
    write_data_set_index(derivatives)
    return SUCCESS
