"""Sidecars and their inheritance (BIDS 1.11, "The Inheritance Principle")."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bids_synthsr.dataset.filenames import split_name
from bids_synthsr.dataset.files import read_object
from bids_synthsr.dataset.guessing import stem_of
from bids_synthsr.values.exam import SIDECAR_FIELDS
from bids_synthsr.values.text import plain_value


class Sidecars:
    """The sidecars of a data set.

    Parameters
    ----------
    root
        Folder of the data set: above it nothing is inherited.
    files
        JSON files of the data set; others are passed over.
    """

    def __init__(self, root: Path, files: Iterable[Path]) -> None:
        self._folders: dict[Path, list[tuple[tuple[dict[str, str], str, str], Path]]]
        self._folders = defaultdict(list)
        self._contents: dict[Path, dict[str, Any]] = {}
        self._faults: dict[Path, str] = {}
        for file in files:
            if file.suffix == '.json' and file.is_relative_to(root):
                self._folders[file.parent].append((split_name(file.name), file))

    def inherited(self, image: Path) -> tuple[dict[str, Any], list[str]]:
        """Merge the sidecars of an image, the nearest one last.

        Returns
        -------
        metadata
            Fields of `SIDECAR_FIELDS`, of all sidecars that can be read.
        faults
            A sentence for each that cannot.
        """
        metadata: dict[str, Any] = {}
        faults = []
        for file in self._applicable(image):
            metadata |= self._read(file)
            faults += [self._faults[file]] if file in self._faults else []
        return {key: metadata[key] for key in SIDECAR_FIELDS if key in metadata}, faults

    def _applicable(self, image: Path) -> list[Path]:
        """List the sidecars of an image from the root down, in a folder the general one first."""
        entities, suffix, _ = split_name(image.name)
        sidecars = []
        folders = [folder for folder in image.parents if folder in self._folders]
        for folder in reversed(folders):
            sidecars += sorted(
                (len(file_entities), file)
                for (file_entities, kind, _), file in self._folders[folder]
                if kind == suffix
                and file_entities.items() <= entities.items()
                and (_is_general(file) or file.stem == stem_of(image.name))
            )
        return [file for _, file in sidecars]

    def _read(self, file: Path) -> dict[str, Any]:
        """Read a sidecar once; one that cannot be read counts as empty, and its fault is kept.

        Letters that are not UTF-8, as old converters wrote them, are no fault. Texts are made
        plain here, once for all tables, pages and messages.
        """
        if file not in self._contents:
            self._contents[file] = {}
            try:
                self._contents[file] = plain_value(read_object(file))
            except (OSError, ValueError) as error:
                fault = error.strerror if isinstance(error, OSError) else error
                self._faults[file] = (
                    f'Its sidecar {file.name} cannot be read as JSON ({fault}) and was ignored.'
                )
        return self._contents[file]


def _is_general(file: Path) -> bool:
    """Whether a sidecar may be that of several images: its name has no part that is no entity."""
    *parts, _ = file.stem.split('_')
    return all('-' in part for part in parts)


def read_beside(image: Path) -> tuple[dict[str, Any], list[str]]:
    """Read the sidecar of the same name beside an image that belongs to no data set.

    Parameters
    ----------
    image
        Path of the image, beside which there need not be a sidecar.

    Returns
    -------
    metadata, faults
        As `Sidecars.inherited` returns them.
    """
    file = image.with_name(f'{stem_of(image.name)}.json')
    return Sidecars(image.parent, [file] if file.is_file() else []).inherited(image)
