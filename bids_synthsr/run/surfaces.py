"""Surfaces of the exams that are finished, by a tool that was found before."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from bids_synthsr.dataset.files import read_object, sha256
from bids_synthsr.derivatives.locks import ExamLocks
from bids_synthsr.derivatives.places import Derivatives, sidecar_of
from bids_synthsr.derivatives.provenance import raw_uri
from bids_synthsr.derivatives.records import (
    Record,
    own_outputs,
    read_record,
    reason_to_redo,
)
from bids_synthsr.derivatives.surfaces import SurfaceInput
from bids_synthsr.run.downstream import run_parts
from bids_synthsr.run.messages import announce
from bids_synthsr.run.plan import Plan
from bids_synthsr.run.request import SurfaceRequest
from bids_synthsr.settings import Settings
from bids_synthsr.surfaces.tools import TOOLS

LOGGER = logging.getLogger('bids_synthsr')
STALE = '%s: its surfaces are of an earlier T1w; --recon with --fs-overwrite makes them anew'
NO_T1W = '%s: it has no T1w with a brain mask, and no surfaces are made: choose --method auto'


def reconstruct_surfaces(
    plans: Sequence[Plan], wanted: SurfaceRequest, settings: Settings, locks: ExamLocks
) -> bool:
    """Let the tool work on all exams of the run that are finished; tell whether all went well.

    Parameters
    ----------
    plans
        The exams of the run.
    wanted
        What is requested of the tool.
    settings
        Settings of the run.
    locks
        Locks of this run in the output folder.
    """
    derivatives, sources, is_well = Derivatives(settings.output_dir), {}, True
    for plan in plans:
        label = plan.exam.label
        record = read_record(derivatives.exam_of(label).record)
        if record is None or record.state != 'finished':
            continue  # the run has said why
        source = _input_of(plan, record, derivatives, wanted, settings.input.bids_dir)
        if source is None:
            announce(NO_T1W, label)
            is_well = False
            continue
        earlier = read_record(derivatives.surface_record(label))
        if not reason_to_redo(earlier, source.fingerprint(wanted.tool), derivatives):
            LOGGER.info('%s: its surfaces are there already', label)
        elif locks.claim(f'{label}_surfaces'):
            sources[label] = source
        else:
            announce('%s: another run works on its surfaces', label)
            is_well = False
    if not sources:
        return is_well
    announce('%s works on %d exams in %s', wanted.tool.name, len(sources), wanted.subjects_dir)
    return _run(sources, wanted, settings, derivatives) and is_well


def warn_of_stale_surfaces(plans: Sequence[Plan], settings: Settings) -> None:
    """Name the exams whose surfaces were made before their T1w changed."""
    derivatives = Derivatives(settings.output_dir)
    for label in (plan.exam.label for plan in plans):
        made = read_record(derivatives.surface_record(label))
        record = read_record(derivatives.exam_of(label).record)
        if made is None or made.state != 'finished' or record is None:
            continue
        t1w, known = own_outputs(record).get('T1w', ''), made.fingerprint.get('scans', {})
        if t1w and known.get(Path(t1w).name) != {'sha256': record.outputs[t1w].sha256}:
            announce(STALE, label)


def _input_of(
    plan: Plan, record: Record, derivatives: Derivatives, wanted: SurfaceRequest, bids_dir: Path
) -> SurfaceInput | None:
    """Describe what the tool gets of an exam; None where the exam has no such volume."""
    found = own_outputs(record)
    if 'T1w' not in found or 'mask' not in found:
        return None
    names = found['T1w'], found['mask']
    t1w, mask = (derivatives.root / name for name in names)
    spacings = [scan.geometry[1].slice_spacing for scan in plan.scans]
    common = (str(t1w), str(mask))
    digests = {name: record.outputs[name].sha256 for name in names}
    if wanted.takes_native and plan.scans:
        path = plan.scans[0].path
        uri = raw_uri(path, bids_dir)
        digest = plan.scans[0].sha256 or sha256(path)
        return SurfaceInput(
            record.exam, str(path), digest, uri, *common, False, min(spacings), digests
        )
    sidecar = read_object(sidecar_of(t1w))
    return SurfaceInput(
        record.exam,
        str(t1w),
        record.outputs[names[0]].sha256,
        derivatives.uri(t1w),
        *common,
        bool(sidecar.get('Synthetic')),
        min(spacings, default=0.0),
        digests,
    )


def _run(
    sources: Mapping[str, SurfaceInput],
    wanted: SurfaceRequest,
    settings: Settings,
    derivatives: Derivatives,
) -> bool:
    """Run the workflow of some exams; name those that failed."""
    from bids_synthsr.workflows.surfaces import init_surfaces_wf

    num_threads = max(settings.run.omp_nthreads or settings.run.nprocs // len(sources), 1)
    build = partial(
        init_surfaces_wf,
        exams=[asdict(source) for source in sources.values()],
        setup={
            'tool': asdict(wanted.tool),
            'subjects_dir': str(wanted.subjects_dir),
            'overwrites': wanted.overwrites,
            'resumes': wanted.resumes,
            'output_dir': str(settings.output_dir),
            'run_uuid': settings.run_uuid,
            'num_threads': num_threads,
            'device': settings.run.device,
            'mem_gb': TOOLS[wanted.tool.name].memory_gb,
        },
        work_dir=settings.work_dir,
    )
    wanted_records = {
        label: (derivatives.surface_record(label), source.fingerprint(wanted.tool))
        for label, source in sources.items()
    }
    failures = run_parts(build, wanted_records, settings, num_threads)
    for label in sources:
        if label in failures:
            announce('%s: no surfaces: %s', label, failures[label])
        else:
            announce('%s: surfaces: %s', label, derivatives.surface_page(label))
    return not failures
