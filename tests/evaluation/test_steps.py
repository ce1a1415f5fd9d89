"""Steps of evaluations write files of what their functions return."""

import json

import numpy as np
import pytest
from label_phantoms import draw_labels, grid_of, paint_t1w
from scipy.ndimage import gaussian_filter

from bids_synthsr.dataset.images import load_rigid, load_volume, save_rigid, save_volume
from bids_synthsr.derivatives.products import ProductFile
from bids_synthsr.evaluation.truth import make_truth
from bids_synthsr.interfaces.evaluation import (
    CompareLeftOut,
    CompareVolume,
    PaintHead,
    SimulateExam,
)
from bids_synthsr.synthesis.labels import freesurfer_table


def product(file, suffix='T1w', desc='anyexam'):
    """A product as methods hand it on."""
    return ProductFile(str(file), 'image', suffix, {'desc': desc}).as_plain()


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A label map and a T1w of the same head."""
    monkeypatch.chdir(tmp_path)
    labels = draw_labels()
    grid = grid_of(labels.shape)
    return (
        str(save_volume(tmp_path / 'map.nii.gz', labels, grid)),
        str(save_volume(tmp_path / 'map_T1w.nii.gz', paint_t1w(labels), grid)),
    )


def test_truth_of_a_label_map_is_written(files):
    outputs = PaintHead(labels=files[0]).run().outputs
    truth = make_truth(*load_volume(files[0]), 'map', freesurfer_table())
    for name in ('head', 'labels', 'reference', 'mask'):
        voxels, grid = load_volume(getattr(outputs, name))
        np.testing.assert_array_equal(voxels, getattr(truth, name))
        assert grid == truth.grid
    real = PaintHead(labels=files[0], image=files[1]).run().outputs
    np.testing.assert_allclose(load_volume(real.head)[0], load_volume(files[1])[0], atol=1e-3)


def test_scans_and_how_the_head_moved_are_written(files):
    outputs = SimulateExam(
        head=files[1], labels=files[0], exam=['T1w', 'FLAIR'], orientation='coronal', spacing=4.0,
        thickness=3.0, seed=1,
    ).run().outputs  # fmt: skip
    assert outputs.contrasts == ['T1w', 'FLAIR']
    assert [load_volume(path)[0].shape for path in outputs.scans] == [(32, 8, 32), (8, 32, 32)]
    assert outputs.acquisitions == [
        {'slice_axis': axis, 'slice_spacing': 4.0, 'slice_thickness': 3.0, 'missing': ()}
        for axis in (1, 0)
    ]
    np.testing.assert_array_equal(load_rigid(outputs.scan2ref[0]), np.eye(4))
    assert np.abs(load_rigid(outputs.scan2ref[1]) - np.eye(4)).max() > 0.5
    assert outputs.truth == files[1]  # a real T1w


@pytest.mark.parametrize(('contrast', 'is_painted'), [('FLAIR', False), ('T1w', True)])
def test_the_truth_of_a_painted_scan_is_that_scan_at_1_mm(files, contrast, is_painted):
    outputs = SimulateExam(
        head=files[1], labels=files[0], exam=[contrast], orientation='axial', spacing=4.0,
        thickness=4.0, seed=1, is_painted=is_painted, profile='box', noise_percent=2.0,
    ).run().outputs  # fmt: skip
    truth, grid = load_volume(outputs.truth)
    assert grid == load_volume(files[1])[1]
    scan = load_volume(outputs.scans)[0]  # nipype gives the only one of a list
    means = truth.reshape(*truth.shape[:2], -1, 4).mean(-1)
    assert np.corrcoef(means.ravel(), scan.ravel())[0, 1] > 0.98  # noise alone is left
    is_bright = means > 0.2 * means.max()
    noise = (scan - means)[is_bright] / means.max()
    assert abs(noise.mean()) < 0.03  # in the same units


def test_comparison_with_the_truth_is_written(tmp_path):
    labels = np.repeat(np.int16([17, 53]), 256).reshape(8, 8, 8)
    truth = np.random.default_rng(0).uniform(0, 1, labels.shape)
    volumes = {'head': truth, 'volume': 2 * truth + 3, 'uncertainty': np.full(labels.shape, 0.1),
               'mask': np.ones(labels.shape), 'labels': labels}  # fmt: skip
    path = {name: str(save_volume(tmp_path / f'{name}.nii', voxels, grid_of(labels.shape)))
            for name, voxels in volumes.items()}  # fmt: skip
    size = {'name': 'Hippocampus', 'volume_mm3': 250.0, 'uncertainty_mm3': 20.0}
    CompareVolume(
        products=[product(path['volume']), product(path['uncertainty'], suffix='uncertainty')],
        truth=path['head'], mask=path['mask'], scans=[path['volume']],
        segmentation=path['labels'], reference=path['labels'],
        sizes=[{'index': 17, **size}, {'index': 53, **size}],
        facts={'orientation': 'axial'}, stem=str(tmp_path / 'compared'),
    ).run()  # fmt: skip
    results = json.loads((tmp_path / 'compared.json').read_text())
    assert results['measures']['expected_l1'] == pytest.approx(0.05 / np.ptp(truth), rel=1e-4)
    assert results['measures']['l1'] == pytest.approx(0, abs=1e-5)
    assert results['structures']['hippocampus'] == {
        'dice': 1, 'volume_mm3': 500, 'reference_mm3': 512, 'uncertainty_mm3': 40,
    }  # fmt: skip
    assert (tmp_path / 'compared.jpg').is_file()


def test_comparison_with_a_scan_that_was_left_out_is_written(tmp_path):
    shape = (30, 30, 30)
    grid, rng = grid_of(shape), np.random.default_rng(1)
    brain = np.zeros(shape, np.uint8)
    brain[8:22, 8:22, 8:22] = 1
    anatomy = 50 + 50 * rng.random(shape).astype(np.float32)
    noise = 50 + 50 * rng.random(shape).astype(np.float32)
    files = {
        'volume': anatomy,
        'scan': np.where(brain, anatomy, noise),  # the rest of the head is another one
        'mask': brain,
    }
    for name, voxels in files.items():
        save_volume(tmp_path / f'{name}.nii', voxels, grid)
    save_rigid(tmp_path / 'scan2ref.txt', np.eye(4))
    CompareLeftOut(
        products=[product(tmp_path / 'volume.nii')],
        scans=[str(tmp_path / 'scan.nii')],
        acquisitions=[{'slice_axis': 2, 'slice_spacing': 1.0, 'slice_thickness': 1.0}],
        scan2ref=str(tmp_path / 'scan2ref.txt'),
        fit={'status': 'good'},
        facts={'left_out': 'T1w'},
        stem=str(tmp_path / 'compared'),
        segmented=[product(tmp_path / 'volume.nii'), product(tmp_path / 'mask.nii', 'mask')],
    ).run()
    results = json.loads((tmp_path / 'compared.json').read_text())
    assert results['structures']['brain']['correlation'] > 0.99
    assert results['measures']['correlation'] < 0.5
    assert (tmp_path / 'compared.jpg').is_file()


def test_scan_that_could_not_be_aligned_is_not_compared(files, tmp_path):
    step = CompareLeftOut(
        products=[product(files[1])],
        scans=[files[1]],
        acquisitions=[{'slice_axis': 2, 'slice_spacing': 1.0, 'slice_thickness': 1.0}],
        scan2ref=str(save_rigid(tmp_path / 'scan2ref.txt', np.eye(4))),
        fit={'status': 'failed', 'reason': 'No peak.'},
        facts={'left_out': 'run-2_T1w'},
        stem=str(tmp_path / 'compared'),
    )
    with pytest.raises(ValueError, match='run-2_T1w cannot be aligned to the others: No peak'):
        step.run()


def test_comparison_tells_where_borders_lie(tmp_path):
    shape = (40, 40, 40)
    distance = np.sqrt(((np.indices(shape) - 19.5) ** 2).sum(0))
    labels = np.where(distance < 10, 17, 2).astype(np.int16)
    labels[20:][labels[20:] == 17] = 53
    truth, volume = (gaussian_filter(60 + 50.0 * (distance > r), 0.8) for r in (10, 11))
    files = {'head': truth, 'volume': volume, 'mask': np.ones(shape), 'labels': labels}
    path = {name: str(save_volume(tmp_path / f'{name}.nii', voxels, grid_of(shape)))
            for name, voxels in files.items()}  # fmt: skip
    CompareVolume(
        products=[product(path['volume'])], truth=path['head'], mask=path['mask'],
        scans=[path['volume']], segmentation=path['labels'], reference=path['labels'],
        facts={'orientation': 'axial'}, stem=str(tmp_path / 'compared'),
    ).run()  # fmt: skip
    hippocampus = json.loads((tmp_path / 'compared.json').read_text())['structures']['hippocampus']
    assert hippocampus['dice'] == 1
    assert hippocampus['border_shift_mm'] == pytest.approx(1, abs=0.15)
    assert hippocampus['border_blur_mm'] == pytest.approx(0, abs=0.3)
