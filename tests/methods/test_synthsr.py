"""The published method against what the authors' code computed (`shared/fixtures`), and laws."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from nibabel import load
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import gaussian_filter

from bids_synthsr.dataset.images import load_volume
from bids_synthsr.dataset.weights import load_published
from bids_synthsr.imaging.geometry import output_grid, rigid
from bids_synthsr.imaging.inference import fastest_precision, pad, predict
from bids_synthsr.imaging.intensity import rescale
from bids_synthsr.methods import synthsr
from bids_synthsr.methods.synthsr import UNIT, resample_1mm, synthesize
from bids_synthsr.networks.loaded import LoadedNetwork
from bids_synthsr.networks.unet import UNet
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation

FIXTURES = Path(__file__).resolve().parents[3] / 'shared/fixtures/reference'
A = ('A_small4', ['A_axial_1x1x3_RAS_int16'], 'A_small4_tta')
B = ('B_small4', ['B_oblique_PIR_0.9x0.9x4.2_float32'], 'B_small4_tta')
E = ('E_hyperfine_small4', ['E_hyperfine_T1', 'E_hyperfine_T2'], 'E_hyperfine_small4')
CASES = pytest.mark.parametrize('case', [A, B, E], ids=['A', 'B', 'E'])
needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason=f'{FIXTURES} is not here')

# Largest and mean deviation of one pass, in intensities of the output, that 16 bits may cause:
# about twice what the fixtures show (0.5 and 0.07, 3.6 and 0.5), whose weights are random
HALF_LIMITS = {'float16': (1.0, 0.15), 'bfloat16': (8.0, 1.2)}


def observe(voxels, grid: Grid, contrast: str = 'T1w', scan2ref=None) -> Observation:
    motion = np.eye(4) if scan2ref is None else scan2ref
    return Observation(contrast, voxels, grid, Acquisition(2, 3.0, 3.0), motion)


def exam_of(case) -> list[Observation]:
    loaded = [load_volume(FIXTURES / f'inputs/{name}.nii.gz') for name in case[1]]
    return [observe(*scan, suffix) for scan, suffix in zip(loaded, ('T1w', 'T2w'), strict=False)]


def trained_of(case) -> LoadedNetwork[UNet]:
    name = f'small_unet_{len(case[1])}ch_nf4.weights_root.h5'
    return load_published(FIXTURES / 'weights' / name)


def intermediate(case) -> tuple[dict[str, np.ndarray], torch.Tensor]:
    """What the authors' code made on its way, and its network's input, ``(1, C, I, J, K)``."""
    stored = dict(np.load(FIXTURES / f'intermediate/{case[0]}.npz'))
    channels = torch.from_numpy(stored['net_input'])
    return stored, channels.reshape(*channels.shape[:3], -1).permute(3, 0, 1, 2)[None]


@needs_fixtures
@CASES
def test_output_equals_the_reference_command(case):
    exam, expected = exam_of(case), load(FIXTURES / f'outputs/{case[2]}.nii.gz')
    grid = output_grid(exam[0].grid)
    made = synthesize(exam, grid, trained=trained_of(case), precision='float32')
    product = made.products[0]
    assert product.voxels.shape == expected.shape
    assert product.voxels.dtype == np.float32
    np.testing.assert_allclose(product.grid.vox2ras, expected.affine, atol=1e-5)  # stored float32
    error = np.abs(product.voxels - expected.get_fdata())
    assert error.max() < 0.02  # tolerances of fixtures/README.md
    assert np.mean(error < 2e-3) > 0.999
    assert not made.warnings


@needs_fixtures
@CASES
def test_raw_output_equals_the_reference_network(case):
    stored, volume = intermediate(case)
    raw = predict(trained_of(case).network, volume, precision='float32').output[0, 0]
    np.testing.assert_allclose(raw, stored['pred_plain'], atol=1e-4)  # fixtures/README.md


@needs_fixtures
@pytest.mark.parametrize('case', [A, B], ids=['A', 'B'])
def test_input_of_the_network_equals_the_reference(case):
    stored = np.load(FIXTURES / f'intermediate/{case[0]}.npz')
    scan = exam_of(case)[0]
    image, grid = resample_1mm(scan.voxels, scan.grid)
    padded, inside = pad(torch.from_numpy(rescale(image))[None, None], 32)
    np.testing.assert_allclose(padded[0, 0], stored['net_input'], atol=1e-6)
    assert [part.start for part in inside[1:]] == [*stored['idx']]
    np.testing.assert_allclose(grid.vox2ras, stored['resampled_aligned_affine'], atol=1e-5)


@needs_fixtures
@CASES
@pytest.mark.parametrize('precision', HALF_LIMITS)
def test_16_bits_stay_close(case, precision):
    fastest = fastest_precision(torch.device('cpu'))
    if fastest == 'float32' or (fastest, precision) == ('bfloat16', 'float16'):
        pytest.skip(f'this processor is not made for {precision}')
    stored, volume = intermediate(case)
    raw = predict(trained_of(case).network, volume, precision=precision).output[0, 0].numpy()
    error = np.abs(raw - stored['pred_plain']) * stored.get('spread', UNIT)
    largest, mean = HALF_LIMITS[precision]
    assert error.max() < largest
    assert error.mean() < mean


@needs_fixtures
def test_rigid_transform_stands_for_the_header():
    t1w, t2w = exam_of(E)
    motion = rigid(np.array([0.1, -0.2, 0.05]), np.array([8.0, -5, 3]))
    moved = replace(
        t2w, grid=Grid(t2w.grid.shape, np.linalg.inv(motion) @ t2w.grid.vox2ras), scan2ref=motion
    )
    made = synthesize(
        [t1w, moved], output_grid(t1w.grid), trained=trained_of(E), precision='float32'
    )
    expected = load(FIXTURES / f'outputs/{E[2]}.nii.gz').get_fdata()
    np.testing.assert_allclose(made.products[0].voxels, expected, atol=0.02)


@pytest.fixture
def scan() -> Observation:
    voxels = np.random.default_rng(0).random((20, 18, 6)).astype(np.float32) * 500 - 100
    return observe(voxels, Grid((20, 18, 6), np.diag([1.0, 1, 3, 1])))


@pytest.fixture
def general() -> LoadedNetwork[UNet]:
    torch.manual_seed(0)
    return LoadedNetwork(UNet(1, features=2), {'weights': 'net.h5', 'sha256': 'abc'})


@pytest.fixture
def paired() -> LoadedNetwork[UNet]:
    torch.manual_seed(0)
    return LoadedNetwork(UNet(2, features=2))


def test_resampling_equals_scipy():
    rng = np.random.default_rng(3)
    turn = rigid(np.array([0.2, 0.1, -0.3]), np.array([5.0, 6, 7]))
    scan = Grid((11, 9, 8), turn @ np.diag([-0.8, 1.3, 2.6, 1]))
    voxels = rng.random(scan.shape).astype(np.float32)
    image, grid = resample_1mm(voxels, scan)
    smooth = gaussian_filter(voxels.astype(float), [0.25 / 0.8, 0, 0])
    indices = np.moveaxis(np.indices(grid.shape), 0, -1)
    vox2vox = np.linalg.inv(scan.vox2ras) @ grid.vox2ras
    points = indices @ vox2vox[:3, :3].T + vox2vox[:3, 3]
    interpolate = RegularGridInterpolator([*map(np.arange, scan.shape)], smooth)
    expected = interpolate(points.clip(0, np.array(scan.shape) - 1))
    np.testing.assert_allclose(image, expected, atol=1e-5)  # float32
    np.testing.assert_allclose(grid.spacing, 1)
    assert np.diag(grid.vox2ras)[:3].min() > 0.9, 'axes run R, A, S'


@pytest.mark.parametrize(('spacing', 'planes'), [(4.2, 63), (4.2000003, 64), (1.2, 18)])
def test_size_depends_on_rounding_as_in_the_reference(spacing, planes):
    vox2ras = np.diag([1, 1, spacing, 1])
    image, _ = resample_1mm(np.ones((3, 3, 15), np.float32), Grid((3, 3, 15), vox2ras))
    assert image.shape == (3, 3, planes)


def test_flips_commute(scan, general):
    def run(observation: Observation) -> np.ndarray:
        grid = output_grid(observation.grid)
        return synthesize([observation], grid, trained=general).products[0].voxels

    mirrored = replace(scan, voxels=scan.voxels[::-1].copy())
    np.testing.assert_allclose(run(mirrored), run(scan)[::-1], atol=1e-3)


def test_ct_is_cut_to_brain(scan, general):
    grid = output_grid(scan.grid)
    cut = replace(scan, voxels=scan.voxels.clip(0, 80))
    got = synthesize([scan], grid, trained=general, ct=True)
    expected = synthesize([cut], grid, trained=general)
    assert np.array_equal(got.products[0].voxels, expected.products[0].voxels)
    assert got.facts['ct']


def test_general_network_takes_the_reference(scan, general):
    other = replace(scan, contrast='T2w', voxels=scan.voxels + 100)
    made = synthesize([scan, other], output_grid(scan.grid), trained=general)
    assert made.facts['scans'] == ['T1w']
    assert 'the reference' in made.facts['scans_reason']
    assert made.products[0].voxels.min() >= 0


def test_pair_lies_in_the_frame_of_the_reference(scan, paired):
    motion = rigid(np.array([0.1, 0, 0]), np.array([3.0, 0, 0]))
    flair, t2w = replace(scan, contrast='FLAIR'), replace(scan, contrast='T2w')
    t1w = replace(scan, scan2ref=motion)
    made = synthesize([flair, t2w, t1w], output_grid(scan.grid), trained=paired)
    assert made.facts['scans'] == ['T1w', 'T2w']
    assert made.products[0].grid == Grid((20, 18, 18), motion @ output_grid(scan.grid).vox2ras)


def test_provenance_names_the_weights(scan, general):
    made = synthesize([scan], output_grid(scan.grid), trained=general)
    assert general.file.items() <= made.facts.items()


def test_pair_must_be_there(scan, paired):
    with pytest.raises(ValueError, match='takes a T1w and a T2w, the exam has T1w; give'):
        synthesize([scan], scan.grid, trained=paired)
    with pytest.raises(ValueError, match='CT needs the general network'):
        synthesize([scan, scan], scan.grid, trained=paired, ct=True)


@pytest.mark.parametrize(
    ('value', 'words'), [(7, 'All intensities are 7'), (np.nan, 'must all be finite')]
)
def test_voxels_must_tell_something(scan, general, value, words):
    with pytest.raises(ValueError, match=words):
        synthesize([replace(scan, voxels=scan.voxels * 0 + value)], scan.grid, trained=general)


def test_own_grid_and_unusual_scans_are_told(scan, general, paired):
    made = synthesize([scan], output_grid(scan.grid, 2.0), trained=general)
    assert 'not on the output grid' in made.warnings[0]
    made = synthesize([scan, replace(scan, contrast='T2w')], made.products[0].grid, trained=paired)
    assert len(made.warnings) == 1
    assert 'for scans of 1.5 x 1.5 x 5 mm; these have 1.0 x 1.0 x 3.0 and' in made.warnings[0]


def test_tiles_change_nothing(general, monkeypatch):
    monkeypatch.setattr(synthsr, 'LOW_MEM_VOXELS', 32 * 32 * 256)
    voxels = np.random.default_rng(1).random((260, 20, 20)).astype(np.float32)
    scan = observe(voxels, Grid(voxels.shape, np.eye(4)))
    whole, tiled = (
        synthesize([scan], scan.grid, trained=general, low_mem=low_mem, precision='float32')
        for low_mem in (False, True)
    )
    assert tiled.facts['tiles'] > whole.facts['tiles']
    np.testing.assert_allclose(tiled.products[0].voxels, whole.products[0].voxels, atol=1e-3)
