"""The method of the default network: its laws on a phantom, with a network that knows it."""

import csv
import json
from dataclasses import replace

import nibabel as nb
import numpy as np
import pytest
import torch
from exam_weights import WINDOW, weights_of
from knowing import LABELS, TONE, Knowing, observe, phantom
from label_phantoms import draw_labels, grid_of, paint_t1w
from scipy import ndimage

from bids_synthsr.cli.bids_app import main
from bids_synthsr.cli.synthsr import main as synthsr
from bids_synthsr.dataset.images import save_volume
from bids_synthsr.dataset.weights import load_exam_unet
from bids_synthsr.imaging.geometry import output_grid
from bids_synthsr.methods import exam_view
from bids_synthsr.methods.any_exam import (
    Segmentation,
    cover_brain,
    keep_one_brain,
    most_likely,
    multiply_odds,
    synthesize,
    without_block_pattern,
)
from bids_synthsr.networks.exam_unet import (
    ExamUNet,
    TrainedExamUNet,
)
from bids_synthsr.synthesis.labels import freesurfer_table


def made_of(observations, network=None, caution='', odds=(), precision='float32', **options):
    grid = output_grid(observations[0].grid)
    trained = TrainedExamUNet(network or Knowing(), LABELS, WINDOW, caution=caution, odds=odds)
    return synthesize(observations, grid, trained=trained, precision=precision, **options)


def test_what_the_network_knows_comes_out():
    labels = phantom(60)
    made = made_of([observe(labels)])
    t1w, scale, segmentation, mask, tissue, *shares = made.images
    assert [(x.suffix, x.desc) for x in made.images] == [
        ('T1w', 'anyexam'), ('uncertainty', 'anyexam'), ('dseg', 'anyexam'), ('mask', 'brain'),
        ('dseg', ''), ('probseg', ''), ('probseg', ''), ('probseg', ''),
    ]  # fmt: skip
    np.testing.assert_array_equal(segmentation.voxels, labels)
    np.testing.assert_array_equal(mask.voxels > 0, np.isin(labels, (2, 41, 24)))
    assert t1w.voxels[labels == 2].mean() == pytest.approx(110, rel=0.01)
    assert scale.voxels[labels == 2].mean() == pytest.approx(11, rel=0.01)
    # one white matter, left and right, and the CSF around it
    np.testing.assert_array_equal(tissue.voxels == 2, np.isin(labels, (2, 41)))
    np.testing.assert_array_equal(tissue.voxels == 3, labels == 24)
    assert [x.entities['label'] for x in shares] == ['GM', 'WM', 'CSF']
    np.testing.assert_allclose(sum(x.voxels for x in shares), mask.voxels, atol=1e-4)
    np.testing.assert_allclose(shares[2].voxels, labels == 24, atol=1e-4)
    told = {row['index']: row['volume_mm3'] for row in made.products[-1].rows}
    for label in (2, 41, 24):
        assert told[label] == pytest.approx((labels == label).sum(), rel=1e-3)
    quality = made.facts['quality']
    assert quality == {'expected_dice': 1.0, 'coverage': 1.0, 'agreement': 1.0, 'score': 1.0}
    assert not made.warnings and made.used is None


def test_odds_change_segmentation_and_volumes_and_leave_the_t1w():
    plain, weighed = (made_of([observe(phantom(60))], Knowing(doubt=1.0), odds=odds)
                      for odds in ((), (1.0, 1.0, 1.0, 1e-3, 1.0)))  # fmt: skip
    (t1w, scale, labels), (same_t1w, same_scale, fewer) = plain.images[:3], weighed.images[:3]
    np.testing.assert_array_equal(t1w.voxels, same_t1w.voxels)
    np.testing.assert_array_equal(scale.voxels, same_scale.voxels)
    assert (labels.voxels == 24).any() and not (fewer.voxels == 24).any()
    before, after = ({row['index']: row['volume_mm3'] for row in made.products[-1].rows}
                     for made in (plain, weighed))  # fmt: skip
    assert after[24] < 0.01 * before[24] and after[2] > before[2]
    assert weighed.facts['is_calibrated'] and not plain.facts['is_calibrated']


def test_probabilities_are_multiplied_by_odds():
    likely = torch.tensor([[[[0.2, 0.8], [1.0, 0.0], [0.0, 0.0]]]])
    multiply_odds(likely, torch.tensor([2.0, 0.5]))
    torch.testing.assert_close(likely[0, 0], torch.tensor([[0.5, 0.5], [1, 0], [0, 0]]))


