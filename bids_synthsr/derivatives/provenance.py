"""What the outputs come from: the description of the data set, and what sidecars share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_synthsr import __version__
from bids_synthsr.dataset.files import (
    open_regular,
    read_object,
    read_text,
    write_json,
    write_text,
    written_atomically,
)
from bids_synthsr.dataset.query import DESCRIPTION
from bids_synthsr.dataset.templates import TemplateFiles
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.tables import table_text
from bids_synthsr.registration.standard import StandardTransform
from bids_synthsr.values.method import Origin
from bids_synthsr.values.text import plain_text

BIDS_VERSION = '1.10.0'
OUTPUT_COVERAGE = 'OutputCoverage'  # field: how much of head and brain the output holds
RAW = 'raw'  # name of the input data set in BIDS URIs
# outputs that the specification does not know; bids-validator-deno knows folders without a slash
NOT_BIDS = (
    '*.html',
    'logs',
    'figures',
    '*_selection.tsv',
    '*_selection.json',
    '*_volumes.tsv',
    '*_volumes.json',
    '*_reliability.nii.gz',
    '*_reliability.json',
    '*_uncertainty.nii.gz',
    '*_uncertainty.json',
    'group_*',
    'sourcedata',
    '*_morph.tsv',
    '*_morph.json',
    '*_logjacobian.nii.gz',
    '*_logjacobian.json',
    '*_xfm.txt',
    '*_xfm.json',
    '*_xfm.h5',
    '.tmp-*',
)

INTERPOLATIONS = {0: 'nearest voxel', 1: 'linear', 3: 'cubic splines'}  # by their order
KINDS = {  # of volumes that a method computed, by suffix
    'dseg': 'Segmentation (values in the look-up table of its name)',
    'probseg': 'Probability of a class of tissue',
    'mask': 'Brain mask (brain, ventricles and CSF)',
    'uncertainty': 'Expected absolute error of the T1w (Laplace scale, in its units; 0 far from '
    'the brain, where nothing was predicted)',
}
OF_ACQUIRED = {  # of those that show what was measured
    'T1w': 'The acquired T1w, interpolated by cubic splines, corrected for its bias field by N4 '
    'and scaled to a median of 110 in the white matter.',
    'uncertainty': 'Expected absolute error of the T1w by the noise of the scan, in its units.',
}
DESCS = {  # by desc-
    'preproc': 'The T1w of the exam: as acquired, even in intensity, where its voxels are fine; '
    'else predicted from all scans. Its sidecar says which (MethodDetails: main).',
    'anyexam': 'Predicted from all scans of the exam by the network of method any-exam.',
    'brain': 'Brain, ventricles and CSF, predicted from all scans of the exam.',
    'sr': 'T1w of thick slices with its own contrast, sharpened by the network of method sr-t1.',
    'tv': 'One contrast of the exam, super-resolved by multi-channel total variation.',
    'cubic': 'The reference of the exam, interpolated by cubic splines.',
    'synthsr': 'T1w predicted by a published SynthSR network.',
    '7t': 'T1w made like one of another scanner by the network of method 3t-7t; not acquired.',
    'resampled': 'An acquired scan, interpolated linearly on the grid of the output.',
    'recon': 'Tables of a tool of surfaces: FreeSurfer, FastSurfer or SAMSEG.',
    'aseg': 'Segmentation by a tool of surfaces.',
    'aparcaseg': 'Segmentation by a tool of surfaces, with the areas of the cortex.',
    'samseg': 'Segmentation by SAMSEG.',
    'average': 'Mean of the T1w of all sessions of a person, deformed to their mean shape.',
    'longitudinal': 'Volumes of structures in every session of a person, by one outline.',
    'scans': 'Every scan of the exam, whether it was used, and why.',
}


# added to each of them, once lesions were filled or kept in the data set
TREATED = ' What became of lesions is told where its sidecar has the field Lesions.'


def raw_uri(path: Path, bids_dir: Path) -> str:
    """BIDS URI of a scan of the input data set."""
    return f'bids:{RAW}:{path.relative_to(bids_dir.resolve()).as_posix()}'


def generator() -> dict[str, str]:
    """Name the program and its version."""
    return {'Name': 'bids_synthsr', 'Version': __version__}


def describe_synthesis(suffix: str, origin: Origin) -> dict[str, Any]:
    """Describe a volume that a method made, for its sidecar.

    Parameters
    ----------
    suffix
        BIDS suffix of the volume, such as ``T1w``.
    origin
        How it came about.
    """
    kinds = OF_ACQUIRED if origin.is_acquired else KINDS
    computed = (
        f', computed by bids_synthsr (method {origin.method}) from the scans under Sources. It '
        'was not acquired and is not meant for diagnosis.'
    )
    return {
        'Description': kinds.get(suffix, f'Synthetic {suffix}')
        + ('' if origin.is_acquired else computed),
        'Synthetic': not origin.is_acquired,
        'SkullStripped': False,
        'Method': origin.method,
        'MethodDetails': dict(origin.facts),
        **({'Type': 'Brain'} if suffix == 'mask' else {}),
    }


def describe_selection(coverages: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Describe the table of scans, and how much of head and brain the output holds.

    Parameters
    ----------
    coverages
        Fields of `bids_synthsr.imaging.coverage.Coverage` of the output, by ``head`` and
        ``brain``.
    """
    return {'Description': DESCS['scans'], OUTPUT_COVERAGE: dict(coverages)}


