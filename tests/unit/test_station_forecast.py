import numpy as np
import pytest
import scoringrules
import torch

from geodiffrecon.errors import InvalidParameter
from geodiffrecon.stations.forecast import (
    LEVELS,
    JoinedForecast,
    Power,
    SiteForecast,
    fit_shape,
    standard_cdf,
    standard_quantile,
)

REAL, ROOT = Power(signed=True), Power(0.5)
HOURS = np.arange("2024-01-01T00", "2024-01-01T06", dtype="M8[h]").astype("M8[ns]")
SKEWED = fit_shape(np.random.default_rng(1).gamma(2.0, size=20_000) - 2.0)


def forecast(power=ROOT, shape=(), seed=0, **options):
    rng = np.random.default_rng(seed)
    location, scale = rng.uniform(4, 9, (6, 3)), rng.uniform(0.3, 1, (6, 3))
    return SiteForecast(HOURS, location, scale, power, shape, **options)


def test_levels_are_odd_in_number_and_symmetric():
    assert len(LEVELS) % 2 == 1
    assert np.allclose(np.array(LEVELS) + np.array(LEVELS)[::-1], 1)
    assert (LEVELS[0], LEVELS[-1]) == (0.002, 0.998)


def test_the_crps_of_a_gaussian_is_that_of_scoringrules():
    found = forecast(REAL)
    truth = np.random.default_rng(3).normal(6, 2, (6, 3))
    wanted = scoringrules.crps_normal(truth, found.location, found.scale)
    assert found.crps(truth) == pytest.approx(wanted, rel=0.01, abs=1e-3)


@pytest.mark.parametrize("shape", [(), SKEWED])
def test_the_crps_in_square_roots_is_that_of_many_draws(shape):
    found = forecast(ROOT, shape)
    levels = np.random.default_rng(5).random(20_000)
    z = standard_quantile(levels, shape)
    draws = ROOT.inverse(found.location[..., None] + found.scale[..., None] * z)
    truth = np.full((6, 3), 40.0)
    wanted = scoringrules.crps_ensemble(truth, draws, estimator="pwm")
    assert found.crps(truth) == pytest.approx(wanted, rel=0.02, abs=0.02)
    assert found.mean == pytest.approx(draws.mean(axis=-1), rel=0.01)
    assert found.std == pytest.approx(draws.std(axis=-1), rel=0.03)


def test_moments_of_a_squared_gaussian():
    found = forecast()
    mean, variance = found.location, found.scale**2
    assert found.mean == pytest.approx(mean**2 + variance, rel=1e-3)
    assert found.std == pytest.approx(np.sqrt(2 * variance**2 + 4 * mean**2 * variance), rel=0.01)


@pytest.mark.parametrize("shape", [(), SKEWED])
def test_the_distribution_function_inverts_quantiles_far_into_the_tails(shape):
    levels = np.array([1e-5, 1e-3, 0.002, 0.04, 0.5, 0.93, 0.998, 0.9995, 1 - 1e-6])
    z = standard_quantile(levels, shape)
    assert (np.diff(z) > 0).all()
    assert standard_cdf(z, shape) == pytest.approx(levels, rel=1e-6)
    found = forecast(shape=shape)
    assert found.cdf(found.quantile(0.97)) == pytest.approx(np.full((6, 3), 0.97))
    assert found.exceedance(30.0) == pytest.approx(1 - found.cdf(np.full((6, 3), 30.0)))


def test_below_the_bound_there_is_nothing_and_at_it_a_mass():
    found = SiteForecast(HOURS[:1], np.zeros((1, 1)), np.ones((1, 1)), ROOT)
    assert found.cdf(np.array([[-1.0]])) == 0
    assert found.cdf(np.array([[0.0]])) == pytest.approx(0.5)
    assert found.median == 0
    many = SiteForecast(HOURS[:1], np.zeros((1, 4000)), np.ones((1, 4000)), ROOT)
    pit = many.pit(np.zeros((1, 4000)), seed=0)
    assert np.quantile(pit, [0, 0.5, 1]) == pytest.approx([0, 0.25, 0.5], abs=0.02)


