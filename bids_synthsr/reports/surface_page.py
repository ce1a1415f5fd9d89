"""The page of the surfaces of an exam: drawn from four sides, and their outlines on the T1w."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bids_synthsr.dataset.images import load_volume
from bids_synthsr.derivatives.places import ExamDerivatives
from bids_synthsr.derivatives.surfaces import RECON, SURFACES, SurfaceInput
from bids_synthsr.derivatives.tables import read_table
from bids_synthsr.reports import embedding, figures
from bids_synthsr.reports.pages import Picture, write_page
from bids_synthsr.reports.screen import PLANES
from bids_synthsr.surfaces.meshes import SIDES, Mesh, load_mesh, load_shape
from bids_synthsr.surfaces.tools import TOOLS, FoundTool

THIN_MM = 3.0  # slices above which thickness is not to be trusted
SYNTHETIC = (
    'The tool got a T1w that was computed. Where no scan saw a fold, its surfaces show what is '
    "usual and not the patient's."
)
THICK = (
    'The finest scan has slices {:.1f} mm apart: beyond 3 mm, the thickness of the cortex is not '
    'reliable (Iglesias et al. 2021).'
)
UNTESTED = (
    'Read the pictures before the numbers: {} {} is a tool of others, and this program only '
    'starts it and reads what it writes.'
)


def write_surface_page(
    place: ExamDerivatives, source: SurfaceInput, tool: FoundTool, subject: Path
) -> Path:
    """Write the page of what a tool made of an exam, from the outputs.

    Parameters
    ----------
    place
        Where the outputs of the exam lie.
    source
        What the tool got.
    tool
        The tool as it was found.
    subject
        Folder that the tool filled.
    """
    known = TOOLS[tool.name]
    meshes = {side: _load_meshes(place, hemi) for side, hemi in SIDES.items()}
    has_surfaces = known.has_surfaces
    volumes = read_table(place.path_of('volumes', {'atlas': 'aseg', 'desc': RECON}, '.tsv'))
    pictures: list[Picture] = []
    if has_surfaces:
        pictures = [*_outlines(place, meshes, source), *_views(place, meshes)]
    return write_page(
        'surfaces.html',
        place.dataset.surface_page(place.label),
        label=place.label,
        tool=tool,
        subject=str(subject),
        warnings=[*_doubts(source, tool)],
        volumes=volumes,
        pictures=pictures,
        cortex={
            hemi: read_table(
                place.path_of('morph', {'hemi': hemi, 'atlas': 'aparc', 'desc': RECON}, '.tsv')
            )
            for hemi in (SIDES.values() if has_surfaces else ())
        },
    )


def _doubts(source: SurfaceInput, tool: FoundTool) -> Iterator[str]:
    """Tell what a reader must know."""
    yield UNTESTED.format(tool.name, tool.version)
    if source.is_synthetic:
        yield SYNTHETIC
    if source.thickest_mm > THIN_MM:
        yield THICK.format(source.thickest_mm)


def _load_meshes(place: ExamDerivatives, hemi: str) -> dict[str, Mesh]:
    """Read the surfaces of a hemisphere as they were written."""
    meshes = {}
    for name in SURFACES:
        path = place.path_of(name, {'hemi': hemi}, '.surf.gii')
        if path.is_file():
            meshes[name] = load_mesh(path)
    return meshes


def _outlines(
    place: ExamDerivatives, meshes: dict[str, dict[str, Mesh]], source: SurfaceInput
) -> Iterator[Picture]:
    """Draw where the surfaces cut slices of the T1w."""
    voxels, grid = load_volume(Path(source.t1w))
    for axis in (2, 1, 0):
        cuts: list[tuple[str, Sequence[Mesh]]] = [
            (name, [of_side[name] for of_side in meshes.values()]) for name in SURFACES
        ]
        figure = figures.surface_slices(voxels, grid, axis, cuts)
        title = f'{PLANES[axis].capitalize()}: outer surface in red, inner in yellow'
        alt = f'{title}, on the T1w of {place.label}.'
        yield Picture(embedding.jpeg(figure), alt, title)


def _views(place: ExamDerivatives, meshes: dict[str, dict[str, Mesh]]) -> Iterator[Picture]:
    """Draw the outer surfaces with the thickness of the cortex."""
    drawn = []
    for side, hemi in SIDES.items():
        path = place.path_of('thickness', {'hemi': hemi}, '.shape.gii')
        drawn.append((meshes[side]['pial'], load_shape(path)))
    title = 'Thickness of the cortex, from both sides, the middle and above'
    yield Picture(
        embedding.jpeg(figures.surface_views(drawn)),
        f'{title}.',
        title,
        f'Dark is thin, yellow {figures.THICKEST_MM:.0f} mm and more.',
    )
