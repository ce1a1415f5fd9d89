import gzip
import os
import stat

import nibabel as nb
import numpy as np
import pytest

from bids_synthsr.dataset.scans import load_scan, read_scan
from bids_synthsr.dataset.voxels import conform, judge_voxels, replace_nonfinite
from bids_synthsr.imaging.geometry import apply_affine, rigid
from bids_synthsr.imaging.head import head_size
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid

SHAPE = (24, 26, 20)
SPACING = np.array([6.0, 6.0, 7.0])


def head(shape=SHAPE, spacing=SPACING):
    """Ellipsoid of 120 x 140 x 120 mm in air."""
    ijk = np.indices(shape).reshape(3, -1).T
    offset = (ijk - (np.array(shape) - 1) / 2) * spacing / [60, 70, 60]
    inside = (np.linalg.norm(offset, axis=1) < 1).reshape(shape)
    return (inside * (100 + ijk[:, 0].reshape(shape))).astype(np.float32)


def image(voxels=None, vox2ras=None, sform_code=1, qform_code=1):
    voxels = head() if voxels is None else voxels
    vox2ras = np.diag([*SPACING, 1]) if vox2ras is None else vox2ras
    made = nb.Nifti1Image(voxels, None)
    made.set_qform(vox2ras, qform_code)
    made.set_sform(vox2ras, sform_code)
    made.header.set_xyzt_units('mm')
    return made


@pytest.fixture
def save(tmp_path):
    def save_(made, name='scan.nii.gz'):
        path = tmp_path / name
        made.to_filename(path)
        return path

    return save_


def judged(path, **metadata):
    return load_scan(read_scan(path, 'T2w', metadata=metadata))[0]


def assert_refused(scan, words):
    assert any(words in problem for problem in scan.problems), scan.problems
    assert all(problem.endswith(('.', '").')) for problem in scan.problems)


def test_good_scan_has_neither_problems_nor_warnings(save):
    scan, voxels = load_scan(read_scan(save(image()), 'T1w'))
    assert (scan.problems, scan.warnings) == ((), ())
    assert scan.acquisition == Acquisition(2, 7.0, 7.0)  # without a thickness slices touch
    assert len(scan.digest) == 64
    np.testing.assert_array_equal(voxels, head())


# what is wrong with the file


def truncated(path):
    path.write_bytes(path.read_bytes()[:-200])


def garbled(path):
    path.write_bytes(b'this is not an image, ' * 40)


def zipped_text(path):
    path.write_bytes(gzip.compress(b'not an image'))


def emptied(path):
    path.write_bytes(b'')


def dangling(path):
    path.unlink()
    path.symlink_to(path.parent / '.git/annex/objects/xx/yy/MD5E-s123.nii.gz')


def pointer(path):
    path.write_text('/annex/objects/MD5E-s123--abc.nii.gz\n')


def removed(path):
    path.unlink()


def folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ('spoil', 'words'),
    [
        (truncated, 'Its voxels cannot be read'),
        (garbled, 'It is not a readable NIfTI file'),
        (zipped_text, 'It is not a readable NIfTI file'),
        (emptied, 'The file is empty (0 bytes)'),
        (dangling, 'It is a link to content that is not here: fetch it with "datalad get'),
        (pointer, 'It holds a pointer instead of an image'),
        (removed, 'The file cannot be opened (No such file or directory)'),
        (folder, 'It is no regular file, but a folder, pipe or device'),
    ],
)
def test_spoilt_file_is_refused(save, spoil, words):
    noise = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    path = save(image(head() + noise))
    spoil(path)
    assert_refused(judged(path), words)


def test_file_without_permission_is_refused(save):
    path = save(image())
    path.chmod(0)
    was = os.geteuid()
    path.parent.chmod(0o755)
    if was == 0:
        for parent in path.parents[:3]:
            parent.chmod(parent.stat().st_mode | stat.S_IXOTH)
        os.seteuid(65534)  # root may read everything
    try:
        assert_refused(judged(path), 'The file cannot be opened (Permission denied)')
    finally:
        os.seteuid(was)


def test_random_headers_never_raise(tmp_path):
    path = tmp_path / 'scan.nii'
    image().to_filename(path)
    good = path.read_bytes()
    generator = np.random.default_rng(1)
    for _ in range(150):
        bad = bytearray(good)
        for place in generator.integers(0, 348, 12):
            bad[place] = generator.integers(256)
        path.write_bytes(bad)
        judged(path)


# what is wrong with the header


