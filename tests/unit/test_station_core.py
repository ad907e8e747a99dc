from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from station_worlds import (
    FIRST,
    HOUR,
    concentration,
    gaussian_field,
    network_of,
    places,
    square,
    world,
)

from geodiffrecon.calendar import Calendar
from geodiffrecon.errors import NoObservations
from geodiffrecon.networks.points import PointDenoiser, PointFormer
from geodiffrecon.stations.anomalies import Readings
from geodiffrecon.stations.climate import Climate, PlaceEffect
from geodiffrecon.stations.evidence import StationSplit, per_frame
from geodiffrecon.stations.forecast import Power
from geodiffrecon.stations.kernel import Spots, StationKernel, interruptible
from geodiffrecon.stations.kernel_fitting import KernelFit
from geodiffrecon.stations.kriging import StationKriging, residuals_without
from geodiffrecon.stations.layers import StationLayers, nearest_km, normal_scores
from geodiffrecon.stations.lesson import Hidden
from geodiffrecon.stations.memory import ErrorMemory, decay
from geodiffrecon.stations.places import Places
from geodiffrecon.stations.recent import RecentErrors, mean_square
from geodiffrecon.stations.sky import Sky
from geodiffrecon.stations.spread import LocalSpread, crps_of, exact_crps
from geodiffrecon.stations.surroundings import (
    MEMORY,
    SPREAD_COLUMNS,
    Cases,
    Surroundings,
    _parts,
)
from geodiffrecon.steps import TimeStep

SEED = 11
CLOSE = {"rtol": 0, "atol": 1e-9}


def some_kernel(**changes):
    """Return a covariance in which every part does something."""
    kernel = StationKernel().requires_grad_(False)
    values = {"reach": 4.0, "stretch": 0.4, "turn": 0.3, "level": -0.5, "lasting": -2.0,
              "drift": 0.8, "sill": 0.3, **changes}  # fmt: skip
    for name, value in values.items():
        getattr(kernel, name).fill_(value)
    return kernel


def readings_of(anomalies, km, *, windy=False, columns=0):
    """Return readings about a level of 6, with a way of the wind where asked for."""
    rng = np.random.default_rng(SEED)
    wind = rng.normal(0, 3, (len(anomalies), 2)) if windy else None
    sky = Sky(rng.random((len(anomalies), 2)).astype(np.float32), wind, wind)
    terrain = rng.normal(size=(len(km), columns))
    return Readings(anomalies, np.full(len(anomalies), 6.0), km, sky, terrain, np.zeros(len(km)))


@pytest.fixture(scope="module")
def readings():
    """Return 40 hours of 9 stations with gaps; one hour has none, another but one."""
    km = places(9, SEED)
    anomalies = gaussian_field(km, 40, SEED)
    anomalies[np.random.default_rng(SEED).random(anomalies.shape) < 0.15] = np.nan
    anomalies[32] = np.nan
    anomalies[35, 1:] = np.nan
    return readings_of(anomalies, km, windy=True, columns=1)


@pytest.fixture(scope="module")
def kriging():
    return StationKriging(some_kernel(), (0, 1, 3))


@pytest.fixture(scope="module")
def around(kriging, readings):
    return Surroundings.of(kriging, readings, neighbours=5)


def without(readings, *stations):
    keep = np.ones(len(readings.km), bool)
    keep[list(stations)] = False
    return readings.hiding(keep)


def changed(readings, values):
    return replace(readings, anomalies=values)


# --- covariance --------------------------------------------------------------------------------


def test_waves_have_the_correlation_of_the_kernel():
    kernel = some_kernel()
    apart = np.random.default_rng(SEED).uniform(-120, 120, (40, 2))
    found = np.cos(apart @ kernel.waves(20_000, 3).T).mean(axis=1)
    origin, there = torch.zeros(1, 1, 2).double(), torch.as_tensor(apart)[None]
    expected = torch.exp(-kernel.distance(origin, there))[0, 0].numpy()
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_waves_of_a_round_kernel_decay_exponentially():
    kernel = StationKernel().requires_grad_(False)
    east = np.array([[0.0, 0.0], [15.0, 0.0], [60.0, 0.0], [0.0, 120.0]])
    found = np.cos(east @ kernel.waves(20_000, 0).T).mean(axis=1)
    np.testing.assert_allclose(found, np.exp(-np.array([0, 15, 60, 120]) / 60), atol=0.03)


def test_the_covariance_of_readings_is_positive_definite(kriging, readings):
    window = kriging.window(readings.anomalies, readings.km, np.arange(4, 40), readings.sky.way)
    assert torch.linalg.eigvalsh(kriging.kernel.readings(window.spots)).min() > 1e-7


