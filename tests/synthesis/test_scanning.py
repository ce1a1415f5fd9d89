"""Slices: their profile, and the same resampling and reliability as inference."""

import math

import numpy as np
import pytest
import torch

from bids_synthsr.imaging.forward_model import acquire as acquire_as_simulated
from bids_synthsr.imaging.geometry import apply_affine
from bids_synthsr.imaging.resampling import reliability, resample
from bids_synthsr.synthesis.priors import (
    FWHM_PROFILE,
    PAPER_PROFILE,
    TENTH_POWER_PROFILE,
    AcquisitionPrior,
    MotionPrior,
)
from bids_synthsr.synthesis.scanning import (
    AcquisitionDraw,
    MotionDraw,
    acquire_slices,
    blur,
    draw_acquisition,
    draw_scan_motion,
    into_box,
    lay_slices,
    profile_matrix,
    to_crop,
)
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid

SHAPE = (20, 24, 22)
TILTED = MotionDraw((5.0, -8.0, 6.0), (3.0, -2.0, 4.5))


def acquisition(spacing=(1.0, 1.3, 4.6), sd=(0.0, 0.3, 1.5), shift=(0, 1, 2), cut=((0, 0),) * 3):
    return AcquisitionDraw(2, spacing, sd, shift, cut)


def as_grid(affine, shape):
    return Grid(shape, affine.numpy())


def test_profile_keeps_mean_place_and_width():
    centers = torch.tensor([20.0, 20.3, 20.5])
    matrix = profile_matrix(centers, 1.7, 41).double()
    index = torch.arange(41)
    torch.testing.assert_close(matrix.sum(1), torch.ones(3).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(matrix @ index.double(), centers.double(), rtol=0, atol=1e-4)
    variance = ((index - centers[:, None]) ** 2 * matrix).sum(1)
    # the tent's own variance varies by 1/12 with where the centre lies between two voxels
    torch.testing.assert_close(variance, torch.full((3,), 1.7**2).double(), rtol=0, atol=1e-3)


def test_profile_without_width_interpolates_linearly():
    matrix = profile_matrix(torch.tensor([-3.0, 1.0, 1.25, 9.0]), 0.0, 4)
    expected = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0.75, 0.25, 0], [0, 0, 0, 1]]
    torch.testing.assert_close(matrix, torch.tensor(expected))


@pytest.mark.parametrize('thickness', [2.0, 3.0, 5.0, 7.0])
@pytest.mark.parametrize(
    ('profile', 'power'),
    [(TENTH_POWER_PROFILE, 0.1), (FWHM_PROFILE, 0.1686), (PAPER_PROFILE, 0.0050)],
)
def test_power_at_the_cut_off(thickness, profile, power):
    matrix = profile_matrix(torch.tensor([100.0]), profile * thickness, 201).double()
    wave = torch.cos(math.pi / thickness * (torch.arange(201) - 100).double())
    # linear interpolation between voxels costs up to 4 % of the power of 2 mm slices
    assert float(matrix @ wave) ** 2 == pytest.approx(power, rel=0.04)


@pytest.mark.parametrize('motion', [MotionDraw(), TILTED])
def test_resampling_and_reliability_are_those_of_inference(motion):
    slices = lay_slices(motion, acquisition(), SHAPE)
    native = torch.rand(slices.native_shape, generator=torch.Generator().manual_seed(0))
    resampled, measured = to_crop(native, slices, motion.is_moved, SHAPE)
    scan, target = as_grid(slices.native2crop, slices.native_shape), Grid(SHAPE, np.eye(4))
    np.testing.assert_allclose(measured.numpy(), reliability(scan, target), atol=2e-5)
    expected = resample(native.numpy(), scan, target)
    np.testing.assert_allclose(resampled.numpy(), expected, atol=2e-5)


@pytest.mark.parametrize('seed', range(5))
def test_matrices_of_an_aligned_scan_equal_the_general_code(seed):
    draw = draw_acquisition(
        AcquisitionPrior(in_plane=(0.8, 2.0), partial_probability=0.5, isotropic_probability=0.3),
        torch.Generator().manual_seed(seed),
    )
    slices = lay_slices(MotionDraw(), draw, SHAPE)
    native = torch.rand(slices.native_shape, generator=torch.Generator().manual_seed(seed))
    for fast, general in zip(
        to_crop(native, slices, False, SHAPE), to_crop(native, slices, True, SHAPE), strict=True
    ):
        torch.testing.assert_close(fast, general, rtol=0, atol=2e-5)


