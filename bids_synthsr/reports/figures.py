"""Arrays in, matplotlib figures out. No state is shared: no pyplot, no open figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from bids_synthsr.imaging.geometry import apply_affine
from bids_synthsr.imaging.head import otsu_threshold
from bids_synthsr.reports.screen import (
    PLANES,
    Panel,
    Screen,
    cropped,
    describe_position,
    head_box,
    slice_panel,
    slice_positions,
    slice_values,
    to_screen,
    window_of,
)
from bids_synthsr.surfaces.meshes import Mesh, cut_by_plane
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.structures import STRUCTURES

WIDTH_PX = 1500  # of a mosaic: sharp on a page that is at most 1200 CSS pixels wide
THUMBNAIL_PX = 720  # of one that stands beside another
GAP_PX = 4
GAP_GREY = 40
DPI = 100
LETTER_PT = 11
THUMBNAIL_PT = 15  # a thumbnail is shown at half its size
CAPTION_SIZE = 0.8  # of the letters
LETTER_COLOR = '#ffd166'
CAPTION_COLOR = '#e8e8e8'
CONTOUR_COLOR = '#ff5fa2'
CONTOUR_SD = 1.2  # mm: blur under the contours, so that noise makes no islands
INK = '#123456'  # stands for the colour of the page's text: see `embedding.svg`
LINE_COLORS = ('#3b82d6', '#e07b39', '#2e9e6b', '#b065d0', '#c9a227', '#5f7f8f')
BINS, BRIGHTEST = 75, 150  # of a histogram: number, and percent of white at its end
NATIVE_SLICES, OUTPUT_SLICES = 10, 5
OPACITY = 0.55  # of labels over an image
SURFACE_COLORS = ((255, 60, 60), (255, 214, 10))
FINER, ASIDE = 3, 1e-3  # of lines on slices; beside a vertex, which a plane must not meet
THICKEST_MM = 5.0  # shown brightest
VIEW_PX_PER_MM, CLOSING, NEARER_MM, MOST_DOTS = 2.0, 1, 0.5, 20
MOST_GROWTH = 0.2  # logarithm that is shown in full colour
MOST_G = 1.5  # standard deviations that are shown in full colour
FAINT, SURE_OPACITY = 0.45, 0.9  # of a difference that may be chance, and of one that is none
UNSURE = 0.25  # of the brightest: an expected error that is shown brightest
MEASURED = (255, 214, 10)  # yellow of what a scan measured
DETAIL = 80.0  # mm of a reliability map that are shown
OUTLINE = [withStroke(linewidth=2, foreground='black')]


@dataclass(frozen=True, eq=False)
class PanelLayout:
    """Panels laid out in rows of equal cells at one scale.

    Parameters
    ----------
    pixels
        ``(H, W, 3)`` uint8.
    corners
        Left and top pixel, width and height of each panel.
    px_per_mm
        Scale of all panels.
    """

    pixels: np.ndarray
    corners: tuple[tuple[int, int, int, int], ...]
    px_per_mm: float


def tile(panels: Sequence[Panel], columns: int, width: int = WIDTH_PX) -> PanelLayout:
    """Lay panels out from left to right and top to bottom, each in the middle of its cell.

    A column is as wide as its widest panel, a row as tall as its tallest; all have one scale,
    which makes the whole ``width`` pixels wide.
    """
    columns = min(columns, len(panels))
    sizes = np.array([panel.size for panel in panels])
    wide = [sizes[column::columns, 1].max() for column in range(columns)]
    tall = [sizes[first : first + columns, 0].max() for first in range(0, len(panels), columns)]
    scale = float((width - (columns - 1) * GAP_PX) / sum(wide))
    lefts, tops = _edges(wide, scale), _edges(tall, scale)
    pixels = np.full((tops[-1] - GAP_PX, lefts[-1] - GAP_PX, 3), GAP_GREY, np.uint8)
    corners = []
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        cell = np.s_[
            tops[row] : tops[row + 1] - GAP_PX, lefts[column] : lefts[column + 1] - GAP_PX
        ]
        pixels[cell] = 0
        picture = _scaled(panel, scale)
        free = np.subtract(pixels[cell].shape, picture.shape) // 2
        top, left = int(tops[row] + free[0]), int(lefts[column] + free[1])
        pixels[top : top + len(picture), left : left + len(picture[0])] = picture
        corners.append((left, top, len(picture[0]), len(picture)))
    return PanelLayout(pixels, tuple(corners), scale)


def _edges(sizes: Sequence[float], scale: float) -> np.ndarray:
    """Pixels where cells of these sizes (mm) begin, and where a further one would."""
    return np.cumsum([0, *(int(scale * size) + GAP_PX for size in sizes)])


def _scaled(panel: Panel, scale: float) -> np.ndarray:
    """Draw a panel at ``scale`` pixels per mm, ``(H, W, 3)``."""
    height, width = (max(1, int(scale * size)) for size in panel.size)
    image = Image.fromarray(panel.pixels).convert('RGB')
    # the mean over the area of a pixel: keeps thick slices visible as blocks
    return np.asarray(image.resize((width, height), Image.Resampling.BOX))


def mosaic(
    panels: Sequence[Panel], columns: int, width: int = WIDTH_PX, letter_pt: float = LETTER_PT
) -> Figure:
    """Draw panels at one scale, with captions and the letters of their edges."""
    tiling = tile(panels, columns, width)
    figure = _figure_of(tiling)
    figure.figimage(tiling.pixels)
    for panel, corner in zip(panels, tiling.corners, strict=True):
        _draw_letters(figure, panel, corner, letter_pt)
    return figure


def _figure_of(tiling: PanelLayout) -> Figure:
    height, width = tiling.pixels.shape[:2]
    return Figure((width / DPI, height / DPI), DPI, facecolor='black')


def _draw_letters(
    figure: Figure, panel: Panel, corner: tuple[int, int, int, int], letter_pt: float
) -> None:
    """Write the letters inside the edges of a panel and its caption in the lower left corner."""
    left, top, width, height = corner
    texts = [
        (left + 4, top + height / 2, 'left', 'center', panel.edges[0]),
        (left + width - 4, top + height / 2, 'right', 'center', panel.edges[1]),
        (left + width / 2, top + 4, 'center', 'top', panel.edges[2]),
        (left + width / 2, top + height - 3, 'center', 'bottom', panel.edges[3]),
        (left + 4, top + height - 3, 'left', 'bottom', panel.caption),
    ]
    style: dict[str, Any] = {'fontweight': 'bold', 'path_effects': OUTLINE, 'linespacing': 1.1}
    size_px = figure.get_size_inches() * DPI
    for x, y, ha, va, text in texts:
        is_caption = text is panel.caption
        style['color'] = CAPTION_COLOR if is_caption else LETTER_COLOR
        style['fontsize'] = letter_pt * (CAPTION_SIZE if is_caption else 1)
        figure.text(x / size_px[0], 1 - y / size_px[1], text, ha=ha, va=va, **style)


def contours(panels: Sequence[Panel], columns: int) -> Figure:
    """Draw the outlines of the panels' bright parts on a transparent ground, to lay over others.

    The panels stand where `mosaic` draws panels of the same sizes.
    """
    tiling = tile(panels, columns)
    figure = _figure_of(tiling)
    figure.patch.set_alpha(0)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    grey = gaussian_filter(tiling.pixels[..., 0].astype(np.float32), CONTOUR_SD * tiling.px_per_mm)
    level = otsu_threshold(tiling.pixels[::2, ::2, 0])
    if grey.min() < level < grey.max():
        axes.contour(grey, [level], colors=CONTOUR_COLOR, linewidths=1.0)
    axes.set_xlim(-0.5, grey.shape[1] - 0.5)
    axes.set_ylim(grey.shape[0] - 0.5, -0.5)
    return figure


def acquired_slices(voxels: np.ndarray, grid: Grid, slice_axis: int | None) -> Figure:
    """Show slices of a scan as acquired, and the two planes across them with its true voxels.

    Parameters
    ----------
    voxels
        ``(I, J, K)`` on ``grid``.
    slice_axis
        Voxel axis across the slices; None takes the coarsest.
    """
    screen, window = to_screen(voxels, grid), window_of(voxels)
    acquired = int(np.argmax(grid.spacing)) if slice_axis is None else slice_axis
    axis = screen.axes.index(acquired)
    panels = []
    for index in slice_positions(screen, axis, NATIVE_SLICES):
        number = f'slice {_file_index(screen, grid, axis, index) + 1} of {grid.shape[acquired]}'
        side = describe_position(screen, axis, index).partition(',')[0]
        caption = f'{number}\n{side}' if side else number
        panels.append(slice_panel(screen, axis, index, window, caption))
    for other in range(3):
        if other != axis:
            (index,) = slice_positions(screen, other, 1)
            side = describe_position(screen, other, index)
            caption = f'{PLANES[other]}\n{side}' if side else PLANES[other]
            panels.append(slice_panel(screen, other, index, window, caption))
    return mosaic(panels, columns=6)


def _file_index(screen: Screen, grid: Grid, axis: int, index: int) -> int:
    """Index that a slice of the screen has in the file."""
    screen2vox = np.linalg.inv(grid.vox2ras) @ screen.vox2ras
    source = screen.axes[axis]
    return round(screen2vox[source, axis] * index + screen2vox[source, 3])


def overview(voxels: np.ndarray, guide: np.ndarray, grid: Grid) -> Figure:
    """Show two axial, a coronal and a sagittal slice.

    Parameters
    ----------
    guide
        Volume on the same grid whose head decides which slices and which part of them are shown.
    """
    return mosaic(_overview_panels(voxels, guide, grid), columns=4)


def outline(voxels: np.ndarray, grid: Grid) -> Figure:
    """Draw what `overview` shows of its guide as contours, to lay over any such overview."""
    return contours(_overview_panels(voxels, voxels, grid), columns=4)


def _overview_panels(voxels: np.ndarray, guide: np.ndarray, grid: Grid) -> list[Panel]:
    box = head_box(to_screen(guide, grid))
    screen, guide_screen = (cropped(to_screen(volume, grid), box) for volume in (voxels, guide))
    window = window_of(voxels)
    return [
        slice_panel(screen, axis, index, window, describe_position(guide_screen, axis, index))
        for axis, count in ((2, 2), (1, 1), (0, 1))
        for index in slice_positions(guide_screen, axis, count)
    ]


def rows_of_slices(
    volumes: Sequence[np.ndarray],
    grid: Grid,
    axis: int,
    windows: Sequence[tuple[float, float]] | None = None,
) -> Figure:
    """Show the same slices of volumes on one grid, a row for each volume.

    Parameters
    ----------
    volumes
        The head in the first decides which slices and which part of them are shown.
    axis
        Screen axis across the slices: an index of `PLANES`.
    windows
        Values that each volume shows black and white; None takes the window of each.
    """
    box = head_box(to_screen(volumes[0], grid))
    screens = [cropped(to_screen(voxels, grid), box) for voxels in volumes]
    positions = slice_positions(screens[0], axis, OUTPUT_SLICES)
    panels = [
        slice_panel(screen, axis, index, window, describe_position(screens[0], axis, index))
        for screen, window in zip(screens, windows or map(window_of, volumes), strict=True)
        for index in positions
    ]
    return mosaic(panels, columns=len(positions))


def labelled_slices(voxels: np.ndarray, labels: np.ndarray, grid: Grid, axis: int) -> Figure:
    """Show slices of a volume with its labels in their colours over it."""
    colors = np.zeros((max(STRUCTURES) + 1, 3), np.float32)
    for index, structure in STRUCTURES.items():
        digits = structure.color.removeprefix('#')
        colors[index] = [int(digits[at : at + 2], 16) for at in (0, 2, 4)]
    shows = np.zeros((len(colors), 1), np.float32)
    shows[[index for index in STRUCTURES if STRUCTURES[index].is_intracranial]] = OPACITY

    def paint(grey: np.ndarray, values: np.ndarray) -> np.ndarray:
        index = values.astype(int)
        blend = (1 - shows[index]) * grey[..., None] + shows[index] * colors[index]
        return blend.astype(np.uint8)

    return _laid_over(voxels, labels, grid, axis, paint)


def heat_slices(voxels: np.ndarray, error: np.ndarray, grid: Grid, axis: int) -> Figure:
    """Show slices of an expected error, where the head of ``voxels`` is."""
    most = UNSURE * window_of(voxels)[1]

    def paint(_: np.ndarray, values: np.ndarray) -> np.ndarray:
        return (colormaps['inferno']((values / most).clip(0, 1))[..., :3] * 255).astype(np.uint8)

    return _laid_over(voxels, error, grid, axis, paint)


def growth_slices(voxels: np.ndarray, growth: np.ndarray, grid: Grid, axis: int) -> Figure:
    """Show slices of a volume with what has grown over it in red, and what has shrunk in blue.

    Parameters
    ----------
    voxels
        Volume below, ``(I, J, K)``.
    growth
        Logarithm of the factor by which each voxel is larger, on the same grid.
    grid
        Where the voxels of both lie.
    axis
        Screen axis across the slices: an index of `PLANES`.
    """

    def paint(grey: np.ndarray, values: np.ndarray) -> np.ndarray:
        share = (values / MOST_GROWTH).clip(-1, 1)
        color = colormaps['bwr']((share + 1) / 2)[..., :3] * 255
        shows = np.abs(share)[..., None]
        return ((1 - shows) * grey[..., None] + shows * color).astype(np.uint8)

    return _laid_over(voxels, growth, grid, axis, paint)


def surface_slices(
    voxels: np.ndarray, grid: Grid, axis: int, cuts: Sequence[tuple[str, Sequence[Mesh]]]
) -> Figure:
    """Show slices of a volume with the lines along which surfaces cut them.

    Parameters
    ----------
    voxels, grid
        The volume, ``(I, J, K)``, and where it lies.
    axis
        Screen axis across the slices: an index of `PLANES`.
    cuts
        Name and meshes of each kind of surface; the first is drawn in red, the next in yellow.
    """
    screen = cropped(to_screen(voxels, grid), head_box(to_screen(voxels, grid)))
    ras2screen = np.linalg.inv(screen.vox2ras)
    placed = [
        [replace(mesh, points=apply_affine(ras2screen, mesh.points)) for mesh in meshes]
        for _, meshes in cuts
    ]
    panels, window = [], window_of(voxels)
    others = [other for other in range(3) if other != axis]
    for index in slice_positions(screen, axis, OUTPUT_SLICES):
        panel = slice_panel(screen, axis, index, window, describe_position(screen, axis, index))
        height, width = panel.pixels.shape
        size = (width * FINER, height * FINER)
        image = Image.fromarray(panel.pixels).convert('RGB')
        image = image.resize(size, Image.Resampling.BICUBIC)
        pen = ImageDraw.Draw(image)
        for color, meshes in zip(SURFACE_COLORS, placed, strict=False):
            segments = (cut_by_plane(mesh, axis, index + ASIDE) for mesh in meshes)
            for segment in chain.from_iterable(segments):
                ends = (segment[:, others] + 0.5) * FINER
                pen.line([*map(tuple, ends)], fill=color, width=1)
        panels.append(replace(panel, pixels=np.asarray(image)))
    return mosaic(panels, columns=OUTPUT_SLICES)


def surface_views(hemispheres: Sequence[tuple[Mesh, np.ndarray]]) -> Figure:
    """Draw the hemispheres with the thickness of the cortex: left, right, and from above.

    Parameters
    ----------
    hemispheres
        Surface of the left and of the right hemisphere, and a value in mm for each vertex.
    """
    views = [(mesh, (0, side)) for mesh in hemispheres for side in (-1, 1)]
    panels = [_view([mesh], *way) for mesh, way in views]
    names = ('left, from outside', 'left, from inside', 'right, from inside', 'right, outside')
    panels = [replace(x, caption=name) for x, name in zip(panels, names, strict=True)]
    panels.append(replace(_view(hemispheres, 2, 1), caption='from above'))
    return mosaic(panels, columns=len(panels))


def _view(hemispheres: Sequence[tuple[Mesh, np.ndarray]], axis: int, side: int) -> Panel:
    """Look at surfaces along an axis: the nearest of what lies behind each pixel, lit."""
    dots = np.concatenate([_dots(mesh, value) for mesh, value in hemispheres])
    points, values, light = dots[:, :3], dots[:, 3], (dots[:, 4 + axis] * side).clip(0)
    # from the left or the right, the front is at that side; from above, it is at the top
    across = points[:, 1] * -side if axis == 0 else points[:, 0]
    down = -points[:, 2] if axis == 0 else -points[:, 1]
    low = np.array([across.min(), down.min()])
    column, row = ((np.stack([across, down]).T - low) * VIEW_PX_PER_MM).astype(int).T
    shape = (row.max() + 1, column.max() + 1)
    nearest = np.argsort(points[:, axis] * side)  # the nearest is painted last
    color = colormaps['inferno'](values / THICKEST_MM)[:, :3] * (0.35 + 0.65 * light[:, None])
    pixels = np.zeros((*shape, 3), np.float32)
    depth = np.full(shape, -np.inf)
    pixels[row[nearest], column[nearest]] = color[nearest] * 255
    depth[row[nearest], column[nearest]] = (points[:, axis] * side)[nearest]
    for _ in range(CLOSING):  # vertices are farther apart than pixels
        pixels, depth = _spread(pixels, depth)
    size = (shape[0] / VIEW_PX_PER_MM, shape[1] / VIEW_PX_PER_MM)
    return Panel(pixels.clip(0, 255).astype(np.uint8), size, ('', '', '', ''))


def _dots(mesh: Mesh, values: np.ndarray) -> np.ndarray:
    """Cover a surface with dots about a pixel apart: place, value and direction, ``(N, 7)``."""
    of_vertex = np.column_stack([mesh.points, values, _slopes(mesh)])
    corners = of_vertex[mesh.triangles]  # (M, 3, 7)
    sides = np.linalg.norm(corners[:, 0, :3] - corners[:, 1, :3], axis=1)
    count = int(np.clip(np.ceil(np.percentile(sides, 95) * VIEW_PX_PER_MM), 1, MOST_DOTS))
    shares = [(x, y, count - x - y) for x in range(count + 1) for y in range(count + 1 - x)]
    return np.concatenate([
        np.einsum('c,mcf->mf', np.array(share) / count, corners).astype(np.float32)
        for share in shares
    ])  # fmt: skip


def _slopes(mesh: Mesh) -> np.ndarray:
    """Compute the direction in which a surface looks at each vertex, ``(N, 3)``."""
    first, second, third = (mesh.points[mesh.triangles[:, number]] for number in range(3))
    normals = np.cross(second - first, third - first)
    sums = np.stack(
        [
            np.bincount(mesh.triangles.ravel(), np.repeat(normals[:, axis], 3), len(mesh.points))
            for axis in range(3)
        ],
        axis=1,
    )
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)


def _spread(pixels: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Let each pixel take the nearest of its four neighbours, if that is nearer than its own."""
    for axis in (0, 1):
        for step in (-1, 1):
            beside, other = np.roll(depth, step, axis), np.roll(pixels, step, axis)
            is_nearer = beside > depth + NEARER_MM
            depth = np.where(is_nearer, beside, depth)
            pixels = np.where(is_nearer[..., None], other, pixels)
    return pixels, depth


