"""Arguments that people give to `synthesize` at first: understood, or answered in a sentence."""

import re

import nibabel as nb
import numpy as np
import pytest
from phantoms import AXIAL, centred, head, write_scan

from bids_synthsr.api import synthesize
from bids_synthsr.dataset.errors import FailedExamError
from bids_synthsr.dataset.images import image_of
from bids_synthsr.settings import MethodSettings

CUBIC = MethodSettings(method='cubic', output_resolution=4.0)
GRID = centred((28, 30, 16), AXIAL)
ARRAY = np.zeros((4, 4, 4))


@pytest.mark.parametrize('kind', [str, lambda path: path, nb.load])
def test_one_scan_need_not_be_a_list(tmp_path, kind):
    scan = write_scan(tmp_path, 'my', 'T1w')
    assert list(synthesize(kind(scan), 'T1w', settings=CUBIC)) == ['T1w']


def test_files_may_come_one_by_one_and_contrasts_may_be_none(tmp_path):
    scans = [write_scan(tmp_path, 'my', 'T2w')]
    assert list(synthesize(iter(scans), None, settings=CUBIC)) == ['T2w']


@pytest.mark.parametrize(
    ('images', 'error', 'message'),
    [
        (None, TypeError, 'images is None: give files or nibabel images'),
        (3, TypeError, 'images is of type int: give files'),
        ({'T1w': 'a.nii'}, TypeError, 'images is of type dict: give files'),
        (ARRAY, TypeError, 'images is an array: give files'),
        ([ARRAY], TypeError, 'images[0] is an array, which does not tell where its voxels lie'),
        (['t1.nii', None], TypeError, 'images[1] is None: give files'),
        ([b't1.nii'], TypeError, 'images[0] is of type bytes: give files'),
        ([], ValueError, 'There are no scans: give files'),
        ('nowhere_T1w.nii', FileNotFoundError, 'nowhere_T1w.nii'),
    ],
)
def test_what_is_no_scan_is_answered_in_a_sentence(images, error, message):
    with pytest.raises(error, match=re.escape(message)):
        synthesize(images, settings=CUBIC)


@pytest.mark.parametrize(
    ('contrasts', 'error', 'message'),
    [
        (3, TypeError, 'contrasts is of type int: give BIDS suffixes'),
        ([None], TypeError, 'contrasts[0] is None: give a BIDS suffix'),
        ([1], TypeError, 'contrasts[0] is of type int: give a BIDS suffix'),
        (['FLIAR'], ValueError, 'FLIAR is unknown; did you mean FLAIR?'),
        (['T1w', 'T2w'], ValueError, '1 scans, but 2 contrasts'),
    ],
)
def test_what_is_no_contrast_is_answered_in_a_sentence(contrasts, error, message):
    with pytest.raises(error, match=re.escape(message)):
        synthesize([image_of(head(GRID), GRID)], contrasts, settings=CUBIC)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ('tv', 'settings is of type str: give bids_synthsr.settings.MethodSettings'),
        ({'method': 'tv'}, 'settings is of type dict: give'),
        (MethodSettings, 'settings is of type type: give'),
        (MethodSettings(method=None), 'settings: method is None, not a text'),
        (MethodSettings(output_resolution='1'), 'output_resolution is of type str, not a number'),
        (MethodSettings(output_resolution=True), 'output_resolution is of type bool, not a num'),
        (MethodSettings(ct='yes'), 'settings: ct is of type str, not True or False'),
        (MethodSettings(weights=3), 'settings: weights is of type int, not a file'),
        (MethodSettings(contrasts=(1,)), 'contrasts[0] is of type int'),
        (MethodSettings(reference=['T1w']), 'reference is of type list, not a text'),
    ],
)
def test_settings_of_another_kind_are_answered_in_a_sentence(settings, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        synthesize([image_of(head(GRID), GRID)], ['T1w'], settings=settings)


def test_weights_may_be_a_text_and_one_contrast_need_not_be_a_tuple():
    settings = MethodSettings(contrasts='T2w', **{'weights': 'no.h5', 'method': 'sr-t1'})
    with pytest.raises(FileNotFoundError, match=r'no\.h5'):
        synthesize([image_of(head(GRID), GRID)], ['T1w'], settings=settings)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'num_threads': 0}, 'num_threads is 0, not a whole number of at least 1'),
        ({'num_threads': '2'}, "num_threads is '2', not a whole number of at least 1"),
        ({'device': 'gpu'}, 'gpu: choose auto, cpu, cuda or cuda:N'),
    ],
)
def test_resources_that_cannot_be_are_answered_in_a_sentence(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        synthesize([image_of(head(GRID), GRID)], ['T1w'], settings=CUBIC, **arguments)


def test_images_of_several_volumes_are_answered_in_a_sentence():
    image = nb.Nifti1Image(np.repeat(head(GRID)[..., None], 2, axis=3), GRID.vox2ras)
    with pytest.raises(
        FailedExamError, match=r'^No usable anatomical scan: scan-0\.nii: It holds 2'
    ):
        synthesize(image, 'T1w', settings=CUBIC)
