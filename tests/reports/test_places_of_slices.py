"""Readers see on which side a slice lies, which one it is, and where a scan measured."""

import numpy as np
import pytest
from phantoms import centred, head

from bids_synthsr.reports import embedding, figures
from bids_synthsr.reports.collect import _describe_table, selection_rows
from bids_synthsr.reports.screen import describe_position, to_screen
from bids_synthsr.values.grid import Grid

GRID = centred((50, 60, 50), np.diag([4.0, 4, 4, 1]))


def texts_of(figure):
    return [text.get_text() for text in figure.texts]


@pytest.mark.parametrize('flips', [(1, 1, 1), (-1, 1, 1), (-1, -1, 1)])
def test_side_of_a_sagittal_slice_is_that_of_the_patient(flips):
    grid = Grid(GRID.shape, GRID.vox2ras @ np.diag([*flips, 1]))
    grid.vox2ras[:3, 3] -= grid.center
    screen = to_screen(head(grid), grid)
    for index in range(50):
        x_mm = (screen.vox2ras @ [index, 30, 25, 1])[0]
        told = describe_position(screen, 0, index)
        side = 'middle' if abs(x_mm) < 2.4 else 'right' if x_mm > 0 else 'left'
        assert told.startswith(side), (x_mm, told)
        if side != 'middle':
            assert f'{abs(x_mm):.0f} mm' in told
    assert describe_position(screen, 1, 10) == describe_position(screen, 2, 10) == ''


def test_slices_as_acquired_are_counted_in_words():
    told = texts_of(figures.acquired_slices(head(GRID), GRID, 0))
    slices = [text for text in told if text.startswith('slice ')]
    assert len(slices) == figures.NATIVE_SLICES
    assert all(text.split('\n')[0].endswith(' of 50') for text in slices)
    assert {text.split('\n')[1] for text in slices} >= {'left', 'right'}


def test_sagittal_rows_tell_the_side():
    told = texts_of(figures.rows_of_slices([head(GRID)], GRID, 0))
    assert sum('right, ' in text for text in told) == sum('left, ' in text for text in told) == 2


def test_where_a_scan_measured_is_yellow_over_the_head():
    measured = np.zeros(GRID.shape, np.float32)
    measured[:, :, ::5] = 1
    figure = figures.reliability_map(measured, GRID, head(GRID))
    assert {'coronal', 'sagittal'} < set(texts_of(figure))  # axial shows one slice alone
    pixels = np.asarray(embedding._render(figure))[..., :3].astype(int)
    yellow = pixels[..., 0] - pixels[..., 2] > 60
    assert 0.1 < yellow.mean() < 0.4
    assert pixels[~yellow].mean() > 40  # and between its slices lies the head


def test_table_lists_scans_in_the_order_of_the_pictures():
    roles = {'T2w': 'used', 'bad': 'left out', 'T1w': 'reference', 'FLAIR': 'used'}
    empty = dict.fromkeys(('reason', 'file', 'orientation', 'voxels', 'voxel_size_mm'), '')
    rows = [{'scan': name, 'role': role, 'warnings': '', **empty} for name, role in roles.items()]
    assert [row.name for row in selection_rows(rows)] == ['T1w', 'T2w', 'FLAIR', 'bad']


def test_tables_without_a_sidecar_are_described():
    assert _describe_table('sub-01/anat/sub-01_desc-scans_selection.tsv').startswith('Every scan')
    assert _describe_table('sub-01/anat/sub-01_desc-cubic_T1w.nii.gz') == ''
