"""The files in which pybids keeps its index of a data set."""

from __future__ import annotations

from pathlib import Path

MARKER = 'made-by-bids_synthsr'  # beside an index that this program has made
INDEX_FILES = ('layout_index.sqlite', 'layout_args.json')


def made_at(folder: Path) -> float:
    """Time at which the index in a folder was made, s; 0 where there is none."""
    index = folder / INDEX_FILES[0]
    return index.stat().st_mtime if index.is_file() else 0.0


def mark_index(folder: Path) -> None:
    """Mark an index as made by this program, which looks for anatomical images alone."""
    (folder / MARKER).touch()


def is_index_ours(folder: Path) -> bool:
    """Whether this program has made the index in a folder, so that it may be made anew."""
    return (folder / MARKER).is_file()


def wipe_index(folder: Path) -> None:
    """Remove the index in a folder, and nothing else of the folder.

    Parameters
    ----------
    folder
        Folder of a pybids index, which need not be there.
    """
    for name in (*INDEX_FILES, MARKER):
        (folder / name).unlink(missing_ok=True)
