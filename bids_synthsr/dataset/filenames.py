"""BIDS file names, taken apart, judged and put together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

from bids_synthsr.values.exam import SUFFIXES
from bids_synthsr.values.text import plain_text

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
    *('from', 'to', 'mode', 'hemi', 'space', 'chunk', 'atlas', 'res', 'desc'),
)
RANKS = {key: rank for rank, key in enumerate(ORDER)}
INDEX_ENTITIES = ('run', 'echo', 'flip', 'inv', 'chunk')  # numbers: 1 and 01 are the same
IMAGES = ('.nii', '.nii.gz')
# entities of derivatives: outputs made of scans that have them would take each other's names
DERIVED = ('from', 'to', 'mode', 'space', 'res', 'den', 'label', 'desc', 'seg', 'atlas', 'hemi')
# BIDS suffixes of anatomical images that no method takes: maps, masks, parts of a series
OTHER_SUFFIXES = (
    'angio', 'Chimap', 'defacemask', 'FLASH', 'IRT1', 'M0map', 'MEGRE', 'MESE', 'MP2RAGE', 'MPM',
    'MTR', 'MTRmap', 'MTS', 'MTsat', 'MTVmap', 'MWFmap', 'PD', 'PDmap', 'R1map', 'R2map',
    'R2starmap', 'S0map', 'T1map', 'T1rho', 'T2map', 'T2star', 'T2starmap', 'VFA',
)  # fmt: skip
NOT_USED = 'is no contrast that is used'
LABEL = re.compile(r'[0-9A-Za-z]+')  # of a participant or a session
ENTITY = re.compile(r'([0-9A-Za-z]+)-[0-9A-Za-z+]+')
# what `plain_label` writes is a label too, as far as paths and tables are concerned
EXAM = re.compile(r'sub-(?P<subject>[0-9A-Za-z~]+)(?:_ses-(?P<session>[0-9A-Za-z~]+))?')
ESCAPED = re.compile('[\udc80-\udcff]')  # how Python shows bytes of names that are no text
MAX_LABEL, DIGITS = 60, 8  # the name of a file has 255 bytes at most


def split_name(name: str) -> tuple[dict[str, str], str, str]:
    """Take a file name apart.

    Returns
    -------
    entities
        By their short names, in the order of BIDS: ``{'sub': '01', 'run': '2'}``.
    suffix
        Such as ``T1w``.
    extension
        With its dot, such as ``.nii.gz``.
    """
    stem, dot, extension = name.partition('.')
    *parts, suffix = stem.split('_')
    entities = dict(part.split('-', 1) for part in parts if '-' in part)
    return {key: entities[key] for key in _in_order(entities)}, suffix, dot + extension


def _in_order(entities: Iterable[str]) -> list[str]:
    """Put the keys of entities in the order of BIDS, unknown ones last."""
    return sorted(entities, key=lambda key: RANKS.get(key, len(RANKS)))


def join_name(entities: Mapping[str, str], suffix: str, extension: str) -> str:
    """Put a file name together, its entities in the order of BIDS, unknown ones last."""
    labels = [f'{key}-{entities[key]}' for key in _in_order(entities)]
    return '_'.join([*labels, suffix]) + extension


def without_prefix(labels: Iterable[str], prefix: str) -> tuple[str, ...]:
    """Strip ``sub-`` or ``ses-`` where it stands before a label."""
    return tuple(label.removeprefix(f'{prefix}-') for label in labels)


def name_fault(name: str) -> str:
    """Describe why a name is not that of a raw anatomical image; empty if it is one."""
    extension = next((end for end in IMAGES if name.lower().endswith(end)), '')
    if not extension:
        return 'It is no NIfTI file: convert it, for example with dcm2niix.'
    stem = name[: -len(extension)]
    if not name.endswith(extension):
        return f'Its name ends in "{name[len(stem) :]}" instead of "{extension}": rename it.'
    *entities, suffix = stem.split('_')
    part = next((part for part in entities if not ENTITY.fullmatch(part)), '')
    if part or '' in entities:
        return (
            f'Its name is not as BIDS wants it: "{plain_name(part)}" is no entity with a label of '
            'letters and digits. Rename it.'
        )
    return _entity_fault([part.partition('-')[0] for part in entities]) or _suffix_fault(suffix)


def _entity_fault(keys: list[str]) -> str:
    """Describe what is wrong with the entities of a raw scan."""
    derived = next((key for key in keys if key in DERIVED), '')
    if derived:
        return (
            f'Its name has the entity "{derived}", as derivatives have, and raw scans have not: '
            'rename it, or keep it outside of the data set.'
        )
    key, count = next(iter(Counter(keys).most_common(1)), ('', 0))
    return f'Its name has the entity "{key}" {count} times: rename it.' if count > 1 else ''


def _suffix_fault(suffix: str) -> str:
    """Describe why a suffix is none that BIDS knows of anatomical images."""
    if suffix in SUFFIXES or suffix in OTHER_SUFFIXES:
        return ''
    return (
        f'Its name ends in "{plain_name(suffix)}", which is no contrast that BIDS knows '
        f'({", ".join(SUFFIXES)}): rename it.'
    )


def label_fault(prefix: str, name: str) -> str:
    """Describe why a folder is not named by a prefix and letters and digits; empty if it is."""
    if name.startswith(prefix) and LABEL.fullmatch(name.removeprefix(prefix)):
        return ''
    return (
        f'Its folder {plain_name(name)} is not named as BIDS wants it ({prefix} with letters and '
        'digits after it): rename the folder, and the files in it.'
    )


def plain_label(label: str) -> str:
    """Write any label in letters that are safe in paths and commands.

    Labels of letters and digits stay. ``01_old`` is ``01~5Fold``, which is no other's label.
    """
    if LABEL.fullmatch(label):
        return label
    code = re.sub('[^0-9A-Za-z]', _code_of, label) or '~'
    digest = sha256(code.encode()).hexdigest()[:DIGITS]
    return code if len(code) <= MAX_LABEL else f'{code[:MAX_LABEL]}~{digest}'


def _code_of(letter: re.Match[str]) -> str:
    """Write the bytes of a letter as numbers."""
    return ''.join(f'~{byte:02X}' for byte in letter[0].encode('utf-8', 'surrogatepass'))


def plain_name(name: str) -> str:
    """Show a name of a file in one line; bytes that are no text are shown by their numbers."""
    return plain_text(ESCAPED.sub(lambda byte: f'\\x{ord(byte[0]) - 0xDC00:02x}', name))


def plain_path(path: Path, root: Path) -> Path:
    """Show the path of a file below a root, which stays as it is."""
    return root.joinpath(*map(plain_name, path.relative_to(root).parts))