def test_reference_slices_start_at_a_face_of_the_output_grid():
    slices = lay_slices(MotionDraw(), acquisition(shift=(0, 0, 0)), SHAPE)
    # as `output_grid` does: the outer face of the first slice is that of the first voxel
    assert slices.first[2] - slices.spacing[2] / 2 == -0.5
    assert slices.first[2] + (slices.native_shape[2] - 0.5) * slices.spacing[2] >= SHAPE[2] - 0.5


def test_cut_slices_leave_nothing_behind():
    cut = ((0.0, 0.0), (0.0, 0.0), (0.5, 0.0))
    slices = lay_slices(MotionDraw(), acquisition(shift=(0, 0, 0), cut=cut), SHAPE)
    resampled, measured = to_crop(torch.ones(slices.native_shape), slices, False, SHAPE)
    assert not resampled[:, :, :11].any() and not measured[:, :, :11].any()
    assert resampled[:, :, 11:].min() == 1


@pytest.mark.parametrize('motion', [MotionDraw(), TILTED])
def test_a_ramp_comes_back(motion):
    """Symmetric profiles and linear interpolation keep linear functions, however a scan lies."""
    i, j, k = torch.meshgrid(*(torch.arange(n).float() for n in SHAPE), indexing='ij')
    ramp = 2 * i - j + 0.5 * k
    slices = lay_slices(motion, acquisition(), SHAPE)
    fine = into_box(ramp[None], slices, 8)[0] if motion.is_moved else ramp
    native = acquire_slices(fine, slices, acquisition(), 0.5)
    back, _ = to_crop(native, slices, motion.is_moved, SHAPE)
    inner = (slice(7, -7),) * 3  # further out, profiles reach beyond the crop
    torch.testing.assert_close(back[inner], ramp[inner], rtol=0, atol=2e-3)


def test_registration_error_moves_the_scan():
    error = MotionDraw(translation_error=(0.0, 2.0, 0.0))
    j = torch.arange(SHAPE[1]).float()[:, None].expand(SHAPE).contiguous()
    slices = lay_slices(error, acquisition(), SHAPE)
    native = acquire_slices(into_box(j[None], slices, 4)[0], slices, acquisition(), 0.0)
    back, _ = to_crop(native, slices, True, SHAPE)
    inner = (slice(7, -7),) * 3
    torch.testing.assert_close(back[inner], (j + 2)[inner], rtol=0, atol=2e-3)


@pytest.mark.parametrize('motion', [MotionDraw(), TILTED])
def test_slices_are_those_of_the_simulation(motion):
    """The forward model of the methods, another implementation, measures the same slices."""
    generator = torch.Generator().manual_seed(1)
    head = blur(torch.rand(SHAPE, generator=generator), 1.0)
    thickness = 4.0
    sd = FWHM_PROFILE * math.sqrt(thickness**2 - 1)
    draw = acquisition((1.0, 1.0, 5.0), (0.0, 0.0, sd), (0, 0, 0))
    slices = lay_slices(motion, draw, SHAPE)
    fine = into_box(head[None], slices, 8)[0] if motion.is_moved else head
    native = acquire_slices(fine, slices, draw, 0.0)
    scan = as_grid(slices.native2crop, slices.native_shape)
    expected = acquire_as_simulated(
        head.numpy(), Grid(SHAPE, np.eye(4)), scan, Acquisition(2, 5.0, thickness)
    )
    # nearer the border it is continued here, and left out there
    place = apply_affine(scan.vox2ras, np.moveaxis(np.indices(scan.shape), 0, -1))
    deep = ((place > 5) & (place < np.array(SHAPE) - 6)).all(-1)
    # that one cuts its Gaussian off, and interpolates at other points
    assert np.abs(native.numpy() - expected)[deep].max() < 0.1 * head.std()
    assert deep.sum() > 100


def test_first_in_plane_axis_can_be_stretched():
    prior = AcquisitionPrior(
        orientation_weights=(0, 0, 1), in_plane=(1.2, 1.2), in_plane_anisotropy=(1.5, 1.5)
    )
    drawn = {
        draw_acquisition(prior, torch.Generator().manual_seed(seed)).spacing[:2]
        for seed in range(10)
    }
    assert drawn == {(1.2, 1.2 * 1.5), (1.2 * 1.5, 1.2)}


def test_motion_stays_in_its_range():
    prior = MotionPrior(4.0, 9.0, 0.0, 0.0)
    motion = draw_scan_motion(prior, torch.Generator().manual_seed(2))
    assert max(map(abs, motion.rotation_deg)) <= 4 and max(map(abs, motion.translation)) <= 9
    assert motion.rotation_error_deg == motion.translation_error == (0, 0, 0)
    assert motion.is_moved and not MotionDraw().is_moved
