"""Folders of subjects that tools fill: done, half done, at work elsewhere, or of another input.

What a folder is made of stands beside it, in ``.bids_synthsr`` of the folder of all subjects, from
before the tool begins: no tool minds it there. Once the tool is done, the same stands inside, too.
A folder without such a note is somebody else's, and is never touched. None is ever deleted: what
is in the way is moved to ``.bids_synthsr``.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from bids_synthsr.dataset.files import read_object, read_text, write_json
from bids_synthsr.surfaces.tools import TOOLS

LOGGER = logging.getLogger('bids_synthsr')
NOTES = '.bids_synthsr'
SILENT_S = 2 * 3600  # without a change in the folder, work on another machine is taken for dead
Status = Literal['new', 'begun', 'done']


@dataclass(frozen=True)
class SubjectNote:
    """What a subject folder was made of.

    Parameters
    ----------
    tool, version
        Name of the tool, and its version.
    source
        Name of the volume that it got.
    sha256
        SHA-256 of that volume.
    """

    tool: str
    version: str
    source: str
    sha256: str


@dataclass(frozen=True)
class SubjectFolder:
    """Where a tool works on an exam.

    Parameters
    ----------
    root
        Folder of all subjects.
    subject
        Label of the exam, which names its folder.
    """

    root: Path
    subject: str

    @property
    def path(self) -> Path:
        """The folder that the tool fills."""
        return self.root / self.subject

    @property
    def note(self) -> Path:
        """File that tells what it was made of."""
        return self.root / NOTES / f'{self.subject}.json'

    @property
    def mark(self) -> Path:
        """File inside of a folder whose tool is done."""
        return self.path / f'{NOTES}.json'

    def judge(self, wanted: SubjectNote) -> Status:
        """Tell how far the work is, and mend what a killed run has left.

        Raises
        ------
        ValueError
            If the folder is of another input or not of this program, or if a run works on it.
        """
        if not self.path.is_dir():
            return 'new'
        note = read_note(self.note)
        if note is None or self.path.is_symlink():
            raise ValueError(
                f'{self.path} is there, and this program has not made it: move it away, or '
                'choose another folder by --fs-subjects-dir'
            )
        if (note.tool, note.sha256) != (wanted.tool, wanted.sha256):
            raise ValueError(
                f'{self.path} was made by {note.tool} of another {note.source}: --fs-overwrite '
                'moves it away and starts again'
            )
        for lock in self._locks():
            self._break_lock(lock)
        mark = read_note(self.mark)
        is_done = mark is not None and mark.sha256 == note.sha256 and mark.tool == note.tool
        return 'done' if is_done and not self.missing(wanted.tool) else 'begun'

    def missing(self, tool: str) -> list[str]:
        """Name the files that the folder lacks for the tool to be done."""
        return [name for name in TOOLS[tool].done if not (self.path / name).is_file()]

    def begin(self, wanted: SubjectNote) -> None:
        """Note what the folder is made of, before anything is written to it."""
        self.note.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.note, asdict(wanted))

    def finish(self) -> None:
        """Mark the folder as done, inside."""
        write_json(self.mark, read_object(self.note))

    def move_aside(self) -> None:
        """Move the folder out of the way, if this program began it and no run works on it."""
        if read_note(self.note) is None or self.path.is_symlink() or not self.path.is_dir():
            return
        for lock in self._locks():
            self._break_lock(lock)
        aside = self.note.parent / f'{self.subject}-{time.time_ns()}'
        LOGGER.warning('%s is moved to %s', self.path, aside)
        self.path.rename(aside)

    def _locks(self) -> Iterator[Path]:
        yield from sorted((self.path / 'scripts').glob('IsRunning*'))

    def _break_lock(self, lock: Path) -> None:
        """Remove a lock whose process is dead.

        Raises
        ------
        ValueError
            If it may be alive.
        """
        facts = dict(_pairs(lock))
        host, process = facts.get('HOST', ''), facts.get('PROCESSID', '')
        if host == socket.gethostname() and process.isdigit():
            is_alive = _is_alive(int(process))
        else:
            is_alive = time.time() - self._last_change() < SILENT_S
        if is_alive:
            raise ValueError(
                f'{self.path}: a run works on it ({host or "machine unknown"}, process '
                f'{process or "unknown"}). If none does, remove {lock.name} in its scripts folder.'
            )
        lock.unlink(missing_ok=True)

    def _last_change(self) -> float:
        """When a file of the folder was last written, seconds since the epoch."""
        return max((x.stat().st_mtime for x in self.path.rglob('*') if x.is_file()), default=0.0)


def read_note(path: Path) -> SubjectNote | None:
    """Read what a folder was made of; None where nothing tells."""
    with suppress(OSError, ValueError, TypeError):
        return SubjectNote(**read_object(path))
    return None


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    """Read lines of a word and a value."""
    with suppress(OSError, ValueError):
        for line in read_text(path).splitlines():
            word, _, value = line.partition(' ')
            yield word.strip(':'), value.strip()


def _is_alive(process: int) -> bool:
    """Whether a process of this machine is there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
