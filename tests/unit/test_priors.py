import numpy as np
import pytest

from geodiffrecon.calendar import Calendar
from geodiffrecon.noise import NoiseField
from geodiffrecon.priors.climatology import Climatology
from geodiffrecon.priors.completion import GaussianCompletion
from geodiffrecon.priors.kernel import SpaceTimeKernel
from geodiffrecon.priors.offsets import OffsetRefinement, colour_of
from geodiffrecon.priors.prior import LEAST_SPREAD, Prior, PriorSettings
from geodiffrecon.priors.shares import ShareRefinement
from geodiffrecon.windows import Record

KERNEL = SpaceTimeKernel(0.1, 0.8, 0.1, 3.0, 1.0, 0.6)


def positions(rows, columns):
    grid = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    return np.stack(grid, -1).reshape(-1, 2).astype(float)


def simulated(frames=400, rows=5, columns=6, seed=0):
    place = positions(rows, columns)
    factor = np.linalg.cholesky(KERNEL.correlation(place, place))
    rng = np.random.default_rng(seed)
    field = np.zeros((frames, rows * columns))
    now = factor @ rng.standard_normal(rows * columns)
    for t in range(frames):
        now = KERNEL.rho * now + np.sqrt(1 - KERNEL.rho**2) * factor @ rng.standard_normal(
            rows * columns
        )
        field[t] = now
    return field, place


def test_kernel_finds_what_was_simulated():
    field, place = simulated(1500)
    found = SpaceTimeKernel.fit(field, place)
    assert found.rho == pytest.approx(0.6, abs=0.05)
    near, far = (found.correlation(place[:1], place[[i]])[0, 0] for i in (1, 29))
    assert near == pytest.approx(KERNEL.correlation(place[:1], place[[1]])[0, 0], abs=0.08)
    assert far == pytest.approx(KERNEL.correlation(place[:1], place[[29]])[0, 0], abs=0.1)


def test_kriging_is_the_gaussian_conditional_mean():
    field, place = simulated()
    model = GaussianCompletion.fit(field, place, lags=(0,), level=0.0)
    seen = np.random.default_rng(1).random(field.shape[1]) > 0.5
    mean, variance = model.predict(np.where(seen, field, np.nan)[:1])
    c = model.covariance
    weights = c[:, seen] @ np.linalg.inv(c[np.ix_(seen, seen)] + 1e-6 * np.eye(seen.sum()))
    np.testing.assert_allclose(mean[0], weights @ field[0, seen], atol=1e-8)
    np.testing.assert_allclose(variance[0], np.diag(c - weights @ c[seen]).clip(0), atol=1e-8)


def test_kriging_agrees_with_pykrige():
    ok = pytest.importorskip("pykrige.ok")
    place = positions(6, 6)
    rng = np.random.default_rng(2)
    values = rng.standard_normal(36)
    seen = rng.random(36) > 0.4
    kernel = SpaceTimeKernel(0.0, 1.0, 0.0, 2.0, 1.0, 0.0)
    model = GaussianCompletion((0,), kernel, place, None, level=1e6)
    mean, _ = model.predict(np.where(seen, values, np.nan)[None])
    # pykrige's exponential is 1 - exp(-3 d / range).
    other = ok.OrdinaryKriging(
        place[seen, 1],
        place[seen, 0],
        values[seen],
        variogram_model="exponential",
        variogram_parameters={"sill": 1.0, "range": 6.0, "nugget": 0.0},
    )
    expected, _ = other.execute("points", place[:, 1], place[:, 0])
    np.testing.assert_allclose(mean[0], np.asarray(expected), atol=5e-3)


def test_hidden_and_future_values_change_nothing():
    field, place = simulated(60)
    model = GaussianCompletion.fit(field, place, lags=(0, 1, 2))
    given = np.where(np.random.default_rng(3).random(field.shape) > 0.5, field, np.nan)
    before, _ = model.predict(given)
    later = given.copy()
    later[40:] = np.nan
    after, _ = model.predict(later)
    np.testing.assert_array_equal(before[:40], after[:40])


def test_a_series_shorter_than_the_lags_uses_what_there_is():
    field, place = simulated(60)
    model = GaussianCompletion.fit(field, place, lags=(0, 1, 2))
    given = np.where(np.random.default_rng(3).random(field.shape) > 0.5, field, np.nan)
    np.testing.assert_array_equal(model.predict(given[:1])[0], model.predict(given)[0][:1])


def test_an_error_variance_keeps_observations_from_being_exact():
    field, place = simulated(100)
    model = GaussianCompletion.fit(field, place, lags=(0,))
    exact, none_left = model.predict(field[:1])
    loose, some_left = model.predict(field[:1], error=np.full((1, field.shape[1]), 0.5))
    np.testing.assert_allclose(exact, field[:1], atol=1e-3)
    assert none_left.max() < 1e-3
    assert some_left.min() > 0.05
    assert np.abs(loose - field[:1]).max() > 0.1


