"""The laws of the networks that take exams and slices."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from bids_synthsr.imaging.resampling import spline_matrix
from bids_synthsr.imaging.slice_encoding import CHANNELS, encode_slices
from bids_synthsr.networks import exam_unet
from bids_synthsr.networks.exam_unet import (
    LEAST_TRUST,
    NOISE,
    ExamUNet,
    VolumeNorm,
    fold,
    local_contrast,
    probabilities,
    thin,
    unfold,
)
from bids_synthsr.networks.slice_unet import SliceUNet

SIDE = 16
ROUNDING = 2e-5  # float32 sums in another order


def awake(network, seed=0):
    """Give a network random weights: as made, its heads say 0."""
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


MIXTURE = {'mixture_steps': 2, 'tissue_of': (0, 1, 2, 1)}


@pytest.fixture(scope='module', params=[(1, {}), (2, {}), (2, {'is_guided': True}), (2, MIXTURE)],
                ids=['full', 'folded', 'guided', 'mixture'])  # fmt: skip
def network(request):
    stride, more = request.param
    return awake(ExamUNet(features=8, levels=3, stride=stride, classes=4, **more))


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
def test_network_without_scale_and_classes_tells_the_t1w_alone():
    scans, reliability = exam(3)
    prediction = ExamUNet(features=8, levels=2, has_scale=False)(scans, reliability)
    assert prediction.t1w.shape == scans[:, :1].shape
    assert prediction.log_scale is None and prediction.logits is None


@torch.no_grad()
def test_one_place_of_every_block_is_what_the_whole_says_there():
    network = awake(ExamUNet(features=8, levels=2, classes=4, is_guided=True))
    scans, reliability = exam(2)
    whole = network(scans, reliability)
    for place in ((0, 0, 0), (1, 0, 1)):
        same(network(scans, reliability, place=place), [thin(x, place, 2) for x in whole])


@torch.no_grad()
def test_mixture_is_fitted_to_one_place_and_judges_all():
    network = awake(ExamUNet(features=8, levels=2, classes=4, **MIXTURE))
    plain = ExamUNet(features=8, levels=2, classes=4).eval()
    plain.load_state_dict(network.state_dict(), strict=False)
    scans, reliability = exam(2)
    whole, before = network(scans, reliability), plain(scans, reliability)
    same(network(scans, reliability, place=(0, 0, 0)), [thin(x, (0, 0, 0), 2) for x in whole])
    changed = (whole.logits - before.logits).abs()
    assert all((thin(changed, place, 2) > 1e-3).any() for place in ((0, 0, 0), (1, 0, 1)))
    same(whole[:2], before[:2])  # T1w and scale do without


@torch.no_grad()
@pytest.mark.parametrize('max_voxels', [1, 3 * 64, None])
def test_pieces_are_what_the_whole_says(max_voxels):
    more = {'is_guided': True, 'class_t1w': (0.0, 1.0, 0.6, 0.4)}
    network = awake(ExamUNet(features=8, levels=2, classes=4, **MIXTURE, **more))
    scans, reliability = exam(2)
    whole = network(scans, reliability)
    count = 0
    for place, rows, told in network.pieces(network.hear(scans, reliability), max_voxels):
        expected = [thin(x, place, 2)[:, :, rows] for x in whole]
        same(told[:2], [expected[0][:, 0], expected[1][:, 0].exp()])
        same([told.likely], [probabilities(expected[2])])
        count += told.t1w.numel()
    assert count == whole.t1w.numel()
    heard = network.hear(scans, reliability)
    ((place, _, told),) = network.pieces(heard, places=[(0, 0, 0)])
    assert place == (0, 0, 0)
    same(told[:1], [thin(whole.t1w, place, 2)[:, 0]])


def test_a_fusion_in_parts_is_that_of_all_voxels(monkeypatch, network):
    scans, reliability = exam(3)
    whole = network(scans, reliability)  # with gradients all at once
    monkeypatch.setattr(exam_unet, 'FUSED_AT_ONCE', 1)
    with torch.no_grad():
        same([network(scans, reliability).t1w], [whole.t1w.detach()])


@torch.no_grad()
@pytest.mark.parametrize('kept', [(0,), (2, 0), (0, 1, 2)])
def test_some_scans_of_an_exam_are_as_if_there_were_no_others(kept):
    more = {'is_guided': True, 'class_t1w': (0.0, 1.0, 0.6, 0.4)}
    network = awake(ExamUNet(features=8, levels=2, classes=4, **MIXTURE, **more))
    scans, reliability = exam(3)
    some = network.pieces(network.hear(scans, reliability).only(kept))
    alone = network.pieces(network.hear(scans[:, kept], reliability[:, kept]))
    for (*_, one), (*_, other) in zip(some, alone, strict=True):
        same(one, other)


@torch.no_grad()
def test_normalisation_is_of_each_volume():
    x = torch.randn(3, 8, 4, 4, 4) * torch.arange(1, 4).view(3, 1, 1, 1, 1)
    norm = VolumeNorm(8)
    norm.weight.copy_(torch.arange(8))
    expected = functional.instance_norm(x, weight=norm.weight, bias=norm.bias)
    torch.testing.assert_close(norm(x), expected)


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
    network = awake(ExamUNet(features=8, levels=2, classes=3, is_guided=True))
    prediction = network(*exam(2, 8))
    sum(output.square().mean() for output in prediction).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


@torch.no_grad()
def test_guide_starts_silent_and_then_shows_single_voxels():
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


def test_contrast_is_of_the_surroundings():
    image = torch.rand(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0))
    ramp = torch.linspace(0, 4, 32)[:, None, None]  # bright fat at one end
    first, second = (local_contrast(x, 2).flatten() for x in (image, 0.2 * image + 0.1))
    sd = float(image.std())
    slope = (sd + NOISE) / (sd + NOISE / 0.2)  # a flatter image: its noise counts for more
    assert np.polyfit(first, second, 1) == pytest.approx([slope, 0], abs=0.01)
    assert np.corrcoef(first, second)[0, 1] > 0.999
    flat = local_contrast(torch.full_like(image, 0.7), 2)
    assert flat.abs().max() < 0.05
    assert local_contrast(image + ramp, 2).abs().max() <= 3


def test_unfold_undoes_fold():
    volume = torch.rand(2, 3, 4, 6, 8)
    folded = fold(volume, 2)
    assert folded.shape == (2, 24, 2, 3, 4)
    assert torch.equal(unfold(folded, 2), volume)
    block = folded[0, :8, 1, 2, 3].view(2, 2, 2)
    assert torch.equal(block, volume[0, 0, 2:4, 4:6, 6:8])


def test_wrong_input_is_told():
    network = ExamUNet(features=8, levels=3)
    with pytest.raises(ValueError, match=r'\(12, 16, 16\).*multiples of 8'):
        network(torch.zeros(1, 1, 12, 16, 16), torch.zeros(1, 1, 12, 16, 16))
    with pytest.raises(ValueError, match='needs its reliability map'):
        network(torch.zeros(1, 2, 16, 16, 16), torch.zeros(1, 1, 16, 16, 16))
    with pytest.raises(ValueError, match='stride of 1 or 2, not 4'):
        ExamUNet(stride=4)


def test_encoded_slices_hold_interpolation_neighbours_and_facts():
    slices = torch.rand(3, 4, 7)
    index = np.array([2.0, 2.5, 3.0])
    channels = encode_slices(slices, index, 5.0, 3.0)
    assert channels.shape == (CHANNELS, 3, 4, 3)
    cubic = slices @ torch.from_numpy(spline_matrix(7, index)).T
    torch.testing.assert_close(channels[0], cubic)
    torch.testing.assert_close(channels[0, ..., 0], slices[..., 2])  # on a slice
    below, above = channels[3, ..., 1] / 2 + cubic[..., 1], channels[4, ..., 1] / 2 + cubic[..., 1]
    torch.testing.assert_close(below, slices[..., 2])
    torch.testing.assert_close(above, slices[..., 3])
    torch.testing.assert_close(channels[-3, 0, 0], torch.tensor([-0.5, 0.0, -0.5]))
    torch.testing.assert_close(channels[-2:, 0, 0, 0], torch.tensor([0.0, -0.4]))


def test_encoded_slices_are_mirrored_beyond_the_ends():
    slices = torch.rand(2, 2, 5)
    channels = encode_slices(slices, np.array([-1.0, 0.0, 1.0, 5.0]), 4.0, 4.0)
    torch.testing.assert_close(channels[0, ..., 0], slices[..., 1])
    torch.testing.assert_close(channels[0, ..., 3], slices[..., 3])
    single = encode_slices(torch.full((2, 2, 1), 0.7), np.array([-0.4, 0.2]), 4.0, 4.0)
    torch.testing.assert_close(single[0], torch.full((2, 2, 2), 0.7))


@torch.no_grad()
def test_new_slice_network_says_cubic_interpolation():
    channels = torch.rand(1, CHANNELS, SIDE, SIDE, SIDE)
    network = SliceUNet(CHANNELS, features=8, levels=2)
    assert torch.equal(network(channels), channels[:, :1])
    assert not torch.allclose(awake(network)(channels), channels[:, :1])


@torch.no_grad()
def test_t1w_is_told_as_a_difference_from_what_the_segmentation_expects():
    plain = awake(ExamUNet(features=8, levels=3, classes=3))
    network = ExamUNet(features=8, levels=3, classes=3, class_t1w=(0.0, 1.0, 0.6)).eval()
    network.load_state_dict(plain.state_dict())
    scans, reliability = exam(2)
    made, before = network(scans, reliability), plain(scans, reliability)
    expected = probabilities(before.logits) @ torch.tensor([0.0, 1.0, 0.6])
    torch.testing.assert_close(made.t1w, before.t1w + expected[:, None])


def test_every_class_needs_its_intensity():
    with pytest.raises(ValueError, match='2 T1w intensities were given for 3 classes'):
        ExamUNet(features=8, levels=3, classes=3, class_t1w=(0.0, 1.0))
    with pytest.raises(ValueError, match='2 tissues were given for 3 classes'):
        ExamUNet(features=8, levels=3, classes=3, mixture_steps=2, tissue_of=(0, 1))
