"""Agreement with the published generator where it is right.

`docs/explanation/generator.md` lists the rest.
"""

import json
import math
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
import torch

from bids_synthsr.imaging.displacements import exponential, pull_at, upsample
from bids_synthsr.imaging.resampling import sample_linear, sample_reliability
from bids_synthsr.synthesis.contrast import BiasDraw, apply_bias
from bids_synthsr.synthesis.deformation import rotation, warp_labels
from bids_synthsr.synthesis.draws import ScanDraw, draw_sample
from bids_synthsr.synthesis.fields import node_noise
from bids_synthsr.synthesis.generator import (
    deform_head,
    make_scan,
    normalisation_range,
    paint_scan,
)
from bids_synthsr.synthesis.heads import make_head
from bids_synthsr.synthesis.labels import freesurfer_table
from bids_synthsr.synthesis.priors import (
    BiasPrior,
    ContrastPrior,
    GeneratorPrior,
    RemovalPrior,
    ScanPrior,
)
from bids_synthsr.synthesis.scanning import AcquisitionDraw, apply_along_axes, blur, profile_matrix

SHARED = Path(__file__).resolve().parents[3] / 'shared'
LAYERS = SHARED / 'fixtures' / 'reference' / 'generator_layers.npz'
CPU = torch.device('cpu')

pytestmark = pytest.mark.skipif(not LAYERS.exists(), reason=f'{LAYERS} is not here')


@pytest.fixture(scope='module')
def layers():
    with np.load(LAYERS) as stored:
        return {name: torch.from_numpy(stored[name]).float() for name in stored.files}


@pytest.fixture(scope='module')
def statistics():
    path = LAYERS.with_name('generator_stats.json')
    return json.loads(path.read_text())['tutorial2_variant_target_res_none']


@pytest.fixture(scope='module')
def sampling():
    return json.loads(LAYERS.with_name('generator_sampling_stats.json').read_text())


def corner_aligned(source, target):
    """The published resizing: voxel 0 on voxel 0, ``(1, 4, 4)``."""
    ratios = [a / b for a, b in zip(source, target, strict=True)]
    return torch.diag(torch.tensor([*ratios, 1.0], dtype=torch.float64))[None]


def warped_positions(layers, displacement):
    shape = layers['vol'].shape
    middle = (torch.tensor(shape) - 1) / 2
    lattice = torch.stack(torch.meshgrid(*map(torch.arange, shape), indexing='ij'))
    offset = lattice - middle[:, None, None, None] + displacement
    affine = layers['T_affine_scale_shear_rot_trans']
    moved = torch.einsum('xy,yijk->xijk', affine[:3, :3], offset)
    return moved + (middle + affine[:3, 3])[:, None, None, None]


def test_scaling_and_squaring(layers):
    ours = exponential(layers['svf'].movedim(-1, 0), 7)
    torch.testing.assert_close(ours, layers['VecInt7'].movedim(-1, 0), rtol=0, atol=1e-5)


def test_rotation_and_composition(layers):
    first, second, third = layers['rot_deg_xyz'].tolist()
    turn = rotation((first, second, third))
    torch.testing.assert_close(turn.float(), layers['R'], rtol=0, atol=1e-6)
    composed = torch.diag(layers['scale3']) @ layers['Shear'] @ turn.float()
    expected = layers['T_affine_scale_shear_rot_trans'][:3, :3]
    torch.testing.assert_close(composed, expected, rtol=0, atol=1e-6)


def test_warps_of_images_and_labels(layers):
    still = torch.zeros(3, 1, 1, 1)
    ours = pull_at(layers['vol'][None], warped_positions(layers, still))[0]
    torch.testing.assert_close(ours, layers['Spatial_affine_linear'], rtol=0, atol=2e-6)
    positions = warped_positions(layers, layers['VecInt7'].movedim(-1, 0))
    ours = pull_at(layers['vol'][None], positions)[0]
    expected = layers['Spatial_affine_plus_elastic_linear']
    torch.testing.assert_close(ours, expected, rtol=0, atol=2e-6)
    # outside of the map lies background here, and a copy of the border there
    nearest = warp_labels((layers['vol'] * 9).round().short() + 1, positions)
    inside = nearest > 0
    expected = layers['Spatial_affine_plus_elastic_nearest_of_round_9vol']
    assert torch.equal(nearest[inside] - 1, expected[inside].short()) and inside.sum() > 9000