def metres():
    return image(vox2ras=np.diag([*SPACING / 1000, 1]))


def mirrored():
    made = image()
    made.set_qform(np.diag([-6.0, 6, 7, 1]), 1)
    return made


def sheared(degrees):
    vox2ras = np.diag([*SPACING, 1])
    vox2ras[0, 2] = 7 * np.tan(np.radians(degrees))
    return image(vox2ras=vox2ras, qform_code=0)


def colours():
    rgb = np.zeros(SHAPE, dtype=[('R', 'u1'), ('G', 'u1'), ('B', 'u1')])
    return image(rgb)


def with_first_row(row):
    made = nb.Nifti1Image(head(), None, image(qform_code=0).header)
    made.header['srow_x'] = row
    return made


@pytest.mark.parametrize(
    ('made', 'words'),
    [
        (image(sform_code=0, qform_code=0), 'does not say where the image lies'),
        (with_first_row([0, 6, 0, 0]), 'Its affine (sform) is singular or not finite'),
        (with_first_row(np.nan), 'Its affine (sform) is singular or not finite'),
        (mirrored(), 'contradict each other about left and right'),
        (sheared(3), 'Its axes are 3.0 degrees off the right angle'),
        (metres(), 'its header seems to be in metres'),
        (image(vox2ras=np.diag([6000.0, 6000, 7000, 1])), 'seems to be in micrometres'),
        (image(vox2ras=np.diag([6.0, 6, 40, 1])), '0.1 to 20 mm can be used'),
        (image(np.zeros((*SHAPE, 3), np.float32)), 'It holds 3 volumes'),
        (image(head()[..., 0]), 'It has 2 dimensions'),
        (image(head().astype(np.complex64)), 'It stores complex64 numbers'),
        (colours(), 'It stores colours (RGB)'),
        (image(head()[..., 9:11]), 'It has 2 slices, as localisers do; at least 10'),
        (image(head()[:8], np.diag([7.0, 6, 6, 1])), 'It has 8 slices'),
        (image(head()[8:16], np.diag([6.0, 6, 7, 1])), 'It has 8 x 26 x 20 voxels'),
        (image(head(), np.diag([6.0, 6, 2.5, 1])), 'It covers 50 mm of the head'),
    ],
)
def test_unusable_header_is_refused(save, made, words):
    assert_refused(judged(save(made)), words)


def test_one_volume_in_four_dimensions_is_three_dimensional(save):
    scan, voxels = load_scan(read_scan(save(image(head()[..., None])), 'T1w'))
    assert scan.problems == ()
    assert voxels is not None and scan.grid is not None
    assert voxels.shape == SHAPE == scan.grid.shape


@pytest.mark.parametrize('suffix', ['.nii', '.nii.gz'])
def test_second_version_of_nifti_is_read(tmp_path, suffix):
    path = tmp_path / f'scan{suffix}'
    nb.Nifti2Image(head(), np.diag([*SPACING, 1])).to_filename(path)
    assert judged(path).problems == ()


def test_oblique_and_left_handed_grids_are_kept(save):
    vox2ras = rigid(np.radians([20, -12, 8]), np.array([3.0, -4, 5])) @ np.diag([-6.0, 6, 7, 1])
    scan = judged(save(image(vox2ras=vox2ras)))
    assert (scan.problems, scan.warnings) == ((), ())
    np.testing.assert_allclose(scan.grid.vox2ras, vox2ras, atol=1e-4)  # float32 header


def test_small_shear_is_made_right_about_the_centre(save):
    scan = judged(save(sheared(0.5)))
    assert 'Its axes are 0.50 degrees off the right angle; they were made right.' in scan.warnings
    directions = scan.grid.directions
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-12)
    middle = (np.array(SHAPE) - 1) / 2
    before = apply_affine(sheared(0.5).affine, middle)
    np.testing.assert_allclose(scan.grid.center, before, atol=1e-4)


def test_contradicting_forms_are_told_and_the_sform_counts(save):
    made = image()
    made.set_qform(rigid(np.radians([0, 0, 5.0]), np.zeros(3)) @ made.affine, 1)
    scan = judged(save(made))
    assert scan.problems == ()
    assert 'the sform counts' in scan.warnings[0]
    np.testing.assert_allclose(scan.grid.vox2ras, np.diag([*SPACING, 1]), atol=1e-4)


