"""Whole exams: what was drawn is what comes out, again and again."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_synthsr.synthesis.draws import Draw, draw_sample
from bids_synthsr.synthesis.generator import (
    apply_draw,
    deform_head,
    generate,
    normalisation_range,
    replay,
)
from bids_synthsr.synthesis.heads import make_head
from bids_synthsr.synthesis.labels import freesurfer_table
from bids_synthsr.synthesis.priors import (
    AcquisitionPrior,
    ArtefactPrior,
    BiasPrior,
    ContrastPrior,
    GeneratorPrior,
    MotionPrior,
    PathologyPrior,
    RemovalPrior,
    ScanPrior,
    ShapePrior,
    TissuePrior,
)
from bids_synthsr.synthesis.worlds import prior_by_name
from bids_synthsr.values.serial import as_plain, read_dataclass

TABLE = freesurfer_table()
SHAPE = (24, 20, 22)
STILL = ShapePrior(0, (1, 1), 0, 0, 28, 0, 0)
SHARP = AcquisitionPrior(slice_spacing=(1, 1), thickness_per_spacing=(1, 1), profile_factor=(1, 1))
CLEAN = ScanPrior(
    'T1w', contrast=ContrastPrior(gamma=(1, 1)), bias=BiasPrior(0), acquisition=SHARP
)
WORLDS = ('paper', 'clinical-2d', 'research-3d', 'mixed', 'low-field', 'ct-like')


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope='module')
def labels():
    """Two hemispheres of white matter, cortex around them, CSF, bone, skin and air."""
    axis = torch.arange(32) - 15.5
    radius = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt()
    drawn = torch.zeros(32, 32, 32, dtype=torch.int16)
    for size, left, right in (
        (15, 511, 511),
        (13, 515, 515),
        (11, 24, 24),
        (10, 3, 42),
        (7, 2, 41),
    ):
        drawn[:16][radius[:16] < size] = left
        drawn[16:][radius[16:] < size] = right
    return drawn


@pytest.fixture(scope='module')
def head(labels):
    return make_head(labels, None, TABLE, 'ball')


@pytest.mark.parametrize('world', WORLDS)
def test_every_world_gives_what_a_network_takes(head, world):
    prior = prior_by_name(world)
    sample = generate([head, head], prior, TABLE, SHAPE, generator(3))
    assert sample.scans.shape == sample.reliability.shape == (2, prior.slots, *SHAPE)
    assert sample.target.shape == sample.weight.shape == (2, 1, *SHAPE)
    assert sample.segmentation.shape == (2, *SHAPE) and sample.segmentation.dtype == torch.int64
    for values in (sample.scans, sample.reliability, sample.target):
        assert torch.isfinite(values).all()
    for values in (sample.scans, sample.reliability, sample.weight):
        assert values.min() >= 0 and values.max() <= 1
    assert sample.present[:, 0].all()
    absent = ~sample.present
    assert not sample.scans[absent].any() and not sample.reliability[absent].any()
    assert sample.reliability[sample.present].flatten(1).amax(1).min() > 0
    assert int(sample.segmentation.max()) < len(TABLE.targets)


def test_equal_seeds_give_equal_samples(head):
    prior = prior_by_name('clinical-2d')
    first, again, other = (
        generate([head], prior, TABLE, SHAPE, generator(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first.scans, again.scans) and first.draws == again.draws
    assert not torch.equal(first.scans, other.scans)


@pytest.mark.parametrize('world', WORLDS)
def test_stored_draws_replay(head, world):
    sample = generate([head], prior_by_name(world), TABLE, SHAPE, generator(5))
    stored = json.loads(json.dumps(sample.draws))
    again = replay(stored, [head], TABLE)
    for name in ('scans', 'reliability', 'present', 'target', 'segmentation', 'weight'):
        assert torch.equal(getattr(sample, name), getattr(again, name)), name
    assert again.draws == sample.draws and again.draws[0]['head'] == 'ball'


def test_draws_survive_json():
    draw = draw_sample(prior_by_name('clinical-2d'), TABLE, SHAPE, generator(7))
    stored = json.loads(json.dumps(as_plain(draw)))
    assert read_dataclass(Draw, stored, 'draw') == draw


def test_a_batch_is_its_elements(head):
    prior = prior_by_name('clinical-2d')
    batch = generate([head, head], prior, TABLE, SHAPE, generator(4))
    single = replay(batch.draws[1:], [head], TABLE)
    assert torch.equal(batch.scans[1:], single.scans)


def test_flip_commutes_with_the_swap_of_labels(labels):
    prior = GeneratorPrior((CLEAN,), shape=STILL, target='t1w')
    lopsided = labels.clone()
    lopsided[:16][labels[:16] == 2] = 17
    head = make_head(lopsided, None, TABLE)
    mirrored = make_head(TABLE.mirror_of[lopsided.flip(0).int()], None, TABLE)
    draw = draw_sample(prior, TABLE, SHAPE, generator())
    flipped = replace(draw, deformation=replace(draw.deformation, flip=True))
    first, second = apply_draw(flipped, head, TABLE), apply_draw(draw, mirrored, TABLE)
    assert torch.equal(first.segmentation, second.segmentation)
    torch.testing.assert_close(first.scans, second.scans)
    plain = apply_draw(draw, head, TABLE)
    assert not torch.equal(first.segmentation, plain.segmentation)


def test_a_perfect_scan_is_its_own_target(head):
    sample = generate([head], GeneratorPrior((CLEAN,)), TABLE, SHAPE, generator())
    torch.testing.assert_close(sample.target, sample.scans, rtol=0, atol=1e-5)
    assert sample.reliability.min() == 1 == sample.weight.min()


def test_the_target_of_a_thick_scan_is_sharper_in_the_same_units(head):
    thick = replace(CLEAN, acquisition=AcquisitionPrior(slice_spacing=(5, 5)))
    sample = generate([head], GeneratorPrior((thick,)), TABLE, SHAPE, generator())
    difference = sample.target - sample.scans
    assert abs(difference.mean()) < 0.03 < difference.std()
    assert sample.target.std() > sample.scans.std()


def test_thick_slices_show_in_scan_and_reliability(head):
    acquisition = AcquisitionPrior((0, 0, 1), (4, 4), (1, 1), profile_factor=(1, 1))
    scan = replace(CLEAN, acquisition=acquisition)
    sample = generate([head], GeneratorPrior((scan,)), TABLE, SHAPE, generator())
    line = sample.reliability[0, 0, 10, 10]
    # slices of even spacing lie between two voxels of the output grid
    assert set(line.tolist()) == {0.0, 0.5} and line.sum() == pytest.approx(22 / 4, abs=0.5)


def test_drawn_fat_is_in_the_segmentation_and_bright_in_the_t1w(labels):
    muscular = labels.masked_fill(labels == 515, 507)
    prior = GeneratorPrior((CLEAN,), target='t1w', tissues=TissuePrior(fat_probability=1.0))
    head = make_head(muscular, None, TABLE, 'ball')
    sample = generate([head], prior, TABLE, SHAPE, generator())
    is_fat = sample.segmentation[0] == TABLE.targets.index(125)
    assert is_fat.sum() > 100
    assert sample.target[0, 0][is_fat].median() > 1.1  # white matter is 1, muscle darker


def test_painted_t1w_has_white_matter_at_one(head):
    sample = generate([head], GeneratorPrior((CLEAN,), target='t1w'), TABLE, SHAPE, generator())
    index = TABLE.targets.index(2)
    assert sample.target[0, 0][sample.segmentation[0] == index].median() == pytest.approx(
        1, abs=1e-4
    )


def test_real_image_is_the_target_scaled_and_deformed_with_its_labels(labels):
    image = labels.float().where(labels == 0, 50 + 10 * (labels % 7)) + 0.0
    head = make_head(labels, image, TABLE)
    prior = GeneratorPrior((CLEAN,), target='t1w', shape=replace(STILL, flip_probability=1))
    sample = generate([head], prior, TABLE, SHAPE, generator())
    scale = image[labels == 2].median()
    expected = (image / image[(labels == 2) | (labels == 41)].median())[4:28, 6:26, 5:27].flip(0)
    assert scale > 0
    torch.testing.assert_close(sample.target[0, 0], expected, rtol=0, atol=1e-5)


def test_lesions_are_kept_or_removed_as_asked(head):
    sick = PathologyPrior(lesion_probability=1, lesion_fraction=(0.2, 0.2))
    prior = GeneratorPrior((CLEAN,), target='t1w', shape=STILL, pathology=sick)
    keep = generate([head], prior, TABLE, SHAPE, generator(2))
    remove = generate(
        [head],
        replace(prior, pathology=replace(sick, in_target='remove')),
        TABLE,
        SHAPE,
        generator(2),
    )
    lesion = keep.segmentation == TABLE.targets.index(77)
    assert lesion.any() and not (remove.segmentation == TABLE.targets.index(77)).any()
    assert torch.equal(keep.scans, remove.scans)
    assert (keep.target[:, 0] < remove.target[:, 0])[lesion].all()


def test_lesions_are_removed_from_a_super_resolution_target_too(head):
    sick = PathologyPrior(0, mass_probability=1, mass_radius=(5, 5), in_target='remove')
    prior = GeneratorPrior((CLEAN,), shape=STILL, pathology=sick)
    sample = generate([head], prior, TABLE, SHAPE, generator(1))
    assert (sample.target - sample.scans).abs().max() > 0.05


def test_stripping_clears_scans_and_target(head):
    prior = GeneratorPrior((CLEAN,), target='t1w', shape=STILL, removal=RemovalPrior(1))
    sample = generate([head], prior, TABLE, SHAPE, generator())
    draw = draw_sample(prior, TABLE, SHAPE, generator())
    anatomy = deform_head(draw, head, TABLE, torch.device('cpu'))
    outside = ~anatomy.remaining[None, None]
    assert (anatomy.scan_labels[outside[0, 0]] == 511).any()
    assert not sample.target[outside].any() and sample.scans[outside].max() < 1e-5


def test_partial_field_of_view_has_no_weight(head):
    acquisition = replace(SHARP, partial_probability=1, partial_fraction=(0.3, 0.3))
    prior = GeneratorPrior((replace(CLEAN, acquisition=acquisition),))
    sample = generate([head], prior, TABLE, SHAPE, generator())
    covered = sample.weight.bool()
    assert 0.6 < sample.weight.mean() < 0.8
    assert not sample.scans[~covered].any() and not sample.reliability[~covered].any()


def test_other_scans_fit_the_reference_but_for_the_registration_error(head):
    smooth = replace(CLEAN, contrast=ContrastPrior(sd_range=(0, 0), gamma=(1, 1)))
    still = MotionPrior(8, 5, 0, 0)
    scans = (smooth, replace(smooth, motion=still))
    draw = draw_sample(GeneratorPrior(scans, shape=STILL), TABLE, SHAPE, generator(6))
    same = replace(draw.scans[1], contrast=draw.scans[0].contrast)
    sample = apply_draw(replace(draw, scans=(draw.scans[0], same)), head, TABLE)
    inner = (slice(4, -4),) * 3
    first, second = sample.scans[0, 0][inner], sample.scans[0, 1][inner]
    # it was interpolated twice, over edges of single voxels
    assert np.corrcoef(first.flatten(), second.flatten())[0, 1] > 0.95


def test_reference_is_a_plain_t1w_then_the_finest():
    kinds = tuple(
        ScanPrior(suffix, acquisition=AcquisitionPrior(slice_spacing=(spacing, spacing)))
        for suffix, spacing in (('T2w', 2), ('T1w', 6), ('FLAIR', 4))
    )
    counts = (0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    for seed in range(8):
        draw = draw_sample(GeneratorPrior(kinds, counts), TABLE, SHAPE, generator(seed))
        suffixes = [scan.suffix for scan in draw.scans]
        best = next(suffix for suffix in ('T1w', 'T2w', 'FLAIR') if suffix in suffixes)
        assert suffixes[0] == best and not draw.scans[0].motion.is_moved
        assert all(scan.motion.is_moved for scan in draw.scans[1:])


def test_a_fixed_exam_keeps_its_order():
    kinds = tuple(ScanPrior(suffix) for suffix in ('FLAIR', 'T1w', 'T2w'))
    draw = draw_sample(GeneratorPrior(kinds), TABLE, SHAPE, generator())
    assert [scan.suffix for scan in draw.scans] == ['FLAIR', 'T1w', 'T2w'] and draw.slots == 3


def test_percentiles_ignore_single_voxels():
    image = torch.rand(30, 30, 30)
    image[3, 3, 3] = 1000
    assert normalisation_range(image, 'percentiles')[1] < 1.01
    assert normalisation_range(image, 'min-max')[1] == 1000


def test_dead_scanner_gives_finite_numbers(head):
    dark = replace(CLEAN, contrast=ContrastPrior(mean_range=(0, 0), sd_range=(0, 0)))
    sample = generate([head], GeneratorPrior((dark,)), TABLE, SHAPE, generator())
    assert torch.isfinite(sample.scans).all() and torch.isfinite(sample.target).all()


def test_heads_are_checked(labels):
    with pytest.raises(ValueError, match=r'map_3 holds labels \[99\]'):
        make_head(labels.where(labels != 3, 99), None, TABLE, 'map_3')
    with pytest.raises(
        ValueError, match=r'map_3 has shape \(32, 32, 32\), its image \(32, 32, 31\)'
    ):
        make_head(labels, torch.zeros(32, 32, 31), TABLE, 'map_3')
    with pytest.raises(ValueError, match='shows no brain'):
        make_head(torch.zeros(4, 4, 4), None, TABLE)
    with pytest.raises(ValueError, match='not whole numbers'):
        make_head(torch.rand(4, 4, 4), None, TABLE)
    with pytest.raises(ValueError, match=r'shape \(4, 4\); a volume'):
        make_head(torch.zeros(4, 4), None, TABLE)
    with pytest.raises(ValueError, match='not finite: set them to 0'):
        make_head(labels, torch.full(labels.shape, torch.nan), TABLE)
    with pytest.raises(ValueError, match='cannot be scaled'):
        make_head(labels, torch.zeros(labels.shape), TABLE)


def test_priors_have_names():
    with pytest.raises(ValueError, match=r"No prior is named 'clinical'.*clinical-2d"):
        prior_by_name('clinical')


@pytest.mark.parametrize(
    ('table', 'message'),
    [
        ({'target': 'T1w'}, "prior: target is 'T1w'; choose one of reference, t1w"),
        ({'normalisation': 'max'}, "normalisation is 'max'; choose one of min-max, percentiles"),
        ({'pathology': {'in_target': 'cut'}}, "pathology.in_target is 'cut'; choose one of keep"),
        (
            {'scans': [{'contrast': {'kind': 'rainbow'}}]},
            r"scans\[0\]\.contrast\.kind is 'rainbow'",
        ),
    ],
)
def test_choices_of_priors_are_checked(table, message):
    with pytest.raises(ValueError, match=message):
        read_dataclass(GeneratorPrior, table, 'prior', prior_by_name('paper'))


def test_everything_at_once(head):
    """Every switch on, in one exam of two scans."""
    scan = ScanPrior(
        contrast=ContrastPrior('signal', texture=(0.5, 0.5)),
        acquisition=AcquisitionPrior(partial_probability=1, in_plane=(1, 2)),
        artefacts=ArtefactPrior(1, (0.05, 0.05), 1, (0.1, 0.1), 1, (0.1, 0.1), 1, (0.1, 0.1), 1),
        agent_probability=1,
    )
    prior = GeneratorPrior(
        (scan, scan),
        normalisation='percentiles',
        tissues=TissuePrior(1, 1, 1),
        pathology=PathologyPrior(1, (0.05, 0.1), 1, (4, 6)),
        removal=RemovalPrior(0, 1),
    )
    sample = generate([head], prior, TABLE, SHAPE, generator())
    assert torch.isfinite(sample.scans).all() and torch.isfinite(sample.target).all()
    assert sample.scans[0].flatten(1).amax(1).min() > 0.9
