"""Templates: found here, fetched with patience, replaced under another name, or refused."""

import sys
import time
from dataclasses import asdict
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from label_phantoms import grid_of

from bids_synthsr.dataset import templates
from bids_synthsr.dataset.images import save_volume
from bids_synthsr.dataset.templates import load_template, locate_template, split_space

SPACE = 'MNI152NLin2009cAsym'


@pytest.fixture
def home(tmp_path):
    """A folder of TemplateFlow with a template of two resolutions."""
    folder = tmp_path / 'home'
    t1w = np.arange(27, dtype=np.float32).reshape(3, 3, 3) + 1
    mask = np.zeros((3, 3, 3), np.uint8)
    mask[1] = 1
    for name, voxels in {
        'res-01_T1w': t1w, 'res-01_desc-brain_mask': mask, 'res-02_T1w': t1w[:2, :2, :2],
    }.items():  # fmt: skip
        save_volume(folder / f'tpl-{SPACE}/tpl-{SPACE}_{name}.nii.gz', voxels,
                    grid_of(voxels.shape))  # fmt: skip
    return folder


@pytest.fixture
def templateflow(monkeypatch, tmp_path):
    """A TemplateFlow whose answer a test may set."""
    package = ModuleType('templateflow')
    package.api = SimpleNamespace(get=lambda *_, **__: [])
    package.conf = SimpleNamespace(TF_HOME=str(tmp_path / 'home'))
    monkeypatch.setitem(sys.modules, 'templateflow', package)
    return package


def environ_of(home):
    return {'TEMPLATEFLOW_HOME': str(home)}


def test_spaces_are_spelled_as_in_fmriprep():
    assert split_space('MNI152NLin6Asym') == ('MNI152NLin6Asym', 0)
    assert split_space(f'{SPACE}:res-2') == (SPACE, 2)
    assert split_space(f'{SPACE}:res-02') == (SPACE, 2)
    for words in ('', 'MNI:2mm', '../MNI', 'MNI res-2', f'{SPACE}:res-x', f'{SPACE}:cohort-1'):
        with pytest.raises(ValueError, match='write the name of a template'):
            split_space(words)


def test_a_template_that_is_here_needs_no_network(home):
    files, note = locate_template(SPACE, environ_of(home))
    assert (files.space, files.resolution, note) == (SPACE, 0, '')
    assert files.entities == {'space': SPACE}
    template = load_template(files)
    assert template.t1w[1].min() > 0
    assert not template.t1w[0].any()  # no brain there
    assert template.target == template.grid


def test_the_outputs_take_the_grid_of_the_resolution(home):
    files, _ = locate_template(f'{SPACE}:res-2', environ_of(home))
    assert files.entities == {'space': SPACE, 'res': '2'}
    assert load_template(files).target.shape == (2, 2, 2)


def test_empty_files_of_the_skeleton_are_no_template(home, templateflow):
    (home / f'tpl-{SPACE}/tpl-{SPACE}_res-01_T1w.nii.gz').write_bytes(b'')
    files, note = locate_template(SPACE, environ_of(home))
    assert files.space == 'MNI152NLin2009aSym'
    assert 'no such T1w and mask' in note


def test_another_template_takes_the_place_under_its_own_name(tmp_path, templateflow):
    files, note = locate_template(f'{SPACE}:res-2', environ_of(tmp_path / 'home'))
    assert files.entities == {'space': 'MNI152NLin2009aSym', 'res': '2'}
    assert 'outputs are named by it' in note
    assert "api.get('MNI152NLin2009cAsym', resolution=[1, 2]" in note
    template = load_template(files)
    assert template.grid.shape == (197, 233, 189)
    assert template.target.shape == (99, 117, 95)
    np.testing.assert_allclose(template.target.spacing, 2)
    np.testing.assert_allclose(template.target.vox2ras[:3, 3], template.grid.vox2ras[:3, 3])


def test_the_template_of_nilearn_can_be_asked_for(tmp_path):
    files, note = locate_template('MNI152NLin2009aSym', environ_of(tmp_path))
    assert (files.space, note) == ('MNI152NLin2009aSym', '')


def test_a_space_that_nothing_can_stand_in_for_is_refused(tmp_path, templateflow):
    with pytest.raises(ValueError, match=r'OASIS30ANTs is not in .* cannot be fetched'):
        locate_template('OASIS30ANTs', environ_of(tmp_path / 'home'))


@pytest.mark.parametrize('error', [OSError('Tunnel connection failed: 403'), KeyError('x')])
def test_a_network_that_fails_is_told(tmp_path, templateflow, error):
    def fail(*_, **__):
        raise error

    templateflow.api.get = fail
    assert str(error) in locate_template(SPACE, environ_of(tmp_path / 'home'))[1]


def test_a_network_that_hangs_is_given_up(tmp_path, templateflow, monkeypatch):
    monkeypatch.setattr(templates, 'PATIENCE_S', 0.2)
    templateflow.api.get = lambda *_, **__: time.sleep(5)
    start = time.monotonic()
    assert 'no answer' in locate_template(SPACE, environ_of(tmp_path / 'home'))[1]
    assert time.monotonic() - start < 2


def test_what_templateflow_fetches_is_used(home, templateflow):
    names = [f'tpl-{SPACE}_res-01_T1w.nii.gz', f'tpl-{SPACE}_res-01_desc-brain_mask.nii.gz']
    contents = {name: (home / f'tpl-{SPACE}' / name).read_bytes() for name in names}
    for name in names:
        (home / f'tpl-{SPACE}' / name).unlink()

    def fetch(template, **query):
        name = names[query['suffix'] == 'mask']
        path = home / f'tpl-{template}' / name
        path.write_bytes(contents[name])
        return [path]

    templateflow.api.get = fetch
    files, note = locate_template(SPACE, environ_of(home))
    assert (files.space, note) == (SPACE, '')
    assert asdict(files)['t1w'].endswith(names[0])