def test_qform_alone_counts(save):
    vox2ras = rigid(np.radians([10, 0, 0]), np.ones(3)) @ np.diag([*SPACING, 1])
    scan = judged(save(image(vox2ras=vox2ras, sform_code=0)))
    assert (scan.problems, scan.warnings) == ((), ())
    np.testing.assert_allclose(scan.grid.vox2ras, vox2ras, atol=1e-4)


def test_unit_that_makes_no_sense_is_told(save):
    made = image()
    made.header.set_xyzt_units('meter')
    assert 'mm was assumed' in judged(save(made)).warnings[0]


@pytest.mark.parametrize(('spacing', 'words'), [(0.2, ''), (12.0, 'lie 12 mm apart')])
def test_fine_and_coarse_voxels_are_used(spacing, words, tmp_path):
    shape = (24, 26, round(132 / spacing))
    path = tmp_path / 'scan.nii'
    voxels = head(shape, [6, 6, spacing]).astype(np.uint8)
    image(voxels, np.diag([6, 6, spacing, 1])).to_filename(path)
    scan = judged(path)
    assert scan.problems == ()
    assert all(words in warning for warning in scan.warnings)
    assert bool(scan.warnings) == bool(words)


def test_partial_coverage_is_told(save):
    scan = judged(save(image(head(spacing=[6, 6, 5]), np.diag([6.0, 6, 5, 1]))))
    assert scan.problems == ()
    assert scan.warnings == ('It covers 100 mm only: a part of the brain may lie outside.',)


# what the sidecar says


@pytest.mark.parametrize(
    ('metadata', 'acquisition', 'words'),
    [
        ({'SliceThickness': 5.5, 'SpacingBetweenSlices': 7.0}, (2, 7.0, 5.5), ''),
        ({'SliceThickness': '5.5'}, (2, 7.0, 5.5), ''),
        ({'SpacingBetweenSlices': 1.5}, (2, 7.0, 7.0), '1.5 mm by its sidecar'),
        ({'SliceThickness': 1.0}, (2, 7.0, 7.0), 'they are 1 mm thick'),
        ({'SliceThickness': 'thick'}, (2, 7.0, 7.0), "SliceThickness as 'thick'"),
        ({'SliceThickness': [5, 5]}, (2, 7.0, 7.0), 'SliceThickness as [5, 5]'),
        ({'SliceThickness': -5}, (2, 7.0, 7.0), 'SliceThickness as -5'),
        ({'SliceEncodingDirection': 'k-'}, (2, 7.0, 7.0), ''),
        ({'SliceEncodingDirection': 'i'}, (2, 7.0, 7.0), 'name i as its slice axis, but k'),
        ({'SliceEncodingDirection': ''}, (2, 7.0, 7.0), ''),
    ],
)
def test_acquisition_comes_from_header_and_sidecar(save, metadata, acquisition, words):
    scan = judged(save(image()), **metadata)
    assert scan.problems == ()
    assert scan.acquisition == Acquisition(*acquisition)
    assert bool(scan.warnings) == bool(words)
    assert all(words in warning for warning in scan.warnings)


def test_stated_slice_axis_counts_among_equals_but_in_three_dimensions(save):
    voxels, vox2ras = head(spacing=[6, 6, 6]), np.diag([6.0, 6, 6, 1])
    path = save(image(voxels, vox2ras))
    assert judged(path).acquisition.slice_axis == 2
    assert judged(path, SliceEncodingDirection='j').acquisition.slice_axis == 1
    is_3d = {'SliceEncodingDirection': 'j', 'MRAcquisitionType': '3D'}
    assert judged(path, **is_3d).acquisition.slice_axis == 2
    made = image(voxels, vox2ras)
    made.header.set_dim_info(slice=0)
    assert judged(save(made)).acquisition.slice_axis == 0


@pytest.mark.parametrize(
    ('metadata', 'words'),
    [
        ({'SeriesDescription': 'AAHead_Scout'}, 'Its sidecar calls it a scout'),
        ({'ProtocolName': '3-plane loc'}, 'Its sidecar calls it a scout'),
        ({'ImageType': ['ORIGINAL', 'PRIMARY', 'LOCALIZER']}, 'Its sidecar calls it a scout'),
        ({'ImageType': ['ORIGINAL', 'PRIMARY', 'P', 'ND']}, 'calls it a phase image'),
    ],
)
def test_scouts_and_phase_images_are_refused(save, metadata, words):
    assert_refused(judged(save(image()), **metadata), words)


def test_only_magnitude_is_used(save):
    path = save(image())
    assert_refused(read_scan(path, 'T2starw', {'part': 'phase'}), 'It is part-phase')
    assert read_scan(path, 'T2starw', {'part': 'mag'}).problems == ()


