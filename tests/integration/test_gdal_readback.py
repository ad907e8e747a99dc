"""What other programs see in our files: rasterio, xarray with rioxarray, GDAL, rio-cogeo."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  (the accessor .rio)
import xarray as xr
from rio_cogeo.cogeo import cog_validate

from geodiffrecon.cf import read_netcdf
from geodiffrecon.cli import app

STATISTICS = ["mean", "std", "q05", "q50", "q95", "n_obs"]
DAYS = ["2023-10-10", "2023-10-11", "2023-10-12"]
BOUNDS = (115.0, 39.0, 117.0, 41.0)
gdalinfo = pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="gdalinfo is not installed")


@pytest.fixture(scope="module")
def out(small, tmp_path_factory):
    """Return the folder of the maps that the command wrote of points."""
    folder = tmp_path_factory.mktemp("readback") / "maps"
    request = ["reconstruct", small.points, "--model", small.model, "--out", folder]
    with pytest.raises(SystemExit) as end:
        app([*map(str, request), "--time", DAYS[0], DAYS[-1], "--samples", "2"])
    assert not end.value.code
    return folder


@pytest.mark.parametrize("statistic", STATISTICS)
def test_rasterio_sees_place_nodata_bands_and_units(out, statistic):
    with rasterio.open(out / f"pm25_{statistic}.tif") as source:
        assert source.crs.to_epsg() == 4326
        assert tuple(source.bounds) == BOUNDS
        assert source.shape == (16, 16)
        assert source.nodata == -9999
        assert set(source.dtypes) == {"float32"}
        assert list(source.descriptions) == [f"pm25 {statistic} {day}" for day in DAYS]
        assert set(source.units) == {"1" if statistic == "n_obs" else "ug m-3"}
        assert [source.tags(i)["TIME"] for i in source.indexes] == [
            f"2023-10-{day:02d}T16:00:00Z" for day in (9, 10, 11)
        ]
        assert source.tags()["STATISTIC"] == statistic


def test_rasterio_sees_where_the_maps_come_from(out):
    with rasterio.open(out / "pm25_mean.tif") as source:
        tags = source.tags()
    assert tags["SEED"] == "0"
    assert tags["SAMPLES"] == "2"
    assert len(tags["MODEL_HASH"]) >= 16
    assert tags["TIFFTAG_SOFTWARE"].startswith("geodiffrecon")
    assert "TIFFTAG_DATETIME" not in tags  # no clock in outputs


@pytest.mark.parametrize("statistic", STATISTICS)
def test_rio_cogeo_validates(out, statistic):
    valid, errors, warnings = cog_validate(out / f"pm25_{statistic}.tif", strict=True)
    assert valid, (errors, warnings)


def test_geotiff_and_netcdf_hold_the_same_maps(out):
    maps = read_netcdf(out / "pm25.nc")
    for statistic in STATISTICS:
        name = "pm25" if statistic == "mean" else f"pm25_{statistic}"
        with rasterio.open(out / f"pm25_{statistic}.tif") as source:
            np.testing.assert_array_equal(source.read(), maps[name].values)


def test_xarray_and_rioxarray_read_the_place_back(out):
    with xr.open_dataset(out / "pm25.nc", decode_coords="all") as maps:
        assert maps.rio.crs.to_epsg() == 4326
        assert maps["pm25"].rio.crs.to_epsg() == 4326
        assert maps["pm25"].rio.bounds() == pytest.approx(BOUNDS)
        assert maps["pm25"].attrs["units"] == "ug m-3"
        assert maps["pm25"].attrs["cell_methods"] == "time: mean area: mean"
        assert "pm25_std" in maps["pm25"].attrs["ancillary_variables"]
        assert maps["pm25_draws"].sizes["realization"] == 2
        assert str(maps["time"].values[0]).startswith("2023-10-09T16:00")
        assert maps.attrs["Conventions"] == "CF-1.11"


@pytest.mark.parametrize("name", ["pm25", "pm25_std", "pm25_q95", "pm25_n_obs"])
def test_the_gdal_of_rasterio_places_every_netcdf_variable(out, name):
    with rasterio.open(f"NETCDF:{out / 'pm25.nc'}:{name}") as source:
        assert source.crs.to_epsg() == 4326
        assert tuple(source.bounds) == pytest.approx(BOUNDS)
        assert source.count == len(DAYS)
        with rasterio.open(out / f"{name if name != 'pm25' else 'pm25_mean'}.tif") as raster:
            np.testing.assert_array_equal(source.read(1), raster.read(1))


@gdalinfo
def test_the_gdal_of_the_system_reads_the_geotiff(out):
    done = subprocess.run(
        ["gdalinfo", "-json", out / "pm25_mean.tif"], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert 'ID["EPSG",4326]' in found["coordinateSystem"]["wkt"]
    assert found["cornerCoordinates"]["upperLeft"] == [115.0, 41.0]
    assert found["cornerCoordinates"]["lowerRight"] == [117.0, 39.0]
    assert [band["description"] for band in found["bands"]] == [f"pm25 mean {day}" for day in DAYS]
    assert {band["noDataValue"] for band in found["bands"]} == {-9999.0}
    assert {band["unit"] for band in found["bands"]} == {"ug m-3"}


@gdalinfo
def test_the_gdal_of_the_system_places_the_netcdf(out):
    done = subprocess.run(
        ["gdalinfo", "-json", f"NETCDF:{out / 'pm25.nc'}:pm25"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["size"] == [16, 16]
    assert len(found["bands"]) == len(DAYS)
    np.testing.assert_allclose(found["cornerCoordinates"]["upperLeft"], [115.0, 41.0])
