"""The files in which pybids keeps its index of a data set."""

from __future__ import annotations

from pathlib import Path

INDEX_FILES = ('layout_index.sqlite', 'layout_args.json')


def wipe_index(folder: Path) -> None:
    """Remove the index in a folder, and nothing else of the folder.

    Parameters
    ----------
    folder
        Folder of a pybids index, which need not be there.
    """
    for name in INDEX_FILES:
        (folder / name).unlink(missing_ok=True)
