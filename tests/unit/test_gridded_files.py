"""Odd files of maps: each is read right, or refused in one sentence that helps."""

from __future__ import annotations

import warnings

import netCDF4
import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning

from geodiffrecon.cf import write_netcdf
from geodiffrecon.cli import app
from geodiffrecon.covariates import open_covariates
from geodiffrecon.cube import aggregate, as_cube, fingerprint, make_cube, observed
from geodiffrecon.errors import (
    GeoDiffReconError,
    GridMismatch,
    InvalidParameter,
    InvalidTime,
    MissingColumn,
    NoObservations,
    UnreadableFile,
)
from geodiffrecon.files.sources import open_source
from geodiffrecon.geotiff import write_geotiff
from geodiffrecon.grid import NestedGrid
from geodiffrecon.history import open_cube, open_history


def maps(values=None, *, lat=None, lon=None, times=None, **attrs):
    values = np.arange(4 * 4 * 6, dtype="f4").reshape(4, 4, 6) if values is None else values
    times = pd.date_range("2024-01-01", periods=len(values)) if times is None else times
    found = xr.Dataset(
        {"v": (("time", "lat", "lon"), values, attrs)},
        {"time": times, "lat": 50 - 0.5 * np.arange(4) if lat is None else lat,
         "lon": 10 + 0.5 * np.arange(6) if lon is None else lon},
    )  # fmt: skip
    found.lat.attrs["units"], found.lon.attrs["units"] = "degrees_north", "degrees_east"
    return found


def stored(path, data, **encoding):
    data.to_netcdf(path, encoding={"v": {"_FillValue": None, **encoding}})
    return path


def raster(path, values, *, names=(), tags=(), general=None, **options):
    profile = {"driver": "GTiff", "count": len(values), "height": values.shape[1],
               "width": values.shape[2], "dtype": values.dtype, "crs": "EPSG:32650",
               "transform": Affine(1000, 0, 4e5, 0, -1000, 4.5e6)}  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        target = rasterio.open(path, "w", **{**profile, **options})
    with target:
        target.write(values)
        target.update_tags(**(general or {}))
        for band, name in enumerate(names, start=1):
            target.set_band_description(band, name)
        for band, tag in enumerate(tags, start=1):
            target.update_tags(band, **tag)
    return path


def told(cube):
    return " ".join(cube.attrs.get("notes", []))


# --- missing values ------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [-9999, -999, 1e20, 9.96921e36, -3.4028235e38, 65535, np.inf])
@pytest.mark.parametrize("form", ["nc", "tif"])
def test_undeclared_missing_values_are_missing_and_counted(tmp_path, code, form):
    values = np.full((4, 4, 6), 30, "f4") + np.arange(6, dtype="f4")
    values[2, 1, 3:5] = code
    path = tmp_path / f"a.{form}"
    if form == "nc":
        stored(path, maps(values))
    else:
        raster(path, values, names=[f"v 2024-01-0{i}" for i in range(1, 5)])
    cube = open_history(path, factor=2)
    name = cube.attrs["value"]
    assert np.argwhere(np.isnan(cube[name].values)).tolist() == [[2, 1, 3], [2, 1, 4]]
    if code != 9.96921e36 or form == "tif":  # the default fill is declared by the format
        assert "2 cells of" in told(cube)


@pytest.mark.parametrize(
    "attrs",
    [{"missing_value": "-7"}, {"missing_value": np.float64(-7)}, {"valid_min": np.int16(0)},
     {"valid_range": np.array([0, 500], "i2")}, {"_FillValue": np.int16(-7)}],
)  # fmt: skip
def test_declared_missing_values_hold_in_packed_units(tmp_path, attrs):
    path = tmp_path / "a.nc"
    raw = np.full((4, 4, 6), 300, "i2")
    raw[1, 2, 3] = -7
    stored(path, maps(raw.astype("f4")))
    with netCDF4.Dataset(path, "a") as file:
        file.renameVariable("v", "old")
        extra = {"fill_value": attrs["_FillValue"]} if "_FillValue" in attrs else {}
        packed = file.createVariable("v", "i2", ("time", "lat", "lon"), **extra)
        packed.set_auto_maskandscale(False)
        packed[:] = raw
        packed.setncatts({k: v for k, v in attrs.items() if k != "_FillValue"})
        packed.setncatts({"scale_factor": "0.1", "add_offset": 1.0})
    cube = open_history(path, variable="v", factor=2)
    assert np.argwhere(np.isnan(cube.v.values)).tolist() == [[1, 2, 3]]
    assert np.nanmax(cube.v.values) == pytest.approx(31)


