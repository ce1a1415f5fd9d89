"""The laws of the network that takes exams."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from bids_synthsr.networks import fusion
from bids_synthsr.networks.blocks import thin, unfold
from bids_synthsr.networks.exam_unet import (
    ALL_ROWS,
    LEAST_TRUST,
    ExamUNet,
    SegmentationClasses,
    class_probabilities,
)
from bids_synthsr.networks.fusion import local_contrast

SIDE = 16
ROUNDING = 2e-5  # float32 sums in another order


def randomized(network, seed=0):
    """Give a network random weights: untrained, its heads predict 0."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
        torch.nn.init.normal_(parameter, std=scale, generator=generator)
    return network.eval()


def exam(count, side=SIDE, seed=1):
    generator = torch.Generator().manual_seed(seed)
    scans, reliability = torch.rand(2, 2, count, side, side, side, generator=generator)
    return scans, reliability


def same(first, second):
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, atol=ROUNDING, rtol=ROUNDING)


CLASSES = SegmentationClasses(4)
TISSUES = SegmentationClasses(4, tissues=(0, 1, 2, 1))
EXPECTED_T1W = (0.0, 1.0, 0.6, 0.4)
MIXTURE = {'mixture_steps': 2, 'classes': TISSUES}
EVERYTHING = {**MIXTURE, 'classes': replace(TISSUES, t1w=EXPECTED_T1W), 'is_guided': True}


@pytest.fixture(scope='module', params=[(1, {}), (2, {}), (2, {'is_guided': True}), (2, MIXTURE)],
                ids=['full', 'folded', 'guided', 'mixture'])  # fmt: skip
def network(request):
    stride, more = request.param
    return randomized(
        ExamUNet(features=8, levels=3, stride=stride, **{'classes': CLASSES, **more})
    )


@torch.no_grad()
def test_order_of_scans_changes_nothing(network):
    scans, reliability = exam(4)
    order = [2, 0, 3, 1]
    same(network(scans, reliability), network(scans[:, order], reliability[:, order]))


@torch.no_grad()
def test_scan_that_measured_nothing_changes_nothing(network):
    scans, reliability = exam(3)
    reliability[:, 1] = 0
    without = network(scans[:, [0, 2]], reliability[:, [0, 2]])
    same(network(scans, reliability), without)
    scans[:, 1] = 1e3
    for one, other in zip(network(scans, reliability), without, strict=True):
        assert torch.equal(one, other)  # its weight is exactly 0


@torch.no_grad()
def test_presence_is_of_each_exam_in_a_batch(network):
    scans, reliability = exam(2)
    reliability[0, 1] = 0
    both = network(scans, reliability)
    same([x[:1] for x in both], network(scans[:1, :1], reliability[:1, :1]))
    same([x[1:] for x in both], network(scans[1:], reliability[1:]))


@torch.no_grad()
def test_one_to_eight_scans_work_with_the_same_weights(network):
    for count in range(1, 9):
        prediction = network(*exam(count))
        assert prediction.t1w.shape == (2, 1, SIDE, SIDE, SIDE)
        assert prediction.logits.shape == (2, 4, SIDE, SIDE, SIDE)
        assert all(output.isfinite().all() for output in prediction)


@torch.no_grad()
def test_every_scan_and_its_reliability_matter(network):
    scans, reliability = exam(2)
    before = network(scans, reliability).t1w
    for volumes in (scans, reliability):
        changed = volumes.clone()
        changed[:, 1] = changed[:, 1].flip(2)
        after = network(*(changed if x is volumes else x for x in (scans, reliability))).t1w
        assert not torch.allclose(before, after, atol=1e-3)


@torch.no_grad()
def test_network_without_scale_and_classes_predicts_the_t1w_alone():
    scans, reliability = exam(3)
    prediction = ExamUNet(features=8, levels=2, has_scale=False)(scans, reliability)
    assert prediction.t1w.shape == scans[:, :1].shape
    assert prediction.log_scale is None and prediction.logits is None


