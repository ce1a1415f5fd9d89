"""Draw the picture of the front page: one exam of the demo before and after.

``make demo`` first, then ``python docs/pictures.py demo``: it writes ``docs/pictures/exam.png``.
All panels of a row show the same plane of the head, the nearest voxel of every scan.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from scipy import ndimage

from bids_synthsr.dataset.images import load_rigid, load_volume
from bids_synthsr.derivatives.places import Derivatives, ExamDerivatives
from bids_synthsr.evaluation.phantoms import PROTOCOLS, SUBJECT
from bids_synthsr.imaging.geometry import vox2vox
from bids_synthsr.values.grid import Grid

PICTURE = Path(__file__).parent / 'pictures' / 'exam.png'
SESSION = '1'
MAIN_DESCS = ('preproc', 'anyexam', 'sr', 'tv')  # the T1w of the exam, whichever method made it
DIRECTIONS = ('sagittal', 'coronal', 'axial')
WINDOW = 99.8  # percentile of a contrast's own intensities in the scan that is shown white
PANEL_INCH, DPI = 2.3, 110
MARGIN_MM = 6  # of air around the head
GREYS = 128  # shades: as many as the eye tells apart, in a smaller file
AIR = 20  # below this intensity of the T1w, white matter 110, there is no head


@dataclass(frozen=True, eq=False)
class Column:
    """A volume on the grid of the output, its title, and the intensity that is shown white."""

    title: str
    voxels: np.ndarray
    white: float


def find_main(exam: ExamDerivatives) -> Path:
    """Find the T1w that the program made."""
    files = [exam.synthesized('T1w', desc) for desc in MAIN_DESCS]
    return next(file for file in files if file.is_file())


def read_columns(demo: Path) -> list[Column]:
    """Read the scans of an exam as they were acquired, and the T1w that was made of them."""
    exam = Derivatives(demo / 'out').exam(SUBJECT, SESSION)
    after, grid = load_volume(find_main(exam))
    folder = demo / 'bids' / f'sub-{SUBJECT}' / f'ses-{SESSION}' / 'anat'
    columns = []
    for contrast, (axis, spacing, _) in PROTOCOLS[SESSION].items():
        voxels, source = load_volume(folder / f'{exam.label}_{contrast}.nii.gz')
        file = exam.transform(contrast, 'T1w')
        scan2ref = load_rigid(file) if file.is_file() else np.eye(4)
        shown = nearest(voxels, source, grid, scan2ref)
        title = f'{contrast}, {DIRECTIONS[axis]}\nslices {spacing:g} mm apart'
        columns.append(Column(title, shown, float(np.percentile(voxels, WINDOW))))
    # the T1w after has the window of the T1w before: white matter was scaled, and is so here
    scan = columns[0].voxels
    inside = after > AIR
    scale = np.median(after[inside]) / np.median(scan[inside])
    columns.append(
        Column('T1w of the program\n1 mm in all directions', after, columns[0].white * scale)
    )
    return columns


def nearest(voxels: np.ndarray, source: Grid, grid: Grid, scan2ref: np.ndarray) -> np.ndarray:
    """Give every voxel of a grid the scan's nearest voxel, so that thick slices look thick."""
    target2source = np.linalg.inv(vox2vox(source, grid, scan2ref))
    return ndimage.affine_transform(
        voxels.astype(np.float32), target2source, output_shape=grid.shape, order=0
    )


def head_box(voxels: np.ndarray) -> tuple[slice, ...]:
    """Bounding box of the head, with a little air."""
    where = np.argwhere(voxels > AIR)
    low, high = where.min(axis=0) - MARGIN_MM, where.max(axis=0) + MARGIN_MM + 1
    return tuple(
        slice(max(0, start), min(size, stop))
        for start, stop, size in zip(low, high, voxels.shape, strict=True)
    )


def show(axes: Axes, plane: np.ndarray, white: float) -> None:
    """Show a plane ``(R, up)``, the patient's right on the left, as radiologists do."""
    axes.imshow(plane.T[::-1, ::-1], cmap='gray', vmin=0, vmax=white, interpolation='nearest')
    axes.set_xticks([])
    axes.set_yticks([])
    for name, x, y in (('R', 0.03, 0.5), ('L', 0.93, 0.5)):
        axes.text(x, y, name, color='#ffd166', fontsize=8, transform=axes.transAxes)


def draw(columns: Sequence[Column]) -> Figure:
    """Draw coronal planes above, axial ones below."""
    box = head_box(columns[-1].voxels)
    volumes = [column.voxels[box] for column in columns]
    shape = volumes[0].shape
    coronal, axial = int(shape[1] * 0.47), int(shape[2] * 0.52)
    heights = [shape[2] / shape[0], shape[1] / shape[0]]
    figure = Figure((PANEL_INCH * len(columns), PANEL_INCH * sum(heights) + 0.6), dpi=DPI)
    figure.set_facecolor('black')
    rows = figure.subplots(
        2, len(columns), gridspec_kw={'height_ratios': heights, 'wspace': 0.03, 'hspace': 0.03}
    )
    for column, volume, (above, below) in zip(columns, volumes, rows.T, strict=True):
        above.set_title(column.title, color='white', fontsize=9)
        show(above, volume[:, coronal], column.white)
        show(below, volume[:, :, axial], column.white)
    for axes, plane in zip(rows[:, 0], ('coronal', 'axial'), strict=True):
        axes.set_ylabel(plane, color='white', fontsize=9)
    figure.subplots_adjust(left=0.035, right=0.995, top=0.92, bottom=0.01)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the picture of a demo folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('demo', type=Path, help='folder that make demo wrote')
    options = parser.parse_args(arguments)
    buffer = io.BytesIO()
    draw(read_columns(options.demo)).savefig(buffer, facecolor='black')
    Image.open(buffer).convert('RGB').quantize(GREYS).save(PICTURE, optimize=True)
    sys.stdout.write(f'{PICTURE}\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
