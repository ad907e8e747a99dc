from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from affine import Affine

from geodiffrecon.cf import write_netcdf
from geodiffrecon.cube import aggregate, fingerprint
from geodiffrecon.errors import (
    GridMismatch,
    InvalidParameter,
    InvalidTime,
    MissingColumn,
    MissingCRS,
    NoObservations,
    UnreadableFile,
)
from geodiffrecon.geotiff import write_geotiff
from geodiffrecon.grid import NestedGrid
from geodiffrecon.history import open_cube, open_history


def write_maps(path, values, *, times=None, flip=False, units=("degrees_north", "degrees_east")):
    """Write a plain CF file such as other software makes."""
    steps, rows, cols = values.shape
    times = pd.date_range("2024-01-01", periods=steps, freq="h") if times is None else times
    data = xr.Dataset(
        {"t": (("time", "lat", "lon"), values)},
        {"time": times, "lat": 50 - 0.5 * np.arange(rows), "lon": 10 + 0.5 * np.arange(cols)},
    )
    data.lat.attrs["units"], data.lon.attrs["units"] = units
    data = data.isel(lat=slice(None, None, -1)) if flip else data
    data.to_netcdf(path)
    return path


@pytest.fixture
def values():
    return np.random.default_rng(0).random((4, 4, 6)).astype(np.float32)


def write_raster(path, values, *, names=None, tags=None, **options):
    profile = {
        "driver": "GTiff",
        "count": len(values),
        "height": values.shape[1],
        "width": values.shape[2],
        "dtype": values.dtype,
        "crs": "EPSG:32650",
        "transform": Affine(1000, 0, 4e5, 0, -1000, 4.5e6),
    }
    with rasterio.open(path, "w", **{**profile, **options}) as target:
        target.write(values)
        for i in range(len(values)):
            if names:
                target.set_band_description(i + 1, names[i])
            if tags:
                target.update_tags(i + 1, TIME=tags[i])
    return path


def test_rows_are_turned_north_up(tmp_path, values):
    down = open_history(write_maps(tmp_path / "a.nc", values), factor=2)
    up = open_history(write_maps(tmp_path / "b.nc", values, flip=True), factor=2)
    np.testing.assert_array_equal(down.t.values, values)
    assert fingerprint(up) == fingerprint(down)
    assert NestedGrid.of(up).bounds == (9.75, 48.25, 12.75, 50.25)
    assert "EPSG:4326" in up.attrs["notes"][0]


def test_gaps_become_frames_of_nan(tmp_path, values):
    times = pd.DatetimeIndex(["2024-01-01T00", "2024-01-01T02", "2024-01-01T01", "2024-01-01T05"])
    cube = open_history(write_maps(tmp_path / "a.nc", values, times=times), factor=2)
    assert cube.sizes["time"] == 6
    assert cube.attrs["freq"] == "1h"
    assert np.isnan(cube.t.values).all(axis=(1, 2)).tolist() == [False] * 3 + [True] * 2 + [False]
    np.testing.assert_array_equal(cube.t.values[1], values[2])


def test_irregular_or_double_times_are_refused(tmp_path, values):
    odd = pd.DatetimeIndex(["2024-01-01T00", "2024-01-01T01", "2024-01-01T02:20", "2024-01-01T05"])
    with pytest.raises(InvalidTime, match="on no regular step; give the step with --freq"):
        open_history(write_maps(tmp_path / "a.nc", values, times=odd), factor=2)
    twice = pd.DatetimeIndex(["2024-01-01T00"] * 2 + ["2024-01-01T01", "2024-01-01T02"])
    with pytest.raises(InvalidTime, match="occurs twice"):
        open_history(write_maps(tmp_path / "b.nc", values, times=twice), factor=2)


