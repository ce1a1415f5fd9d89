"""nipype's MultiProc: exam by exam, whatever happens to workers, and ending on a signal."""

from __future__ import annotations

import gc
import math
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from traceback import format_exception
from typing import Any

from nipype import config
from nipype.pipeline import engine as pe
from nipype.pipeline.plugins import MultiProcPlugin
from nipype.pipeline.plugins.multiproc import process_initializer, run_node
from threadpoolctl import threadpool_limits

from bids_synthsr.imaging.memory import give_back_memory, keep_volumes_apart
from bids_synthsr.interfaces.step import Step
from bids_synthsr.run.forking import START_METHOD, THREAD_VARIABLES, start_forkserver
from bids_synthsr.run.messages import log_to_file

PEAK = re.compile(r'^VmHWM:\s*(\d+) kB', re.MULTILINE)
LAST_WAIT_S = 2.0
LOST = 255  # exit code of a worker, by multiprocessing, where its forkserver is gone
PYTHON_GB = 0.5  # to spare, for the process of a step
POLL_S = '0.1'  # a string: nipype takes no number, and sleeps 2 s per poll without it
# what we use of nipype although it is private: checked by a test, since any version may change it
PRIVATE_NAMES = (
    '_clear_task', '_cwd', '_get_result', '_report_crash', '_sort_jobs', '_status_callback',
    '_submit_job', '_submit_mapnode', '_task_finished_cb', '_task_obj', '_taskid',
)  # fmt: skip
STOPPED = 'Stopped by %s. What is finished stays; the same command goes on from there.'
KILLED = (
    'The process of this step was killed, twice, as the system does when memory runs out: start '
    'again with fewer --nprocs, a lower --mem, or --low-mem.'
)


def configure_engine(*, stops_on_first_crash: bool = False, monitors: bool = False) -> None:
    """Set how nipype runs workflows: quick polls, text crash files, hashes of time stamps.

    Content would be read twice by every step that takes a file. It is compared once, where work
    goes on from an earlier run (`bids_synthsr.interfaces.receipts`).

    Nothing else counts: not what a ``nipype.cfg`` of the home says, either.

    Parameters
    ----------
    stops_on_first_crash
        Whether one failure ends the run.
    monitors
        Whether memory of every step is measured.
    """
    execution = {
        'crashfile_format': 'txt',
        'create_report': 'false',  # it would hold the whole environment
        'hash_method': 'timestamp',
        'poll_sleep_duration': POLL_S,
        'stop_on_first_crash': str(stops_on_first_crash).lower(),
        'parameterize_dirs': 'false',
        'remove_unnecessary_outputs': 'false',  # a later --stage needs others
        'check_version': 'false',
    }
    monitoring = {'enabled': str(monitors).lower()}
    config.set_default_config()
    config.update_config({'execution': execution, 'monitoring': monitoring})
    config.resource_monitor = monitors


def send_crashes(workflow: pe.Workflow, crash_dir: Path) -> None:
    """Set the folder for the crash files of a workflow: nipype's settings take no ``%`` in it."""
    workflow.config['execution']['crashdump_dir'] = str(crash_dir)


def prepare_worker(folder: str, log: Path, monitors: bool, num_threads: int = 1) -> None:
    """Set up a worker: it logs to a file only, leaves Ctrl-C to the main process, ends with it.

    Parameters
    ----------
    folder
        Folder in which it works.
    log
        File to which it logs.
    monitors
        Whether it measures the memory of its steps.
    num_threads
        Threads of its numerical libraries, those that were imported before it was forked too.
    """
    process_initializer(folder)
    for name in THREAD_VARIABLES:
        os.environ[name] = str(num_threads)
    threadpool_limits(num_threads)
    if torch := sys.modules.get('torch'):
        torch.set_num_threads(num_threads)  # of its own MKL, too
    log_to_file(log)
    config.resource_monitor = monitors
    keep_volumes_apart()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    Thread(target=_end_with, args=(parent_process(),), daemon=True).start()


def _end_with(parent: Any) -> None:
    """End this process when the main process does, however that ends."""
    parent.join()
    os._exit(1)