class Watched(Knowing):
    """A network of which it is known how often it saw left and right exchanged."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def predict_blocks(self, encoded, max_voxels, offsets=None):
        self.seen.append(self.is_mirrored(encoded.scans.mean(1)[0]))
        return super().predict_blocks(encoded, max_voxels, offsets)


def test_half_of_the_windows_are_mirrored():
    network = Watched()
    made_of([observe(phantom(60))], network)
    assert sum(network.seen[-4:]) == 2 and not any(network.seen[:-4])


def test_half_the_memory_gives_the_same():
    whole, short = (made_of([observe(phantom(60))], low_mem=x) for x in (False, True))
    for one, other in zip(whole.images, short.images, strict=True):
        np.testing.assert_allclose(one.voxels, other.voxels, atol=0.5)  # 16 bits of 110


def test_brain_outside_of_the_field_of_view_is_told():
    labels = phantom(40, shift=(0, 0, 13))
    made = made_of([observe(labels)])
    assert made.products[0].voxels.shape == labels.shape
    np.testing.assert_array_equal(made.products[2].voxels, labels)
    assert 0 <= made.facts['quality']['coverage'] <= 1


def test_how_much_of_the_brain_each_scan_and_the_output_show():
    labels = phantom(60)
    whole = observe(labels)
    part = replace(whole, voxels=whole.voxels[..., :30], grid=grid_of((60, 60, 30)))
    brain = np.argwhere(np.isin(labels, (2, 41)))
    segmentation = Segmentation(labels, (), brain, None, 1.0)
    (full, short, output), cuts = cover_brain([whole, part], whole.grid, segmentation)
    assert short.percent == pytest.approx(100 * (brain[:, 2] < 30).mean(), abs=12)  # in cells
    assert full.percent == output.percent == 100
    assert short.size_mm[2] < full.size_mm[2] == pytest.approx(np.ptp(brain[:, 2]), abs=4)
    assert not cuts


def test_a_brain_that_is_cut_is_a_warning():
    labels = phantom(60)
    whole = observe(labels)
    part = replace(whole, voxels=whole.voxels[..., :30], grid=grid_of((60, 60, 30)))
    made = made_of([part])
    area = np.isin(labels[..., 29], (2, 41)).sum()
    assert made.facts['brain_cut_mm2'] == {'top': pytest.approx(area)}
    assert any('The brain is cut at the top (' in text for text in made.warnings)


def test_a_pattern_of_every_second_voxel_is_averaged_out():
    even = (np.indices((12, 14, 10)).sum(0) % 2).astype(np.float32)
    scale = torch.from_numpy(2 + even)
    scale[:3] = 0  # not predicted
    flat = without_block_pattern(scale)
    assert not flat[:3].any()
    torch.testing.assert_close(flat[4:-1, 1:-1, 1:-1], torch.full((7, 12, 8), 2.5))
    smooth = torch.linspace(1, 2, 12)[:, None, None].expand(12, 14, 10)
    torch.testing.assert_close(without_block_pattern(smooth)[1:-1], smooth[1:-1])


def test_a_brain_that_the_output_cuts_is_not_cut_by_the_scans():
    labels = phantom(60)
    whole = observe(labels)
    segmentation = Segmentation(labels[..., :30], (), np.argwhere(labels == 2), None, 1.0)
    _, cuts = cover_brain([whole], grid_of((60, 60, 30)), segmentation)
    assert not cuts


def test_scans_that_agree_are_told_from_those_that_do_not():
    first = observe(phantom(60))
    assert made_of([first, first]).facts['quality']['agreement'] == 1
    other = observe(np.where(np.isin(phantom(60), (2, 41)), 24, phantom(60)))  # no brain
    torn = made_of([first, other])
    assert torn.facts['quality']['agreement'] < 0.5
    assert 'its scans contradict each other' in torn.warnings[-1]


class Wary(Knowing):
    """A network that is the less sure the farther intensities are from those it knows."""

    def forward(self, scans):
        told = super().forward(scans)
        tones = torch.tensor([TONE[label] / 0.9 for label in LABELS])
        strangeness = (told.t1w[..., None] - tones).abs().amin(-1)
        return told._replace(scale=0.1 + strangeness)


def strange(observation):
    """The same scan, whose skull is brighter than the network knows, the brain a little."""
    odd = {0.3: 0.36, 0.7: 0.71}
    voxels = observation.voxels.copy()
    for tone, other in odd.items():
        voxels[observation.voxels == np.float32(tone)] = other
    return replace(observation, contrast='FLAIR', voxels=voxels)


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_outside_of_the_brain_the_t1w_is_of_the_scans_that_leave_least_doubt(precision):
    labels = phantom(60)
    scans = [strange(observe(labels)), observe(labels)]
    made = made_of(scans, Wary(), precision=precision)
    assert made.facts['scans_outside_brain'] == ['T2w']
    t1w, scale, segmentation = (x.voxels for x in made.images[:3])
    np.testing.assert_array_equal(segmentation, labels)
    skull, brain = labels == 165, labels == 41
    np.testing.assert_allclose(t1w[skull], 110 * 0.3 / 0.9, rtol=1e-3)  # of the one scan
    core = ndimage.binary_erosion(skull)  # neighbours are averaged
    np.testing.assert_allclose(scale[core], 11, rtol=1e-3)
    np.testing.assert_allclose(t1w[brain], 110 * 0.705 / 0.9, rtol=1e-3)  # of both


def test_where_that_scan_measured_nothing_the_others_tell_the_t1w(monkeypatch):
    monkeypatch.setattr(exam_view, 'LEAST_COVERAGE', 0.01)
    labels = phantom(60)
    whole = observe(labels)
    part = replace(whole, voxels=whole.voxels[..., :20], grid=grid_of((60, 60, 20)))
    made = made_of([strange(whole), part], Wary())
    assert made.facts['scans_outside_brain'] == ['T2w']
    t1w, high = made.images[0].voxels, labels == 165
    high[..., :40] = False  # what lies two blocks of 8 voxels above is measured nearby
    assert high.any()
    alone = made_of([strange(whole)], Wary()).images[0].voxels
    np.testing.assert_allclose(t1w[high], alone[high] / 2, rtol=1e-3)  # of both, one of them dark


def test_scans_that_agree_tell_the_t1w_together():
    first = observe(phantom(60))
    made = made_of([first, replace(first, contrast='FLAIR')], Wary())
    assert made.facts['scans_outside_brain'] == ['T2w', 'FLAIR']


def test_a_scan_of_a_part_of_the_head_does_not_tell_the_t1w_alone():
    whole = observe(phantom(60))
    part = replace(whole, voxels=whole.voxels[..., :36], grid=grid_of((60, 60, 36)))
    made = made_of([strange(whole), part], Wary())
    assert made.facts['scans_outside_brain'] != ['T2w']


def test_an_unsure_network_marks_the_exam_unless_the_user_moves_the_limit():
    made = made_of([observe(phantom(60))], Knowing(doubt=1), least_quality=0.9)
    assert 'below 0.9: the network is unsure of its segmentation' in made.warnings[-1]
    assert not made_of([observe(phantom(60))], Knowing(doubt=1), least_quality=0.1).warnings


def test_what_everyone_must_know_is_told():
    assert made_of([observe(phantom(60))], caution='Not tested yet.').warnings == (
        'Not tested yet.',
    )


class Blind(Knowing):
    """A network that sees no brain."""

    def forward(self, scans):
        made = super().forward(scans)
        made.probabilities[..., 1:3] = 0
        return made


def test_no_brain_is_an_error():
    with pytest.raises(ValueError, match='finds no brain in this exam: look at its scans'):
        made_of([observe(phantom(60))], Blind())


def test_a_network_without_segmentation_is_refused():
    network = ExamUNet(features=8, levels=2, has_scale=False)
    with pytest.raises(ValueError, match='0 classes without a Laplace scale; any-exam needs both'):
        TrainedExamUNet(network, LABELS, WINDOW)


def test_stray_brain_is_taken_away():
    classes = torch.zeros(8, 8, 8, dtype=torch.int64)
    classes[:4, :4, :4], classes[7, 7, 7] = 1, 1
    likely = 0.1 + 0.8 * torch.nn.functional.one_hot(classes, 2).float()
    found = most_likely(likely)
    keep_one_brain(likely, found, torch.tensor([False, True]))
    assert int(found.sum()) == 64 and likely[7, 7, 7].tolist() == [1, 0]


def test_weights_tell_their_labels(tmp_path):
    loaded = load_exam_unet(weights_of(tmp_path / 'w.safetensors'))
    assert tuple(loaded.labels) == freesurfer_table().targets and loaded.window == WINDOW
    with pytest.raises(
        ValueError, match=r'names labels \[9999\], which this version does not know'
    ):
        load_exam_unet(weights_of(tmp_path / 'w.safetensors', [0, 9999]))
    with pytest.raises(ValueError, match='names no labels; export it'):
        load_exam_unet(weights_of(tmp_path / 'w.safetensors', []))


def test_weights_tell_the_odds_of_their_labels(tmp_path):
    odds = [1.0] * len(freesurfer_table().targets)
    assert load_exam_unet(weights_of(tmp_path / 'w.safetensors', odds=odds)).odds == odds
    assert not load_exam_unet(weights_of(tmp_path / 'w.safetensors')).odds
    with pytest.raises(ValueError, match='2 odds were given for 39 labels'):
        load_exam_unet(weights_of(tmp_path / 'w.safetensors', odds=[1.0, 0.5]))


def test_whole_app_writes_segmentation_volumes_and_quality(bids_dir, tmp_path, capsys):
    weights = weights_of(tmp_path / 'w.safetensors')
    out = tmp_path / 'out'
    command = [bids_dir, out, 'participant', '--participant-label', '01', '--method', 'any-exam',
               '--weights', weights, '--work-dir', tmp_path / 'work', '--nprocs', '1',
               '--min-quality', '1', '--skip-bids-validation']  # fmt: skip
    assert main([*map(str, command)]) == 0
    anat = next(out.glob('sub-01/**/anat'))
    stem = next(anat.glob('*_desc-anyexam_dseg.nii.gz')).name.removesuffix(
        '_desc-anyexam_dseg.nii.gz'
    )
    segmentation = nb.load(anat / f'{stem}_desc-anyexam_dseg.nii.gz')
    assert segmentation.get_data_dtype() == np.int16
    found = set(np.unique(segmentation.dataobj))  # of a network that calls all 2: mirrored, 41
    assert {2, 41} <= found <= {0, 2, 41}
    assert nb.load(anat / f'{stem}_desc-brain_mask.nii.gz').get_data_dtype() == np.uint8
    mask = json.loads((anat / f'{stem}_desc-brain_mask.json').read_text())
    assert mask['Type'] == 'Brain' and mask['Description'].startswith('Brain mask')
    rows = list(csv.DictReader((anat / f'{stem}_desc-anyexam_volumes.tsv').open(), delimiter='\t'))
    assert [*rows[0]] == ['index', 'name', 'volume_mm3', 'uncertainty_mm3']
    assert rows[-1]['name'] == 'Intracranial' and rows[-1]['index'] == 'n/a'
    names = list(csv.DictReader((out / 'desc-anyexam_dseg.tsv').open(), delimiter='\t'))
    assert {'index': '17', 'name': 'Left-Hippocampus', 'color': '#dcd814'} in names
    main_json = json.loads((anat / f'{stem}_desc-anyexam_T1w.json').read_text())
    assert 0 < main_json['MethodDetails']['quality']['score'] < 1
    page = (out / f'{stem}.html').read_text()
    volumes = {row['index']: float(row['volume_mm3']) / 1000 for row in rows}
    cells = ''.join(f'<td class="number">{volumes[side]:.2f}</td>' for side in ('2', '41'))
    assert f'<th scope="row">Cerebral-White-Matter</th>{cells}' in page
    assert 'Segmentation and uncertainty' in page
    assert 'The quality of this exam is' in page


def test_evaluation_compares_the_volumes_that_are_told(tmp_path):
    labels = draw_labels(64)
    save_volume(tmp_path / 'heads' / 'a_T1w.nii.gz', paint_t1w(labels), grid_of(labels.shape))
    weights = weights_of(tmp_path / 'w.safetensors')
    out = tmp_path / 'out'
    command = ['evaluate', 'simulate', tmp_path / 'heads', out, '--structures',
               '--methods', 'any-exam,cubic', '--spacing', '4', '--thickness', 'equal',
               '--planes', 'axial', '--nprocs', '1', '--weights',
               f'any-exam={weights}']  # fmt: skip
    assert synthsr([*map(str, command)]) == 0
    for method in ('any_exam', 'cubic'):
        told = json.loads((out / 'results' / f'a_T1w_T1w_axial_4_4_{method}.json').read_text())
        white = told['structures']['white-matter']
        for which in ('volume_mm3', 'reference_mm3'):  # 1 mm3 a voxel: a sum of probabilities
            assert 0 < white[which] < 64**3 and white[which] % 1 > 1e-6