def test_a_reading_of_which_nothing_is_known_has_the_total_variance():
    kernel = some_kernel()
    alone = Spots(torch.zeros(1, 1, 2).double(), torch.zeros(1).double(), torch.zeros(1).long())
    assert float(kernel.readings(alone)) == pytest.approx(float(kernel.total), abs=1e-5)


# --- kriging -----------------------------------------------------------------------------------


def test_leave_one_out_is_kriging_without_the_station(kriging, readings):
    frames, way = np.arange(3, 40), readings.sky.way
    window = kriging.window(readings.anomalies, readings.km, frames, way)
    mean, spread = kriging.leave_one_out(window)
    for station in range(len(readings.km)):
        others = without(readings, station)
        expected = kriging.predict(
            others.anomalies, others.km, frames, readings.km[[station]], way
        )  # fmt: skip
        seen = np.isfinite(readings.anomalies[frames, station])
        np.testing.assert_allclose(mean[seen, station], expected[0][seen, 0], atol=2e-5)
        np.testing.assert_allclose(spread[seen, station], expected[1][seen, 0], atol=2e-5)


def test_residuals_are_hidden_from_pairs_of_stations(readings):
    alone = StationKriging(some_kernel(), (0,))
    frames = np.arange(20, 40)
    found = residuals_without(
        alone, alone.window(readings.anomalies, readings.km, frames, None)
    ).numpy()
    for j in range(0, 9, 2):
        for i in range(9):
            others = without(readings, j, i)
            mean, spread = alone.predict(others.anomalies, others.km, frames, readings.km[[i]])
            expected = (readings.anomalies[frames, i] - mean[:, 0]) / spread[:, 0]
            expected = np.nan_to_num(expected) * (i != j)
            np.testing.assert_allclose(found[:, j, i], expected, atol=1e-4)


def test_kriging_of_nothing_is_the_usual_with_the_full_spread(kriging, readings):
    silent = changed(readings, np.full_like(readings.anomalies, np.nan))
    mean, spread = kriging.predict(silent.anomalies, silent.km, np.array([20]), places(3, 2))
    full = float(kriging.kernel.scale * kriging.kernel.total.sqrt())
    assert (mean == 0).all()
    np.testing.assert_allclose(spread, full)


def test_kriging_at_a_station_is_near_its_reading_and_sure(kriging, readings):
    frames = np.array([20, 21])
    mean, spread = kriging.predict(readings.anomalies, readings.km, frames, readings.km)
    far = kriging.predict(readings.anomalies, readings.km, frames, readings.km + 500)[1]
    seen = np.isfinite(readings.anomalies[frames])
    assert np.abs(mean - readings.anomalies[frames])[seen].mean() < 0.35
    assert (spread[seen] < far[seen]).all()


def test_readings_before_the_record_are_missing(kriging, readings):
    window = kriging.window(readings.anomalies, readings.km, np.array([0]), readings.sky.way)
    assert window.seen[:, 9:].sum() == 0


def test_the_past_stands_where_the_wind_has_taken_it(kriging, readings):
    window = kriging.window(readings.anomalies, readings.km, np.array([20]), readings.sky.way)
    gone = 0.8 * readings.sky.way[18:21].sum(axis=0)
    np.testing.assert_allclose(window.spots.km[0, 18:], readings.km + gone, **CLOSE)
    np.testing.assert_allclose(window.spots.km[0, :9], readings.km, **CLOSE)


# --- what is read about a spot -----------------------------------------------------------------


def cases_of(around, readings, frames):
    ((_, cases),) = around.of_stations(readings, frames)
    return cases


def same_cases(one, two, rows, **tolerance):
    for name in ("tokens", "seen", "query", "mean", "spread"):
        first, second = (getattr(cases, name)[rows].double() for cases in (one, two))
        torch.testing.assert_close(first, second, **tolerance, msg=lambda text, n=name: n + text)


def test_nothing_about_a_spot_knows_the_hidden_station(around, readings):
    frames = np.arange(25, 40)
    before = cases_of(around, readings, frames)
    for station in range(9):
        values = readings.anomalies.copy()
        values[:, station] = np.random.default_rng(station).normal(0, 3, len(values))
        values[np.isnan(readings.anomalies)] = np.nan
        after = cases_of(around, changed(readings, values), frames)
        own = torch.arange(len(frames)) * 9 + station
        seen = torch.as_tensor(np.isfinite(values[frames, station]))
        # its reading only cancels: nothing but the last digits of a difference may change
        same_cases(before, after, own[seen], rtol=0, atol=2e-6)
        torch.testing.assert_close(
            before.mean[own[seen]], after.mean[own[seen]], rtol=0, atol=1e-11
        )
        others = [row for row in range(9 * len(frames)) if row % 9 != station]
        assert not torch.allclose(before.query[others], after.query[others], atol=1e-3)


