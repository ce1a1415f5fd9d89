"""What outputs held when they were written, and whether they still do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bids_synthsr.dataset.files import sha256
from bids_synthsr.derivatives.places import Derivatives


@dataclass(frozen=True)
class OutputFile:
    """What an output held when it was written: its size in bytes, and its SHA-256."""

    size: int
    sha256: str


def describe_outputs(paths: Iterable[Path], derivatives: Derivatives) -> dict[str, OutputFile]:
    """Describe the content of outputs that were written just now, by their paths."""
    return {
        derivatives.name_of(path): OutputFile(path.stat().st_size, sha256(path)) for path in paths
    }


def find_losses(
    files: Mapping[str, OutputFile], derivatives: Derivatives, reads_content: bool
) -> str:
    """Name the files that are gone, or not what they were; empty where all are well.

    Parameters
    ----------
    files
        What each of them held, by its path relative to the output folder.
    derivatives
        Paths of the output folder.
    reads_content
        Whether their content is compared, too, and not only their size.
    """
    gone, changed = [], []
    for name, output in files.items():
        path = derivatives.root / name
        if not path.is_file():
            gone.append(name)
        elif path.stat().st_size != output.size or (reads_content and not _is_same(path, output)):
            changed.append(name)
    parts = (('outputs are gone', gone), ('outputs are damaged or were changed', changed))
    return ', '.join(f'{words}: {", ".join(names)}' for words, names in parts if names)


def _is_same(path: Path, output: OutputFile) -> bool:
    """Whether a file can be read and has the content that it was written with."""
    try:
        return sha256(path) == output.sha256
    except OSError:
        return False
