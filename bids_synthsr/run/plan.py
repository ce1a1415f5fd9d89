"""What is to be done to which scans of which exam, and why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bids_synthsr import __version__
from bids_synthsr.dataset.files import sha256
from bids_synthsr.dataset.lesion_masks import (
    NO_MASK,
    describe_lesion_masks,
    find_lesion_masks,
)
from bids_synthsr.dataset.selection import Row, SelectionError, left_out_rows, select_scans
from bids_synthsr.dataset.weights import find_shipped
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.precomputed import find_transforms
from bids_synthsr.derivatives.records import (
    Record,
    read_record,
    reason_to_redo,
    take_fingerprint,
    with_digests,
)
from bids_synthsr.imaging.inference import fastest_precision
from bids_synthsr.methods import automatic
from bids_synthsr.methods.acquired import coarsest_mm
from bids_synthsr.methods.catalogue import METHODS
from bids_synthsr.methods.exam_size import ExamSize
from bids_synthsr.methods.forecast import forecast_exam
from bids_synthsr.reports.pages import duration
from bids_synthsr.run.guard import guarded
from bids_synthsr.settings import (
    AS_IS,
    PRECISIONS,
    InputSettings,
    MethodSettings,
    RunSettings,
    Settings,
)
from bids_synthsr.values.exam import Exam, Scan
from bids_synthsr.values.method import Forecast

MAIN_GB = 0.5  # the main process
MEMORY_TO_SPARE, TIME_TO_SPARE = 1.25, 3.0  # what is asked for, over what is forecast
REQUESTS = (
    'The table on standard output is what to request from a scheduler for each exam, alone with '
    f'one core: {MEMORY_TO_SPARE:g} times the memory forecast and {MAIN_GB:g} GB, and '
    f'{TIME_TO_SPARE:g} times the time.'
)


@dataclass(frozen=True)
class Plan:
    """What is to become of an exam.

    Parameters
    ----------
    exam
        The exam, its scans judged by their headers.
    rows
        Rows of its selection table, as far as headers show.
    fingerprint
        What its outputs depend on: scans, settings and version.
    to_do
        Why it must be processed; empty if it is finished.
    fault
        Why it cannot be processed; empty if it can.
    scans
        Scans that are to be used, the reference first; none where none can be.
    transforms
        Transforms of these scans that earlier runs have found: see `find_transforms`.
    lesion_masks
        Masks of its lesions, as `describe_lesion_masks` describes them.
    is_left
        Whether another run works on the exam, and is left to do so.
    """

    exam: Exam
    rows: Sequence[Row]
    fingerprint: Mapping[str, Any]
    to_do: str = ''
    fault: str = ''
    scans: Sequence[Scan] = ()
    transforms: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    lesion_masks: Sequence[Mapping[str, str]] = ()
    is_left: bool = False

    @property
    def is_work(self) -> bool:
        """Whether the exam is to be processed, and can be."""
        return bool(self.to_do) and not self.fault and not self.is_left


def plan_exams(
    exams: Iterable[Exam], inputs: InputSettings, method: MethodSettings, derivatives: Derivatives
) -> list[Plan]:
    """Decide about every exam, from headers and records alone.

    Raises
    ------
    DatasetError
        If lesion masks are asked for, and there is none, or one of no exam.
    """
    facts, exams, masks = describe_method(method), [*exams], {}
    if inputs.lesion_masks is not None:
        labels = [exam.label for exam in exams]
        asked = (inputs.participant_labels, inputs.session_labels)
        masks = find_lesion_masks(inputs.lesion_masks, labels, *asked)
    return [
        guarded(
            partial(_plan_exam, exam, inputs, facts, method, derivatives, masks),
            partial(_unplanned, exam),
        )
        for exam in exams
    ]


def _unplanned(exam: Exam, error: str) -> Plan:
    """Plan nothing for an exam about which nothing can be decided."""
    fault = f'{exam} cannot be planned ({error}). The log of a run with -vv tells more.'
    return Plan(exam, (), {}, 'not done yet', fault)


def _plan_exam(
    exam: Exam,
    inputs: InputSettings,
    facts: Mapping[str, Any],
    method: MethodSettings,
    derivatives: Derivatives,
    lesion_masks: Mapping[str, Sequence[Path]],
) -> Plan:
    record: Record | None = read_record(derivatives.exam(exam.subject, exam.session).record)
    scans: tuple[Scan, ...] = ()
    fault, transforms, masks = '', {}, []
    try:
        if exam.absence:
            raise SelectionError(exam.absence, left_out_rows(exam.scans))
        selection = select_scans(exam, method.reference, method.contrasts, method.ct)
        rows, scans = selection.rows, selection.scans
        fault = find_method_fault(scans, method)
        transforms = find_transforms(inputs.derivatives, exam, scans, inputs.bids_dir)
    except SelectionError as error:
        rows, fault = error.rows, str(error)
    try:
        masks = describe_lesion_masks(lesion_masks.get(exam.label, ()), inputs.lesion_masks)
    except ValueError as error:
        fault = fault or f'{exam}: {error}'
    digests = {name: transform['sha256'] for name, transform in transforms.items()}
    settings = {**facts, 'transforms': digests} if digests else facts
    if masks:
        names = {mask['name']: mask['sha256'] for mask in masks}
        settings = {**settings, 'lesion_masks': names}
    fingerprint = take_fingerprint(exam, inputs.bids_dir, settings, __version__, record)
    to_do = reason_to_redo(record, fingerprint, derivatives)
    if fault:
        to_do = to_do or 'not done yet'
    exam = with_digests(exam, fingerprint, inputs.bids_dir)
    return Plan(exam, rows, fingerprint, to_do, fault, scans, transforms, masks)


def find_method_fault(scans: Sequence[Scan], method: MethodSettings) -> str:
    """Describe why the method cannot process an exam, in a sentence; empty if it can."""
    find_obstacle = METHODS[method.method].load().find_obstacle
    contrasts = [scan.contrast for scan in scans]
    acquisitions = [scan.geometry[1] for scan in scans]
    return str(find_obstacle(contrasts, acquisitions, method.output_resolution))


def forecast_scans(scans: Sequence[Scan], method: MethodSettings, num_threads: int) -> Forecast:
    """Forecast what an exam takes on a CPU like this one, if these scans are used.

    The reference comes first.
    """
    size = ExamSize(
        [scan.contrast for scan in scans],
        [scan.geometry for scan in scans],
        spacing_mm=method.output_resolution,
        fov=method.fov,
        num_threads=num_threads,
        in_16_bits=_in_16_bits(METHODS[method.method].read_options(method).get('precision')),
    )
    return forecast_exam(METHODS[method.method], size, len(method.templates), method.lesions)


def _in_16_bits(precision: str | None) -> bool:
    """Tell whether a network computes with 16 bits on a CPU like this one."""
    if precision in (None, PRECISIONS[0]):
        return fastest_precision(torch.device('cpu')) != 'float32'
    return precision != 'float32'


def threads_of(run: RunSettings, exams: int) -> int:
    """Threads of one process: as the user set them, else a share of the cores."""
    return run.omp_nthreads or max(1, run.nprocs // max(exams, 1))


def describe_method(method: MethodSettings) -> dict[str, Any]:
    """What changes results, in JSON types: weights by their SHA-256 and not by their path.

    Options that the method does not read are left out: they change nothing.
    """
    others = {option for entry in METHODS.values() for option in entry.options}
    unread = others - set(METHODS[method.method].options)
    facts = {name: value for name, value in asdict(method).items() if name not in unread}
    facts |= {'contrasts': list(method.contrasts), 'weights': None}
    del facts['templates']
    if method.lesions == AS_IS:
        del facts['lesions']
    if not method.on_scans:
        del facts['on_scans']
    if method.templates:
        facts['templates'] = [_describe_template(template) for template in method.templates]
    if method.weights is not None:
        facts['weights'] = sha256(method.weights)
    if METHODS[method.method].beside:
        facts['weights_beside'] = sha256(find_shipped(METHODS[METHODS[method.method].beside]))
    return facts


def _describe_template(template: Mapping[str, Any]) -> dict[str, Any]:
    """Name a template by its space and its content, not by where it lies."""
    words = {key: template[key] for key in ('space', 'resolution')}
    files = {key: sha256(Path(template[key])) for key in ('t1w', 'mask') if template[key]}
    return words | files


def describe_plans(plans: Sequence[Plan], settings: Settings) -> str:
    """Describe what would be done, a block per exam with a line per scan, and what it takes."""
    work = [plan for plan in plans if plan.is_work]
    threads = threads_of(settings.run, len(work))
    needs = {
        plan.exam.label: forecast_scans(plan.scans, settings.method, threads) for plan in work
    }
    blocks = []
    for plan in plans:
        verdict = plan.fault and 'cannot be processed'
        lines = [f'{plan.exam}: {verdict or plan.to_do or "finished, nothing to do"}']
        if plan.exam.label in needs:
            need = needs[plan.exam.label]
            lines.append(
                f'  forecast   {need.memory_gb:.1f} GB, {duration(need.cpu_s)} of one core'
            )
            if settings.method.method == automatic.METHOD:
                lines.append(f'  main T1w   {_describe_main(plan.scans)}')
        reasons = [*filter(None, [plan.fault]), *map(_line, plan.rows)]
        lines += [f'  {reason}' for reason in reasons]
        blocks.append('\n'.join(lines))
    finished = sum(not plan.to_do for plan in plans)
    refused = sum(bool(plan.fault) for plan in plans)
    total = (
        f'{len(plans)} exams: {len(work)} to process, {finished} finished, {refused} that cannot '
        'be processed. Voxels are judged when an exam is processed.'
    )
    if needs:
        most = max(need.memory_gb for need in needs.values())
        seconds = sum(need.cpu_s for need in needs.values())
        total += f' In all about {duration(seconds)} of one core; the largest takes {most:.1f} GB.'
    return '\n\n'.join([*blocks, total])


def _describe_main(scans: Sequence[Scan]) -> str:
    """Describe in a sentence which T1w the default would make of these scans."""
    sizes_mm = [coarsest_mm(*scan.geometry) for scan in scans]
    return automatic.describe_main([scan.contrast for scan in scans], sizes_mm)


def list_requests(plans: Sequence[Plan], settings: Settings) -> str:
    """List what to request from a scheduler, a line of a table for each exam to be processed.

    Memory of the largest step and of the main process, and some to spare; one core is enough.
    """
    lines = ['\t'.join(('exam', 'participant', 'session', 'mem_mb', 'minutes'))]
    for plan in plans:
        if plan.is_work:
            need = forecast_scans(plan.scans, settings.method, settings.run.omp_nthreads or 1)
            mem_mb = math.ceil(1000 * (MEMORY_TO_SPARE * need.memory_gb + MAIN_GB))
            minutes = math.ceil(TIME_TO_SPARE * need.cpu_s / 60)
            exam = plan.exam
            words = (exam.label, exam.subject, exam.session or 'n/a', str(mem_mb), str(minutes))
            lines.append('\t'.join(words))
    return '\n'.join(lines) + '\n'


def describe_left_out(plans: Sequence[Plan]) -> list[str]:
    """List the scans that are left out because of their names, of exams that can be processed."""
    return [
        f'{plan.exam}: {scan.name} is left out. {" ".join(scan.problems)}'
        for plan in plans
        if not plan.fault
        for scan in plan.exam.scans
        if not scan.suffix
    ]


def describe_unmasked(plans: Sequence[Plan], method: MethodSettings) -> list[str]:
    """List the exams that go on without a lesion mask, although masks are asked for."""
    if method.lesions == AS_IS:
        return []
    return [
        f'{plan.exam}: {NO_MASK}' for plan in plans if not plan.fault and not plan.lesion_masks
    ]


def describe_small_memory(needs: Mapping[str, Forecast], mem_gb: float) -> list[str]:
    """List the exams that are forecast to take more than there is, each with what helps."""
    return [
        f'{label}: forecast to take {need.memory_gb:.1f} GB, and there are {mem_gb:.1f}. It is '
        'tried alone, in smaller parts where the method can; should it be killed, allow more '
        'memory, or leave scans out (--contrasts), or choose --method cubic.'
        for label, need in needs.items()
        if need.memory_gb > mem_gb
    ]


def _line(row: Row) -> str:
    """Describe a scan of the selection table in a line."""
    geometry = ', '.join(filter(None, (row['voxel_size_mm'], row['orientation'])))
    where = f' ({geometry})' if geometry else ''
    warnings = f' Note: {row["warnings"]}' if row['warnings'] else ''
    return f'{row["role"]:<9}  {row["file"]}{where}: {row["reason"]}{warnings}'
