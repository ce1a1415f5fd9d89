"""Outputs in standard spaces, from the command line to the report."""

import json

import numpy as np
import pytest
from nitransforms.manip import TransformChain
from phantoms import draw_brain, write_description, write_scan

from bids_synthsr.cli.bids_app import main
from bids_synthsr.dataset.images import load_volume, save_volume
from bids_synthsr.values.grid import Grid

SPACE = 'MNI152NLin2009cAsym'


def grid_of(shape, spacing=3.0):
    return Grid(shape, np.diag([spacing] * 3 + [1.0]))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the program in this process, with a folder of templates."""
    bids, home = tmp_path / 'bids', tmp_path / 'templates'
    write_description(bids)
    write_scan(bids / 'sub-01/anat', 'sub-01', 'T1w')
    template = draw_brain((34, 40, 34), (13, 16, 13))
    for name, voxels in {
        'T1w': template + 1, 'desc-brain_mask': (template > 0).astype(np.uint8),
    }.items():  # fmt: skip
        save_volume(home / f'tpl-{SPACE}/tpl-{SPACE}_res-01_{name}.nii.gz', voxels,
                    grid_of(voxels.shape))  # fmt: skip
    monkeypatch.setenv('TEMPLATEFLOW_HOME', str(home))
    plugin = tmp_path / 'plugin.json'
    plugin.write_text(json.dumps({'plugin': 'Linear'}))

    def call(*arguments):
        return main([
            str(bids), str(tmp_path / 'out'), 'participant', '--work-dir', str(tmp_path / 'work'),
            '--output-resolution', '4', '--skip-bids-validation', '--nprocs', '1',
            '--nipype-plugin-file', str(plugin), *arguments,
        ])  # fmt: skip

    return call


@pytest.mark.usefixtures('brainy')
def test_an_exam_is_brought_to_the_template_and_back(run, tmp_path, capsys):
    assert run('--method', 'brainy', '--output-spaces', SPACE, 'anat') == 0
    out = tmp_path / 'out'
    anat = out / 'sub-01/anat'
    t1w, grid = load_volume(anat / f'sub-01_space-{SPACE}_desc-brainy_T1w.nii.gz')
    mask = load_volume(anat / f'sub-01_space-{SPACE}_desc-brain_mask.nii.gz')[0]
    template = draw_brain((34, 40, 34), (13, 16, 13))
    assert grid.shape == template.shape
    inside = template > 0
    assert 2 * (inside & (mask > 0)).sum() / (inside.sum() + (mask > 0).sum()) > 0.93
    assert np.corrcoef(t1w[inside], template[inside])[0, 1] > 0.85
    sidecar = json.loads((anat / f'sub-01_space-{SPACE}_desc-brainy_T1w.json').read_text())
    assert sidecar['SpatialReference'].endswith(f'tpl-{SPACE}')
    assert sidecar['Interpolation'] == 'cubic splines'
    there, back = (
        TransformChain.from_filename(anat / f'sub-01_{words}_mode-image_xfm.h5', fmt='itk')
        for words in (f'from-T1w_to-{SPACE}', f'from-{SPACE}_to-T1w')
    )
    point = np.array([[50.0, 62, 48]])
    np.testing.assert_allclose(back.map(there.map(point)), point, atol=0.5)
    page = (out / 'sub-01.html').read_text()
    assert 'id="spaces"' in page
    assert 'Overlap of the brains' in page
    assert f'registered to {SPACE}' in (out / 'logs/CITATION.md').read_text()
    record = json.loads((out / 'logs/exams/sub-01.json').read_text())
    assert sum(f'to-{SPACE}' in name for name in record['outputs']) == 2
    capsys.readouterr()
    assert run('--method', 'brainy', '--output-spaces', SPACE, '--dry-run') == 0
    assert 'finished, nothing to do' in capsys.readouterr().err
    assert run('--method', 'brainy', '--dry-run') == 0
    assert 'templates' in capsys.readouterr().err


@pytest.mark.usefixtures('brainy')
def test_mask_and_segmentation_are_brought_to_the_grids_of_the_scans(run, tmp_path):
    write_scan(tmp_path / 'bids/sub-01/anat', 'sub-01', 'FLAIR')
    assert run('--method', 'brainy', '--output-spaces', 'scan') == 0
    anat = tmp_path / 'out/sub-01/anat'
    made, where = load_volume(anat / 'sub-01_dseg.nii.gz')
    for contrast in ('T1w', 'FLAIR'):
        raw = load_volume(tmp_path / f'bids/sub-01/anat/sub-01_{contrast}.nii.gz')[1]
        labels, grid = load_volume(anat / f'sub-01_space-orig_desc-{contrast}_dseg.nii.gz')
        mask = load_volume(anat / f'sub-01_space-orig_desc-{contrast}_mask.nii.gz')[0]
        assert grid == raw
        np.testing.assert_array_equal(mask > 0, labels > 0)
        volumes = (
            x.sum() * np.prod(y.spacing) for x, y in ((labels > 0, grid), (made > 0, where))
        )
        first, second = volumes
        assert 0 < first <= 1.1 * second
    name = 'sub-01_space-orig_desc-FLAIR_dseg.json'
    sidecar = json.loads((anat / name).read_text())
    assert sidecar['SpatialReference'] == 'bids:raw:sub-01/anat/sub-01_FLAIR.nii.gz'


@pytest.mark.usefixtures('brainy')
def test_the_stage_can_be_done_alone(run, tmp_path, capsys):
    assert run('--method', 'brainy', '--output-spaces', SPACE, '--stage', 'standardize') == 0
    assert 'sub-01  standardized' in capsys.readouterr().err
    assert not list((tmp_path / 'out').glob('sub-01/**/*.nii.gz'))


@pytest.mark.parametrize(('arguments', 'message'), [
    (('--method', 'cubic', '--output-spaces', SPACE), 'cubic makes no brain mask'),
    (('--output-spaces', 'MNI:2mm'), 'write the name of a template'),
    (('--stage', 'standardize'), 'without --output-spaces'),
])  # fmt: skip
def test_wrong_use_ends_before_any_exam(run, tmp_path, capsys, arguments, message):
    assert run('--output-resolution', '1', *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_the_space_of_the_exam_needs_no_template(run, capsys):
    assert run('--method', 'cubic', '--output-spaces', 'anat', 'T1w', '--dry-run') == 0
