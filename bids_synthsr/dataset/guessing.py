"""What the name of a file tells of its scan, whether it is a name of BIDS or of a scanner.

Whole words count, not letters inside of words, and what a name does not tell is asked for.
"""

from __future__ import annotations

import re

from bids_synthsr.dataset.agents import names_agent
from bids_synthsr.dataset.filenames import (
    ENTITIES,
    ENTITY,
    NOT_USED,
    OTHER_SUFFIXES,
    split_name,
)
from bids_synthsr.values.exam import SUFFIXES

BY_SUFFIX, BY_WORDS = 'by its BIDS suffix', 'by the words of its name'
ENDING = re.compile(r'\.(?:nii|mgz|mgh|img|hdr)(?:\.gz)?$|\.gz$', re.IGNORECASE)
# entities whose labels may be any words, and spaces to which a scan was moved
LABELS = re.compile(r'(?:^|(?<=_))(?:sub|ses|task|run|space|from|to)-[a-z0-9]+', re.I)
TARGETS = re.compile(r'(?<=[_ .-])(?:to|in|onto|reg|coreg|registered)[ _-]*(?:to[ _-]*)?'
                     r'(?:t[12]w?|flair|pdw?|mni[a-z0-9]*)(?=$|[ _.-]|space)', re.I)  # fmt: skip

EDGE, END = r'(?<![a-z])', r'(?![a-z])'
PLANE = r'(?:2d|3d|o?(?:ax|sag|cor)|axial|sagittal|coronal|tra(?:ns)?)*'
KIND = r'(?:wi?|n|(?:fr)?fse|tse|se|ir|tirm?|fl[23]d|space|cube|vista|fs|2d|3d|ax|sag|cor|tra)*'
T1_KIND = r'(?:ffe|tfe|gre|mp2?rage|mpr|f?spgr|bravo|vibe|flair)*'
GLUED = r'(?:\+?c|\+|ce|gd|gado?|km|post(?:gd|gad|km)?)?'  # as in t1c and T1post
SEQUENCE = r'(?:mp2?rage|f?spgr|bravo)'  # of T1w scans alone
START = rf'{EDGE}(?:gd|gado?|km|ce|post|pre|[se](?=t[12]))?{PLANE}'  # as in GdT1 and sT1W
WORDS = {
    'FLAIR': rf'{START}(?:t2w?)?(?:flair{KIND}|dark.?fluid){END}|{EDGE}t2f{END}',
    'T2starw': rf'{EDGE}(?:(?:[se](?=t2))?{PLANE}t2(?:[ _-]?(?:star|ffe|fl2d)|\*)w?|swi|swan'
               rf'|gre){END}',
    'T1w': rf'(?:{START}t1(?![0-9]){KIND}{T1_KIND}{KIND}|{START}{SEQUENCE}|{EDGE}unit1)'
           rf'{GLUED}{END}',
    'T2w': rf'{START}t2(?![0-9]){KIND}{END}',
    'PDw': rf'{START}(?:pd(?![0-9]){KIND}|proton[ _-]?density){END}',
}  # fmt: skip
SPECIAL = {'FLAIR': {'T2w'}, 'T2starw': {'T2w'}}  # contrasts whose names hold that of another
T1_FLAIR = re.compile(rf't1flair|{WORDS["T1w"]}.*{EDGE}(?:flair|dark.?fluid){END}')  # a T1w
GRE = re.compile(rf'{EDGE}gre{END}')  # alone a T2starw, and of a T1 its sequence
NO_SCAN = re.compile(
    rf'{EDGE}(?:(?:brain|t[12])?(?:mask|map)|d?seg|probseg|labels?|inv[ _-]?[12]|pve(?:seg)?'
    rf'|m(?:in|n)?ip|projection|subtr(?:act(?:ion|ed))?|diff(?:erence)?|e?adc|dwi|dti){END}'
    # maps of tissue of SPM, and quotients
    r'|^m?w?r?[cp][1-6](?=[a-z]*t[12])|t1[ _-]?t2|t2[ _-]?t1'
    # parts that a converter names stand at the end; a number after "sub" makes it a participant
    r'|(?<![a-z])phase(?=[ _.-])|(?<=[ _.-])sub(?![a-z0-9]|[ _.-]*[0-9])'
)
AS_WORDS = ('PD', 'T2star')  # of BIDS, but none of the suffixes that are looked for
NO_CONTRAST = {name.lower(): name for name in OTHER_SUFFIXES if name not in AS_WORDS}