def describe_resampled() -> dict[str, Any]:
    """Describe a scan on the output grid."""
    return {
        'Description': 'The acquired scan, interpolated linearly, once.',
        'Synthetic': False,
        'SkullStripped': False,
    }


def describe_reliability() -> dict[str, Any]:
    """Describe a reliability map."""
    return {
        'Description': '1 where the scan was measured, 0 where it is interpolated.',
        'SkullStripped': False,
    }


def describe_transform(fit: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a transform and how well the scan fits the reference by it."""
    return {
        'Description': 'Rigid transform, to resample the scan in the space of the output.',
        'Fit': dict(fit),
    }


def describe_space_transform(transform: StandardTransform, files: TemplateFiles) -> dict[str, Any]:
    """Describe a transform to or from a standard space, and how well the two brains fit."""
    volume = transform.intracranial_mm3
    return {
        'Description': 'Affine transform and deformation, for tools that read those of ITK.',
        'Template': files.space,
        **({'EstimatedTotalIntraCranialVolume': round(volume)} if volume else {}),
        'Fit': {
            'brain_dice': round(transform.overlap, 4),
            'correlation': round(transform.correlation, 4),
            'affine_growth': round(transform.growth, 4),
        },
    }


def describe_carried(described: Mapping[str, Any], order: int) -> dict[str, Any]:
    """Describe an output in a standard space by the sidecar of that in the space of the exam.

    Parameters
    ----------
    described
        Sidecar of the output in the space of the exam.
    order
        Order of the splines by which it was interpolated, once.
    """
    kept = ('Description', 'Synthetic', 'SkullStripped', 'Type')
    return {
        **{key: value for key, value in described.items() if key in kept},
        'Interpolation': INTERPOLATIONS[order],
    }


def complete_sidecar(
    described: Mapping[str, Any], sources: Sequence[str], space: str = ''
) -> dict[str, Any]:
    """Add to a sidecar what all have in common.

    Parameters
    ----------
    described
        What the step that made the output reports.
    sources
        BIDS URIs of what it was made of.
    space
        BIDS URI of the image in whose space it lies; empty for what is no image.
    """
    return {
        **described,
        'Sources': list(sources),
        **({'SpatialReference': space} if space else {}),
        'GeneratedBy': generator(),
    }


def write_dataset_description(
    derivatives: Derivatives, bids_dir: Path, treats_lesions: bool = False
) -> None:
    """Describe the output as a BIDS derivative of ``bids_dir``, and list what is not BIDS in it.

    Lines that a user added to ``.bidsignore`` stay, and so does what tells of lesions.
    """
    raw = read_object(bids_dir / DESCRIPTION)
    link = link_to(derivatives.root, bids_dir)
    doi = plain_text(str(raw.get('DatasetDOI') or ''))
    doi = doi.removeprefix('doi:').removeprefix('https://doi.org/')
    source = {'DOI': f'doi:{doi}', 'URL': f'https://doi.org/{doi}'} if doi else {'URL': link}
    content = {
        'Name': f'1 mm volumes of {plain_text(str(raw.get("Name") or bids_dir.name))}',
        'BIDSVersion': BIDS_VERSION,
        'DatasetType': 'derivative',
        'GeneratedBy': [generator()],
        'SourceDatasets': [source],
        'DatasetLinks': {RAW: link},
    }
    write_json(derivatives.description, content)
    path = derivatives.descriptions
    tells = treats_lesions or (path.is_file() and TREATED in read_text(path))
    more = TREATED if tells else ''
    rows = [
        {'desc_id': f'desc-{desc}', 'description': f'{text}{more}'} for desc, text in DESCS.items()
    ]
    write_text(derivatives.descriptions, table_text(rows))
    _ignore_outputs(derivatives.ignored)


def _ignore_outputs(path: Path) -> None:
    """Add to a list of what is ignored; lines of others stay as they are, in any encoding."""
    present = b''
    if path.is_file():
        with open_regular(path) as file:
            present = file.read()
    lines = dict.fromkeys([*present.splitlines(), *(name.encode() for name in NOT_BIDS)])
    with written_atomically(path) as temporary:
        temporary.write_bytes(b'\n'.join(lines) + b'\n')


def link_to(root: Path, bids_dir: Path) -> str:
    """Link to the input: relative where it holds the output, so that both can move together."""
    root, bids_dir = root.resolve(), bids_dir.resolve()
    if root.is_relative_to(bids_dir):
        return '/'.join(['..'] * len(root.relative_to(bids_dir).parts))
    return bids_dir.as_uri()
