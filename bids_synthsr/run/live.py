"""What a run does at this moment, on a terminal."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from threading import Event, Thread

import psutil
from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bids_synthsr.reports.pages import duration
from bids_synthsr.run.messages import announce
from bids_synthsr.run.steps import RunProgress

PER_S = 2  # pictures
LINE_EVERY_S = 60.0  # where there is no terminal
GPU_EVERY_S = 5.0
INDEX_EVERY_S, INDEX_SHARE = 20.0, 50.0  # at least, and times as long as writing it takes
GPU_QUERY = (
    'nvidia-smi',
    '--query-gpu=utilization.gpu,memory.used,memory.total',
    '--format=csv,noheader,nounits',
)


def live_view(progress: RunProgress, mem_gb: float, device: str) -> AbstractContextManager[object]:
    """Show the progress while the ``with`` block runs: on a terminal, or in lines of a log.

    Parameters
    ----------
    progress
        Kept up by `StepLog`.
    mem_gb
        Memory that the run may take, GB.
    device
        Device that its networks run on.
    """
    if not sys.stderr.isatty():
        return regular_lines(progress)
    view = LiveView(progress, mem_gb, shows_gpu=device != 'cpu')
    return Live(view, console=Console(stderr=True), refresh_per_second=PER_S, transient=True)


@contextmanager
def regular_lines(progress: RunProgress) -> Iterator[None]:
    """Announce once a minute what is at work while the ``with`` block runs."""

    def tell(end: Event) -> None:
        while not end.wait(LINE_EVERY_S):
            if progress.running:
                announce('At work: %s; %s', progress.describe_work(), str(progress))

    with _beside(tell):
        yield


@contextmanager
def live_index(progress: RunProgress, write: Callable[[str], object]) -> Iterator[None]:
    """Write the index of the data set again and again while the ``with`` block runs.

    The more exams there are, the longer that takes, and the more rarely it is done.

    Parameters
    ----------
    progress
        Kept up by `StepLog`.
    write
        Writes the index, given what is at work in a sentence, or nothing at the end.
    """

    def keep_writing(end: Event) -> None:
        pause, shown = INDEX_EVERY_S, ''
        while not end.wait(pause):
            sentence = describe_work_of(progress)
            if sentence != shown:
                begun = time.monotonic()
                write(sentence)
                pause = max(INDEX_EVERY_S, INDEX_SHARE * (time.monotonic() - begun))
                shown = sentence

    try:
        with _beside(keep_writing):
            yield
    finally:  # however it ends: no run is at work any more
        write('')


@contextmanager
def _beside(work: Callable[[Event], None]) -> Iterator[None]:
    """Do some work in a thread until the ``with`` block ends, which sets the event."""
    end = Event()
    thread = Thread(target=work, args=(end,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def describe_work_of(progress: RunProgress) -> str:
    """Describe how far a run is, and what is at work, in two sentences without times."""
    done = f'{len(progress.done)} {progress.state}, {len(progress.failed)} failed'
    at_work = ', '.join(f'{exam} ({step})' for exam, step in sorted(progress.running))
    return f'{done}, of {progress.exams} exams. At work: {at_work or "nothing"}.'


class LiveView:
    """A picture of a run: how far, which steps, for how long, with how much memory."""

    def __init__(self, progress: RunProgress, mem_gb: float, *, shows_gpu: bool = False) -> None:
        self.progress, self.mem_gb, self._shows_gpu = progress, mem_gb, shows_gpu
        self._gpu, self._gpu_time = '', -GPU_EVERY_S

    def __rich__(self) -> Group:
        """Draw it."""
        progress, now = self.progress, time.monotonic()
        steps = Table.grid(padding=(0, 2))
        for (exam, step), begun in sorted(progress.running.items()):
            steps.add_row(exam, step, duration(now - begun))
        bar = ProgressBar(max(progress.exams, 1), progress.ended, width=40)
        return Group(Columns([bar]), Text(self.summary(now)), steps)

    def summary(self, now: float) -> str:
        """Describe the run as a whole in a line."""
        progress = self.progress
        at_work = {exam for exam, _ in progress.running}
        left = progress.exams - progress.ended - len(at_work - progress.failed)
        parts = [
            f'{len(progress.done)} {progress.state}',
            f'{len(progress.failed)} failed',
            f'{len(at_work)} at work',
            f'{max(left, 0)} waiting',
            f'{duration(now - progress.begun)} so far',
        ]
        if progress.seconds_left is not None:
            parts.append(f'about {duration(progress.seconds_left)} left')
        parts.append(f'{used_gb():.1f} of {self.mem_gb:.1f} GB')
        return ', '.join([*parts, *filter(None, [self._gpu_line(now)])])

    def _gpu_line(self, now: float) -> str:
        """Describe the GPU, now and then."""
        if self._shows_gpu and now - self._gpu_time > GPU_EVERY_S:
            self._gpu, self._gpu_time = describe_gpu(), now
        return self._gpu


def used_gb() -> float:
    """Memory of this process and of all that it started, GB; pages that they share count once."""
    total = 0
    main = psutil.Process()
    for process in [main, *main.children(recursive=True)]:
        with suppress(psutil.Error):  # it may have ended meanwhile
            memory = process.memory_info()
            total += memory.rss - (getattr(memory, 'shared', 0) if process != main else 0)
    return total / 1e9


def describe_gpu() -> str:
    """Describe the load of the first GPU as its driver reports it; empty without a driver."""
    with suppress(OSError, subprocess.SubprocessError, ValueError, IndexError):
        process = subprocess.run(GPU_QUERY, capture_output=True, text=True, timeout=5, check=True)
        busy, used, total = map(float, process.stdout.splitlines()[0].split(','))
        return f'GPU {busy:.0f} %, {used / 1024:.1f} of {total / 1024:.1f} GB'
    return ''
