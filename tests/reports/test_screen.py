import base64
import io
from itertools import permutations, product

import numpy as np
import pytest
from PIL import Image

from bids_synthsr.imaging.geometry import apply_affine, rigid
from bids_synthsr.reports import embedding, figures
from bids_synthsr.reports.screen import (
    Panel,
    cropped,
    direction_letters,
    edge_letters,
    head_box,
    slice_panel,
    slice_positions,
    to_bytes,
    to_screen,
    window_of,
)
from bids_synthsr.values.grid import Grid

SHAPE = (10, 12, 14)
SPACING = np.array([1.0, 1.5, 2.0])
MARKER = np.array([-3.0, 5.0, 8.0])  # RAS+ mm: left, anterior, superior of the centre
ORIENTATIONS = [
    (order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)
]


def marked_grid(order, signs, rotation=None):
    """A volume about the origin whose voxel axes run in the given order and directions (48 in
    all, half of them left-handed), with one bright voxel where `MARKER` lies."""
    vox2ras = np.eye(4)
    vox2ras[:3, :3] = np.eye(3)[:, order] * np.asarray(signs) * SPACING[list(order)]
    shape = tuple(int(size) for size in np.array(SHAPE)[list(order)])
    vox2ras[:3, 3] = -vox2ras[:3, :3] @ ((np.array(shape) - 1) / 2)
    if rotation is not None:
        vox2ras = rotation @ vox2ras
    grid = Grid(shape, vox2ras)
    voxels = np.zeros(shape, np.float32)
    marker = MARKER if rotation is None else apply_affine(rotation, MARKER)
    voxels[tuple(np.round(apply_affine(np.linalg.inv(vox2ras), marker)).astype(int))] = 1
    return voxels, grid


@pytest.mark.parametrize(('order', 'signs'), ORIENTATIONS)
def test_every_orientation_is_shown_radiologically(order, signs):
    voxels, grid = marked_grid(order, signs)
    screen = to_screen(voxels, grid)
    right_is_left, anterior_is_up = edge_letters(screen, 2)[0], edge_letters(screen, 2)[2]
    assert (right_is_left, anterior_is_up) == ('R', 'A')
    assert edge_letters(screen, 1) == ('R', 'L', 'S', 'I')
    assert edge_letters(screen, 0) == ('A', 'P', 'S', 'I')
    x, y, z = np.argwhere(screen.voxels)[0]
    half = np.array(screen.voxels.shape) / 2
    assert x > half[0], 'left of the patient is right on the screen'
    assert y < half[1], 'anterior is up on an axial slice'
    assert z < half[2], 'superior is up on a coronal slice'
    (top, left) = np.argwhere(slice_panel(screen, 2, z, (0, 1)).pixels)[0]
    assert (left, top) == (x, y)
    np.testing.assert_allclose(screen.spacing, SPACING)


@pytest.mark.parametrize(('order', 'signs'), ORIENTATIONS[::5])
def test_screen_keeps_every_voxel_where_it_is(order, signs):
    turn = rigid(np.radians([20.0, -15, 10]), np.array([3.0, -2, 7]))
    voxels, grid = marked_grid(order, signs, turn)
    screen = to_screen(voxels, grid)
    assert np.shares_memory(screen.voxels, voxels)
    in_file = apply_affine(grid.vox2ras, np.argwhere(voxels)[0])
    on_screen = apply_affine(screen.vox2ras, np.argwhere(screen.voxels)[0])
    np.testing.assert_allclose(on_screen, in_file)
    part = cropped(screen, np.s_[1:, 0:, 2:])
    shown = apply_affine(part.vox2ras, np.argwhere(part.voxels)[0])
    np.testing.assert_allclose(shown, in_file)


@pytest.mark.parametrize(('order', 'signs'), ORIENTATIONS[::7])
def test_oblique_grids_are_lettered_by_their_nearest_axes(order, signs):
    _, grid = marked_grid(order, signs, rigid(np.radians([15.0, 10, -12]), np.zeros(3)))
    screen = to_screen(np.zeros(grid.shape), grid)
    assert edge_letters(screen, 2) == ('R', 'L', 'A', 'P')


@pytest.mark.parametrize(
    ('direction', 'letters'),
    [
        ((1, 0, 0), 'R'),
        ((0, -3, 0), 'P'),
        ((0, 0.1, 1), 'S'),
        ((-0.8, 0.6, 0), 'LA'),
        ((0, 0.6, -0.8), 'IA'),
    ],
)
def test_direction_letters(direction, letters):
    assert direction_letters(np.array(direction)) == letters


def test_numbers_of_acquired_slices_are_those_of_the_file():
    for order, signs in ORIENTATIONS[::6]:
        _, grid = marked_grid(order, signs)
        voxels = np.ones(grid.shape, np.float32)
        texts = [text.get_text() for text in figures.acquired_slices(voxels, grid, 2).texts]
        numbers = [int(text.split()[1]) for text in texts if text.startswith('slice')]
        descending = signs[2] > 0  # the file runs to R, A or S, the screen the other way
        assert numbers == sorted(numbers, reverse=descending)
        assert 1 <= min(numbers) <= max(numbers) <= grid.shape[2]


