import json

import numpy as np
import pytest
import torch

from bids_synthsr.imaging.forward_model import AcquisitionOperator, acquire
from bids_synthsr.imaging.geometry import output_grid, rigid
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.methods.total_variation import (
    DataTerm,
    conjugate_gradients,
    gradient,
    gradient_adjoint,
    joint_variation,
    minimise,
    objective,
    shrinkage,
    synthesize,
)
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation

HEAD = Grid((20, 20, 20), np.eye(4))
MOTION = rigid(np.array([0.06, -0.05, 0.04]), np.array([0.6, -0.4, 0.3]), HEAD.center)


def draw_head(shades: tuple[float, float, float] = (100, 60, 20)) -> np.ndarray:
    """Three balls in each other, air around them."""
    i, j, k = np.ogrid[:20, :20, :20]
    distance = np.sqrt((i - 9.3) ** 2 + 1.3 * (j - 9.6) ** 2 + 0.8 * (k - 9.9) ** 2)
    head = np.zeros(HEAD.shape, np.float32)
    for radius, shade in zip((8.2, 6, 3.3), shades, strict=True):
        head[distance < radius] = shade
    return head


def scan(
    contrast: str,
    head: np.ndarray,
    axis: int = 2,
    spacing: float = 4,
    noise: float = 0,
    head2scan: np.ndarray | None = None,
) -> Observation:
    """Scan a head on `HEAD` with slices that cover it edge to edge."""
    step = np.where(np.arange(3) == axis, spacing, 1)
    vox2ras = np.diag([*step, 1.0])
    vox2ras[:3, 3] = (step - 1) / 2
    shape = (np.array(head.shape) / step).astype(int)
    grid = Grid((int(shape[0]), int(shape[1]), int(shape[2])), vox2ras)
    slices = Acquisition(axis, spacing, spacing)
    motion = np.eye(4) if head2scan is None else head2scan
    voxels = acquire(head, HEAD, grid, slices, motion)
    voxels += noise * np.random.default_rng(0).standard_normal(grid.shape, np.float32)
    return Observation(contrast, np.abs(voxels), grid, slices, np.linalg.inv(motion))


def error(voxels: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean((voxels - truth) ** 2)))


@pytest.fixture
def term():
    seen = scan('T1w', draw_head() / 100, spacing=4, noise=0.02, head2scan=MOTION)
    operator = AcquisitionOperator(HEAD, seen.grid, seen.acquisition, MOTION)
    return DataTerm([operator], [seen.voxels], [0.02])


# The prior


def test_gradient_is_adjoint():
    generator = torch.Generator().manual_seed(0)
    x, field = (
        torch.rand(6, 5, 4, generator=generator),
        torch.rand(3, 6, 5, 4, generator=generator),
    )
    torch.testing.assert_close((gradient(x) * field).sum(), (x * gradient_adjoint(field)).sum())


def test_variation_of_constants_and_steps():
    volumes = torch.ones(2, 6, 5, 4)
    assert joint_variation(volumes) == 0
    volumes[0, 3:] += 3
    volumes[1, 3:] += 4
    assert joint_variation(volumes) == pytest.approx(5 * 20)  # a face of 5 x 4, a step of (3, 4)


def test_edges_in_one_place_cost_less():
    together, apart = torch.zeros(2, 2, 8, 8, 8)
    together[:, 3:] = 1
    apart[0, 3:] = apart[1, 5:] = 1
    assert joint_variation(together) < joint_variation(apart)


def test_shrinkage_is_proximal():
    """Its result minimises ``t |z| + |z - v|² / 2``; what it takes is in the ball of ``t``."""
    generator, threshold = torch.Generator().manual_seed(0), 0.7
    v = torch.randn(50, 6, dtype=torch.float64, generator=generator)
    z = shrinkage(v.norm(dim=1), threshold)[:, None] * v

    def cost(z):
        return threshold * z.norm(dim=1) + (z - v).square().sum(1) / 2

    for _ in range(20):
        other = z + 0.1 * torch.randn(z.shape, dtype=torch.float64, generator=generator)
        assert (cost(z) <= cost(other)).all()
    assert (v - z).norm(dim=1).max() <= threshold + 1e-12  # rounding
    assert not z[v.norm(dim=1) <= threshold].any()