# what dcm2niix adds to the names of echoes and of parts of complex images
AGENT = 'agent'  # label of the entity ce where only words tell that some was given
ECHO = re.compile(r'_e(?P<echo>[0-9]+)(?=_|$)')
PART = re.compile(r'_(?:part-)?(?P<part>ph|phase|real|imaginary)[a-z]?$')
PARTS = {'ph': 'phase', 'imaginary': 'imag'}


UNTOLD = 'does not tell the contrast'


class UntoldError(ValueError):
    """A name does not tell the contrast, and does not tell another kind of image either."""


def guess_contrast(name: str) -> str:
    """Guess the BIDS suffix of a scan from its file name.

    Parameters
    ----------
    name
        Name of the file, with its ending.

    Raises
    ------
    ValueError
        If the name holds no contrast, or several.
    """
    return recognize(name)[0]


def recognize(name: str) -> tuple[str, str]:
    """Guess the BIDS suffix of a scan from its file name, and tell what it was guessed by.

    The suffix of a BIDS name has the last word. Elsewhere whole words count, but for those of
    labels such as ``sub-``; a FLAIR or a GRE of a T1 is a T1w.

    Parameters
    ----------
    name
        Name of the file, with its ending.

    Raises
    ------
    ValueError
        If the name holds no contrast (`UntoldError`), or several.
    """
    stem = stem_of(name).lower()
    by_suffix = {suffix.lower(): suffix for suffix in SUFFIXES}
    last = stem.rpartition('_')[2]
    is_bids = has_bids_form(stem)
    words = _words_of(stem)
    no_scan = NO_SCAN.search(words)
    # "flair" is a suffix, and a word of scanners, too
    if last in by_suffix and (is_bids or (last != 'flair' and last in words and not no_scan)):
        return by_suffix[last], BY_SUFFIX
    if is_bids and last in NO_CONTRAST:
        fault = f'says {NO_CONTRAST[last]}, which {NOT_USED}'
    elif no_scan:
        fault = f'says "{no_scan[0]}", which is no scan'
    else:
        candidates = _candidates(words)
        if len(candidates) == 1:
            return candidates.pop(), BY_WORDS
        some = ' or '.join(sorted(candidates))
        fault = f'may be {some}' if candidates else UNTOLD
    raise (UntoldError if fault == UNTOLD else ValueError)(
        f'The name {name} {fault}: name the contrasts of all scans, in their order, with '
        f'--contrasts, in Python contrasts=[...] ({", ".join(SUFFIXES)})'
    )


def name_entities(name: str) -> dict[str, str]:
    """Read the BIDS entities of a name, and those that words of another name stand for.

    Parameters
    ----------
    name
        Name of the file, with its ending.

    Returns
    -------
    entities
        By their short names, but for participant and session: ``{'ce': 'agent'}`` of ``T1_Gd``.
    """
    stem = stem_of(name)
    if has_bids_form(stem):
        known = {*ENTITIES.values()} - {'sub', 'ses'}
        return {key: label for key, label in split_name(stem)[0].items() if key in known}
    entities = {'ce': AGENT} if names_agent(_words_of(stem)) else {}
    if echo := ECHO.search(stem.lower()):
        entities['echo'] = echo['echo']
    if part := PART.search(stem.lower()):
        entities['part'] = PARTS.get(part['part'], part['part'])
    return entities


def stem_of(name: str) -> str:
    """Name of an image without its ending."""
    return ENDING.sub('', name)


def has_bids_form(stem: str) -> bool:
    """Whether a name without its ending is made of entities with labels, and a suffix."""
    *entities, suffix = stem.split('_')
    return bool(entities) and '-' not in suffix and all(map(ENTITY.fullmatch, entities))


def _words_of(stem: str) -> str:
    """Drop what tells nothing of the contrast: labels, and spaces to which a scan was moved."""
    return TARGETS.sub('', LABELS.sub('', stem))


def _candidates(words: str) -> set[str]:
    """List the contrasts that words may stand for."""
    candidates = {suffix for suffix, pattern in WORDS.items() if re.search(pattern, words)}
    if 'T1w' in candidates and not re.search(WORDS['T2starw'], GRE.sub('', words)):
        candidates -= {'T2starw'}
    if T1_FLAIR.search(words) and 'T2w' not in candidates:
        candidates -= {'FLAIR'}
    return candidates - {plain for suffix in candidates for plain in SPECIAL.get(suffix, set())}
