"""One exam in the hands of a tool: new, gone on with, or done already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import getuid
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np

from bids_synthsr.dataset.files import written_atomically
from bids_synthsr.dataset.images import load_grid, load_volume
from bids_synthsr.imaging.resampling import take_nearest
from bids_synthsr.surfaces.subjects import SubjectFolder, SubjectNote, read_note
from bids_synthsr.surfaces.tools import FoundTool

LARGE_MM = 256  # field of view beyond which recon-all must be told
NAMED = 3  # missing files in a message
Runner = Callable[..., None]  # of a command: name, executable, environment, and its inputs


@dataclass(frozen=True)
class Reconstruction:
    """What a tool is to do.

    Parameters
    ----------
    tool
        The tool as it was found.
    subject, subjects_dir
        Name of the folder that it fills, and the folder of all of these.
    volume, sha256
        What the tool gets, and its digest.
    mask
        Brain mask of the exam on the grid of the volume; None for a scan as it was acquired.
    num_threads
        Threads that it may use.
    device
        ``cpu`` or ``cuda``, for tools with networks.
    """

    tool: FoundTool
    subject: str
    subjects_dir: Path
    volume: Path
    sha256: str
    mask: Path | None
    num_threads: int = 1
    device: str = 'cpu'

    @property
    def note(self) -> SubjectNote:
        """What the folder is made of."""
        return SubjectNote(self.tool.name, self.tool.version, self.volume.name, self.sha256)


def reconstruct(
    task: Reconstruction, run: Runner, folder: Path, *, overwrites: bool, resumes: bool
) -> Path:
    """Let a tool fill the folder of a subject, unless it has done so.

    Parameters
    ----------
    task
        What is to be done.
    run
        Function that runs a command by its name.
    folder
        Folder for messages of the command.
    overwrites
        Whether a folder of other input is moved away first.
    resumes
        Whether work that was interrupted is gone on with, and not begun again.

    Raises
    ------
    ValueError, RuntimeError
        If the folder is not free, the command fails, or it ends without its files.
    """
    place = SubjectFolder(task.subjects_dir, task.subject)
    task.subjects_dir.mkdir(parents=True, exist_ok=True)
    if overwrites and _is_other(place, task):
        place.move_aside()
    status = place.judge(task.note)
    if status == 'done':
        return place.path
    can_resume = (
        resumes and task.tool.name == 'recon-all' and holds_volume(place.path, task.volume)
    )
    if status == 'begun' and not can_resume:
        place.move_aside()
        status = 'new'
    place.begin(task.note)
    _COMMANDS[task.tool.name](task, place, run, status == 'begun')
    missing = place.missing(task.tool.name)
    if missing:
        names = ', '.join(missing[:NAMED])
        more = f' and {len(missing) - NAMED} more' if len(missing) > NAMED else ''
        raise RuntimeError(
            f'{task.tool.name} ended without an error, and {place.path} lacks {names}{more}: '
            f'its own log is in {place.path}/scripts; messages are in {folder}'
        )
    place.finish()
    return place.path


def holds_volume(folder: Path, volume: Path) -> bool:
    """Whether recon-all was given this very volume: it keeps what it gets, ``mri/orig/001.mgz``.

    Parameters
    ----------
    folder
        Folder of the subject.
    volume
        What the tool is to get.
    """
    try:
        kept, grid = load_volume(folder / 'mri/orig/001.mgz')
    except (OSError, ValueError, EOFError):
        return False
    wanted, wanted_grid = load_volume(volume)
    return grid == wanted_grid and bool(np.allclose(kept, wanted, rtol=1e-3, atol=1e-3))


def _is_other(place: SubjectFolder, task: Reconstruction) -> bool:
    """Whether the folder was made of another input or by another tool."""
    note = read_note(place.note)
    return note is not None and (note.tool, note.sha256) != (task.tool.name, task.sha256)


def _recon_all(task: Reconstruction, place: SubjectFolder, run: Runner, is_begun: bool) -> None:
    """Run recon-all with the brain mask of the exam in place of its own skull stripping."""
    grid = load_grid(task.volume)
    field_mm = max(np.array(grid.shape) * grid.spacing)
    common = {
        'subject': task.subject,
        'subjects_dir': str(task.subjects_dir),
        'threads': task.num_threads,
        'large': bool(field_mm > LARGE_MM),
    }
    given = {} if (place.path / 'mri/orig/001.mgz').is_file() else {'t1w': str(task.volume)}
    is_prepared = is_begun and (place.path / 'mri/brainmask.mgz').is_file()
    if not is_prepared:
        _start(task, run, directives=['autorecon1'], keeps_skull=True, **common, **given)
        if task.mask is not None:
            put_mask(place.path, task.mask)
    _start(task, run, directives=['autorecon2', 'autorecon3'], **common)


def put_mask(folder: Path, mask: Path) -> None:
    """Write the brain mask of an exam where recon-all looks for its own.

    Parameters
    ----------
    folder
        Folder of the subject, after ``-autorecon1 -noskullstrip``.
    mask
        The brain mask, on any grid.

    Raises
    ------
    RuntimeError
        If recon-all has left no ``mri/T1.mgz``.
    """
    path = folder / 'mri/T1.mgz'
    if not path.is_file():
        raise RuntimeError(f'recon-all -autorecon1 left no {path}')
    image: Any = nb.load(str(path))
    inside = take_nearest(*load_volume(mask), load_grid(path)) > 0
    brain = np.where(inside, np.asanyarray(image.dataobj), 0).astype(np.uint8)
    masked = nb.MGHImage(brain, image.affine, image.header)
    for name in ('brainmask.auto.mgz', 'brainmask.mgz'):
        with written_atomically(folder / 'mri' / name) as temporary:
            masked.to_filename(temporary)


def _clinical(task: Reconstruction, place: SubjectFolder, run: Runner, _: bool) -> None:
    _start(
        task, run, volume=str(task.volume), subject=place.subject, threads=task.num_threads,
        subjects_dir=str(task.subjects_dir),
    )  # fmt: skip


def _fastsurfer(task: Reconstruction, place: SubjectFolder, run: Runner, _: bool) -> None:
    _start(
        task, run, subject=place.subject, subjects_dir=str(task.subjects_dir),
        t1w=str(task.volume), license=task.tool.license, threads=task.num_threads,
        device=task.device.partition(':')[0], as_root=getuid() == 0,
    )  # fmt: skip


def _samseg(task: Reconstruction, place: SubjectFolder, run: Runner, _: bool) -> None:
    place.path.mkdir(exist_ok=True)
    volumes, folder = [str(task.volume)], str(place.path)
    _start(task, run, volumes=volumes, folder=folder, threads=task.num_threads)


def _start(task: Reconstruction, run: Runner, **inputs: object) -> None:
    tool = task.tool
    environment = {**tool.environment, 'SUBJECTS_DIR': str(task.subjects_dir)}
    run(tool.name, tool.executable, environment, **inputs)


_COMMANDS: dict[str, Callable[[Reconstruction, SubjectFolder, Runner, bool], None]] = {
    'recon-all': _recon_all,
    'recon-all-clinical': _clinical,
    'fastsurfer': _fastsurfer,
    'samseg': _samseg,
}