def run_step(node: Any, updatehash: bool, task: int) -> dict[str, Any]:
    """Run a step in a worker, and measure the most memory that the worker took meanwhile."""
    with suppress(OSError):  # only Linux has it
        Path('/proc/self/clear_refs').write_text('5')  # forgets the peak
    result = {**run_node(node, updatehash, task), 'mem_peak_gb': peak_gb()}
    give_back_memory()
    return result


def peak_gb(status: Path = Path('/proc/self/status')) -> float:
    """Most memory that this process has held, GB; 0 where the system does not report it."""
    with suppress(OSError):
        match = PEAK.search(status.read_text())
        return int(match[1]) * 1024 / 1e9 if match else 0.0
    return 0.0


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt with its name, as Ctrl-C does without."""

    def stop(number: int, _frame: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_code_of(stop: KeyboardInterrupt) -> tuple[str, int]:
    """Name of the signal that stopped a run, and the exit code that shells give for it."""
    name = str(stop) or 'SIGINT'
    return name, 128 + signal.Signals[name]


def exam_workflow(node: Any) -> str:
    """Name of the workflow of an exam, below that of the run, that holds a step."""
    return str(node.fullname.split('.')[1])


def save_memory(node: Any) -> None:
    """Let a step take less memory and more time, if it can."""
    if isinstance(node.interface, Step):
        node.interface.save_memory()


def request_resources(workflow: pe.Workflow) -> None:
    """Let nipype's plugin for Slurm request what every step needs."""
    os.environ.setdefault('LOGNAME', 'bids_synthsr')  # the plugin names jobs by it
    for name in workflow.list_node_names():
        step = workflow.get_node(name)
        mem_mb = math.ceil(1000 * (step.mem_gb + PYTHON_GB))
        request = f'--mem={mem_mb}M --cpus-per-task={step.n_procs or 1}'
        step.plugin_args = {'sbatch_args': request}


def kill_worker(process: Any) -> None:
    """Kill a worker, also where the process that started it is gone and reports no end of it."""
    if process.exitcode == LOST:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    process.kill()


