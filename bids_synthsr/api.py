"""One exam from Python: images in, images out."""

from __future__ import annotations

import errno
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nb
from nibabel.spatialimages import SpatialImage

from bids_synthsr.dataset.errors import FailedExamError
from bids_synthsr.dataset.files import read_json
from bids_synthsr.dataset.guessing import guess_contrast
from bids_synthsr.dataset.images import image_of, load_volume
from bids_synthsr.dataset.scans import read_scan
from bids_synthsr.dataset.selection import (
    LEFT_OUT,
    describe_exam,
    parse_reference,
    select_scans,
)
from bids_synthsr.dataset.weights import find_weights
from bids_synthsr.derivatives.products import ProductFile
from bids_synthsr.methods.catalogue import METHODS
from bids_synthsr.methods.check import find_settings_fault
from bids_synthsr.run.crashes import last_error, raise_stop
from bids_synthsr.run.plan import find_method_fault, forecast_scans
from bids_synthsr.settings import MethodSettings
from bids_synthsr.values.exam import SUFFIXES, Exam
from bids_synthsr.values.words import find_word

LOGGER = logging.getLogger('bids_synthsr')


def synthesize(
    images: Sequence[SpatialImage | str | Path],
    contrasts: Sequence[str] = (),
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
        The scans, as nibabel images or files, of one person in one session.
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
        one, the later is called by its desc as well: ``uncertainty_T1w``.

    Raises
    ------
    FileNotFoundError
        If a file is not there, one of weights included.
    ValueError
        If settings contradict each other, or a contrast cannot be guessed.
    FailedExamError
        If no scan can be used, or a step failed; it is a ValueError, and names scan and fault.

    Notes
    -----
    Scans that were left out, with the reason, and what a reader must know of the volumes are
    logged as warnings of the logger ``bids_synthsr``. Unless logging is configured otherwise,
    Python prints them on standard error.
    """
    settings = check_settings(settings or MethodSettings())
    with tempfile.TemporaryDirectory(prefix='bids_synthsr-') as folder:
        files = [_file_of(image, Path(folder), number) for number, image in enumerate(images)]
        suffixes = list(contrasts) or [guess_contrast(file.name) for file in files]
        settings = with_weights(settings, os.environ if environ is None else environ)
        exam = exam_of_files(files, suffixes)
        volumes = run_exam(
            exam,
            settings,
            Path(folder) / 'work',
            num_threads=num_threads,
            device=device,
        )
        return {suffix: image_of(*load_volume(file)) for suffix, file in volumes.items()}


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
    suffixes = list(contrasts) or [guess_contrast(file.name) for file in files]
    exam = exam_of_files([file.absolute() for file in files], suffixes)
    scans = select_scans(exam, settings.reference, settings.contrasts, settings.ct).scans
    return METHODS[settings.method].name_volumes([scan.suffix for scan in scans])


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
    if settings.reference:
        parse_reference(settings.reference)
    return settings


def with_weights(settings: MethodSettings, environ: Mapping[str, str]) -> MethodSettings:
    """Find and check the file of weights, where the method reads one."""
    weights = find_weights(METHODS[settings.method], settings.weights, environ)
    return replace(settings, weights=weights)


def _file_of(image: SpatialImage | str | Path, folder: Path, number: int) -> Path:
    """Return the file of an image, written here if it has none."""
    if isinstance(image, str | Path):
        if not Path(image).exists():
            raise FileNotFoundError(errno.ENOENT, 'There is no such file', str(image))
        return Path(image).absolute()
    path = folder / f'scan-{number}.nii'
    nb.save(image, path)
    return path


def exam_of_files(files: Sequence[Path], contrasts: Sequence[str]) -> Exam:
    """Make an exam of plain files.

    Raises
    ------
    ValueError
        If contrasts are missing or unknown.
    """
    contrasts = [find_word(contrast, SUFFIXES) for contrast in contrasts]
    if len(contrasts) != len(files):
        raise ValueError(f'{len(files)} scans, but {len(contrasts)} contrasts: name one for each')
    scans = []
    for number, (file, contrast) in enumerate(zip(files, contrasts, strict=True), 1):
        is_repeated = contrasts.count(contrast) > 1
        scans.append(read_scan(file, contrast, {'run': str(number)} if is_repeated else {}))
    return Exam('plain', None, tuple(scans))


def run_exam(
    exam: Exam,
    settings: MethodSettings,
    work_dir: Path,
    *,
    num_threads: int,
    device: str,
) -> dict[str, Path]:
    """Run the workflow of one exam in this process; return its volumes by BIDS suffix.

    Scans that were left out, and what a reader must know, are logged.

    Raises
    ------
    FailedExamError
        With the fault of the headers, or the message of the step that failed.
    """
    from bids_synthsr.workflows.base import init_configured_exam_wf
    from bids_synthsr.workflows.stages import STAGES, SYNTHESIS_STEP, ExamSetup

    scans = select_scans(exam, settings.reference, settings.contrasts, settings.ct).scans
    fault = find_method_fault(scans, settings)
    if fault:
        raise FailedExamError(fault)
    setup = ExamSetup(
        exam=describe_exam(exam, ''),
        fingerprint={},
        method=settings,
        forecast=forecast_scans(scans, settings, num_threads),
        num_threads=num_threads,
        device=device,
    )
    workflow = init_configured_exam_wf(setup=setup)
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
    outputs = {node.name: node.result.outputs for node in graph.nodes()}
    for line in _remarks(outputs[STAGES['register'].last_step], outputs[SYNTHESIS_STEP]):
        LOGGER.warning('%s', line)
    return _volumes_of(outputs[SYNTHESIS_STEP].products)


def _remarks(registration: Any, synthesis: Any) -> Iterator[str]:
    """List who was left out and why, and what a reader must know, a line each."""
    table = next(x for x in registration.products if x['suffix'] == 'selection')
    rows = read_json(Path(table['file']))
    yield from (
        f'{row["file"]} was left out: {row["reason"]}' for row in rows if row['role'] == LEFT_OUT
    )
    file_of = {row['scan']: row['file'] for row in rows}
    for warning in [*registration.warnings, *synthesis.warnings]:
        scan, colon, text = warning.partition(': ')  # users know the scan by its file
        yield f'{file_of.get(scan, scan)}{colon}{text}'


def _volumes_of(products: Sequence[Mapping[str, Any]]) -> dict[str, Path]:
    """Name the files of the images that a method made, by contrast, later ones by desc as well."""
    volumes: dict[str, Path] = {}
    for product in (ProductFile(**fields) for fields in products):
        if product.kind == 'image':
            name = product.contrast
            volumes[f'{product.desc}_{name}' if name in volumes else name] = Path(product.file)
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
