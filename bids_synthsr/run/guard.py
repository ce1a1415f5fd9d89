"""What nobody foresaw costs the exam in which it happens, and no other."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from bids_synthsr.values.text import plain_text

LOGGER = logging.getLogger('bids_synthsr')
T = TypeVar('T')


def guarded(work: Callable[[], T], on_error: Callable[[str], T]) -> T:
    """Do something for one exam; an error becomes what it gives instead.

    Parameters
    ----------
    work
        Function that does it.
    on_error
        Function that takes the error as a sentence, and returns what the work would return.
    """
    try:
        return work()
    except Exception as error:  # whatever it is; signals are none
        LOGGER.debug('', exc_info=True)
        return on_error(describe_error(error))


def describe_error(error: Exception) -> str:
    """Describe an error that was not foreseen, in one line."""
    if isinstance(error, OSError) and error.strerror:
        file = f': {error.filename}' if error.filename else ''
        return plain_text(f'{error.strerror}{file}')
    return plain_text(f'{type(error).__name__}: {error}')
