"""Where messages go: a terminal for people, a file in the output folder for later."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

LOGGER = logging.getLogger('bids_synthsr')
CONSOLE_LEVELS = (logging.WARNING + 5, logging.INFO, logging.DEBUG)  # none, -v, -vv
NOTE = logging.WARNING + 5  # what a run always prints: plan, failures, result
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
    console.setFormatter(logging.Formatter('%(message)s'))
    console.setLevel(CONSOLE_LEVELS[min(verbose, len(CONSOLE_LEVELS) - 1)])
    LOGGER.handlers = [console]
    LOGGER.setLevel(logging.DEBUG)
    LOGGER.propagate = False


def show_warnings() -> None:
    """Send warnings of the program, and nothing less, to the terminal."""
    console = Console()
    console.setFormatter(logging.Formatter('%(message)s'))
    LOGGER.handlers, LOGGER.propagate = [console], False
    LOGGER.setLevel(logging.WARNING)


class Console(logging.StreamHandler):
    """Messages to what is standard error at the time: above a live view, while there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message."""
        self.stream = sys.stderr
        super().emit(record)


class LogFile(logging.FileHandler):
    """A log that may fall silent, as on a full disk: what matters fails with its own message."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Leave a message out that cannot be written."""


def log_to_file(path: Path) -> None:
    """Write every message of the program and of nipype to ``path``, with time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = LogFile(path, encoding='utf-8')
    file.setFormatter(logging.Formatter('%(asctime)s %(levelname)s %(name)s: %(message)s'))
    LOGGER.addHandler(file)
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers = [file]
        logger.propagate = False


def announce(message: str, *arguments: object) -> None:
    """Log a message that every user of a run should see."""
    LOGGER.log(NOTE, message, *arguments)
