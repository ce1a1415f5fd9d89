import numpy as np
import pytest

from bids_synthsr.imaging.noise import noise_sd, tissue_mask


def draw_ball() -> np.ndarray:
    """A ball of 100 with a smooth shade across it, in air."""
    i, j, k = np.ogrid[:40, :40, :20]
    is_inside = (i - 19.5) ** 2 + (j - 19.5) ** 2 + 4 * (k - 9.5) ** 2 < 17**2
    return np.where(is_inside, 100.0 + i, 0).astype(np.float32)


@pytest.mark.parametrize('slice_axis', [0, 1, 2])
@pytest.mark.parametrize('sd', [1, 5])
def test_noise_is_found(sd, slice_axis):
    ball = draw_ball()
    noisy = ball + sd * np.random.default_rng(0).standard_normal(ball.shape, np.float32)
    # a median over some thousand values has a standard error of 2 %
    assert noise_sd(noisy, ball > 0, slice_axis) == pytest.approx(sd, rel=0.1)


def test_no_noise():
    ball = draw_ball()
    assert noise_sd(ball, ball > 0, 2) == pytest.approx(0, abs=1e-5)
    assert noise_sd(ball, ball > 1000, 2) == 0


def test_tissue_is_what_is_not_air():
    np.testing.assert_array_equal(tissue_mask(draw_ball()), draw_ball() > 0)


@pytest.mark.parametrize('value', [0, 3])
def test_constant_volume_is_all_tissue(value):
    assert tissue_mask(np.full((5, 5, 5), value, np.float32)).all()
