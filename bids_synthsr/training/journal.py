"""What a training writes while it runs: metrics.csv, validation.csv, pictures, TensorBoard."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bids_synthsr.dataset.files import open_regular, open_to_append, read_text, write_text
from bids_synthsr.training.learner import Learner
from bids_synthsr.training.pictures import save_figure

METRICS, VALIDATION, PICTURES, TENSORBOARD = (
    'metrics.csv',
    'validation.csv',
    'pictures',
    'tensorboard',
)
TENSORBOARD_MISSING = (
    'TensorBoard is not installed: losses go to metrics.csv and pictures to files only. '
    "To have it: pip install 'bids_synthsr[train]'"
)

MAX_TABLE_BYTES = 1 << 30  # a line of a table has some 200 bytes

logger = logging.getLogger(__name__)


class Journal:
    """Write down what a training measures; its files go on where a checkpoint stopped.

    Parameters
    ----------
    folder
        Folder of the training.
    learner
        State of the training. Lines past its step, from a run that was killed, are removed.
    last_step
        Step after which the training ends, for the progress line.
    show
        Function that shows the progress line.
    """

    def __init__(
        self, folder: Path, learner: Learner, last_step: int, show: Callable[[str], None]
    ) -> None:
        self.folder, self.last_step, self.show = folder, last_step, show
        for name in (METRICS, VALIDATION):
            drop_later_lines(folder / name, learner.step)
        self.board = _open_tensorboard(folder / TENSORBOARD, learner.step)
        self._began, self._first = time.monotonic(), learner.step

    def close(self) -> None:
        """Finish writing."""
        if self.board is not None:
            self.board.close()

    def note(self, learner: Learner, measured: Mapping[str, float], interval: int) -> None:
        """Add the measures of a step; at every ``interval`` write their means."""
        for name, value in measured.items():
            learner.sums[name] = learner.sums.get(name, 0.0) + value
        learner.sums['steps'] = learner.sums.get('steps', 0) + 1
        self.show(self._progress(learner, measured['loss']))
        if interval and learner.step % interval == 0:
            count = learner.sums.pop('steps')
            means = {name: total / count for name, total in learner.sums.items()}
            learner.sums = {}
            self._write(METRICS, learner, means)

    def validated(self, learner: Learner, metrics: Mapping[str, float], picture: Figure) -> None:
        """Write the metrics of a validation, and a picture of some of its samples."""
        self._write(VALIDATION, learner, metrics)
        listed = ', '.join(f'{name} {value:.4g}' for name, value in metrics.items())
        logger.info('Validation at step %d: %s', learner.step, listed)
        path = self.folder / PICTURES / f'step-{learner.step:07d}.png'
        save_figure(path, picture)
        if self.board is not None:
            self.board.add_figure('validation', picture, learner.step)

    def _write(self, name: str, learner: Learner, values: Mapping[str, float]) -> None:
        row = {'step': learner.step, 'seconds': round(learner.seconds, 1), **values}
        append_line(self.folder / name, row)
        if self.board is not None:
            group = Path(name).stem
            for key, value in values.items():
                self.board.add_scalar(f'{group}/{key}', value, learner.step)

    def _progress(self, learner: Learner, loss: float) -> str:
        """Write how far the training is, and when it will end."""
        seconds = (time.monotonic() - self._began) / max(learner.step - self._first, 1)
        left = seconds * (self.last_step - learner.step)
        return (
            f'step {learner.step}/{self.last_step}  loss {loss:.4f}  {seconds:.2f} s/step  '
            f'{int(left // 3600)}:{int(left % 3600 // 60):02d} h left'
        )


def append_line(path: Path, row: Mapping[str, Any]) -> None:
    """Add a line to a table, with a header where the table is new; else its columns stay."""
    is_new = not path.exists()
    columns = list(row) if is_new else _read_columns(path)
    with open_to_append(path) as stream:
        writer = csv.DictWriter(stream, columns, extrasaction='ignore', lineterminator='\n')
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def _read_columns(path: Path) -> list[str]:
    with open_regular(path) as file:
        return file.readline().decode(errors='replace').strip().split(',')


def drop_later_lines(path: Path, step: int) -> None:
    """Remove the lines of a table that a killed run wrote after ``step``, or only in part.

    A file that is no such table is set aside: a training goes on from its checkpoint without it.
    """
    if not path.exists():
        return
    header, *lines = read_text(path, MAX_TABLE_BYTES).splitlines() or ['']
    if not header.startswith('step,'):
        aside = path.with_suffix('.unreadable')
        logger.warning('%s is no table of a training: it is now %s', path, aside.name)
        path.replace(aside)
        return
    earlier = [line for line in lines if _is_row(line, header.count(','), step)]
    write_text(path, '\n'.join([header, *earlier, '']))


def _is_row(line: str, commas: int, step: int) -> bool:
    """Whether a line is a whole one of a step that counts."""
    number = line.partition(',')[0]
    return line.count(',') == commas and number.isdecimal() and int(number) <= step


def _open_tensorboard(folder: Path, step: int) -> Any:
    """Open a TensorBoard log that goes on after ``step``; None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logger.warning(TENSORBOARD_MISSING)
        return None
    return SummaryWriter(folder, purge_step=step)