def change_chart(changes: Mapping[str, Sequence[float]], sessions: Sequence[str]) -> Figure:
    """Draw how structures changed from session to session.

    Parameters
    ----------
    changes
        Change since the first session, in percent, by the name of the structure.
    sessions
        What the sessions are called below the chart.
    """
    figure = Figure((8, 3.2), facecolor='none')
    axes = figure.add_axes((0.08, 0.14, 0.64, 0.82), facecolor='none')
    axes.axhline(0, color=INK, linewidth=0.8)
    for number, (name, values) in enumerate(changes.items()):
        color = LINE_COLORS[number % len(LINE_COLORS)]
        style = 'o-' if number < len(LINE_COLORS) else 's--'
        axes.plot(range(len(values)), values, style, color=color, label=name, markersize=4)
    axes.set_xticks(range(len(sessions)), sessions)
    axes.set_ylabel('change, %', color=INK)
    axes.tick_params(colors=INK)
    axes.spines[['top', 'right', 'bottom']].set_visible(False)
    axes.spines['left'].set_color(INK)
    legend = axes.legend(frameon=False, labelcolor=INK, loc='center left', bbox_to_anchor=(1, 0.5))
    for text in [*legend.get_texts(), *axes.get_xticklabels()]:
        text.set_parse_math(False)
    return figure


