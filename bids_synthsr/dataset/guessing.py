"""The contrast of a scan that has no BIDS name, by the words in the name of its file."""

from __future__ import annotations

import re

from bids_synthsr.values.exam import SUFFIXES

LABELS = re.compile(r'(?:^|(?<=_))(?:sub|ses)-[a-z0-9]+')  # may be any words
EDGE, END = r'(?<![a-z])', r'(?![a-z])'
PLANE = r'(?:2d|3d|ax|sag|cor|tra)?'
WORDS = {
    'FLAIR': rf'{EDGE}{PLANE}(?:flair|dark.?fluid){END}',
    'T2starw': rf'{EDGE}(?:{PLANE}t2(?:[ _-]?star|\*)w?|swi|gre){END}',
    'T1w': rf'{EDGE}(?:{PLANE}t1(?:w|tse|fse|se|ffe)?(?![0-9])|mp2?rage|spgr|bravo){END}',
    'T2w': rf'{EDGE}{PLANE}t2(?:w|tse|fse|se)?(?![0-9]){END}',
    'PDw': rf'{EDGE}{PLANE}pdw?{END}',
}
SPECIAL = {'FLAIR': {'T2w'}, 'T2starw': {'T2w'}}  # contrasts whose names hold that of another


def guess_contrast(name: str) -> str:
    """Guess the BIDS suffix of a scan from its file name.

    A BIDS suffix at the end has the last word. Elsewhere only whole words count, and those of
    ``sub-`` and ``ses-`` do not.

    Parameters
    ----------
    name
        Name of the file, with its ending.

    Raises
    ------
    ValueError
        If the name holds no contrast, or several.
    """
    stem = name.lower().split('.nii')[0]
    by_suffix = {suffix.lower(): suffix for suffix in SUFFIXES}
    last = stem.rpartition('_')[2]
    if last in by_suffix:
        return by_suffix[last]
    words = LABELS.sub('', stem)
    candidates = {suffix for suffix, pattern in WORDS.items() if re.search(pattern, words)}
    candidates -= {plain for suffix in candidates for plain in SPECIAL.get(suffix, set())}
    if len(candidates) == 1:
        return candidates.pop()
    fault = (
        f'may be {" or ".join(sorted(candidates))}' if candidates else 'does not tell the contrast'
    )
    raise ValueError(
        f'The name {name} {fault}: name the contrasts of all scans, in their order, with '
        f'--contrasts, in Python contrasts=[...] ({", ".join(SUFFIXES)})'
    )
