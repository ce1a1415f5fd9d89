"""What kind of image a scan is, as its name and its sidecar tell: agent, phase, map, CT.

What is not told is not claimed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bids_synthsr.dataset.agents import denies_agent, names_agent
from bids_synthsr.values.exam import is_true
from bids_synthsr.values.text import plain_text

AGENT_FIELDS = ('ContrastBolusIngredient', 'ContrastBolusAgent')
TEXT_FIELDS = ('SeriesDescription', 'ProtocolName')

MOTION_CORRECTED = re.compile(r'moco|pmc|vnav|motion\s?corr', re.I)
SEQUENCE_END = '(?:_(?:FFE|SE|IR|TSE|GRE|EPI))?'
PARTS = {
    'a phase image': re.compile(rf'P{SEQUENCE_END}|PHASE(?:[ _](?:IMAGE|MAP))?'),
    'a real image': re.compile(rf'R{SEQUENCE_END}|REAL(?:[ _]IMAGE)?'),
    'an imaginary image': re.compile(rf'I{SEQUENCE_END}|IMAGINARY(?:[ _]IMAGE)?'),
}
PROJECTIONS = re.compile(r'(?<![A-Z])(?:MIP|MIN[ _]?IP|MNIP|PROJECTION|VRT)(?![A-Z])')
INVERSION = re.compile(r'INV[ _-]?[12](?![0-9])', re.I)
T1_MAP, T1_IMAGES = (re.compile(rf'T1[ _-]?{x}(?![a-z])', re.I) for x in ('MAP', 'IMAGES?'))
OF_MP2RAGE = re.compile(r'mp2?rage', re.I)
MAPS = re.compile(
    r'(?:^|[ _])MAP$|^(?:E?ADC(?:[_ ].*)?|(?:COL)?FA|TENSOR|TRACEW?|R?CB[FV]|MTT|TTP|TMAX|B0|QSM'
    r'|FIELD ?MAP|PERFUSION|SUB|SUBTRACT(?:ION|ED)?|DIFF|DIFFERENCE|SEGMENT(?:ATION|ED)|LABEL ?MAP'
    r'|(?:BINARY[ _])?MASK|(?:T[12]|R[12]|PD|B[01]|MT)(?:_?STAR)?[ _]?MAP|R2STAR|MTR|FAT'
    r'|SCREEN[ _]?(?:SAVE|SHOT))$'
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
        return '' if denies_agent(entities['ce']) else f'ce-{entities["ce"]}'
    for key in AGENT_FIELDS:
        for text in texts_of(metadata, key):
            if not denies_agent(text):
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
    yield from _of_mp2rage(entities, metadata, words)
    for modality in texts_of(metadata, 'Modality')[:1]:
        if modality.strip().upper() not in ('MR', 'MRI', 'CT', ''):
            yield f'Its sidecar says that it is no MRI (Modality: {modality}).'


def _of_mp2rage(
    entities: Mapping[str, str], metadata: Mapping[str, Any], image_type: Iterable[str]
) -> Iterator[str]:
    """Tell that an image is an inversion or a map of an MP2RAGE, neither of which is a T1w.

    ProtocolName is that of all its images, and tells only that it is one.
    """
    texts = [('SeriesDescription', text) for text in texts_of(metadata, 'SeriesDescription')]
    texts += [(key, entities[key]) for key in ('acq', 'rec') if key in entities]
    every = [*texts, *(('', text) for text in texts_of(metadata, 'ProtocolName'))]
    is_mp2rage = any(OF_MP2RAGE.search(text) for _, text in every)
    for key, text in [*texts, *(('ImageType', word) for word in image_type)]:
        if INVERSION.search(text) and (is_mp2rage or key == 'ImageType'):
            yield f'It is an inversion of an MP2RAGE ({key}: {text}), which is no T1w.'
            return
        if T1_MAP.search(text) or (is_mp2rage and T1_IMAGES.search(text)):
            yield f'It is a map of T1 ({key}: {text}), not a scan.'
            return


def _image_type(metadata: Mapping[str, Any]) -> list[str]:
    r"""Read the values of ImageType, in capitals; one text may hold them all, as ``A\B\C``."""
    texts = [text.upper().strip('[]() ') for text in texts_of(metadata, 'ImageType')]
    parts = [part for text in texts for part in re.split(r'[\\/,]', text)]
    words = [part.strip('\'" ') for part in parts]
    joined = [word for word in words if word.startswith(('ORIGINAL_', 'DERIVED_'))]
    return words + [part for word in joined for part in word.split('_')]


def is_synthetic(metadata: Mapping[str, Any]) -> bool:
    """Whether a sidecar says that a program made the image, as BIDS has it (Synthetic)."""
    return is_true(metadata.get('Synthetic'))


def find_processing(metadata: Mapping[str, Any]) -> str:
    """Describe what was done to an acquired image, a sentence; empty if nothing is known.

    Corrections that scanners make of themselves, such as of distortion, are none.
    """
    words = set(_image_type(metadata))
    if is_synthetic(metadata):
        return 'Its sidecar (Synthetic) says that a program made it.'
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
