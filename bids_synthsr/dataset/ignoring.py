"""What the ``.bidsignore`` of a data set rules out, in the language of ``.gitignore``."""

from __future__ import annotations

import logging
from pathlib import Path

from pathspec import GitIgnoreSpec

from bids_synthsr.dataset.files import read_text

LOGGER = logging.getLogger(__name__)
IGNORED = '.bidsignore'


class IgnoreList:
    """Patterns of files that a data set rules out.

    Parameters
    ----------
    root
        Folder of the data set.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._patterns: list[str] = []
        file = root / IGNORED
        if file.exists():
            try:
                self._patterns = [x for x in read_text(file).splitlines() if x.strip()]
            except (OSError, ValueError) as error:
                LOGGER.warning('%s cannot be read, and rules nothing out: %s', file, error)
        self._spec = GitIgnoreSpec.from_lines(self._patterns)

    def find_pattern(self, path: Path) -> str:
        """Return the pattern that rules a file out; empty if none does."""
        if not self._patterns:
            return ''
        match = self._spec.check_file(path.relative_to(self._root).as_posix())
        return self._patterns[match.index or 0] if match.include else ''
