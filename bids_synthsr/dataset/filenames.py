"""BIDS file names, taken apart and put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# entities of raw anatomical scans: long names, as in filter files and pybids, and short ones
ENTITIES = {
    'subject': 'sub',
    'session': 'ses',
    'task': 'task',
    'acquisition': 'acq',
    'ceagent': 'ce',
    'reconstruction': 'rec',
    'direction': 'dir',
    'run': 'run',
    'echo': 'echo',
    'flip': 'flip',
    'inv': 'inv',
    'mt': 'mt',
    'part': 'part',
    'chunk': 'chunk',
}
ORDER = (
    *(key for key in ENTITIES.values() if key != 'chunk'),
    *('from', 'to', 'mode', 'space', 'chunk', 'res', 'desc'),
)
INDEX_ENTITIES = ('run', 'echo', 'flip', 'inv', 'chunk')  # numbers: 1 and 01 are the same
IMAGES = ('.nii', '.nii.gz')


def split_name(name: str) -> tuple[dict[str, str], str, str]:
    """Take a file name apart.

    Returns
    -------
    entities
        By their short names, in order: ``{'sub': '01', 'run': '2'}``.
    suffix
        Such as ``T1w``.
    extension
        With its dot, such as ``.nii.gz``.
    """
    stem, dot, extension = name.partition('.')
    *parts, suffix = stem.split('_')
    entities = dict(part.split('-', 1) for part in parts if '-' in part)
    return entities, suffix, dot + extension


def join_name(entities: Mapping[str, str], suffix: str, extension: str) -> str:
    """Put a file name together, its entities in the order of BIDS, unknown ones last."""
    keys = sorted(entities, key=lambda key: ORDER.index(key) if key in ORDER else len(ORDER))
    return '_'.join([*(f'{key}-{entities[key]}' for key in keys), suffix]) + extension


def without_prefix(labels: Iterable[str], prefix: str) -> tuple[str, ...]:
    """Strip ``sub-`` or ``ses-`` where it stands before a label."""
    return tuple(label.removeprefix(f'{prefix}-') for label in labels)