def test_codes_in_external_features_are_missing(tmp_path):
    path = tmp_path / "w.csv"
    path.write_text("time,t\n2024-01-01Z,5\n2024-01-02Z,-999\n2024-01-03Z,7\n".replace("Z", "T00Z"))
    found = open_covariates(path)
    assert np.isnan(found.per_time["t"].to_numpy()).tolist() == [False, True, False]
    assert "1 value of 't' is -999" in found.notes[0]


# --- places --------------------------------------------------------------------------------------


def projected(units, scale):
    data = xr.Dataset(
        {"v": (("time", "y", "x"), np.zeros((4, 4, 4), "f4") + np.arange(4, dtype="f4"))},
        {"time": pd.date_range("2024-01-01", periods=4), "y": np.arange(4)[::-1] * 1000 * scale,
         "x": np.arange(4) * 1000 * scale},
    )  # fmt: skip
    grid = NestedGrid.from_bounds((0, 0, 4, 4), crs="EPSG:32650", shape=(2, 2))
    data["crs"] = ((), 0, grid.coords("coarse")["spatial_ref"][2])
    del data["crs"].attrs["GeoTransform"]
    data.v.attrs["grid_mapping"] = "crs"
    data.x.attrs["units"] = data.y.attrs["units"] = units
    return data


def test_axes_in_kilometres_are_turned_to_metres(tmp_path):
    cube = open_history(stored(tmp_path / "a.nc", projected("km", 1e-3)), factor=2)
    assert NestedGrid.of(cube).bounds == (-500, -500, 3500, 3500)
    assert "in km and is turned to metre" in told(cube)


def test_degrees_under_a_projected_mapping_are_refused(tmp_path):
    data = projected("degrees_east", 1e-3)
    data.y.attrs["units"] = "degrees_north"
    path = stored(tmp_path / "a.nc", data)
    with pytest.raises(GridMismatch, match="is projected; give the CRS of the axes with --crs"):
        open_history(path, factor=2)
    assert NestedGrid.of(open_history(path, factor=2, crs="EPSG:4326")).geographic


def test_exchanged_axes_and_metres_as_degrees_are_refused(tmp_path):
    path = stored(tmp_path / "a.nc", maps(lat=116 + np.arange(4.0), lon=39 + np.arange(6.0)))
    with pytest.raises(GridMismatch, match="x and y seem exchanged"):
        open_history(path, factor=2)
    path = stored(tmp_path / "b.nc", maps(lat=4.4e6 + np.arange(4), lon=5e5 + np.arange(6)))
    with pytest.raises(GridMismatch, match="of another CRS: give it with --crs"):
        open_history(path, factor=2)


def test_a_coordinate_that_is_missing_is_refused(tmp_path):
    path = stored(tmp_path / "a.nc", maps(lat=np.array([50, np.nan, 49, 48.5])))
    with pytest.raises(GridMismatch, match="1 coordinate that is missing"):
        open_history(path, factor=2)


@pytest.mark.parametrize(
    ("lon", "west", "east"),
    [(237 + np.arange(6.0), -123.5, -117.5), (np.arange(6) * 60.0, -210, 150),
     ((np.arange(6) * 0.5 + 178.75 + 180) % 360 - 180, 178.5, 181.5)],
)  # fmt: skip
def test_longitudes_turn_with_their_values(tmp_path, lon, west, east):
    values = np.broadcast_to(lon.astype("f4"), (4, 4, 6)).copy()
    cube = open_history(stored(tmp_path / "a.nc", maps(values, lon=lon)), factor=2)
    assert NestedGrid.of(cube).bounds[::2] == pytest.approx((west, east))
    np.testing.assert_allclose((cube.v.values[0, 0] - cube.longitude.values) % 360, 0, atol=1e-4)