def test_a_hidden_station_is_described_as_if_it_were_not_there(around, readings):
    frames = np.arange(25, 40)
    hidden = cases_of(around, readings, frames)
    for station in (0, 4):
        others = without(readings, station)
        outside = replace(around, stations=8)
        site = readings.km[[station]]
        parts = [
            cases
            for _, cases in outside.of_sites(
                others, frames, site, readings.terrain[[station]], np.zeros(1)
            )
        ]
        rows = torch.arange(len(frames)) * 9 + station
        seen = torch.as_tensor(np.isfinite(readings.anomalies[frames, station]))
        found = type(hidden).joined(parts)
        for name in ("query", "mean", "spread"):
            first, second = getattr(hidden, name)[rows][seen], getattr(found, name)[seen]
            torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-3)
        now = hidden.seen[rows][seen]
        assert torch.equal(now, found.seen[seen])


def test_later_readings_change_nothing(around, readings):
    values = readings.anomalies.copy()
    values[31:] += 5
    frames = np.arange(25, 40)
    before, after = (cases_of(around, r, frames) for r in (readings, changed(readings, values)))
    earlier = torch.arange(6 * 9)
    same_cases(before, after, earlier, rtol=0, atol=0)


def test_readings_before_the_history_change_nothing(around, readings):
    values = readings.anomalies.copy()
    values[:10] = 7.0
    frames = np.arange(10 + MEMORY, 40)
    before, after = (cases_of(around, r, frames) for r in (readings, changed(readings, values)))
    same_cases(before, after, slice(None), rtol=0, atol=0)


def of_sites(around, readings, frames, sites):
    terrain = np.zeros((len(sites), 1))
    return list(around.of_sites(readings, frames, sites, terrain, np.zeros(len(sites))))


def test_a_station_that_is_long_silent_pushes_no_other_out(around, readings):
    sites, frames = places(4, 8), np.arange(30, 36)
    values = readings.anomalies.copy()
    values[:, :3] = np.nan
    elsewhere = values.copy()
    elsewhere[38:, :3] = 1.0  # reports, but later
    kept = replace(readings.hiding(np.arange(9) >= 3), sky=readings.sky)
    with_them = of_sites(around, changed(readings, elsewhere), frames, sites)
    gone = of_sites(around, replace(kept, anomalies=values[:, 3:]), frames, sites)
    for (_, one), (_, two) in zip(with_them, gone, strict=True):
        same_cases(one, two, slice(None), rtol=1e-5, atol=1e-5)


def test_frames_are_described_alike_in_any_company(around, readings):
    sites = places(4, 8)
    together = of_sites(around, readings, np.arange(25, 40), sites)
    joined = type(together[0][1]).joined([cases for _, cases in together])
    for row, frame in enumerate(range(25, 40)):
        ((_, alone),) = of_sites(around, readings, np.array([frame]), sites)
        rows = slice(4 * row, 4 * row + 4)
        torch.testing.assert_close(joined.mean[rows], alone.mean, rtol=0, atol=1e-10)
        torch.testing.assert_close(joined.query[rows], alone.query, rtol=0, atol=1e-5)


def test_hidden_rows_carry_their_raw_reading(around, readings):
    power = Power(0.5)
    hidden = Hidden.of(
        around, readings, np.arange(25, 40), power, most=10_000, progress=lambda *_: None
    )
    raw = power.inverse(readings.anomalies + 6.0)
    np.testing.assert_allclose(hidden.truth, raw[hidden.frame, hidden.station])
    assert 32 not in hidden.frame
    assert 35 not in hidden.frame  # of the only station that reports nothing can be said


# --- layers ------------------------------------------------------------------------------------


def test_distances_are_to_stations_that_reported(readings):
    sites = readings.km[[0, 3]]
    found = nearest_km(readings, np.array([20, 32, 35]), sites)
    seen = np.isfinite(readings.anomalies[20])
    apart = np.linalg.norm(sites[:, None] - readings.km[None], axis=-1)
    np.testing.assert_allclose(found[0], apart[:, seen].min(axis=1))
    assert np.isinf(found[1]).all()
    expected = apart[:, 0] if np.isfinite(readings.anomalies[35, 0]) else np.inf
    np.testing.assert_allclose(found[2], expected)


