from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
import rasterio
import xarray as xr

from geodiffrecon.cf import read_netcdf, write_netcdf
from geodiffrecon.cube import fingerprint, make_cube
from geodiffrecon.errors import GridMismatch, InvalidParameter, UnreadableFile
from geodiffrecon.grid import NestedGrid


@pytest.fixture
def maps(cube):
    """Return maps as the model makes them."""
    value = cube.pm25
    maps = cube.assign(
        pm25_std=value * 0.1, pm25_q05=value * 0.8, pm25_q50=value * 0.98, pm25_q95=value * 1.2
    )
    draws = xr.concat([value, value + 1], "realization")
    return maps.assign(pm25_draws=draws).assign_attrs(
        geodiffrecon_version="0.1.0",
        model_hash="abc",
        data_fingerprint=fingerprint(cube),
        seed=3,
        samples=2,
        history_used=8,
        notes=["one", "two"],
    )


def test_what_is_read_is_what_was_written(tmp_path, maps):
    again = read_netcdf(write_netcdf(maps, tmp_path / "deep" / "maps.nc"))
    xr.testing.assert_equal(again.drop_vars("realization"), maps)
    assert {key: again.attrs[key] for key in maps.attrs} == maps.attrs
    assert fingerprint(again) == fingerprint(maps)
    assert again.pm25.dtype == np.float32
    assert again.pm25_n_obs.dtype == np.int32
    assert NestedGrid.of(again) == NestedGrid.of(maps)


def test_cf_attributes(tmp_path, maps):
    with xr.open_dataset(write_netcdf(maps, tmp_path / "m.nc"), decode_cf=False) as data:
        name = "mass_concentration_of_pm2p5_ambient_aerosol_particles_in_air"
        assert data.attrs["Conventions"] == "CF-1.11"
        assert data.attrs["source"] == "geodiffrecon 0.1.0"
        assert "model_hash=abc" in data.attrs["history"]
        assert data.pm25.attrs["standard_name"] == name
        assert data.pm25.attrs["units"] == "ug m-3"
        assert data.pm25.attrs["cell_methods"] == "time: mean area: mean"
        assert data.pm25.attrs["grid_mapping"] == "spatial_ref"
        others = "pm25_n_obs pm25_std pm25_q05 pm25_q50 pm25_q95"
        assert data.pm25.attrs["ancillary_variables"] == others
        assert data.pm25_std.attrs["standard_name"] == f"{name} standard_error"
        assert data.pm25_n_obs.attrs["standard_name"] == f"{name} number_of_observations"
        assert data.pm25_n_obs.attrs["units"] == "1"
        assert data.time.attrs["bounds"] == "time_bnds"
        assert data.time.attrs["units"] == "seconds since 1970-01-01"
        assert "_FillValue" not in data.latitude.attrs
        assert data.encoding["unlimited_dims"] == {"time"}
        assert data.realization.attrs["standard_name"] == "realization"


@pytest.fixture
def station_maps(maps):
    """Return maps as a model of stations makes them."""
    dims, shape = maps.pm25.dims, maps.pm25.shape
    far = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    far[2] = np.nan  # no station reported
    return maps.assign(
        pm25_q25=maps.pm25 * 0.9, pm25_q75=maps.pm25 * 1.1,
        pm25_distance=(dims, far, {"units": "km"}),
        pm25_information=(dims, (far < 40).astype(np.int8), {"units": "1"}),
        pm25_exceed_35=(dims, np.clip(far / 400, 0, 1), {"units": "1", "threshold": 35.0}),
    )  # fmt: skip


def test_cf_attributes_of_maps_of_stations(tmp_path, station_maps):
    path = write_netcdf(station_maps, tmp_path / "m.nc")
    name = "mass_concentration_of_pm2p5_ambient_aerosol_particles_in_air"
    with xr.open_dataset(path, decode_cf=False) as data:
        others = "q25 q75 distance information exceed_35"
        listed = data.pm25.attrs["ancillary_variables"].split()
        assert listed[-5:] == [f"pm25_{other}" for other in others.split()]
        for quantile in ("q25", "q75"):
            attrs = data[f"pm25_{quantile}"].attrs
            assert attrs["long_name"].startswith(f"{quantile[1:]} % quantile")
            assert attrs["cell_methods"] == "time: mean area: mean"
            assert (attrs["units"], attrs["standard_name"]) == ("ug m-3", name)
        distance = data.pm25_distance.attrs
        assert distance["long_name"] == "distance to the nearest station that reported pm25"
        assert (distance["units"], distance["cell_methods"]) == ("km", "area: point")
        assert "standard_name" not in distance
        flag = data.pm25_information
        assert flag.dtype == np.int8
        assert flag.attrs["flag_values"].tolist() == [0, 1]
        assert flag.attrs["flag_values"].dtype == np.int8
        assert len(flag.attrs["flag_meanings"].split()) == 2
        assert flag.attrs["standard_name"] == f"{name} status_flag"
        assert "_FillValue" not in flag.attrs
        chance = data.pm25_exceed_35.attrs
        assert chance["long_name"] == "probability of pm25 above 35 ug m-3"
        assert (chance["units"], chance["threshold"]) == ("1", 35.0)
        assert "standard_name" not in chance