def test_bounds_and_points_are_turned_to_the_grid(tmp_path):
    path = stored(tmp_path / "a.nc", maps(lon=237 + np.arange(6.0)))
    cube = open_history(path, factor=1, bounds=(237.9, 0, 239.1, 90))
    assert cube.longitude.values.tolist() == [-122, -121]
    grid = NestedGrid.from_bounds((179, 0, 181, 1), crs="EPSG:4326", shape=(1, 2))
    assert grid.cell_of([-179.5, 179.5, -179.5 + 360], [0.5] * 3, level="coarse")[1].tolist() == [
        1, 0, 1,
    ]  # fmt: skip


def test_a_raster_beyond_180_is_turned(tmp_path):
    values = np.arange(8, dtype="f4").reshape(1, 2, 4)
    path = raster(tmp_path / "a.tif", values, names=["v 2024-01-01"], crs="EPSG:4326",
                  transform=Affine(90, 0, 0, 0, -45, 45))  # fmt: skip
    cube = open_history(path, factor=1, freq="1D")
    assert cube.longitude.values.tolist() == [-135, -45, 45, 135]
    assert cube.v.values[0, 0].tolist() == [2, 3, 0, 1]


def test_a_rotated_pole_keeps_the_names_of_its_axes(tmp_path):
    data = maps().rename(lat="rlat", lon="rlon")
    data.rlat.attrs = {"units": "degrees", "standard_name": "grid_latitude"}
    data.rlon.attrs = {"units": "degrees", "standard_name": "grid_longitude"}
    data["pole"] = ((), 0, {
        "grid_mapping_name": "rotated_latitude_longitude", "grid_north_pole_latitude": 39.25,
        "grid_north_pole_longitude": -162.0})  # fmt: skip
    data.v.attrs["grid_mapping"] = "pole"
    cube = open_history(stored(tmp_path / "a.nc", data), factor=2)
    with xr.open_dataset(write_netcdf(cube, tmp_path / "b.nc")) as found:
        names = [found[dim].attrs["standard_name"] for dim in found.v.dims[1:]]
    assert names == ["grid_latitude", "grid_longitude"]


def test_other_layouts_are_named(tmp_path):
    place = xr.Dataset({"v": (("time", "y", "x"), np.zeros((2, 4, 4), "f4"))},
                       {"time": pd.date_range("2024", periods=2)})  # fmt: skip
    two = {"lat": (("y", "x"), np.ones((4, 4)), {"units": "degrees_north"}),
           "lon": (("y", "x"), np.ones((4, 4)), {"units": "degrees_east"})}  # fmt: skip
    path = stored(tmp_path / "c.nc", place.assign_coords(two))
    with pytest.raises(UnreadableFile, match="curvilinear"):
        open_history(path, factor=2)
    path = stored(
        tmp_path / "d.nc", place.assign_coords({**two, "x": np.arange(4.0), "y": np.arange(4.0)})
    )
    for crs in (None, "EPSG:4326"):
        with pytest.raises(GridMismatch, match="curvilinear"):
            open_history(path, factor=2, crs=crs)
    listed = xr.Dataset(
        {"v": (("time", "cell"), np.zeros((2, 5), "f4"))},
        {"time": place.time, "lat": ("cell", np.ones(5)), "lon": ("cell", np.ones(5))},
    )
    with pytest.raises(UnreadableFile, match="reduced or unstructured grid"):
        open_history(stored(tmp_path / "e.nc", listed), variable="v", factor=2)
    series = listed.rename(cell="station").assign_attrs(featureType="timeSeries")
    with pytest.raises(UnreadableFile, match="station series"):
        open_history(stored(tmp_path / "f.nc", series), variable="v", factor=2)
    mesh = listed.assign(mesh=((), 0, {"cf_role": "mesh_topology"}))
    with pytest.raises(UnreadableFile, match="unstructured mesh"):
        open_history(stored(tmp_path / "g.nc", mesh), variable="v", factor=2)


