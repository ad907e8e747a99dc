from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from station_worlds import (
    FIRST,
    HOUR,
    concentration,
    gaussian_field,
    network_of,
    places,
    plume_world,
    square,
    tiny,
    world,
)

from geodiffrecon import archive
from geodiffrecon.covariates import Covariates
from geodiffrecon.cube import make_cube
from geodiffrecon.errors import (
    GridMismatch,
    IncompatibleModel,
    InvalidParameter,
    MemoryEstimateExceeded,
    NoObservations,
    NotFitted,
)
from geodiffrecon.loading import load
from geodiffrecon.stations.memory import ErrorMemory
from geodiffrecon.stations.model import StationDiffRecon
from geodiffrecon.stations.places import Places, centres
from geodiffrecon.stations.settings import StationSettings, station_preset
from geodiffrecon.stations.size import MOST_READINGS, check_size
from geodiffrecon.steps import TimeStep

UNTIL = "2024-03-14"
DAY = ("2024-03-15T00", "2024-03-15T23")
BARE = {"network": False, "diffusion": False}
QUICK = tiny(**BARE, kernel_steps=8)


class Told:
    """What a fit said, and how often it reported each kind of progress."""

    def __init__(self):
        self.sentences, self.steps = [], {}

    def log(self, sentence):
        self.sentences.append(sentence)

    def progress(self, done, total, label):
        self.steps[label] = self.steps.get(label, 0) + 1


@pytest.fixture(scope="module")
def small():
    return world()


@pytest.fixture(scope="module")
def model(small):
    """Return a model with every layer, whatever the gates said."""
    fresh = StationDiffRecon(settings=tiny(gated=False), seed=4)
    return fresh.fit(small.network, small.grid, until=UNTIL)


@pytest.fixture(scope="module")
def prior(small):
    """Return a model of kriging and its spread alone."""
    return StationDiffRecon(settings=tiny(**BARE)).fit(small.network, small.grid, until=UNTIL)


@pytest.fixture(scope="module")
def maps(model, small):
    return model.reconstruct(
        small.network, times=DAY, samples=3, seed=2, keep_draws=True, exceed=(35.0, 75.5)
    )


def changed(network, rows, values):
    mended = network.values.copy()
    mended[rows] = values
    return replace(network, values=mended)


def hour_of(network, text):
    return int(np.searchsorted(network.times, np.datetime64(text, "ns")))


def alike(one, two, tolerance=2e-4):
    """Compare maps to the digits that float32 arithmetic in other batches leaves."""
    assert set(one.data_vars) == set(two.data_vars)
    for name in one.data_vars:
        np.testing.assert_allclose(one[name], two[name], rtol=tolerance, atol=tolerance)


# --- maps --------------------------------------------------------------------------------------


def test_maps_hold_what_is_promised(maps, small):
    names = ["std", "q05", "q25", "q50", "q75", "q95", "n_obs", "draws", "distance",
             "information", "exceed_35", "exceed_75.5"]  # fmt: skip
    assert set(maps.data_vars) == {"pm25", *(f"pm25_{name}" for name in names)}
    assert maps.pm25.shape == (24, 8, 8)
    assert maps.pm25_draws.shape == (3, 24, 8, 8)
    assert all(np.isfinite(maps[name]).all() for name in maps.data_vars)
    levels = np.stack([maps[f"pm25_q{q}"] for q in ("05", "25", "50", "75", "95")])
    assert (np.diff(levels, axis=0) >= 0).all()
    assert (maps["pm25_exceed_75.5"] <= maps.pm25_exceed_35).all()
    assert maps.pm25.attrs["units"] == "ug m-3"
    assert maps.attrs["history_used"] == 24
    inside = np.isfinite(small.network.values[hour_of(small.network, "2024-03-15T00")])
    assert int(maps.pm25_n_obs[0].sum()) == inside.sum()