def test_packed_values_come_in_true_units(tmp_path):
    data = xr.Dataset(
        {"t": (("time", "y", "x"), np.array([[[1.5, np.nan], [3.0, 4.5]]] * 2))},
        {"time": pd.date_range("2024-01-01", periods=2), "y": [1.0, 0.0], "x": [0.0, 1.0]},
    )
    packing = {"dtype": "uint16", "scale_factor": 0.5, "add_offset": 1.0, "_FillValue": 65535}
    data.to_netcdf(tmp_path / "a.nc", encoding={"t": packing})
    cube = open_history(tmp_path / "a.nc", factor=1, crs="none")
    np.testing.assert_array_equal(cube.t.values[0], [[1.5, np.nan], [3.0, 4.5]])
    assert cube.t.dtype == np.float32
    assert cube.t.dims == ("time", "y", "x")


def test_lower_time_bounds_are_the_starts(tmp_path, values):
    noon = pd.date_range("2024-01-01T12:00", periods=4)
    path = write_maps(tmp_path / "a.nc", values, times=noon)
    data = xr.load_dataset(path)
    start = noon - pd.Timedelta("12h")
    data["tb"] = (("time", "nv"), np.stack([start, start + pd.Timedelta("1D")], axis=1))
    data.time.attrs["bounds"] = "tb"
    data.time.encoding["units"] = "hours since 2024-01-01"
    data.to_netcdf(path)
    assert open_history(path, factor=2).time.values[0] == np.datetime64("2024-01-01")


def test_a_crs_is_needed_where_axes_are_not_in_degrees(tmp_path, values):
    path = write_maps(tmp_path / "a.nc", values, units=("km", "km"))
    with pytest.raises(MissingCRS, match="--crs none for local metres"):
        open_history(path, factor=2)
    assert NestedGrid.of(open_history(path, factor=2, crs="none")).crs is None


@pytest.mark.parametrize("units", [("", ""), ("degrees", "degrees"), ("deg", "deg")])
def test_axes_called_lat_and_lon_are_degrees_and_that_is_said(tmp_path, values, units):
    cube = open_history(write_maps(tmp_path / "a.nc", values, units=units), factor=2)
    assert str(NestedGrid.of(cube).crs) == "EPSG:4326"
    assert cube.attrs["notes"] == ["Axes 'lat' and 'lon' are taken as degrees: EPSG:4326 is used."]


def test_axes_called_lat_that_leave_the_earth_are_refused(tmp_path, values):
    with xr.open_dataset(write_maps(tmp_path / "a.nc", values, units=("", ""))) as opened:
        opened.load().assign_coords(lat=4e6 - 500 * np.arange(4)).to_netcdf(tmp_path / "b.nc")
    with pytest.raises(GridMismatch, match="they are of another CRS: give it with --crs"):
        open_history(tmp_path / "b.nc", factor=2)


def test_parts_by_rows_bounds_trim_and_grid_agree(tmp_path):
    values = np.random.default_rng(0).random((4, 5, 7)).astype(np.float32)
    path = write_maps(tmp_path / "a.nc", values)
    with pytest.raises(GridMismatch, match=r"add --trim to keep rows 0:4 and columns 0:6"):
        open_history(path, factor=2)
    trimmed = open_history(path, factor=2, trim=True)
    by_rows = open_history(path, factor=2, rows=(0, 4), cols=(0, 6))
    by_bounds = open_history(path, factor=2, bounds=(9.75, 48.25, 12.75, 50.25))
    by_grid = open_history(path, grid=NestedGrid.of(trimmed))
    assert len({fingerprint(c) for c in (trimmed, by_rows, by_bounds, by_grid)}) == 1
    with pytest.raises(InvalidParameter, match="one of grid, bounds, or rows"):
        open_history(path, factor=2, rows=(0, 4), bounds=(0, 0, 1, 1))
    with pytest.raises(NoObservations, match="No cell of the file lies inside the bounds"):
        open_history(path, factor=2, bounds=(0, 0, 1, 1))
    with pytest.raises(InvalidParameter, match="Give the factor"):
        open_history(path)
    other = NestedGrid.from_bounds((10, 48, 12, 50), crs="EPSG:4326", shape=(4, 4))
    with pytest.raises(GridMismatch, match="do not hold the grid"):
        open_history(path, grid=other)


