"""The closed-form field: kriging, its choice, its draws and its calibration."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from geodiffrecon.field.choice import Raw, choose, left_groups
from geodiffrecon.field.covariance import Covariance, Memory, Sites
from geodiffrecon.field.field import Field
from geodiffrecon.field.kriging import Factor, Readings, matrix
from geodiffrecon.field.large import LargeField
from geodiffrecon.field.neighbours import Neighbourhood, free_draws, previous
from geodiffrecon.field.predictive import Predictive, Shape, fit_shape
from geodiffrecon.field.transform import Transform


def sites(xy, about=None):
    about = xy if about is None else about
    return Sites(xy, (xy - about.mean(axis=0)) / about.std(axis=0))


def simulated(known, xy, seed=0):
    """Values of a Gaussian field with nugget at places in km."""
    total = matrix(known, Readings(sites(xy), np.ones(len(xy))), 1.0)
    rng = np.random.default_rng(seed)
    return np.linalg.cholesky(total) @ rng.standard_normal(len(xy))


def places(n, size, seed=0):
    return np.random.default_rng(seed).random((n, 2)) * size


def test_kriging_is_that_of_pykrige():
    kriging = pytest.importorskip("pykrige.ok")
    xy, wanted = places(40, 30.0), places(25, 30.0, seed=1)
    known = Covariance(nu=0.5, scale=4.0, nugget=0.2)
    values = simulated(known, xy)
    oracle = kriging.OrdinaryKriging(
        *xy.T, values, variogram_model="exponential",
        variogram_parameters={"psill": 1.6, "range": 12.0, "nugget": 0.4},
    )  # fmt: skip
    mean, variance = oracle.execute("points", *wanted.T)
    factor = Factor(known, Readings(sites(xy), np.ones(40)), values[:, None], sill=2.0)
    ours, spread = factor.predict(sites(wanted, xy), 0)
    np.testing.assert_allclose(ours, mean, rtol=1e-6)
    np.testing.assert_allclose(spread, variance, rtol=1e-6)


def exact(known, xy, values, wanted, sill, noise):
    """Posterior mean and covariance by the textbook, under a flat level."""
    n = len(xy)
    inner = matrix(known, Readings(sites(xy), np.ones(n), noise), sill)
    cross = sill * known.between(sites(xy), sites(wanted, xy))
    inverse, one = np.linalg.inv(inner), np.ones(n)
    level = one @ inverse @ values / (one @ inverse @ one)
    mean = level + cross.T @ inverse @ (values - level)
    short = 1 - one @ inverse @ cross
    own = sill * (known.between(*(sites(wanted, xy),) * 2) + known.nugget * np.eye(len(wanted)))
    covariance = own - cross.T @ inverse @ cross + np.outer(short, short) / (one @ inverse @ one)
    return mean, covariance


def test_readings_of_two_known_errors_weigh_as_their_noise_matrix_says():
    xy, wanted = places(60, 20.0), places(30, 20.0, seed=1)
    known = Covariance(nu=1.5, scale=3.0, nugget=0.1, ratio=2.0, angle=0.5, trend=1.0)
    noise = np.where(np.arange(60) < 30, 0.01, 0.8)
    values = simulated(known, xy) + np.sqrt(noise) * np.random.default_rng(3).standard_normal(60)
    factor = Factor(known, Readings(sites(xy), np.ones(60), noise), values[:, None], sill=1.3)
    mean, covariance = exact(known, xy, values, wanted, 1.3, noise)
    ours, spread = factor.predict(sites(wanted, xy), 0)
    joint_mean, joint = factor.joint(sites(wanted, xy), 0)
    np.testing.assert_allclose(ours, mean, atol=1e-8)
    np.testing.assert_allclose(spread, np.diagonal(covariance), atol=1e-8)
    np.testing.assert_allclose(joint_mean, mean, atol=1e-8)
    np.testing.assert_allclose(joint, covariance, atol=1e-8)


def test_a_field_with_errors_is_that_kriging_in_raw_units():
    xy, wanted = places(40, 20.0), places(20, 20.0, seed=1)
    error = np.where(np.arange(40) < 20, 0.2, 3.0)
    values = 50 + 4 * simulated(Covariance(1.5, 4.0, 0.05), xy)
    raw = Raw(sites(xy), values, np.ones(40), error)
    choice = choose(raw, kind="real", transforms=["none"])
    field = Field(raw, choice, np.arange(40))
    mean, _ = field.predict(sites(wanted, xy)).moments()
    unit = choice.transform.spread
    expected = sum(
        weight * exact(known, xy, values, wanted, sill * unit**2, error**2)[0]
        for weight, known, sill in choice.parts
    )
    np.testing.assert_allclose(mean, expected, rtol=1e-8)


@pytest.mark.parametrize("groups", [None, [np.arange(0, 5), np.arange(5, 30)]])
def test_what_is_left_out_is_predicted_from_the_rest(groups):
    xy = places(30, 10.0)
    known = Covariance(nu=1.5, scale=2.0, nugget=0.15, trend=1.0)
    values = simulated(known, xy)
    whole = Readings(sites(xy), np.ones(30))
    mean, variance = Factor(known, whole, values[:, None], sill=1.0).left_out(0, groups)
    for group in groups or [np.array([3]), np.array([17])]:
        rest = np.setdiff1d(np.arange(30), group)
        factor = Factor(known, whole[rest], values[rest, None], sill=1.0)
        ours, spread = factor.predict(whole.sites[group], 0)
        np.testing.assert_allclose(mean[group], ours, atol=1e-6)
        np.testing.assert_allclose(variance[group], spread, atol=1e-6)


def test_draws_have_the_moments_of_the_exact_posterior():
    xy, wanted = places(30, 10.0), places(12, 10.0, seed=1)
    values = simulated(Covariance(1.5, 3.0, 0.05), xy)
    raw = Raw(sites(xy), values, np.ones(30))
    field = Field(raw, choose(raw, kind="real", transforms=["none"]), np.arange(30))
    normals = np.random.default_rng(0).standard_normal((500, field.own + 12))
    drawn = field.draws(sites(wanted, xy), normals)
    mean, std = field.predict(sites(wanted, xy)).moments()
    assert np.abs(drawn.mean(axis=0) - mean).max() < 4 * std.max() / np.sqrt(500)
    np.testing.assert_allclose(drawn.std(axis=0), std, rtol=0.15)
    unit = field.choice.transform.spread
    covariance = sum(w * f.joint(sites(wanted, xy), 0)[1] for w, f in field.parts)
    expected = covariance / np.sqrt(np.outer(*(np.diagonal(covariance),) * 2))
    assert np.abs(np.corrcoef(drawn.T) - expected).max() < 4 / np.sqrt(500)
    assert unit > 0


@pytest.mark.parametrize("memory", [None, Memory(2.0, 0.5, 0.6, 1.0)])
def test_draws_from_neighbours_have_the_covariance_of_the_exact_ones(memory):
    xy, wanted = places(120, 20.0), places(40, 20.0, seed=1)
    known = Covariance(nu=1.5, scale=4.0, nugget=0.05, trend=0.5, memory=memory)
    values = simulated(replace(known, memory=None), xy)
    seen, there = sites(xy), sites(wanted, xy)
    if memory is not None:  # readings of three dates, two of them at the same places
        xy[40:80] = xy[:40]
        seen = replace(sites(xy), days=np.repeat([0.0, 1.0, 2.0], 40))
        there = replace(there, days=np.full(40, 1.0))
        there.xy[:5] = xy[:5]
    factor = Factor(known, Readings(seen, np.ones(120)), values[:, None])
    normals = np.random.default_rng(0).standard_normal((4000, 2 + 120 + 40))
    drawn = factor.conditioned(there, 0, *free_draws(factor, there, normals))
    mean, covariance = factor.joint(there, 0)
    largest = np.diagonal(covariance).max()
    assert np.abs(drawn.mean(axis=0) - mean).max() < 0.08 * np.sqrt(largest)
    assert np.abs(np.cov(drawn.T) - covariance).max() < 0.1 * largest


def test_the_large_form_agrees_with_the_exact_one_to_one_per_cent():
    xy, wanted = places(1500, 50.0), places(400, 50.0, seed=1)
    known = Covariance(nu=1.5, scale=3.0, nugget=0.1, ratio=2.0, angle=0.7)
    factor = Factor(known, Readings(sites(xy), np.ones(1500)), simulated(known, xy)[:, None])
    mean, variance = factor.predict(sites(wanted, xy), 0)
    weights = np.linalg.solve(matrix(known, factor.readings, 1.0), np.ones(1500))
    level = weights @ factor.values[:, 0] / weights.sum()
    near = Neighbourhood(
        known, factor.readings, factor.values[:, 0] - level, float(factor.variances[0]),
        np.array([level, 0.0, 0.0]),
    )  # fmt: skip
    ours, spread = near.predict(sites(wanted, xy))
    assert np.sqrt(np.mean((ours - mean) ** 2) / variance.mean()) < 0.01
    assert np.abs(np.sqrt(spread / variance) - 1).max() < 0.01


def test_the_large_form_finds_the_covariance_it_was_made_with():
    known = Covariance(nu=1.5, scale=2.0, nugget=0.1, ratio=3.0, angle=0.6)
    xy = places(2400, 40.0)
    raw = Raw(sites(xy), simulated(known, xy), np.ones(2400))
    found = LargeField.of(raw, kind="real", transforms=["none"]).choice.best
    assert found.scale == pytest.approx(2.0, rel=0.3)
    assert found.ratio == pytest.approx(3.0, rel=0.35)
    assert found.angle == pytest.approx(0.6, abs=0.2)


def test_places_before_are_the_nearest_ones():
    xy = places(700, 10.0)
    near = previous(xy, 10)
    for row in (300, 699):
        far = np.linalg.norm(xy[:row] - xy[row], axis=1)
        own = np.linalg.norm(xy[near[row]] - xy[row], axis=1)
        np.testing.assert_allclose(np.sort(own), np.sort(far)[:10])
    assert set(near[3]) == {0, 1, 2, -1}


def test_direction_is_seen_where_the_field_has_one_only():
    xy = places(150, 30.0)
    flat, long = Covariance(1.5, 3.0, 0.05), Covariance(1.5, 3.0, 0.05, ratio=6.0, angle=0.8)
    plain, turned = (
        choose(Raw(sites(xy), simulated(k, xy, seed=4), np.ones(150)), kind="real").best
        for k in (flat, long)
    )
    assert plain.ratio == 1.0
    assert turned.ratio > 2.0
    assert turned.angle == pytest.approx(np.pi / 4, abs=0.01)


def test_skewed_values_are_not_mapped_as_they_are():
    xy = places(100, 30.0)
    values = np.exp(1.2 * simulated(Covariance(1.5, 5.0, 0.05), xy))
    assert choose(Raw(sites(xy), values, np.ones(100))).transform.kind in ("log", "scores")
    assert choose(Raw(sites(xy), values, np.ones(100)), kind="real").transform.floor == -np.inf


@pytest.mark.parametrize("kind", ["none", "sqrt", "log", "scores"])
def test_another_unit_changes_a_map_by_its_factor_only(kind):
    xy, wanted = places(60, 20.0), places(10, 20.0, seed=1)
    values = np.exp(simulated(Covariance(1.5, 4.0, 0.05), xy))
    told = []
    for factor in (1.0, 1000.0):
        raw = Raw(sites(xy), factor * values, np.ones(60))
        field = Field(raw, choose(raw, transforms=[kind]), np.arange(60))
        mean, std = field.predict(sites(wanted, xy)).moments()
        told.append(np.stack([mean, std]) / factor)
    np.testing.assert_allclose(told[1], told[0], rtol=1e-6)


def test_moments_after_a_logarithm_are_those_of_a_log_normal():
    log = Transform("log", centre=1.0, spread=0.7, floor=0.0)
    told = Predictive(np.array([0.3]), np.array([0.9]), log, Shape())
    mean, std = told.moments()
    m, v = 1.0 + 0.7 * 0.3, (0.7 * 0.9) ** 2
    assert mean[0] == pytest.approx(np.exp(m + v / 2), rel=1e-8)
    assert std[0] == pytest.approx(np.exp(m + v / 2) * np.sqrt(np.exp(v) - 1), rel=1e-6)


@pytest.mark.parametrize("kind", ["none", "sqrt", "log", "scores"])
def test_moments_quantiles_and_chances_are_those_of_draws(kind):
    values = np.random.default_rng(0).gamma(2.0, 5.0, 80)
    told = Predictive(
        np.array([0.4]), np.array([0.6]), Transform.of(kind, values, floor=0.0), Shape(1.1, 0.05)
    )
    error = told.shape.of(norm.ppf((np.arange(200_000) + 0.5) / 200_000))
    raw = told.transform.inverse(0.4 + 0.6 * error)
    mean, std = told.moments()
    assert mean[0] == pytest.approx(raw.mean(), rel=2e-3)
    assert std[0] == pytest.approx(raw.std(), rel=1e-2)
    assert told.quantile(0.9)[0] == pytest.approx(np.quantile(raw, 0.9), rel=1e-3)
    assert told.above(8.0)[0] == pytest.approx(np.mean(raw > 8.0), abs=1e-3)
    rank = (2 * np.arange(1, 200_001) - 200_001) / 200_000
    crps = np.abs(raw - 9.0).mean() - (rank * np.sort(raw)).mean()
    assert told.crps(np.array([9.0]))[0] == pytest.approx(crps, rel=0.06)


def test_left_out_errors_that_are_too_large_widen_what_is_stated():
    errors = np.random.default_rng(0).standard_normal(300)
    assert fit_shape(errors).width == pytest.approx(1.0, abs=0.1)
    assert fit_shape(1.5 * errors).width == pytest.approx(1.5, rel=0.12)


def test_clusters_are_left_out_whole_and_even_points_one_by_one():
    middles = places(8, 100.0)
    xy = np.repeat(middles, 10, axis=0) + 0.1 * places(80, 1.0, seed=2)
    groups = left_groups(sites(xy))
    assert groups is not None
    assert sorted(np.concatenate(groups)) == list(range(80))
    assert left_groups(sites(places(80, 100.0))) is None


def test_a_date_is_mapped_with_what_the_others_teach():
    xy, rng = places(12, 10.0), np.random.default_rng(0)
    pattern, days = 3 * simulated(Covariance(1.5, 3.0, 0.01), xy), np.arange(8.0)
    values = (pattern + rng.standard_normal(8)[:, None]) + 0.1 * rng.standard_normal((8, 12))
    hidden = 8 * 12 - 1  # one place on the last date
    at = Sites(np.tile(xy, (8, 1)), np.tile(sites(xy).features, (8, 1)), np.repeat(days, 12))
    raw = Raw(at, values.ravel(), np.ones(96))[np.arange(hidden)]
    field = Field(raw, choose(raw, kind="real", transforms=["none"]), np.arange(hidden))
    mean, std = field.predict(at[np.array([hidden])]).moments()
    assert abs(mean[0] - values[-1, -1]) < 0.6
    assert std[0] < 0.5 * values.std()
