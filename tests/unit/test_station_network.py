from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod

from geodiffrecon.axes import parse_crs
from geodiffrecon.cube import make_cube
from geodiffrecon.errors import (
    GridMismatch,
    InvalidParameter,
    MemoryEstimateExceeded,
    MissingCRS,
    NoObservations,
)
from geodiffrecon.grid import NestedGrid
from geodiffrecon.points import PointColumns, PointTable
from geodiffrecon.stations.network import StationNetwork
from geodiffrecon.stations.places import Places

FIRST = np.datetime64("2024-01-01T00:00", "ns")
HOUR = np.timedelta64(3_600_000_000_000, "ns")
COLUMNS = ("x", "y", "time", "value", "station")


def table(x, y, time, value, station=None, crs="EPSG:4326"):
    places = np.asarray(x, float), np.asarray(y, float)
    stamps = np.asarray(time, "datetime64[ns]")
    names = None if station is None else np.asarray(station, dtype=np.str_)
    return PointTable(*places, stamps, np.asarray(value, float), parse_crs(crs), "pm25", (), names)


def network_table(stations=4, steps=12, seed=0, named=True, step=HOUR):
    """Return a complete table of stations inside the grid of conftest."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(115.1, 116.9, stations), rng.uniform(39.6, 40.9, stations)
    names = np.array([f"S{i:02d}" for i in range(stations)])
    return table(
        np.tile(x, steps),
        np.tile(y, steps),
        np.repeat(FIRST + np.arange(steps) * step, stations),
        rng.gamma(4, 15, stations * steps).round(1),
        np.tile(names, steps) if named else None,
    )


def rows(points, chosen):
    """Return the rows of a table in the order, or under the mask, `chosen`."""
    held = {name: getattr(points, name) for name in COLUMNS}
    parts = {name: None if column is None else column[chosen] for name, column in held.items()}
    return replace(points, **parts)


def joined(*tables):
    parts = {name: np.concatenate([getattr(part, name) for part in tables]) for name in COLUMNS}
    return replace(tables[0], **parts)


def test_kilometres_are_true_about_the_centre_of_a_geographic_grid(grid):
    places = Places.of(grid)
    km = places.km([116.0, 116.0, 116.5], [40.25, 40.75, 40.25])
    np.testing.assert_allclose(km[0], 0, atol=1e-9)
    geod = Geod(ellps="WGS84")
    for at, (x, y) in zip(km[1:], [(116.0, 40.75), (116.5, 40.25)], strict=True):
        assert np.hypot(*at) == pytest.approx(geod.inv(116, 40.25, x, y)[2] / 1000, rel=1e-6)
    assert km[1, 1] > 0
    assert km[2, 0] > 0


def test_metric_grids_are_scaled_and_feet_are_known(metric_grid):
    np.testing.assert_allclose(Places.of(metric_grid).km(400_000, 4_503_000), [[-3, 1.5]])
    feet = NestedGrid.from_bounds((0, 0, 2000, 2000), crs="EPSG:2263", shape=(2, 2))
    np.testing.assert_allclose(Places.of(feet).km(2000, 1000), [[0.3048, 0]], rtol=1e-5)
    local = NestedGrid.from_bounds((0, 0, 2000, 2000), crs=None, shape=(2, 2))
    np.testing.assert_allclose(Places.of(local).km(2000, 1000), [[1, 0]])


def test_cell_centres_run_row_by_row_from_the_north(metric_grid):
    places = Places.of(metric_grid)
    fine, coarse = places.cells_km(metric_grid), places.cells_km(metric_grid, "coarse")
    assert fine.shape == (36, 2)
    np.testing.assert_allclose(fine[:2], [[-2.5, 1.25], [-1.5, 1.25]])
    np.testing.assert_allclose(coarse, [[-1.5, 0.75], [1.5, 0.75], [-1.5, -0.75], [1.5, -0.75]])


def test_every_reading_stands_at_its_step_and_station(grid):
    points = network_table()
    network = StationNetwork.of(points, grid, freq="1h")
    assert network.names == ("S00", "S01", "S02", "S03")
    assert network.value == "pm25"
    assert network.step_ns == 3_600_000_000_000
    np.testing.assert_array_equal(network.values, points.value.reshape(12, 4))
    np.testing.assert_array_equal(network.times, FIRST + np.arange(12) * HOUR)
    np.testing.assert_array_equal(network.x, points.x[:4])
    assert network.counts["points_used"] == 48
    assert network.notes == ()


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["1h", "6h", "1D"]), st.booleans())
def test_counts_add_up_and_the_order_of_rows_is_nothing(seed, freq, named):
    grid = NestedGrid.from_bounds((115, 39.5, 117, 41), crs="EPSG:4326", shape=(3, 4), factor=2)
    rng = np.random.default_rng(seed)
    points = network_table(5, 60, seed, named)
    points.value[rng.random(300) < 0.2] = np.nan
    points.value[rng.random(300) < 0.02] = np.inf
    points.x[rng.random(300) < 0.05] = np.nan
    points.time[rng.random(300) < 0.05] = np.datetime64("NaT")
    points = rows(points, rng.integers(0, 300, 330))  # repeats
    if named:
        far = np.flatnonzero(points.station == "S04")
        points.x[far] += 50
    cut = {"freq": freq, "calendar_tz": "Asia/Shanghai", "coverage": 0.0}
    network = StationNetwork.of(points, grid, **cut)
    assert sum(network.counts.values()) == points.n_rows
    assert len(network.names) == (4 if named else 5)
    shuffled = rows(points, rng.permutation(points.n_rows))
    again = StationNetwork.of(shuffled, grid, **cut)
    assert again.names == network.names
    assert again.notes == network.notes
    np.testing.assert_array_equal(again.values, network.values)
    np.testing.assert_array_equal(again.times, network.times)


def test_a_station_taken_away_changes_no_other_column(grid):
    points = network_table(6, 48)
    whole = StationNetwork.of(points, grid, freq="6h")
    without = StationNetwork.of(rows(points, points.station != "S02"), grid, freq="6h")
    assert without.names == ("S00", "S01", "S03", "S04", "S05")
    np.testing.assert_array_equal(without.values, np.delete(whole.values, 2, axis=1))
    changed = replace(points, value=np.where(points.station == "S02", 1e6, points.value))
    other = StationNetwork.of(changed, grid, freq="6h")
    np.testing.assert_array_equal(np.delete(other.values, 2, axis=1), without.values)


def test_exact_repeats_count_once_and_other_rows_of_a_step_are_averaged(grid):
    points = network_table(3, 4)
    more = rows(points, [0, 0, 1])
    more.value[2] = points.value[1] + 10
    network = StationNetwork.of(joined(points, more), grid, freq="1h")
    assert network.values[0, 0] == points.value[0]
    assert network.values[0, 1] == pytest.approx(points.value[1] + 5)
    assert network.counts["points_used"] == 15
    assert "2 rows that repeat another exactly count once." in network.notes


def test_without_names_each_position_is_a_station(grid):
    points = network_table(4, 12, named=False)
    points.x[1::4], points.y[1::4] = points.x[0] + 1e-5, points.y[0]
    network = StationNetwork.of(points, grid, freq="1h")
    assert len(network.names) == 4
    assert f"{points.x[0]:.10g}, {points.y[0]:.10g}" in network.names
    assert np.isfinite(network.values).all()


def test_two_stations_at_one_position_stay_two(grid):
    points = network_table(4, 12)
    points.x[1::4], points.y[1::4] = points.x[0], points.y[0]
    network = StationNetwork.of(points, grid, freq="1h")
    np.testing.assert_array_equal(network.values, points.value.reshape(12, 4))


def test_a_moved_station_is_two_and_a_rounded_one_is_one(grid):
    points = network_table(4, 40)
    points.x[84::4] += 0.2  # S00, from step 21
    points.y[1:40:4] += 1e-4  # S01, 11 m for ten steps
    network = StationNetwork.of(points, grid, freq="1h")
    assert network.names == ("S00", "S00#2", "S01", "S02", "S03")
    assert np.isfinite(network.values).sum(axis=0).tolist() == [21, 19, 40, 40, 40]
    assert network.x[1] == pytest.approx(network.x[0] + 0.2)
    assert network.y[2] == points.y[41]
    assert any("Station S00 stands at 2 places and is as many stations" in n for n in network.notes)
    assert any("1 position within 100 m" in note for note in network.notes)


def test_split_names_never_collide(grid):
    points = network_table(4, 40)
    points.station[points.station == "S03"] = "S0#"
    names = np.where(points.station == "S0#", "S00#2", points.station)
    points = replace(points, station=names)
    points.x[80::4] += 0.2
    network = StationNetwork.of(points, grid, freq="1h")
    assert len(set(network.names)) == len(network.names) == 5
    assert "S00#2'" in network.names


def test_rows_without_a_name_are_named_by_position(grid):
    points = network_table(4, 12)
    points.station[3::4] = ""
    network = StationNetwork.of(points, grid, freq="1h")
    assert f"{points.x[3]:.10g}, {points.y[3]:.10g}" in network.names
    assert any("12 rows without a station name" in note for note in network.notes)


def test_stations_near_the_grid_inform_it_and_far_ones_are_counted(grid):
    points = network_table(5, 12)
    points.x[3::5] = 118.9  # the grid is two degrees wide and ends at 117
    points.x[4::5] = 119.1
    network = StationNetwork.of(points, grid, freq="1h")
    assert network.names == ("S00", "S01", "S02", "S03")
    assert network.counts["points_outside"] == 12
    assert network.counts["points_used"] == 48


def test_gaps_are_explicit_and_rows_without_a_value_mark_their_step(grid):
    points = rows(network_table(4, 12), np.r_[0:8, 20:48])
    points.value[-4:] = np.nan
    network = StationNetwork.of(points, grid, freq="1h")
    assert len(network.times) == 12
    assert np.isnan(network.values[2:5]).all()
    assert np.isnan(network.values[-1]).all()


def test_days_are_cut_in_the_calendar_zone_and_label_end_looks_back(grid):
    points = network_table(3, 72)
    days = StationNetwork.of(points, grid, freq="1D", calendar_tz="Asia/Shanghai")
    assert days.times[0] == np.datetime64("2023-12-31T16:00")
    assert days.step_ns == 24 * 3_600_000_000_000
    hours = points.value.reshape(72, 3)
    assert np.isnan(days.values[0]).all()  # 16 of 24 hours are no day
    np.testing.assert_allclose(days.values[1], hours[16:40].mean(axis=0))
    partly = StationNetwork.of(points, grid, freq="1D", calendar_tz="Asia/Shanghai", coverage=0.5)
    np.testing.assert_allclose(partly.values[0], hours[:16].mean(axis=0))
    ends = StationNetwork.of(points, grid, freq="1h", label="end")
    assert ends.times[0] == FIRST - HOUR
    np.testing.assert_array_equal(ends.values, points.value.reshape(72, 3))
    months = StationNetwork.of(network_table(3, 90, step=24 * HOUR), grid, freq="MS")
    assert months.step_ns == 31 * 24 * 3_600_000_000_000


def test_parts_of_a_network(grid):
    network = StationNetwork.of(network_table(5, 12), grid, freq="1h")
    keep = np.array([True, False, True, False, False])
    part = network.only(keep)
    assert part.names == ("S00", "S02")
    np.testing.assert_array_equal(part.values, network.values[:, keep])
    assert network.without(keep).names == ("S01", "S03", "S04")
    later = network.between(FIRST + 3 * HOUR, FIRST + 5 * HOUR)
    np.testing.assert_array_equal(later.values, network.values[3:5])
    with pytest.raises(InvalidParameter, match=r"shape \(2,\), but there are 5 stations"):
        network.only(keep[:2])


def test_points_are_projected_to_the_grid():
    grid = NestedGrid.from_bounds(
        (400_000, 4_400_000, 600_000, 4_600_000), crs="EPSG:32650", shape=(4, 4), factor=2
    )
    network = StationNetwork.of(network_table(), grid, freq="1h")
    assert network.x.min() > 300_000
    assert network.y.min() > 4_300_000
    with pytest.raises(MissingCRS, match="both a CRS, or both none"):
        StationNetwork.of(replace(network_table(), crs=None), grid, freq="1h")


def test_mobile_points_are_refused(grid):
    rng = np.random.default_rng(0)
    x, y = rng.uniform(115.1, 116.9, 400), rng.uniform(39.6, 40.9, 400)
    stamps = FIRST + np.arange(400) * HOUR
    for names in (None, np.repeat(["bus 1", "bus 2"], 200)):
        points = table(x, y, stamps, np.ones(400), names)
        with pytest.raises(InvalidParameter, match=r"needs fixed stations, and mobile .*bin"):
            StationNetwork.of(points, grid, freq="1h")


def test_one_day_of_daily_readings_is_no_mobile_file(grid):
    network = StationNetwork.of(network_table(4, 1), grid, freq="1D")
    assert network.values.shape == (1, 4)


@pytest.mark.parametrize("found", [0, 2])
def test_fewer_than_three_stations_give_one_sentence(grid, found):
    points = network_table(4, 12)
    points.value[np.arange(48) % 4 >= found] = np.nan
    with pytest.raises(NoObservations, match=f"Only {found} stations .* 3 are needed; check"):
        StationNetwork.of(points, grid, freq="1h")
    assert len(StationNetwork.of(points, grid, freq="1h", least=0).names) == found


def test_a_station_without_any_value_is_left_out_with_a_note(grid):
    points = network_table(4, 12)
    points.value[3::4] = np.nan
    network = StationNetwork.of(points, grid, freq="1h")
    assert network.names == ("S00", "S01", "S02")
    assert network.notes == ("Stations without any value are left out: S03.",)


def test_failures_give_one_sentence(grid, monkeypatch):
    points = network_table(4, 12)
    with pytest.raises(NoObservations, match="has no rows"):
        StationNetwork.of(rows(points, []), grid, freq="1h")
    with pytest.raises(NoObservations, match=r"No station .*x spans 40.* order of x and y"):
        StationNetwork.of(replace(points, x=points.y, y=points.x), grid, freq="1h")
    with pytest.raises(NoObservations, match="All 48 rows lack a time or a position"):
        StationNetwork.of(replace(points, x=points.x * np.nan), grid, freq="1h")
    with pytest.raises(InvalidParameter, match="need a value column"):
        StationNetwork.of(replace(points, value=None), grid, freq="1h")
    with pytest.raises(InvalidParameter, match="label must be one of start, end"):
        StationNetwork.of(points, grid, freq="1h", label="middle")
    monkeypatch.setattr("geodiffrecon.stations.readings.free_memory", lambda: 1000)
    with pytest.raises(MemoryEstimateExceeded, match="12 steps of 4 stations need about"):
        StationNetwork.of(points, grid, freq="1h")


def fine_cube(grid, cells, steps=20):
    values = np.full((steps, *grid.fine_shape), np.nan)
    for row, col in cells:
        values[:, row, col] = np.arange(steps) + row
    times = FIRST + np.arange(steps) * HOUR
    return make_cube(values, times, grid, value="pm25", level="fine", freq="1h",
                     value_attrs={"units": "µg/m³"})  # fmt: skip


def test_the_seen_cells_of_a_cube_are_stations(grid):
    cube = fine_cube(grid, [(0, 0), (2, 5), (5, 7)])
    network = StationNetwork.of_cube(cube)
    assert network.names == ("0,0", "2,5", "5,7")
    np.testing.assert_allclose(network.x, [115.125, 116.375, 116.875])
    np.testing.assert_allclose(network.y, [40.875, 40.375, 39.625])
    np.testing.assert_array_equal(network.values[:, 1], np.arange(20) + 2)
    assert network.units == "µg/m³"
    assert sum(network.counts.values()) == network.values.size
    with pytest.raises(NoObservations, match="Only 2 stations"):
        StationNetwork.of_cube(fine_cube(grid, [(0, 0), (1, 1)]))
    with pytest.raises(GridMismatch, match="need a fine cube"):
        StationNetwork.of_cube(cube.assign_attrs(level="coarse"))


def test_a_cube_of_a_moving_instrument_is_refused(grid):
    cube = fine_cube(grid, [], 48)
    cells = np.arange(48)
    cube["pm25"].values[cells, cells // 8, cells % 8] = 1
    with pytest.raises(InvalidParameter, match="no fixed stations"):
        StationNetwork.of_cube(cube)


def test_columns_have_the_usual_defaults():
    assert PointColumns("pm25") == PointColumns("pm25", "time", None, None, None, None, None)


@pytest.mark.data
def test_the_real_file_has_36_stations(data_dir):
    from geodiffrecon.points import read_points

    grid = NestedGrid.from_bounds(
        (115.7, 39.4, 117.2, 41.1), crs="EPSG:4326", shape=(8, 8), factor=8
    )
    points = read_points(
        data_dir / "beijing_pm25_stations_public.csv.gz", value="pm25", time="time",
        station="station",
    )  # fmt: skip
    network = StationNetwork.of(points, grid, freq="1h", calendar_tz="Asia/Shanghai")
    unnamed = StationNetwork.of(
        replace(points, station=None), grid, freq="1h", calendar_tz="Asia/Shanghai"
    )
    assert network.values.shape == unnamed.values.shape == (5879, 36)
    assert network.names[0] == "001001"
    assert sum(network.counts.values()) == points.n_rows
    assert np.nanmax(network.values) == 500
