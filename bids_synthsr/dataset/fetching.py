"""Fetching what git-annex keeps elsewhere, where the user asks for it: datalad does it.

Nothing else of the program writes to the input data set.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from bids_synthsr.dataset.errors import DatasetError
from bids_synthsr.dataset.image_files import is_content_absent
from bids_synthsr.dataset.survey import survey
from bids_synthsr.values.text import plain_text

AT_ONCE = 500  # files of one command, whose length systems limit


def find_absent(
    root: Path, participant_labels: Sequence[str] = (), session_labels: Sequence[str] = ()
) -> list[Path]:
    """Find anatomical images, and sidecars they may inherit, whose content is not here.

    Parameters
    ----------
    root
        Root of the data set.
    participant_labels, session_labels
        Labels without prefixes; empty takes all.
    """
    names = [f'sub-{label}' for label in participant_labels]
    folders = [root / name for name in names] or sorted(root.glob('sub-*'))
    sidecars = {path for path in root.glob('*.json') if is_content_absent(path)}
    images = set()
    for folder in filter(Path.is_dir, folders):
        for sighting in survey(folder):
            takes_it = not session_labels or sighting.session in (None, *session_labels)
            if takes_it and not sighting.is_closed:
                images.add(sighting.path)
                sidecars |= {*_sidecars_above(sighting.path, root)}
    return sorted({*filter(is_content_absent, images), *sidecars})


def _sidecars_above(image: Path, root: Path) -> Iterator[Path]:
    """List the JSON files whose content is not here, from the folder of an image to the root."""
    for folder in image.parents:
        if folder == root:
            return
        yield from filter(is_content_absent, folder.glob('*.json'))


def find_datalad(root: Path, files: Sequence[Path]) -> str:
    """Find the program that is to fetch files; raise as `fetch` does where it is not installed."""
    program = shutil.which('datalad')
    if program is None:
        raise DatasetError(
            f'--get: {len(files)} files of {root} have to be fetched by datalad, which is not '
            'installed: install it (pip install datalad, and git-annex), or fetch them elsewhere'
        )
    return program


def fetch(root: Path, files: Sequence[Path]) -> str:
    """Let datalad fetch the content of files; return what it says where it could not, in short.

    Parameters
    ----------
    root
        Root of the data set.
    files
        Files of it whose content is not here.

    Raises
    ------
    DatasetError
        If datalad is not installed.
    """
    program = find_datalad(root, files)
    faults = []
    for start in range(0, len(files), AT_ONCE):
        some = files[start : start + AT_ONCE]
        done = subprocess.run(
            [program, 'get', *map(str, some)],
            cwd=root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors='replace',
            check=False,
        )
        if done.returncode:
            lines = [*done.stdout.splitlines(), *done.stderr.splitlines()]
            faults += [*filter(None, lines)][-1:] or [f'exit code {done.returncode}']
    return plain_text(' '.join(faults))
