"""The output folder of evaluations: what in it is theirs stands in a list, and nothing else goes.

The list names every file before it is written. So a file that is to be written and is there
already, and is not in the list, belongs to somebody else.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bids_synthsr.dataset.files import read_object, write_json
from bids_synthsr.derivatives.locks import ExamLocks
from bids_synthsr.derivatives.ownership import CHOOSE, check_folders_within
from bids_synthsr.derivatives.places import LEFTOVER
from bids_synthsr.run.work_folder import MAKER

EVALUATIONS = ('simulate', 'leave-one-out', 'tbm')
PAGES = ('.tsv', '.html')  # endings of table and page
COMPARISON = ('.json', '.jpg')  # endings of what is written for each comparison
RESULTS, LOGS, LOG = 'results', 'logs', 'evaluate.log'


@dataclass(frozen=True)
class EvaluationOutput:
    """Where an evaluation writes, and what of it is there already.

    Parameters
    ----------
    root
        Path of the output folder, resolved.
    name
        Name of the evaluation, of table and page.
    results
        Files that the comparisons are to write.
    """

    root: Path
    name: str
    results: tuple[Path, ...]

    @property
    def marker(self) -> Path:
        """The list of the files of evaluations."""
        return self.root / LOGS / 'evaluation.json'

    @property
    def pages(self) -> list[str]:
        """Names of table and page."""
        return [f'{self.name}{ending}' for ending in PAGES]

    @property
    def files(self) -> list[str]:
        """Names of all files that the evaluation is to write, relative to the folder."""
        comparisons = [
            file.with_suffix(ending).relative_to(self.root).as_posix()
            for file in self.results
            for ending in COMPARISON
        ]
        return [*self.pages, *comparisons]

    def read_list(self) -> list[str] | None:
        """Read which files evaluations have written here; None where none has."""
        try:
            content = read_object(self.marker)
        except (OSError, ValueError):
            return None
        files = content.get('files')
        if content.get('made_by') != MAKER or not isinstance(files, list):
            return None
        return [name for name in files if isinstance(name, str) and _is_of_evaluation(name)]

    def check(self) -> None:
        """Refuse a folder in which files of others would be replaced, and write nothing.

        Raises
        ------
        ValueError
            With the file or link, and the way out.
        """
        folders = (self.root / RESULTS, self.root / LOGS)
        check_folders_within(folders, {self.root})
        twice = [file for file, count in Counter(self.results).items() if count > 1]
        if twice:
            raise ValueError(f'Two comparisons would write {twice[0]}: name each method once')
        names = self.read_list()
        if names is None:
            pages = [f'{name}{ending}' for name in EVALUATIONS for ending in PAGES]
            others = [*pages, *(folder.name for folder in folders if _has_files(folder))]
        else:
            others = [name for name in self.files if name not in {*names}]
        for path in (self.root / name for name in others):
            if path.exists() or path.is_symlink():
                raise ValueError(
                    f'{path} is there, and by the list {self.marker.name} no evaluation wrote it: '
                    f'move it away, or {CHOOSE} for the results'
                )

    def renew(self) -> None:
        """Remove results of earlier evaluations, and list what is to be written."""
        names = self.read_list() or []
        old = [name for name in names if name.startswith(f'{RESULTS}/') or name in self.pages]
        remaining = [name for name in names if name not in {*old}]
        self._write_list([*names, *self.files])
        for name in old:
            (self.root / name).unlink(missing_ok=True)
        self._write_list([*remaining, *self.files])

    def _write_list(self, names: Sequence[str]) -> None:
        """Write the list of all files, none twice."""
        write_json(self.marker, {'made_by': MAKER, 'files': [*dict.fromkeys(names)]})


def _is_of_evaluation(name: str) -> bool:
    """Whether an evaluation can have written a file of this name; a list may be anybody's."""
    path = Path(name)
    if path.parent == Path(RESULTS):
        return path.suffix in COMPARISON and name == f'{RESULTS}/{path.name}'
    return path.suffix in PAGES and path.stem in EVALUATIONS and name == path.name


def _has_files(folder: Path) -> bool:
    """Whether a folder holds anything but what a program that was killed leaves."""
    return folder.is_dir() and any(not path.match(LEFTOVER) for path in folder.iterdir())


@contextmanager
def claim_output(
    root: Path, name: str, results: Sequence[Path], crash_dir: Path
) -> Iterator[None]:
    """Hold the output folder of an evaluation, and remove what earlier ones wrote there.

    Parameters
    ----------
    root
        Path of the output folder, resolved.
    name
        Name of the evaluation, of table and page.
    results
        Files that the comparisons are to write.
    crash_dir
        Folder of the crash files of this run, which goes again where there are none.

    Raises
    ------
    ValueError
        If files of others would be replaced, or another evaluation works in the folder.
    """
    output = EvaluationOutput(root, name, tuple(results))
    output.check()
    if output.read_list() is None:
        write_json(output.marker, {'made_by': MAKER, 'files': []})
    with ExamLocks(root / LOGS / 'evaluation.lock') as locks:
        if not locks.claim('evaluation'):
            raise ValueError(f'Another evaluation works in {root}: wait for its end')
        output.check()
        output.renew()
        crash_dir.mkdir(parents=True)
        try:
            yield
        finally:
            with suppress(OSError):  # it holds crash files
                os.removedirs(crash_dir)
