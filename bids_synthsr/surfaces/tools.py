"""The tools that reconstruct surfaces or segment: how each is found, and when it is done.

None of them comes with this program, and none is run unless asked for. Their command lines are
those of their documentation and sources (FreeSurfer 7.4 and 8, FastSurfer 2.3); see
`bids_synthsr.interfaces.surface_commands`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FREESURFER, FASTSURFER = 'FREESURFER_HOME', 'FASTSURFER_HOME'  # name the folders of the tools
LICENSE = 'FS_LICENSE'
VERSION = re.compile(r'(\d+)\.(\d+)(?:\.(\d+))?')
OWN_VERSION = re.compile(r'^version\s*=\s*["\']([^"\']+)', re.MULTILINE)
MOST_STAMP = 4000  # characters of a file that names a version
HEMISPHERES = ('lh', 'rh')


@dataclass(frozen=True)
class SurfaceTool:
    """What is known of a tool before it is looked for.

    Parameters
    ----------
    name
        Name on the command line, such as ``recon-all``.
    command
        Name of its executable file.
    home
        Environment variable that names its folder.
    least_version
        Oldest version whose command line is known, by its help text or source.
    done
        Files of a subject folder that stand in it when the tool is done.
    volumes
        Table of volumes below the subject folder.
    segmentations
        Segmentations below the subject folder, by the ``desc-`` of the output.
    has_surfaces
        Whether it makes surfaces, thickness and tables of the cortex.
    takes_native
        Whether it takes scans as they were acquired, thick slices and all.
    memory_gb
        Memory that is set aside for it, GB: none of the tools was measured.
    """

    name: str
    command: str
    home: str
    least_version: tuple[int, int]
    done: tuple[str, ...]
    volumes: str
    segmentations: Mapping[str, str]
    has_surfaces: bool = True
    takes_native: bool = False
    memory_gb: float = 8.0


_CORTEX = tuple(
    f'{folder}/{side}.{name}'
    for side in HEMISPHERES
    for folder, name in (
        ('surf', 'white'), ('surf', 'pial'), ('surf', 'thickness'), ('stats', 'aparc.stats'),
    )
)  # fmt: skip
_ASEG = {'aseg': 'mri/aseg.mgz', 'aparcaseg': 'mri/aparc+aseg.mgz'}
_ENTRIES = (
    SurfaceTool(
        'recon-all', 'recon-all', FREESURFER, (6, 0),
        ('scripts/recon-all.done', 'stats/aseg.stats', 'stats/wmparc.stats', *_ASEG.values(),
         *_CORTEX),
        'stats/aseg.stats', _ASEG,
    ),
    SurfaceTool(
        'recon-all-clinical', 'recon-all-clinical.sh', FREESURFER, (7, 4),
        ('stats/synthseg.vol.csv', 'mri/synthseg.mgz', *_CORTEX),
        'stats/synthseg.vol.csv', {'aseg': 'mri/synthseg.mgz'},
        takes_native=True, memory_gb=24.0,
    ),
    SurfaceTool(
        'fastsurfer', 'run_fastsurfer.sh', FASTSURFER, (2, 0),
        ('stats/aseg.stats', 'mri/aparc.DKTatlas+aseg.mapped.mgz', 'mri/aseg.mgz', *_CORTEX),
        'stats/aseg.stats',
        {'aseg': 'mri/aseg.mgz', 'aparcaseg': 'mri/aparc.DKTatlas+aseg.mapped.mgz'},
    ),
    SurfaceTool(
        'samseg', 'run_samseg', FREESURFER, (7, 2), ('samseg.stats', 'seg.mgz'),
        'samseg.stats', {'samseg': 'seg.mgz'},
        has_surfaces=False, takes_native=True, memory_gb=12.0,
    ),
)  # fmt: skip
TOOLS: dict[str, SurfaceTool] = {tool.name: tool for tool in _ENTRIES}


@dataclass(frozen=True)
class FoundTool:
    """A tool on this machine.

    Parameters
    ----------
    name
        Name of the tool in `TOOLS`.
    executable
        Path of its executable.
    version
        Version as its files name it.
    license
        File of the licence of FreeSurfer.
    environment
        Variables that it needs beside those that there are.
    """

    name: str
    executable: str
    version: str
    license: str
    environment: Mapping[str, str]


def find_tool(name: str, license_file: Path | None, environ: Mapping[str, str]) -> FoundTool:
    """Find a tool with its version and licence, before any exam is processed.

    Parameters
    ----------
    name
        Name of the tool in `TOOLS`.
    license_file
        Licence of FreeSurfer; None looks where FreeSurfer does.
    environ
        Environment variables, as a mapping.

    Raises
    ------
    ValueError
        If the tool or its licence is missing, or the tool is too old, with the way out.
    """
    tool = TOOLS[name]
    home = environ.get(tool.home, '')
    paths = [str(Path(home) / 'bin'), home] if home else []
    search = ':'.join([*paths, environ.get('PATH', '')])
    executable = shutil.which(tool.command, path=search)
    if executable is None:
        raise ValueError(
            f'--recon {name}: {tool.command} is not found: install the tool, and set {tool.home} '
            'to its folder or PATH to that of its commands. In a container, mount it.'
        )
    version = _version_of(Path(home or Path(executable).parent.parent))
    if version and _numbers(version) < tool.least_version:
        least = '.'.join(map(str, tool.least_version))
        raise ValueError(
            f'--recon {name}: version {version} is too old: {least} is the first whose command '
            'line is known'
        )
    found = _find_license(name, license_file, environ)
    environment = {'PATH': search, LICENSE: str(found)}
    if home:
        environment[tool.home] = home
    return FoundTool(name, executable, version or 'unknown', str(found), environment)


def _find_license(name: str, given: Path | None, environ: Mapping[str, str]) -> Path:
    """Find the licence file in the order of FreeSurfer: named, ``$FS_LICENSE``, its folder."""
    home = environ.get(FREESURFER, '')
    places = [given] if given else [
        Path(environ[LICENSE]) if environ.get(LICENSE) else None,
        Path(home) / 'license.txt' if home else None,
    ]  # fmt: skip
    for place in filter(None, places):
        if place.is_file():
            return place.resolve()
    looked = ', '.join(str(place) for place in places if place) or 'no place was named'
    raise ValueError(
        f'--recon {name} needs the licence of FreeSurfer, which is free of charge '
        f'(https://surfer.nmr.mgh.harvard.edu/registration.html): name its file by '
        f'--fs-license-file or ${LICENSE} (looked for: {looked})'
    )


def _version_of(home: Path) -> str:
    """Read the version out of the files of a tool; empty where they name none."""
    for name in ('build-stamp.txt', 'VERSION', 'pyproject.toml'):
        path = home / name
        if path.is_file():
            with path.open(encoding='utf-8', errors='replace') as file:
                text = file.read(MOST_STAMP)
            if name.endswith('.toml'):  # which also names versions of others
                own = OWN_VERSION.search(text)
                text = own[1] if own else ''
            match = VERSION.search(text)
            if match:
                return match[0]
    return ''


def _numbers(version: str) -> tuple[int, int]:
    match = VERSION.search(version)
    return (int(match[1]), int(match[2])) if match else (0, 0)