def test_stated_errors_hold_at_stations_that_were_never_seen(model, small):
    found = model.at(small.network, small.hidden.x, small.hidden.y, times=(UNTIL, "2024-03-16T23"))
    rows = np.searchsorted(small.network.times, found.times)
    truth = small.hidden.values[rows]
    inside = (truth > found.quantile(0.05)) & (truth < found.quantile(0.95))
    assert 0.84 < inside.mean() < 0.96
    usual = np.abs(truth - np.nanmean(small.network.values[rows], axis=1, keepdims=True))
    assert np.abs(truth - found.median).mean() < 0.8 * usual.mean()


def test_maps_are_the_same_whatever_steps_are_asked_for_together(model, small, maps):
    hour = ("2024-03-15T07", "2024-03-15T07")
    alone = model.reconstruct(
        small.network, times=hour, samples=3, seed=2, keep_draws=True, exceed=(35.0, 75.5)
    )
    alike(alone, maps.isel(time=[7]))


def test_sites_at_cell_centres_equal_the_map_alone_or_together(model, small, maps):
    x, y = (axis.reshape(8, 8) for axis in centres(small.grid))
    for rows in (np.array([[3, 5]]), np.array([[3, 5], [0, 0], [7, 2]])):
        row, column = rows.T
        found = model.at(
            small.network, x[row, column], y[row, column], times=DAY, samples=2, seed=2
        )
        near = {"rtol": 2e-4, "atol": 2e-4}
        np.testing.assert_allclose(found.mean, maps.pm25.values[:, row, column], **near)
        np.testing.assert_allclose(found.std, maps.pm25_std.values[:, row, column], **near)
        draws = maps.pm25_draws.values[:2, :, row, column]
        np.testing.assert_allclose(found.draws, draws, rtol=2e-3, atol=2e-3)


def test_later_readings_change_no_earlier_map(model, small):
    noon = hour_of(small.network, "2024-03-15T12")
    later = changed(small.network, slice(noon, None), 300.0)
    one, two = (model.reconstruct(n, times=DAY) for n in (small.network, later))
    xr.testing.assert_equal(one.isel(time=slice(0, 12)), two.isel(time=slice(0, 12)))
    assert not np.allclose(one.pm25[12:], two.pm25[12:])


def test_a_station_that_only_reports_later_changes_no_earlier_map(model, small):
    noon = hour_of(small.network, "2024-03-15T12")
    values = np.full((len(small.network.times), 1), np.nan)
    values[noon:] = 300.0
    extra = network_of(np.array([[100.0, 90.0]]), values, "X")
    joined = replace(
        small.network, names=(*small.network.names, "X"),
        x=np.append(small.network.x, extra.x), y=np.append(small.network.y, extra.y),
        values=np.concatenate([small.network.values, values], axis=1),
    )  # fmt: skip
    one, two = (model.reconstruct(n, times=DAY) for n in (small.network, joined))
    alike(one.isel(time=slice(0, 12)), two.isel(time=slice(0, 12)))
    assert not np.allclose(one.pm25[12:], two.pm25[12:])


def test_readings_before_the_history_change_nothing(model, small):
    first = hour_of(small.network, DAY[0])
    older = changed(small.network, slice(0, first - model.history), 300.0)
    shorter = small.network.between(small.network.times[first - model.history], FIRST + 999 * HOUR)
    one, two, three = (
        model.reconstruct(n, times=DAY) for n in (small.network, older, shorter)
    )  # fmt: skip
    xr.testing.assert_equal(one, two)
    alike(one, three)
    last = changed(small.network, first - model.history, 300.0)
    assert not model.reconstruct(last, times=DAY).pm25[0].equals(one.pm25[0])


def test_the_order_of_stations_does_not_matter(model, small, maps):
    order = np.random.default_rng(0).permutation(len(small.network.names))
    mixed = replace(
        small.network, names=tuple(small.network.names[i] for i in order),
        x=small.network.x[order], y=small.network.y[order], values=small.network.values[:, order],
    )  # fmt: skip
    again = model.reconstruct(
        mixed, times=DAY, samples=3, seed=2, keep_draws=True, exceed=(35.0, 75.5)
    )
    xr.testing.assert_equal(again, maps)


