"""Windows over a volume: cut, placed, blended."""

from itertools import combinations, product

import pytest
import torch

from bids_synthsr.imaging.windows import REACHES, around, bell, blend, cut, place_windows

SHAPE = (20, 24, 18)
WINDOW = (8, 12, 10)


def test_cut_shows_the_volume_and_nothing_beyond_it():
    volume = torch.rand(3, *SHAPE)
    torch.testing.assert_close(
        cut(volume, (2, 3, 4), WINDOW), volume[:, 2:10, 3:15, 4:14], rtol=0, atol=0
    )
    beyond = cut(volume, (-3, 20, 4), WINDOW)
    assert not beyond[:, :3].any() and not beyond[:, :, 4:].any()
    torch.testing.assert_close(beyond[:, 3:, :4], volume[:, :5, 20:, 4:14], rtol=0, atol=0)
    assert not cut(volume, (50, 0, 0), WINDOW).any()


def test_window_lies_around_its_voxel():
    start = around((10, 11.5, 9), (9, 12, 11))
    middle = [at + (size - 1) / 2 for at, size in zip(start, (9, 12, 11), strict=True)]
    assert middle == [10, 11.5, 9]


def test_windows_surround_the_object():
    shape, center = (64, 80, 64), (100, 105, 150)
    first = around(center, shape)
    offsets = {
        tuple(a - b for a, b in zip(start, first, strict=True))
        for start in place_windows(center, shape)
    }
    assert len(offsets) == 4 and offsets <= set(product(REACHES, repeat=3))
    for one, other in combinations(offsets, 2):  # no two are neighbours
        assert sum(a != b for a, b in zip(one, other, strict=True)) == 2
    assert sorted(reach % 2 for reach in REACHES) == [0, 1]  # blocks of 2 lie otherwise


def test_blend_of_what_agrees_is_that():
    volume = torch.rand(2, *SHAPE)
    starts = [(i, j, k) for i in (-2, 6, 14) for j in (0, 12, 16) for k in (-1, 9)]
    parts = [(start, cut(volume, start, WINDOW).movedim(0, -1)) for start in starts]
    expected = volume.movedim(0, -1)
    torch.testing.assert_close(blend(parts, SHAPE, torch.float32), expected)
    rounded = blend(parts, SHAPE, torch.float16)
    torch.testing.assert_close(rounded.float(), expected, atol=3e-3, rtol=0)  # 16 bits, summed


def test_blend_prefers_the_middle_of_a_window():
    low, high = torch.zeros(*WINDOW, 1), torch.ones(*WINDOW, 1)
    made = blend([((0, 0, 0), low), ((4, 0, 0), high)], (12, 12, 10), torch.float32)[..., 0]
    line = made[:, 6, 5]
    assert (line[1:] >= line[:-1]).all() and line[4] < 0.5 < line[7]


def test_where_no_window_lies_there_is_nothing():
    made = blend([((0, 0, 0), torch.ones(*WINDOW, 1))], SHAPE, torch.float32)
    assert made[8:].eq(0).all()
    with pytest.raises(ValueError, match='no window to blend'):
        blend([], SHAPE, torch.float32)


def test_bell_is_even():
    weights = bell(WINDOW)
    torch.testing.assert_close(weights, weights.flip(0, 1, 2))
    assert weights.shape == WINDOW and float(weights.min()) > 0