def test_rasters_that_nothing_places_are_refused(tmp_path):
    values = np.arange(16, dtype="f4").reshape(1, 4, 4)
    bare = raster(tmp_path / "a.tif", values, names=["v 2024-01-01"], transform=Affine.identity())
    with pytest.raises(GridMismatch, match="no georeference"):
        open_history(bare, factor=1, freq="1D")
    cube = open_history(bare, factor=1, freq="1D", crs="none")
    assert cube.v.values[0, 0].tolist() == [0, 1, 2, 3]
    assert NestedGrid.of(cube).bounds == (0, 0, 4, 4)
    path = tmp_path / "g.tif"
    raster(path, values, names=["v 2024-01-01"], crs=None, transform=Affine.identity())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        target = rasterio.open(path, "r+")
    with target:
        corners = [GroundControlPoint(r, c, c, -r) for r, c in ((0, 0), (0, 4), (4, 0), (4, 4))]
        target.gcps = (corners, rasterio.crs.CRS.from_epsg(4326))
    with pytest.raises(UnreadableFile, match="placed by GCPs only"):
        open_history(path, factor=1, freq="1D")


def test_complex_numbers_and_categories_are_refused(tmp_path):
    path = raster(tmp_path / "c.tif", np.ones((1, 4, 4), "c8"), names=["v 2024-01-01"])
    with pytest.raises(UnreadableFile, match="complex numbers"):
        open_history(path, factor=1, freq="1D")
    flags = {"flag_values": [0, 1], "flag_meanings": "land sea"}
    with pytest.raises(UnreadableFile, match=r"categories \(land, sea\)"):
        open_history(stored(tmp_path / "f.nc", maps(**flags)), factor=2)
    path = raster(tmp_path / "p.tif", np.ones((1, 4, 4), "u1"), names=["v 2024-01-01"],
                  photometric="palette")  # fmt: skip
    with rasterio.open(path, "r+") as target:
        target.write_colormap(1, {0: (0, 0, 0), 1: (255, 0, 0)})
    with pytest.raises(UnreadableFile, match="holds categories"):
        open_history(path, factor=1, freq="1D")


@pytest.mark.parametrize("text", ["1 2 3 4 5", "1, 2, 3, 4, 5, 6", "", "words"])
def test_a_transform_that_is_not_six_numbers_is_ignored(tmp_path, text):
    data = projected("m", 1)
    data.crs.attrs["GeoTransform"] = text
    cube = open_history(stored(tmp_path / "a.nc", data), factor=2)
    assert NestedGrid.of(cube).bounds == (-500, -500, 3500, 3500)


def test_a_crs_that_cannot_be_read_can_be_given(tmp_path):
    data = projected("m", 1)
    data.crs.attrs = {"spatial_ref": "nonsense"}
    path = stored(tmp_path / "a.nc", data)
    with pytest.raises(GeoDiffReconError, match="cannot be read; give it with --crs"):
        open_history(path, factor=2)
    assert str(NestedGrid.of(open_history(path, factor=2, crs="EPSG:32650")).crs) == "EPSG:32650"


# --- times ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "freq", "first", "note"),
    [
        (pd.date_range("2024-01-01T00:30", periods=4, freq="h"), "1h", "2024-01-01T00", "middle"),
        (pd.date_range("2024-01-01T12:00", periods=4), "1D", "2024-01-01T00", "middle"),
        (pd.date_range("2024-01-01", periods=4, freq="36h"), "36h", "2024-01-01T00", ""),
        (pd.date_range("2024-01-31", periods=4, freq="ME"), "1MS", "2024-01-01T00", "end of the"),
        (pd.to_datetime(["2023-12-15", "2024-01-15", "2024-02-15", "2024-03-15"]), "1MS",
         "2023-12-01T00", "middle of the month"),
        (pd.date_range("2020-03-31", periods=4, freq="QE"), "3MS", "2020-01-01T00",
         "3 months from"),
        (pd.to_datetime(["2020-02-15", "2020-05-15", "2020-08-15", "2020-11-15"]), "3MS",
         "2020-01-01T00", "3 months from 2020-01-01"),
        (pd.to_datetime(["2020-06-30", "2021-06-30", "2022-06-30", "2023-06-30"]), "12MS",
         "2019-07-01T00", "12 months from 2019-07-01"),
        (pd.to_datetime(["2021-01-01", "2022-01-01", "2023-01-01", "2024-01-01"]), "1YS",
         "2021-01-01T00", ""),
        (pd.to_datetime(["2023-12-01", "2024-01-01", "2024-02-01", "2024-03-01"]), "1MS",
         "2023-12-01T00", ""),
        (pd.date_range("2024-01-01", periods=4, freq="h") + pd.to_timedelta([0, 3, -5, 2], "s"),
         "1h", "2024-01-01T00", "regular step"),
    ],
)  # fmt: skip
def test_stamps_are_the_intervals_that_they_mean(tmp_path, times, freq, first, note):
    cube = open_history(stored(tmp_path / "a.nc", maps(times=times)), factor=2)
    assert (cube.attrs["freq"], cube.sizes["time"]) == (freq, 4)
    assert cube.time.values[0] == np.datetime64(first)
    assert note in told(cube)