class ExamByExamPlugin(MultiProcPlugin):
    """MultiProc that prefers steps of the exam that was begun first, and outlives its workers.

    By itself MultiProc takes the first steps of all exams before the second step of any, so that
    the first exam is finished when nearly all are; a run that is stopped half-way then has nothing
    to show. Steps of later exams still fill processes that would stand idle. And it waits for ever
    for a step whose worker was killed: here such steps are tried once more, by new workers and,
    where they can, with less memory.

    Parameters
    ----------
    exams
        Names of the exams' workflows in the order in which they are done.
    plugin_args
        As MultiProc takes them.
    log
        File for what workers log.
    failed
        Called with the name of an exam's workflow when a step of it has failed and its crash file
        is written.
    num_threads
        Threads of numerical libraries in each process.
    """

    pool: ProcessPoolExecutor

    def __init__(
        self,
        exams: Sequence[str],
        plugin_args: Mapping[str, Any],
        log: Path,
        failed: Callable[[str], object] = str,
        num_threads: int = 1,
    ) -> None:
        super().__init__(plugin_args=dict(plugin_args))
        self._log, self._failed, self._num_threads = log, failed, num_threads
        self.pool = self._new_pool()
        self._order = {name: number for number, name in enumerate(exams)}
        self._steps: dict[int, tuple[Any, bool]] = {}
        self._repeated: set[int] = set()
        self._peaks: dict[str, float] = {}  # GB, by the folder of a step

    def run(self, *arguments: Any, **options: Any) -> None:
        """Run a workflow; a signal kills the workers and is raised as KeyboardInterrupt.

        Steps that are cut off leave nothing that counts as done.
        """
        gc.collect()
        gc.freeze()  # nipype collects garbage at every look, and need not visit all exams for it
        try:
            with stoppable():
                super().run(*arguments, **options)
        except BaseException:  # a signal, or such as a full disk
            self._kill_workers()
            raise
        finally:
            gc.unfreeze()

    def _kill_workers(self) -> None:
        """Kill all workers, and let the thread that watches them end: later it may fall."""
        pool: Any = self.pool  # of whose thread typeshed does not know
        processes, thread = pool._processes or {}, pool._executor_manager_thread
        for process in list(processes.values()):
            kill_worker(process)
        self.pool.shutdown(wait=False, cancel_futures=True)
        if thread is not None:
            thread.join(LAST_WAIT_S)

    def _new_pool(self) -> ProcessPoolExecutor:
        """Make a pool; its processes start when there is something to do."""
        context = get_context(self.plugin_args.get('mp_context', START_METHOD))
        if context.get_start_method() == 'forkserver':
            start_forkserver()
        return ProcessPoolExecutor(
            self.processors,
            context,
            prepare_worker,
            (self._cwd, self._log, bool(config.resource_monitor), self._num_threads),
        )

    def _sort_jobs(self, jobids: Iterable[int], scheduler: str | None = None) -> list[int]:  # noqa: ARG002
        """Sort steps that could start; called by MultiProc before it starts any."""
        return sorted(jobids, key=lambda job: (self._exam(job), job))

    def _exam(self, job: int) -> int:
        """Number of the exam whose workflow holds a step."""
        return self._order[exam_workflow(self._whole(job))]

    def _whole(self, job: int) -> Any:
        """Return a step, or the step of several parts that this one is a part of."""
        return self.procs[self.mapnodesubids.get(job, job)]

    def _submit_mapnode(self, jobid: int) -> bool:
        """Log that a step of several parts starts; called by MultiProc before it starts them."""
        callback = self.plugin_args.get('status_callback')
        if callback and jobid not in self.mapnodes:
            callback(self.procs[jobid], 'start')
        return bool(super()._submit_mapnode(jobid))

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        """Start a step; called by MultiProc."""
        self._taskid += 1
        self._steps[self._taskid] = node, updatehash
        self._start(self._taskid)
        return self._taskid

    def _start(self, task: int) -> None:
        """Hand a step to a worker; where workers, or what starts them, are gone, to new ones."""
        node, updatehash = self._steps[task]
        try:
            self._task_obj[task] = self.pool.submit(run_step, node, updatehash, task)
        except (BrokenProcessPool, OSError, EOFError):
            self._kill_workers()
            self.pool = self._new_pool()
            self._task_obj[task] = self.pool.submit(run_step, node, updatehash, task)

    def _get_result(self, taskid: int) -> dict[str, Any] | None:
        """Return the result or the error of a step, None while it runs; called at every poll."""
        future = self._task_obj[taskid]
        if not future.done():
            return None
        error = future.exception()
        if error is None:
            result = future.result()
            self._peaks[self._steps[taskid][0].output_dir()] = result.pop('mem_peak_gb')
            return result
        if isinstance(error, BrokenProcessPool):
            if taskid not in self._repeated:
                self._repeated.add(taskid)
                save_memory(self._steps[taskid][0])
                self._start(taskid)
                return None
            error = MemoryError(KILLED)
        return {'taskid': taskid, 'result': None, 'traceback': format_exception(error)}

    def _task_finished_cb(self, jobid: int, cached: bool = False) -> None:
        """Write the memory of a step, or of the largest of its parts, to the step log."""
        peak = self._peaks.pop(self.procs[jobid].output_dir(), 0.0)
        whole = self._whole(jobid)
        whole.mem_peak_gb = max(getattr(whole, 'mem_peak_gb', 0.0), peak)
        super()._task_finished_cb(jobid, cached=cached)

    def _report_crash(self, node: Any, result: dict[str, Any] | None = None) -> Any:
        """Write the crash file of a step, and report its exam as failed.

        A part has no name by which anybody could tell its exam: the whole step stands for it.
        nipype appends lines to the traceback, and some that it hands over are one text.
        """
        whole = self._whole(next(job for job, step in enumerate(self.procs) if step is node))
        if whole is not node and self._status_callback:
            self._status_callback(whole, 'exception')
        if result and isinstance(result['traceback'], str):
            result = {**result, 'traceback': result['traceback'].splitlines(keepends=True)}
        path = super()._report_crash(whole, result)
        self._failed(exam_workflow(whole))
        return path

    def _clear_task(self, taskid: int) -> None:
        """Forget a step that is done; called by MultiProc."""
        super()._clear_task(taskid)
        del self._steps[taskid]
