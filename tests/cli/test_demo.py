"""The demo command: it writes a data set, and compares outputs with the truth."""

import numpy as np
import pytest
from doors import sub_command

from bids_synthsr.dataset.images import load_volume, save_volume
from bids_synthsr.evaluation.phantoms import PROTOCOLS

main = sub_command('demo')


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp('demo')
    assert main(['make', str(folder)]) == 0
    return folder


def test_comparison_knows_the_truth_when_it_sees_it(demo, tmp_path, capsys):
    """The truth in place of the outputs has no registration error and beats interpolation."""
    for session in PROTOCOLS:
        name, anat = f'sub-01_ses-{session}', tmp_path / f'sub-01/ses-{session}/anat'
        anat.mkdir(parents=True)
        voxels, grid = load_volume(demo / f'truth/{name}_T1w.nii.gz')
        save_volume(anat / f'{name}_desc-tv_T1w.nii.gz', voxels + 1, grid)
        for path in (demo / 'truth').glob(f'{name}_from-*'):
            (anat / path.name).write_bytes(path.read_bytes())
    assert main(['compare', str(demo), str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.count('0.00 mm') == 4
    scores = [
        float(line.split('PSNR')[1].split()[0]) for line in printed.splitlines() if 'PSNR' in line
    ]
    trilinear, cubic, output = np.reshape(scores, (2, 3)).T
    assert (output > 60).all() and (cubic > trilinear).all() and (cubic < 30).all()


@pytest.mark.parametrize(
    ('folder', 'fault'),
    [('', 'holds no result of sub-01_ses-1'), ('nowhere', 'is no demo data set')],
)
def test_folders_that_cannot_be_compared_are_refused(demo, tmp_path, capsys, folder, fault):
    with pytest.raises(SystemExit) as stop:
        main(['compare', str(demo / folder), str(tmp_path / 'out')])
    assert stop.value.code == 2 and fault in capsys.readouterr().err
