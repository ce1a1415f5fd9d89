"""The pages: of an exam, from a list of sections, and the index of a data set."""

from __future__ import annotations

import math
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib.resources import files
from operator import attrgetter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from bids_synthsr import __version__
from bids_synthsr.dataset.files import write_text, written_atomically
from bids_synthsr.reports import embedding, figures
from bids_synthsr.reports.content import AlignedPair, ExamReport, IndexRow, Volume
from bids_synthsr.reports.screen import PLANES, cropped, edge_letters, head_box, to_screen

RELOAD_S = 20  # until a page that a run writes is loaded again
TIMES = ' \N{MULTIPLICATION SIGN} '
STATES = {
    'complete': 'Complete',
    'warned': 'Complete, with warnings',
    'failed': 'Failed',
    'planned': 'Planned, nothing computed',
}


@dataclass(frozen=True)
class Picture:
    """A figure inside the page.

    Parameters
    ----------
    drawing
        ``data:`` address of an image, or an SVG element.
    alt
        What it shows, for those who do not see it.
    title, caption
        Above and below it.
    """

    drawing: str
    alt: str
    title: str = ''
    caption: str = ''


@dataclass(frozen=True)
class Alignment:
    """Pictures of a pair that lie on top of each other: ``layers`` by what they show."""

    pair: AlignedPair
    layers: Mapping[str, str]
    contours: str


@dataclass(frozen=True)
class Viewer:
    """Volumes on one grid for the slice viewer.

    Parameters
    ----------
    names, sprites
        Name and pictures of each volume.
    spacing
        Size of a voxel along the three screen axes, mm.
    screen2ras
        Rows of the affine from screen indices to RAS+ mm.
    edges
        Letters at the edges by plane.
    """

    names: tuple[str, ...]
    sprites: tuple[embedding.Sprite, ...]
    spacing: tuple[float, float, float]
    screen2ras: tuple[tuple[float, ...], ...]
    edges: Mapping[str, tuple[str, str, str, str]]


def acquired_pictures(report: ExamReport) -> Iterator[Picture]:
    """Show each scan as acquired."""
    for volume in report.natives:
        figure = figures.acquired_slices(volume.voxels, volume.grid, volume.slice_axis)
        shape = TIMES.join(str(size) for size in volume.grid.shape)
        spacing = TIMES.join(f'{step:.3g}' for step in volume.grid.spacing)
        yield Picture(
            embedding.jpeg(figure),
            f'Slices of {volume.name} as acquired, and the two planes across them.',
            volume.name,
            f'{shape} voxels of {spacing} mm. Slices are counted as they are stored in the file.',
        )


def alignments(report: ExamReport) -> Iterator[Alignment]:
    """Show each moved scan before and after, over the reference."""
    for pair in report.pairs:
        volumes = {'reference': pair.reference, 'before': pair.before, 'after': pair.after}
        layers = {
            name: embedding.jpeg(figures.overview(voxels, pair.reference, pair.grid))
            for name, voxels in volumes.items()
        }
        contours = embedding.png(figures.outline(pair.reference, pair.grid))
        yield Alignment(pair, layers, contours)


def reliability_pictures(report: ExamReport) -> Iterator[Picture]:
    """Show where each scan measured, over the main output."""
    for volume in report.reliability:
        figure = figures.reliability_map(volume.voxels, volume.grid, _head_below(report, volume))
        yield Picture(
            embedding.jpeg(figure),
            f'Where {volume.name} measured, in two planes across its slices.',
            volume.name,
        )


def _head_below(report: ExamReport, volume: Volume) -> np.ndarray:
    """Give what shows where in the head a map lies; black where no output lies on its grid."""
    outputs = [output.voxels for output in report.outputs if output.grid == volume.grid]
    return outputs[0] if outputs else np.zeros_like(volume.voxels)


def viewers(report: ExamReport) -> Iterator[Viewer]:
    """Let the reader move through the outputs and the baseline."""
    volumes = [*report.outputs[:1], *_baseline(report), *report.outputs[1:]]
    same_grid = [volume for volume in volumes if volume.grid == volumes[0].grid]
    box = head_box(to_screen(same_grid[0].voxels, same_grid[0].grid))
    screens = [
        embedding.thinned(cropped(to_screen(volume.voxels, volume.grid), box))
        for volume in same_grid
    ]
    yield Viewer(
        tuple(volume.name for volume in same_grid),
        tuple(embedding.sprite(screen) for screen in screens),
        tuple(float(step) for step in screens[0].spacing),  # type: ignore[arg-type]
        tuple(tuple(row) for row in screens[0].vox2ras[:3].tolist()),
        {plane: edge_letters(screens[0], axis) for axis, plane in enumerate(PLANES)},
    )


