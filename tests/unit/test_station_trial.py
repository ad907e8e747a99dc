import json
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from pykrige.ok import OrdinaryKriging
from scipy.spatial.distance import cdist

from geodiffrecon.covariates import Covariates
from geodiffrecon.errors import InvalidParameter, NoObservations
from geodiffrecon.grid import NestedGrid
from geodiffrecon.metrics import coverage
from geodiffrecon.stations import hourly_kriging
from geodiffrecon.stations.baseline_kriging import PooledKriging, RegressionKriging
from geodiffrecon.stations.baselines import Record, Spread, Targets, Weighted, draw
from geodiffrecon.stations.bench import (
    BASELINES,
    HOURLY,
    METHODS,
    ORACLE,
    POOLED,
    RULE,
    Bench,
)
from geodiffrecon.stations.folds import Fold, block_folds, station_folds
from geodiffrecon.stations.forecast import Power, SiteForecast
from geodiffrecon.stations.hourly_kriging import HourlyKriging
from geodiffrecon.stations.network import StationNetwork
from geodiffrecon.stations.places import Places
from geodiffrecon.stations.tally import DayForecast, pit_histogram, spread_skill
from geodiffrecon.stations.trial import MODEL, evaluate_stations
from geodiffrecon.stations.variogram import Kernel, krige, leave_one_out

WIDTH_KM = 80
GRID = NestedGrid.from_bounds((0, 0, WIDTH_KM * 1000, WIDTH_KM * 1000), crs=None, shape=(4, 4))
PLACES = Places.of(GRID)
START = np.datetime64("2024-03-01T00", "ns")
HOUR = np.timedelta64(1, "h")
TRAIN = 240  # hours
FAST = (POOLED, "idw")


@pytest.fixture(autouse=True)
def _few_variograms(monkeypatch):
    monkeypatch.setattr(hourly_kriging, "PAIRS", 4)  # pykrige fits one for each