# The data


def test_gradient_of_the_data_term(term):
    generator = torch.Generator().manual_seed(0)
    x, direction = torch.rand(2, *HEAD.shape, generator=generator)
    slope = float(((term.hessian(x) - term.pull()) * direction).sum(dtype=torch.float64))
    # central differences of a quadratic are exact: any step large enough for float32 will do
    difference = (term.value(x + direction) - term.value(x - direction)) / 2
    assert difference == pytest.approx(slope, rel=1e-4)


def test_data_term_is_zero_at_the_truth():
    seen = scan('T1w', draw_head(), head2scan=MOTION)
    operator = AcquisitionOperator(HEAD, seen.grid, seen.acquisition, MOTION)
    term = DataTerm([operator], [seen.voxels], [1])
    assert term.value(torch.from_numpy(draw_head())) == pytest.approx(0, abs=1e-6)


# The solver


def test_conjugate_gradients_solve():
    generator = torch.Generator().manual_seed(0)
    root = torch.rand(5, 5, dtype=torch.float64, generator=generator)
    matrix, right = root @ root.T + torch.eye(5), torch.ones(5, dtype=torch.float64)
    solution = conjugate_gradients(matrix.mv, right, matrix.diagonal(), 5)
    torch.testing.assert_close(matrix @ solution, right)


def test_conjugate_gradients_stop_at_the_solution():
    ones = torch.ones(5)
    torch.testing.assert_close(conjugate_gradients(torch.clone, ones, ones, 5), ones)
    assert not conjugate_gradients(torch.clone, 0 * ones, ones, 5).any()


def test_objective_decreases(term):
    start = torch.zeros(1, *HEAD.shape)
    values = [objective([term], start, 4)]
    for iterations in (1, 2, 4, 8, 16):
        solution = minimise([term], start, 4, tolerance=0, max_iterations=iterations)
        assert solution.iterations == iterations
        values.append(objective([term], solution.volumes, 4))
    assert values == sorted(values, reverse=True)


def test_minimum_is_a_minimum(term):
    """No direction leads down: towards smoother, rougher, or random volumes."""
    solution = minimise([term], torch.zeros(1, *HEAD.shape), 4, 1e-5, 300)
    x, lowest = solution.volumes, objective([term], solution.volumes, 4)
    generator = torch.Generator().manual_seed(0)
    for other in (x.mean(), torch.zeros(1), torch.rand(x.shape, generator=generator)):
        for share in (-1e-2, 1e-2):
            assert objective([term], x + share * (other - x), 4) >= lowest


def test_strength_must_be_positive(term):
    with pytest.raises(ValueError, match='must be positive, not 0'):
        minimise([term], torch.zeros(1, *HEAD.shape), 0)


# The method


def test_scan_on_the_grid_without_noise_is_returned():
    seen = scan('T1w', draw_head(), spacing=1)
    (product,) = synthesize([seen], HEAD).products
    assert (product.suffix, product.desc, product.grid) == ('T1w', 'tv', HEAD)
    # a noise of 1/1000 is assumed, whose square the prior weighs against
    np.testing.assert_allclose(product.voxels, draw_head(), atol=0.1)


def test_constant_scan_stays_constant():
    seen = scan('T1w', np.full(HEAD.shape, 50, np.float32))
    (product,) = synthesize([seen], HEAD).products
    # float32 rounding, weighed as a misfit in units of the smallest noise, 1/1000
    np.testing.assert_allclose(product.voxels, 50, rtol=1e-3)


