"""One exam from Python: images in, images out."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import nibabel as nb
from nibabel.spatialimages import SpatialImage

from bids_synthsr.dataset.images import image_of, load_volume
from bids_synthsr.dataset.scans import read_scan
from bids_synthsr.dataset.selection import describe_exam, select_scans
from bids_synthsr.dataset.weights import find_weights
from bids_synthsr.derivatives.products import ProductFile
from bids_synthsr.methods.catalogue import METHODS
from bids_synthsr.run.crashes import last_error
from bids_synthsr.run.plan import find_method_fault, forecast_scans
from bids_synthsr.settings import MethodSettings
from bids_synthsr.values.exam import SUFFIXES, Exam

GUESSES = (
    (r'flair|dark.?fluid', 'FLAIR'),
    (r't2[ _-]?(star|\*)|swi|gre', 'T2starw'),
    (r't1|mp2?rage|spgr|bravo', 'T1w'),
    (r't2', 'T2w'),
    (r'pd', 'PDw'),
)  # contrasts by words in file names, the more special first


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
    ValueError
        If a contrast cannot be guessed, or no scan can be used; the message names scan and fault.
    """
    with tempfile.TemporaryDirectory(prefix='bids_synthsr-') as folder:
        files = [_file_of(image, Path(folder), number) for number, image in enumerate(images)]
        suffixes = list(contrasts) or [guess_contrast(file.name) for file in files]
        variables = os.environ if environ is None else environ
        settings = with_weights(settings or MethodSettings(), variables)
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
    scans = select_scans(exam, settings.reference, settings.contrasts).scans
    return METHODS[settings.method].name_volumes([scan.suffix for scan in scans])


def with_weights(settings: MethodSettings, environ: Mapping[str, str]) -> MethodSettings:
    """Find and check the file of weights, where the method reads one."""
    weights = find_weights(METHODS[settings.method], settings.weights, environ)
    return replace(settings, weights=weights)


def _file_of(image: SpatialImage | str | Path, folder: Path, number: int) -> Path:
    """Return the file of an image, written here if it has none."""
    if isinstance(image, str | Path):
        return Path(image).absolute()
    path = folder / f'scan-{number}.nii'
    nb.save(image, path)
    return path


def guess_contrast(name: str) -> str:
    """Guess the BIDS suffix of a scan from its file name.

    Raises
    ------
    ValueError
        If the name does not contain a contrast.
    """
    stem = name.lower().split('.nii')[0]
    for pattern, suffix in GUESSES:
        if re.search(pattern, stem):
            return suffix
    raise ValueError(
        f'The name {name} does not tell the contrast of the scan: name the contrasts of all scans '
        f'in their order ({", ".join(SUFFIXES)})'
    )


def exam_of_files(files: Sequence[Path], contrasts: Sequence[str]) -> Exam:
    """Make an exam of plain files.

    Raises
    ------
    ValueError
        If contrasts are missing or unknown.
    """
    unknown = [contrast for contrast in contrasts if contrast not in SUFFIXES]
    if unknown:
        raise ValueError(f'Contrast {unknown[0]} is unknown; there are {", ".join(SUFFIXES)}')
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

    Raises
    ------
    ValueError
        With the fault of the headers, or the message of the step that failed.
    """
    from bids_synthsr.workflows.base import init_configured_exam_wf
    from bids_synthsr.workflows.stages import SYNTHESIS_STEP, ExamSetup

    scans = select_scans(exam, settings.reference, settings.contrasts).scans
    fault = find_method_fault(scans, settings)
    if fault:
        raise ValueError(fault)
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
        raise ValueError(last_error(str(error))) from error
    synthesis = next(node for node in graph.nodes() if node.name == SYNTHESIS_STEP)
    volumes: dict[str, Path] = {}
    for product in (ProductFile(**fields) for fields in synthesis.result.outputs.products):
        if product.kind == 'image':
            is_taken = product.suffix in volumes
            name = f'{product.desc}_{product.suffix}' if is_taken else product.suffix
            volumes[name] = Path(product.file)
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
