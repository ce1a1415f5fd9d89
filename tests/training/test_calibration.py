"""Calibration of probabilities: what is fitted, and what it makes of volumes."""

import torch

from bids_synthsr.training.calibration import fit_offsets, volume_error

VOXELS = 40_000
OWN = torch.tensor([0, 1, 1, 3])  # the second and third class are twins
BIAS = torch.tensor([0.0, -1.5, -1.5, 0.8])


def drawn():
    """Logits, and classes that follow from them and a bias."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(VOXELS, 4, generator=generator) * 2
    likely = (logits + BIAS).softmax(1)
    return logits, torch.multinomial(likely, 1, generator=generator)[:, 0]


def test_offsets_are_found_again():
    offsets = fit_offsets(*drawn(), OWN)
    torch.testing.assert_close(offsets - offsets[0], BIAS, atol=0.05, rtol=0)
    assert offsets[1] == offsets[2]


def test_probabilities_add_up_to_the_volumes():
    logits, truth = drawn()
    before, after = (volume_error(logits, truth, by)
                     for by in (torch.zeros(4), fit_offsets(logits, truth, OWN)))  # fmt: skip
    assert before > 0.3 and after < 0.02


def test_class_that_does_not_occur_is_left_alone():
    logits, truth = drawn()
    found = fit_offsets(torch.cat([logits, torch.zeros(VOXELS, 1)], 1), truth,
                        torch.tensor([0, 1, 1, 3, 4]))  # fmt: skip
    assert found[4] == 0
