"""From points to maps by the library, on simulated fields and on real points."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import geodiffrecon as gdr
from geodiffrecon import demo
from geodiffrecon.cf import read_netcdf
from geodiffrecon.cli.inputs import PointOptions, open_observations
from geodiffrecon.cube import aggregate
from geodiffrecon.errors import NoObservations
from geodiffrecon.metrics import mae
from geodiffrecon.progress import silent
from geodiffrecon.rivals.idw import idw_maps

from .conftest import geodiffrecon, history_cube

WEST, SOUTH, EAST, NORTH = SF = (-122.47, 37.735, -122.38, 37.81)


@pytest.fixture(scope="module")
def model(small):
    """Return the small model."""
    return gdr.load(small.model, device="cpu")


def test_five_lines_from_a_geodataframe_to_files(small, model, tmp_path):
    import geopandas as gpd

    table = pd.read_csv(small.points)
    place = gpd.points_from_xy(table["lon"], table["lat"], crs="EPSG:4326")
    gdf = gpd.GeoDataFrame(table, geometry=place)
    obs = gdr.bin_points(
        gdf, model.grid, value="pm25", time="time", freq="1D", calendar_tz="Asia/Shanghai"
    )
    maps = model.reconstruct(obs, samples=0, seed=0)
    assert maps["pm25"].shape == (18, 16, 16)
    written = gdr.write_geotiff(maps, tmp_path / "maps")
    assert len(written) == 6
    xr_maps = read_netcdf(gdr.write_netcdf(maps, tmp_path / "pm25.nc"))
    np.testing.assert_array_equal(xr_maps["pm25"], maps["pm25"])


@pytest.mark.parametrize("suffix", ["gpkg", "shp", "geojson", "parquet", "csv.gz"])
def test_every_points_format_gives_the_same_observations(small, model, tmp_path, suffix):
    import geopandas as gpd

    table, path = pd.read_csv(small.points), tmp_path / f"points.{suffix}"
    if suffix == "csv.gz":
        table.to_csv(path, index=False)
    else:
        place = gpd.points_from_xy(table["lon"], table["lat"], crs="EPSG:4326")
        gdf = gpd.GeoDataFrame(table, geometry=place)
        gdf.to_parquet(path) if suffix == "parquet" else gdf.to_file(path)
    cubes = [
        open_observations(source, model, PointOptions(), progress=silent)
        for source in (small.points, path)
    ]
    xr.testing.assert_equal(*cubes)


def test_a_fine_cube_is_pooled_and_is_no_points(small, model):
    cube = open_observations(small.history, model, PointOptions(), progress=silent)
    assert cube.attrs["level"] == "coarse"
    assert set(cube.data_vars) == {"pm25"}
    np.testing.assert_allclose(cube["pm25"], aggregate(read_netcdf(small.history))["pm25"])


def test_points_may_be_counted_and_named_otherwise(small, model):
    options = PointOptions(value="lat", agg="sum", empty="zero")
    cube = open_observations(small.points, model, options, progress=silent)
    assert set(cube.data_vars) == {"pm25", "pm25_n_obs"}
    counted = open_observations(small.points, model, PointOptions(agg="count"), progress=silent)
    np.testing.assert_array_equal(counted["pm25"], counted["pm25_n_obs"])


def test_points_in_another_crs_give_the_same_maps(small, model):
    import geopandas as gpd

    table = pd.read_csv(small.points)
    place = gpd.points_from_xy(table["lon"], table["lat"], crs="EPSG:4326")
    gdf = gpd.GeoDataFrame(table, geometry=place)
    options = {"value": "pm25", "time": "time", "freq": "1D", "calendar_tz": "Asia/Shanghai"}
    one, two = (
        gdr.bin_points(frame, model.grid, **options) for frame in (gdf, gdf.to_crs("EPSG:32650"))
    )
    np.testing.assert_allclose(one["pm25"], two["pm25"])
    maps = [model.reconstruct(cube)["pm25"].values for cube in (one, two)]
    np.testing.assert_allclose(*maps, rtol=1e-5)


def test_hidden_values_and_future_frames_change_nothing(small, model):
    cube = aggregate(read_netcdf(small.history)).isel(time=slice(122, 132))
    cube = cube.drop_vars("pm25_n_obs").load()
    hidden = np.random.default_rng(0).random(cube["pm25"].shape) < 0.5
    one, two = cube.copy(deep=True), cube.copy(deep=True)
    one["pm25"].values[hidden] = np.nan
    two["pm25"].values[hidden] = np.nan
    two["pm25"].values[6:] = 99.0
    maps = [model.reconstruct(part)["pm25"].values[:6] for part in (one, two)]
    np.testing.assert_array_equal(*maps)


def test_a_day_without_any_observation_gets_a_map_with_a_wide_error(model):
    cube = aggregate(history_cube()).isel(time=slice(122, 132)).drop_vars("pm25_n_obs")
    blind = cube.copy(deep=True)
    blind["pm25"].values[5:] = np.nan
    full, empty = (model.reconstruct(part) for part in (cube, blind))
    assert np.isfinite(empty["pm25"].values).all()
    assert (empty["pm25_std"][5:].mean("time") > full["pm25_std"][5:].mean("time")).all()


def test_nothing_observed_at_all_is_said(model):
    cube = aggregate(history_cube()).isel(time=slice(122, 132)).drop_vars("pm25_n_obs")
    cube["pm25"].values[:] = np.nan
    with pytest.raises(NoObservations):
        model.reconstruct(cube)


@pytest.mark.slow
def test_a_tiny_model_beats_idw_and_climatology_on_unseen_days():
    """The whole way on the sample: fit on 20 months, map the stations of the next four."""
    folder = demo.sample_folder()
    truth = gdr.open_history(
        folder / "truth.nc", factor=4, aggregation="mean", calendar_tz="Asia/Shanghai"
    )
    model = gdr.DiffRecon(preset="tiny", device="cpu").fit(
        truth, until="2023-09-01", kind="positive", max_minutes=1.5
    )
    unseen = truth.isel(
        time=np.flatnonzero(truth["time"].values >= np.datetime64("2023-08-31T16:00"))
    )
    table = gdr.read_points(folder / "stations.csv", value="pm25", time="time")
    obs = gdr.bin_points(
        table, model.grid, freq="1D", calendar_tz="Asia/Shanghai", start="2023-09-01"
    )
    maps = model.reconstruct(obs)
    ours = mae(unseen["pm25"].values, maps["pm25"].values)
    rival = mae(unseen["pm25"].values, idw_maps(table, model.grid, unseen["time_bnds"].values))
    usual = mae(unseen["pm25"].values, demo._usual(truth, unseen, model))
    assert ours < 0.9 * rival
    assert ours < 0.6 * usual


@pytest.mark.data
@pytest.mark.parametrize(("level", "shape"), [("coarse", (8, 8)), ("fine", (32, 32))])
def test_real_points_are_all_counted_once(data_dir, tmp_path, level, shape):
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    path, cube = data_dir / "sf_cab_points_public.parquet", tmp_path / "cube.nc"
    ended = geodiffrecon(
        "bin", path, "--agg", "count", "--freq", "30min", "--time", "time", "--x", "lon",
        "--y", "lat", "--crs", "EPSG:4326", "--bounds", *SF, "--shape", 8, 8, "--factor", 4,
        "--level", level, "--out", cube, "--progress", "json",
    )  # fmt: skip
    counts = {k: v for k, v in ended.result.items() if k.startswith("points_")}
    table = pq.read_table(path, columns=["lon", "lat"])
    lon, lat = (pc.cast(table[name], "float64") for name in ("lon", "lat"))
    inside = pc.and_(
        pc.and_(pc.greater_equal(lon, WEST), pc.less(lon, EAST)),
        pc.and_(pc.greater(lat, SOUTH), pc.less_equal(lat, NORTH)),
    )
    assert sum(counts.values()) == table.num_rows
    values = read_netcdf(cube)["count"].values
    assert values.shape[1:] == shape
    assert np.nansum(values, dtype=np.float64) == counts["points_used"]
    # Fixes have five decimals, so some lie on an edge within the tolerance of the cells.
    assert abs(counts["points_used"] - pc.sum(inside).as_py()) <= 1e-5 * table.num_rows
