"""The evaluation on real exams: methods explain scans that were left out, without any truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bids_synthsr.dataset.query import find_exams
from bids_synthsr.evaluation.cases import LeftOut, list_left_out_cases, result_name
from bids_synthsr.evaluation.refusals import describe_missing, describe_unused
from bids_synthsr.run.comparing import (
    EvaluationOutcome,
    EvaluationSettings,
    make_steps,
    run_comparisons,
    write_outcome,
)
from bids_synthsr.run.evaluation_output import claim_output
from bids_synthsr.values.exam import Exam

if TYPE_CHECKING:
    from nipype.pipeline import engine as pe


def leave_one_out(
    settings: EvaluationSettings,
    bids_dir: Path,
    session_labels: Sequence[str] = (),
    takes_subsets: bool = False,
) -> EvaluationOutcome:
    """Leave scans out and explain them from the others.

    Parameters
    ----------
    settings
        Methods, folders and resources of the evaluation.
    bids_dir
        Root of the data set.
    session_labels
        Labels of the sessions to take, with or without ``ses-``; none takes all.
    takes_subsets
        Whether to explain a scan from every subset of the others, too.

    Raises
    ------
    ValueError
        If no exam has two usable scans.
    """
    from bids_synthsr.evaluation.left_out_page import write_left_out_page
    from bids_synthsr.workflows.base import exam_name

    exams = find_exams(
        bids_dir,
        participant_labels=settings.participant_labels,
        session_labels=session_labels,
    )
    cases = _list_cases(exams, bids_dir, settings, takes_subsets)
    compared = [exam.subject for exam in exams if exam_name(exam.subject, exam.session) in cases]
    absent = describe_missing(settings.participant_labels, compared)
    notes = [line for exam in exams for line in describe_unused(exam)]
    methods = make_steps(settings)
    results = [
        settings.results_dir / f'{result_name(exam, case.name, method)}.json'
        for exam, of_exam in cases.items()
        for case in of_exam
        for method in case.methods
    ]

    def build() -> pe.Workflow:
        from bids_synthsr.workflows.left_out import init_leave_one_out_wf

        return init_leave_one_out_wf(
            cases=cases,
            methods=methods,
            results_dir=str(settings.results_dir),
            num_threads=settings.num_threads,
            work_dir=str(settings.work_dir),
        )

    with claim_output(settings.output_dir, 'leave-one-out', results, settings.crash_dir):
        run_comparisons(build, list(cases), results, settings, notes)
        return write_outcome(results, settings, 'leave-one-out', write_left_out_page, absent)


def _list_cases(
    exams: Sequence[Exam], bids_dir: Path, settings: EvaluationSettings, takes_subsets: bool
) -> dict[str, list[LeftOut]]:
    """List what can be left out of exams, by the names of their workflows.

    Raises
    ------
    ValueError
        If there is nothing, with the reason for each exam.
    """
    from bids_synthsr.workflows.base import exam_name

    cases = {}
    for exam in (exam for exam in exams if not exam.absence):
        of_exam = [*list_left_out_cases(exam, bids_dir, settings.method_names, takes_subsets)]
        if of_exam:
            cases[exam_name(exam.subject, exam.session)] = of_exam
    if not cases:
        fault = f'No exam of {bids_dir} has two usable scans: nothing to leave out'
        raise ValueError('\n'.join([fault, *(x for exam in exams for x in describe_unused(exam))]))
    return cases