@torch.no_grad()
def test_one_voxel_of_every_block_is_what_the_whole_predicts_there():
    network = randomized(ExamUNet(features=8, levels=2, classes=CLASSES, is_guided=True))
    scans, reliability = exam(2)
    whole = network(scans, reliability)
    for offset in ((0, 0, 0), (1, 0, 1)):
        same(network(scans, reliability, offset=offset), [thin(x, offset, 2) for x in whole])


@torch.no_grad()
def test_mixture_is_fitted_to_one_voxel_of_every_block_and_changes_all():
    network = randomized(ExamUNet(features=8, levels=2, **MIXTURE))
    plain = ExamUNet(features=8, levels=2, classes=CLASSES).eval()
    plain.load_state_dict(network.state_dict(), strict=False)
    scans, reliability = exam(2)
    whole, before = network(scans, reliability), plain(scans, reliability)
    same(network(scans, reliability, offset=(0, 0, 0)), [thin(x, (0, 0, 0), 2) for x in whole])
    changed = (whole.logits - before.logits).abs()
    assert all((thin(changed, offset, 2) > 1e-3).any() for offset in ((0, 0, 0), (1, 0, 1)))
    same(whole[:2], before[:2])  # T1w and scale do without


@torch.no_grad()
@pytest.mark.parametrize('max_voxels', [1, 3 * 64, None])
def test_blocks_are_what_the_whole_predicts(max_voxels):
    network = randomized(ExamUNet(features=8, levels=2, **EVERYTHING))
    scans, reliability = exam(2)
    whole, encoded = network(scans, reliability), network.encode(scans, reliability)
    count = 0
    for offset, rows, posterior in network.predict_blocks(encoded, max_voxels):
        t1w, log_scale, logits = (thin(x, offset, 2)[:, :, rows] for x in whole)
        same(posterior, [t1w[:, 0], log_scale[:, 0].exp(), class_probabilities(logits)])
        count += posterior.t1w.numel()
    assert count == whole.t1w.numel()
    ((offset, _, posterior),) = network.predict_blocks(encoded, offsets=[(0, 0, 0)])
    assert offset == (0, 0, 0)
    same([posterior.t1w], [thin(whole.t1w, offset, 2)[:, 0]])


@torch.no_grad()
def test_prediction_depends_on_the_fit_that_is_passed_in_and_not_on_earlier_calls():
    network = randomized(ExamUNet(features=8, levels=2, **EVERYTHING))
    decoded = network._decode(network.encode(*exam(2)))
    first, other = (network._fit_mixture(decoded, offset) for offset in ((0, 0, 0), (1, 1, 1)))
    before = network._predict(decoded, first, (1, 1, 1))
    unlike = network._predict(decoded, other, (1, 1, 1))
    after = network._predict(decoded, first, (1, 1, 1))
    assert all(torch.equal(one, same_again) for one, same_again in zip(before, after, strict=True))
    assert not torch.equal(before.logits, unlike.logits)
    some = network._posterior(decoded, first, (1, 1, 1), slice(2, 4))
    every = network._posterior(decoded, first, (1, 1, 1), ALL_ROWS)
    same(some, [x[:, 2:4] for x in every])


def test_a_fusion_in_parts_is_that_of_all_voxels(monkeypatch, network):
    scans, reliability = exam(3)
    whole = network(scans, reliability)  # with gradients all at once
    monkeypatch.setattr(fusion, 'FUSED_AT_ONCE', 1)
    with torch.no_grad():
        same([network(scans, reliability).t1w], [whole.t1w.detach()])


@torch.no_grad()
@pytest.mark.parametrize('subset', [(0,), (2, 0), (0, 1, 2)])
def test_some_scans_of_an_exam_are_as_if_there_were_no_others(subset):
    network = randomized(ExamUNet(features=8, levels=2, **EVERYTHING))
    scans, reliability = exam(3)
    some = network.predict_blocks(network.encode(scans, reliability).select(subset))
    alone = network.predict_blocks(network.encode(scans[:, subset], reliability[:, subset]))
    for (*_, one), (*_, other) in zip(some, alone, strict=True):
        same(one, other)