def test_label_decides_what_stamps_mark(tmp_path):
    path = stored(tmp_path / "a.nc", maps(times=pd.date_range("2024-01-01T12", periods=4)))
    starts = {label: str(open_history(path, factor=2, label=label).time.values[0])[:13]
              for label in ("start", "middle", "end")}  # fmt: skip
    assert starts == {"start": "2024-01-01T12", "middle": "2024-01-01T00", "end": "2023-12-31T12"}


def test_unequal_dates_are_a_record_with_gaps(tmp_path):
    dekads = pd.to_datetime(["2024-01-01", "2024-01-11", "2024-01-21", "2024-02-01"])
    path = stored(tmp_path / "a.nc", maps(times=dekads))
    with pytest.raises(InvalidTime, match=r"10 days to 11 days apart.*--freq 1D"):
        open_history(path, factor=2)
    cube = open_history(path, factor=2, freq="1D")
    assert cube.sizes["time"] == 32
    assert int(np.isfinite(cube.v.values).all(axis=(1, 2)).sum()) == 4
    with pytest.raises(InvalidTime, match="lie in the same step"):
        open_history(path, factor=2, freq="MS")


@pytest.mark.parametrize("since", ["0001-01-01", "9999-12-30"])
def test_times_outside_1678_to_2261_are_refused(tmp_path, since):
    data = maps(times=np.arange(4.0))
    data.time.attrs["units"] = f"days since {since}"
    with pytest.raises(InvalidTime, match="outside 1678 to 2261"):
        open_history(stored(tmp_path / "a.nc", data), factor=2)


def test_calendars_of_models_and_months_since(tmp_path):
    data = maps(times=np.array([57.0, 58, 59, 60]))
    data.time.attrs = {"units": "days since 2024-01-01", "calendar": "noleap"}
    cube = open_history(stored(tmp_path / "a.nc", data), factor=2)
    assert np.isnan(cube.v.values[2]).all()  # 29 February
    data.time.attrs = {"units": "days since 2023-01-01", "calendar": "360_day"}
    with pytest.raises(InvalidTime, match="convert_calendar"):
        open_history(stored(tmp_path / "b.nc", data), factor=2)
    data.time.attrs = {"units": "months since 1960-01-01"}
    cube = open_history(stored(tmp_path / "c.nc", data), factor=2)
    assert str(cube.time.values[0])[:10] == "1964-10-01"


VALUES = np.arange(32, dtype="f4").reshape(2, 4, 4)


@pytest.mark.parametrize(
    ("names", "first"),
    [(["v 2024010112", "v 2024010113"], "2024-01-01T12"),
     (["2024-01-01/2024-01-08", "2024-01-09/2024-01-16"], "2024-01-01T00"),
     (["v_20240101T1200Z", "v_20240101T1300Z"], "2024-01-01T12")],
)  # fmt: skip
def test_times_in_the_names_of_bands(tmp_path, names, first):
    cube = open_history(raster(tmp_path / "a.tif", VALUES, names=names), factor=2)
    assert cube.time.values[0] == np.datetime64(first)


