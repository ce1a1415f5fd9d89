"""The work folder: below it every pair of input and output has a folder of its own.

Steps that are kept there are recognized by the label of the exam, and results of steps are
pickles, which run code when they are read. So a folder belongs to one input and one output, to one
user, and each exam in it to one run at a time, and what is kept counts only if it is whole.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import stat
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bids_synthsr import __version__
from bids_synthsr.dataset.files import write_json
from bids_synthsr.derivatives.locks import ExamLocks
from bids_synthsr.derivatives.places import LEFTOVER
from bids_synthsr.interfaces.receipts import find_damage
from bids_synthsr.run.crashes import exam_label

MAKER = 'bids_synthsr'
MARKER = 'work-folder.json'
WORKFLOW = f'{MAKER}_{__version__.replace(".", "_")}_wf'  # another version starts anew
RESULTS = 'result_*.pklz'  # of nipype, one in the folder of a step
PARTS = 'mapflow'  # folder of the parts of a step, which have receipts of their own
OTHERS = stat.S_IWGRP | stat.S_IWOTH
BLOCK = 1 << 20  # bytes that are read at once


class UnsafeFolderError(ValueError):
    """A work folder that others could write to: what they plant there would run as this user."""


@dataclass(frozen=True)
class WorkFolder:
    """What of a work folder belongs to one input and one output.

    Parameters
    ----------
    work_dir
        Folder that the user named, which may hold anything else.
    source
        Root of the input data set, resolved.
    output
        Output folder of the run, resolved.
    """

    work_dir: Path
    source: Path
    output: Path

    @property
    def root(self) -> Path:
        """Folder below which everything lies that the program makes."""
        names = b'\0'.join(map(os.fsencode, (self.source, self.output)))
        return self.work_dir / f'{MAKER}-{hashlib.sha256(names).hexdigest()[:16]}'

    @property
    def locks(self) -> Path:
        """File of the locks of runs on exams."""
        return self.root / 'exams.lock'

    @property
    def marker(self) -> dict[str, str]:
        """Content of the file by which the program knows its folder again."""
        return {'made_by': MAKER, 'input': str(self.source), 'output': str(self.output)}

    def open(self) -> None:
        """Make the folder for this user alone, or take one that is so.

        Raises
        ------
        UnsafeFolderError
            If others may write to it, in a sentence that says what to do.
        OSError
            If it cannot be made.
        """
        self.work_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        mode = self.work_dir.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise UnsafeFolderError(
                f'--work-dir {self.work_dir} can be written to by everybody: '
                f'take that right away (chmod o-w), or choose a folder of your own'
            )
        self.root.mkdir(mode=0o700, exist_ok=True)
        fault = find_stranger(self.root) or self._find_other_maker()
        if fault:
            raise UnsafeFolderError(
                f'The work folder {self.root} {fault}: remove it, or choose another --work-dir'
            )
        self.root.chmod(0o700)
        write_json(self.root / MARKER, self.marker)

    def _find_other_maker(self) -> str:
        """Describe that the program did not make the folder; empty if it did."""
        files = [path for path in self.root.iterdir() if not path.match(LEFTOVER)]
        is_known = not files or (self.root / MARKER).is_file()
        return '' if is_known else f'holds files, but no {MARKER}, so bids_synthsr did not make it'

    def exams(self) -> Iterator[tuple[str, Path]]:
        """Yield the folders of exams, of any version of the program, each with its label."""
        for folder in sorted(self.root.glob(f'{MAKER}_*_wf/sub_*/')):
            if not (folder.is_symlink() or folder.parent.is_symlink()):
                yield exam_label(folder.name), folder

    def empty(self, locks: ExamLocks) -> None:
        """Remove the folders of all exams on which no other run works.

        Parameters
        ----------
        locks
            Locks of this run on the exams in this folder, none of them taken yet.
        """
        for label, folder in self.exams():
            if locks.claim(label):
                shutil.rmtree(folder)
                locks.release(label)


def find_stranger(path: Path) -> str:
    """Describe why a folder may hold what others wrote; empty where it cannot."""
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        return 'is no folder'
    if status.st_uid != os.geteuid():
        return f'belongs to another user (number {status.st_uid})'
    return 'can be written to by others' if status.st_mode & OTHERS else ''


def mend_exam(exam: Path) -> list[str]:
    """Remove the kept steps of an exam that are not whole, and describe each.

    nipype then does them again, and takes what follows them as long as that depends on the same.

    Parameters
    ----------
    exam
        Folder of an exam that this run has locked; there may be none.
    """
    if exam.is_symlink() or exam.is_file():
        exam.unlink()
    steps = [Path(folder) for folder, _, _ in os.walk(exam)]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        faults = zip(steps, list(pool.map(find_fault, steps)), strict=True)
    broken = {step: fault for step, fault in faults if fault}
    for step in broken:
        _remove_step(step, exam)
    return [f'the kept step {step.name} is done again: {broken[step]}' for step in broken]


def find_fault(folder: Path) -> str:
    """Describe why the step in a folder does not count as done; empty where it does.

    A folder without results, such as one of a workflow, has no fault: nothing in it counts.
    """
    for entry in os.scandir(folder):
        status = entry.stat(follow_symlinks=False)
        if status.st_uid != os.geteuid():
            return f'{entry.name} belongs to another user'
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            return f'{entry.name} is neither a file nor a folder'
    results = list(folder.glob(RESULTS))
    torn = [path.name for path in results if not is_whole_archive(path)]
    if torn:
        return f'{torn[0]} cannot be read'
    return find_damage(folder) if results and not (folder / PARTS).is_dir() else ''


def is_whole_archive(path: Path) -> bool:
    """Whether a gzip file ends as it should and agrees with its checksum; it is not unpickled."""
    try:
        with gzip.open(path) as file:
            size = 0
            while block := file.read(BLOCK):
                size += len(block)
        return size > 0
    except (OSError, EOFError, zlib.error):
        return False


def _remove_step(step: Path, exam: Path) -> None:
    """Remove the files of a step, and the results of those around it that collected them."""
    for path in step.iterdir():
        if stat.S_ISDIR((status := path.lstat()).st_mode):
            if status.st_uid != os.geteuid():
                shutil.rmtree(path)
        else:
            path.unlink()
    for folder in step.parents:
        if folder == exam.parent:
            break
        for result in folder.glob(RESULTS):
            result.unlink()