def test_panels_keep_their_shape_in_mm():
    thick = Panel(np.full((6, 40), 200, np.uint8), (30.0, 40.0), ('R', 'L', 'S', 'I'))
    square = Panel(np.full((40, 40), 200, np.uint8), (40.0, 40.0), ('R', 'L', 'A', 'P'))
    tiling = figures.tile([square, thick], columns=2)
    for panel, (left, top, width, height) in zip((square, thick), tiling.corners, strict=True):
        # whole pixels: less than one off in each direction
        assert abs(width - panel.size[1] * tiling.px_per_mm) < 1
        assert abs(height - panel.size[0] * tiling.px_per_mm) < 1
        assert (tiling.pixels[top : top + height, left : left + width] == 200).all()


def test_contours_lie_on_the_edges_that_the_mosaic_shows():
    grid = Grid((20, 20, 20), np.diag([2.0, 2, 2, 1]))
    voxels = np.zeros(grid.shape, np.float32)
    voxels[6:14, 6:14, 6:14] = 100
    shown = np.asarray(embedding._render(figures.overview(voxels, voxels, grid)))[..., :3]
    drawn = np.asarray(embedding._render(figures.outline(voxels, grid)))
    assert shown.shape[:2] == drawn.shape[:2]
    is_line = drawn[..., 3] > 128
    tiling = figures.tile(figures._overview_panels(voxels, voxels, grid), 4)
    left, _, width, _ = tiling.corners[0]
    columns = np.flatnonzero(is_line[:, left : left + width].any(0))
    row = shown[shown.shape[0] // 3, left : left + width].max(-1)  # away from the letters
    bright = np.flatnonzero(row > 128)
    tolerance = 2 * figures.CONTOUR_SD * tiling.px_per_mm  # the blur reaches that far
    assert abs(columns.min() - bright.min()) <= tolerance
    assert abs(columns.max() - bright.max()) <= tolerance


def test_window_is_that_of_the_brain_however_bright_the_scalp():
    draw = np.random.default_rng(0)
    voxels = draw.uniform(0, 100, (30, 30, 30)).astype(np.float32)
    plain = window_of(voxels)
    voxels[:4] = 900
    black, white = window_of(voxels)
    assert (black, white) == pytest.approx(plain, abs=1)  # 1st percentile of fewer brain voxels
    assert 100 < white < 130
    voxels[voxels > 800] = np.nan
    assert window_of(voxels) == pytest.approx(plain, abs=1)


def test_volumes_of_the_same_units_share_a_window():
    grid = Grid((20, 20, 20), np.diag([2.0, 2, 2, 1]))
    bright = np.random.default_rng(0).uniform(50, 100, grid.shape).astype(np.float32)
    brightness = {}
    for is_shared in (False, True):
        windows = [window_of(bright)] * 2 if is_shared else None
        figure = figures.rows_of_slices([bright, bright / 2], grid, 2, windows)
        above, below = np.array_split(np.asarray(embedding._render(figure))[..., 0], 2)
        brightness[is_shared] = below.mean() / above.mean()
    assert brightness[False] == pytest.approx(1, abs=0.1) and brightness[True] < 0.6


@pytest.mark.parametrize('value', [0, 7, -3.5, np.nan])
def test_volumes_without_contrast_are_drawn_without_complaint(value, recwarn):
    voxels = np.full((5, 6, 1), value, np.float32)
    grid = Grid((5, 6, 1), np.diag([1.0, 1, 5, 1]))
    low, high = window_of(voxels)
    assert low < high
    figures.acquired_slices(voxels, grid, None)
    figures.outline(voxels, grid)
    figures.histograms({'constant': voxels, 'of $odd name': voxels})
    assert not recwarn.list


def test_slices_are_taken_where_the_head_is():
    voxels = np.zeros((30, 30, 30), np.float32)
    voxels[10:20, 12:22, 5:15] = 1
    grid = Grid(voxels.shape, np.eye(4))
    screen = to_screen(voxels, grid)
    for axis, (first, last) in enumerate([(10, 19), (8, 17), (15, 24)]):  # flipped: 29 - index
        positions = slice_positions(screen, axis, 4)
        assert first < min(positions) <= max(positions) < last
    box = head_box(screen)
    assert (box[0].start, box[0].stop) == (10 - 6, 20 + 6)
    assert screen.voxels[box].sum() == voxels.sum()


def test_sprite_holds_the_axial_slices_from_superior_to_inferior():
    x, y, z = np.meshgrid(*(np.linspace(0, 1, size) for size in (24, 16, 9)), indexing='ij')
    voxels = (60 * x + 30 * y + 100 * z + 10).astype(np.float32)
    screen = to_screen(voxels, Grid(voxels.shape, np.eye(4)))
    made = embedding.sprite(screen)
    pixels = decoded(made.source)
    assert made.shape == (24, 16, 9)
    wanted = to_bytes(screen.voxels, window_of(screen.voxels))
    for k in range(9):
        row, column = divmod(k, made.columns)
        slice_k = pixels[row * 16 : row * 16 + 16, column * 24 : column * 24 + 24]
        # JPEG: a few grey values in smooth parts, more at the borders of its 8 x 8 blocks
        assert np.abs(slice_k.astype(float) - wanted[:, :, k].T).mean() < 4


def test_thinning_keeps_the_first_voxel_in_place(monkeypatch):
    monkeypatch.setattr(embedding, 'SPRITE_PIXELS', 100)
    screen = to_screen(np.zeros((12, 12, 12)), Grid((12, 12, 12), np.diag([1.0, 2, 3, 1])))
    thin = embedding.thinned(screen)
    assert thin.voxels.size <= 100
    np.testing.assert_allclose(thin.vox2ras[:, 3], screen.vox2ras[:, 3])
    np.testing.assert_allclose(thin.spacing, 3 * screen.spacing)


def decoded(source):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(',')[1]))))