@pytest.mark.parametrize(('name', 'spacing'), [('1_1_3', (1, 1, 3)), ('1_4.5_1', (1, 4.5, 1))])
def test_slices_of_fixed_spacing_and_their_reliability(layers, name, spacing):
    volume, expected = layers['vol'], layers[f'resample_tensor_{name}.vol']
    native = [int(n / s) for n, s in zip(volume.shape, spacing, strict=True)]
    ratio = [n / m for n, m in zip(volume.shape, native, strict=True)]
    crop2native = corner_aligned(native, volume.shape)
    shape = tuple(volume.shape)
    measured = sample_reliability(crop2native, torch.tensor([ratio]), tuple(native), shape)[0, 0]
    covered = sample_linear(torch.ones(1, 1, *native), crop2native, shape)[0, 0]
    # there, the border slice counts on beyond its outer face
    difference = (measured - layers[f'resample_tensor_{name}.rel']) * covered
    assert difference.abs().max() < 2e-6
    for axis, (count, step) in enumerate(zip(native, ratio, strict=True)):
        index = (torch.arange(count) * step).round().long()  # they sample the nearest plane
        volume = volume.index_select(axis, index)
    ours = sample_linear(volume[None, None], crop2native, shape)[0, 0]
    assert ((ours - expected) * covered).abs().max() < 2e-6


def test_random_spacing_has_the_reliability_of_its_distance_map(layers):
    shape, spacing = (20, 24, 28), 28 / 6  # int(28 / 4.3) slices
    crop2native = corner_aligned((20, 24, 6), shape)
    ratio = torch.tensor([[1.0, 1.0, spacing]])
    ours = sample_reliability(crop2native, ratio, (20, 24, 6), shape)[0, 0]
    # their distance is in units of 4.3 mm per slice, though the slices are 4.67 mm apart
    distance = layers['Mimic_1_1_4.3.dist'] * spacing / 4.3
    expected = (1 - distance).clamp(min=0)
    inside = torch.arange(28) < 5.5 * spacing
    torch.testing.assert_close(ours[..., inside], expected[..., inside], rtol=0, atol=1e-5)


def test_resizing(layers):
    coarse, expected = layers['resize_in'], layers['Resize_linear_to_20_24_28']
    out2in = corner_aligned(coarse.shape, expected.shape)
    ours = sample_linear(coarse[None, None], out2in, tuple(expected.shape))[0, 0]
    inner = (slice(0, 17), slice(0, 21), slice(0, 24))  # further out the source ends
    torch.testing.assert_close(ours[inner], expected[inner], rtol=0, atol=5e-6)


@pytest.mark.parametrize(
    ('name', 'sds', 'share'),
    [
        ('GaussianBlur_0.5', (0.5, 0.5, 0.5), 0.1),
        ('GaussianBlur_0.42_1.26_0.42', (0.42, 1.26, 0.42), 0.1),
        ('GaussianBlur_4_4_1_separable', (4.0, 4.0, 1.0), 0.2),
        ('DynamicGaussianBlur_max6.75', (0.42, 2.1, 3.3), 0.03),
    ],
)
def test_blurs_agree_but_for_their_truncation(layers, name, sds, share):
    volume, expected = layers['vol'], layers[name]
    matrices = [
        profile_matrix(torch.arange(size), sd, size)
        for size, sd in zip(volume.shape, sds, strict=True)
    ]
    inner = tuple(slice(min(int(2 * sd) + 1, 8), -min(int(2 * sd) + 1, 8)) for sd in sds)
    difference = (apply_along_axes(volume, matrices) - expected)[inner]
    # theirs end after 1.3 to 2.4 sds, the dynamic ones after 8 voxels
    assert difference.abs().mean() < share * (volume - expected)[inner].abs().mean()


def test_normalisation(layers):
    image = (400 * layers['vol'] - 50).clamp(0, 300)
    low, high = normalisation_range(image, 'min-max')
    expected = layers['IntensityAug_clip300_norm_of_400vol_minus50']
    torch.testing.assert_close((image - low) / (high - low), expected, rtol=0, atol=1e-6)


def test_bias_field_strength(sampling):
    """Their sd is uniform up to 0.2, and 5 % have no field: ours with the same draws."""
    theirs = sampling['BiasField std=0.2 scale=0.025 on 148x187x155']
    shape, nodes = (148, 187, 155), tuple(theirs['small_shape'][:3])
    fields = [upsample(node_noise(seed, (1, *nodes), CPU), shape).std() for seed in range(8)]
    # the median sd over draws is half of the largest: 0.1 for the nodes
    assert 0.1 * float(torch.stack(fields).median()) == pytest.approx(
        theirs['log_field_sd_quantiles'][3], rel=0.25
    )
    image = apply_bias(torch.ones(shape), BiasDraw(1, 0.1, 186 / 4))
    assert image.log().std() == pytest.approx(theirs['log_field_sd_quantiles'][3], rel=0.35)