def test_nothing_observed_gives_the_climatology_with_its_full_spread():
    field, place = simulated(200)
    model = GaussianCompletion.fit(field, place, lags=(0, 1), level=0.0)
    mean, variance = model.predict(np.full((3, field.shape[1]), np.nan))
    assert np.abs(mean).max() == 0
    np.testing.assert_allclose(variance.mean(), field.var(), rtol=0.25)


def test_local_neighbourhoods_come_close_to_the_whole():
    field, place = simulated(30, 12, 12)
    whole = GaussianCompletion((0,), KERNEL, place, KERNEL.correlation(place, place), 0.0)
    local = GaussianCompletion((0,), KERNEL, place, None, 0.0)
    given = np.where(np.random.default_rng(4).random(field.shape) > 0.4, field, np.nan)
    a, b = whole.predict(given)[0], local.predict(given)[0]
    assert np.abs(a - b).mean() < 0.05


@pytest.mark.parametrize("dense", [True, False])
def test_coloured_noise_has_the_covariance(dense):
    place = positions(4, 5)
    target = KERNEL.correlation(place, place)
    model = GaussianCompletion((0,), KERNEL, place, target if dense else None, 0.0)
    white = np.random.default_rng(5).standard_normal((20_000, *model.white_shape))
    fields = model.colour(white)
    assert np.abs(np.cov(fields.T) - target).max() < 0.08


def test_simulations_keep_observed_cells_and_vary_as_kriging_errs():
    field, _ = simulated(200, 4, 4)
    times = np.arange(200).astype("datetime64[D]").astype("datetime64[ns]")
    fine = np.exp(field).reshape(200, 4, 4).repeat(2, 1).repeat(2, 2).astype(np.float32)
    record = Record(times, fine, 2, "mean")
    calendar = Calendar.seen_in(times)
    fold = np.arange(200) * 3 // 200
    prior = Prior.fit(
        record, calendar, "positive", fold, PriorSettings(lags=(0, 1), refinement=(1, 30.0))
    )
    seen = np.random.default_rng(6).random((3, 4, 4)) > 0.4
    noise = NoiseField(0, prior.completion.white_shape, 0, prior.completion.kernel.rho)
    drawn = prior.posterior_noise(seen, np.arange(3), noise, range(400), frames=np.arange(3))
    hard = drawn[:, seen] * LEAST_SPREAD
    assert np.abs(hard).max() < 0.02
    np.testing.assert_allclose(drawn.std(axis=0)[~seen], 1.0, rtol=0.15)


def test_climatology_finds_a_daily_cycle_despite_gaps():
    times = np.arange(24 * 20).astype("datetime64[h]").astype("datetime64[ns]")
    design = Calendar.seen_in(times).climatology(times)
    truth = 10 + 3 * np.sin(2 * np.pi * np.arange(len(times)) / 24)[:, None] * np.ones(4)
    values = np.where(np.random.default_rng(7).random(truth.shape) > 0.3, truth, np.nan)
    found = Climatology.fit(values, design).predict(design)
    assert np.abs(found - truth).max() < 0.1


def test_shares_sum_to_one_and_follow_the_slot():
    rng = np.random.default_rng(8)
    slots = np.arange(600) % 24
    morning = np.where((slots < 12)[:, None], [0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.7])
    blocks = rng.poisson(100 * morning)[:, None, :].astype(float)
    model = ShareRefinement.fit(blocks, slots, 24, bandwidth=1.0, strength=3.0)
    np.testing.assert_allclose(model.shares.sum(-1), 1, rtol=1e-5)
    assert model.predict(np.array([6]))[0, 0, 0] > 0.6
    assert model.predict(np.array([18]))[0, 0, 3] > 0.6


def test_offsets_recover_a_linear_field():
    rng = np.random.default_rng(9)
    anomalies = rng.standard_normal((300, 5, 5))
    gradient = np.diff(np.pad(anomalies, ((0, 0), (0, 0), (0, 1))), axis=2)
    offsets = (gradient.reshape(300, 25, 1) * [-1.0, 1.0, -1.0, 1.0]) + 0.5
    design = np.ones((300, 1))
    model = OffsetRefinement.fit(offsets, anomalies, design, radius=1, penalty=0.1)
    assert np.abs(model.predict(anomalies, design) - offsets).max() < 0.05


def test_residuals_of_draws_hang_together_inside_a_coarse_cell():
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((300, 5, 1))
    residuals = 0.9 * shared + np.sqrt(1 - 0.81) * rng.standard_normal((300, 5, 4))
    colour = colour_of(residuals)
    refinement = OffsetRefinement(
        np.zeros((5, 1, 4), np.float32), 0, np.ones((5, 4), np.float32), colour
    )
    drawn = refinement.coloured(rng.standard_normal((4000, 5, 4)))
    assert drawn.std(axis=0) == pytest.approx(np.ones((5, 4)), abs=0.06)
    assert np.corrcoef(drawn[:, 2].T)[0, 1] == pytest.approx(0.81, abs=0.06)
    assert abs(np.corrcoef(drawn[:, 1, 0], drawn[:, 2, 0])[0, 1]) < 0.06
