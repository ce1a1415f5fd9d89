"""What the evaluations share: methods, the engine, and telling what came of it."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bids_synthsr import __version__
from bids_synthsr.cli.resolve import check_folders, environ, find_weights
from bids_synthsr.run.machine import available_memory_gb, choose_device, prepare_workers
from bids_synthsr.settings import MethodSettings

if TYPE_CHECKING:
    from nipype.interfaces.base import BaseInterface
    from nipype.pipeline import engine as pe

    from bids_synthsr.evaluation.results import Result

SUCCESS, SOME_FAILED, WRONG_USE = 0, 1, 2
LOG = 'evaluate.log'
METHOD_MEM_GB = {
    'auto': 5.0, 'tv': 5.0, 'sr-t1': 5.0, 'synthsr': 4.0, 'cubic': 1.0, 'published': 4.0
}  # of a head  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Folders of an evaluation.

    Parameters
    ----------
    out
        For tables and pages.
    work
        For what is made on the way.
    """

    out: Path
    work: Path

    @property
    def results(self) -> Path:
        """A file for every comparison."""
        return self.out / 'results'

    @property
    def crashes(self) -> Path:
        """Crash files of the last run."""
        return self.out / 'logs' / 'crash'

    @property
    def log(self) -> Path:
        """Of all runs."""
        return self.out / 'logs' / LOG


def place_of(options: argparse.Namespace, source: Path) -> Place:
    """Give the folders, none of which may lie in the input."""
    work = (options.work_dir or options.out / 'work') / __version__  # another one starts anew
    place = Place(options.out.resolve(), work.resolve())
    check_folders(source.resolve(), place.out, place.work)
    return place


def choose_methods(
    options: argparse.Namespace,
) -> dict[str, tuple[BaseInterface, float]]:
    """Make the interface of every method, and say how much memory it takes, GB."""
    from bids_synthsr.workflows.base import choose_method

    device, threads = choose_device(options.device), max(options.omp_nthreads, 1)
    return {
        name: (choose_method(settings, threads, device, low_mem=False), METHOD_MEM_GB[name])
        for name, settings in method_settings(options).items()
    }


def method_settings(options: argparse.Namespace) -> dict[str, MethodSettings]:
    """Make the settings of every method.

    Raises
    ------
    ValueError
        For weights of no method.
    FileNotFoundError
        For weights that are missing.
    """
    given = given_weights(options)
    return {
        name: MethodSettings(method=name, weights=find_weights(name, given.get(name), environ()))
        for name in options.methods
    }


def given_weights(options: argparse.Namespace) -> dict[str, Path]:
    """Read which weights the user gave for which method.

    Raises
    ------
    ValueError
        For weights of no method that is run.
    """
    usable = {*options.methods, *(['synthsr'] if getattr(options, 'structures', False) else [])}
    given = {}
    for text in map(str, options.weights):
        method, _, file = text.partition('=')
        if method not in usable or not file:
            raise ValueError(f'--weights {text}: write METHOD=FILE with a method of --methods')
        given[method] = Path(file)
    return given


def run_workflow(
    build: Callable[[], pe.Workflow],
    order: Sequence[str],
    results: Sequence[Path],
    place: Place,
    options: argparse.Namespace,
) -> None:
    """Run what is not done yet; a result that is missing afterwards has failed.

    Parameters
    ----------
    build
        Makes the workflow, once the engine is configured.
    order
        Names of its parts, in which they are worked on.
    results
        Files that it is to write, anew.
    """
    from bids_synthsr.run.messages import log_to_file
    from bids_synthsr.run.plugin import ExamByExamPlugin, configure_engine

    threads = max(options.omp_nthreads, 1)
    shutil.rmtree(place.crashes, ignore_errors=True)
    for folder in (place.crashes, place.results):
        folder.mkdir(parents=True, exist_ok=True)
    log_to_file(place.log)
    configure_engine(place.crashes)
    prepare_workers(threads)
    resources = {
        'n_procs': max(options.nprocs, threads),
        'memory_gb': options.mem or available_memory_gb(environ()),
        'raise_insufficient': False,
    }
    workflow = build()
    for path in results:
        path.unlink(missing_ok=True)
    with suppress(RuntimeError):
        workflow.run(plugin=ExamByExamPlugin(list(order), resources, place.log))


def close(
    results: Sequence[Path],
    place: Place,
    name: str,
    write_page: Callable[[Sequence[Result], Sequence[str], Path], Path],
) -> int:
    """Write table and page of what was found, tell what failed; return the exit code."""
    from bids_synthsr.evaluation.results import read_result, write_table
    from bids_synthsr.run.crashes import read_crashes

    found = [read_result(path) for path in results if path.is_file()]
    failures = [
        f'{crash.exam}, {crash.step}: {crash.message} ({crash.path})'
        for crash in read_crashes(place.crashes)
    ]
    sys.stderr.writelines(f'failed: {failure}\n' for failure in failures)
    if found:
        table = write_table(found, place.out / f'{name}.tsv')
        page = write_page(found, failures, place.out / f'{name}.html')
        sys.stderr.write(f'{table}\n{page}\n')
    return SUCCESS if len(found) == len(results) else SOME_FAILED
