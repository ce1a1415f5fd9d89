"""The step that brings the outputs of an exam to standard spaces."""

import numpy as np
import pytest

from bids_synthsr.dataset.composites import find_composite_fault
from bids_synthsr.dataset.images import load_volume, save_volume
from bids_synthsr.derivatives.products import ProductFile
from bids_synthsr.interfaces.standard import Standardize
from bids_synthsr.registration import standard
from bids_synthsr.registration.standard import StandardTransform
from bids_synthsr.values.grid import Grid

SHAPE = (12, 14, 10)
GRID = Grid(SHAPE, np.diag([2.0, 2, 2, 1]))
ALL = ('T1w', 'mask', 'dseg', 'probseg', 'uncertainty')


@pytest.fixture
def fitted(monkeypatch):
    """A registration that moves everything by a voxel along R."""
    shift = np.eye(4)
    shift[0, 3] = 2
    still = np.zeros((3, *SHAPE), np.float32)
    transform = StandardTransform(shift, still, still, GRID, 0.95, 0.9)
    monkeypatch.setattr(standard, 'fit_template', lambda *_: transform)


@pytest.fixture
def template(tmp_path):
    path, target = (
        save_volume(tmp_path / f'{name}.nii', np.ones(SHAPE, np.float32), GRID)
        for name in ('template', 'target')
    )
    return {'space': 'MNI152NLin2009aSym', 'resolution': 2, 't1w': str(path), 'mask': '',
            'target': str(target)}  # fmt: skip


def products_of(folder, suffixes=ALL):
    voxels = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.float32)
    sidecar = {'Method': 'auto', 'Description': 'It.', 'Synthetic': True}
    for suffix in suffixes:
        path = save_volume(folder / f'{suffix}.nii', voxels, GRID)
        entities = {'desc': 'brain'} if suffix == 'mask' else {}
        labels = (1, 2) if suffix == 'dseg' else ()
        frame = 'FLAIR' if suffix == suffixes[0] else ''
        yield ProductFile(
            str(path), 'image', suffix, entities, ('FLAIR',), sidecar, labels, frame=frame
        )


@pytest.mark.usefixtures('fitted')
def test_outputs_are_carried_over_beside_those_before(tmp_path, template, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = [product.as_plain() for product in products_of(tmp_path)]
    carried = Standardize(products=before, templates=[template]).run().outputs.products
    assert carried[: len(before)] == before
    *transforms, t1w, mask, dseg, probseg = [ProductFile(**x) for x in carried[len(before) :]]
    assert [dict(x.entities) for x in transforms] == [
        {'from': 'T1w', 'to': 'MNI152NLin2009aSym', 'mode': 'image'},
        {'from': 'MNI152NLin2009aSym', 'to': 'T1w', 'mode': 'image'},
    ]
    assert [find_composite_fault(x.file) for x in transforms] == ['', '']
    assert transforms[0].sidecar['Fit']['brain_dice'] == 0.95
    space = {'space': 'MNI152NLin2009aSym', 'res': '2'}
    assert [(x.suffix, dict(x.entities)) for x in (t1w, mask, dseg, probseg)] == [
        ('T1w', space), ('mask', {'desc': 'brain', **space}), ('dseg', space), ('probseg', space),
    ]  # fmt: skip
    assert not t1w.frame  # there is one main volume
    assert 'Method' not in t1w.sidecar
    assert dseg.labels == (1, 2)
    source, moved = load_volume(tmp_path / 'dseg.nii')[0], load_volume(dseg.file)[0]
    np.testing.assert_array_equal(moved[:-1], source[1:])
    assert [x.sidecar['Interpolation'] for x in (t1w, mask, probseg)] == [
        'cubic splines', 'nearest voxel', 'linear',
    ]  # fmt: skip


@pytest.mark.usefixtures('fitted')
@pytest.mark.parametrize('suffixes', [('T1w',), ('FLAIR', 'mask')])
def test_what_has_no_t1w_with_a_mask_is_refused(tmp_path, template, monkeypatch, suffixes):
    monkeypatch.chdir(tmp_path)
    products = [product.as_plain() for product in products_of(tmp_path, suffixes)]
    with pytest.raises(ValueError, match='choose --method auto'):
        Standardize(products=products, templates=[template]).run()