@torch.no_grad()
def test_bfloat16_stays_near_float32(network):
    scans, reliability = exam(2)
    exact = network(scans, reliability).t1w
    with torch.autocast('cpu', torch.bfloat16):
        rounded = network(scans, reliability).t1w
    assert rounded.dtype == torch.float32
    # 8 bits of mantissa through some 20 layers
    assert (rounded - exact).abs().mean() < 0.05 * exact.abs().mean()


def test_gradient_reaches_every_weight():
    network = randomized(
        ExamUNet(features=8, levels=2, classes=SegmentationClasses(3), is_guided=True)
    )
    prediction = network(*exam(2, 8))
    sum(output.square().mean() for output in prediction).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


@torch.no_grad()
def test_guide_starts_at_zero_and_then_shows_single_voxels():
    torch.manual_seed(0)
    plain = ExamUNet(features=8, levels=2)
    guided = ExamUNet(features=8, levels=2, is_guided=True)
    missing = guided.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert missing and all(name.startswith(ExamUNet.later_parts) for name in missing)
    scans, reliability = exam(2)
    same([guided(scans, reliability).t1w], [plain(scans, reliability).t1w])
    guided.guide.of_exam.bias[0] = 1  # a gain of 1 for the T1w
    steered = guided(scans, reliability).t1w - plain(scans, reliability).t1w
    share = functional.avg_pool3d(reliability, 2) + LEAST_TRUST
    share = functional.interpolate(share / share.sum(1, keepdim=True), scale_factor=2.0)
    contrasts = [unfold(local_contrast(image, 2), 2) for image in scans.split(1, 1)]
    torch.testing.assert_close(steered, (share * torch.cat(contrasts, 1)).sum(1, keepdim=True),
                               atol=1e-4, rtol=1e-4)  # fmt: skip


def test_wrong_input_is_refused():
    network = ExamUNet(features=8, levels=3)
    with pytest.raises(ValueError, match=r'\(12, 16, 16\).*multiples of 8'):
        network(torch.zeros(1, 1, 12, 16, 16), torch.zeros(1, 1, 12, 16, 16))
    with pytest.raises(ValueError, match='needs its reliability map'):
        network(torch.zeros(1, 2, 16, 16, 16), torch.zeros(1, 1, 16, 16, 16))
    with pytest.raises(ValueError, match='stride of 1 or 2, not 4'):
        ExamUNet(stride=4)


@torch.no_grad()
def test_t1w_is_predicted_as_a_difference_from_what_the_segmentation_expects():
    classes = SegmentationClasses(3, t1w=(0.0, 1.0, 0.6))
    plain = randomized(ExamUNet(features=8, levels=3, classes=SegmentationClasses(3)))
    network = ExamUNet(features=8, levels=3, classes=classes).eval()
    network.load_state_dict(plain.state_dict())
    scans, reliability = exam(2)
    prediction, before = network(scans, reliability), plain(scans, reliability)
    expected = class_probabilities(before.logits) @ torch.tensor(classes.t1w)
    torch.testing.assert_close(prediction.t1w, before.t1w + expected[:, None])


def test_every_class_needs_its_intensity_and_its_tissue():
    with pytest.raises(ValueError, match='2 T1w intensities were given for 3 classes'):
        SegmentationClasses(3, t1w=(0.0, 1.0))
    with pytest.raises(ValueError, match='2 tissues were given for 3 classes'):
        ExamUNet(
            features=8, levels=3, classes=SegmentationClasses(3, tissues=(0, 1)), mixture_steps=2
        )


@torch.no_grad()
def test_flat_arguments_of_a_file_build_the_same_network():
    flat = {'features': 8, 'levels': 2, 'stride': 2, 'classes': 4, 'has_scale': True,
            'class_t1w': list(EXPECTED_T1W), 'is_guided': True, 'mixture_steps': 2,
            'tissue_of': [0, 1, 2, 1]}  # fmt: skip
    network = randomized(ExamUNet(features=8, levels=2, **EVERYTHING))
    same_network = randomized(ExamUNet.from_arguments(flat))
    scans, reliability = exam(2)
    same(network(scans, reliability), same_network(scans, reliability))
    assert ExamUNet.from_arguments({'features': 8, 'levels': 2}).classes.count == 0