def field(stations=14, hours=336, seed=0, missing=0.1, reach=25.0, nugget=0.15, rho=0.8):
    """Network of squared Gaussian readings: exponential in space, AR(1) in time."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, WIDTH_KM * 1000, (2, stations))
    km = PLACES.km(x, y)
    factor = np.linalg.cholesky(Kernel(reach, nugget).among(km))
    z = rng.standard_normal((hours, stations)) @ factor.T
    for hour in range(1, hours):
        z[hour] = rho * z[hour - 1] + np.sqrt(1 - rho**2) * z[hour]
    values = (7 + 1.5 * z) ** 2
    values[rng.random(values.shape) < missing] = np.nan
    names = tuple(f"S{n:02d}" for n in range(stations))
    times = START + np.arange(hours) * HOUR
    return StationNetwork(names, x, y, times, values, value="pm25", freq="1h")


def bench(network, folds=3, **options):
    masks = station_folds(network, folds, 0)
    return Bench(
        network, GRID, tuple(Fold(m, ~m) for m in masks), TRAIN, TRAIN,
        **{"samples": 0, **options},
    )  # fmt: skip


def record(network, external=None):
    return Record.of(network, PLACES, GRID, external, signed=False)


def targets(network):
    return Targets(PLACES.km(network.x, network.y), np.empty((len(network.x), 0)))


@dataclass
class Stub:
    """Says the mean of what reports, with the spread of its training."""

    settings: str = "recipe"
    seed: int = 0
    device: str = "cpu"
    grid = GRID
    kind = "positive"
    freq = "1h"
    calendar_tz = "UTC"
    history = 2
    trained = {"train_start": "2024-03-01T00:00:00Z", "end": "2024-03-11T00:00:00Z"}  # noqa: RUF012

    def fit(self, points, grid, *, until, **options):
        assert points.times[-1] < np.datetime64("2024-03-11T00")
        assert (until, options["kind"]) == (self.trained["end"], "positive")
        self.spread = float(np.nanstd(np.sqrt(points.values)))
        self.seen = set(points.names)
        return self

    def at(self, points, x, y, *, times, samples, seed, **options):
        assert set(points.names) == self.seen
        level = np.sqrt(np.nanmean(points.values, axis=1))[:, None] * np.ones(len(x))
        found = SiteForecast(points.times, level, np.full_like(level, self.spread), Power())
        return found.with_draws(draw(found, 0.5, samples, seed)) if samples else found

    def info(self):
        return {"preset": "stub"}


# --- folds -------------------------------------------------------------------------------------


def test_each_station_is_held_out_once_in_folds_of_equal_size():
    masks = station_folds(field(stations=37, hours=3), 4, seed=1)
    assert (np.sum(masks, axis=0) == 1).all()
    assert sorted(mask.sum() for mask in masks) == [9, 9, 9, 10]


def test_every_fold_samples_the_whole_network():
    network = field(stations=80, hours=3)
    for mask in station_folds(network, 4, seed=0):
        west, south = network.x < WIDTH_KM * 500, network.y < WIDTH_KM * 500
        for quarter in (west & south, west & ~south, ~west & south, ~west & ~south):
            assert abs(mask[quarter].sum() - quarter.sum() / 4) <= 2.5


def test_folds_depend_on_the_seed_and_not_on_units():
    network = field(stations=30, hours=3)
    first = station_folds(network, 3, 0)
    stretched = replace(network, x=network.x * 7 + 3, y=network.y / 11)
    assert np.array_equal(first, station_folds(stretched, 3, 0))
    assert not np.array_equal(first, station_folds(network, 3, 1))


def test_blocks_are_held_out_with_a_buffer():
    network = field(stations=60, hours=3)
    km = PLACES.km(network.x, network.y)
    folds = block_folds(network, PLACES, 4, 6.0, seed=0)
    assert (np.sum([fold.held for fold in folds], axis=0) == 1).all()
    for fold in folds:
        assert not (fold.held & fold.given).any()
        assert cdist(km[fold.held], km[fold.given]).min() >= 6.0
        lost = ~fold.held & ~fold.given
        assert (cdist(km[lost], km[fold.held]).min(axis=1) < 6.0).all()
    nearest = [cdist(km[f.held], km[f.given]).min(axis=1).mean() for f in folds]
    scattered = [cdist(km[m], km[~m]).min(axis=1).mean() for m in station_folds(network, 4, 0)]
    assert np.mean(nearest) > 1.3 * np.mean(scattered)


def test_folds_that_cannot_be_are_refused():
    network = field(stations=8, hours=3)
    with pytest.raises(InvalidParameter, match="8 stations can be split into 2 to 8 folds, not 9"):
        station_folds(network, 9, 0)
    with pytest.raises(InvalidParameter, match="smaller buffer"):
        block_folds(network, PLACES, 2, 500.0, 0)
    with pytest.raises(InvalidParameter, match="0 km or more, not -1"):
        block_folds(network, PLACES, 2, -1.0, 0)


# --- kriging -----------------------------------------------------------------------------------


def test_leaving_out_by_one_inverse_is_kriging_without_each_station():
    network = field(hours=5)
    z, km = np.sqrt(network.values), PLACES.km(network.x, network.y)
    kernel = Kernel(20.0, 0.1)
    errors, variance = leave_one_out(z, kernel.among(km))
    for station in range(z.shape[1]):
        others = np.arange(z.shape[1]) != station
        cross = kernel.between(cdist(km[others], km[[station]]))
        mean, wanted = krige(z[:, others], kernel.among(km[others]), cross)
        known = np.isfinite(z[:, station])
        assert errors[known, station] == pytest.approx((z[:, station] - mean[:, 0])[known])
        assert variance[known, station] == pytest.approx(wanted[known, 0])
        assert np.isnan(errors[~known, station]).all()


def test_kriging_with_a_given_variogram_is_that_of_pykrige():
    network = field(hours=1, missing=0.0)
    km, z = PLACES.km(network.x, network.y), np.sqrt(network.values)
    at = np.array([[0.0, 0.0], [10.0, -33.0]])
    kernel = Kernel(30.0, 0.2)
    found = krige(z, kernel.among(km), kernel.between(cdist(km, at)))
    parameters = {"psill": 0.8, "range": 90.0, "nugget": 0.2}
    rival = OrdinaryKriging(*km.T, z[0], "exponential", variogram_parameters=parameters)
    mean, variance = rival.execute("points", *at.T)
    assert found[0][0] == pytest.approx(np.asarray(mean))
    assert found[1][0] == pytest.approx(np.asarray(variance))


def test_kriging_per_hour_is_pykrige_called_for_each_hour():
    network = field(hours=30)
    given, held = network.only(np.arange(14) < 10), network.only(np.arange(14) >= 10)
    method = HourlyKriging()
    method.fit(record(given).before(20))
    found = method.predict(record(given), targets(held), np.arange(20, 30))
    at = PLACES.km(held.x, held.y)
    for number, hour in enumerate(range(20, 30)):
        known = np.isfinite(given.values[hour])
        km = PLACES.km(given.x, given.y)[known]
        rival = OrdinaryKriging(*km.T, given.values[hour, known], "exponential")
        mean, variance = rival.execute("points", *at.T)
        assert found.location[number] == pytest.approx(np.asarray(mean))
        assert found.scale[number] == pytest.approx(np.sqrt(np.asarray(variance)), abs=1e-6)


def test_pooled_kriging_covers_what_it_promises_on_a_gaussian_field():
    network = field(stations=40, hours=700, seed=4)
    held = np.arange(40) % 4 == 0
    method, given = PooledKriging(), network.without(held)
    method.fit(record(given).before(300))
    hidden = network.only(held)
    found = method.predict(record(given), targets(hidden), np.arange(300, 700))
    pit = found.pit(hidden.values[300:], 0)
    assert 0.86 <= coverage(pit, 0.9) <= 0.94
    assert 0.45 <= coverage(pit, 0.5) <= 0.55
    assert 10 < method.kernel.reach_km < 60
    assert 0.05 < method.kernel.nugget < 0.35
    assert method.rho == pytest.approx(0.8, abs=0.06)


def test_regression_kriging_uses_what_wind_does_to_a_gradient():
    network = field(stations=24, hours=400, reach=6.0, nugget=0.6)
    wind = np.random.default_rng(0).standard_normal(400)
    east = PLACES.km(network.x, network.y)[:, 0] / 20
    values = np.maximum(np.sqrt(network.values) + wind[:, None] * east, 0) ** 2
    network = replace(network, values=values)
    table = pd.DataFrame({"wind": wind}, pd.DatetimeIndex(network.times))
    external = Covariates(("wind",), table, None)
    held = np.arange(24) % 4 == 0
    given, hidden = network.without(held), network.only(held)
    error = {}
    for method in (PooledKriging(), RegressionKriging()):
        method.fit(record(given, external).before(300))
        found = method.predict(record(given, external), targets(hidden), np.arange(300, 400))
        error[type(method)] = np.nanmean(np.abs(found.median - hidden.values[300:]))
    assert error[RegressionKriging] < 0.95 * error[PooledKriging]


# --- other baselines ---------------------------------------------------------------------------


def test_weights_are_those_of_distance_and_of_who_reports():
    values = np.array([[10.0, 40.0], [np.nan, 40.0], [np.nan, np.nan]])
    km = np.array([[0.0, 0.0], [3.0, 0.0]])
    none = np.empty((2, 0))
    given = Record(
        START + np.arange(3) * HOUR, values, Targets(km, none), np.empty((3, 0)), signed=False
    )
    at = Targets(np.array([[1.0, 0.0]]), none[:1])
    for power, wanted in ((2.0, (10 / 1 + 40 / 4) / 1.25), (np.inf, 10.0)):
        method = Weighted(power)
        method.fit(given)
        found = method.predict(given, at, np.arange(3))
        assert found.median[0, 0] == pytest.approx(wanted)
        assert found.median[1, 0] == pytest.approx(40)
        assert found.location[2, 0] == pytest.approx(np.nanmean(np.sqrt(values)))
        assert (found.scale > 0).all()


def test_a_spread_grows_with_the_level_where_errors_do():
    rng = np.random.default_rng(0)
    level = rng.uniform(2, 12, 20_000)
    spread = Spread.fit(level, 0.2 * level * rng.standard_normal(20_000))
    assert spread(np.array([3.0, 10.0])) == pytest.approx([0.6, 2.0], rel=0.05)


def test_the_oracle_knows_what_only_the_past_of_a_station_tells():
    network = field(hours=500)
    offset = np.where(np.arange(14) % 5 == 0, 3.0, 0.0)
    network = replace(network, values=(np.sqrt(network.values) + offset) ** 2)
    held = np.arange(14) % 5 == 0
    one = Bench(network, GRID, (Fold(held, ~held),), 400, 400, samples=0)
    truth = one.truth[:, held]
    error, covered = {}, {}
    for name in (POOLED, ORACLE):
        found = one.baseline(name)(0, one.folds[0])
        error[name] = np.nanmean(np.abs(found.median - truth))
        covered[name] = coverage(found.pit(truth, 0), 0.9)
    assert error[ORACLE] < 0.6 * error[POOLED]
    assert 0.82 <= covered[ORACLE] <= 0.96


def test_draws_have_the_spread_and_the_memory_that_is_asked_for():
    times = START + np.arange(200) * HOUR
    found = SiteForecast(times, np.full((200, 3), 5.0), np.full((200, 3), 2.0), Power(signed=True))
    draws = draw(found, 0.7, 300, seed=0)
    assert draws.std() == pytest.approx(2.0, rel=0.02)
    z = (draws - 5) / 2
    assert (z[:, 1:] * z[:, :-1]).mean() == pytest.approx(0.7, abs=0.03)
    assert (draw(found, 0.7, 5, seed=0) == draws[:5]).all()


@pytest.mark.parametrize("name", METHODS)
def test_an_hour_without_a_station_gets_the_usual_level(name):
    network = field(hours=TRAIN + 6)
    network.values[TRAIN + 2] = np.nan
    test = bench(network)
    found = test.baseline(name)(0, test.folds[0])
    assert np.isfinite(found.location).all()
    assert (found.scale > 0).all()
    assert np.isinf(test.distance_km[2]).all()
    given = network.values[:TRAIN, test.folds[0].given]
    assert found.median[2] == pytest.approx(np.nanmedian(given), rel=0.15)


# --- no leaks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BASELINES)
def test_values_of_hidden_stations_change_no_bit(name):
    network = field(hours=TRAIN + 12)
    test = bench(network)
    fold = test.folds[1]
    other = network.values.copy()
    other[:, fold.held] = -50.0
    twin = replace(test, network=replace(network, values=other))
    first, second = (one.baseline(name)(1, fold) for one in (test, twin))
    assert np.array_equal(first.location, second.location)
    assert np.array_equal(first.scale, second.scale)


@pytest.mark.parametrize("name", METHODS)
def test_later_hours_change_nothing_before_them(name):
    network = field(hours=TRAIN + 12)
    test = bench(network)
    later = network.values.copy()
    later[TRAIN + 6 :] *= 3
    twin = replace(test, network=replace(network, values=later))
    first, second = (one.baseline(name)(0, test.folds[0]) for one in (test, twin))
    assert np.array_equal(first.location[:6], second.location[:6])
    assert np.array_equal(first.scale[:6], second.scale[:6])
    assert not np.array_equal(first.location[6:], second.location[6:])


def test_the_model_is_fitted_without_the_hidden_stations():
    network = field()
    found = evaluate_stations(Stub(), network, folds=3, samples=0, methods=())
    held = np.array([name in found.meta["folds"][0] for name in network.names])
    other = network.values.copy()
    other[:, held] += 1000.0
    twin = evaluate_stations(Stub(), replace(network, values=other), folds=3, samples=0, methods=())
    first, second = (one.forecasts[MODEL].median[:, held] for one in (found, twin))
    assert np.array_equal(first, second)


# --- trial -------------------------------------------------------------------------------------


def test_a_trial_scores_everything_alike():
    network, told = field(), []
    found = evaluate_stations(
        Stub(), network, folds=3, every=3, samples=40, methods=FAST,
        progress=lambda done, total, message: told.append((done, total)),
    )  # fmt: skip
    assert [row["method"] for row in found.rows] == [MODEL, *FAST]
    assert found.truth.shape == (32, 14) == found.distance_km.shape
    assert {row["n"] for row in found.rows} == {int(np.isfinite(found.truth).sum())}
    (days,) = {row["daily_n"] for row in found.rows}
    assert days == np.isfinite(found.daily[MODEL].truth).sum() > 50
    assert np.array_equal(found.days, np.arange("2024-03-11", "2024-03-15", dtype="M8[D]"))
    rows = {row["method"]: row for row in found.rows}
    for name, forecast in found.forecasts.items():
        assert rows[name]["mae"] == pytest.approx(np.nanmean(np.abs(forecast.median - found.truth)))
        assert rows[name]["crps"] == pytest.approx(np.nanmean(forecast.crps(found.truth)))
    assert rows[POOLED]["crps"] < rows[MODEL]["crps"]
    assert told[-1] == (9, 9)
    text = json.dumps(found.to_dict())
    assert '"pattern": "stations"' in text
    assert "NaN" not in text


def test_ratios_are_those_of_the_table_with_an_interval_around():
    network = field(hours=TRAIN + 7 * 24)
    found = evaluate_stations(Stub(), network, folds=3, samples=20, methods=FAST)
    rows = {row["method"]: row for row in found.rows}
    assert {r["score"] for r in found.ratios} == {"mae", "crps", "daily_mae", "daily_crps"}
    for ratio in found.ratios:
        mine, other = rows[ratio["method"]], rows[ratio["reference"]]
        assert ratio["ratio"] == pytest.approx(mine[ratio["score"]] / other[ratio["score"]])
        assert ratio["station_low"] < ratio["ratio"] < ratio["station_high"]
        assert ratio["low"] < ratio["ratio"] < ratio["high"]


def test_the_hours_scored_do_not_depend_on_draws():
    network = field()
    with_days, without = (
        evaluate_stations(Stub(), network, folds=3, every=3, samples=k, methods=FAST)
        for k in (10, 0)
    )
    assert without.daily == {} == without.daily_pit
    assert len(without.days) == 0
    for one, two in zip(with_days.rows, without.rows, strict=True):
        assert {k: one[k] for k in ("n", "mae", "crps", "coverage90")} == {
            k: two[k] for k in ("n", "mae", "crps", "coverage90")
        }
        assert two["daily_mae"] is None


def test_day_means_are_over_the_known_hours_of_days_with_enough():
    rng = np.random.default_rng(0)
    truth = rng.uniform(10, 50, (48, 2))
    truth[:7, 0] = np.nan  # 17 of 24 hours are left
    truth[30, 1] = np.nan
    draws = np.stack([truth + 5, truth + 5, truth - 5]).astype(np.float32)
    draws[:, 30, 1] = 1e6  # an hour that nobody knows of
    draws = np.nan_to_num(draws, nan=1e6)
    day = np.repeat([0, 1], 24)
    found = DayForecast.of(draws, truth, day, steps_per_day=24, seed=0)
    assert np.isnan(found.truth[0, 0])
    assert found.truth[1, 1] == pytest.approx(np.nanmean(truth[24:, 1]))
    assert found.mean[1, 1] == pytest.approx(found.truth[1, 1] + 5 / 3)
    assert found.quantiles[2, 1, 1] == pytest.approx(found.truth[1, 1] + 5)
    assert 0.25 <= found.pit[1, 1] <= 0.5  # one of three draws lies below


def test_day_means_of_pooled_kriging_cover_what_they_promise_on_a_gaussian_field():
    network = field(stations=20, hours=TRAIN + 40 * 24)
    test = bench(network, samples=60)
    found = test.run(test.baseline(POOLED), lambda number: None).daily
    assert 0.85 <= coverage(found.pit, 0.9) <= 0.95
    assert 0.43 <= coverage(found.pit, 0.5) <= 0.58


def test_days_are_those_of_the_calendar():
    network = replace(field(hours=TRAIN + 48), calendar_tz="Asia/Shanghai")
    test = bench(network, samples=2)
    days = np.unique(test.day, return_counts=True)
    assert days[1].tolist() == [16, 24, 8]


def test_blocks_leave_a_day_between_training_and_test():
    found = evaluate_stations(
        Stub(), field(stations=24), folds=3, pattern="blocks", buffer_km=5.0, samples=0,
        methods=("idw",),
    )  # fmt: skip
    assert found.meta["first"] == "2024-03-12T00:00:00Z"
    assert found.meta["train_end"] == "2024-03-11T00:00:00Z"
    known = np.isfinite(found.distance_km)
    assert found.distance_km[known].min() >= 5.0


def test_what_cannot_be_scored_is_refused():
    network = field()
    cases = [
        ({"start": "2024-03-10T00:00Z"}, "lies before 2024-03-11"),
        ({"methods": ("magic",)}, "No method is named 'magic'"),
        ({"every": 0}, "1 or more, not 0"),
        ({"samples": 1}, "2 draws or more, not 1"),
        ({"buffer_steps": -1}, "0 steps or more, not -1"),
        ({"buffer_km": 5.0}, "belongs to the pattern blocks"),
        ({"pattern": "rows"}, "stations or blocks, not 'rows'"),
    ]
    for options, sentence in cases:
        with pytest.raises(InvalidParameter, match=sentence):
            evaluate_stations(Stub(), network, **{"methods": (), **options})
    with pytest.raises(NoObservations, match="so there is nothing to score"):
        evaluate_stations(Stub(), network.between(START, START + 200 * HOUR), methods=())


def test_charts_of_a_calibrated_forecast_are_flat():
    rng = np.random.default_rng(0)
    std = rng.uniform(1, 5, (400, 50))
    truth = std * rng.standard_normal((400, 50))
    for entry in spread_skill(std, truth, np.zeros_like(std)):
        assert entry["rmse"] == pytest.approx(entry["std"], rel=0.08)
    assert pit_histogram(rng.random(50_000)) == pytest.approx([1.0] * 20, abs=0.08)


def test_every_baseline_runs_in_one_trial():
    found = evaluate_stations(
        Stub(), field(hours=TRAIN + 24), folds=2, every=6, samples=4, methods=METHODS
    )
    rows = {row["method"]: row for row in found.rows}
    assert set(rows) == {MODEL, *METHODS}
    assert [name for name, row in rows.items() if not row["admissible"]] == [ORACLE]
    assert all(np.isfinite(row["crps"]) for row in rows.values())
    assert {ratio["reference"] for ratio in found.ratios} == {HOURLY, POOLED, RULE}
