"""One exam from plain files and from Python."""

import subprocess
import sys
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from doors import sub_command
from phantoms import AXIAL, centred, head, write_scan

from bids_synthsr.api import guess_contrast, synthesize
from bids_synthsr.cli.exam import with_word
from bids_synthsr.dataset.images import image_of
from bids_synthsr.settings import MethodSettings

main = sub_command('exam')
QUICK = ['--method', 'cubic', '--output-resolution', '4', '--threads', '1']


@pytest.fixture
def scans(tmp_path):
    return [write_scan(tmp_path / 'scans', 'my head', contrast) for contrast in ('T1w', 'FLAIR')]


QUIET = """
import numpy as np
from phantoms import centred, head
from bids_synthsr.api import synthesize
from bids_synthsr.dataset.images import image_of
from bids_synthsr.settings import MethodSettings
grid = centred((28, 30, 16), np.diag([8.0, 8, 12, 1]))
settings = MethodSettings(method='cubic', output_resolution=4.0)
print(list(synthesize([image_of(head(grid, 'T2w'), grid)], ['T2w'], settings=settings)))
"""


def test_files_in_one_volume_out(scans, tmp_path, capsys):
    out = tmp_path / 'made' / 'out.nii.gz'
    before = sorted((tmp_path / 'scans').iterdir())
    assert main([*map(str, scans), '-o', str(out), *QUICK]) == 0
    assert str(out) in capsys.readouterr().err
    assert np.allclose(nb.load(out).header.get_zooms(), 4)
    assert sorted((tmp_path / 'scans').iterdir()) == before


def test_images_in_images_out():
    program = [sys.executable, '-c', QUIET]  # where nothing has configured logging
    done = subprocess.run(
        program, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "['T2w']\n", '')


def test_volume_is_that_of_the_scan():
    grid = centred((28, 30, 16), AXIAL)
    image = image_of(head(grid, 'T2w'), grid)
    settings = MethodSettings(method='cubic', output_resolution=4.0)
    made = synthesize([image], ['T2w'], settings=settings)
    assert list(made) == ['T2w']
    assert made['T2w'].get_fdata().max() == pytest.approx(head(grid, 'T2w').max(), rel=0.2)


@pytest.mark.parametrize(
    ('name', 'suffix'),
    [
        ('ax_T1_mprage.nii.gz', 'T1w'),
        ('3_t2_flair_sag.nii', 'FLAIR'),
        ('T2_star.nii', 'T2starw'),
        ('t2tse.nii', 'T2w'),
        ('PD.nii', 'PDw'),
    ],
)
def test_contrast_is_told_by_the_name(name, suffix):
    assert guess_contrast(name) == suffix


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['scan.nii'], 'The name scan.nii does not tell the contrast'),
        (['t1.nii'], 't1.nii: The file cannot be opened'),
        (['t1.nii', '--contrasts', 'T1'], 'Contrast T1 is unknown; there are T1w'),
        (['t1.nii', '--contrasts', 'T1w', 'T2w'], '1 scans, but 2 contrasts'),
        (['t1.nii', '--device', 'cuda:99'], 'PyTorch finds no such GPU'),
        (
            ['t1.nii', '--method', 'sr-t1', '--weights', 'x', '--output-resolution', '1'],
            '--weights x: there is no such file',
        ),
    ],
)
def test_faults_are_told_in_a_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(['-o', 'out.nii.gz', *QUICK, *arguments]) == 1
    told = capsys.readouterr().err
    assert message in told
    assert 'Traceback' not in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('output', 'message'),
    [('out.png', 'ends in .nii.gz or .nii'), ('t1.nii', 'would replace the input')],
)
def test_wrong_outputs_are_refused(tmp_path, monkeypatch, capsys, output, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(['t1.nii', '-o', output])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_names_of_further_volumes(tmp_path):
    assert with_word(tmp_path / 'a.b.nii.gz', 'FLAIR').name == 'a.b_FLAIR.nii.gz'


def test_newcomers_see_the_result_and_nothing_of_the_engine(scans, tmp_path):
    out = tmp_path / 'out.nii.gz'
    program = [Path(sys.executable).with_name('synthsr'), 'exam', str(scans[0]), '-o', str(out)]
    done = subprocess.run(
        [*program, '--method', 'cubic', '--output-resolution', '4'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ('', f'{out}\n')
