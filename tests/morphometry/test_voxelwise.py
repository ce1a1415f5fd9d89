"""Tests of voxels against brute force, against nilearn, and against what is known."""

import numpy as np
import pytest
from nilearn.mass_univariate import permuted_ols
from scipy import ndimage

from bids_synthsr.morphometry.voxelwise import VoxelModel, compare_voxels, find_clusters

COUNT = 20
IS_SECOND = np.arange(COUNT) >= COUNT // 2


@pytest.fixture
def sample():
    """Values with a strong covariate, which tells true Freedman-Lane from shorter ways."""
    random = np.random.default_rng(0)
    covariates = random.normal(size=(COUNT, 2))
    values = random.normal(size=(COUNT, 300)) + 3 * covariates[:, :1] + 50
    return values, covariates


def brute_force_t(values, covariates):
    design = np.column_stack([IS_SECOND, np.ones(COUNT), covariates])
    weights = np.linalg.pinv(design) @ values
    rest = values - design @ weights
    variance = (rest**2).sum(0) / (COUNT - design.shape[1])
    return weights[0] / np.sqrt(variance * np.linalg.inv(design.T @ design)[0, 0])


def test_t_is_that_of_least_squares(sample):
    np.testing.assert_allclose(
        VoxelModel(sample[0], IS_SECOND, sample[1]).t(), brute_force_t(*sample), atol=2e-4
    )


def test_permutations_are_those_of_freedman_and_lane(sample):
    values, covariates = sample
    fixed = np.column_stack([np.ones(COUNT), covariates])
    expected = fixed @ np.linalg.pinv(fixed) @ values
    rest = values - expected
    model = VoxelModel(values, IS_SECOND, covariates)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(COUNT)
        known = brute_force_t(rest[order] + expected, covariates)
        np.testing.assert_allclose(model.t(order), known, atol=2e-4)
        short = brute_force_t(values[order], covariates)  # raw data permuted, as Manly has it
        assert abs(short - known).max() > 0.3


def test_it_agrees_with_nilearn(sample):
    values, covariates = sample
    found = permuted_ols(
        IS_SECOND[:, None] * 1.0, values, covariates, n_perm=0, model_intercept=True, verbose=0
    )
    known = found['t'] if isinstance(found, dict) else found[1]
    model = VoxelModel(values, IS_SECOND, covariates)
    np.testing.assert_allclose(model.t(), np.ravel(known), atol=2e-4)


@pytest.fixture
def maps():
    """Smooth noise in a ball, and where the second group differs in it."""
    random = np.random.default_rng(1)
    shape = (24, 24, 24)
    x = np.indices(shape) - 11.5
    mask = (x**2).sum(0) < 11**2
    place = ((x - np.array([4, 0, 0])[:, None, None, None]) ** 2).sum(0) < 3.5**2
    noise = np.stack([ndimage.gaussian_filter(random.normal(size=shape), 1.5) for _ in range(24)])
    return noise / noise.std(), mask, place


def compared(values, mask, is_second, permutations=200):
    none = np.zeros((len(values), 0))
    return compare_voxels(values[:, mask], is_second, none, mask, permutations, seed=1)


def test_what_differs_is_found_where_it_is(maps):
    noise, mask, place = maps
    is_second = np.arange(24) % 2 == 1
    values = noise - 2.5 * np.multiply.outer(is_second, place)
    effects = compared(values, mask, is_second)
    inside = place[mask]
    assert (effects.p_cluster[inside] < 0.05).mean() > 0.8
    assert effects.t[inside].mean() < 0 and effects.g[inside].mean() < -1
    assert (effects.p_voxel[~inside & (effects.p_cluster > 0.05)] > 0.05).all()
    volumes = [np.zeros(mask.shape), np.zeros(mask.shape), np.ones(mask.shape)]
    for volume, found in zip(volumes, (effects.t, effects.g, effects.p_cluster), strict=True):
        volume[mask] = found
    cluster, *others = find_clusters(*volumes)
    assert place[cluster.peak] and cluster.t < 0 and not others
    again = compared(values, mask, is_second)
    np.testing.assert_array_equal(effects.p_cluster, again.p_cluster)


def test_chance_is_found_as_rarely_as_promised(maps):
    noise, mask, _ = maps
    random = np.random.default_rng(2)
    hits = 0
    for _ in range(20):
        effects = compared(noise, mask, random.permutation(24) % 2 == 1, 40)
        hits += effects.p_cluster.min() < 0.05 or effects.p_voxel.min() < 0.05
    assert hits <= 5  # of 20, by two tests that are alike: 1 to 2 are expected


def test_voxels_that_never_vary_say_nothing(maps):
    noise, mask, _ = maps
    values = noise.copy()
    values[:, 12, 12, 12] = 0
    effects = compared(values, mask, np.arange(24) % 2 == 1, 20)
    at = (
        np.flatnonzero(mask.ravel()).tolist().index(np.ravel_multi_index((12, 12, 12), mask.shape))
    )
    assert effects.t[at] == 0 and effects.p_voxel[at] == 1
    assert all(np.isfinite(x).all() for x in (effects.t, effects.g, effects.q_rank))


def test_group_and_covariate_that_are_one_are_refused(sample):
    with pytest.raises(ValueError, match='cannot be told apart'):
        VoxelModel(sample[0], IS_SECOND, IS_SECOND[:, None] * 2.0)
