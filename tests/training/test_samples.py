"""Where samples come from: files in memory, slices of real images, batches by their seeds."""

import dataclasses

import numpy as np
import pytest
import torch
from label_phantoms import SIDE, draw_labels, grid_of, paint_t1w, write_heads

from bids_synthsr.dataset.images import save_volume
from bids_synthsr.synthesis.heads import RealImage
from bids_synthsr.synthesis.thick_slices import ORDERS, SlicePrior, apply_slices, draw_slices
from bids_synthsr.training.cohort import Cohort, find_images, read_heads, read_real_images
from bids_synthsr.training.recipe import load_recipe
from bids_synthsr.training.samples import TRAINING, VALIDATION, seed_of
from bids_synthsr.training.sources import SOURCES, make_sources
from bids_synthsr.training.task import NETWORKS
from bids_synthsr.values.grid import Grid

CPU = torch.device('cpu')
CUBE = (16, 16, 16)


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    return write_heads(tmp_path_factory.mktemp('heads'))


@pytest.fixture(scope='module')
def photograph():
    image = paint_t1w(draw_labels()) / 110
    return RealImage(torch.from_numpy(image).half(), 'a')


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_heads_and_their_images_find_each_other(folders):
    cohort = read_heads(folders[0], [folders[1]], held_out=['sub-2*'])
    assert cohort.names == {
        'training': ['sub-0_dseg.nii.gz', 'sub-1_dseg.nii.gz'],
        'validation': ['sub-2_dseg.nii.gz'],
    }
    head = cohort.training[1]
    assert torch.equal(head.labels, torch.from_numpy(draw_labels(stretch=1.05)))
    assert head.image is not None and head.image.shape == head.labels.shape
    assert float(head.image[head.labels == 2].median()) == pytest.approx(1, abs=0.05)


def test_heads_are_the_same_in_any_orientation(tmp_path, folders):
    labels, image = draw_labels(), paint_t1w(draw_labels())
    turned = np.array([[-1, 0, 0, 31.0], [0, 0, 1, 0], [0, -1, 0, 31], [0, 0, 0, 1]])  # LIA
    grid = Grid((SIDE, SIDE, SIDE), turned)
    for name, voxels in (('m/a_dseg.nii.gz', labels), ('i/a_T1w.nii.gz', image)):
        save_volume(tmp_path / name, voxels[::-1, :, ::-1].transpose(0, 2, 1).copy(), grid)
    (turned_head,) = read_heads(tmp_path / 'm', [tmp_path / 'i']).training
    head = read_heads(folders[0], [folders[1]]).training[0]
    assert torch.equal(turned_head.labels, head.labels)
    assert turned_head.image is not None and head.image is not None
    assert torch.equal(turned_head.image, head.image)


def test_maps_may_differ_in_shape_and_are_cropped_to_the_head(tmp_path):
    large = np.pad(draw_labels(), ((30, 10), (9, 20), (0, 0)))
    save_volume(tmp_path / 'large.nii.gz', large, grid_of(large.shape))
    save_volume(tmp_path / 'small.nii.gz', draw_labels(24), grid_of((24, 24, 24)))
    shapes = [tuple(head.labels.shape) for head in read_heads(tmp_path, []).training]
    assert shapes == [(46, 46, 32), (24, 24, 24)]  # 8 voxels of air around 30 where there are


def test_thinned_sample_keeps_one_voxel_of_every_block(folders):
    shape = 'samples.shape=[16, 16, 16]'
    cohort = read_heads(folders[0], [], held_out=['sub-2*'])
    whole, thinned = (
        make_sources(load_recipe('any-exam', [shape, f'samples.thinned={flag}']), cohort, CPU)
        for flag in ('false', 'true')
    )
    places = set()
    for seed in range(12):
        full, few = whole[0].draw(seed), thinned[0].draw(seed)
        *_, place = few.inputs
        places.add(place)
        i, j, k = place
        assert torch.equal(few.target, full.target[..., i::2, j::2, k::2])
        assert torch.equal(few.segmentation, full.segmentation[..., i::2, j::2, k::2])
        assert torch.equal(few.inputs[0], full.inputs[0])
    assert len(places) == 8
    assert thinned[1].draw(0).target.shape == (1, 1, *CUBE)  # validation sees every voxel


