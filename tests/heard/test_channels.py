"""Scans that differ in more than their slices are never joined, and their volumes have names."""

import json

import nibabel as nb
import numpy as np
import pytest
from phantoms import write_description, write_scan

from bids_synthsr.api import synthesize
from bids_synthsr.cli.bids_app import main
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.products import ProductFile
from bids_synthsr.derivatives.saving import list_outputs
from bids_synthsr.methods.catalogue import METHODS
from bids_synthsr.methods.synthsr import find_pair
from bids_synthsr.methods.total_variation import synthesize as tv
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation

OPTIONS = ['--output-resolution', '4', '--nprocs', '1', '--skip-bids-validation']


def observe(contrast, intensity=100.0):
    """A cube of one intensity in air."""
    voxels = np.zeros((16, 16, 16), np.float32)
    voxels[4:12, 4:12, 4:12] = intensity
    grid = Grid((16, 16, 16), np.diag([4.0, 4, 4, 1]))
    return Observation(contrast, voxels, grid, Acquisition(2, 4.0, 4.0), np.eye(4))


@pytest.mark.parametrize(
    ('contrasts', 'names'),
    [
        (['T1w', 'ce-gd_T1w'], [('T1w', {}), ('T1w', {'ce': 'gd'})]),
        (['T1w', 'T1w', 'T1w'], [('T1w', {})]),
        (
            ['T1w', 'echo-1_T2starw', 'echo-2_T2starw'],
            [('T1w', {}), ('T2starw', {'echo': '1'}), ('T2starw', {'echo': '2'})],
        ),
        (['echo-1_T2w', 'mt-on_T2w'], [('T2w', {'echo': '1'}), ('T2w', {'mt': 'on'})]),
        (['mt-on_T1w', 'T1w'], [('T1w', {'mt': 'on'}), ('T1w', {})]),
        (['ce-gd_T1w'], [('T1w', {'ce': 'gd'})]),
        (['acq-UNIT1_T1w', 'T1w'], [('T1w', {'acq': 'UNIT1'}), ('T1w', {})]),
        (['acq-UNIT1_T1w', 'inv-1_T1w'], [('T1w', {}), ('T1w', {'inv': '1'})]),
    ],
)
def test_every_contrast_makes_a_volume(contrasts, names):
    scans = [observe(contrast) for contrast in contrasts]
    images = tv(scans, scans[0].grid, max_iterations=1).images
    assert [(image.suffix, dict(image.entities)) for image in images] == names


def test_an_agent_does_not_brighten_the_plain_t1w():
    plain, agent = observe('T1w'), observe('ce-gd_T1w', 300.0)
    alone = tv([plain], plain.grid).images[0].voxels
    both = tv([plain, agent], plain.grid).images
    assert both[0].voxels.max() == pytest.approx(alone.max(), rel=0.02)
    assert both[1].voxels.max() > 2.5 * both[0].voxels.max()


def test_the_pair_of_scans_is_the_plain_one():
    names = ['ce-gd_T1w', 'FLAIR', 'echo-2_T2w', 'T1w', 'T2w']
    assert find_pair([observe(name) for name in names], ct=False) == (3, 4)
    assert find_pair([observe(name) for name in ('ce-gd_T1w', 'T2w')], ct=False) == (0, 1)


def test_volumes_are_named_before_they_are_made():
    assert METHODS['tv'].name_volumes(['T1w', 'ce-gd_T1w', 'T1w']) == ['ce-gd_T1w']


def test_outputs_of_a_contrast_carry_what_makes_it_another(tmp_path):
    bids, out = tmp_path / 'bids', tmp_path / 'out'
    write_description(bids)
    plain = write_scan(bids / 'sub-01/anat', 'sub-01', 'T1w')
    image = nb.load(plain)
    agent = plain.with_name('sub-01_acq-post_T1w.nii.gz')
    voxels = np.asarray(image.dataobj).astype(np.float32)
    nb.save(nb.Nifti1Image(voxels[::-1] * 2, image.affine, image.header), agent)
    nb.save(nb.Nifti1Image(voxels * 1.5, image.affine, image.header), agent)
    folders = [str(bids), str(out), 'participant', '--work-dir', str(tmp_path / 'work')]
    assert main([*folders, '--method', 'tv', *OPTIONS]) == 0
    names = {path.name for path in out.rglob('*_T1w.nii.gz') if 'desc-tv' in path.name}
    assert names == {
        'sub-01_desc-tv_T1w.nii.gz', 'sub-01_ce-agent_space-T1w_desc-tv_T1w.nii.gz',
    }  # fmt: skip
    sidecar = out / 'sub-01/anat/sub-01_ce-agent_space-T1w_desc-tv_T1w.json'
    assert json.loads(sidecar.read_text())['Method'] == 'tv'
    assert 'ce-agent_T1w' in (out / 'sub-01.html').read_text()


def test_volumes_of_the_python_api_are_named_by_contrast(tmp_path):
    from bids_synthsr.settings import MethodSettings

    plain = write_scan(tmp_path / 'a', 'sub-01', 'T1w')
    other = write_scan(tmp_path / 'b', 'sub-01', 'T2w')
    volumes = synthesize([plain, other], settings=MethodSettings('tv', output_resolution=4.0))
    assert list(volumes) == ['T1w', 'T2w']


def test_two_products_of_one_name_are_never_saved(tmp_path):
    place = Derivatives(tmp_path).exam('01')
    products = [ProductFile(f'{name}.nii', 'image', 'T1w', {'desc': 'tv'}) for name in 'ab']
    with pytest.raises(ValueError, match='Two outputs have the name sub-01_desc-tv_T1w'):
        list_outputs(products, place)
