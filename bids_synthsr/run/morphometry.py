"""Tensor-based morphometry of two groups, run as a workflow that goes on where it was stopped."""

from __future__ import annotations

import logging
from contextlib import chdir
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from bids_synthsr.dataset.templates import TemplateFiles
from bids_synthsr.derivatives.group_design import GroupDesign
from bids_synthsr.derivatives.locks import ExamLocks
from bids_synthsr.derivatives.morphometry import (
    LABEL,
    TbmSettings,
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
from bids_synthsr.run.work_folder import WorkFolder
from bids_synthsr.settings import Settings

LOGGER = logging.getLogger('bids_synthsr')
LOST = 'Shapes are not compared, since %d of the exams cannot be: %s'
SECONDS_AN_EXAM, SECONDS_A_PERMUTATION = 45.0, 0.3


@dataclass(frozen=True)
class TbmRequest:
    """What a door requests of tensor-based morphometry.

    Parameters
    ----------
    settings
        How the maps are made and tested.
    run
        Settings of the run: processes, memory, work folder.
    template
        Template where all brains are brought to begin with.
    """

    settings: TbmSettings
    run: Settings
    template: TemplateFiles


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
    if not reason_to_redo(read_tbm_record(derivatives.tbm_record), fingerprint, derivatives):
        LOGGER.info('the shapes are compared already')
        return []
    is_second = [bool(x) for x in design.is_second]
    chosen = choose_for_atlas(is_second, wanted.settings.atlas_exams, wanted.settings.seed)
    settings = wanted.run
    minutes = (
        len(exams) * SECONDS_AN_EXAM + wanted.settings.permutations * SECONDS_A_PERMUTATION
    ) / 60
    announce('Comparing the shapes of %d brains, about %.0f min of one core', len(exams), minutes)
    work = WorkFolder(settings.work_dir, bids_dir, derivatives.root)
    work.open()
    logs = derivatives.run_logs(settings.run_uuid)
    log_to_file(logs / LOG)
    configure_engine()
    with ExamLocks(derivatives.locks) as locks, chdir(work.root):
        if not locks.claim(f'group_{LABEL}'):
            announce('Another run compares the shapes')
            return ['another run compares the shapes']
        from bids_synthsr.workflows.morphometry import init_group_wf

        build = partial(
            init_group_wf,
            exams=[asdict(exam) for exam in exams],
            chosen=chosen,
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
        failures = run_parts(
            build,
            {LABEL: (derivatives.tbm_record, fingerprint)},
            replace(settings, work_dir=work.root),
            1,
            read_tbm_record,
        )
    for reason in failures.values():
        announce('The shapes could not be compared: %s', reason)
    return [*failures.values()]
