from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geodiffrecon.axes import parse_crs
from geodiffrecon.binning import bin_points
from geodiffrecon.errors import (
    InvalidParameter,
    MemoryEstimateExceeded,
    MissingCRS,
    NoObservations,
)
from geodiffrecon.grid import NestedGrid
from geodiffrecon.points import PointTable, read_points

HOURS = np.arange("2024-01-01", "2024-01-03", dtype="datetime64[h]").astype("datetime64[ns]")


def table(x, y, time, value=None, crs="EPSG:4326"):
    values = None if value is None else np.asarray(value, float)
    stamps = np.asarray(time, "datetime64[ns]")
    place = np.asarray(x, float), np.asarray(y, float)
    return PointTable(*place, stamps, values, parse_crs(crs), None if value is None else "v")


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.sampled_from(["coarse", "fine"]))
def test_every_row_is_used_or_counted_as_left_out(seed, n, level):
    rng = np.random.default_rng(seed)
    grid = NestedGrid.from_bounds((0, 0, 2, 2), crs=None, shape=(2, 2), factor=3)
    x, y = rng.uniform(-1, 3, (2, n))
    x[rng.random(n) < 0.1] = np.nan
    x[0], y[0] = 1.0, 1.0
    points = table(x, y, rng.choice(HOURS, n), rng.normal(size=n), crs="none")
    cube = bin_points(points, grid, freq="6h", agg="count", level=level)
    left_out = ("points_used", "points_outside", "points_outside_time", "points_missing")
    assert sum(cube.attrs[key] for key in left_out) == n
    assert np.nansum(cube["count"]) == cube.attrs["points_used"] == cube.count_n_obs.sum()
    sums = bin_points(points, grid, freq="6h", agg="sum", level=level)
    means = bin_points(points, grid, freq="6h", agg="mean", level=level)
    np.testing.assert_allclose(
        np.nansum(means.v * means.v_n_obs), np.nansum(sums.v), rtol=1e-4, atol=1e-4
    )


def test_fine_counts_pool_to_coarse_counts(grid):
    from geodiffrecon.cube import aggregate

    rng = np.random.default_rng(1)
    points = table(rng.uniform(115, 117, 500), rng.uniform(39.5, 41, 500), rng.choice(HOURS, 500))
    fine = bin_points(points, grid, freq="1h", agg="count", level="fine")
    coarse = bin_points(points, grid, freq="1h", agg="count", level="coarse")
    np.testing.assert_array_equal(aggregate(fine)["count"].values, coarse["count"].values)


@pytest.mark.parametrize("empty", ["auto", "zero", "missing"])
@pytest.mark.parametrize("agg", ["mean", "sum", "count"])
def test_a_fine_cube_of_points_pools_to_what_binning_into_coarse_cells_gives(grid, agg, empty):
    from geodiffrecon.cube import aggregate

    rng = np.random.default_rng(2)
    x, y = 115 + 2 * rng.random(150) ** 3, 39.5 + 1.5 * rng.random(150) ** 2  # uneven in the cells
    points = table(x, y, rng.choice(HOURS[:40:3], 150), rng.gamma(2, 20, 150))
    fine, coarse = (
        bin_points(points, grid, freq="2h", agg=agg, empty=empty, level=level)
        for level in ("fine", "coarse")
    )
    pooled, name = aggregate(fine), coarse.attrs["value"]
    np.testing.assert_allclose(pooled[name], coarse[name], rtol=1e-6)
    np.testing.assert_array_equal(pooled[f"{name}_n_obs"], coarse[f"{name}_n_obs"])
    np.testing.assert_array_equal(np.isnan(pooled[name]), np.isnan(coarse[name]))
    assert pooled.attrs["points_used"] == coarse.attrs["points_used"]


@pytest.mark.parametrize(
    ("agg", "empty", "expected"),
    [
        ("mean", "auto", [4, np.nan, np.nan, np.nan]),
        ("sum", "auto", [8, 0, np.nan, np.nan]),
        ("count", "auto", [2, 0, np.nan, np.nan]),
        ("count", "zero", [2, 0, 0, 0]),
        ("count", "missing", [2, np.nan, np.nan, np.nan]),
    ],
)
def test_the_rule_for_empty_cells(agg, empty, expected):
    """Cells of step 0 (with points) and of step 1 (nothing anywhere: an outage)."""
    grid = NestedGrid.from_bounds((0, 0, 2, 1), crs=None, shape=(1, 2))
    points = table([0.5] * 3, [0.5] * 3, HOURS[[0, 0, 2]], [3, 5, 1], crs="none")
    cube = bin_points(points, grid, freq="1h", agg=agg, empty=empty)
    np.testing.assert_array_equal(cube[cube.attrs["value"]].values[:2].ravel(), expected)


def test_label_end_puts_a_stamp_into_the_interval_that_it_ends():
    grid = NestedGrid.from_bounds((0, 0, 1, 1), crs=None, shape=(1, 1))
    points = table([0.5] * 2, [0.5] * 2, ["2024-01-01T01:00", "2024-01-01T01:01"], crs="none")
    ends = bin_points(points, grid, freq="1h", agg="count", label="end")
    starts = bin_points(points, grid, freq="1h", agg="count", label="start")
    assert ends["count"].values.ravel().tolist() == [1, 1]
    assert ends.time.values[0] == np.datetime64("2024-01-01T00:00")
    assert starts["count"].values.ravel().tolist() == [2]