def output_pictures(report: ExamReport) -> Iterator[Picture]:
    """Show the main output, and the baseline below it, plane by plane."""
    volumes = [report.outputs[0], *_baseline(report)]
    names = ' above, '.join(volume.name for volume in volumes) + ' below' * (len(volumes) > 1)
    for axis in (2, 1, 0):
        figure = figures.rows_of_slices(
            [volume.voxels for volume in volumes], volumes[0].grid, axis
        )
        title = f'{PLANES[axis].capitalize()}: {names}'
        yield Picture(embedding.jpeg(figure), f'{title}.', title)


def segmentation_pictures(report: ExamReport) -> Iterator[Picture]:
    """Show the segmentation over the main output, and where the output is unsure."""
    main, labels = report.outputs[0], report.segmentation
    unsure = next((volume for volume in report.outputs if volume.name == 'Uncertainty'), None)
    for axis in (2, 1, 0):
        if labels is not None:
            figure = figures.labelled_slices(main.voxels, labels.voxels, main.grid, axis)
            title = f'{PLANES[axis].capitalize()}: segmentation'
            yield Picture(embedding.jpeg(figure), f'{title} over {main.name}.', title)
        if unsure is not None:
            figure = figures.heat_slices(main.voxels, unsure.voxels, main.grid, axis)
            title = f'{PLANES[axis].capitalize()}: uncertainty'
            yield Picture(
                embedding.jpeg(figure),
                f'{title} of {main.name}: dark is sure, bright is not.',
                title,
            )


def space_pictures(report: ExamReport) -> Iterator[Picture]:
    """Show the main volume in every standard space, below the template, plane by plane."""
    for space in report.spaces:
        above = [] if space.template is None else [space.template]
        fit = (
            f'Overlap of the brains {space.dice:.2f} (Dice), correlation {space.correlation:.2f}.'
        )
        for axis in (2, 1, 0):
            figure = figures.rows_of_slices([*above, space.main.voxels], space.main.grid, axis)
            title = f'{PLANES[axis].capitalize()}: {space.name}'
            alt = f'{title}: {"the template above, below " if above else ""}the T1w of the exam.'
            yield Picture(embedding.jpeg(figure), alt, title, fit if axis == 2 else '')


def histogram_pictures(report: ExamReport) -> Iterator[Picture]:
    """Show the intensities of scans and outputs."""
    volumes = [*report.natives, *report.outputs]
    figure = figures.histograms({volume.name: volume.voxels for volume in volumes})
    names = ', '.join(volume.name for volume in volumes)
    yield Picture(embedding.svg(figure, 'intensities'), f'Intensity histograms of {names}.')


def _baseline(report: ExamReport) -> list[Volume]:
    """Return the baseline if there is one on the grid of the main output."""
    baseline = report.baseline
    return [baseline] if baseline and baseline.grid == report.outputs[0].grid else []


@dataclass(frozen=True)
class Section:
    """A part of the page of an exam.

    Parameters
    ----------
    anchor, title
        Address and heading of the section.
    needs
        What of the report it shows; the section is left out where that is empty.
    template
        File name of the template of its inside.
    exhibits
        Functions from the report to what the template shows, such as pictures.
    note
        How to read it, a sentence or two.
    """

    anchor: str
    title: str
    needs: Callable[[ExamReport], Any]
    template: str
    exhibits: tuple[Callable[[ExamReport], Iterable[Any]], ...] = ()
    note: str = ''


RADIOLOGICAL = "Radiological convention: the patient's right is at the left of the picture."

SECTIONS = (
    Section('scans', 'Scans found', attrgetter('selection'), 'selection.html'),
    Section(
        'acquired',
        'Scans as acquired',
        attrgetter('natives'),
        'pictures.html',
        (acquired_pictures,),
        f'{RADIOLOGICAL} The last two pictures of a scan cut across its slices and show its true '
        'voxels.',
    ),
    Section(
        'alignment',
        'Alignment',
        attrgetter('pairs'),
        'alignment.html',
        (alignments,),
        f'{RADIOLOGICAL} The contours are those of the reference: after a good alignment they '
        'follow the edges of the moved scan.',
    ),
    Section(
        'reliability',
        'Where each scan measured',
        attrgetter('reliability'),
        'pictures.html',
        (reliability_pictures,),
        'The middle 80 mm of the output, in the two planes that cut across the slices of a scan. '
        'Yellow: measured by it. Grey: between its slices or outside its field of view, that is, '
        'interpolated.',
    ),
    Section(
        'output',
        'Output',
        attrgetter('outputs'),
        'output.html',
        (viewers, output_pictures),
        RADIOLOGICAL,
    ),
    Section(
        'segmentation',
        'Segmentation and uncertainty',
        lambda report: report.outputs and report.segmentation,
        'segmentation.html',
        (segmentation_pictures,),
        f'{RADIOLOGICAL} Colours as in FreeSurfer. Uncertainty: black is sure, yellow is an '
        'expected error of a quarter of the intensity of white matter.',
    ),
    Section(
        'spaces',
        'Standard spaces',
        attrgetter('spaces'),
        'pictures.html',
        (space_pictures,),
        f'{RADIOLOGICAL} Above the template, below the T1w of the exam in its space: the edges '
        'of ventricles and brain lie in the same places.',
    ),
    Section(
        'intensities',
        'Intensities',
        lambda report: report.natives or report.outputs,
        'pictures.html',
        (histogram_pictures,),
        'Share of the voxels by intensity, background left out.',
    ),
    Section('files', 'Files', attrgetter('files'), 'files.html'),
    Section('time', 'Time', attrgetter('steps'), 'time.html'),
    Section('provenance', 'Provenance', attrgetter('provenance'), 'provenance.html'),
    Section('methods', 'Methods text', attrgetter('methods'), 'methods.html'),
    Section('errors', 'Errors', attrgetter('failures'), 'errors.html'),
)