def test_a_pit_of_values_from_the_forecast_is_uniform():
    rng = np.random.default_rng(2)
    location = rng.uniform(3, 8, (400, 5))
    times = np.arange(400).astype("M8[h]").astype("M8[ns]")
    found = SiteForecast(times, location, np.ones((400, 5)), ROOT)
    truth = ROOT.inverse(location + rng.standard_normal((400, 5)))
    assert np.quantile(found.pit(truth, 0), [0.1, 0.5, 0.9]) == pytest.approx(
        [0.1, 0.5, 0.9], abs=0.03
    )


def test_what_is_unknown_stays_unknown():
    found = forecast()
    truth = np.full((6, 3), 30.0)
    truth[2, 1] = np.nan
    for scores in (found.crps(truth), found.pit(truth, 0), found.cdf(truth)):
        assert np.isnan(scores[2, 1])
        assert np.isnan(scores).sum() == 1
    location = found.location.copy()
    location[0, 0] = np.nan
    said = SiteForecast(HOURS, location, found.scale, ROOT, SKEWED)
    for values in (said.median, said.mean, said.std, said.exceedance(20.0)):
        assert np.isnan(values).sum() == 1


def test_powers_go_both_ways_for_arrays_and_tensors():
    cube = Power(1 / 3)
    assert cube.inverse(cube.forward(np.array([8.0]))) == pytest.approx([8.0])
    assert cube.forward(torch.tensor([-1.0, 8.0])).tolist() == pytest.approx([0.0, 2.0])
    assert REAL.forward(np.array([-3.0])) == [-3.0]


@pytest.mark.parametrize("exponent", [0.0, -1.0, 1.5, float("nan")])
def test_an_exponent_outside_its_range_is_refused(exponent):
    with pytest.raises(InvalidParameter, match=r"must lie in \(0, 1\]"):
        Power(exponent)


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(InvalidParameter, match=r"\(6, 2\).*\(6, 3\)"):
        SiteForecast(HOURS, np.ones((6, 3)), np.ones((6, 2)), ROOT)
    with pytest.raises(InvalidParameter, match="27 quantiles in ascending order, not 2"):
        forecast(shape=(-1.0, 1.0))
    with pytest.raises(InvalidParameter, match="all are missing"):
        fit_shape(np.full(3, np.nan))


def test_some_steps_of_a_forecast():
    found = forecast(distance_km=np.ones((6, 3)), information=np.ones((6, 3), bool))
    part = found.with_draws(np.ones((2, 6, 3))).only(np.array([1, 4]))
    assert part.draws is None
    assert part.times.tolist() == HOURS[[1, 4]].tolist()
    assert part.distance_km.shape == part.information.shape == (2, 3)
    assert (part.median == found.median[[1, 4]]).all()


def test_folds_side_by_side_say_what_each_says():
    one, two = forecast(shape=SKEWED), forecast(seed=1)
    columns = np.array([0, 2, 5]), np.array([4, 1, 3])
    both = JoinedForecast((one, two), columns)
    truth = np.random.default_rng(0).uniform(20, 60, (6, 6))
    for name in ("median", "mean", "std"):
        assert (getattr(both, name)[:, columns[0]] == getattr(one, name)).all()
        assert (getattr(both, name)[:, columns[1]] == getattr(two, name)).all()
    assert (both.crps(truth)[:, columns[1]] == two.crps(truth[:, columns[1]])).all()
    assert (both.pit(truth, 0)[:, columns[0]] == one.pit(truth[:, columns[0]], 0)).all()
    assert (both.exceedance(35)[:, columns[1]] == two.exceedance(35)).all()
    assert both.distance_km is None
