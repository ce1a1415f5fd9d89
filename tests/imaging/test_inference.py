"""Laws of padding, tiles, flips and precision."""

from math import prod

import pytest
import torch
from torch import nn

from bids_synthsr.imaging import inference
from bids_synthsr.imaging.inference import (
    PRECISIONS,
    Tiling,
    _attempts,
    autocast,
    evaluation,
    fastest_precision,
    pad,
    plan_tiles,
    predict,
)
from bids_synthsr.networks.unet import UNet

CPU = torch.device('cpu')


@pytest.fixture
def volume() -> torch.Tensor:
    return torch.rand(1, 1, 9, 12, 14, generator=torch.manual_seed(0))


@pytest.fixture
def network() -> UNet:
    torch.manual_seed(2)
    return UNet(features=3, levels=2)


def test_pad_puts_the_volume_in_the_middle(volume):
    padded, inside = pad(volume, 8)
    assert padded.shape == (1, 1, 16, 16, 16)
    assert inside[1:] == (slice(3, 12), slice(2, 14), slice(1, 15))  # 7, 4 and 2 zeros, floor / 2
    torch.testing.assert_close(padded[inside], volume, rtol=0, atol=0)
    assert padded.count_nonzero() == volume.count_nonzero()


def test_output_is_cut_to_the_volume(network, volume):
    padded, inside = pad(volume, 8)
    expected = network.eval()(padded)[inside]
    got = predict(network, volume, multiple=8, precision='float32').output
    torch.testing.assert_close(got, expected)


def test_flip_average_commutes_with_flips(network, volume):
    def run(image: torch.Tensor, *, flip: bool) -> torch.Tensor:
        return predict(network, image[:, :, :8], multiple=2, flip=flip, precision='float32').output

    mirrored = volume[:, :, :8].flip(2)
    torch.testing.assert_close(run(mirrored, flip=True), run(volume, flip=True).flip(2))
    assert not torch.allclose(run(mirrored, flip=False), run(volume, flip=False).flip(2))


@pytest.mark.parametrize('max_voxels', [40**3, 30 * 40 * 40, 26 * 25 * 24])
def test_tiles_partition_the_volume(max_voxels):
    shape, seen = (40, 36, 48), torch.zeros(40, 36, 48)
    tiles = plan_tiles(shape, Tiling(max_voxels, margin=5), multiple=4)
    assert len(tiles) > 1
    for tile in tiles:
        assert prod(part.stop - part.start for part in tile.source[1:]) <= max_voxels
        assert all(part.start % 4 == part.stop % 4 == 0 for part in tile.source[1:])
        assert seen[tile.source][tile.core].shape == seen[tile.target].shape
        seen[tile.target] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize('levels', [1, 2, 3])
