"""What kind of image a scan is, as its name and its sidecar tell: agent, phase, map, CT.

Words count whole: a label such as ``mprageGd`` is taken apart where its letters turn to capitals.
What is not told is not claimed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bids_synthsr.values.text import plain_text

AGENT_FIELDS = ('ContrastBolusIngredient', 'ContrastBolusAgent')
TEXT_FIELDS = ('SeriesDescription', 'ProtocolName')
NO_AGENT = {'', '0', 'n', 'n/a', 'na', 'no', 'non', 'none', 'nil', 'false', 'unknown', 'without'}
WORD = re.compile(r'\+|[A-Z]+(?![a-z])|[A-Z]?[a-zäöüéè]+|[0-9]+')
AGENT_WORD = re.compile(
    r'gd|gad|gad(?:o|a)[a-z]*|post(?:con|contrast|gad|gd|km)?|ce|km|mdc|inj|injection|contrast|kontrast'
    r'|kontrastmittel|contraste|dotarem|magnevist|prohance|multihance|omniscan|clariscan'
)
# before an agent, or with it in one text: it has not been given yet
BEFORE_AGENT = re.compile(
    r'no|non|without|wo|ohne|sans|sin|senza|pre|prior|before|vor|nativ[a-z]*|unenhanced'
    r'|(?:pre|no|non)(?:con|contrast|gad|gd|km)'
)
# after these words "contrast" is none that was injected, and "post" before those is another time
OTHER_CONTRAST = {'multi', 'tissue', 'image', 'high', 'low', 'phase', 'magnetization', 'best'}
OTHER_POST = re.compile(r'op|proc|process|surg|treat|rt|rx|tx|chemo|ictal|mortem|natal|trauma')
PLUS_C = re.compile(r'(?:\+\s?(?:c|k)(?![a-z])|(?<![a-z0-9])t1c(?![a-z])|w/ ?contrast)', re.I)
WITHOUT = re.compile(r'(?<![a-z])w[/_ .]o(?![a-z])|(?<![a-z])-\s?c(?:ontrast)?(?![a-z])', re.I)

MOTION_CORRECTED = re.compile(r'moco|pmc|vnav|motion\s?corr', re.I)
PARTS = {
    'a phase image': {'P', 'PHASE', 'P_FFE', 'P_SE', 'P_IR', 'PHASE MAP'},
    'a real image': {'R', 'REAL', 'R_FFE', 'R_SE', 'R_IR'},
    'an imaginary image': {'I', 'IMAGINARY', 'I_FFE', 'I_SE', 'I_IR'},
}
PROJECTIONS = re.compile(r'\b(?:MIP|MINIP|MNIP|PROJECTION(?: IMAGE)?)\b')
MAPS = re.compile(
    r'(?:^|[ _])MAP$|^(?:ADC|EADC|FA|TRACEW?|CBF|CBV|MTT|TTP|TMAX|B0|FIELD ?MAP|PERFUSION'
    r'|SUBTRACT(?:ION|ED)?|T[12](?:_?STAR)?MAP|R2STAR)$'
)
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
            if text.strip().lower() not in NO_AGENT:
                return f'{key}: {text}'
    named = [(key, text) for key in TEXT_FIELDS for text in texts_of(metadata, key)]
    named += [(key, entities[key]) for key in ('acq', 'rec') if key in entities]
    return next((f'{key}: {text}' for key, text in named if names_agent(text)), '')


def names_agent(text: str) -> bool:
    """Whether a name or description tells that a contrast agent was given."""
    words = [word.lower() for word in WORD.findall(text)]
    if WITHOUT.search(text) or any(map(BEFORE_AGENT.fullmatch, words)):
        return False
    return bool(PLUS_C.search(text)) or any(
        AGENT_WORD.fullmatch(word) and not _is_other(word, before, after)
        for before, word, after in zip(['', *words], words, [*words[1:], ''], strict=False)
    )


def _is_other(word: str, before: str, after: str) -> bool:
    """Whether a word of agents means something else beside its neighbours."""
    if word == 'post':
        return bool(OTHER_POST.match(after))
    return word == 'contrast' and before in OTHER_CONTRAST


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
    part, words = entities.get('part', 'mag'), _image_type(metadata)
    if part != 'mag':
        yield f'It is part-{part} of a complex image; only magnitude images are used.'
    else:
        kinds = [name for name, values in PARTS.items() if values & set(words)]
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


def _image_type(metadata: Mapping[str, Any]) -> Sequence[str]:
    """Read the values of ImageType after ORIGINAL or DERIVED, PRIMARY or SECONDARY."""
    return [word.strip().upper() for word in texts_of(metadata, 'ImageType')][2:]


def find_processing(metadata: Mapping[str, Any]) -> str:
    """Describe what was done to an acquired image, a sentence; empty if nothing is known.

    Corrections that scanners make of themselves, such as of distortion, are none.
    """
    words = {word.strip().upper() for word in texts_of(metadata, 'ImageType')}
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
