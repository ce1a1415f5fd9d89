"""What a tool of surfaces gets of a finished exam, and what of its results is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_synthsr import __version__
from bids_synthsr.dataset.files import write_rows
from bids_synthsr.dataset.images import load_grid, load_volume, save_volume
from bids_synthsr.derivatives.products import ProductFile
from bids_synthsr.imaging.resampling import take_nearest
from bids_synthsr.surfaces.meshes import (
    SIDES,
    load_surface,
    load_values,
    save_mesh,
    save_values,
)
from bids_synthsr.surfaces.stats import cortex_rows, volume_rows
from bids_synthsr.surfaces.tools import TOOLS, FoundTool

FRAME = 'mri/orig.mgz'  # volume of a subject folder, in whose frame the surfaces are
SURFACES = ('pial', 'white')  # the thickness is on the last
RECON = 'recon'  # desc- of tables that a tool made
TEXTS = {
    'volumes': 'Volumes as {} measured them.',
    'morph': 'Cortex by area of the Desikan-Killiany atlas, as {} measured it.',
    'dseg': 'Segmentation by {}, brought to the grid of the T1w by the nearest voxel '
    "(FreeSurfer's label numbers).",
    'surface': 'Surface by {}, RAS+ mm of the T1w.',
    'shape': 'Thickness of the cortex by {}, mm, for each vertex of the white surface.',
}


@dataclass(frozen=True)
class SurfaceInput:
    """What a tool gets of an exam.

    Parameters
    ----------
    exam
        Label of the exam.
    volume
        Path of the volume that the tool gets: the T1w, or the reference as it was acquired.
    sha256
        Digest of that volume.
    uri
        BIDS URI of it.
    t1w, mask
        Paths of the main T1w and of the brain mask of the exam.
    is_synthetic
        Whether the volume was computed and not acquired.
    thickest_mm
        Distance of the slices of the finest scan that was used, mm; 0 where it is not known.
    digests
        SHA-256 of T1w and brain mask, by their paths relative to the output folder.
    """

    exam: str
    volume: str
    sha256: str
    uri: str
    t1w: str
    mask: str
    is_synthetic: bool = False
    thickest_mm: float = 0.0
    digests: Mapping[str, str] = field(default_factory=dict)

    def fingerprint(self, tool: FoundTool) -> dict[str, Any]:
        """All that the outputs depend on."""
        settings = {'tool': tool.name, 'tool_version': tool.version}
        scans = {
            Path(name).name: {'sha256': digest}
            for name, digest in ((self.volume, self.sha256), *self.digests.items())
        }
        return {'version': __version__, 'settings': settings, 'scans': scans}


def surface_products(
    subject: Path, source: SurfaceInput, tool: FoundTool, folder: Path
) -> Iterator[ProductFile]:
    """Read what a tool has made, as outputs of the exam.

    Parameters
    ----------
    subject
        Folder of the subject, whose files are all there.
    source
        What the tool got.
    tool
        The tool as it was found.
    folder
        Folder that the files are written to.

    Raises
    ------
    ValueError
        If a file is not as the tool writes it, with file and fault.
    """
    known, maker = TOOLS[tool.name], f'{tool.name} {tool.version}'

    def product(path: Path, kind: Any, suffix: str, entities: Mapping[str, str]) -> ProductFile:
        text = TEXTS.get(suffix, TEXTS.get(kind, '')).format(maker)
        described = {'Description': text, 'SurfaceTool': tool.name, 'ToolVersion': tool.version}
        return ProductFile(str(path), kind, suffix, entities, ('volume',), described)

    grid = load_grid(Path(source.t1w))
    for desc, name in known.segmentations.items():
        voxels, own_grid = load_volume(subject / name)
        labels = take_nearest(voxels, own_grid, grid)
        path = save_volume(folder / f'{desc}.nii', labels, grid)
        yield product(path, 'image', 'dseg', {'desc': desc})
    rows = volume_rows(subject / known.volumes)
    entities = {'atlas': 'aseg', 'desc': RECON}
    yield product(write_rows(folder / 'volumes.json', rows), 'table', 'volumes', entities)
    if not known.has_surfaces:
        return
    for side, hemi in SIDES.items():
        rows = cortex_rows(subject / f'stats/{side}.aparc.stats')
        entities = {'hemi': hemi, 'atlas': 'aparc', 'desc': RECON}
        path = write_rows(folder / f'{side}-aparc.json', rows)
        yield product(path, 'table', 'morph', entities)
        for name in SURFACES:
            mesh = load_surface(subject / f'surf/{side}.{name}', subject / frame_of(subject))
            path = save_mesh(folder / f'{side}-{name}.surf.gii', mesh, side)
            yield product(path, 'surface', name, {'hemi': hemi})
        values = load_values(subject / f'surf/{side}.thickness', mesh)
        path = save_values(folder / f'{side}-thickness.shape.gii', values, side)
        yield product(path, 'shape', 'thickness', {'hemi': hemi})


def frame_of(subject: Path) -> str:
    """Name the volume in whose frame the surfaces of a subject are."""
    names = (FRAME, 'mri/norm.mgz', 'mri/synthSR.mgz', 'mri/synthseg.mgz')
    return next((name for name in names if (subject / name).is_file()), FRAME)