def test_a_step_without_any_station_is_mapped_with_a_wide_spread(model, small):
    hour = hour_of(small.network, "2024-03-15T06")
    silent = changed(small.network, slice(hour, hour + 2), np.nan)
    found = model.reconstruct(silent, times=DAY, samples=2, keep_draws=True)
    for name in ("pm25", "pm25_std", "pm25_q05", "pm25_q95", "pm25_draws"):
        assert np.isfinite(found[name]).all()
    assert float(found.pm25_std[7].mean()) > 1.2 * float(found.pm25_std[8:].mean())
    assert not found.pm25_information[6:8].any()
    assert found.pm25_information[8].any()
    assert np.isnan(found.pm25_distance[6:8]).all()
    assert not found.pm25_n_obs[6:8].any()
    sites = model.at(silent, small.hidden.x, small.hidden.y, times=DAY)
    assert np.isinf(sites.distance_km[6:8]).all()


def test_a_file_without_any_reading_maps_what_is_usual(prior, small):
    hour = hour_of(small.network, "2024-03-15T06")
    cut = small.network.between(small.network.times[hour], small.network.times[hour + 2])
    silent = replace(cut, values=np.full_like(cut.values, np.nan))
    found = prior.reconstruct(silent)
    assert np.isfinite(found.pm25).all()
    assert found.attrs["history_used"] == 0
    assert not found.pm25_information.any()
    assert float(np.abs(found.pm25 - np.nanmean(small.network.values)).max()) < 15
    assert float(found.pm25_std.min()) > 10


def test_far_from_all_stations_there_is_no_information(model, small):
    reach = model.info()["reach_km"]
    west, south, _, _ = small.grid.bounds
    found = model.at(small.network, [west - 900_000, small.network.x[0]],
                     [south, small.network.y[0]], times=DAY)  # fmt: skip
    assert found.distance_km[0, 0] > reach
    assert not found.information[:, 0].any()
    assert found.information[:, 1].any()
    assert (found.std[:, 0] > found.std[:, 1]).all()


# --- draws -------------------------------------------------------------------------------------


def test_the_same_seed_makes_the_same_draws_however_many(model, small, maps):
    more = model.reconstruct(small.network, times=DAY, samples=8, seed=2, keep_draws=True)
    np.testing.assert_allclose(more.pm25_draws[:3], maps.pm25_draws, rtol=1e-4, atol=1e-4)
    again = model.reconstruct(small.network, times=DAY, samples=8, seed=2, keep_draws=True)
    assert again.pm25_draws.values.tobytes() == more.pm25_draws.values.tobytes()
    other = model.reconstruct(small.network, times=DAY, samples=8, seed=3, keep_draws=True)
    assert not np.allclose(other.pm25_draws, more.pm25_draws)
    xr.testing.assert_equal(other.pm25, more.pm25)
    xr.testing.assert_equal(other.pm25_std, more.pm25_std)


def test_draws_have_the_mean_and_spread_of_the_maps(prior, small):
    hour = ("2024-03-15T07", "2024-03-15T07")
    found = prior.reconstruct(small.network, times=hour, samples=400, keep_draws=True)
    bias = (found.pm25_draws.mean("realization") - found.pm25) / found.pm25_std
    assert float(np.abs(bias).max()) < 4.5 / np.sqrt(400)
    spread = found.pm25_draws.std("realization") / found.pm25_std
    assert float(spread.mean()) == pytest.approx(1, abs=0.06)


def test_diffusion_draws_are_near_the_stated_spread(model, small):
    hour = ("2024-03-15T07", "2024-03-15T07")
    found = model.reconstruct(small.network, times=hour, samples=200, keep_draws=True)
    spread = found.pm25_draws.std("realization") / found.pm25_std
    assert 0.6 < float(spread.mean()) < 1.5


