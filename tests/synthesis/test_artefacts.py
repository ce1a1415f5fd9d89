"""Artefacts: each does what its physics says, and nothing where it is off."""

from dataclasses import replace

import pytest
import torch

from bids_synthsr.synthesis.artefacts import (
    ArtefactDraw,
    add_ghost,
    add_rician_noise,
    apply_artefacts,
    draw_artefacts,
)
from bids_synthsr.synthesis.priors import ArtefactPrior

OFF = ArtefactDraw(
    seed=1,
    slice_axis=2,
    noise_sd=0.0,
    ghost_strength=0.0,
    ghost_axis=0,
    ghost_shift=0.5,
    spike_strength=0.0,
    spike_cycles=(0.25, 0.0),
    spiked_slices=0.5,
    jump_sd=0.0,
    clip_level=1.0,
    window=(0.0, 0.0),
)


@pytest.fixture
def native():
    return 10 + 90 * torch.rand(16, 12, 8, generator=torch.Generator().manual_seed(0))


def test_all_off_changes_nothing(native):
    assert apply_artefacts(native, OFF) is native
    drawn = draw_artefacts(ArtefactPrior(), 2, torch.Generator().manual_seed(0))
    assert torch.equal(apply_artefacts(native, drawn), native)


@pytest.mark.parametrize('signal', [0.0, 3.0, 50.0])
def test_noise_is_rician(signal):
    noisy = add_rician_noise(torch.full((60, 60, 20), signal), torch.tensor(2.0), 4)
    assert noisy.min() >= 0
    # E[m²] = A² + 2 sd², within three standard errors of 72 000 voxels
    error = 3 * (noisy**2).std() / noisy.numel() ** 0.5
    assert abs((noisy**2).mean() - (signal**2 + 8)) < error


def test_ghost_is_a_shifted_copy(native):
    draw = replace(OFF, ghost_strength=0.2, ghost_axis=1, ghost_shift=0.25)
    ghosted = add_ghost(native, draw)
    torch.testing.assert_close(ghosted, 0.8 * native + 0.2 * native.roll(3, 1))
    torch.testing.assert_close(ghosted.mean(), native.mean())


def test_spike_is_one_frequency_in_some_slices():
    flat = torch.full((16, 12, 40), 100.0)
    spiked = apply_artefacts(flat, replace(OFF, spike_strength=0.1))
    hit = (spiked != flat).any(0).any(0)
    assert 5 < hit.sum() < 35
    spectrum = torch.fft.fft2((spiked - flat)[:, :, hit][:, :, 0]).abs()
    assert spectrum.argmax() == 4 * 12  # 0.25 cycles per voxel of 16
    assert (spiked - flat).abs().max() == pytest.approx(10)


def test_slices_jump_as_wholes(native):
    jumped = apply_artefacts(native, replace(OFF, jump_sd=0.1))
    gain = jumped / native
    torch.testing.assert_close(gain, gain[:1, :1].expand_as(gain))
    assert gain.std() > 0.02


def test_clipping_and_window(native):
    clipped = apply_artefacts(native, replace(OFF, clip_level=0.5))
    assert clipped.max() == native.max() / 2 and clipped.min() == native.min()
    windowed = apply_artefacts(native - 50, replace(OFF, window=(0.0, 20.0)))
    assert windowed.aminmax() == (0, 20)


def test_3d_scans_have_no_slices_of_their_own():
    prior = ArtefactPrior(spike_probability=1, jump_probability=1)
    drawn = draw_artefacts(prior, None, torch.Generator().manual_seed(0))
    assert drawn.jump_sd == 0 and drawn.spiked_slices == 1 and drawn.spike_strength > 0


def test_ghosts_lie_in_plane():
    axes = {
        draw_artefacts(ArtefactPrior(), 1, torch.Generator().manual_seed(seed)).ghost_axis
        for seed in range(20)
    }
    assert axes == {0, 2}
