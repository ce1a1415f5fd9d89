"""However an image is stored, the same head comes out."""

import nibabel as nb
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from phantoms import write_scan

from bids_synthsr.api import synthesize
from bids_synthsr.imaging.geometry import rigid
from bids_synthsr.settings import MethodSettings

SETTINGS = MethodSettings('cubic', output_resolution=4.0)


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    path = write_scan(tmp_path_factory.mktemp('geometry'), 'sub-01', 'T1w')
    image = nb.load(path)
    return nb.Nifti1Image(np.asarray(image.dataobj), image.affine)


def make(image):
    """Volume of a scan, its axes brought in the order R, A, S."""
    volume = synthesize(image, 'T1w', settings=SETTINGS)['T1w']
    return np.asarray(nb.as_closest_canonical(volume).dataobj)


@pytest.fixture(scope='module')
def expected(plain):
    return make(plain)


def reordered(image, codes):
    """The same image, its axes stored otherwise."""
    wanted = ornt_transform(io_orientation(image.affine), axcodes2ornt(codes))
    return image.as_reoriented(wanted)


def placed_by_qform(image):
    moved = nb.Nifti1Image(np.asarray(image.dataobj), image.affine)
    moved.set_qform(image.affine, 1)
    moved.set_sform(None, 0)
    return moved


def turned(image):
    """The same image, the head and its axes oblique."""
    turn = rigid(np.radians([20, -10, 15]), np.array([3.0, -8, 11]))
    return nb.Nifti1Image(np.asarray(image.dataobj), turn @ image.affine)


VARIANTS = {
    'permuted': lambda image: reordered(image, 'PIR'),
    'flipped': lambda image: reordered(image, 'LPS'),
    'permuted and flipped': lambda image: reordered(image, 'SLA'),
    'qform alone': placed_by_qform,
    'oblique': turned,
    'NIfTI-2': lambda image: nb.Nifti2Image(np.asarray(image.dataobj), image.affine),
    'big endian': lambda image: nb.Nifti1Image(
        np.asarray(image.dataobj).astype('>f4'), image.affine, nb.Nifti1Header(endianness='>')
    ),
}


@pytest.mark.parametrize('name', VARIANTS)
@pytest.mark.parametrize('is_file', [False, True])
def test_the_same_head_comes_out(plain, expected, tmp_path, name, is_file):
    image = VARIANTS[name](plain)
    if is_file:
        nb.save(image, tmp_path / 'x_T1w.nii.gz')
        image = tmp_path / 'x_T1w.nii.gz'
    volume = make(image)
    assert volume.shape == expected.shape
    assert np.corrcoef(volume.ravel(), expected.ravel())[0, 1] > 0.9999