def test_normal_scores_keep_unknown_errors_unknown():
    found = normal_scores(np.array([0.0, np.nan, 50.0]), ())
    assert found[0] == pytest.approx(0)
    assert np.isnan(found[1])
    assert np.isfinite(found[2])


def test_the_local_spread_widens_where_kriging_has_erred():
    rng = np.random.default_rng(SEED)
    erring = torch.as_tensor(rng.normal(size=4000))
    others = rng.normal(size=(SPREAD_COLUMNS - 1, 4000))
    query = torch.stack([erring, *torch.as_tensor(others)], dim=1)
    mean, spread = torch.full((4000,), 30.0).double(), torch.ones(4000).double()
    truth = mean + torch.exp(0.5 * erring + 0.7) * torch.as_tensor(rng.normal(size=4000))
    cases = type("Known", (), {"query": query, "mean": mean, "spread": spread})
    power = Power(1.0, signed=True)
    local = LocalSpread.fit(cases, truth, power, seed=0)
    asked = torch.zeros(2, SPREAD_COLUMNS).double()
    asked[1, 0] = 1
    found = local.factor(asked)
    np.testing.assert_allclose(found, np.exp([0.7, 1.2]), rtol=0.12)
    assert LocalSpread().factor(query).unique().tolist() == [1.0]


def test_the_crps_of_a_gaussian_is_the_known_one():
    from scipy.stats import norm

    truth, mean, spread = (torch.tensor(v).double() for v in ([1.0, -3.0], [0.5, 0.0], [1.0, 2.0]))
    z = ((truth - mean) / spread).numpy()
    expected = spread.numpy() * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    power = Power(1.0, signed=True)
    np.testing.assert_allclose(exact_crps(truth, mean, spread, power), expected, rtol=0.01)
    np.testing.assert_allclose(crps_of(truth, mean, spread, power), expected, rtol=0.05)


def test_errors_with_memory_are_recognised():
    rng, errors = np.random.default_rng(SEED), np.zeros((3000, 6))
    for step in range(1, 3000):
        errors[step] = 0.85 * errors[step - 1] + np.sqrt(1 - 0.85**2) * rng.normal(size=6)
    errors[rng.random(errors.shape) < 0.2] = np.nan
    memory = ErrorMemory.fit(errors)
    found = sum(
        share * decay(rate) for share, rate in zip(memory.shares, memory.rates, strict=True)
    )
    np.testing.assert_allclose(found[1:13], 0.85 ** np.arange(1, 13), atol=0.06)
    assert sum(memory.shares) <= 1 + 1e-12


def test_errors_without_memory_or_without_any_are_white():
    white = np.random.default_rng(SEED).normal(size=(2000, 4))
    assert sum(ErrorMemory.fit(white).shares) < 0.1
    assert ErrorMemory.fit(np.full((50, 3), np.nan)) == ErrorMemory()
    assert ErrorMemory.fit(white[:2]) == ErrorMemory()


def test_noise_is_standard_normal_with_the_memory_and_the_same_in_any_company():
    memory = ErrorMemory((0.5, 0.3), (0.9, 0.6))
    steps = np.arange(1000, 1400)
    noise = memory.noise(3, 40, range(4), steps)
    assert noise.shape == (400, 4, 40)
    assert noise.std() == pytest.approx(1, abs=0.03)
    after_one = 0.5 * decay(0.9)[1] + 0.3 * decay(0.6)[1]
    assert (noise[1:] * noise[:-1]).mean() == pytest.approx(after_one, abs=0.04)
    for part in (slice(7, 9), slice(399, 400), slice(3, 300, 90)):
        alone = memory.noise(3, 40, range(2, 3), steps[part])
        np.testing.assert_allclose(alone, noise[part, 2:3], atol=1e-5)
    assert not np.array_equal(memory.noise(4, 40, range(1), steps[:1]), noise[:1, :1])


# --- climate and places ------------------------------------------------------------------------


def test_the_climate_is_the_daily_cycle():
    times = FIRST + np.arange(20 * 24) * HOUR
    cycle = 5 + 2 * np.sin(np.arange(480) * np.pi / 12)
    values = cycle[:, None] + np.random.default_rng(0).normal(0, 0.3, (480, 8))
    values[50:60] = np.nan
    climate = Climate.fit(Calendar.seen_in(times), times, values)
    np.testing.assert_allclose(climate.at(times), cycle, atol=0.15)