@pytest.mark.parametrize(
    ('metadata', 'words'),
    [
        (
            {'ContrastBolusIngredient': 'GADOLINIUM'},
            'A contrast agent was given (ContrastBolusIngredient: GADOLINIUM)',
        ),
        ({'BodyPartExamined': 'CSPINE'}, 'names another body part'),
        ({'ImageType': ['DERIVED', 'SECONDARY', 'MPR']}, 'it was reformatted'),
    ],
)
def test_what_a_sidecar_says_is_told(save, metadata, words):
    scan = judged(save(image()), **metadata)
    assert scan.problems == ()
    assert words in scan.warnings[0]


def test_scan_of_a_head_is_no_other_body_part(save):
    assert judged(save(image()), BodyPart='Brain', ImageType=['ORIGINAL', 'M']).warnings == ()


# what is wrong with the voxels


@pytest.mark.parametrize(
    ('voxels', 'words'),
    [
        (np.full(SHAPE, 7, np.int16), 'All its voxels have the value 7'),
        (-head() - 1, 'None of its voxels is positive'),
        (np.full(SHAPE, np.nan, np.float32), '100.0% of its voxels are NaN'),
        (np.where(np.arange(20) == 9, np.inf, head()).astype(np.float32), '5.0% of its voxels'),
        (head() * (np.arange(20) < 3), 'No head was found'),
    ],
)
def test_unusable_voxels_are_refused(save, voxels, words):
    assert_refused(judged(save(image(voxels))), words)


def test_trunk_is_no_head(save):
    vox2ras = np.diag([15.0, 10, 7, 1])  # the ellipsoid becomes 300 mm wide
    assert_refused(judged(save(image(vox2ras=vox2ras))), 'No head was found')


def test_a_slab_that_is_wide_enough_is_not_too_small_for_a_head(save):
    voxels = head((22, 26, 30), [7, 7, 7])[:, :, 10:21]  # 66 mm, of which the last is air
    voxels[..., -1] = voxels.min()
    path = save(image(np.ascontiguousarray(voxels), vox2ras=np.diag([7.0, 7, 6, 1])))
    assert judged(path).problems == ()


def test_few_odd_voxels_become_zero_and_are_told(save):
    voxels = head()
    voxels[12, 13, 10], voxels[11, 13, 10] = np.nan, -np.inf
    scan, conformed = load_scan(read_scan(save(image(voxels)), 'T1w'))
    assert scan.problems == ()
    assert scan.warnings == ('2 of its voxels were NaN or infinite; they were set to 0.',)
    assert conformed is not None
    assert conformed[12, 13, 10] == conformed[11, 13, 10] == 0


def test_conform_drops_axes_of_length_one():
    voxels = conform(np.ones((2, 3, 4, 1, 1), np.int16))
    assert (voxels.shape, voxels.dtype) == ((2, 3, 4), np.float32)


def test_what_float32_cannot_hold_counts_as_infinite():
    notes = []
    voxels, _ = replace_nonfinite(
        conform(np.where(np.arange(2000) == 7, 1e300, 1.0)[:, None, None]), notes
    )
    assert voxels[7, 0, 0] == 0 and voxels.sum() == 1999
    assert notes == ['1 of its voxels were NaN or infinite; they were set to 0.']


def test_digest_tells_voxels_not_files(save):
    scans = [judged(save(image(), name)) for name in ('a.nii', 'b.nii.gz')]
    other = judged(save(image(head() + 1), 'c.nii.gz'))
    assert scans[0].digest == scans[1].digest != other.digest


def test_judgement_keeps_what_was_known(save):
    scan = read_scan(save(image()), 'T1w', {'ce': 'gad'})
    assert judge_voxels(scan, head())[0].warnings == scan.warnings != ()


def test_head_size_is_along_ras_whatever_the_voxel_order():
    voxels = head((22, 24, 26), [7, 7, 7])
    size = head_size(voxels, Grid(voxels.shape, np.diag([7.0, 7, 7, 1])))
    vox2ras = np.array([[0, 0, 7, 0], [-7, 0, 0, 0], [0, 7, 0, 0], [0, 0, 0, 1.0]])
    turned = voxels.transpose(1, 2, 0)[::-1]  # i runs to P, j to S, k to R
    np.testing.assert_allclose(head_size(turned, Grid(turned.shape, vox2ras)), size)
    np.testing.assert_allclose(size, [120, 140, 120], atol=14)  # two voxels
