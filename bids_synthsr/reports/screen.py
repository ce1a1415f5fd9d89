"""Volumes as a radiologist looks at them.

On the screen the axes of a volume run towards the patient's left, posterior and inferior. Every
slice then has the patient's right at its left edge (sagittal slices: anterior), and superior or
anterior at the top: the radiological convention, without a special case.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from bids_synthsr.imaging.geometry import axis_order
from bids_synthsr.values.grid import Grid

PLANES = ('sagittal', 'coronal', 'axial')  # by the screen axis along which their slices lie
SECOND_LETTER = np.sin(np.radians(22.5))  # a direction that much oblique has two letters
SAMPLES = 200_000  # voxels that are enough for the percentiles of a window
WELL_SEEN, BARELY_SEEN = 0.25, 0.05  # mean of a slice, relative to the brightest
MARGIN = 6.0  # mm around the head
MIDDLE = 2.5  # mm from the middle of the head within which a slice belongs to neither side


@dataclass(frozen=True, eq=False)
class Screen:
    """A volume in screen order.

    Parameters
    ----------
    voxels
        ``(X, Y, Z)``, a view: X runs to the patient's left, Y to posterior, Z to inferior.
    vox2ras
        ``(4, 4)`` affine from indices of ``voxels`` to RAS+ mm.
    axes
        Axis of the original volume behind each axis.
    """

    voxels: np.ndarray
    vox2ras: np.ndarray
    axes: tuple[int, int, int]

    @property
    def spacing(self) -> np.ndarray:
        """Distance between neighbouring voxel centres along each axis, ``(3,)`` mm."""
        return np.linalg.norm(self.vox2ras[:3, :3], axis=0)


@dataclass(frozen=True, eq=False)
class Panel:
    """A slice, ready to be drawn.

    Parameters
    ----------
    pixels
        ``(H, W)`` or ``(H, W, 3)`` uint8.
    size
        Height and width, mm.
    edges
        Letters of the directions at the left, right, top and bottom edge.
    caption
        A word or two.
    """

    pixels: np.ndarray
    size: tuple[float, float]
    edges: tuple[str, str, str, str]
    caption: str = ''


def to_screen(voxels: np.ndarray, grid: Grid) -> Screen:
    """Permute and flip the axes of a volume to screen order; no voxel is copied."""
    axes, signs = axis_order(grid.vox2ras)
    step = [-1 if sign > 0 else 1 for sign in signs]
    view2vox = np.zeros((4, 4))
    view2vox[3, 3] = 1
    for axis, source in enumerate(axes):
        view2vox[source, axis] = step[axis]
        view2vox[source, 3] = grid.shape[source] - 1 if step[axis] < 0 else 0
    view = voxels.transpose(axes)[:: step[0], :: step[1], :: step[2]]
    return Screen(view, grid.vox2ras @ view2vox, axes)


def direction_letters(direction: np.ndarray) -> str:
    """Name a direction, RAS+ ``(3,)``: ``L``, or ``LA`` where oblique, largest part first."""
    unit = direction / np.linalg.norm(direction)
    largest = np.argsort(-np.abs(unit))[:2]
    return ''.join(
        ('LR', 'PA', 'IS')[axis][int(unit[axis] > 0)]
        for axis in largest
        if abs(unit[axis]) > SECOND_LETTER
    )


def edge_letters(screen: Screen, axis: int) -> tuple[str, str, str, str]:
    """Letters at the left, right, top and bottom edge of the slices along ``axis``."""
    across, down = (screen.vox2ras[:3, other] for other in range(3) if other != axis)
    return (
        direction_letters(-across),
        direction_letters(across),
        direction_letters(-down),
        direction_letters(down),
    )


def window_of(voxels: np.ndarray) -> tuple[float, float]:
    """Choose the values that are shown black and white.

    Black is the 1st percentile of all voxels. White lies a quarter above the 98th percentile of
    the middle third of every axis, which holds brain and none of the scalp, whose fat would leave
    the brain dark.
    """
    whole = _sample(voxels)
    if whole.size == 0:
        return 0.0, 1.0
    middle = _sample(voxels[tuple(slice(size // 3, size - size // 3) for size in voxels.shape)])
    black = float(np.percentile(whole, 1))
    bright = float(np.percentile(middle, 98)) if middle.size else black
    bright = bright if bright > black else float(whole.max())
    return black, black + (1.25 * (bright - black) or 1.0)


def _sample(voxels: np.ndarray) -> np.ndarray:
    """Take about `SAMPLES` voxels, evenly spread, of those that are finite."""
    step = math.ceil(np.cbrt(voxels.size / SAMPLES))
    sample = voxels[::step, ::step, ::step]
    return sample[np.isfinite(sample)]


def to_bytes(voxels: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Scale values so that the window covers 0 to 255; uint8, NaN is black."""
    low, high = window
    scaled = np.clip((voxels - np.float32(low)) * np.float32(255 / (high - low)), 0, 255)
    return np.nan_to_num(scaled).astype(np.uint8)