def _laid_over(
    voxels: np.ndarray,
    other: np.ndarray,
    grid: Grid,
    axis: int,
    paint: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Figure:
    """Paint slices from those of two volumes on one grid: grey levels, and values."""
    box = head_box(to_screen(voxels, grid))
    screen, over = (cropped(to_screen(volume, grid), box) for volume in (voxels, other))
    window, panels = window_of(voxels), []
    for index in slice_positions(screen, axis, OUTPUT_SLICES):
        panel = slice_panel(screen, axis, index, window)
        values = slice_values(over, axis, index)
        side = describe_position(screen, axis, index)
        panels.append(Panel(paint(panel.pixels, values), panel.size, panel.edges, side))
    return mosaic(panels, columns=OUTPUT_SLICES)


def reliability_map(voxels: np.ndarray, grid: Grid, head: np.ndarray) -> Figure:
    """Show where a scan measured: yellow over a volume, in the two planes across its slices.

    The middle `DETAIL` of a map alone: a small picture of the whole would show moiré in place of
    its slices.

    Parameters
    ----------
    voxels
        Reliability ``(I, J, K)`` from 0 to 1 on ``grid``.
    grid
        Where the voxels lie.
    head
        Intensities ``(I, J, K)`` on the same grid, which show where in the head that is.
    """
    screen = to_screen(voxels, grid)
    box = [_middle(*at) for at in zip(screen.voxels.shape, screen.spacing, strict=True)]
    screen, below = (
        cropped(to_screen(volume, grid), (box[0], box[1], box[2])) for volume in (voxels, head)
    )
    window, panels = window_of(head), []
    for axis in sorted({0, 1, 2} - {_axis_of_change(screen.voxels)}, reverse=True):
        index = screen.voxels.shape[axis] // 2
        panel = slice_panel(below, axis, index, window)
        share = OPACITY * slice_values(screen, axis, index)[..., None]
        colors = (1 - share) * panel.pixels[..., None] + share * np.array(MEASURED)
        panels.append(Panel(colors.astype(np.uint8), panel.size, panel.edges, PLANES[axis]))
    return mosaic(panels, 2, THUMBNAIL_PX, THUMBNAIL_PT)


def _axis_of_change(voxels: np.ndarray) -> int:
    """Find the axis along which neighbouring voxels differ most: that across the slices."""
    return int(np.argmax([np.abs(np.diff(voxels, axis=axis)).mean() for axis in range(3)]))


def _middle(count: int, spacing: float) -> slice:
    """Find the voxels in the middle `DETAIL` of an axis."""
    margin = max(0, round((count - DETAIL / spacing) / 2))
    return slice(margin, count - margin)


def histograms(volumes: Mapping[str, np.ndarray]) -> Figure:
    """Draw how the intensities of volumes are distributed, each relative to what is shown white.

    Background, that is what is darker than half the threshold between dark and bright, is left
    out.
    """
    figure = Figure((8, 2.8), facecolor='none')
    axes = figure.add_axes((0.02, 0.17, 0.96, 0.8), facecolor='none')
    edges = np.linspace(0, BRIGHTEST, BINS + 1)
    for number, (name, voxels) in enumerate(volumes.items()):
        share = _share_by_intensity(voxels, edges)
        color = LINE_COLORS[number % len(LINE_COLORS)]
        style = '-' if number < len(LINE_COLORS) else '--'
        axes.plot((edges[:-1] + edges[1:]) / 2, share, style, color=color, label=name)
    axes.set_xlabel('intensity, % of what the pictures show white', color=INK)
    axes.set_yticks([])
    axes.tick_params(colors=INK)
    axes.spines[['top', 'right', 'left']].set_visible(False)
    axes.spines['bottom'].set_color(INK)
    axes.set_xlim(0, BRIGHTEST)
    axes.set_ylim(0)
    for text in axes.legend(frameon=False, labelcolor=INK).get_texts():
        text.set_parse_math(False)
    return figure


def _share_by_intensity(voxels: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Share of the voxels between the edges, which are percent of white."""
    step = math.ceil(np.cbrt(voxels.size / 1e6))
    black, white = window_of(voxels)
    percent = (voxels[::step, ::step, ::step] - black) * (100 / (white - black))
    percent = percent[np.isfinite(percent)]
    if percent.size and percent.min() < percent.max():
        percent = percent[percent > otsu_threshold(percent) / 2]
    counts, _ = np.histogram(percent, edges)
    return counts / max(1, counts.sum())


def effect_slices(
    voxels: np.ndarray, effect: np.ndarray, is_sure: np.ndarray, grid: Grid, axis: int
) -> Figure:
    """Show slices of a mean brain with a difference of groups over it, red where it is positive.

    Parameters
    ----------
    voxels
        Volume below, ``(I, J, K)``.
    effect
        Hedges' g at each voxel, on the same grid.
    is_sure
        Where it is no chance, bool: elsewhere it is drawn faintly.
    grid
        Where the voxels of all lie.
    axis
        Screen axis across the slices: an index of `PLANES`.
    """
    # both in one volume: what is sure is beyond 1
    share = (effect / MOST_G).clip(-1, 1)
    coded = np.where(is_sure, np.sign(share) * (1 + np.abs(share)), share * FAINT)

    def paint(grey: np.ndarray, values: np.ndarray) -> np.ndarray:
        size, sure = np.abs(values), np.abs(values) > 1
        strength = np.where(sure, size - 1, size / FAINT)
        color = colormaps['bwr']((np.sign(values) * strength + 1) / 2)[..., :3] * 255
        shows = np.where(sure, SURE_OPACITY, FAINT * strength)[..., None]
        return ((1 - shows) * grey[..., None] + shows * color).astype(np.uint8)

    return _laid_over(voxels, coded.astype(np.float32), grid, axis, paint)
