"""The method of the default network: its laws on a phantom, with a network that knows it."""

import csv
import json
from dataclasses import replace

import nibabel as nb
import numpy as np
import pytest
import torch
from exam_weights import WINDOW, weights_of
from label_phantoms import draw_labels, grid_of, paint_t1w

from bids_synthsr.cli.bids_app import main
from bids_synthsr.cli.synthsr import main as synthsr
from bids_synthsr.dataset.images import save_volume
from bids_synthsr.dataset.weights import load_exam_unet
from bids_synthsr.imaging.geometry import output_grid
from bids_synthsr.methods.any_exam import (
    keep_one_brain,
    most_likely,
    multiply_odds,
    synthesize,
)
from bids_synthsr.networks.exam_unet import (
    EncodedScans,
    ExamUNet,
    Posterior,
    SegmentationClasses,
    TrainedExamUNet,
)
from bids_synthsr.synthesis.labels import freesurfer_table
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.method import Observation

LABELS = (0, 2, 41, 24, 165)
TONE = {2: 0.9, 41: 0.7, 24: 0.5, 165: 0.3, 0: 0.0}  # of the phantom, what the network knows


class Knowing(torch.nn.Module):
    """A network that tells the classes of the phantom by their intensities.

    It knows that the left side is the bright one, and that what lies left is called left.
    """

    has_scale, classes = True, SegmentationClasses(len(LABELS))
    stride = 1

    def __init__(self, doubt=0.0):
        super().__init__()
        self.own = torch.nn.Parameter(torch.zeros(1))
        self.doubt = doubt

    @staticmethod
    def is_mirrored(image):
        left, right = ((image - TONE[label] / 0.9).abs() < 0.01 for label in (2, 41))
        return bool(left.any() and right.any()) and bool(
            left.nonzero()[:, 0].float().mean() > right.nonzero()[:, 0].float().mean()
        )

    def encode(self, scans, reliability):
        return EncodedScans(
            scans, [()] * scans.shape[1], [reliability], reliability.amax((2, 3, 4)) > 0
        )

    def predict_blocks(self, encoded, max_voxels, offsets=None):
        for first in range(0, encoded.scans.shape[2], 20):
            rows = slice(first, min(first + 20, encoded.scans.shape[2]))
            yield (0, 0, 0), rows, Posterior(*(x[:, rows] for x in self(encoded.scans)))

    def forward(self, scans):
        image = scans.mean(1)
        tones = torch.tensor([TONE[label] / 0.9 for label in LABELS])
        logits = -(image[..., None] - tones).abs() * (8 if self.doubt else 400)
        if self.is_mirrored(image[0]):
            logits = logits[..., [0, 2, 1, 3, 4]]
        return Posterior(image, torch.full_like(image, 0.1), logits.softmax(-1))


def phantom(side=32, shift=(0, 0, 0)):
    """A head of three shells, left and right of the brain unlike, in a field of view of `side`."""
    labels = np.zeros((64, 64, 64), np.int16)
    labels[16:48, 16:48, 16:48] = draw_labels()
    merge = {511: 0, 515: 165, 24: 24, 3: 2, 42: 41, 2: 2, 41: 41, 10: 2, 49: 41, 0: 0}
    labels = np.vectorize(merge.get)(labels)
    start = [(64 - side) // 2 + by for by in shift]
    return labels[tuple(slice(at, at + side) for at in start)]


def observe(labels):
    voxels = np.vectorize(TONE.get)(labels).astype(np.float32)
    return Observation('T2w', voxels, grid_of(voxels.shape), Acquisition(2, 1.0, 1.0), np.eye(4))


def made_of(observations, network=None, caution='', odds=(), precision='float32', **options):
    grid = output_grid(observations[0].grid)
    trained = TrainedExamUNet(network or Knowing(), LABELS, WINDOW, caution=caution, odds=odds)
    return synthesize(observations, grid, trained=trained, precision=precision, **options)


def test_what_the_network_knows_comes_out():
    labels = phantom(60)
    made = made_of([observe(labels)])
    t1w, scale, segmentation, mask = made.images
    assert [(x.suffix, x.desc) for x in made.images] == [
        ('T1w', 'anyexam'), ('T1w', 'uncertainty'), ('dseg', 'anyexam'), ('mask', 'brain'),
    ]  # fmt: skip
    np.testing.assert_array_equal(segmentation.voxels, labels)
    np.testing.assert_array_equal(mask.voxels > 0, np.isin(labels, (2, 41, 24)))
    assert t1w.voxels[labels == 2].mean() == pytest.approx(110, rel=0.01)
    assert scale.voxels[labels == 2].mean() == pytest.approx(11, rel=0.01)
    told = {row['index']: row['volume_mm3'] for row in made.products[-1].rows}
    for label in (2, 41, 24):
        assert told[label] == pytest.approx((labels == label).sum(), rel=1e-3)
    quality = made.facts['quality']
    assert quality == {'expected_dice': 1.0, 'coverage': 1.0, 'agreement': 1.0, 'score': 1.0}
    assert not made.warnings and made.used is None


def test_odds_change_segmentation_and_volumes_and_leave_the_t1w():
    plain, weighed = (made_of([observe(phantom(60))], Knowing(doubt=1.0), odds=odds)
                      for odds in ((), (1.0, 1.0, 1.0, 1e-3, 1.0)))  # fmt: skip
    (t1w, scale, labels, _), (same_t1w, same_scale, fewer, _) = plain.images, weighed.images
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
    assert sum(network.seen[-8:]) == 4 and not any(network.seen[:-8])


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
    t1w, scale, segmentation, _ = (x.voxels for x in made.images)
    np.testing.assert_array_equal(segmentation, labels)
    skull, brain = labels == 165, labels == 41
    np.testing.assert_allclose(t1w[skull], 110 * 0.3 / 0.9, rtol=1e-3)  # of the one scan
    np.testing.assert_allclose(scale[skull], 11, rtol=1e-3)
    np.testing.assert_allclose(t1w[brain], 110 * 0.705 / 0.9, rtol=1e-3)  # of both


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
