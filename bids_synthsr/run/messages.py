"""Where messages go: a terminal for people, a file in the output folder for later."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

from bids_synthsr.dataset.files import open_to_append
from bids_synthsr.values.text import NOTE, plain_lines, plain_text

LOGGER = logging.getLogger('bids_synthsr')
CONSOLE_LEVELS = (NOTE, logging.INFO, logging.DEBUG)  # none, -v, -vv
MAX_LINE = 5000  # characters of a line
LIBRARIES = (
    'nipype.workflow',
    'nipype.interface',
    'nipype.utils',
    'nipype.filemanip',
    'nibabel.global',
)


def configure_console(verbose: int) -> None:
    """Send messages to the terminal: the run's own always, steps with -v, everything with -vv."""
    logging.addLevelName(NOTE, 'NOTE')
    console = Console()
    console.setFormatter(PlainFormatter('%(message)s'))
    console.setLevel(CONSOLE_LEVELS[min(verbose, len(CONSOLE_LEVELS) - 1)])
    LOGGER.handlers = [console]
    LOGGER.setLevel(logging.DEBUG)
    LOGGER.propagate = False


class PlainFormatter(logging.Formatter):
    """Lines without control characters, whatever names, paths and errors hold."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a message."""
        lines = super().format(record).split('\n')
        return '\n'.join(plain_text(line, MAX_LINE) for line in lines)


class SentenceFormatter(logging.Formatter):
    """Messages of which none can be forged by names and errors that hold a line break."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a message."""
        return plain_lines(super().format(record), MAX_LINE)


def show_warnings() -> None:
    """Send warnings of the program, and nothing less, to the terminal."""
    show_messages(logging.WARNING)


def show_messages(level: int) -> None:
    """Send messages of the program from a level on to the terminal, as they are and nothing else.

    Parameters
    ----------
    level
        Least level that is shown, such as ``logging.WARNING``.
    """
    console = Console()
    console.setFormatter(SentenceFormatter('%(message)s'))
    LOGGER.handlers, LOGGER.propagate = [console], False
    LOGGER.setLevel(level)


class Console(logging.StreamHandler):
    """Messages to what is standard error at the time: above a live view, while there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message."""
        self.stream = sys.stderr
        super().emit(record)


class LogFile(logging.FileHandler):
    """A log that may fall silent, as on a full disk: what matters fails with its own message."""

    def _open(self) -> TextIOWrapper:
        """Open the file, which is never one that is read under another name."""
        return open_to_append(Path(self.baseFilename))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Leave a message out that cannot be written."""


def log_to_file(path: Path) -> None:
    """Write every message of the program and of nipype to ``path``, with time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = LogFile(path, encoding='utf-8')
    file.setFormatter(PlainFormatter('%(asctime)s %(levelname)s %(name)s: %(message)s'))
    LOGGER.addHandler(file)
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers = [file]
        logger.propagate = False


def announce(message: str, *arguments: object) -> None:
    """Log a message that every user of a run should see."""
    LOGGER.log(NOTE, message, *arguments)


class OutputError(OSError):
    """Standard output that takes no more: a full disk, or a pipe that its reader has closed."""


def print_lines(lines: Iterable[str]) -> None:
    """Print lines to standard output, and be sure that they arrive.

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    try:
        sys.stdout.writelines(f'{line}\n' for line in lines)
        sys.stdout.flush()
    except OSError as error:
        with suppress(OSError):  # what is left of them fails once more when the program ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f'Standard output cannot be written: {error.strerror}') from error
