"""What kind of image a scan is, as its name and its sidecar tell: agent, phase, map, CT.

What is not told is not claimed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bids_synthsr.dataset.agents import names_agent
from bids_synthsr.values.text import plain_text

AGENT_FIELDS = ('ContrastBolusIngredient', 'ContrastBolusAgent')
TEXT_FIELDS = ('SeriesDescription', 'ProtocolName')
NO_AGENT = {'', '0', 'n', 'n/a', 'na', 'no', 'non', 'none', 'nil', 'false', 'unknown', 'without'}

MOTION_CORRECTED = re.compile(r'moco|pmc|vnav|motion\s?corr', re.I)
SEQUENCE_END = '(?:_(?:FFE|SE|IR|TSE|GRE|EPI))?'
PARTS = {
    'a phase image': re.compile(rf'P{SEQUENCE_END}|PHASE(?:[ _](?:IMAGE|MAP))?'),
    'a real image': re.compile(rf'R{SEQUENCE_END}|REAL(?:[ _]IMAGE)?'),
    'an imaginary image': re.compile(rf'I{SEQUENCE_END}|IMAGINARY(?:[ _]IMAGE)?'),
}
PROJECTIONS = re.compile(r'\b(?:MIP|MINIP|MNIP|PROJECTION(?:[ _]IMAGE)?)\b')
MAPS = re.compile(
    r'(?:^|[ _])MAP$|^(?:ADC|EADC|FA|TRACEW?|CBF|CBV|MTT|TTP|TMAX|B0|FIELD ?MAP|PERFUSION'
    r'|SUB|SUBTRACT(?:ION|ED)?|DIFFERENCE|SEGMENTATION|LABEL ?MAP|(?:BINARY[ _])?MASK'
    r'|T[12](?:_?STAR)?MAP|R2STAR)$'
)
ORIGINS = {'ORIGINAL', 'DERIVED', 'PRIMARY', 'SECONDARY'}  # of ImageType, for any kind of image
REFORMATTED = {'MPR', 'REFORMATTED'}


def find_agent(entities: Mapping[str, str], metadata: Mapping[str, Any]) -> str:
    """Find what tells that a contrast agent was given; empty where nothing does.

    Parameters
    ----------
    entities
        BIDS entities of the name, by short key.
    metadata
        Fields of the sidecar that the program reads.

    Returns
    -------
    agent
        Where it stands and what stands there, such as ``SeriesDescription: t1 post Gd``.
    """
    if 'ce' in entities:
        return '' if entities['ce'].lower() in NO_AGENT else f'ce-{entities["ce"]}'
    for key in AGENT_FIELDS:
        for text in texts_of(metadata, key):
            if text.strip().partition(' ')[0].lower() not in NO_AGENT:
                return f'{key}: {text}'
    named = [(key, text) for key in TEXT_FIELDS for text in texts_of(metadata, key)]
    named += [(key, entities[key]) for key in ('acq', 'rec') if key in entities]
    return next((f'{key}: {text}' for key, text in named if names_agent(text)), '')


def texts_of(metadata: Mapping[str, Any], key: str) -> list[str]:
    """Read a sidecar field that may be a text, a list of texts, or absent."""
    value = metadata.get(key) or []
    return [plain_text(str(x)) for x in (value if isinstance(value, list) else [value])]


def is_ct(metadata: Mapping[str, Any]) -> bool:
    """Whether a sidecar says that the image is CT."""
    return 'CT' in (text.strip().upper() for text in texts_of(metadata, 'Modality'))


def find_kind_problems(entities: Mapping[str, str], metadata: Mapping[str, Any]) -> Iterator[str]:
    """List why a scan is no image of intensities as a scanner makes them of a head.

    Parameters
    ----------
    entities, metadata
        What name and sidecar state, as in `find_agent`.
    """
    part = entities.get('part', 'mag')
    words = [word for word in _image_type(metadata) if word not in ORIGINS]
    if part != 'mag':
        yield f'It is part-{part} of a complex image; only magnitude images are used.'
    else:
        kinds = [name for name, kind in PARTS.items() if any(map(kind.fullmatch, words))]
        yield from (
            f'Its sidecar (ImageType) calls it {kind}; only magnitude images are used.'
            for kind in kinds[:1]
        )
    if any(map(PROJECTIONS.search, words)):
        yield 'Its sidecar (ImageType) calls it a projection (MIP): it shows no slices.'
    shown = next(filter(MAPS.search, words), '')
    if shown:
        yield f'Its sidecar (ImageType: {shown}) calls it a map or a difference, not a scan.'
    for modality in texts_of(metadata, 'Modality')[:1]:
        if modality.strip().upper() not in ('MR', 'MRI', 'CT', ''):
            yield f'Its sidecar says that it is no MRI (Modality: {modality}).'


def _image_type(metadata: Mapping[str, Any]) -> list[str]:
    r"""Read the values of ImageType, in capitals; one text may hold them all, as ``A\B\C``."""
    texts = texts_of(metadata, 'ImageType')
    return [word.strip().upper() for text in texts for word in text.split('\\')]


def find_processing(metadata: Mapping[str, Any]) -> str:
    """Describe what was done to an acquired image, a sentence; empty if nothing is known.

    Corrections that scanners make of themselves, such as of distortion, are none.
    """
    words = set(_image_type(metadata))
    if words & REFORMATTED:
        return (
            'Its sidecar (ImageType) says that it was reformatted: '
            'its slices are not those that were acquired.'
        )
    if {'DERIVED', 'SECONDARY'} <= words:
        return 'Its sidecar (ImageType) says that it was computed from other images.'
    return ''


def is_motion_corrected(entities: Mapping[str, str], metadata: Mapping[str, Any]) -> bool:
    """Whether name or sidecar tell that motion was corrected."""
    texts = [entities.get(key, '') for key in ('acq', 'rec')]
    texts += [text for key in (*TEXT_FIELDS, 'ImageType') for text in texts_of(metadata, key)]
    return any(map(MOTION_CORRECTED.search, texts))
