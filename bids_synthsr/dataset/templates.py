"""Templates of standard spaces: found on this machine, fetched by TemplateFlow, or nilearn's.

They are looked for before any exam is processed. TemplateFlow is imported only to fetch what is
not there, since its import alone writes to its folder, and an attempt ends after some seconds: a
silent firewall must not hold a run.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from bids_synthsr.dataset.images import load_volume
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.values.grid import Grid

PATIENCE_S = 20.0  # until an attempt to fetch a template is given up
WORDS = re.compile(r'(?P<name>[A-Za-z][A-Za-z0-9]*)(:res-0?(?P<resolution>[1-9]))?')
NATIVE = ('anat', 'T1w')  # spaces in which the outputs lie anyway
ON_SCANS = 'scan'  # the own grid of each scan
FALLBACK = 'MNI152NLin2009aSym'  # nilearn brings it
COULD_BE_FALLBACK = 'MNI152'  # how the names of spaces begin for which it may stand in
NILEARN_T1W = 'datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz'
FETCHING = (
    'On a machine with network, run: python -c "from templateflow import api; '
    "api.get('{name}', resolution={resolution}, suffix=['T1w', 'mask'])\", and set "
    'TEMPLATEFLOW_HOME to the folder that it fills'
)


@dataclass(frozen=True)
class TemplateFiles:
    """The files of a template.

    Parameters
    ----------
    space
        Name of its space, as TemplateFlow spells it.
    resolution
        Resolution that was asked for, such as 2; 0 for none.
    t1w
        File of its T1w of 1 mm.
    mask
        File of the brain mask of that; empty where the T1w shows the brain alone.
    target
        File that lies on the grid of the outputs.
    """

    space: str
    resolution: int
    t1w: str
    mask: str
    target: str

    @property
    def uri(self) -> str:
        """Address of the template, for sidecars."""
        return f'https://templateflow.s3.amazonaws.com/tpl-{self.space}'

    @property
    def entities(self) -> dict[str, str]:
        """BIDS entities of what lies on its grid."""
        resolution = {'res': str(self.resolution)} if self.resolution else {}
        return {'space': self.space, **resolution}


@dataclass(frozen=True, eq=False)
class Template:
    """The brain of a template.

    Parameters
    ----------
    t1w
        ``(I, J, K)`` float32 intensities, 0 outside of the brain.
    grid
        Where its voxels lie.
    target
        Grid of the outputs in its space.
    """

    t1w: np.ndarray
    grid: Grid
    target: Grid


def split_space(words: str) -> tuple[str, int]:
    """Take a space apart as fMRIPrep spells it: ``MNI152NLin6Asym:res-2``.

    Returns
    -------
    name, resolution
        Name of the template, and its resolution; 0 where none is named.

    Raises
    ------
    ValueError
        For anything else.
    """
    match = WORDS.fullmatch(words)
    if match is None:
        raise ValueError(
            f'--output-spaces {words}: write the name of a template of TemplateFlow, and a '
            'resolution if need be, such as MNI152NLin2009cAsym:res-2'
        )
    return match['name'], int(match['resolution'] or 0)


def locate_template(words: str, environ: Mapping[str, str]) -> tuple[TemplateFiles, str]:
    """Find the files of a template that is wanted, by TemplateFlow or in nilearn.

    Parameters
    ----------
    words
        Space as fMRIPrep spells it.
    environ
        Environment variables: ``TEMPLATEFLOW_HOME`` names the folder of templates.

    Returns
    -------
    files, note
        The files, and why they are those of another space than was asked for; empty if not.

    Raises
    ------
    ValueError
        If there is no such template, and none that may stand in for it.
    """
    name, resolution = split_space(words)
    home = Path(environ.get('TEMPLATEFLOW_HOME') or Path.home() / '.cache' / 'templateflow')
    files = _look_up(home, name, resolution)
    if files is None and name == FALLBACK:
        return _of_nilearn(resolution), ''
    reason = ''
    if files is None:
        reason = _fetch(home, name, resolution)
        files = _look_up(home, name, resolution)
    if files is not None:
        return files, ''
    missing = f'The template {name} is not in {home}, and cannot be fetched ({reason}).'
    resolutions = sorted({1, resolution or 1})  # it is registered at 1 mm whatever is asked for
    way_out = FETCHING.format(name=name, resolution=resolutions)
    if not name.startswith(COULD_BE_FALLBACK):
        raise ValueError(f'--output-spaces {words}: {missing} {way_out}')
    return _of_nilearn(resolution), (
        f'{missing} {FALLBACK}, which comes with nilearn, takes its place, and outputs are named '
        f'by it. {way_out}.'
    )


def _look_up(home: Path, name: str, resolution: int) -> TemplateFiles | None:
    """Find a template in the folder of TemplateFlow; None unless its files are all there."""
    folder = home / f'tpl-{name}'
    t1w, mask, target = (
        folder / f'tpl-{name}_res-0{end}.nii.gz'
        for end in ('1_T1w', '1_desc-brain_mask', f'{resolution or 1}_T1w')
    )
    if not all(map(_is_filled, (t1w, mask, target))):
        return None
    return TemplateFiles(name, resolution, str(t1w), str(mask), str(target))


def _is_filled(path: Path) -> bool:
    """Whether a file has content: TemplateFlow puts empty ones in place of what it can fetch."""
    return path.is_file() and path.stat().st_size > 0


def _fetch(home: Path, name: str, resolution: int) -> str:
    """Let TemplateFlow fetch a template; why it could not, empty if it could."""
    outcome: list[str] = []
    worker = threading.Thread(
        target=lambda: outcome.append(_get(home, name, resolution)), daemon=True
    )
    worker.start()
    worker.join(PATIENCE_S)
    return outcome[0] if outcome else f'no answer in {PATIENCE_S:.0f} s'


def _get(home: Path, name: str, resolution: int) -> str:
    """Fetch the files of a template; the reason why they cannot be fetched."""
    try:
        from templateflow import api, conf

        if Path(conf.TF_HOME) != home:
            return f'TemplateFlow uses {conf.TF_HOME}'
        wanted: list[dict[str, Any]] = [
            {'resolution': 1, 'desc': None, 'suffix': 'T1w'},
            {'resolution': 1, 'desc': 'brain', 'suffix': 'mask'},
        ]
        if resolution > 1:
            wanted.append({'resolution': resolution, 'desc': None, 'suffix': 'T1w'})
        for query in wanted:
            if not api.get(name, extension='.nii.gz', **query):
                return 'TemplateFlow has no such T1w and mask'
    except Exception as error:  # noqa: BLE001 - whatever network, proxy or disk bring about
        return str(error).splitlines()[0][:200] or type(error).__name__
    return ''


def _of_nilearn(resolution: int) -> TemplateFiles:
    """Take the template that nilearn brings; its coarser grids are made of it."""
    package = find_spec('nilearn')  # its import would take a second
    assert package is not None and package.origin is not None
    t1w = str(Path(package.origin).parent / NILEARN_T1W)
    return TemplateFiles(FALLBACK, resolution, t1w, '', t1w)


def load_template(files: TemplateFiles) -> Template:
    """Read a template, without what is not brain."""
    t1w, grid = load_volume(Path(files.t1w))
    if files.mask:
        mask, mask_grid = load_volume(Path(files.mask))
        t1w = t1w * (resample(mask, mask_grid, grid) > 0.5)
    target = load_volume(Path(files.target))[1]
    if files.target == files.t1w and files.resolution > 1:
        target = _coarser(target, files.resolution)
    return Template(t1w, grid, target)


def _coarser(grid: Grid, factor: int) -> Grid:
    """Take every so-many-th voxel of a grid, from its first on."""
    vox2ras = grid.vox2ras.copy()
    vox2ras[:3, :3] *= factor
    first, second, third = (-(-size // factor) for size in grid.shape)
    return Grid((first, second, third), vox2ras)