def test_neighbouring_cells_vary_together_more_than_far_ones(prior, small):
    hour = ("2024-03-15T07", "2024-03-15T07")
    found = prior.reconstruct(small.network, times=hour, samples=300, keep_draws=True)
    draws = found.pm25_draws.values[:, 0]
    shares = np.corrcoef(draws.reshape(300, -1).T).reshape(8, 8, 8, 8)
    near = np.mean([shares[i, j, i, j + 1] for i in range(8) for j in range(7)])
    far = np.mean([shares[i, 0, i, 7] for i in range(8)])
    assert near > far + 0.1


def test_day_means_are_less_sure_when_errors_last(prior, small):
    def width(memory):
        layers, prior._layers = prior._layers, replace(prior._layers, memory=memory)
        found = prior.at(small.network, small.hidden.x, small.hidden.y, times=DAY, samples=60)
        prior._layers = layers
        return found.draws.mean(axis=1).std(axis=0).mean()

    fitted = prior._layers.memory
    assert sum(fitted.shares) > 0.3
    assert width(fitted) > 1.3 * width(ErrorMemory())


# --- files -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "m.gdr"
    model.save(folder)
    return folder


def test_a_loaded_model_makes_the_same_maps(model, saved, small, maps):
    again = load(saved)
    assert isinstance(again, StationDiffRecon)
    assert again.info() == model.info()
    found = again.reconstruct(
        small.network, times=DAY, samples=3, seed=2, keep_draws=True, exceed=(35.0, 75.5)
    )
    xr.testing.assert_identical(found, maps)


def test_info_says_what_the_model_is(model):
    about = json.loads(json.dumps(model.info()))
    assert about["form"] == "stations"
    assert (about["value"], about["units"], about["kind"]) == ("pm25", "ug m-3", "positive")
    assert about["stations"] == 20
    assert about["end"] == "2024-03-14T00:00:00Z"
    assert about["history"] == model.history == 24
    assert len(about["verdicts"]) == 4
    for layer, verdict in zip(("readings of 2", "local", "network", "diffusion"),
                              about["verdicts"], strict=True):  # fmt: skip
        assert verdict.startswith(layer)


def spoilt(saved, folder, change):
    """A model directory whose settings were changed by one who knows how hashes are made."""
    config, arrays = archive.read(saved)
    change(config)
    archive.write(folder / "spoilt.gdr", config, arrays)
    return folder / "spoilt.gdr"