def test_a_cube_file_comes_back_as_it_was(tmp_path, cube):
    path = write_netcdf(cube, tmp_path / "cube.nc")
    again = open_history(path)
    assert fingerprint(again) == fingerprint(cube)
    assert again.attrs == cube.attrs
    np.testing.assert_array_equal(again.pm25_n_obs, cube.pm25_n_obs)
    coarse = aggregate(cube)
    opened = open_cube(write_netcdf(coarse, tmp_path / "coarse.nc"))
    assert fingerprint(opened) == fingerprint(coarse)
    assert opened.attrs["level"] == "coarse"


def test_a_raster_of_ours_comes_back_as_it_was(tmp_path, cube):
    again = open_history(write_geotiff(cube, tmp_path)[0])
    assert fingerprint(again) == fingerprint(cube)
    assert again.attrs == cube.attrs
    assert again.pm25.attrs["units"] == "ug m-3"


def test_foreign_rasters_honour_nodata_scale_offset_and_tags(tmp_path):
    raw = np.array([[[1, 2], [3, -1]], [[5, 6], [7, 8]]], dtype=np.int16)
    path = write_raster(
        tmp_path / "a.tif", raw, tags=["2024-01-01T06:00:00Z", "2024-01-01T12:00Z"], nodata=-1
    )
    with rasterio.open(path, "r+") as target:
        target.scales, target.offsets, target.units = (0.5, 0.5), (10.0, 10.0), ("K", "K")
    cube = open_cube(path, factor=4)
    np.testing.assert_array_equal(cube.value.values[0], [[10.5, 11], [11.5, np.nan]])
    assert cube.attrs["factor"] == 4
    assert cube.attrs["freq"] == "6h"
    assert cube.value.attrs["units"] == "K"
    assert cube.time.values[0] == np.datetime64("2024-01-01T06:00")


@pytest.mark.parametrize(
    ("names", "tz", "first", "notes"),
    [
        (["pm25 mean 2024-01-01", "pm25 mean 2024-01-02"], "Asia/Shanghai", "2023-12-31T16", 0),
        (["no2 20240101T0600Z", "no2 20240101T0700Z"], None, "2024-01-01T06", 0),
        (["a 2024-01-01 06:00", "a 2024-01-01 07:00"], None, "2024-01-01T06", 1),
    ],
)
def test_times_from_band_descriptions(tmp_path, names, tz, first, notes):
    raw = np.ones((2, 2, 2), np.float32)
    path = write_raster(tmp_path / "a.tif", raw, names=names)
    cube = open_history(path, factor=2, calendar_tz=tz)
    assert cube.time.values[0] == np.datetime64(first)
    assert cube.attrs["value"] == names[0].split()[0]
    assert len(cube.attrs.get("notes", [])) == notes


def test_a_south_up_raster_is_turned(tmp_path):
    raw = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    names = ["a 2024-01-01", "a 2024-01-02"]
    path = write_raster(
        tmp_path / "a.tif", raw, names=names, transform=Affine(1000, 0, 4e5, 0, 1000, 4.498e6)
    )
    cube = open_history(path, factor=2)
    np.testing.assert_array_equal(cube.a.values, raw[:, ::-1])
    assert NestedGrid.of(cube).bounds == (4e5, 4.498e6, 4.02e5, 4.5e6)


def test_rasters_without_times_need_them(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.ones((2, 2, 2), np.float32))
    with pytest.raises(InvalidTime, match=r"its 2 bands have no time .* give them with --times"):
        open_history(path, factor=2)
    cube = open_history(path, factor=2, times=["2024-01-01", "2024-01-02"])
    assert cube.attrs["freq"] == "1D"
    with pytest.raises(InvalidTime, match="has 2 maps but was given 1 time"):
        open_history(path, factor=2, times=["2024-01-01"])