def test_days_are_cut_in_the_callers_zone_through_a_change_of_clocks():
    grid = NestedGrid.from_bounds((0, 0, 1, 1), crs=None, shape=(1, 1))
    hours = np.arange("2024-03-29T23", "2024-04-01T22", dtype="datetime64[h]")
    points = table(np.full(len(hours), 0.5), np.full(len(hours), 0.5), hours, crs="none")
    cube = bin_points(points, grid, freq="1D", agg="count", calendar_tz="Europe/Berlin")
    assert cube["count"].values.ravel().tolist() == [24, 23, 24]
    assert cube.time.values[2] == np.datetime64("2024-03-31T22:00")


def test_start_and_end_set_the_frames_and_count_the_rest():
    grid = NestedGrid.from_bounds((0, 0, 1, 1), crs=None, shape=(1, 1))
    points = table([0.5] * 48, [0.5] * 48, HOURS, crs="none")
    cube = bin_points(
        points, grid, freq="6h", agg="count", start="2024-01-02", end="2024-01-04T00:00Z"
    )
    assert cube.sizes["time"] == 8
    assert cube.attrs["points_outside_time"] == 24
    assert np.isnan(cube["count"].values[4:]).all()
    with pytest.raises(NoObservations, match="widen the period"):
        bin_points(points, grid, freq="6h", agg="count", start="2025-01-01", end="2025-02-01")
    with pytest.raises(InvalidParameter, match=r"period .* is empty"):
        bin_points(points, grid, freq="6h", agg="count", start="2024-01-02", end="2024-01-01")


def test_points_are_projected_to_the_grid(metric_grid):
    from pyproj import Transformer

    to_degrees = Transformer.from_crs("EPSG:32650", "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform([400_500, 405_500], [4_502_900, 4_500_100])
    cube = bin_points(table(lon, lat, HOURS[[0, 0]], [1, 2]), metric_grid, freq="1h")
    assert cube.v.values[0, 0, 0] == 1
    assert cube.v.values[0, 1, 1] == 2


def test_a_geodataframe_bins_in_one_call(grid):
    frame = pd.DataFrame({"pm25": [10.0, 30.0, None], "time": ["2024-01-01 09:00"] * 3})
    places = gpd.points_from_xy([115.1, 115.2, 116], [40.9, 40.8, 40], crs="EPSG:4326")
    points = gpd.GeoDataFrame(frame, geometry=places)
    cube = bin_points(
        points,
        grid,
        value="pm25",
        time="time",
        freq="1D",
        tz="Asia/Shanghai",
        calendar_tz="Asia/Shanghai",
    )
    assert cube.pm25.values[0, 0, 0] == 20
    assert cube.pm25_n_obs.values[0, 0, 0] == 2
    assert cube.attrs["points_missing"] == 1
    assert cube.time.values[0] == np.datetime64("2023-12-31T16:00")


def test_failures_give_one_sentence(grid):
    outside = table([0.0], [0.0], HOURS[:1], [1])
    with pytest.raises(NoObservations, match=r"No point lies inside the grid .* order of x and y"):
        bin_points(outside, grid, freq="1h")
    with pytest.raises(NoObservations, match="The only row lacks a value"):
        bin_points(table([115.5], [40], HOURS[:1], [np.nan]), grid, freq="1h")
    with pytest.raises(NoObservations, match="no rows"):
        bin_points(table([], [], [], []), grid, freq="1h")
    with pytest.raises(MissingCRS, match="both a CRS"):
        bin_points(table([115.5], [40], HOURS[:1], [1], crs="none"), grid, freq="1h")
    with pytest.raises(InvalidParameter, match="needs a value column"):
        bin_points(table([115.5], [40], HOURS[:1]), grid, freq="1h")
    with pytest.raises(InvalidParameter, match="empty must be one of"):
        bin_points(outside, grid, freq="1h", empty="nothing")
    far = table([115.5, 115.5], [40, 40], ["1900-01-01", "2024-01-01"], [1, 1])
    with pytest.raises(MemoryEstimateExceeded, match="longer step"):
        bin_points(far, grid, freq="10ms")


@pytest.mark.data
def test_real_taxi_fixes_are_counted_exactly(data_dir):
    grid = NestedGrid.from_bounds(
        (-122.47, 37.735, -122.38, 37.81), crs="EPSG:4326", shape=(8, 8), factor=4
    )
    points = read_points(
        data_dir / "sf_cab_points_public.parquet",
        value=None,
        time="time",
        x="lon",
        y="lat",
        crs="EPSG:4326",
    )
    x, y = points.x, points.y
    inside = int(((x >= -122.47) & (x < -122.38) & (y > 37.735) & (y <= 37.81)).sum())
    cube = bin_points(points, grid, freq="30min", agg="count", level="fine")
    assert np.nansum(cube["count"].values, dtype=np.float64) == inside == 7_071_077
