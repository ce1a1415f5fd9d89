"""What both evaluations share: their settings, the engine, and what they write in the end."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from contextlib import chdir, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from bids_synthsr import __version__
from bids_synthsr.derivatives.locks import ExamLocks
from bids_synthsr.methods.catalogue import METHODS
from bids_synthsr.methods.exam_size import ExamSize
from bids_synthsr.run.evaluation_output import LOG, LOGS, RESULTS
from bids_synthsr.run.machine import prepare_workers
from bids_synthsr.run.work_folder import WorkFolder, mend_exam
from bids_synthsr.settings import MethodSettings
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import MethodForecast

if TYPE_CHECKING:
    from nipype.pipeline import engine as pe

    from bids_synthsr.evaluation.results import Result
    from bids_synthsr.interfaces.methods import Synthesize

LOGGER = logging.getLogger('bids_synthsr')
HEAD = Grid((176, 240, 256), np.eye(4))  # of 1 mm, as large as they come


class RunLog(Protocol):
    """Status callback of nipype that tells what is done."""

    def announce_start(self) -> None:
        """Tell what is to be done."""

    def __call__(self, node: Any, status: str) -> None:
        """Take an event of ``node``: ``start``, ``end`` or ``exception``."""


def name_run() -> str:
    """Name a run by its time (UTC), and so that no other has the name."""
    return f'{datetime.now(UTC):%Y%m%d-%H%M%S}_{uuid.uuid4()}'


@dataclass(frozen=True)
class EvaluationSettings:
    """What an evaluation does, and how.

    Parameters
    ----------
    output_dir
        Folder for table, page and results.
    work_folder
        What of the work folder belongs to this input and output.
    methods
        Settings of the methods that are compared, in the order of the table.
    participant_labels
        Labels of the people to take, with or without ``sub-``; none takes all.
    device
        Where networks run: ``cpu``, ``cuda`` or ``cuda:N``.
    nprocs
        Number of processes at work at the same time.
    num_threads
        Number of threads of one process.
    mem_gb
        Memory that all processes together may take, GB.
    run_uuid
        Name of the run.
    """

    output_dir: Path
    work_folder: WorkFolder
    methods: tuple[MethodSettings, ...]
    participant_labels: tuple[str, ...] = ()
    device: str = 'cpu'
    nprocs: int = 1
    num_threads: int = 1
    mem_gb: float = 8.0
    run_uuid: str = field(default_factory=name_run)

    @property
    def work_dir(self) -> Path:
        """Folder for the files of all steps; another version starts anew."""
        return self.work_folder.root / __version__

    @property
    def results_dir(self) -> Path:
        """Folder with a file for every comparison."""
        return self.output_dir / RESULTS

    @property
    def crash_dir(self) -> Path:
        """Folder of the crash files of the run."""
        return self.output_dir / LOGS / self.run_uuid / 'crash'

    @property
    def log(self) -> Path:
        """Log file of all runs."""
        return self.output_dir / LOGS / LOG

    @property
    def method_names(self) -> tuple[str, ...]:
        """Names of the methods that are compared."""
        return tuple(method.method for method in self.methods)


@dataclass(frozen=True)
class EvaluationOutcome:
    """What came of an evaluation.

    Parameters
    ----------
    files
        Table and page that were written; none where every comparison failed.
    failures
        Sentences, one for each step that failed, and for what was refused as the truth.
    is_complete
        Whether all that was asked for was compared, and has a result.
    """

    files: tuple[Path, ...]
    failures: tuple[str, ...]
    is_complete: bool


def make_steps(settings: EvaluationSettings) -> dict[str, tuple[Synthesize, float]]:
    """Make the step of every method, and estimate how much memory it takes for a head, GB."""
    from bids_synthsr.workflows.method import make_step

    forecasts = forecast_methods(settings)
    return {
        method.method: (
            make_step(method, settings.num_threads, settings.device, low_mem=False),
            forecasts[method.method].memory_gb,
        )
        for method in settings.methods
    }


def forecast_methods(settings: EvaluationSettings) -> dict[str, MethodForecast]:
    """Forecast what every method takes for a head on the CPU."""
    slices = Acquisition(2, 5.0, 5.0)
    size = ExamSize(['T1w'], [(HEAD, slices)], num_threads=settings.num_threads, in_16_bits=False)
    return {name: METHODS[name].load().forecast(size) for name in settings.method_names}


def run_comparisons(
    build: Callable[[], pe.Workflow],
    order: Sequence[str],
    results: Sequence[Path],
    settings: EvaluationSettings,
    notes: Sequence[str] = (),
    log: RunLog | None = None,
) -> None:
    """Run what is not done yet; a result that is missing afterwards has failed.

    Parameters
    ----------
    build
        Function that makes the workflow, once the engine is configured.
    order
        Names of the parts of the workflow, in which they are worked on.
    results
        Files that the comparisons are to write, anew.
    settings
        Folders, threads and memory of the evaluation.
    notes
        Sentences on what is not compared, for terminal and log.
    log
        Who is told what is done; None tells of every comparison.

    Raises
    ------
    ValueError
        If others may write to the work folder, or another evaluation works in it.
    """
    settings.work_folder.open()
    settings.work_dir.mkdir(exist_ok=True)
    with ExamLocks(settings.work_dir / 'evaluation.lock') as locks:
        if not locks.claim('evaluation'):
            raise ValueError(f'Another evaluation works in {settings.work_dir}: wait for its end')
        with chdir(settings.work_dir):
            _run_comparisons(build, order, results, settings, notes, log)


def _run_comparisons(
    build: Callable[[], pe.Workflow],
    order: Sequence[str],
    results: Sequence[Path],
    settings: EvaluationSettings,
    notes: Sequence[str],
    log: RunLog | None,
) -> None:
    """Run what is not done yet in a work folder that is locked."""
    from bids_synthsr.run.comparison_log import ComparisonLog
    from bids_synthsr.run.messages import announce, log_to_file
    from bids_synthsr.run.plugin import ExamByExamPlugin, configure_engine, send_crashes

    settings.results_dir.mkdir(exist_ok=True)
    log_to_file(settings.log)
    for note in notes:
        announce('%s', note)
    if not results:
        return
    for fault in mend_exam(settings.work_dir):
        LOGGER.warning('%s', fault)
    configure_engine()
    prepare_workers(settings.num_threads)
    if log is None:
        seconds = {name: forecast.cpu_s for name, forecast in forecast_methods(settings).items()}
        log = ComparisonLog(results, seconds, max(1, settings.nprocs // settings.num_threads))
    log.announce_start()
    resources = {
        'status_callback': log,
        'n_procs': max(settings.nprocs, settings.num_threads),
        'memory_gb': settings.mem_gb,
        'raise_insufficient': False,
    }
    workflow = build()
    send_crashes(workflow, settings.crash_dir)
    with suppress(RuntimeError):
        plugin = ExamByExamPlugin(
            list(order), resources, settings.log, num_threads=settings.num_threads
        )
        workflow.run(plugin=plugin)


def write_outcome(
    results: Sequence[Path],
    settings: EvaluationSettings,
    name: str,
    write_page: Callable[[Sequence[Result], Sequence[str], Path], Path],
    refusals: Sequence[str] = (),
) -> EvaluationOutcome:
    """Write table and page of the results, and list what failed.

    Parameters
    ----------
    results
        Files that the comparisons were to write.
    settings
        Folders of the evaluation.
    name
        Name of table and page, without an ending.
    write_page
        Function that writes the page of results and failures to a file.
    refusals
        Sentences on what was to be compared and cannot be; they count as failures.
    """
    from bids_synthsr.evaluation.results import read_result, write_table
    from bids_synthsr.run.crashes import read_crashes

    rows = [read_result(path) for path in results if path.is_file()]
    crashes = [
        f'{crash.exam}, {crash.step}: {crash.message} ({crash.path})'
        for crash in read_crashes(settings.crash_dir)
    ]
    failures = (*refusals, *crashes)
    files: tuple[Path, ...] = ()
    if rows:
        table = write_table(rows, settings.output_dir / f'{name}.tsv')
        files = table, write_page(rows, failures, settings.output_dir / f'{name}.html')
    is_complete = len(rows) == len(results) and not refusals
    return EvaluationOutcome(files, failures, is_complete)