def test_damaged_models_are_refused_in_one_sentence(saved, tmp_path):
    def unknown(config):
        config["settings"]["sharpness"] = 3

    with pytest.raises(IncompatibleModel, match="unknown setting 'sharpness'"):
        load(spoilt(saved, tmp_path, unknown))
    (tmp_path / "spoilt.gdr").rename(tmp_path / "one.gdr")
    with pytest.raises(IncompatibleModel, match="does not fit its settings"):
        load(spoilt(saved, tmp_path, lambda config: config["settings"].update(width=32)))
    (weights,) = (tmp_path / "one.gdr").glob("model-*.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(IncompatibleModel, match="is damaged"):
        load(tmp_path / "one.gdr")


def test_the_same_seed_and_data_fit_the_same_model_whatever_comes_later(small):
    settings = tiny(kernel_steps=4, steps=3, gated=False)
    later = changed(small.network, slice(hour_of(small.network, UNTIL), None), 300.0)
    one, two = (
        StationDiffRecon(settings=settings).fit(network, small.grid, until=UNTIL)
        for network in (small.network, later)
    )  # fmt: skip
    assert one.model_hash == two.model_hash


# --- fitting -----------------------------------------------------------------------------------


def test_every_layer_is_judged_and_the_log_says_so(small):
    told = Told()
    StationDiffRecon(settings=tiny(steps=3)).fit(
        small.network, small.grid, until=UNTIL, log=told.log, progress=told.progress
    )
    kind, *layers = told.sentences
    assert kind.startswith("Values are positive")
    assert [s.split(":")[0] for s in layers] == [
        "readings of 2 steps", "local spread", "network", "diffusion",
    ]  # fmt: skip
    assert all("kept" in s or "left out" in s for s in layers)
    assert told.steps["covariance over 1 steps"] == 25


def test_the_wind_of_a_plume_is_found_and_kept():
    blown, told = plume_world(), Told()
    model = StationDiffRecon(settings=tiny(**BARE))
    model.fit(blown.network, blown.grid, external=blown.external, log=told.log)
    drift = float(model._layers.around.kriging.kernel.drift)
    assert 0.6 < drift < 1.4
    assert any(s.startswith("readings of the past drift with the wind: kept")
               for s in told.sentences)  # fmt: skip
    with pytest.raises(IncompatibleModel, match="wind_u"):
        model.reconstruct(blown.network)


def elevated():
    """Return a network whose readings fall with elevation, the map of it, and hidden stations."""
    grid, km = square(factor=4), places(36, 8)
    height = np.random.default_rng(2).gamma(2, 200, grid.fine_shape).astype(np.float32)
    elevation = xr.Dataset({"elevation": (grid.dims, height)}, dict(grid.coords("fine")))
    row, column, _ = grid.cell_of(400_000 + 1000 * km[:, 0], 4_400_000 + 1000 * km[:, 1],
                                  level="fine")  # fmt: skip
    z = 0.5 * gaussian_field(km, 300, 3) - 1.2 * (height[row, column] - 400) / 300
    values = concentration(z + 2)
    external = Covariates(("elevation",), None, elevation)
    return grid, network_of(km[:28], values[:, :28]), network_of(km[28:], values[:, 28:]), external


def test_elevation_helps_where_it_matters():
    grid, given, hidden, external = elevated()
    errors = []
    for known in (None, external):
        model = StationDiffRecon(settings=QUICK).fit(given, grid, external=known)
        days = ("2024-03-08", "2024-03-12")
        found = model.at(given, hidden.x, hidden.y, external=known, times=days)
        rows = np.searchsorted(given.times, found.times)
        errors.append(np.abs(hidden.values[rows] - found.median).mean())
        assert model.info()["external_features"] == (["elevation"] if known else [])
    assert errors[1] < 0.6 * errors[0]
    with pytest.raises(IncompatibleModel, match="cell covariates elevation"):
        model.reconstruct(given)


def history(grid, hours=240, seed=9):
    x, y = centres(grid)
    field = gaussian_field(Places.of(grid).km(x, y), hours, seed)
    values = concentration(field).reshape(hours, *grid.fine_shape).astype(np.float32)
    times = FIRST - 9000 * HOUR + np.arange(hours) * HOUR
    return make_cube(values, times, grid, value="pm25", level="fine", freq="1h")


def test_a_complete_history_comes_first(small):
    told = Told()
    cube = history(small.grid)
    model = StationDiffRecon(settings=tiny(steps=5, gated=False, diffusion=False))
    model.fit(small.network, small.grid, until=UNTIL, pretrain=cube, log=told.log,
              progress=told.progress)  # fmt: skip
    kind, first = told.sentences[:2]
    assert kind.startswith("Values are positive")
    assert first.startswith("Pre-training on ")
    assert "20 cells of the complete history" in first
    assert told.steps["pre-training 1"] == 5
    assert np.isfinite(model.reconstruct(small.network, times=DAY).pm25).all()
    with pytest.raises(GridMismatch, match="fine cube"):
        StationDiffRecon(settings=tiny()).fit(
            small.network, small.grid, until=UNTIL, pretrain=cube.assign_attrs(level="coarse")
        )


def test_training_stops_when_its_time_is_over(small):
    told = Told()
    ticks = iter([0.0])
    StationDiffRecon(settings=tiny(gated=False)).fit(
        small.network, small.grid, until=UNTIL, max_minutes=0.5, clock=lambda: next(ticks, 31.0),
        progress=told.progress,
    )  # fmt: skip
    assert told.steps["network 1"] == 2  # one step, and one when fitted again to everything
    assert told.steps["diffusion"] == 2


@pytest.mark.parametrize("steps_per_day", [1, 8])
def test_other_steps_than_hours(steps_per_day):
    km = places(12, 3)
    values = concentration(gaussian_field(km, 160, 4))
    step = 24 // steps_per_day
    network = replace(
        network_of(km, values), freq=f"{step}h" if step < 24 else "1D",
        times=FIRST + np.arange(160) * step * HOUR,
    )  # fmt: skip
    model = StationDiffRecon(settings=QUICK).fit(network, square())
    found = model.reconstruct(network.between(network.times[100], network.times[-1]), samples=2)
    assert np.isfinite(found.pm25).all()
    assert found.sizes["time"] == 59


def test_values_with_a_sign_stay_as_they_are():
    km = places(14, 6)
    z = 3 * gaussian_field(km, 240, 6)
    network = replace(network_of(km, z), value="temperature", units="degC")
    model = StationDiffRecon(settings=QUICK).fit(network, square())
    assert model.kind == "real"
    found = model.reconstruct(network, times=("2024-03-09", "2024-03-09T05"))
    assert float(found.temperature.min()) < 0 < float(found.temperature.max())


def test_a_few_impossible_readings_do_not_make_a_concentration_signed(small):
    odd = small.network.values.copy()
    odd[::50, 3] = -1.0
    told = StationDiffRecon(settings=QUICK)
    told.fit(replace(small.network, values=odd), small.grid, until=UNTIL)
    assert told.kind == "positive"
    assert (
        float(told.reconstruct(replace(small.network, values=odd), times=DAY).pm25_q05.min()) >= 0
    )


def test_stations_that_were_silent_in_training_are_not_counted(small):
    values = small.network.values.copy()
    values[: hour_of(small.network, UNTIL), :2] = np.nan
    late = replace(small.network, values=values)
    model = StationDiffRecon(settings=QUICK).fit(late, small.grid, until=UNTIL)
    assert model.info()["stations"] == 18
    one = StationDiffRecon(settings=QUICK).fit(
        late.only(np.arange(20) >= 2), small.grid, until=UNTIL
    )
    assert one.model_hash == model.model_hash


def test_what_cannot_be_fitted_is_said_in_one_sentence(small):
    fresh = StationDiffRecon(settings=tiny())
    with pytest.raises(NotFitted, match="not fitted"):
        fresh.reconstruct(small.network)
    with pytest.raises(NotFitted):
        _ = fresh.history
    with pytest.raises(InvalidParameter, match="real or positive"):
        fresh.fit(small.network, small.grid, kind="count")
    with pytest.raises(NoObservations, match="at least 3 stations"):
        fresh.fit(small.network.only(np.arange(20) < 2), small.grid)
    with pytest.raises(NoObservations, match="give a later --until"):
        fresh.fit(small.network, small.grid, until="2020-01-01")
    with pytest.raises(InvalidParameter, match="default or tiny"):
        station_preset("paper")


def test_readings_of_another_step_are_refused(prior, small):
    with pytest.raises(GridMismatch, match="steps of 3h, the model of 1h"):
        prior.reconstruct(replace(small.network, freq="3h"))


def test_settings_survive_json():
    one = tiny(lags=(0, 1, 3), wind=False)
    assert StationSettings.from_dict(json.loads(json.dumps(one.to_dict()))) == one


@pytest.mark.slow
def test_the_tiny_preset_fits_in_seconds(small):
    began = time.process_time()
    StationDiffRecon(preset="tiny").fit(small.network, small.grid)
    assert time.process_time() - began < 10


def crowd(small, count, hours=60):
    """Return `count` stations anywhere on the grid of `small`, as its readings are called."""
    grid = small.grid
    rng = np.random.default_rng(1)
    west, south, east, north = grid.bounds
    x, y = rng.uniform(west, east, count), rng.uniform(south, north, count)
    values = 20 + rng.gamma(4, 2, (hours, count))
    return replace(
        small.network, names=tuple(f"n{i}" for i in range(count)), x=x, y=y, values=values,
        times=FIRST + np.arange(hours) * HOUR,
    )  # fmt: skip


def test_more_stations_than_kriging_takes_are_refused_before_any_work(prior, small):
    lags = len(prior._layers.around.kriging.lags)
    many = crowd(small, MOST_READINGS // lags + 1)
    began, told = time.monotonic(), Told()
    with pytest.raises(InvalidParameter, match=rf"{len(many.names)} stations.*at most"):
        prior.reconstruct(many, progress=told.progress)
    settings = replace(QUICK, lags=(0, 1))
    many = crowd(small, MOST_READINGS // 2 + 1)
    with pytest.raises(InvalidParameter, match=r"at most 1000; thin them out"):
        StationDiffRecon(settings=settings).fit(many, small.grid, progress=told.progress)
    assert time.monotonic() - began < 5
    assert not told.steps


def test_what_does_not_fit_into_memory_is_refused_before_any_work(prior, small, monkeypatch):
    monkeypatch.setattr("geodiffrecon.stations.size.free_memory", lambda: 300 * 2**20)
    many, told = crowd(small, MOST_READINGS // len(prior._layers.around.kriging.lags)), Told()
    sentence = rf"Kriging from {len(many.names)} stations .* needs about .* and 0.3 GiB are free"
    with pytest.raises(MemoryEstimateExceeded, match=sentence):
        prior.reconstruct(many, progress=told.progress)
    with pytest.raises(MemoryEstimateExceeded, match="thin the stations out"):
        StationDiffRecon(settings=replace(QUICK, lags=(0,))).fit(many, small.grid)
    assert not told.steps
    check_size(10, 1)
    with pytest.raises(MemoryEstimateExceeded):
        check_size(10, 4, sites=2_000_000)
    monkeypatch.setattr("geodiffrecon.stations.size.free_memory", lambda: 0)  # not known
    check_size(500, 4)


def test_more_steps_than_readings_are_refused():
    with pytest.raises(InvalidParameter, match=r"2001 steps at once.*at most 2000 readings"):
        check_size(3, 2001)


def test_a_fit_to_many_stations_sees_every_part_of_the_record(small):
    told = Told()
    settings = replace(QUICK, rows=4000, kernel_steps=2, lags=(0,))
    many = crowd(small, 90, hours=140)  # 44 of 140 frames are hidden: fewer than one run
    found = StationDiffRecon(settings=settings).fit(many, small.grid, progress=told.progress)
    assert np.isfinite(found._layers.shape).all()


@pytest.mark.parametrize("where", ["fit", "load"])
def test_a_device_that_is_not_there_is_refused(small, saved, where, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    estimator = StationDiffRecon(settings=QUICK, device="cuda")
    use = {
        "fit": lambda: estimator.fit(small.network, small.grid),
        "load": lambda: load(saved, device="cuda"),
    }  # fmt: skip
    with pytest.raises(InvalidParameter, match="device is cuda, but torch finds no GPU"):
        use[where]()
    with pytest.raises(InvalidParameter, match="must be auto, cpu or cuda, not 'tpu'"):
        load(saved, device="tpu")


def test_draws_of_days_differ_across_a_clock_change(small, tmp_path):
    days = np.array(["2024-03-30T00", "2024-03-31T00", "2024-03-31T23"], "datetime64[ns]")
    network = replace(
        crowd(small, 12, hours=3), times=days, freq="1D", calendar_tz="Europe/London",
        values=np.full((3, 12), 20.0),
    )  # fmt: skip
    long = crowd(small, 12, hours=120)
    step = TimeStep.parse("1D", tz="Europe/London")
    first = int(step.number(days[:1])[0])
    record = replace(
        long, freq="1D", calendar_tz="Europe/London", times=step.start(first - 121 + np.arange(120))
    )
    model = StationDiffRecon(settings=replace(QUICK, lags=(0,))).fit(record, small.grid)
    draws = model.reconstruct(network, samples=2, keep_draws=True)["pm25_draws"].to_numpy()
    assert len(np.unique(draws[0, :, 0, 0])) == 3
    model.save(tmp_path / "model")
    assert load(tmp_path / "model")._layers.step == model._layers.step == step
