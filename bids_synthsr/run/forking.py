"""The process from which workers are forked: it is started early, as its imports take seconds.

Workers are forked from a process of their own that has run nothing yet: forked from the main
process, they would hang in PyTorch if that has used several threads before.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, get_all_start_methods, resource_tracker
from multiprocessing.util import get_temp_dir
from typing import Any

START_METHOD = 'forkserver' if 'forkserver' in get_all_start_methods() else 'spawn'
# what the steps of an exam import, once for all workers: two seconds each otherwise
PRELOADED = (
    'bids_synthsr.run.plugin',
    'bids_synthsr.dataset.selection',
    'bids_synthsr.reports.exam_pages',
)
THREAD_VARIABLES = (
    'OMP_NUM_THREADS',
    'MKL_NUM_THREADS',
    'OPENBLAS_NUM_THREADS',
    'ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS',
)
# PyTorch takes large pages for large arrays, which saves a network a tenth of its time
LARGE_PAGES = {'THP_MEM_ALLOC_ENABLE': '1'}
# bytes: a socket takes 103 on macOS, and multiprocessing adds /pymp-12345678/listener-12345678
MAX_TMPDIR, SHORT_TMPDIR = 70, '/tmp'


def start_forkserver() -> None:
    """Let the process start from which workers are forked, and import what their steps need.

    It takes some seconds, which nobody has to wait for. The number of threads is told to workers
    later (`bids_synthsr.run.plugin.prepare_worker`): here libraries get one, and start none.

    Raises
    ------
    OSError
        Where no folder is short enough for the sockets of processes.
    """
    if START_METHOD != 'forkserver':
        return
    shorten_sockets()
    forkserver.set_forkserver_preload(list(PRELOADED))
    pages = {name: os.environ.get(name, value) for name, value in LARGE_PAGES.items()}
    resource_tracker.ensure_running()  # the forkserver would start it, and unblock signals
    # Ctrl-C is for the main process, also while the other one imports
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _environment({**pages, **dict.fromkeys(THREAD_VARIABLES, '1')}):
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)


def stop_forkserver() -> None:
    """End that process at the end of a command: until then it holds its terminal or pipe."""
    server: Any = forkserver._forkserver  # of whose process typeshed does not know
    pid = server._forkserver_pid
    if pid is not None:  # it was started
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Change the environment for what is started meanwhile."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def shorten_sockets() -> None:
    """Keep the sockets of worker processes in ``/tmp`` where TMPDIR is too long for their names.

    Raises
    ------
    OSError
        If that cannot be written to, either; the message says what to do.
    """
    usual = tempfile.gettempdir()
    if len(os.fsencode(usual)) <= MAX_TMPDIR:
        return
    before, tempfile.tempdir = tempfile.tempdir, SHORT_TMPDIR
    try:
        get_temp_dir()  # which multiprocessing remembers
    except OSError as error:
        raise OSError(
            f'TMPDIR {usual} is too long for the sockets of processes, and {SHORT_TMPDIR} cannot '
            f'be written to ({error.strerror}): set TMPDIR to a shorter path'
        ) from error
    finally:
        tempfile.tempdir = before
