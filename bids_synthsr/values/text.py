"""Foreign text made plain: what sidecars, names and records of others say is shown, never obeyed.

Texts are cleaned where they enter the program, so that tables, pages and terminals need not.
"""

from __future__ import annotations

import logging
import unicodedata
from typing import Any

NOTE = logging.WARNING + 5  # level of what every run prints: plan, failures, result
MAX_LENGTH = 300  # characters of a text
MAX_ITEMS, MAX_DEPTH = 1000, 8  # of lists and objects
# control and formatting characters, halves of pairs, private ones, breaks and odd spaces
HIDDEN = {'Cc', 'Cf', 'Cs', 'Co', 'Cn', 'Zl', 'Zp', 'Zs'}


def plain_text(text: str, max_length: int = MAX_LENGTH) -> str:
    """Turn foreign text into one line that any terminal, table and page can show.

    Parameters
    ----------
    text
        Text of any length, whoever wrote it.
    max_length
        Number of characters that are kept; what is cut off is replaced by dots.
    """
    start = text[: max_length + 1]
    if not (start.isascii() and start.isprintable()):
        start = ''.join(' ' if unicodedata.category(x) in HIDDEN else x for x in start)
    return start if len(text) <= max_length else start[: max_length - 3] + '...'


def plain_lines(text: str, max_length: int = MAX_LENGTH) -> str:
    """Make every line of a message plain; none but the first can pass for one of its own.

    Parameters
    ----------
    text
        Message, which may quote whatever anybody wrote.
    max_length
        Number of characters of a line that are kept.
    """
    return '\n  '.join(plain_text(line, max_length) for line in text.split('\n'))


def plain_value(value: Any, depth: int = 0) -> Any:
    """Make all texts in a JSON value plain, and cut what is too long or too deep.

    Parameters
    ----------
    value
        JSON value, whoever wrote it.
    depth
        Number of lists and objects around it.
    """
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, list | dict) and depth == MAX_DEPTH:
        return None
    if isinstance(value, list):
        return [plain_value(item, depth + 1) for item in value[:MAX_ITEMS]]
    if isinstance(value, dict):
        items = list(value.items())[:MAX_ITEMS]
        return {plain_text(str(key)): plain_value(item, depth + 1) for key, item in items}
    return value