def write_report(report: ExamReport, path: Path) -> Path:
    """Write the page of an exam: one file that needs no other, whole or not at all."""
    sections = [
        (section, [part for exhibit in section.exhibits for part in exhibit(report)])
        for section in SECTIONS
        if section.needs(report)
    ]
    return write_page('exam.html', path, report=report, sections=sections)


def write_thumbnail(report: ExamReport, path: Path) -> Path:
    """Write the small picture of an exam's main output, whole or not at all."""
    with written_atomically(path) as temporary:
        temporary.write_bytes(embedding.thumbnail(report.outputs[0]))
    return path


def write_index(
    rows: Sequence[IndexRow],
    path: Path,
    absences: Mapping[str, str] | None = None,
    further: Sequence[str] = (),
    work: str = '',
) -> Path:
    """Write the page that lists the exams of a data set.

    Parameters
    ----------
    rows
        Exams in their order on the page.
    path
        HTML file to be written.
    absences
        Why participants have nothing to process, by their labels; None for no such participants.
    further
        Names of other pages beside the index, such as those of surfaces.
    work
        What a run is doing at this moment, in a sentence; empty where none is at work. The page
        is then loaded again and again.
    """
    counts = {state: sum(row.state == state for row in rows) for state in STATES}
    return write_page(
        'index.html',
        path,
        rows=rows,
        counts=counts,
        absences=absences or {},
        further=further,
        work=work,
        now=f'{datetime.now(UTC):%d %B %Y, %H:%M:%S} UTC',
        reload_s=RELOAD_S,
    )


def write_page(
    template: str, path: Path, script_names: Sequence[str] = ('report.js',), **values: Any
) -> Path:
    """Fill a template of ``data/report`` and write the page, whole or not at all.

    Parameters
    ----------
    template
        Name of the template.
    path
        HTML file to be written.
    script_names
        Scripts beside the templates that the page holds, one after the other.
    values
        What the template shows, by the names that it uses.
    """
    environment = Environment(
        loader=PackageLoader('bids_synthsr', 'data/report'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        'duration': duration,
        'blocks': blocks,
        'address': local_address,
        'probability': probability,
    }
    source = files('bids_synthsr') / 'data/report'
    script = '\n'.join((source / name).read_text(encoding='utf-8') for name in script_names)
    page = environment.get_template(template).render(
        **values,
        states=STATES,
        planes=PLANES,
        version=__version__,
        script=script,
        script_digest=b64encode(sha256(script.encode()).digest()).decode(),
    )
    return write_text(path, page)


def local_address(path: str) -> str:
    """Write the path of a file beside the page as an address, which can lead nowhere else."""
    return f'./{quote(path)}' if path else ''


def duration(seconds: float) -> str:
    """Write a time as people do: ``0.4 s``, ``38 s``, ``3 min 12 s``, ``2 h 05 min``."""
    if not math.isfinite(seconds):
        return 'unknown'
    if seconds < 9.95:
        return f'{seconds:.1f} s'
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f'{minutes} min {rest:02d} s' if minutes else f'{rest} s'
    return f'{minutes // 60} h {minutes % 60:02d} min'


def probability(p: float) -> str:
    """Write a probability as papers do: ``0.34``, ``0.012``, ``< 0.0001``."""
    if p < 1e-4:
        return '< 0.0001'
    return f'{p:.2f}' if p >= 0.1 else f'{p:.2g}'


def blocks(markdown: str) -> Iterator[tuple[str, list[str]]]:
    """Part the Markdown of `boilerplate` into headings, lists and paragraphs, with their lines."""
    for block in re.split(r'\n\s*\n', markdown.strip()):
        lines = block.splitlines()
        if lines[0].startswith('#'):
            yield 'heading', [lines[0].lstrip('# ')]
        elif re.match(r'\d+\. ', lines[0]):
            yield 'list', [re.sub(r'^\d+\. ', '', line) for line in lines]
        else:
            yield 'paragraph', [' '.join(lines)]
