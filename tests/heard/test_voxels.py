"""What voxels tell: slices without a measurement, NaN, wrong axes, shifted intensities."""

from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from phantoms import centred, head

from bids_synthsr.api import synthesize
from bids_synthsr.dataset.images import image_of, save_volume
from bids_synthsr.dataset.scans import load_scan, read_scan
from bids_synthsr.dataset.voxels import judge_voxels
from bids_synthsr.imaging.forward_model import AcquisitionOperator, average_fine_axes
from bids_synthsr.imaging.geometry import output_grid, rigid
from bids_synthsr.imaging.missing_slices import fill_slices, find_missing_slices
from bids_synthsr.imaging.resampling import reliability
from bids_synthsr.methods import cubic, total_variation
from bids_synthsr.settings import MethodSettings
from bids_synthsr.values.exam import Acquisition, Scan
from bids_synthsr.values.method import Observation

SPACING = np.array([4.0, 4.0, 6.0])
GRID = centred((45, 55, 30), np.diag([*SPACING, 1.0]))
ISOTROPIC = centred((38, 48, 38), np.diag([5.0, 5, 5, 1]))
CUT_OFF = centred((45, 55, 20), np.diag([*SPACING, 1.0]))  # the head goes on above and below
REAL = sorted((Path(__file__).parents[3] / 'shared/data').glob('bids-clinical/*/*/anat/*.nii.gz'))


def noise(shape, seed=0):
    return np.random.default_rng(seed).uniform(0, 120, shape).astype(np.float32)


def spoilt(numbers, noisy=(), grid=GRID, axis=2, contrast='T1w'):
    """Draw a head of which some slices are blank and others noise."""
    voxels = head(grid, contrast)
    planes = np.moveaxis(voxels, axis, 0)
    planes[list(numbers)] = 0
    for number in noisy:
        planes[number] = noise(planes[number].shape, number)
    return voxels


def judged(voxels, grid=GRID, **fields):
    spacing = float(grid.spacing.max())
    return judge_voxels(
        Scan(Path('T1w.nii'), 'T1w', {}, {}, grid, Acquisition(2, spacing, spacing)),
        voxels,
        **fields,
    )


@pytest.mark.parametrize(
    ('blank', 'noisy', 'grid'),
    [
        ([14], [], GRID),
        ([14, 15], [20], GRID),
        ([], [10, 11], GRID),
        ([0], [], CUT_OFF),
        ([18, 19], [], CUT_OFF),
        ([], [0], CUT_OFF),
        ([5], [], GRID),
    ],
)
@pytest.mark.parametrize('contrast', ['T1w', 'T2w'])
def test_slices_without_a_measurement_are_told_and_interpolated(blank, noisy, grid, contrast):
    whole = head(grid, contrast)
    scan, voxels = judged(spoilt(blank, noisy, grid, contrast=contrast), grid)
    assert scan.acquisition.missing == tuple(sorted((*blank, *noisy)))
    assert scan.problems == ()
    (told,) = scan.warnings
    for numbers, kind in ((blank, 'blank'), (noisy, 'nothing but noise')):
        assert (kind in told) == bool(numbers)
        assert ', '.join(map(str, numbers)) in told
    others = np.setdiff1d(np.arange(grid.shape[2]), scan.acquisition.missing)
    np.testing.assert_array_equal(voxels[..., others], whole[..., others])
    missing = list(scan.acquisition.missing)
    # slices 6 mm apart differ by half of the brightest at edges, and noise by far more
    assert np.abs(voxels - whole)[..., missing].mean() < 12


def halved(voxels, number):
    """Lose the back half of a slice."""
    voxels[:, :27, number] = 0


def doubled(voxels, number):
    """Lose a slice to a copy of the one before it."""
    voxels[..., number] = voxels[..., number - 1]


@pytest.mark.parametrize(
    ('spoil', 'words'), [(halved, 'blank in part'), (doubled, 'the same as those before')]
)
def test_slices_that_are_halved_or_doubled_are_interpolated(spoil, words):
    whole = head(GRID) + noise(GRID.shape) / 40
    voxels = whole.copy()
    spoil(voxels, 14)
    spoil(voxels, 20)
    scan, made = judged(voxels)
    assert scan.problems == () and scan.geometry[1].missing == (14, 20)
    assert f'Slices 14, 20 (counted from 0) are {words}.' in scan.warnings[-1]
    assert np.abs(made - whole)[..., [14, 20]].mean() < 12
    others = np.setdiff1d(np.arange(30), (14, 20))
    np.testing.assert_array_equal(made[..., others], whole[..., others])