@pytest.fixture(scope='module')
def exam():
    return [
        scan('FLAIR', draw_head(), 0, noise=2),
        scan('T1w', draw_head((30, 60, 100)), 2, noise=2, head2scan=MOTION),
        scan('FLAIR', draw_head() * 2, 1, noise=4, head2scan=np.linalg.inv(MOTION)),
    ]


def test_beats_cubic_interpolation(exam):
    synthesis = synthesize(exam, HEAD)
    assert [made.suffix for made in synthesis.products] == ['FLAIR', 'T1w']
    for made, seen in zip(synthesis.products, exam[:2], strict=True):
        truth = draw_head() if made.suffix == 'FLAIR' else draw_head((30, 60, 100))
        cubic = resample(seen.voxels, seen.grid, HEAD, seen.scan2ref, order=3)
        assert error(made.voxels, truth) < 0.8 * error(cubic, truth)


def test_other_contrasts_help(exam):
    alone, together = (synthesize(scans, HEAD).products[0] for scans in (exam[1:2], exam[1::-1]))
    truth = draw_head((30, 60, 100))
    assert error(together.voxels, truth) < error(alone.voxels, truth)


def test_facts_and_warnings(exam):
    done = synthesize(exam, HEAD)
    assert done.facts['objective'] < done.facts['objective_at_start']
    assert done.facts['relative_change'] < 2e-3
    assert [found['contrast'] for found in done.facts['estimates']] == ['FLAIR', 'T1w', 'FLAIR']
    # the noise of 2 is found among the edges of a small phantom
    assert all(1 < found['noise_sd'] < 6 for found in done.facts['estimates'])
    json.dumps(done.facts)
    assert not done.warnings
    cut = synthesize(exam, HEAD, max_iterations=1)
    assert cut.facts['iterations'] == 1
    assert 'stopped after 1 iterations' in cut.warnings[0]


def test_scale_of_intensities_does_not_matter(exam):
    louder = [
        Observation(seen.contrast, 100 * seen.voxels, seen.grid, seen.acquisition, seen.scan2ref)
        for seen in exam
    ]
    for loud, made in zip(
        synthesize(louder, HEAD).products, synthesize(exam, HEAD).products, strict=True
    ):
        np.testing.assert_allclose(loud.voxels, 100 * made.voxels, atol=1)  # of 10,000


def test_stronger_is_smoother(exam):
    made = [synthesize(exam[:1], HEAD, strength=strength).products[0] for strength in (1, 4, 16)]
    variations = [joint_variation(torch.from_numpy(each.voxels)[None]) for each in made]
    assert variations == sorted(variations, reverse=True)


def test_output_is_not_negative_and_zero_out_of_view(exam):
    wide = Grid((20, 20, 30), np.eye(4))
    for made in synthesize(exam[:2], wide).products:
        assert made.voxels.shape == wide.shape
        assert made.voxels.dtype == np.float32
        assert made.voxels.min() >= 0
        assert not made.voxels[..., 24:].any()


def test_negative_scans_stay_negative():
    seen = scan('T1w', draw_head(), spacing=1)
    shifted = Observation('T1w', seen.voxels - 10, seen.grid, seen.acquisition, seen.scan2ref)
    (product,) = synthesize([shifted], HEAD).products
    np.testing.assert_allclose(product.voxels, draw_head() - 10, atol=0.1)


@pytest.mark.parametrize('spacing', [1, 2])
def test_fine_scan_on_coarse_grids(spacing):
    fine = Grid((40, 40, 5), np.diag([0.5, 0.5, 4, 1]))
    fine.vox2ras[:3, 3] = -0.25, -0.25, 1.5  # edge to edge with the head
    slices = Acquisition(2, 4, 4)
    seen = Observation('T1w', acquire(draw_head(), HEAD, fine, slices), fine, slices, np.eye(4))
    grid = output_grid(fine, spacing)
    (product,) = synthesize([seen], grid).products
    truth = resample(draw_head(), HEAD, grid)
    assert error(product.voxels, truth) < error(resample(seen.voxels, fine, grid, order=3), truth)