def test_a_place_effect_is_found_where_there_is_one_and_only_there():
    rng = np.random.default_rng(SEED)
    elevation = rng.normal(size=(30, 1))
    columns = np.concatenate([places(30, 1), elevation], axis=1)
    noise = rng.normal(0, 0.5, (200, 30)) + rng.normal(0, 0.1, 30)
    noise[rng.random(noise.shape) < 0.2] = np.nan
    effect = PlaceEffect.fit(columns, noise - 1.5 * elevation[:, 0])
    np.testing.assert_allclose(
        effect.at(columns) - effect.at(columns).mean(),
        -1.5 * (elevation[:, 0] - elevation.mean()), atol=0.4,
    )  # fmt: skip
    beyond = columns[:1].copy()
    beyond[0, 2] = 50.0
    assert abs(float(effect.at(beyond)[0])) < 3.5 * 1.5 * elevation.std()
    pure = np.random.default_rng(3).normal(size=30)
    assert np.abs(PlaceEffect.fit(columns, np.tile(pure, (5, 1))).coefficients).sum() < 0.5


# --- which frames do what ----------------------------------------------------------------------


def test_validation_is_later_and_in_alternating_blocks():
    values = np.ones((600, 4))
    values[5, 2:] = np.nan
    split = StationSplit.of(values, 3_600_000_000_000)
    assert 5 not in split.all
    assert split.train.max() < min(split.gate.min(), split.calibrate.min())
    assert not set(split.gate) & set(split.calibrate)
    assert len(split.all) == 599
    assert 0.2 < (len(split.gate) + len(split.calibrate)) / 599 < 0.3


def test_too_few_steps_are_refused():
    with pytest.raises(NoObservations, match="12 steps before the end of training"):
        StationSplit.of(np.ones((12, 5)), 3_600_000_000_000)


def test_scores_are_averaged_per_frame():
    found = per_frame(np.array([1.0, 3.0, 5.0]), np.array([2, 2, 7]), np.array([2, 4, 7]))
    np.testing.assert_array_equal(found, [2.0, np.nan, 5.0])


# --- fitting the covariance --------------------------------------------------------------------


def test_the_covariance_of_the_field_is_found():
    small = world(stations=24, hours=240, hidden=0, missing=0.1)
    z = np.sqrt(small.network.values)
    anomalies = z - np.nanmean(z)
    km = Places.of(small.grid).km(small.network.x, small.network.y)
    sky = Sky(np.zeros((240, 1), np.float32))
    own = Readings(anomalies, np.full(240, np.nanmean(z)), km, sky, np.zeros((24, 0)), np.zeros(24))
    fit = KernelFit(Power(0.5), steps=60, frames=40, seed=0)
    wrong = some_kernel(reach=2.0, stretch=0.0, turn=0.0, drift=0.0, sill=-1.0)
    kriging = fit(own, np.arange(200), (0, 1), start=wrong)
    assert 25 < float(torch.exp(kriging.kernel.reach)) < 140  # 60 km
    assert 0.6 < float(kriging.kernel.scale) < 2.0  # 1.3
    assert float(kriging.kernel.drift) == 0
    found, start = (
        fit.score(one, own, np.arange(200, 240)) for one in (kriging, StationKriging(wrong, (0, 1)))
    )
    assert np.nanmean(found) < 0.95 * np.nanmean(start)


# --- the networks ------------------------------------------------------------------------------