def test_scan_that_was_enlarged_is_told_and_used():
    voxels = (head(GRID) + noise(GRID.shape) / 40).repeat(2, axis=2)
    grid = centred(voxels.shape, np.diag([4.0, 4, 3, 1]))
    scan, made = judged(voxels, grid)
    assert scan.problems == () and scan.geometry[1].missing == ()
    assert 'as in scans that were enlarged' in scan.warnings[0]
    np.testing.assert_array_equal(made, voxels)


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_slices_of_an_isotropic_scan_may_run_across_any_axis(axis):
    scan, _ = judged(spoilt([18], axis=axis, grid=ISOTROPIC), ISOTROPIC)
    assert (scan.acquisition.slice_axis, scan.acquisition.missing) == (axis, (18,))


@pytest.mark.parametrize('contrast', ['T1w', 'T2w', 'FLAIR'])
@pytest.mark.parametrize('grid', [GRID, ISOTROPIC, CUT_OFF])
def test_air_beyond_the_head_is_no_fault(contrast, grid):
    scan, voxels = judged(head(grid, contrast), grid)
    assert (scan.warnings, scan.problems, scan.acquisition.missing) == ((), (), ())
    np.testing.assert_array_equal(voxels, head(grid, contrast))


def test_scan_that_lacks_many_slices_is_left_out():
    scan, voxels = judged(spoilt(range(10, 14)))
    assert voxels is None
    assert scan.problems == (
        (
            'Slices 10, 11, 12, 13 (counted from 0) are blank. At most 3 of 30 slices can be '
            'interpolated: copy or convert it again.'
        ),
    )


@pytest.mark.skipif(not REAL, reason='there are no real scans')
@pytest.mark.parametrize('path', REAL[::4])
def test_real_scans_give_no_false_alarm(path):
    scan, voxels = load_scan(read_scan(path, 'T1w'))
    assert (scan.warnings, scan.problems, scan.acquisition.missing) == ((), (), ())
    damaged = voxels.copy()
    damaged[..., 20] = 0
    assert find_missing_slices(damaged, scan.grid, 2).blank == (20,)


def test_missing_slices_are_interpolated_linearly_and_repeated_at_ends():
    voxels = np.arange(6, dtype=np.float32) * np.ones((2, 2, 1), np.float32)
    filled = fill_slices(voxels, Acquisition(2, 1.0, 1.0, (0, 2, 3)))
    np.testing.assert_allclose(filled[0, 0], [1, 1, 2, 3, 4, 5], atol=1e-6)


@pytest.mark.parametrize('turn_deg', [0, 12])
@pytest.mark.parametrize('spacing_mm', [1.0, 9.0])
def test_reliability_is_zero_at_a_missing_slice_and_elsewhere_as_before(turn_deg, spacing_mm):
    slices = Acquisition(2, 6.0, 6.0, (14,))
    target = output_grid(centred((20, 20, 30), np.diag([3.0, 3, 6, 1])), spacing_mm)
    scan2ref = rigid(np.radians([turn_deg, 0, 0]), np.zeros(3))
    plain, lacking = (reliability(GRID, target, scan2ref, x) for x in (None, slices))
    points = np.indices(target.shape).reshape(3, -1)
    ras2vox = np.linalg.inv(scan2ref @ GRID.vox2ras) @ target.vox2ras
    index = (ras2vox[:3, :3] @ points + ras2vox[:3, 3:])[2].reshape(target.shape)
    near = np.abs(index - 14) < max(0.5, spacing_mm / 12) - 1e-3
    assert near.any() and not lacking[near].any() and plain[near].any()
    far = np.abs(index - 14) > max(0.5, spacing_mm / 12) + 1e-3
    np.testing.assert_array_equal(lacking[far], plain[far])


def observed(voxels, missing=()):
    return Observation('T1w', voxels, GRID, Acquisition(2, 6.0, 6.0, missing), np.eye(4))


