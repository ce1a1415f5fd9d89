"""Tensor-based morphometry of two groups, run as a workflow that goes on where it was stopped."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import chdir
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from bids_synthsr.derivatives.group_design import GroupDesign
from bids_synthsr.derivatives.locks import ExamLocks
from bids_synthsr.derivatives.morphometry import (
    LABEL,
    TbmExam,
    choose_for_atlas,
    exams_of,
    fingerprint_of,
    read_tbm_record,
)
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.records import read_records, reason_to_redo
from bids_synthsr.run.downstream import run_parts
from bids_synthsr.run.messages import announce, log_to_file
from bids_synthsr.run.opening import LOG
from bids_synthsr.run.plugin import configure_engine
from bids_synthsr.run.request import TbmRequest
from bids_synthsr.run.work_folder import UnsafeFolderError, WorkFolder

LOGGER = logging.getLogger('bids_synthsr')
LOST = 'Shapes are not compared, since %d of the exams cannot be: %s'
SECONDS_AN_EXAM, SECONDS_A_PERMUTATION = 70.0, 0.1  # lab/benchmarks.md


def compare_shapes(
    design: GroupDesign, wanted: TbmRequest, derivatives: Derivatives, bids_dir: Path
) -> list[str]:
    """Compare the shapes of two groups at each voxel; return why that failed, if it did.

    Parameters
    ----------
    design
        The exams that are compared, and what is held fixed.
    wanted
        How it is done.
    derivatives
        Where the outputs lie.
    bids_dir
        The input data set.
    """
    exams, left_out = exams_of(design.rows, read_records(derivatives), derivatives)
    if left_out:
        label, reason = next(iter(left_out.items()))
        told = f'{label}: {reason} (leave it out with --participant-label)'
        announce(LOST, len(left_out), told)
        return [told]
    fingerprint = fingerprint_of(exams, design, wanted.settings)
    fingerprint['settings']['template'] = wanted.template.space
    fingerprint['settings']['resolution'] = wanted.template.resolution
    if not reason_to_redo(read_tbm_record(derivatives.tbm_record), fingerprint, derivatives):
        LOGGER.info('the shapes are compared already')
        return []
    minutes = (
        len(exams) * SECONDS_AN_EXAM + wanted.settings.permutations * SECONDS_A_PERMUTATION
    ) / 60
    announce('Comparing the shapes of %d brains, about %.0f min of one core', len(exams), minutes)
    with ExamLocks(derivatives.locks) as locks:
        if not locks.claim(f'group_{LABEL}'):
            announce('Another run compares the shapes')
            return ['another run compares the shapes']
        try:
            failures = _run(exams, design, fingerprint, wanted, derivatives, bids_dir)
        except UnsafeFolderError as error:
            failures = {LABEL: str(error)}
    for reason in failures.values():
        announce('The shapes could not be compared: %s', reason)
    return [*failures.values()]


def _run(
    exams: Sequence[TbmExam],
    design: GroupDesign,
    fingerprint: Mapping[str, Any],
    wanted: TbmRequest,
    derivatives: Derivatives,
    bids_dir: Path,
) -> dict[str, str]:
    """Run the workflow; return why it has not finished, if it has not."""
    from bids_synthsr.workflows.morphometry import init_group_wf

    settings = wanted.run
    work = WorkFolder(settings.work_dir, bids_dir, derivatives.root)
    work.open()
    log_to_file(derivatives.run_logs(settings.run_uuid) / LOG)
    configure_engine()
    is_second = [bool(x) for x in design.is_second]
    build = partial(
        init_group_wf,
        exams=[asdict(exam) for exam in exams],
        chosen=choose_for_atlas(is_second, wanted.settings.atlas_exams, wanted.settings.seed),
        template=asdict(wanted.template),
        comparison={
            'design': {
                'levels': list(design.levels),
                'is_second': is_second,
                'covariates': design.covariates.tolist(),
            },
            'settings': asdict(wanted.settings),
            'fingerprint': fingerprint,
            'output_dir': str(derivatives.root),
            'run_uuid': settings.run_uuid,
        },
        work_dir=work.root,
    )
    here = replace(settings, work_dir=work.root)
    # workers and what they start do not obey files of the folder that the user is in
    with chdir(work.root):
        parts = {LABEL: (derivatives.tbm_record, fingerprint)}
        return run_parts(build, parts, here, 1, read_tbm_record)