def test_photograph_is_scaled_and_at_one_millimetre(tmp_path):
    image = np.pad(paint_t1w(draw_labels(48)), 20)
    save_volume(tmp_path / 'a.nii.gz', image, grid_of(image.shape, 0.6))
    (photograph,) = read_real_images([tmp_path]).training
    assert photograph.voxels.dtype == torch.float16
    assert 0.9 < float(photograph.voxels.max()) < 1.3
    shape = photograph.voxels.shape
    assert all(abs(side - (45 * 0.6 + 16)) < 3 for side in shape)


def write(folder, name, voxels, spacing=1.0):
    return save_volume(folder / name, voxels, grid_of(voxels.shape, spacing))


def test_bad_data_is_reported_before_training(tmp_path, folders):
    labels = draw_labels()
    write(tmp_path / 'coarse', 'a.nii.gz', labels, 1.2)
    with pytest.raises(ValueError, match=r'a\.nii\.gz has voxels of \[1\.2 1\.2 1\.2\] mm'):
        read_heads(tmp_path / 'coarse', [])
    write(tmp_path / 'unknown', 'a.nii.gz', np.where(labels == 24, 999, labels).astype(np.int16))
    with pytest.raises(
        ValueError, match=r'a\.nii\.gz holds labels \[999\], which no class covers'
    ):
        read_heads(tmp_path / 'unknown', [])
    write(tmp_path / 'shifted', 'sub-0_T1w.nii.gz', paint_t1w(labels)[2:])
    write(tmp_path / 'one', 'sub-0_dseg.nii.gz', labels)
    with pytest.raises(ValueError, match=r'sub-0_T1w.*\(30, 32, 32\).*sub-0_dseg.*resample'):
        read_heads(tmp_path / 'one', [tmp_path / 'shifted'])
    with pytest.raises(ValueError, match='No image is named like the label maps sub-1_dseg'):
        read_heads(folders[0], [tmp_path / 'shifted'])
    holes = paint_t1w(labels)
    holes[3, 3, 3:5] = np.nan
    write(tmp_path / 'holes', 'a.nii.gz', holes)
    with pytest.raises(ValueError, match=r'a\.nii\.gz has 2 voxels that are not finite'):
        read_real_images([tmp_path / 'holes'])
    write(tmp_path / 'dark', 'a.nii.gz', np.zeros_like(holes))
    with pytest.raises(ValueError, match=r'a\.nii\.gz shows nothing'):
        read_real_images([tmp_path / 'dark'])


def test_empty_choices_are_reported(tmp_path, folders):
    with pytest.raises(FileNotFoundError, match='nowhere is not a folder'):
        find_images([tmp_path / 'nowhere'])
    with pytest.raises(FileNotFoundError, match='holds 0 image files'):
        find_images([tmp_path])
    with pytest.raises(FileNotFoundError, match='3 of them are excluded'):
        find_images(folders[:1], ['sub-*'])
    with pytest.raises(ValueError, match=r'--held-out sub-9\* fits 0 of 3 files'):
        read_heads(folders[0], [], held_out=['sub-9*'])
    cohort = read_real_images([folders[1]])
    with pytest.raises(ValueError, match=r'trains on label maps \(--label-maps\)'):
        make_sources(load_recipe('any-exam'), cohort, CPU)


def test_every_kind_of_source_says_what_it_needs_and_suits_networks_that_exist():
    for kind in SOURCES.values():
        assert set(kind.networks) <= set(NETWORKS)
        assert '--' in kind.needs
    assert set(NETWORKS) == {name for kind in SOURCES.values() for name in kind.networks}
    recipe = load_recipe('sr-t1', ['samples.source=images'])
    with pytest.raises(ValueError, match="source is 'images'; choose one of generator, slices"):
        make_sources(recipe, Cohort(), CPU)


def test_seeds_of_steps_streams_and_processes_differ():
    recipe = load_recipe('sr-t1')
    seeds = {
        seed_of(dataclasses.replace(recipe, seed=seed), stream, step, rank)
        for seed in (0, 1)
        for stream in (TRAINING, VALIDATION)
        for step in range(20)
        for rank in (0, 1)
    }
    assert len(seeds) == 160
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(
    ('name', 'changes', 'count'),
    [
        ('any-exam', ['samples.thinned=false'], 2),
        ('t1-coronal-5mm', [], 1),
        ('sr-t1', [], 1),
    ],
)
def test_step_gives_the_same_batch_again(folders, name, changes, count):
    recipe = load_recipe(name, ['samples.shape=[16, 16, 16]', *changes])
    read = read_real_images(folders[1:]) if name == 'sr-t1' else read_heads(folders[0], [])
    source, held_out = make_sources(recipe, read, CPU)
    first, again, other = (source.draw(seed) for seed in (1, 1, 2))
    assert held_out is None
    assert len(first.inputs) == count
    for one, same, different in zip(first.inputs, again.inputs, other.inputs, strict=True):
        assert torch.equal(one, same)
        assert one.shape != different.shape or not torch.equal(one, different)
    assert torch.equal(first.target, again.target) and first.draws == again.draws
    largest = source.largest()
    assert [x.ndim for x in largest.inputs] == [x.ndim for x in first.inputs]
    assert all(a.numel() >= b.numel() for a, b in zip(largest.inputs, first.inputs, strict=True))


