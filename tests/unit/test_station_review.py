"""Corners of the station model that a review found wrong: each would break or mislead again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from station_worlds import square, tiny, world

from geodiffrecon.covariates import Covariates
from geodiffrecon.errors import (
    IncompatibleModel,
    InvalidParameter,
    MissingColumn,
    NoObservations,
)
from geodiffrecon.grid import NestedGrid
from geodiffrecon.loading import load
from geodiffrecon.points import PointColumns
from geodiffrecon.stations import layers
from geodiffrecon.stations.bench import Bench
from geodiffrecon.stations.evidence import StationSplit
from geodiffrecon.stations.folds import Fold
from geodiffrecon.stations.model import StationDiffRecon
from geodiffrecon.stations.network import StationNetwork
from geodiffrecon.stations.recipe import bench_of
from geodiffrecon.stations.terrain import Terrain
from geodiffrecon.steps import TimeStep

BARE = {"network": False, "diffusion": False, "kernel_steps": 4}


@pytest.fixture(scope="module")
def small():
    return world()


@pytest.fixture(scope="module")
def recalibrating(small):
    """Return a model that also reads the last days' errors, as the default one does."""
    fresh = StationDiffRecon(settings=tiny(**BARE, recent_days=2.0))
    return fresh.fit(small.network, small.grid)


@pytest.mark.parametrize("stations", [0, 1, 2])
def test_hardly_any_station_still_makes_maps(recalibrating, small, stations):
    values = small.network.values[-30:].copy()
    values[:, stations:] = np.nan
    network = replace(small.network, values=values, times=small.network.times[-30:])
    maps = recalibrating.reconstruct(network)
    assert np.isfinite(maps["pm25_std"]).all()


def test_no_site_is_no_error(recalibrating, small):
    found = recalibrating.at(small.network, np.empty(0), np.empty(0))
    assert found.median.shape == (len(small.network.times), 0)


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_readings_that_never_vary_are_refused(small, value):
    network = replace(small.network, values=np.full_like(small.network.values, value))
    with pytest.raises(InvalidParameter, match=f"are {value:g}, and a model learns from what"):
        StationDiffRecon(settings=tiny(**BARE)).fit(network, small.grid)


def test_an_end_before_all_readings_is_named(small):
    with pytest.raises(NoObservations, match=r"before 2001.*a later --until"):
        StationDiffRecon(settings=tiny(**BARE)).fit(small.network, small.grid, until="2001-01-01")


@pytest.mark.parametrize(("freq", "zone"), [("MS", "Asia/Shanghai"), ("1D", "Europe/London")])
def test_training_ends_where_its_last_step_does(freq, zone):
    step = TimeStep.parse(freq, tz=zone)
    first = int(step.number(np.array(["2010-01-15"], "M8[ns]"))[0])
    for count in range(60, 72):
        times = step.start(np.arange(first, first + count))
        spans = StationSplit.of(np.random.default_rng(0).random((count, 4)), 1).spans(
            times, freq, zone
        )
        ended = np.datetime64(spans["end"].rstrip("Z"))
        assert ended == step.start(np.array([first + count]))[0]
        assert spans["train_end"] <= spans["validation_start"]


def _maps(grid, **maps):
    """Return maps of the fine cells that grow eastwards from the given number."""
    rows, cols = grid.fine_shape
    a, _, c, _, e, f = grid.fine.affine[:6]
    data = {
        name: (("y", "x"), np.zeros((rows, 1)) + first + np.arange(cols))
        for name, first in maps.items()
    }
    axes = {"y": f + e * (np.arange(rows) + 0.5), "x": c + a * (np.arange(cols) + 0.5)}
    return Covariates(tuple(maps), None, xr.Dataset(data, axes))