def test_displacements(sampling):
    """The elastic part with their settings: half the resolution, not scaled back to full."""
    theirs = sampling['displacement voxels, defaults elastic only']
    half, nodes, draws = (74, 93, 77), (10, 12, 10), 4
    means = []
    for seed in range(draws):
        velocity = upsample(1.5 * node_noise(seed, (3, *nodes), CPU), half)
        means.append(float(exponential(velocity).norm(dim=0).mean()))
    # they drew the sd uniformly up to 3: 1.5 on average, which scatters by half of it
    error = theirs['sd_over_draws'][0] / math.sqrt(12)
    assert np.mean(means) == pytest.approx(theirs['mean_over_draws'][0], abs=3 * error)


def spectrum(image, axis):
    """Power along an axis as `generator_stats.json` defines it: 32 numbers."""
    line = image.movedim(axis, -1)
    line = line - line.mean(-1, keepdim=True)
    power = torch.fft.rfft(line * torch.hann_window(line.shape[-1], periodic=False)).abs().square()
    power = power[..., 1:].flatten(0, 1).mean(0)
    power = power / power.sum() * len(power)
    place = np.linspace(0, len(power) - 1, 32)
    return np.interp(place, np.arange(len(power)), power.numpy())


@pytest.fixture(scope='module')
def thick_and_fine():
    """Scan brains as in their second tutorial, but on the 1 mm grid: scans and their targets."""
    paths = sorted((SHARED / 'data' / 'label-maps').glob('training_seg_0[2-4].nii.gz'))
    if not paths:
        pytest.skip('../shared/data/label-maps is not here')
    table, pairs = freesurfer_table(), []
    contrast = ContrastPrior('uniform', mean_range=(25, 225), sd_range=(5, 25), gamma=(0.6, 1.6))
    prior = GeneratorPrior(
        (ScanPrior('T1w', contrast=contrast, bias=BiasPrior(log_sd=0.15)),),
        removal=RemovalPrior(strip_probability=1),
    )
    for seed, path in enumerate(paths):
        labels = np.asarray(nb.as_closest_canonical(nb.load(path)).dataobj).astype(np.int16)
        head = make_head(torch.from_numpy(labels), None, table)
        draw = draw_sample(prior, table, (96, 96, 96), torch.Generator().manual_seed(seed))
        # 42 slices of 128 voxels, each blurred with 0.42 of its thickness
        slices = AcquisitionDraw(
            2, (1.0, 1.0, 128 / 42), (0.42, 0.42, 1.26), (0, 0, 0), ((0, 0),) * 3
        )
        scan = ScanDraw(**{**vars(draw.scans[0]), 'acquisition': slices})
        anatomy = deform_head(draw, head, table, CPU)
        resampled, measured = make_scan(scan, anatomy, table, draw)
        fine = blur(paint_scan(scan, anatomy.target_labels, table), 0.5) * anatomy.remaining
        pairs.append((resampled, fine, measured))
    return pairs


def test_thick_slices_keep_the_same_share_of_each_frequency(thick_and_fine, statistics):
    theirs = np.log10(
        np.divide(
            statistics['input0.spectrum_axis2']['mean'],
            statistics['target.spectrum_axis2']['mean'],
        )
    )
    shares = [spectrum(scan, 2) / spectrum(fine, 2) for scan, fine, _ in thick_and_fine]
    ours = np.log10(np.mean(shares, 0))
    # their contrasts, and so the share of noise, are not known
    np.testing.assert_allclose(ours[:20], theirs[:20], atol=0.3)
    assert abs(ours.argmin() - theirs.argmin()) <= 1  # what linear interpolation takes away


def test_thick_slices_correlate_alike_with_their_target(thick_and_fine, statistics):
    ours = [np.corrcoef(scan.flatten(), fine.flatten())[0, 1] for scan, fine, _ in thick_and_fine]
    assert np.mean(ours) == pytest.approx(statistics['input0.corr_with_target']['mean'], abs=0.03)


def test_a_third_is_reliable(thick_and_fine, statistics):
    mean = np.mean([float(measured.mean()) for _, _, measured in thick_and_fine])
    assert mean == pytest.approx(statistics['rel0.mean_std_min_max']['mean'][0], abs=0.01)
