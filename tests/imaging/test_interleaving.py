import numpy as np
import pytest

from bids_synthsr.imaging.interleaving import balance_slices, interleaving


def draw_scan(slices: int = 20, share: float = 0, axis: int = 2) -> np.ndarray:
    """Smooth shades with noise, even slices brighter by ``share``."""
    i, j, k = np.ogrid[:24, :24, :slices]
    scan = 100 + i + 2 * j + 20 * np.sin(k / 3)
    scan = scan + np.random.default_rng(0).standard_normal(scan.shape)
    scan *= np.where(np.arange(slices) % 2, 1 - share / 2, 1 + share / 2)
    return np.moveaxis(scan, 2, axis).astype(np.float32)


EVERYWHERE = np.ones((24, 24, 20), bool)


@pytest.mark.parametrize('share', [0.04, -0.02])
def test_share_is_found_and_removed(share):
    scan = draw_scan(share=share)
    balanced, found = balance_slices(scan, EVERYWHERE, 2)
    # the phantom has a step of 1 % between slices where its shades bend, the noise adds little
    assert found == pytest.approx(share, abs=2e-3)
    np.testing.assert_allclose(balanced, draw_scan(), rtol=2e-3)


def test_slice_axis():
    scan = draw_scan(share=0.04, axis=0)
    along = interleaving(scan, np.moveaxis(EVERYWHERE, 2, 0), 0)
    assert along == interleaving(draw_scan(share=0.04), EVERYWHERE, 2)
    assert interleaving(scan, np.moveaxis(EVERYWHERE, 2, 0), 2) == 0


def test_even_scan_is_left_alone():
    balanced, share = balance_slices(draw_scan(), EVERYWHERE, 2)
    assert share == 0
    np.testing.assert_array_equal(balanced, draw_scan())


def test_few_slices_or_little_tissue_tell_nothing():
    assert interleaving(draw_scan(11, 0.04), EVERYWHERE[..., :11], 2) == 0
    assert interleaving(draw_scan(20, 0.04), EVERYWHERE & (np.arange(24) < 20)[:, None], 2) == 0