def slice_panel(
    screen: Screen, axis: int, index: int, window: tuple[float, float], caption: str = ''
) -> Panel:
    """Take the slice ``index`` across a screen axis."""
    pixels = to_bytes(slice_values(screen, axis, index), window)
    across, down = (screen.spacing[other] for other in range(3) if other != axis)
    size = (pixels.shape[0] * down, pixels.shape[1] * across)
    return Panel(pixels, size, edge_letters(screen, axis), caption)


def slice_values(screen: Screen, axis: int, index: int) -> np.ndarray:
    """Values of the slice ``index`` across a screen axis, rows from top to bottom."""
    return np.moveaxis(screen.voxels, axis, 0)[index].T


def head_extent(screen: Screen, axis: int, level: float) -> tuple[int, int]:
    """Find the first and the last slice across ``axis`` that show head.

    Parameters
    ----------
    level
        Mean of a slice that counts as head, relative to that of the brightest.
    """
    others = tuple(other for other in range(3) if other != axis)
    thinned = screen.voxels[tuple(slice(None, None, 1 if a == axis else 4) for a in range(3))]
    profile = np.nan_to_num(np.abs(thinned)).mean(others)
    bright = np.flatnonzero(profile > level * profile.max())
    return (int(bright[0]), int(bright[-1])) if bright.size else (0, screen.voxels.shape[axis] - 1)


def slice_positions(screen: Screen, axis: int, count: int) -> list[int]:
    """Spread ``count`` slices, or as many as there are, over the head, its very ends left out."""
    first, last = head_extent(screen, axis, WELL_SEEN)
    fractions = (np.arange(count) + 0.5) / count
    return list(dict.fromkeys(round(first + part * (last - first)) for part in fractions))


def describe_position(screen: Screen, axis: int, index: int) -> str:
    """Describe on which side of the head's middle a sagittal slice lies, and how far, mm.

    Slices in other planes show by themselves where they lie: nothing is said of them.
    """
    if axis != 0:
        return ''
    first, last = head_extent(screen, axis, BARELY_SEEN)
    distance = (index - (first + last) / 2) * float(screen.spacing[axis])
    if abs(distance) < MIDDLE:
        return 'middle'
    return f'{"left" if distance > 0 else "right"}, {abs(distance):.0f} mm\nfrom the middle'


def head_box(screen: Screen) -> tuple[slice, slice, slice]:
    """Find the part of a volume that holds the head, and a margin."""
    box = []
    for axis in range(3):
        first, last = head_extent(screen, axis, BARELY_SEEN)
        margin = round(MARGIN / screen.spacing[axis])
        box.append(slice(max(0, first - margin), last + 1 + margin))
    return (box[0], box[1], box[2])


def cropped(screen: Screen, box: tuple[slice, slice, slice]) -> Screen:
    """Take a part of a volume."""
    vox2ras = screen.vox2ras.copy()
    vox2ras[:3, 3] += vox2ras[:3, :3] @ [part.start for part in box]
    return replace(screen, voxels=screen.voxels[box], vox2ras=vox2ras)
