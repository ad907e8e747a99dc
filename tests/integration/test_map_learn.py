"""A series of stations, mapped by the model that learns from it; districts of its maps."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import xarray as xr
from shapely.geometry import box

from .conftest import geodiffrecon
from .test_stations_cli import COLUMNS, GRID, QUICK, STEPS, readings


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """A folder with hourly readings of 14 stations, two districts, and inhabitants."""
    folder = tmp_path_factory.mktemp("series")
    rows = readings()
    rows[: 14 * 24 * 3].to_csv(folder / "stations.csv", index=False)
    shapes = [box(115, 39, 116, 40), box(116, 40, 117, 41)]
    gpd.GeoDataFrame({"name": ["south", "north"]}, geometry=shapes, crs="EPSG:4326").to_file(
        folder / "districts.gpkg"
    )
    return folder


def test_map_learns_a_series_and_tells_districts(series):
    out = series / "maps"
    done = geodiffrecon(
        "map", series / "stations.csv", "--value", "pm25", "--time", "time", "--learn",
        "--resolution", 0.2, "--dates", "2024-03-03T10:00", "2024-03-03T12:00",
        "--zones", series / "districts.gpkg", "--out", out, "--progress", "json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "pm25_zones_districts.gpkg" in "".join(done.result["outputs"])
    with xr.open_dataset(out / "pm25.nc") as maps:
        assert maps.sizes["time"] == 3
        assert "pm25_draws" not in maps
        assert np.isfinite(maps["pm25"]).all()
        told = maps.load()
    zones = gpd.read_file(out / "pm25_zones_districts.gpkg")
    assert len(zones) == 6
    inside = told["pm25"].sel(longitude=slice(115, 116)).isel(time=0)
    south = zones[(zones["name"] == "south")].iloc[0]
    assert abs(south["pm25"] - float(inside.sel(latitude=slice(40, 39)).mean())) < 2


def test_reconstruct_tells_districts_from_joint_draws(series):
    model, out = series / "hours.gdr", series / "reconstructed"
    fitted = geodiffrecon(
        "fit", series / "stations.csv", "--model", model, *COLUMNS, *STEPS, *GRID, *QUICK
    )
    assert fitted.code == 0, fitted.err
    done = geodiffrecon(
        "reconstruct", series / "stations.csv", "--model", model, "--out", out,
        "--time", "2024-03-03T10:00", "2024-03-03T11:00", "--exceed", 40,
        "--zones", series / "districts.gpkg", "--progress", "json",
    )  # fmt: skip
    assert done.code == 0, done.err
    zones = gpd.read_file(out / "pm25_zones_districts.gpkg")
    with xr.open_dataset(out / "pm25.nc") as maps:
        assert "pm25_draws" not in maps
        cells = maps["pm25_std"].isel(time=0)
        south = zones[zones["name"] == "south"].iloc[0]
        assert 0 < south["pm25_std"] < float(cells.sel(longitude=slice(115, 116)).mean())
        assert 0 <= south["pm25_exceed_40"] <= 1
