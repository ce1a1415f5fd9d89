"""Lesions are put into what a method made, and whoever reads it learns how."""

import numpy as np
import pytest

from bids_synthsr.dataset.images import load_volume, save_volume
from bids_synthsr.derivatives.kept_lesions import keep_in_products
from bids_synthsr.derivatives.products import ProductFile
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation

GRID = Grid((40, 40, 40), np.eye(4))
MASKS = ['sub-01_label-lesion_mask.nii.gz']
DISTANCE = np.linalg.norm(np.indices(GRID.shape).T - 20, axis=-1).T
BRAIN, WHITE = DISTANCE < 18, DISTANCE < 15
LESION = np.linalg.norm(np.indices(GRID.shape).T - (24, 20, 20), axis=-1).T < 4
SICK = 0.6  # of white matter


def write(folder, name, voxels, **fields):
    path = save_volume(folder / f'{name}.nii', voxels, GRID)
    return ProductFile(str(path), 'image', **fields)


@pytest.fixture
def products(tmp_path):
    def make(main='any-exam'):
        sidecar = {'Method': 'auto', 'MethodDetails': {'main': main}}
        labels = np.where(WHITE, 2, np.where(BRAIN, 3, 0)).astype(np.int16)
        t1w = np.select([WHITE, BRAIN], [110.0, 70.0], 0.0)
        tissue = np.where(WHITE, 2, BRAIN * 1).astype(np.uint8)
        return [
            write(tmp_path, 't1w', t1w, suffix='T1w', sidecar=sidecar, frame='T1w', sha256='x'),
            write(
                tmp_path, 'dseg', labels, suffix='dseg', entities={'desc': 'anyexam'},
                sidecar=sidecar, labels=(0, 2, 3, 77),
            ),
            write(tmp_path, 'mask', BRAIN.astype(np.uint8), suffix='mask', sidecar=sidecar),
            write(tmp_path, 'tissue', tissue, suffix='dseg', labels=(0, 1, 2), sidecar=sidecar),
        ]  # fmt: skip

    return make


def scan(contrast):
    voxels = np.select([LESION, WHITE, BRAIN], [SICK * 500, 500.0, 300.0], 0.0)
    return Observation(contrast, voxels.astype(np.float32), GRID, Acquisition(2, 1, 1), np.eye(4))


def keep(products, contrasts, folder):
    made = folder / 'made'
    made.mkdir()
    scans = [scan(contrast) for contrast in contrasts]
    kept, said = keep_in_products(products, scans, LESION, MASKS, made)
    return kept, [load_volume(made.parent / product.file)[0] for product in kept], said


def test_the_t1w_and_the_segmentation_show_them_and_nothing_else_changes(products, tmp_path):
    before = products()
    kept, volumes, said = keep(before, ['FLAIR', 'T1w'], tmp_path)
    assert volumes[0][24, 20, 20] == pytest.approx(SICK * 110, rel=0.05)
    np.testing.assert_array_equal(volumes[1] == 77, LESION)
    assert kept[2:] == before[2:]
    facts = kept[0].sidecar['Lesions']
    assert facts == kept[1].sidecar['Lesions']
    assert facts['Done'] == 'kept' and facts['Masks'] == MASKS and facts['ScannedPercent'] == 100
    assert facts['VolumeMl'] == pytest.approx(LESION.sum() / 1000, abs=0.01)
    assert kept[0].frame == 'T1w' and kept[0].sha256 not in ('', 'x')
    assert 'Their intensity is that of the T1w scan' in said and MASKS[0] in said


def test_invented_intensities_are_called_so(products, tmp_path):
    # a scan with a contrast agent is no T1w to take them from
    kept, volumes, said = keep(products(), ['FLAIR', 'ce-gd_T1w'], tmp_path)
    assert kept[0].sidecar['Lesions']['ScannedPercent'] == 0
    assert volumes[0][24, 20, 20] == pytest.approx(0.68 * 110, rel=0.02)
    assert 'invented where no T1w shows them' in said


def test_an_acquired_t1w_stays_as_it_is(products, tmp_path):
    before = products('acquired')
    kept, volumes, said = keep(before, ['T1w'], tmp_path)
    assert kept[0] == before[0]
    np.testing.assert_array_equal(volumes[1] == 77, LESION)
    assert 'shows the lesions as they are' in said