def trained(network):
    """Fill what starts at zero, so that nothing is hidden by it."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval().requires_grad_(False)


def test_attention_ignores_stations_that_did_not_report():
    network = trained(PointFormer(tokens=6, queries=4, width=8, heads=2))
    tokens, query = torch.randn(5, 7, 6), torch.randn(5, 4)
    seen = torch.rand(5, 7) > 0.4
    blank = tokens.masked_fill(~seen[..., None], torch.nan)
    for one, two in zip(network(tokens, seen, query), network(blank, seen, query), strict=True):
        assert torch.equal(one, two)
        assert one.isfinite().all()
    shorter = network(tokens[:1, seen[0]], seen[:1, seen[0]], query[:1])
    torch.testing.assert_close(shorter[0], network(tokens, seen, query)[0][:1])


def test_attention_does_not_know_the_order_of_stations():
    network = trained(PointFormer(tokens=6, queries=4, width=8, heads=2))
    tokens, query, seen = torch.randn(5, 7, 6), torch.randn(5, 4), torch.rand(5, 7) > 0.3
    order = torch.randperm(7)
    mixed = network(tokens[:, order], seen[:, order], query)
    for one, two in zip(network(tokens, seen, query), mixed, strict=True):
        torch.testing.assert_close(one, two)


def test_a_new_network_corrects_nothing():
    shift, log_factor = PointFormer(tokens=6, queries=4)(
        torch.randn(5, 7, 6), torch.ones(5, 7).bool(), torch.randn(5, 4)
    )
    assert not shift.any()
    assert not log_factor.any()


def test_the_denoiser_works_on_spots():
    network = PointDenoiser(conditions=3)
    assert network(torch.randn(4, 1), torch.rand(4), torch.randn(4, 3)).shape == (4, 1)


# --- chance ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain():
    """Return layers of kriging alone, and readings of 12 stations."""
    km = places(12, 4)
    anomalies = gaussian_field(km, 60, 4)
    own = readings_of(anomalies, km)
    kriging = StationKriging(some_kernel(drift=0.0), (0,))
    times = FIRST + np.arange(60) * HOUR
    climate = Climate.fit(Calendar.seen_in(times), times, np.full((60, 12), 6.0))
    layers = StationLayers(
        Power(0.5),
        climate,
        PlaceEffect.none(2),
        Surroundings.of(kriging, own, 8),
        TimeStep.parse("1h"),
        waves=300,
    )
    return layers, own, times


def test_weights_are_shared_by_steps_of_the_same_stations(plain, monkeypatch):
    layers, own, times = plain
    values = own.anomalies.copy()
    values[31:33, 4] = np.nan
    own, sites = replace(own, anomalies=values), np.array([[60.0, 60.0], [190.0, 190.0]])
    asked, weights = [], StationKriging.weights

    def counted(self, anomalies, km, frames, sites):
        asked.extend(frames)
        return weights(self, anomalies, km, frames, sites)

    monkeypatch.setattr(StationKriging, "weights", counted)
    frames = np.arange(29, 35)
    together = layers.noise.draw(own, times, frames, sites, range(3), 0)
    assert asked == [29, 31]
    alone = [layers.noise.draw(own, times, frames[n : n + 1], sites, range(3), 0) for n in range(6)]
    np.testing.assert_allclose(together, np.concatenate(alone, axis=1), atol=1e-5)


@pytest.fixture
def gappy(plain):
    """Return the layers and readings of `plain`, other stations missing at every step."""
    layers, own, times = plain
    rng = np.random.default_rng(1)
    values = np.where(rng.random(own.anomalies.shape) < 0.2, np.nan, own.anomalies)
    return layers, replace(own, anomalies=values), times


def test_large_systems_are_solved_in_parts_and_to_the_same_numbers(gappy, monkeypatch):
    layers, own, _ = gappy
    window = layers.around.kriging.window(own.anomalies, own.km, np.arange(20), None)
    whole = layers.around.kriging.inverse(window)
    monkeypatch.setattr("geodiffrecon.stations.kriging.WORK", 12**3 * 3)
    assert torch.equal(layers.around.kriging.inverse(window), whole)


def test_residuals_and_kriging_are_the_same_in_parts(gappy, monkeypatch):
    layers, own, _ = gappy
    sites, frames = places(5, 9), np.arange(30, 50)

    def described():
        around = layers.around
        stations = list(around.of_stations(own, frames))
        mapped = list(around.of_sites(own, frames, sites, np.zeros((5, 0)), np.zeros(5)))
        return [Cases.joined([cases for _, cases in found]) for found in (stations, mapped)]

    whole = described()
    monkeypatch.setattr("geodiffrecon.stations.surroundings._parts", several(7))
    monkeypatch.setattr(StationKriging, "parts", lambda self, frames, stations: several(3)(frames))
    for parts, once in zip(described(), whole, strict=True):
        for name in ("tokens", "seen", "query", "mean", "spread"):
            found, expected = getattr(parts, name), getattr(once, name)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def several(most):
    return lambda rows, stations=0: np.array_split(rows, -(-len(rows) // most))


def test_parts_of_residuals_are_bounded(monkeypatch):
    monkeypatch.setattr("geodiffrecon.stations.surroundings.PAIRS", 12**2 * 7)
    found = _parts(np.arange(20), 12)
    assert [len(part) for part in found] == [7, 7, 6]


@pytest.mark.parametrize("wind", [False, True])
def test_a_covariance_is_fitted_in_parts_and_to_the_same_numbers(wind, monkeypatch):
    """All frames of 150 stations at once would take gigabytes."""
    own = readings_of(gaussian_field(places(9, 4), 60, 4), places(9, 4))
    way = np.random.default_rng(2).normal(size=(60, 2))
    own = replace(own, sky=replace(own.sky, way=way if wind else None))
    fit, held, told = KernelFit(Power(0.5), 3, 20, 0), [], []
    leave_one_out = StationKriging.leave_one_out

    def spied(self, window):
        held.append(len(window.values) * window.values.shape[1] ** 2)
        return leave_one_out(self, window)

    monkeypatch.setattr(StationKriging, "leave_one_out", spied)
    found = []
    for pairs in (1_000_000, 18**2 * 6):
        monkeypatch.setattr("geodiffrecon.stations.kriging.PAIRS", pairs)
        held.clear()
        told.clear()
        kriging = fit(own, np.arange(5, 60), (0, 1), wind=wind, progress=lambda *t: told.append(t))
        scores = fit.score(kriging, own, np.arange(5, 60))
        assert max(held) <= pairs
        found.append((kriging.kernel.state_dict(), scores))
    assert [done for done, _, _ in told] == [*range(1, 13)]  # 4 parts of each of 3 steps
    assert {(of, what) for _, of, what in told} == {(12, "covariance over 2 steps")}
    for name, value in found[0][0].items():
        assert float(found[1][0][name]) == pytest.approx(float(value), abs=1e-8), name
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-8)


def test_a_backward_pass_minds_signals():
    leaf = torch.ones(3, requires_grad=True)
    assert interruptible(leaf * 2)._backward_hooks
    assert not interruptible(torch.ones(3))._backward_hooks


def test_kriging_tells_of_every_part(gappy, monkeypatch):
    layers, own, _ = gappy
    kriging, frames, told = layers.around.kriging, np.arange(30, 42), []
    monkeypatch.setattr("geodiffrecon.stations.kriging.CELLS", 12 * 12 * 4)
    monkeypatch.setattr("geodiffrecon.stations.kriging.PAIRS", 12 * 12 * 3)

    def progress(*event):
        told.append(event)

    kriging.predict(own.anomalies, own.km, frames, places(5, 9), progress=progress)
    assert told == [(4, 12, "kriging"), (8, 12, "kriging"), (12, 12, "kriging")]
    told.clear()
    kriging.left_out(own.anomalies, own.km, frames, None, progress)
    assert [done for done, _, _ in told] == [3, 6, 9, 12]


def test_progress_is_told_within_long_work(gappy, monkeypatch):
    layers, own, times = gappy
    layers = replace(layers, recent=RecentErrors(10, 1.0))
    monkeypatch.setattr(StationKriging, "parts", lambda self, frames, stations: several(3)(frames))
    monkeypatch.setattr("geodiffrecon.stations.surroundings._parts", several(5))
    monkeypatch.setattr("geodiffrecon.stations.kriging.CELLS", 12 * 12 * 4)
    monkeypatch.setattr("geodiffrecon.stations.surroundings.PAIRS", 5 * 8 * 4 * 7)  # runs of 7
    told = []
    layers.forecast(
        own, times, np.arange(30, 50), places(5, 9), np.zeros((5, 0)),
        progress=lambda *t: told.append(t),
    )  # fmt: skip
    for what, of in (("recent errors", 29), ("mapping", 20)):
        done = [t[0] for t in told if t[2] == what]
        assert done == sorted(done)
        assert done[-1] == of
        assert len(set(done)) > 8
        assert {t[1] for t in told if t[2] == what} == {of}
    told.clear()
    Hidden.of(
        layers.around, own, np.arange(24, 60), layers.power, most=10_000,
        progress=lambda *t: told.append(t),
    )  # fmt: skip
    assert {t[1:] for t in told} == {(36, "hiding stations")}
    assert len({t[0] for t in told}) > 8
    assert told[-1][0] == 36


def test_cases_without_tokens_are_the_same_but_for_them(plain):
    layers, own, _ = plain
    frames = np.arange(30, 34)
    ((_, full),) = layers.around.of_stations(own, frames)
    ((_, bare),) = layers.around.of_stations(own, frames, tokens=False)
    assert bare.tokens.shape == (*full.tokens.shape[:2], 0)
    for name in ("seen", "query", "mean", "spread"):
        assert torch.equal(getattr(bare, name), getattr(full, name))


def test_noise_of_spots_is_standard_normal_and_correlated_as_errors_are(plain):
    layers, own, times = plain
    sites = np.array([[60.0, 60.0], [63.0, 60.0], [190.0, 190.0]])
    noise = layers.noise.draw(own, times, np.array([30]), sites, range(1500), 0)[:, 0]
    np.testing.assert_allclose(noise.std(axis=0), 1, atol=0.08)
    found = np.corrcoef(noise.T)
    kriging = layers.around.kriging
    spots = Spots(torch.as_tensor(sites)[None], torch.zeros(3).double(), -torch.arange(1, 4))
    window = kriging.window(own.anomalies, own.km, np.array([30]), None)
    shared = kriging.kernel.field(spots, window.spots)
    errors = kriging.kernel.readings(spots) - shared @ kriging.inverse(window) @ shared.mT
    width = errors[0].diagonal().sqrt()
    expected = (errors[0] / width[:, None] / width).numpy()
    np.testing.assert_allclose(found, expected, atol=0.1)
    assert found[0, 1] > found[0, 2] + 0.15


def test_noise_is_the_same_in_any_company(plain):
    layers, own, times = plain
    sites = places(20, 9)
    together = layers.noise.draw(own, times, np.arange(30, 33), sites, range(6), 5)
    alone = layers.noise.draw(own, times, np.array([31]), sites[[7]], range(4, 5), 5)
    np.testing.assert_allclose(together[4:5, 1:2, 7:8], alone, atol=1e-5)


def test_draws_agree_with_the_distribution_that_they_are_drawn_from(plain):
    layers, own, times = plain
    sites = places(6, 9)
    found = layers.forecast(
        own, times, np.array([30, 45]), sites, np.zeros((6, 0)), draws=range(1200)
    )
    error = found.std / np.sqrt(1200)
    assert (np.abs(found.draws.mean(axis=0) - found.mean) < 4 * error).all()
    np.testing.assert_allclose(found.draws.std(axis=0), found.std, rtol=0.1)
    inside = (found.draws > found.quantile(0.05)) & (found.draws < found.quantile(0.95))
    assert inside.mean() == pytest.approx(0.9, abs=0.01)


def test_memory_makes_day_means_less_sure(plain):
    layers, own, times = plain
    sites, frames = places(4, 9), np.arange(30, 54)
    widths = [
        replace(layers, memory=memory)
        .forecast(own, times, frames, sites, np.zeros((4, 0)), draws=range(60))
        .draws.mean(axis=1).std(axis=0).mean()
        for memory in (ErrorMemory(), ErrorMemory((0.9, 0.0), (0.95, 0.3)))
    ]  # fmt: skip
    assert widths[1] > 2 * widths[0]


def test_the_world_of_these_tests_is_what_it_says():
    km = places(4, 0)
    field = gaussian_field(km, 6000, 0, reach=50.0, memory=0.5)
    apart = np.linalg.norm(km[:, None] - km[None], axis=-1)
    np.testing.assert_allclose(np.corrcoef(field.T), np.exp(-apart / 50), atol=0.06)
    assert np.corrcoef(field[1:, 0], field[:-1, 0])[0, 1] == pytest.approx(0.5, abs=0.04)
    network = network_of(km, concentration(field))
    assert network.values.min() > 0
    assert Places.of(square()).km(network.x, network.y) + 100 == pytest.approx(km)


def test_recent_errors_widen_where_alike_spots_did_badly():
    rng = np.random.default_rng(0)
    errors = rng.standard_normal((400, 6))
    errors[:, 3:] *= 1.5  # the isolated half has lately been harder than stated
    size = np.repeat([[0.0] * 3 + [2.0] * 3], 400, axis=0)
    recent = RecentErrors(steps=200, usual=mean_square(rng.standard_normal(100_000)))
    near, far = recent.factor(errors, size, np.array([[0.0, 2.0]] * 201))[-1]
    assert near == pytest.approx(1.0, abs=0.08)
    assert 1.25 < far < 1.55


def test_recent_errors_forget_what_is_older_than_their_steps_and_need_data():
    errors = np.full((60, 2), 5.0)
    errors[30:] = np.nan
    recent = RecentErrors(steps=20, usual=1.0)
    found = recent.factor(errors, np.zeros((60, 2)), np.zeros((41, 1)))
    assert found[0, 0] > 1.0
    assert found[-1, 0] == 1.0


def test_a_station_does_not_correct_its_own_spread():
    errors = np.zeros((30, 3))
    errors[:, 0] = 3.0
    recent = RecentErrors(steps=30, usual=1.0)
    own = recent.factor(errors, np.zeros((30, 3)), np.zeros((1, 3)), hide_self=True)
    assert own[0, 0] < 1 < own[0, 1]


def test_the_effect_of_a_hidden_place_has_not_seen_its_readings():
    rng = np.random.default_rng(0)
    places = rng.standard_normal((15, 3))
    anomalies = places[:, 0] + 0.5 * rng.standard_normal((200, 15)) + 0.3 * rng.standard_normal(15)
    effect = PlaceEffect.fit(places, anomalies)
    changed = anomalies.copy()
    changed[:, 4] += 100.0
    before, after = effect.hidden(places, anomalies), effect.hidden(places, changed)
    assert effect.penalty > 0
    assert after[4] == pytest.approx(before[4])
    assert abs(after[5] - before[5]) > 1
