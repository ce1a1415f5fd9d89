"""What the outputs come from: the description of the data set, and what sidecars share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_synthsr import __version__
from bids_synthsr.dataset.files import (
    open_regular,
    read_object,
    write_json,
    written_atomically,
)
from bids_synthsr.dataset.query import DESCRIPTION
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.values.text import plain_text

BIDS_VERSION = '1.10.0'
RAW = 'raw'  # name of the input data set in BIDS URIs
# outputs that the specification does not know; bids-validator-deno knows folders without a slash
NOT_BIDS = (
    '*.html',
    'logs',
    'figures',
    '*_selection.tsv',
    '*_volumes.tsv',
    '*_xfm.txt',
    '*_xfm.json',
    '.tmp-*',
)


def raw_uri(path: Path, bids_dir: Path) -> str:
    """BIDS URI of a scan of the input data set."""
    return f'bids:{RAW}:{path.relative_to(bids_dir.resolve()).as_posix()}'


def generator() -> dict[str, str]:
    """Name the program and its version."""
    return {'Name': 'bids_synthsr', 'Version': __version__}


def describe_synthesis(
    suffix: str, desc: str, method: str, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Describe a volume that a method made, for its sidecar.

    Parameters
    ----------
    suffix, desc
        BIDS suffix and ``desc-`` label of the volume.
    method
        Name of the method.
    facts
        What the method reports: iterations, weights and their SHA-256.
    """
    return {
        'Description': f'{_kind_of(suffix, desc)}, computed by bids_synthsr (method {method}) '
        'from the scans under Sources. It was not acquired and is not meant for diagnosis.',
        'Synthetic': True,
        'SkullStripped': False,
        'Method': method,
        'MethodDetails': dict(facts),
        **({'Type': 'Brain'} if suffix == 'mask' else {}),
    }


def _kind_of(suffix: str, desc: str) -> str:
    """Describe what a volume is."""
    if suffix == 'dseg':
        return 'Segmentation (the numbers of FreeSurfer)'
    if suffix == 'mask':
        return 'Brain mask (brain, ventricles and CSF)'
    if desc == 'uncertainty':
        return 'Expected absolute error of the T1w (Laplace scale, in its units)'
    return 'Synthetic image'


def describe_resampled() -> dict[str, Any]:
    """Describe a scan on the output grid."""
    return {
        'Description': 'The acquired scan, interpolated linearly, once.',
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


def write_dataset_description(derivatives: Derivatives, bids_dir: Path) -> None:
    """Describe the output as a BIDS derivative of ``bids_dir``, and list what is not BIDS in it.

    Lines that a user added to ``.bidsignore`` stay.
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
