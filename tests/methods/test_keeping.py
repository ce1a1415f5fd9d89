"""Lesions that are kept have the contrast that the scan saw, and nothing else changes."""

from dataclasses import replace

import numpy as np
import pytest

from bids_synthsr.imaging.forward_model import acquire
from bids_synthsr.imaging.geometry import rigid, with_slices
from bids_synthsr.methods.consistency import THICKNESS_SHARE
from bids_synthsr.methods.keeping import LesionFreeT1w, keep_lesions
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation

GRID = Grid((80, 80, 60), np.eye(4))
SLICES = Acquisition(2, 5.0, 5.0)
# of the T1w that was predicted, and of a spin echo: white matter, cortex, ventricle
PREDICTED, SCANNED = (110.0, 70.0, 25.0), (600.0, 480.0, 330.0)
TYPICAL = 0.7
MOVED = rigid(np.radians([4, -3, 5]), np.array([1.0, -2, 1]), np.array([40.0, 40, 30]))


def ball(center, radius):
    distance = np.linalg.norm(np.indices(GRID.shape).T - center, axis=-1).T
    return distance < radius


BRAIN, WHITE, VENTRICLE = (ball((40, 40, 30), radius) for radius in (29, 24, 8))
LESIONS = {  # center, radius in mm, contrast to the white matter in parts of it
    'large': ((56, 40, 30), 5, -0.3),
    'small': ((40, 57, 33), 2.5, -0.45),
    'faint': ((25, 40, 27), 3.5, -0.12),
    'beside the ventricle': ((40, 28, 30), 4, -0.25),
}


def paint(levels, with_lesions=False):
    volume = np.zeros(GRID.shape)
    for inside, level in zip((WHITE, BRAIN & ~WHITE, VENTRICLE), levels, strict=True):
        volume[inside] = level
    for center, radius, contrast in LESIONS.values() if with_lesions else ():
        volume[ball(center, radius) & WHITE & ~VENTRICLE] = (1 + contrast) * levels[0]
    return volume


def lesion():
    marked = np.zeros(GRID.shape, bool)
    for center, radius, _ in LESIONS.values():
        marked |= ball(center, radius) & WHITE & ~VENTRICLE
    return marked


def scan(axis=2, scan2ref=None, noise=0.0, factor=1.0):
    scan2ref = np.eye(4) if scan2ref is None else scan2ref
    slices = Acquisition(axis, 5.0, 5.0)
    grid = with_slices(GRID, axis, 5.0)
    seen = replace(slices, slice_thickness=5 * THICKNESS_SHARE)  # what it takes them for
    voxels = acquire(paint(SCANNED, True), GRID, grid, seen, np.linalg.inv(scan2ref))
    voxels = voxels + np.random.default_rng(1).normal(0, noise * SCANNED[0], voxels.shape)
    return Observation('T1w', (factor * voxels).astype(np.float32), grid, slices, scan2ref)


@pytest.fixture(scope='module')
def predicted():
    white = WHITE & ~VENTRICLE
    return LesionFreeT1w(paint(PREDICTED).astype(np.float32), GRID, lesion(), white, BRAIN)


def contrasts(volume):
    return {
        name: float(volume[ball(center, radius) & WHITE & ~VENTRICLE].mean() / PREDICTED[0] - 1)
        for name, (center, radius, _) in LESIONS.items()
    }


@pytest.mark.parametrize(
    'scans', [[scan()], [scan(1, MOVED)], [scan(), scan(0, MOVED)]], ids=['slices', 'moved', 'two']
)
def test_lesions_get_their_contrast_back_although_slices_are_thick(predicted, scans):
    kept, shown = keep_lesions(predicted, scans, TYPICAL)
    assert shown == 1
    for name, contrast in contrasts(kept).items():
        assert contrast == pytest.approx(LESIONS[name][2], abs=0.05), name
    away = ~predicted.lesion
    np.testing.assert_array_equal(kept[away], predicted.t1w[away])


def test_what_was_predicted_in_a_lesion_does_not_matter(predicted):
    """A network may paint a lesion as cortex, which the scan shows in another grey."""
    painted = predicted.t1w.copy()
    painted[predicted.lesion] = PREDICTED[1]
    once, _ = keep_lesions(predicted, [scan()], TYPICAL)
    kept, _ = keep_lesions(replace(predicted, t1w=painted), [scan()], TYPICAL)
    np.testing.assert_allclose(kept[predicted.lesion], once[predicted.lesion], atol=2)