def test_a_name_with_two_dates_is_refused(tmp_path):
    path = raster(tmp_path / "a.tif", VALUES, names=["v_20240101_20240108", "v_20240109_20240116"])
    with pytest.raises(InvalidTime, match="names several times"):
        open_history(path, factor=2)
    cube = open_history(path, factor=2, time_from="v_%Y%m%d_")
    assert cube.attrs["freq"] == "8D"


def test_times_in_tags_of_gdal(tmp_path):
    days = [{"NETCDF_DIM_time": str(86400 * day)} for day in (1, 2)]
    path = raster(tmp_path / "a.tif", VALUES, tags=days,
                  general={"time#units": "seconds since 1970-01-01"})  # fmt: skip
    assert str(open_history(path, factor=2).time.values[1])[:10] == "1970-01-03"
    grib = [{"GRIB_VALID_TIME": f"{1704067200 + 3600 * i} sec UTC"} for i in (0, 1)]
    path = raster(tmp_path / "b.tif", VALUES, tags=grib)
    assert open_history(path, factor=2).attrs["freq"] == "1h"
    path = raster(
        tmp_path / "c.tif", VALUES[:1], general={"TIFFTAG_DATETIME": "2024:01:31 06:00:00"}
    )
    cube = open_history(path, factor=2, freq="1h")
    assert str(cube.time.values[0])[:13] == "2024-01-31T06"


def test_a_scalar_time_and_times_that_are_given(tmp_path):
    path = stored(tmp_path / "a.nc", maps().isel(time=0))
    assert open_history(path, factor=2, freq="1D").sizes["time"] == 1
    plain = raster(tmp_path / "lst_2024032.tif", VALUES[:1])
    assert open_source(plain).times is None
    with pytest.raises(InvalidTime, match="--times, or read them from its name with --time-from"):
        open_history(plain, factor=2)
    for how in ({"time_from": "lst_%Y%j"}, {"times": "2024-02-01"}):
        cube = open_history(plain, factor=2, freq="1D", **how)
        assert str(cube.time.values[0])[:10] == "2024-02-01"


# --- layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", [[20240101, 20240102, 20240103, 20240104],
                                     [20240101.0, 20240102.0, 20240103.0, 20240104.0]])  # fmt: skip
def test_numbers_that_are_dates(tmp_path, numbers):
    made = maps().assign_coords(time=numbers)
    source = open_source(stored(tmp_path / "a.nc", made))
    assert source.times[-1] == np.datetime64("2024-01-04")
    assert any("20240101" in note and "dates" in note for note in source.notes)


def test_times_beside_the_hours_ahead(tmp_path):
    made = maps().rename(time="step")
    valid = made.step.values
    made = made.assign_coords(step=np.arange(4), valid_time=("step", valid), time=valid[0])
    source = open_source(stored(tmp_path / "a.nc", made))
    np.testing.assert_array_equal(source.times, valid.astype("M8[ns]"))


def test_further_dimensions_are_selected_and_named(tmp_path):
    data = xr.concat([maps(), maps() + 100], pd.Index([1000, 850], name="level"))
    path = stored(tmp_path / "a.nc", data)
    with pytest.raises(InvalidParameter, match=r"'level' \(1000, 850\); choose one with --select"):
        open_history(path, factor=2)
    cube = open_history(path, factor=2, select={"level": "850"})
    assert cube.v.values[0, 0, 0] == 100
    with pytest.raises(InvalidParameter, match="no 500"):
        open_history(path, factor=2, select={"level": 500})
    with pytest.raises(InvalidParameter, match="no further dimension 'depth'"):
        open_history(path, factor=2, select={"depth": 1, "level": 850})


def test_groups_and_bands_are_chosen(tmp_path):
    path = tmp_path / "a.h5"
    maps().to_netcdf(path, group="grid", engine="netcdf4")
    with pytest.raises(MissingColumn, match="--variable grid/v"):
        open_history(path, factor=2)
    assert open_history(path, factor=2, variable="grid/v").v.shape == (4, 4, 6)
    path = raster(tmp_path / "b.tif", VALUES)
    with pytest.raises(InvalidTime, match="--select band=1"):
        open_history(path, factor=2)
    cube = open_history(path, factor=2, select={"band": 2}, times="2024-01-01", freq="1D")
    assert cube.value.values[0, 0, 0] == 16