def test_tiles_equal_the_whole_from_the_networks_margin_on(levels):
    torch.manual_seed(3)
    network = UNet(features=3, levels=levels)
    volume = torch.rand(1, 1, 80, 8, 8)

    def in_tiles(margin: int) -> torch.Tensor:
        tiling = Tiling((40 + margin + network.multiple) * 64, margin)
        return predict(
            network, volume, multiple=network.multiple, precision='float32', tiling=tiling
        ).output

    whole = predict(network, volume, multiple=network.multiple, precision='float32').output
    torch.testing.assert_close(in_tiles(network.margin), whole, rtol=1e-5, atol=1e-6)  # float32
    assert (in_tiles(network.margin // 2) - whole).abs().max() > 1e-5  # seams


def test_tiles_too_small_for_the_margin():
    with pytest.raises(ValueError, match='1000 voxels are too small for a margin of 16'):
        plan_tiles((64, 64, 64), Tiling(1000, margin=12), multiple=16)


def test_evaluation_leaves_the_mode_as_it_was(network):
    with evaluation(network.train()):
        assert not network.down[0].norm.training
    assert network.down[0].norm.training
    with evaluation(network.eval()):
        pass
    assert not network.training


def test_overflow_falls_back_to_float32(volume, caplog):
    network = nn.Conv3d(1, 1, 1)
    nn.init.constant_(network.weight, 1e6)  # float16 ends at 65504
    expected = predict(network, volume, precision='float32').output
    assert not caplog.messages
    assert torch.equal(predict(network, volume, precision='float16').output, expected)
    assert 'overflowed in 16 bits' in caplog.text


class Greedy(nn.Module):
    """A network that finds no memory for more than so many voxels."""

    def __init__(self, most: int, error: Exception):
        super().__init__()
        self.inner, self.most, self.error = UNet(features=3, levels=1), most, error

    def forward(self, volume):
        if volume[0, 0].numel() > self.most:
            raise self.error
        return self.inner(volume)


@pytest.mark.parametrize(
    'error',
    [
        torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB'),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
        MemoryError('Unable to allocate'),
    ],
)
def test_too_little_memory_leads_to_tiles_with_the_same_result(error, caplog):
    torch.manual_seed(3)
    volume = torch.rand(1, 1, 80, 8, 8)
    network = Greedy(most=50 * 64, error=error)
    options = {'multiple': network.inner.multiple, 'precision': 'float32'}
    whole = predict(network.inner, volume, **options)
    tiling = Tiling(10**9, network.inner.margin)
    made = predict(network, volume, **options, tiling=tiling)
    assert whole.tiles == 1 and not whole.doubts and made.tiles > 1
    torch.testing.assert_close(made.output, whole.output, rtol=1e-5, atol=1e-6)
    assert 'Memory of the cpu was too small for the network on the whole volume' in made.doubts[0]
    assert made.doubts[0] in caplog.text
    assert made.facts == {'precision': 'float32', 'device': 'cpu', 'tiles': made.tiles}


def test_other_errors_are_no_lack_of_memory():
    with pytest.raises(RuntimeError, match='shapes do not match'):
        predict(Greedy(10, RuntimeError('shapes do not match')), torch.rand(1, 1, 8, 8, 8))


def test_no_memory_at_all_is_told():
    network = Greedy(most=0, error=MemoryError('no'))
    with pytest.raises(MemoryError, match='does not fit into memory, not even in tiles'):
        predict(network, torch.rand(1, 1, 8, 8, 8), tiling=Tiling(10**9, 1))


def test_a_gpu_without_memory_leads_to_tiles_and_then_to_the_cpu():
    tried = [
        (device.type, len(tiles))
        for device, tiles in _attempts((64, 64, 64), Tiling(10**9, 2), 2, torch.device('cuda:1'))
    ]
    gpu, cpu = tried[: len(tried) // 2], tried[len(tried) // 2 :]
    assert (
        [count for _, count in gpu]
        == [count for _, count in cpu]
        == sorted({count for _, count in gpu})
    )
    assert {device for device, _ in gpu} == {'cuda'} and {device for device, _ in cpu} == {'cpu'}
    assert gpu[0] == ('cuda', 1) and gpu[-1][1] >= 8


@pytest.mark.parametrize(
    ('vendor', 'features', 'precision'),
    [
        ('GenuineIntel', (), 'float32'),
        ('GenuineIntel', ('avx512_bf16',), 'float32'),
        ('GenuineIntel', ('avx512_bf16', 'amx_tile'), 'bfloat16'),
        ('GenuineIntel', ('avx512_bf16', 'amx_tile', 'amx_fp16'), 'float16'),
        ('AuthenticAMD', (), 'float32'),
        ('AuthenticAMD', ('avx512_bf16',), 'bfloat16'),
        (None, ('avx512_bf16',), 'float32'),
    ],
)
def test_cpus_compute_in_16_bits_where_these_were_faster(
    monkeypatch, tmp_path, vendor, features, precision
):
    description = tmp_path / 'cpuinfo'
    if vendor is not None:
        description.write_text(f'processor : 0\nvendor_id : {vendor}\n')
    monkeypatch.setattr(inference, 'CPU_DESCRIPTION', description)
    monkeypatch.setattr(inference, '_cpu_has', lambda x: x in features)
    inference._cpu_is_of_amd.cache_clear()
    try:
        assert fastest_precision(CPU) == precision
    finally:
        inference._cpu_is_of_amd.cache_clear()


def test_precision_is_checked():
    assert fastest_precision(CPU) in PRECISIONS
    assert fastest_precision(torch.device('cuda')) == 'float16'
    with pytest.raises(ValueError, match="'half' is not one of auto, float32"):
        autocast(CPU, 'half')
