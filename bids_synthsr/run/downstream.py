"""What is made of finished exams: parts of a workflow, whose failures cost that part alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.records import Record, read_record, reason_to_redo
from bids_synthsr.run.crashes import read_crashes
from bids_synthsr.run.machine import prepare_workers
from bids_synthsr.run.opening import LOG
from bids_synthsr.run.processing import DEFAULT_PLUGIN, SLURM
from bids_synthsr.run.work_folder import mend_exam
from bids_synthsr.settings import Settings

if TYPE_CHECKING:
    from nipype.pipeline import engine as pe

LOGGER = logging.getLogger('bids_synthsr')


def run_parts(
    build: Callable[[], pe.Workflow],
    wanted: Mapping[str, tuple[Path, Mapping[str, Any]]],
    settings: Settings,
    num_threads: int,
    read: Callable[[Path], Record | None] = read_record,
) -> dict[str, str]:
    """Run the parts of a workflow, each as far as it can, and judge them by their records.

    Parameters
    ----------
    build
        Function that makes the workflow; its name is that of its folder.
    wanted
        File and fingerprint of the record that each part is to write, by the label of its exam or
        person.
    settings
        Settings of the run.
    num_threads
        Threads that a process may use.
    read
        Function that reads such a record; None where there is none.

    Returns
    -------
    failures
        Why a part has not written its record, by its label.
    """
    from bids_synthsr.run.plugin import ExamByExamPlugin, request_resources, send_crashes

    logs = Derivatives(settings.output_dir).run_logs(settings.run_uuid)
    prepare_workers(num_threads)
    workflow = build()
    names = {label: label.replace('-', '_') for label in wanted}
    for label, name in names.items():
        for fault in mend_exam(settings.work_dir / workflow.name / name):
            LOGGER.warning('%s: %s', label, fault)
    crash_dir = logs / f'crash-{workflow.name}'
    send_crashes(workflow, crash_dir)
    defaults = {
        'n_procs': settings.run.nprocs,
        'memory_gb': settings.run.mem_gb,
        'raise_insufficient': False,
    }
    arguments = {**defaults, **settings.run.plugin.get('plugin_args', {})}
    engine = settings.run.plugin.get('plugin', DEFAULT_PLUGIN)
    if engine == DEFAULT_PLUGIN:
        engine = ExamByExamPlugin(
            [*names.values()], arguments, logs / LOG, num_threads=num_threads
        )
    elif engine == SLURM:
        request_resources(workflow)
    try:
        workflow.run(plugin=engine, plugin_args=arguments)
    except Exception as error:
        if isinstance(error, OSError):  # such as a full disk
            raise
        LOGGER.debug('nipype', exc_info=True)  # the crash files tell what failed
    crashes = {crash.exam: crash for crash in read_crashes(crash_dir)}
    derivatives = Derivatives(settings.output_dir)
    return {
        label: f'{crashes[label].message} ({crashes[label].path})'
        if label in crashes
        else 'it was not reached'
        for label, (path, fingerprint) in wanted.items()
        if reason_to_redo(read(path), fingerprint, derivatives)
    }
