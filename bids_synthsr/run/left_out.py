"""``bids_synthsr-evaluate leave-one-out``: methods on real exams, without any truth."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from bids_synthsr import __version__
from bids_synthsr.dataset.query import find_exams
from bids_synthsr.dataset.selection import (
    SelectionError,
    describe_exam,
    describe_orientation,
    select_scans,
)
from bids_synthsr.derivatives.records import fingerprint_digest, take_fingerprint
from bids_synthsr.run.comparing import choose_methods, close, place_of, run_workflow
from bids_synthsr.values.exam import Exam, Scan

if TYPE_CHECKING:
    from nipype.pipeline import engine as pe

    from bids_synthsr.workflows.left_out import LeftOut


def leave_one_out(options: argparse.Namespace) -> int:
    """Leave scans out and explain them from the others; return the exit code."""
    from bids_synthsr.evaluation.left_out_page import write_left_out
    from bids_synthsr.workflows.base import exam_name

    place = place_of(options, options.bids_dir)
    methods = choose_methods(options)
    bids_dir = options.bids_dir.resolve()
    exams = find_exams(
        bids_dir,
        participant_labels=options.participant_label,
        session_labels=options.session_label,
    )
    cases = {
        exam_name(exam.subject, exam.session): [
            *list_cases(exam, bids_dir, list(methods), options.subsets)
        ]
        for exam in exams
    }
    cases = {name: of_exam for name, of_exam in cases.items() if of_exam}
    if not cases:
        raise ValueError(
            f'No exam of {options.bids_dir} has two usable scans: nothing to leave out'
        )
    results = [
        place.results / f'{exam}_{case.name}_{method.replace("-", "_")}.json'
        for exam, of_exam in cases.items()
        for case in of_exam
        for method in case.methods
    ]

    def build() -> pe.Workflow:
        from bids_synthsr.workflows.left_out import init_leave_one_out_wf

        return init_leave_one_out_wf(
            cases=cases,
            methods=methods,
            place=str(place.results),
            num_threads=max(options.omp_nthreads, 1),
            work_dir=str(place.work),
        )

    run_workflow(build, list(cases), results, place, options)
    return close(results, place, 'leave-one-out', write_left_out)


def list_cases(
    exam: Exam, bids_dir: Path, methods: Sequence[str], takes_subsets: bool
) -> Iterator[LeftOut]:
    """List what can be left out of an exam, and what it is to be explained from.

    Parameters
    ----------
    exam
        Judged by its headers.
    bids_dir
        Its data set.
    methods
        Names; one that cannot take the scans of a case is left out of it.
    takes_subsets
        Whether to explain a scan from every subset of the others, too.
    """
    from bids_synthsr.workflows.left_out import LeftOut

    try:
        scans = select_scans(exam).scans
    except SelectionError:
        return
    content = fingerprint_digest(take_fingerprint(exam, bids_dir, {}, __version__))
    for scan in scans:
        others = [other for other in scans if other is not scan]
        sizes = range(1 if takes_subsets else max(len(others), 1), len(others) + 1)
        for given in (given for size in sizes for given in combinations(others, size)):
            able = [method for method in methods if takes(method, given)]
            names = '_'.join(other.name for other in given)
            if able:
                yield LeftOut(
                    f'{scan.name}_from_{names}'.replace('-', '_'),
                    describe_exam(replace(exam, scans=tuple(given)), content),
                    describe_exam(replace(exam, scans=(scan,)), content),
                    describe_case(exam, scan, given),
                    able,
                )


def takes(method: str, scans: Sequence[Scan]) -> bool:
    """Whether a method can make a T1w of scans."""
    return method != 'sr-t1' or any(scan.suffix == 'T1w' for scan in scans)


def describe_case(exam: Exam, scan: Scan, given: Sequence[Scan]) -> dict[str, str | float]:
    """Tell what was left out of what, for the table."""
    grid, acquisition = scan.geometry
    return {
        'subject': exam.subject,
        'session': exam.session or '',
        'left_out': scan.name,
        'contrasts': '+'.join(sorted(other.name for other in given)),
        'orientation': describe_orientation(grid, acquisition.slice_axis),
        'spacing': acquisition.slice_spacing,
        'thickness': acquisition.slice_thickness,
    }
