"""Finished exams as subjects of FreeSurfer."""

import nibabel as nb
import numpy as np
from phantoms import write_t1w

from bids_synthsr.dataset.images import load_volume

SUBJECT = 'sub-01_ses-a'


def test_volumes_lie_where_the_t1w_lies(run_brainy, tmp_path):
    write_t1w(tmp_path / 'bids', SUBJECT)
    assert run_brainy('--export', 'freesurfer') == 0
    out = tmp_path / 'out'
    mri = out / f'sourcedata/exported/{SUBJECT}/mri'
    orig, mask = (nb.load(mri / f'{name}.mgz') for name in ('orig', 'brainmask'))
    assert orig.shape == (256, 256, 256)
    assert orig.get_data_dtype() == np.uint8
    assert nb.aff2axcodes(orig.affine) == ('L', 'I', 'A')
    labels = nb.load(mri / 'aseg.presurf.mgz')
    anat = out / 'sub-01/ses-a/anat'
    dseg, grid = load_volume(anat / f'{SUBJECT}_desc-brainy_dseg.nii.gz')
    for value in (2, 3, 4):  # where each structure lies, mm
        found = labels.affine @ [*np.argwhere(labels.get_fdata() == value).mean(0), 1]
        true = grid.vox2ras @ [*np.argwhere(dseg == value).mean(0), 1]
        np.testing.assert_allclose(found, true, atol=1)
    brain = mask.get_fdata() > 0
    assert abs(brain.sum() / (27 * (dseg > 0).sum()) - 1) < 0.03
    assert orig.get_fdata()[~brain].any()


def test_it_is_written_anew_and_a_link_is_refused(run_brainy, tmp_path, capsys):
    write_t1w(tmp_path / 'bids', SUBJECT)
    assert run_brainy('--export', 'freesurfer') == 0
    volume = tmp_path / f'out/sourcedata/exported/{SUBJECT}/mri/nu.mgz'
    volume.write_bytes(b'')
    assert run_brainy('--export', 'freesurfer') == 0
    assert nb.load(volume).shape == (256, 256, 256)
    folder = volume.parent.parent
    folder.rename(tmp_path / 'theirs')
    folder.symlink_to(tmp_path / 'theirs')
    before = (tmp_path / 'theirs/mri/nu.mgz').stat().st_mtime_ns
    assert run_brainy('--export', 'freesurfer') == 1
    assert (tmp_path / 'theirs/mri/nu.mgz').stat().st_mtime_ns == before
    assert '--export' in capsys.readouterr().err