# --- cubes from Python ---------------------------------------------------------------------------


@pytest.fixture
def made():
    grid = NestedGrid.from_bounds((116, 39, 118, 41), crs="EPSG:4326", shape=(2, 2), factor=2)
    values = np.arange(32, dtype="f4").reshape(2, 4, 4)
    times = np.array(["2024-04-01", "2024-04-02"], "M8[ns]")
    return make_cube(values, times, grid, value="pm25", level="fine", freq="1D")


TURNS = {
    "rows": lambda c: c.sortby("latitude"),
    "columns": lambda c: c.sortby("longitude", ascending=False),
    "dimensions": lambda c: c.transpose("longitude", "time", "latitude", ...),
    "times": lambda c: c.isel(time=[1, 0]),
    "east of 180": lambda c: c.assign_coords(longitude=c.longitude + 360),
    "big-endian": lambda c: c.assign(pm25=c.pm25.astype(">f4")).assign_attrs(c.attrs),
    "long double": lambda c: c.assign(pm25=c.pm25.astype("longdouble")).assign_attrs(c.attrs),
}


@pytest.mark.parametrize("turn", TURNS)
def test_names_and_coordinates_decide_where_a_value_is(tmp_path, made, turn):
    turned = TURNS[turn](made)
    xr.testing.assert_equal(aggregate(turned), aggregate(made))
    assert fingerprint(turned) == fingerprint(made)
    assert observed(turned).shape == observed(made).shape
    files = [write_geotiff(cube, tmp_path / name)[0].read_bytes()
             for name, cube in (("a", made), ("b", turned))]  # fmt: skip
    assert files[0] == files[1]
    for name, cube in (("a.nc", made), ("b.nc", turned)):
        write_netcdf(cube, tmp_path / name)
    with xr.open_dataset(tmp_path / "a.nc") as one, xr.open_dataset(tmp_path / "b.nc") as other:
        xr.testing.assert_equal(one, other)


def test_one_time_and_a_static_map(tmp_path, made):
    one = made.isel(time=0)
    assert as_cube(one).pm25.dims == ("time", "latitude", "longitude")
    with rasterio.open(write_geotiff(one, tmp_path)[0]) as source:
        assert source.count == 1
    height = made.assign(height=(("latitude", "longitude"), np.ones((4, 4), "f4")))
    with xr.open_dataset(write_netcdf(height.assign_attrs(made.attrs), tmp_path / "a.nc")) as found:
        assert found.height.dims == ("latitude", "longitude")


def test_what_is_no_cube_gets_one_sentence(made):
    with pytest.raises(GridMismatch, match=r"keep the dataset, such as cube\[\['pm25'\]\]"):
        as_cube(made.pm25)
    with pytest.raises(GridMismatch, match="lost its main variable 'pm25'"):
        as_cube(made.drop_vars("pm25"))
    with pytest.raises(GridMismatch, match="not real numbers"):
        as_cube(made.assign(pm25=made.pm25 + 1j).assign_attrs(made.attrs))
    with pytest.raises(NoObservations, match="holds no time"):
        as_cube(made.sel(time=slice("2030", "2031")))


def test_places_of_gdal_are_no_outputs(made):
    with pytest.raises(InvalidParameter, match="give a real file or folder"):
        write_netcdf(made, "/vsimem/a.nc")


# --- sentences -----------------------------------------------------------------------------------


def test_info_describes_any_raster_and_what_comes_next(tmp_path, capsys):
    path = raster(tmp_path / "a.tif", VALUES, nodata=0)
    with pytest.raises(SystemExit) as ended:
        app(["info", str(path)])
    assert not ended.value.code
    told = capsys.readouterr().out
    assert all(
        text in told for text in ("4 × 4 cells, 2 bands", "float32", "no time", "EPSG:32650")
    )
    assert "geodiffrecon map a.tif --select band=1 --out DIR" in told


def test_coarse_maps_pass_the_same_checks(tmp_path):
    values = np.full((4, 4, 6), 30, "f4")
    values[0, 0, 0] = -9999
    assert np.isnan(open_cube(stored(tmp_path / "a.nc", maps(values))).v.values[0, 0, 0])