def test_total_variation_is_not_fitted_to_a_missing_slice():
    target = output_grid(GRID, 5.0)
    whole = head(GRID)
    other = whole.copy()
    other[..., 14] += 30
    fitted, lacking, truth = (
        total_variation.synthesize([observed(*scan)], target).images[0].voxels[..., 17]
        for scan in ((other, ()), (other, (14,)), (whole, ()))
    )
    tissue = truth > 80
    assert np.abs(fitted - truth)[tissue].mean() > 20
    assert np.abs(lacking - truth)[tissue].mean() < 3  # beside edges


def test_operator_does_not_see_a_missing_slice():
    target = output_grid(GRID, 6.0)
    operator = AcquisitionOperator(target, GRID, Acquisition(2, 6.0, 6.0, (14,)))
    assert not operator.is_seen[..., 14].any() and operator.is_seen[..., 13].all()
    assert not operator.forward(np.ones(target.shape, np.float32))[..., 14].any()


def test_mean_of_slices_is_missing_where_one_of_them_is():
    grid = centred((4, 4, 8), np.diag([2.0, 2, 2, 1]))
    averaged = average_fine_axes(np.ones(grid.shape), grid, Acquisition(2, 2.0, 2.0, (3,)), 4.0)
    assert averaged[2].missing == (1,)


def test_exam_with_lost_slices_has_no_black_band():
    volume = synthesize(
        [image_of(spoilt([14, 15]), GRID)],
        ['T1w'],
        settings=MethodSettings(method='cubic', output_resolution=5.0, fov='reference'),
    )['T1w'].get_fdata()
    whole = cubic.synthesize([observed(head(GRID))], output_grid(GRID, 5.0)).images[0].voxels
    tissue = whole > 50
    assert volume[tissue].min() > 10


# NaN


def stripped():
    voxels = head(GRID)
    points = np.indices(GRID.shape).reshape(3, -1)
    points = (GRID.vox2ras[:3, :3] @ points + GRID.vox2ras[:3, 3:]).reshape(3, *GRID.shape)
    inside = sum((p / r) ** 2 for p, r in zip(points, (62, 80, 62), strict=True)) <= 1
    return np.where(inside, voxels, np.nan).astype(np.float32), inside


def test_nan_around_the_head_is_background():
    voxels, inside = stripped()
    scan, conformed = judged(voxels)
    assert scan.problems == () and len(scan.warnings) == 1
    assert 'from its borders on, are NaN' in scan.warnings[0]
    np.testing.assert_array_equal(conformed, np.where(inside, voxels, 0))


@pytest.mark.parametrize('is_stripped', [True, False])
def test_nan_inside_of_the_head_is_a_fault(is_stripped):
    voxels = stripped()[0] if is_stripped else head(GRID)
    voxels[20:26, 24:30, 13:18] = np.nan
    scan, conformed = judged(voxels)
    assert conformed is None and 'are NaN or infinite, and at most 0.1%' in scan.problems[0]
    assert ('inside of the head' in scan.problems[0]) == is_stripped


def test_slice_of_nan_is_a_blank_slice():
    voxels = head(GRID)
    voxels[..., 14] = np.nan
    scan, _ = judged(voxels)
    assert scan.acquisition.missing == (14,)


# axes


@pytest.mark.parametrize('axes', [(1, 0, 2), (1, 2, 0)])
def test_head_that_is_wider_than_long_is_told(axes):
    grid = centred((40, 48, 40), ISOTROPIC.vox2ras)
    voxels = head(grid).transpose(axes)
    scan, conformed = judged(voxels, centred(voxels.shape, ISOTROPIC.vox2ras))
    assert conformed is not None and scan.problems == ()
    assert 'its axes may be permuted or wrongly labelled' in scan.warnings[0]


def test_part_of_a_head_that_is_wider_than_long_is_not_told():
    grid = centred((40, 24, 40), np.diag([5.0, 5, 5, 1]))  # 120 mm from back to front
    assert judged(head(grid), grid)[0].warnings == ()


# intensities


def shifted(by):
    return lambda voxels: voxels + np.float32(by)


def standardised(voxels):
    return (voxels - voxels.mean()) / voxels.std()


@pytest.mark.parametrize('change', [shifted(-150), shifted(-1024), shifted(1000), standardised])
def test_air_is_zero_however_a_scan_is_shifted(change):
    plain = judged(head(GRID))[1]
    scan, voxels = judged(change(head(GRID)))
    assert scan.problems == () and 'was taken for air and subtracted' in scan.warnings[0]
    unit = voxels.max() / plain.max()
    # 0.1 % of the voxels are darker than what counts as the darkest; float32 near 1000 has 6e-5
    np.testing.assert_allclose(voxels / unit, plain, atol=0.02)