def test_maps_of_stations_read_back_as_they_were(tmp_path, station_maps):
    again = read_netcdf(write_netcdf(station_maps, tmp_path / "m.nc"))
    xr.testing.assert_equal(again.drop_vars("realization"), station_maps)
    assert again.pm25_information.dtype == np.int8


def test_gdal_reads_the_statistics_of_stations(tmp_path, station_maps):
    path = write_netcdf(station_maps, tmp_path / "m.nc")
    for statistic in ("q75", "distance", "information", "exceed_35"):
        with rasterio.open(f"NETCDF:{path}:pm25_{statistic}") as source:
            np.testing.assert_allclose(source.bounds, (115, 39.5, 117, 41))
            known = station_maps[f"pm25_{statistic}"].values[2]
            read = source.read(3, masked=True).astype(float).filled(np.nan)
            np.testing.assert_array_equal(read, known)


@pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="gdalinfo is not installed")
def test_the_system_gdal_knows_the_flag(tmp_path, station_maps):
    path = write_netcdf(station_maps, tmp_path / "m.nc")
    report = subprocess.run(
        ["gdalinfo", f"NETCDF:{path}:pm25_information"], check=True, capture_output=True, text=True
    ).stdout
    assert "pm25_information#flag_meanings=no_information information" in report


def test_no_standard_name_is_invented(tmp_path, cube):
    flows = cube.rename(pm25="flow", pm25_n_obs="flow_n_obs")
    flows["flow"].attrs = {}
    flows.attrs |= {"value": "flow", "aggregation": "sum"}
    with xr.open_dataset(write_netcdf(flows, tmp_path / "f.nc")) as data:
        assert "standard_name" not in data.flow.attrs
        assert data.flow.attrs["cell_methods"] == "time: sum area: sum"


def test_same_maps_make_the_same_bytes(tmp_path, maps):
    first = write_netcdf(maps, tmp_path / "a.nc").read_bytes()
    assert write_netcdf(maps.copy(deep=True), tmp_path / "b.nc").read_bytes() == first


def test_gdal_and_rioxarray_place_the_file(tmp_path, maps, metric_grid):
    times = maps.time.values
    values = np.arange(6 * 36, dtype=np.float32).reshape(6, 6, 6)
    local = NestedGrid.from_bounds((0, 0, 4, 4), crs=None, shape=(2, 2), factor=3)
    for number, grid in enumerate((metric_grid, local, None)):
        cube = maps
        if grid is not None:
            cube = make_cube(values, times, grid, value="v", level="fine", freq="24h")
        name, bounds = cube.attrs["value"], NestedGrid.of(cube).bounds
        path = write_netcdf(cube, tmp_path / f"{number}.nc")
        with rasterio.open(f"NETCDF:{path}:{name}") as source:
            assert source.count == 6
            np.testing.assert_allclose(source.bounds, bounds)
            assert (source.crs is None) == (grid is local)
            band = source.read(2, masked=True).filled(np.nan)
            np.testing.assert_array_equal(band, cube[name].values[1])
        with xr.open_dataset(path, decode_coords="all") as data:
            assert (data.rio.crs is None) == (grid is local)


def test_a_failed_write_leaves_nothing_behind(tmp_path, maps, monkeypatch):
    path = tmp_path / "a.nc"
    path.write_text("old")

    def broken(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(xr.Dataset, "to_netcdf", broken)
    with pytest.raises(KeyboardInterrupt):
        write_netcdf(maps, path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]


def test_failures_give_one_sentence(tmp_path, maps):
    with pytest.raises(GridMismatch, match="no cube of this library"):
        write_netcdf(xr.Dataset(), tmp_path / "a.nc")
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidParameter, match="cannot be written to"):
        write_netcdf(maps, tmp_path / "file" / "a.nc")
    with pytest.raises(UnreadableFile, match="does not exist"):
        read_netcdf(tmp_path / "absent.nc")
    whole = write_netcdf(maps, tmp_path / "a.nc").read_bytes()
    (tmp_path / "cut.nc").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableFile, match="truncated"):
        read_netcdf(tmp_path / "cut.nc")
    xr.Dataset({"a": 1}).to_netcdf(tmp_path / "other.nc")
    with pytest.raises(UnreadableFile, match="not written by geodiffrecon"):
        read_netcdf(tmp_path / "other.nc")
