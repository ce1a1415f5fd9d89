"""The workflows of all exams are run, some exams at a time."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bids_synthsr.dataset.selection import describe_exam
from bids_synthsr.derivatives.places import Derivatives, remove_leftovers
from bids_synthsr.derivatives.records import fingerprint_digest
from bids_synthsr.run.closing import Closing, write_data_set_index
from bids_synthsr.run.graph import draw_graph
from bids_synthsr.run.guard import describe_error
from bids_synthsr.run.live import live_index, live_view
from bids_synthsr.run.machine import prepare_workers
from bids_synthsr.run.messages import announce
from bids_synthsr.run.opening import LOG
from bids_synthsr.run.plan import Plan, describe_small_memory, forecast_scans, threads_of
from bids_synthsr.run.plugin import (
    ExamByExamPlugin,
    request_resources,
    send_crashes,
)
from bids_synthsr.run.steps import StepLog
from bids_synthsr.run.work_folder import WORKFLOW, mend_exam
from bids_synthsr.settings import RunSettings, Settings
from bids_synthsr.values.method import Forecast
from bids_synthsr.workflows.stages import STAGES

LOGGER = logging.getLogger('bids_synthsr')
DEFAULT_PLUGIN, SLURM = 'MultiProc', 'SLURM'
EXAMS_PER_GPU = 2  # at once
EXAMS_AT_ONCE, EXAMS_PER_PROCESS = 64, 16  # in one workflow: at least, and for each process
ENGINE_FELL = 'nipype broke off (%s): some exams may not have been reached'
USAGE = 'resources-{}.json'  # of the part of a run that begins with that exam


def process_exams(plans: Sequence[Plan], settings: Settings, closing: Closing) -> None:
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
    write = partial(write_data_set_index, derivatives)
    with live_view(steps.progress, run.mem_gb, run.device), live_index(steps.progress, write):
        for part in _parts(plans, run):
            is_well = _process_part(part, needs, settings, steps, closing)
            if run.resource_monitor:
                _keep_usage(settings, steps.path.with_name(USAGE.format(part[0].exam.label)))
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
    num_threads = threads_of(settings.run, steps.progress.exams)
    workflow = init_base_wf(
        exams=[
            {
                **describe_exam(plan.exam, fingerprint_digest(plan.fingerprint)),
                'transforms': plan.transforms,
                **({'lesion_masks': plan.lesion_masks} if plan.lesion_masks else {}),
            }
            for plan in plans
        ],
        fingerprints=[plan.fingerprint for plan in plans],
        forecasts=[needs[plan.exam.label] for plan in plans],
        settings=settings,
        num_threads=num_threads,
        name=WORKFLOW,
    )
    if settings.run.draws_graph:
        exam = plans[0].exam  # the steps of all are the same
        draw_graph(workflow.get_node(exam_name(exam.subject, exam.session)), steps.path.parent)
    crash_dir = Derivatives(settings.output_dir).crashes(settings.run_uuid)
    send_crashes(workflow, crash_dir)
    engine, arguments = _choose_engine(plans, settings, steps, closing, num_threads)
    if engine == SLURM:
        request_resources(workflow)
    is_ours = isinstance(engine, ExamByExamPlugin)
    try:
        workflow.run(plugin=engine, plugin_args=arguments)
    except Exception as error:
        if is_ours and isinstance(error, OSError):  # such as a full disk
            raise
        LOGGER.debug('nipype', exc_info=True)  # the crash files name the exams that failed
        if is_ours and not isinstance(error, RuntimeError):
            announce(ENGINE_FELL, describe_error(error))
        return False
    return True


def _keep_usage(settings: Settings, path: Path) -> None:
    """Copy what nipype's monitor recorded of some exams; it writes that when they are done."""
    recorded = settings.work_dir / WORKFLOW / 'resource_monitor.json'
    if recorded.is_file():  # not where a run broke off
        shutil.copyfile(recorded, path)
        recorded.unlink()


def _choose_engine(
    plans: Sequence[Plan], settings: Settings, steps: StepLog, closing: Closing, num_threads: int
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
    plugin = ExamByExamPlugin(list(exams), arguments, log, close_failed, num_threads)
    return plugin, arguments