def padded(voxels):
    voxels[:3] = -1000


def dotted(voxels):
    voxels[::10, ::10, ::2] = -150


def noisy_below(voxels):
    voxels[..., 15] = np.random.default_rng(0).normal(0, 300, voxels.shape[:2])


def cut(voxels):
    voxels[:6] = -100


@pytest.mark.parametrize('spoil', [padded, dotted, noisy_below, cut])
def test_what_lies_below_air_does_not_move_it(spoil):
    voxels = head(GRID) + 2
    plain = voxels.copy()
    spoil(voxels)
    is_kept = voxels == plain
    scan, made = judged(voxels)
    assert scan.problems == () and made.min() >= 0
    assert 'although its air does not' in scan.warnings[0]
    np.testing.assert_array_equal(made[is_kept], plain[is_kept])


def test_numbers_without_a_sign_that_were_read_with_one_are_refused():
    voxels = (head(GRID) * 400).clip(0, 65535).astype(np.uint16).view(np.int16)
    scan, made = judged(voxels.astype(np.float32))
    assert made is None and 'were read with one' in scan.problems[0]


def test_noise_that_reaches_a_little_below_zero_is_no_fault():
    voxels = head(GRID)
    noise = np.random.default_rng(0).normal(0, 0.03 * voxels.max(), voxels.shape)
    scan, made = judged((voxels + noise).astype(np.float32))
    assert scan.problems == () and made is not None


@pytest.mark.parametrize('level', [33, 100, 255, 274])
def test_slice_of_one_value_is_no_measurement(level):
    voxels = head(GRID)
    voxels[..., 15] = level
    assert judged(voxels)[0].geometry[1].missing == (15,)


@pytest.mark.parametrize('change', [shifted(-1024), standardised])
def test_slice_that_was_lost_after_intensities_were_shifted_is_found(change):
    voxels = change(head(GRID))
    voxels[..., 14] = 0
    scan, made = judged(voxels)
    assert scan.problems == () and scan.geometry[1].missing == (14,)
    whole = judged(change(head(GRID)))[1]
    assert np.corrcoef(made[..., 14].ravel(), whole[..., 14].ravel())[0, 1] > 0.9


def test_scan_of_flat_slices_is_refused():
    voxels = np.broadcast_to(np.arange(30, dtype=np.float32) - 5, GRID.shape)
    scan, made = judged(voxels)
    assert made is None and scan.problems[0].endswith('copy or convert it again.')


def test_background_of_a_scan_that_was_standardised_in_a_mask_is_zero():
    voxels, inside = stripped()
    brain = voxels[inside]
    normal = np.where(inside, (voxels - brain.mean()) / brain.std(), 0)
    scan, conformed = judged(normal.astype(np.float32))
    assert 'was taken for air' in scan.warnings[0]
    assert not conformed[~inside].any() and conformed[inside].mean() > 1


@pytest.mark.parametrize('voxels', [head(GRID), head(GRID) - 1.5, head(GRID) + 5])
def test_intensities_in_order_are_left_as_they_are(voxels):
    scan, conformed = judged(voxels)
    assert scan.warnings == ()
    np.testing.assert_array_equal(conformed, voxels)


def test_hounsfield_units_are_left_as_they_are():
    voxels = head(GRID) * 10 - 1024
    scan, conformed = judged(voxels, is_ct=True)
    assert scan.warnings == ()
    np.testing.assert_array_equal(conformed, voxels)


def test_total_variation_of_a_shifted_scan_is_that_of_the_scan():
    settings = MethodSettings(method='tv', output_resolution=5.0)
    plain, other = (
        synthesize([image_of(change(head(GRID)), GRID)], ['T1w'], settings=settings)['T1w']
        for change in (shifted(0), shifted(-150))
    )
    np.testing.assert_allclose(other.get_fdata(), plain.get_fdata(), atol=0.5)


def test_digest_and_voxels_of_a_file_are_what_nibabel_reads(tmp_path):
    path = save_volume(tmp_path / 'T1w.nii.gz', head(GRID) * 3, GRID, np.int16)
    _, voxels = load_scan(read_scan(path, 'T1w'))
    np.testing.assert_array_equal(voxels, nb.load(path).get_fdata(dtype=np.float32))
