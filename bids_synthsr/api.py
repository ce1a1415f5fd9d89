"""One exam from Python: images in, images out."""

from __future__ import annotations

import errno
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nb
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, SpatialImage

from bids_synthsr.dataset.errors import FailedExamError
from bids_synthsr.dataset.files import read_json
from bids_synthsr.dataset.guessing import guess_contrast, stem_of
from bids_synthsr.dataset.images import image_of, load_volume
from bids_synthsr.dataset.plain import (
    PlainScan,
    describe_changes,
    describe_file,
    plain_exam,
    take_files,
)
from bids_synthsr.dataset.selection import (
    LEFT_OUT,
    Row,
    Selection,
    SelectionError,
    describe_exam,
    mark_aligned,
    parse_reference,
    select_scans,
)
from bids_synthsr.dataset.weights import with_weights
from bids_synthsr.derivatives.products import ProductFile
from bids_synthsr.derivatives.provenance import complete_sidecar
from bids_synthsr.methods.catalogue import METHODS
from bids_synthsr.methods.check import find_settings_fault
from bids_synthsr.run.arguments import (
    check_threads,
    conform_settings,
    list_contrasts,
    list_images,
)
from bids_synthsr.run.crashes import last_error, raise_stop
from bids_synthsr.run.machine import choose_device
from bids_synthsr.run.plan import find_method_fault, forecast_scans
from bids_synthsr.settings import AS_IS, MethodSettings
from bids_synthsr.values.exam import Exam

__all__ = ('MethodSettings', 'guess_contrast', 'synthesize')
LOGGER = logging.getLogger('bids_synthsr')
TISSUE = 'tissue'  # name of the second segmentation, which has no desc-


def synthesize(
    images: Sequence[SpatialImage | str | Path] | SpatialImage | str | Path,
    contrasts: Sequence[str] | str = (),
    *,
    settings: MethodSettings | None = None,
    num_threads: int = 1,
    device: str = 'cpu',
    environ: Mapping[str, str] | None = None,
) -> dict[str, SpatialImage]:
    """Turn the scans of one exam into 1 mm volumes.

    Parameters
    ----------
    images
        The scans, as nibabel images or files, of one person in one session; one may stand alone.
    contrasts
        Their BIDS suffixes, such as ``T1w``; empty guesses from file names.
    settings
        Method, weights, reference, resolution; None takes the defaults of the program.
    num_threads
        Number of threads to use.
    device
        Device that networks run on: ``cpu``, ``cuda`` or ``cuda:N``.
    environ
        Environment variables, by which published networks are found; None takes those of the
        process.

    Returns
    -------
    volumes
        What the method makes, the main volume first, by the BIDS suffix of each; where two have
        one, the later is called by its desc as well: ``sr_T1w``.

    Raises
    ------
    FileNotFoundError
        If a file is not there, one of weights included.
    TypeError
        If an argument is of another kind than it must be.
    ValueError
        If there is no scan, settings contradict each other, or a contrast cannot be guessed.
    FailedExamError
        If no scan can be used, or a step failed; it is a ValueError, and names scan and fault.

    Notes
    -----
    What every scan was taken for, and by what, whether it is the reference, used or left out, and
    why, are logged as warnings of the logger ``bids_synthsr``, as is what a reader must know of
    the volumes. Unless logging is configured otherwise, Python prints them on standard error.
    Of a file, the sidecar of the same name beside it is read.
    """
    return synthesize_exam(
        images,
        contrasts,
        settings=settings,
        num_threads=num_threads,
        device=device,
        environ=environ,
    ).volumes


@dataclass(frozen=True)
class ExamVolumes:
    """What was made of an exam of plain files.

    Parameters
    ----------
    volumes
        Images that the method made, as `synthesize` returns them.
    left_out
        Names of the files that were not used.
    sidecars
        How each of the volumes came about, in JSON types, by the same names.
    """

    volumes: dict[str, SpatialImage]
    left_out: tuple[str, ...]
    sidecars: dict[str, dict[str, Any]]


