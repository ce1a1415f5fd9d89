"""Figures and volumes as text that stands inside a page, so that the page needs no other file."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from bids_synthsr.reports.content import Volume
from bids_synthsr.reports.figures import INK
from bids_synthsr.reports.screen import (
    Panel,
    Screen,
    cropped,
    head_box,
    slice_panel,
    slice_positions,
    to_bytes,
    to_screen,
    window_of,
)

JPEG_QUALITY, SPRITE_QUALITY = 82, 75  # the volumes of the viewer are most of a page
THUMBNAIL_PX = 96  # high; shown at half of that, sharp on dense screens
SPRITE_PIXELS = 16e6  # browsers of phones decode no larger image at full resolution


@dataclass(frozen=True)
class Sprite:
    """A volume as one image: its axial slices side by side, from superior to inferior.

    Parameters
    ----------
    source
        ``data:`` address of the image.
    shape
        Columns and rows of a slice, and the number of slices.
    columns
        Slices in a row of the image.
    """

    source: str
    shape: tuple[int, int, int]
    columns: int


def jpeg(figure: Figure) -> str:
    """Draw a figure as JPEG; ``data:`` address."""
    return _data_uri(_render(figure).convert('RGB'), 'jpeg', quality=JPEG_QUALITY, subsampling=0)


def thumbnail(volume: Volume) -> bytes:
    """Show a sagittal, a coronal and an axial slice side by side in a small JPEG file."""
    screen = to_screen(volume.voxels, volume.grid)
    screen = cropped(screen, head_box(screen))
    window, pictures = window_of(volume.voxels), []
    for axis in range(3):
        (index,) = slice_positions(screen, axis, 1)
        panel = slice_panel(screen, axis, index, window)
        width = max(round(THUMBNAIL_PX * panel.size[1] / panel.size[0]), 1)
        picture = Image.fromarray(panel.pixels)
        pictures.append(picture.resize((width, THUMBNAIL_PX), Image.Resampling.LANCZOS))
    strip = Image.new('L', (sum(picture.width for picture in pictures), THUMBNAIL_PX))
    left = 0
    for picture in pictures:
        strip.paste(picture, (left, 0))
        left += picture.width
    buffer = io.BytesIO()
    strip.save(buffer, 'jpeg', quality=SPRITE_QUALITY)
    return buffer.getvalue()


def png_strip(panels: Sequence[Panel], height_mm: float = 0.0) -> str:
    """Put slices side by side without loss, black around them; ``data:`` address.

    Parameters
    ----------
    panels
        Slices, all of them in grey.
    height_mm
        Height of the strip, mm; 0 for that of the highest slice.
    """
    height = height_mm or max(panel.size[0] for panel in panels)
    finest = min(panel.size[0] / panel.pixels.shape[0] for panel in panels)
    rows = round(height / finest)
    pictures = []
    for panel in panels:
        size = (round(panel.size[1] / finest), round(panel.size[0] / finest))
        picture = Image.fromarray(panel.pixels).resize(size, Image.Resampling.BICUBIC)
        ground = Image.new('L', (size[0], rows))
        ground.paste(picture, (0, (rows - size[1]) // 2))
        pictures.append(np.asarray(ground))
    strip = Image.fromarray(np.concatenate(pictures, axis=1))
    return _data_uri(strip, 'png')


def jpeg_of_file(path: Path) -> str:
    """Take a JPEG file as it is; ``data:`` address."""
    return 'data:image/jpeg;base64,' + base64.b64encode(path.read_bytes()).decode()


def png(figure: Figure) -> str:
    """Draw a figure as PNG of 32 colours with transparency; ``data:`` address."""
    few = _render(figure).quantize(32, Image.Quantize.FASTOCTREE)
    return _data_uri(few, 'png')


def svg(figure: Figure, name: str) -> str:
    """Draw a figure as SVG element in the fonts and the text colour of the page.

    Parameters
    ----------
    name
        Goes into the ids of the element, which must be unique in the page.
    """
    text = io.StringIO()
    with mpl.rc_context({'svg.fonttype': 'none', 'svg.hashsalt': name}):
        figure.savefig(text, format='svg', metadata={'Date': None, 'Creator': None})
    element = text.getvalue()
    return element[element.index('<svg') :].replace(INK, 'currentColor')


def thinned(screen: Screen) -> Screen:
    """Leave out voxels of a very large volume, so that its sprite shows on a phone."""
    step = math.ceil(np.cbrt(screen.voxels.size / SPRITE_PIXELS))
    vox2ras = screen.vox2ras @ np.diag([step, step, step, 1])
    return replace(screen, voxels=screen.voxels[::step, ::step, ::step], vox2ras=vox2ras)


def sprite(screen: Screen) -> Sprite:
    """Pack a volume into one grey JPEG."""
    slices = to_bytes(screen.voxels, window_of(screen.voxels)).T  # (Z, Y, X)
    count, height, width = slices.shape
    columns = math.ceil(math.sqrt(count * height / width))
    rows = math.ceil(count / columns)
    sheet = np.zeros((rows * columns, height, width), np.uint8)
    sheet[:count] = slices
    sheet = sheet.reshape(rows, columns, height, width).swapaxes(1, 2)
    image = Image.fromarray(sheet.reshape(rows * height, columns * width))
    source = _data_uri(image, 'jpeg', quality=SPRITE_QUALITY)
    return Sprite(source, (width, height, count), columns)


def _render(figure: Figure) -> Image.Image:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba()))


def _data_uri(image: Image.Image, kind: str, **options: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, optimize=False, **options)
    return f'data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}'
