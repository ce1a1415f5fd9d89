"""Words that a user gives, in any letter case, and what is meant where there is no such word."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def find_word(word: str, words: Iterable[str]) -> str:
    """Return the word of a list that a user gave, in any letter case.

    Parameters
    ----------
    word
        Word that the user gave.
    words
        All words that there are, which differ by more than letter case.

    Raises
    ------
    ValueError
        If there is no such word, with what may have been meant.
    """
    spellings = {name.lower(): name for name in words}
    if word.lower() in spellings:
        return spellings[word.lower()]
    near = get_close_matches(word.lower(), spellings, 1)
    hint = f'did you mean {spellings[near[0]]}? There are' if near else 'there are'
    raise ValueError(f'{word} is unknown; {hint} {", ".join(spellings.values())}')
