from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from geodiffrecon.covariates import Covariates, open_covariates
from geodiffrecon.errors import (
    GridMismatch,
    InvalidParameter,
    InvalidTime,
    MissingColumn,
    UnreadableFile,
)


def at(*texts):
    return np.array(texts, dtype="datetime64[ns]")


def write(tmp_path, text):
    path = tmp_path / "weather.csv"
    path.write_text(text)
    return path


def test_csv_per_time_in_utc(tmp_path):
    path = write(tmp_path, "time,wind,site\n2024-01-02 08:00,3,a\n2024-01-01 08:00,,a\n")
    weather = open_covariates(path, tz="Asia/Shanghai")
    assert weather.names == ("wind",)
    assert weather.per_time.index[0] == pd.Timestamp("2024-01-01")
    assert "site" in weather.notes[0]
    aligned = weather.align(at("2023-12-31", "2024-01-01", "2024-01-02T23:00", "2024-01-03"))
    np.testing.assert_array_equal(aligned, [[np.nan], [np.nan], [3], [np.nan]])


@given(st.integers(0, 2**32 - 1))
def test_the_future_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    index = pd.date_range("2024-01-01", periods=20, freq="3h")
    table = pd.DataFrame(rng.normal(size=(20, 2)), index, ["a", "b"])
    times = pd.date_range("2024-01-01", periods=48, freq="h").to_numpy()
    now = int(rng.integers(0, 48))
    changed = table.copy()
    changed.loc[index > times[now]] = 99.0
    before, after = (Covariates(("a", "b"), t, None).align(times) for t in (table, changed))
    np.testing.assert_array_equal(before[: now + 1], after[: now + 1])


def test_maps_per_cell_find_their_level(tmp_path, grid):
    height = np.arange(48, dtype=np.float32).reshape(6, 8)
    data = xr.Dataset(coords=grid.coords("fine"))
    data["height"] = (("latitude", "longitude"), height)
    data.isel(latitude=slice(None, None, -1)).to_netcdf(tmp_path / "land.nc")
    land = open_covariates(tmp_path / "land.nc")
    values, level = land.cells(grid)
    assert level == "fine"
    np.testing.assert_array_equal(values[0], height)
    assert land.align(at("2024-01-01")).shape == (1, 0)
    with pytest.raises(GridMismatch, match=r"6 × 8 cells, but the grid has"):
        land.cells(grid.crop((0, 4), (0, 4)))


def test_netcdf_per_time(tmp_path):
    data = xr.Dataset(
        {"rain": ("time", [1.0, 2.0])}, {"time": pd.date_range("2024-01-01", periods=2)}
    )
    data.to_netcdf(tmp_path / "rain.nc")
    aligned = open_covariates(tmp_path / "rain.nc").align(at("2024-01-02"))
    assert aligned.tolist() == [[2.0]]


def test_failures_give_one_sentence(tmp_path):
    with pytest.raises(UnreadableFile, match="does not exist"):
        open_covariates(tmp_path / "absent.csv")
    with pytest.raises(MissingColumn, match="no column 'time'; its columns are day, wind"):
        open_covariates(write(tmp_path, "day,wind\n2024-01-01,3\n"))
    with pytest.raises(InvalidTime, match="has no zone"):
        open_covariates(write(tmp_path, "time,wind\n2024-01-01,3\n"))
    with pytest.raises(InvalidTime, match="occurs twice"):
        open_covariates(write(tmp_path, "time,wind\n2024-01-01,3\n2024-01-01,4\n"), tz="UTC")
    with pytest.raises(MissingColumn, match="no numeric column"):
        open_covariates(write(tmp_path, "time,wind\n2024-01-01T00:00Z,calm\n"))
    with pytest.raises(UnreadableFile):
        open_covariates(write(tmp_path, ""))
    cube = xr.Dataset({"t": (("time", "y", "x"), np.zeros((1, 2, 2)))})
    cube.to_netcdf(tmp_path / "cube.nc")
    with pytest.raises(InvalidParameter, match="per cell"):
        open_covariates(tmp_path / "cube.nc")


@pytest.mark.data
def test_real_weather_opens(data_dir):
    weather = open_covariates(data_dir / "beijing_weather_public.csv")
    assert "wind_u" in weather.names
    assert weather.notes == ()
    assert np.isfinite(weather.align(at("2014-08-01T00:30"))).all()


def test_categories_per_cell_are_one_map_for_each_class(tmp_path):
    flags = {"flag_values": np.array([1, 2, 5], "i1"), "flag_meanings": "water forest crop"}
    codes = np.array([[1, 2], [5, 5]], "i1")
    axes = {"lat": ("lat", [40.5, 39.5], {"units": "degrees_north"}),
            "lon": ("lon", [116.5, 117.5], {"units": "degrees_east"})}  # fmt: skip
    cover = xr.Dataset({"cover": (("lat", "lon"), codes, flags)}, axes)
    cover.to_netcdf(tmp_path / "cover.nc")
    found = open_covariates(tmp_path / "cover.nc")
    assert found.names == ("cover_water", "cover_forest", "cover_crop")
    assert found.per_cell["cover_crop"].values.tolist() == [[0, 0], [1, 1]]
    assert "categories" in found.notes[0]
    series = xr.Dataset(
        {"code": ("time", codes[0], flags)}, {"time": pd.date_range("2024", periods=2)}
    )
    series.to_netcdf(tmp_path / "series.nc")
    with pytest.raises(UnreadableFile, match="cannot be averaged"):
        open_covariates(tmp_path / "series.nc")