def synthesize_exam(
    images: Sequence[SpatialImage | str | Path] | SpatialImage | str | Path,
    contrasts: Sequence[str] | str,
    *,
    settings: MethodSettings | None,
    num_threads: int,
    device: str,
    environ: Mapping[str, str] | None,
) -> ExamVolumes:
    """Do what `synthesize` does, and name the files that were not used, too."""
    listed, names = list_images(images), list_contrasts(contrasts)
    settings = check_settings(conform_settings(settings))
    threads, device = check_threads(num_threads), choose_device(device)
    with tempfile.TemporaryDirectory(prefix='bids_synthsr-') as folder:
        files = [_file_of(image, Path(folder), number) for number, image in enumerate(listed)]
        scans = take_files(files, names)
        settings = with_weights(settings, os.environ if environ is None else environ)
        run = run_exam(scans, settings, Path(folder) / 'work', num_threads=threads, device=device)
        volumes: dict[str, SpatialImage] = {
            name: image_of(*load_volume(Path(product.file)))
            for name, product in run.products.items()
        }
        sidecars = {
            name: complete_sidecar(product.sidecar, [run.file_of[x] for x in product.sources])
            for name, product in run.products.items()
        }
        return ExamVolumes(volumes, run.left_out, sidecars)


def name_further_volumes(
    files: Sequence[Path], contrasts: Sequence[str], settings: MethodSettings
) -> list[str]:
    """Name what `synthesize` may make of files beside the main volume, from their headers.

    Parameters
    ----------
    files
        Files of the scans.
    contrasts
        Their BIDS suffixes, such as ``T1w``; empty guesses from file names.
    settings
        Method, reference and contrasts that are used.

    Raises
    ------
    ValueError
        If a contrast cannot be guessed, or no scan can be used.
    """
    exam = plain_exam(take_files([file.absolute() for file in files], contrasts))
    scans = select_scans(exam, settings.reference, settings.contrasts, settings.ct).scans
    method, contrasts = METHODS[settings.method], [scan.contrast for scan in scans]
    return method.name_volumes(contrasts, sharpens_others=settings.sharpen_others)


def check_settings(settings: MethodSettings) -> MethodSettings:
    """Return settings as they are, if a method can work by them.

    Raises
    ------
    ValueError
        With the first fault, by the name of the option of the command line.
    """
    fault = find_settings_fault(settings)
    if fault:
        raise ValueError(fault)
    if settings.lesions != AS_IS:
        raise ValueError(
            'lesions: masks are found by their BIDS names: run bids_synthsr with '
            f'--lesions {settings.lesions}'
        )
    if settings.reference:
        parse_reference(settings.reference)
    return settings


def _file_of(image: SpatialImage | str | Path, folder: Path, number: int) -> Path:
    """Return the file of an image, written here if it is in memory."""
    if isinstance(image, str | Path):
        if not Path(image).exists():
            raise FileNotFoundError(errno.ENOENT, 'There is no such file', str(image))
        return Path(image).absolute()
    name = Path(image.get_filename() or f'scan-{number}').name
    path = folder / str(number) / f'{stem_of(name)}.nii'
    path.parent.mkdir()
    try:
        nb.save(image, path)
    except (HeaderDataError, ImageFileError, ValueError) as error:
        raise ValueError(f'images[{number}] cannot be written as NIfTI: {error}') from error
    return path


@dataclass(frozen=True)
class _Run:
    """The volumes of an exam by their names, files not used, and the file of every scan."""

    products: dict[str, ProductFile]
    left_out: tuple[str, ...]
    file_of: dict[str, str]