def test_covariates_of_places_are_found_by_name():
    grid = NestedGrid.from_bounds((0, 0, 8000, 8000), crs=None, shape=(4, 4), factor=2)
    x, y = np.array([1500.0]), np.array([1500.0])
    known = _maps(grid, elevation=10.0, road=500.0)
    terrain = Terrain.of(known, grid)
    usual = terrain.at(known, grid, x, y)
    for other in (_maps(grid, road=500.0, elevation=10.0),
                  _maps(grid, city=1.0, elevation=10.0, road=500.0)):  # fmt: skip
        assert np.array_equal(terrain.at(other, grid, x, y), usual)
    with pytest.raises(MissingColumn, match="lack 'road'"):
        terrain.at(_maps(grid, elevation=10.0), grid, x, y)


class Recipe:
    """A model whose features and holidays a trial has to hand on."""

    calendar_tz = "UTC"
    kind = "real"

    def __init__(self, world):
        self.grid = world.grid
        times = world.network.times
        self.trained = {"train_start": f"{times[0]}Z", "end": f"{times[len(times) // 2]}Z"}

    def info(self):
        return {"external_features": ["wind_u", "wind_v"]}


def test_a_trial_has_the_features_of_the_model_and_no_others(small):
    network, model = small.network, Recipe(small)
    held = np.arange(len(network.names)) < 2
    folds = (Fold(held, ~held),)
    names = ("rain", "wind_v", "wind_u")
    weather = pd.DataFrame(
        np.ones((len(network.times), 3)), pd.DatetimeIndex(network.times), list(names)
    )
    whole = Covariates(names, weather, None)
    bench = bench_of(model, network, folds, (None, None), buffer=0, samples=0, external=whole)
    assert bench.external.names == ("wind_u", "wind_v")
    for lacking in (None, whole.only(["wind_u", "rain"])):
        with pytest.raises(IncompatibleModel, match="which is missing; give it again"):
            bench_of(model, network, folds, (None, None), buffer=0, external=lacking)


def test_baselines_may_fall_below_zero_where_the_model_may():
    hours = np.arange("2024-01-01T00", "2024-01-05T00", dtype="M8[h]").astype("M8[ns]")
    level = np.linspace(5.0, -5.0, len(hours))[:, None] + np.zeros(6)
    around = np.linspace(0, 5, 6)
    network = StationNetwork(
        tuple("abcdef"), around * 1000, around * 700, hours, level, value="t", freq="1h"
    )
    held = np.arange(6) == 2
    bench = Bench(network, square(), (Fold(held, ~held),), 40, 80, samples=0, signed=True)
    found = bench.baseline("idw")(0, bench.folds[0])
    assert np.allclose(found.median[:, 0], level[80:, 2], atol=0.2)


def test_tiles_of_sites_change_nothing(monkeypatch, recalibrating, small):
    day = small.network.between(small.network.times[-80], small.network.times[-70])
    whole = recalibrating.reconstruct(day, samples=3, keep_draws=True)
    monkeypatch.setattr(layers, "TILE", 7)
    tiled = recalibrating.reconstruct(day, samples=3, keep_draws=True)
    for name in whole.data_vars:
        np.testing.assert_allclose(tiled[name], whole[name], rtol=1e-4, atol=1e-4)


def test_weather_of_another_time_is_refused(small):
    hours = pd.date_range("1999-01-01", periods=48, freq="1h")
    weather = Covariates(("wind",), pd.DataFrame({"wind": np.ones(48)}, hours), None)
    with pytest.raises(InvalidParameter, match="'wind' has no value from 20"):
        StationDiffRecon(settings=tiny(**BARE)).fit(small.network, small.grid, external=weather)


def test_units_that_only_the_user_knows_reach_the_maps(small, tmp_path):
    columns = PointColumns("pm25", units="ug m-3")
    model = StationDiffRecon(settings=tiny(**BARE))
    model.fit(small.network, small.grid, columns=columns).save(tmp_path / "m.gdr")
    last = small.network.between(small.network.times[-3], small.network.times[-1])
    maps = load(tmp_path / "m.gdr").reconstruct(last)
    assert maps["pm25"].attrs["units"] == maps["pm25_std"].attrs["units"] == "ug m-3"