def test_a_single_map_needs_its_step(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.ones((1, 2, 2), np.float32), names=["a 2024-01-01"])
    with pytest.raises(InvalidTime, match="give it with --freq"):
        open_cube(path)
    assert open_cube(path, freq="1D").sizes["time"] == 1


def test_frames_of_zeros_are_outages_only_where_counts_are_many(tmp_path):
    busy = np.full((4, 4, 6), 50, np.int16)
    busy[2] = 0
    path = write_maps(tmp_path / "busy.nc", busy)
    cube = open_history(path, factor=2, aggregation="sum")
    assert np.isnan(cube.t.values[2]).all()
    assert "outages" in cube.attrs["notes"][-1]
    for options in ({"aggregation": "sum", "empty": "zero"}, {"aggregation": "mean"}):
        assert not np.isnan(open_history(path, factor=2, **options).t.values).any()
    rare = np.zeros((4, 4, 6), np.int16)
    rare[1, 0, 0] = 1
    kept = open_history(write_maps(tmp_path / "rare.nc", rare), factor=2, aggregation="sum")
    assert not np.isnan(kept.t.values).any()


def test_unreadable_files_give_one_sentence(tmp_path, values):
    path = write_maps(tmp_path / "a.nc", values)
    whole = path.read_bytes()
    for kept in (100, len(whole) // 2, len(whole) - 500):
        (tmp_path / "cut.nc").write_bytes(whole[:kept])
        with pytest.raises(UnreadableFile, match=r"cut.nc cannot be read .* truncated") as caught:
            open_history(tmp_path / "cut.nc", factor=2)
        assert "\n" not in str(caught.value)
    with pytest.raises(UnreadableFile, match="does not exist"):
        open_history(tmp_path / "absent.nc", factor=2)
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(UnreadableFile, match="cannot be read as a raster"):
        open_history(tmp_path / "text.tif", factor=2)


def test_wrong_content_gives_one_sentence(tmp_path, values):
    path = write_maps(tmp_path / "a.nc", values)
    with pytest.raises(MissingColumn, match=r"no variable 'pm25' \(map variables: t\)"):
        open_history(path, variable="pm25", factor=2)
    xr.load_dataset(path).isel(time=0, drop=True).to_netcdf(tmp_path / "static.nc")
    with pytest.raises(InvalidTime, match="has no time"):
        open_history(tmp_path / "static.nc", factor=2)
    xr.load_dataset(path).assign_coords(time=[0, 1, 2, 3]).to_netcdf(tmp_path / "steps.nc")
    with pytest.raises(InvalidTime, match="hours since"):
        open_history(tmp_path / "steps.nc", factor=2)
    empty = write_maps(tmp_path / "nan.nc", np.full_like(values, np.nan))
    with pytest.raises(NoObservations, match="All values of 't' are missing"):
        open_history(empty, factor=2)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "options", "shape", "freq"),
    [
        ("sf_taxi_public.nc", {"variable": "inflow", "aggregation": "sum"}, (828, 32, 32), "30min"),
        ("nytaxi_30min.nc", {"variable": "flow0", "crs": "none"}, (4320, 16, 12), "30min"),
        ("era5_t2m_uk_2019-03.nc", {"rows": (0, 32), "cols": (8, 40)}, (744, 32, 32), "1h"),
        ("rain_radar_nl.nc", {"crs": "none"}, (92, 512, 512), "5min"),
    ],
)
def test_real_histories_open(data_dir, name, options, shape, freq):
    cube = open_history(data_dir / name, factor=4, **options)
    array = cube[cube.attrs["value"]]
    assert array.shape == shape
    assert cube.attrs["freq"] == freq
    missing = np.isnan(array.values).mean()
    expected = {"rain_radar_nl.nc": 0.4765, "sf_taxi_public.nc": 3 / 828}.get(name, 0)
    assert missing == pytest.approx(expected, abs=1e-4)