def run_exam(
    files: Sequence[PlainScan],
    settings: MethodSettings,
    work_dir: Path,
    *,
    num_threads: int,
    device: str,
) -> _Run:
    """Run the workflow of one exam in this process.

    What becomes of every file, and what a reader must know, is logged.

    Raises
    ------
    FailedExamError
        With the fault of the headers, or the message of the step that failed.
    """
    from bids_synthsr.workflows.base import init_configured_exam_wf
    from bids_synthsr.workflows.stages import STAGES, SYNTHESIS_STEP, ExamSetup

    exam = plain_exam(files)
    selection = _select(exam, files, settings)
    fault = find_method_fault(selection.scans, settings)
    if fault:
        raise FailedExamError(fault)
    setup = ExamSetup(
        exam=describe_exam(exam, ''),
        fingerprint={},
        method=settings,
        forecast=forecast_scans(selection.scans, settings, num_threads),
        num_threads=num_threads,
        device=device,
    )
    outputs = _run_workflow(init_configured_exam_wf(setup=setup), work_dir)
    registration = outputs[STAGES['register'].last_step]
    synthesis = outputs[SYNTHESIS_STEP]
    sources = {source for product in synthesis.products for source in product['sources']}
    rows = mark_aligned(_table_of(registration), [*sources])
    remarks = _remarks(rows, [*registration.warnings, *synthesis.warnings])
    for line in (*describe_changes(selection.rows, rows), *remarks):
        LOGGER.warning('%s', line)
    left_out = tuple(row['file'] for row in rows if row['role'] == LEFT_OUT)
    file_of = {row['scan']: row['file'] for row in rows}
    return _Run(_volumes_of(synthesis.products), left_out, file_of)


def _select(exam: Exam, files: Sequence[PlainScan], settings: MethodSettings) -> Selection:
    """Select scans by their headers, and log what becomes of every file."""
    try:
        selection = select_scans(exam, settings.reference, settings.contrasts, settings.ct)
        rows, fault = selection.rows, None
    except SelectionError as error:
        rows, fault = error.rows, FailedExamError(_without_label(exam, str(error)))
    for file, row in zip(files, rows, strict=True):
        LOGGER.warning('%s', describe_file(file, row))
    if fault:
        raise fault
    return selection


def _without_label(exam: Exam, message: str) -> str:
    """Drop the label of an exam that its user never gave a name."""
    return message.replace(f' in {exam}:', ':').removeprefix(f'{exam}: ')


def _run_workflow(workflow: Any, work_dir: Path) -> dict[str, Any]:
    """Run a workflow in this process; return the outputs of its steps by their names.

    Raises
    ------
    FailedExamError
        With the message of the step that failed.
    """
    workflow.base_dir = str(work_dir)
    workflow.config['execution'] = {
        'crashdump_dir': str(work_dir),
        'create_report': 'false',  # it would hold the whole environment
        'stop_on_first_crash': 'true',
        'check_version': 'false',
    }
    try:
        with silence():
            graph = workflow.run(plugin='Linear')
    except RuntimeError as error:
        raise_stop(str(error))  # the engine takes Ctrl-C for a failure of the step
        raise FailedExamError(last_error(str(error))) from error
    return {node.name: node.result.outputs for node in graph.nodes()}


def _table_of(registration: Any) -> list[Row]:
    """Read the selection table that a registration ends with."""
    table = next(x for x in registration.products if x['suffix'] == 'selection')
    return list(read_json(Path(table['file'])))


def _remarks(rows: Sequence[Row], warnings: Sequence[str]) -> Iterator[str]:
    """List what a reader must know, a line each; users know a scan by its file."""
    file_of = {row['scan']: row['file'] for row in rows}
    for warning in warnings:
        scan, colon, text = warning.partition(': ')
        yield f'{file_of.get(scan, scan)}{colon}{text}'


def _volumes_of(products: Sequence[Mapping[str, Any]]) -> dict[str, ProductFile]:
    """Name the images that a method made, by contrast, later ones by desc as well."""
    volumes: dict[str, ProductFile] = {}
    for product in (ProductFile(**fields) for fields in products):
        if product.kind == 'image':
            name = product.contrast
            volumes[f'{product.desc or TISSUE}_{name}' if name in volumes else name] = product
    return volumes


@contextmanager
def silence() -> Iterator[None]:
    """Keep nipype from logging its steps: errors are raised."""
    logger = logging.getLogger('nipype.workflow')
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
