"""Reading nipype's crash files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bids_synthsr.dataset.files import read_text

NODE = re.compile(r'^Node: (.+)$', re.MULTILINE)
LAST_ERROR = re.compile(
    r'^\s*([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Killed)): (.*)$', re.M
)
STOP = re.compile(r'^\s*KeyboardInterrupt(?:: (SIG[A-Z]+))?\s*\Z', re.M)


@dataclass(frozen=True)
class Crash:
    """A step that failed.

    Parameters
    ----------
    exam, step
        Label of the exam and name of the step.
    message
        The error, without its traceback.
    path
        Path of the crash file.
    traceback
        The whole traceback as written.
    """

    exam: str
    step: str
    message: str
    path: Path
    traceback: str


def read_crashes(folder: Path) -> list[Crash]:
    """Read all crash files of a run, oldest first."""
    files = sorted(folder.glob('crash-*.txt'), key=lambda path: path.lstat().st_mtime)
    return [crash for crash in map(_read_crash, files) if crash]


def _read_crash(path: Path) -> Crash | None:
    try:
        text = read_text(path)
    except (OSError, ValueError):  # no crash file, or none that can be read
        return None
    node = NODE.search(text)
    parts = node[1].strip().split('.') if node else []
    if len(parts) < 3:
        return None
    _, exam, *steps = parts
    return Crash(exam_label(exam), steps[-1], last_error(text), path, text)


def last_error(text: str) -> str:
    """Take the message of the last error out of a traceback."""
    errors = LAST_ERROR.findall(text)
    if not errors:
        return text.strip().splitlines()[-1].strip()
    name, message = errors[-1]
    return message.strip() or name


def raise_stop(text: str) -> None:
    """Raise the signal that stopped a step, if its traceback ends with one.

    Raises
    ------
    KeyboardInterrupt
        With the name of the signal, if there is one.
    """
    stop = STOP.search(text)
    if stop:
        raise KeyboardInterrupt(*filter(None, [stop[1]]))


def exam_label(workflow: str) -> str:
    """Label of the exam whose workflow has this name."""
    return workflow.replace('sub_', 'sub-', 1).replace('_ses_', '_ses-', 1)