def test_unet_takes_image_and_reliability_of_each_scan_in_turn(folders):
    recipe = load_recipe('hyperfine-t1-t2', ['samples.shape=[16, 16, 16]'])
    source, _ = make_sources(recipe, read_heads(folders[0], []), CPU)
    batch = source.draw(0)
    (channels,) = batch.inputs
    assert channels.shape == (1, 4, *CUBE)
    assert torch.equal(channels[:, 0], batch.scans[:, 0])
    assert torch.equal(channels[:, 2], batch.scans[:, 1])
    assert 0.5 < float(channels[:, 1].amax()) <= 1  # reliability
    assert batch.base is not None and torch.equal(batch.base, batch.scans[:, :1])


def still(**changes):
    prior = SlicePrior(
        slice_spacing=(1, 1), equal_probability=1, profile_factor=(1, 1), box_probability=0,
        gain=(1, 1), gamma=(1, 1), noise_probability=0,
    )  # fmt: skip
    return dataclasses.replace(prior, **changes)


def test_slices_of_one_millimetre_are_the_image(photograph):
    draw = dataclasses.replace(draw_slices(still(), [photograph], CUBE, generator()), first=0.0)
    channels, target = apply_slices(draw, photograph, CUBE)
    torch.testing.assert_close(channels[:1], target, atol=1e-4, rtol=0)  # float32 profile matrix


def test_sample_is_a_turned_part_of_the_image(photograph):
    drawn = [draw_slices(SlicePrior(), [photograph], CUBE, generator(seed)) for seed in range(40)]
    assert {draw.order for draw in drawn} == set(ORDERS)
    draw = dataclasses.replace(drawn[0], gain=1.0, gamma=1.0)
    _, target = apply_slices(draw, photograph, CUBE)
    flips = [axis for axis in range(3) if draw.flips[axis]]
    turned = photograph.voxels.float().permute(draw.order).flip(flips)
    region = tuple(slice(c, c + 16) for c in draw.corner)
    assert torch.equal(target[0], turned[region])


def test_thick_slices_blur_across_and_never_in_plane(photograph):
    def roughness(image, axis):
        return float(image.diff(dim=axis).abs().mean())

    prior = still(slice_spacing=(6, 6))
    channels, target = apply_slices(
        draw_slices(prior, [photograph], (24, 24, 24), generator(3)), photograph, (24, 24, 24)
    )
    assert roughness(channels[0], 2) < 0.7 * roughness(target[0], 2)
    flat = torch.full((32, 32, 32), 0.5, dtype=torch.float16)
    for box in (0.0, 1.0):
        draw = draw_slices(still(box_probability=box, slice_spacing=(4, 4)),
                           [RealImage(flat, 'flat')], CUBE, generator())  # fmt: skip
        channels, target = apply_slices(draw, RealImage(flat, 'flat'), CUBE)
        torch.testing.assert_close(channels[0], torch.full(CUBE, 0.5))  # profiles sum to 1
        assert channels[1:7].abs().max() < 1e-5


def test_thickness_and_spacing_are_drawn_apart(photograph):
    drawn = [draw_slices(SlicePrior(), [photograph], CUBE, generator(seed)) for seed in range(200)]
    assert all(2 <= draw.spacing <= 9 and draw.thickness >= 1 for draw in drawn)
    equal = sum(draw.thickness == draw.spacing for draw in drawn)
    thin = sum(draw.thickness < 0.7 * draw.spacing for draw in drawn)
    assert 70 < equal < 130  # half of 200
    assert thin > 20


def test_image_smaller_than_the_sample_ends_in_air():
    small = RealImage(torch.ones(10, 12, 9, dtype=torch.float16), 'small')
    draw = draw_slices(SlicePrior(), [small], CUBE, generator())
    channels, target = apply_slices(draw, small, CUBE)
    assert channels.shape == (10, *CUBE) and channels.isfinite().all()
    assert target.shape == (1, *CUBE)