def test_a_small_lesion_is_deeper_than_its_slice_shows(predicted):
    thick = scan()
    slices = np.repeat(thick.voxels, 5, axis=2)
    center, radius, contrast = LESIONS['small']
    shown = slices[ball(center, radius)].mean() / SCANNED[0] - 1
    kept, _ = keep_lesions(predicted, [thick], TYPICAL)
    assert abs(contrasts(kept)['small'] - contrast) < abs(shown - contrast) / 2


def test_noise_does_not_matter_much_and_units_not_at_all(predicted):
    once, _ = keep_lesions(predicted, [scan(noise=0.02)], TYPICAL)
    for name, contrast in contrasts(once).items():
        assert contrast == pytest.approx(LESIONS[name][2], abs=0.08), name
    loud, _ = keep_lesions(predicted, [scan(noise=0.02, factor=7.0)], TYPICAL)
    np.testing.assert_allclose(loud, once, atol=0.01)


def test_without_a_t1w_lesions_look_as_they_do_on_average(predicted):
    kept, shown = keep_lesions(predicted, [], TYPICAL)
    assert shown == 0
    middle = ball(LESIONS['large'][0], 3)
    np.testing.assert_allclose(kept[middle], TYPICAL * PREDICTED[0], rtol=0.01)


def test_what_lies_beyond_the_t1w_looks_so_too(predicted):
    thick = scan()
    part = Grid((80, 50, 12), thick.grid.vox2ras)  # without the small lesion
    short = replace(thick, voxels=thick.voxels[:, :50], grid=part)
    kept, shown = keep_lesions(predicted, [short], TYPICAL)
    assert 0.5 < shown < 1
    found = contrasts(kept)
    # of the lesion beside the ventricle the last slices show nothing
    in_slices = np.zeros(GRID.shape, bool)
    in_slices[:, :50] = True
    assert shown == pytest.approx((predicted.lesion & in_slices).sum() / predicted.lesion.sum())
    assert found['small'] == pytest.approx(TYPICAL - 1, abs=0.07)
    assert found['large'] == pytest.approx(LESIONS['large'][2], abs=0.06)


@pytest.mark.parametrize('shift', [0, 1, 2])
def test_a_lesion_just_beyond_the_last_slice_is_not_scanned(predicted, shift):
    thick = scan()
    ends = 30.0  # mm, the far side of the last slice that is left
    first = thick.grid.vox2ras[2, 3] - 2.5
    count = round((ends - first) / 5)
    short = replace(
        thick, voxels=thick.voxels[..., :count], grid=Grid((80, 80, count), thick.grid.vox2ras)
    )
    edge = first + 5 * count
    beyond = ball((40, 57, edge + 2.6 + shift), 2) & WHITE
    kept, shown = keep_lesions(replace(predicted, lesion=beyond), [short], TYPICAL)
    assert shown == 0
    assert kept[beyond].mean() < 0.8 * PREDICTED[0]


def test_a_missing_slice_shows_nothing(predicted):
    thick = scan()
    center = LESIONS['small'][0]
    index = round((center[2] - thick.grid.vox2ras[2, 3]) / 5)
    lacking = replace(thick.acquisition, missing=(index - 1, index, index + 1))
    only = ball(center, LESIONS['small'][1]) & WHITE
    torn = replace(thick, acquisition=lacking)
    _, shown = keep_lesions(replace(predicted, lesion=only), [torn], TYPICAL)
    assert shown == 0


def test_a_scan_that_shows_little_but_a_lesion_does_no_harm(predicted):
    """No healthy tissue is there to tell the contrast of the scan."""
    thick, (center, radius, _) = scan(), LESIONS['large']
    first = [round(center[axis]) - radius for axis in (0, 1)]
    index = round((center[2] - thick.grid.vox2ras[2, 3]) / 5)
    part = (*(slice(start, start + 2 * radius) for start in first), slice(index, index + 1))
    vox2ras = thick.grid.vox2ras.copy()
    vox2ras[:3, 3] += vox2ras[:3, :3] @ [*first, index]
    small = replace(thick, voxels=thick.voxels[part], grid=Grid((10, 10, 1), vox2ras))
    kept, shown = keep_lesions(predicted, [small], TYPICAL)
    assert 0 < shown < 0.5 and np.isfinite(kept).all()


def test_nothing_to_keep_changes_nothing(predicted):
    without = replace(predicted, lesion=np.zeros(GRID.shape, bool))
    kept, _ = keep_lesions(without, [scan()], TYPICAL)
    np.testing.assert_array_equal(kept, predicted.t1w)


def test_lesions_of_all_the_white_matter_are_refused(predicted):
    everywhere = replace(predicted, lesion=WHITE)
    with pytest.raises(ValueError, match='no healthy white matter'):
        keep_lesions(everywhere, [scan()], TYPICAL)
