import numpy as np
import pandas as pd
import pytest

from geodiffrecon.errors import InvalidParameter
from geodiffrecon.grid import NestedGrid
from geodiffrecon.synthetic import BOUNDS, TIME_ZONE, SimulatedPM25, counts, plumes


@pytest.fixture(scope="module")
def simulation():
    return SimulatedPM25(days=21, seed=7)


@pytest.fixture(scope="module")
def field(simulation):
    return simulation.pm25()


def test_one_seed_gives_the_same_field_and_another_seed_another(simulation, field):
    assert np.array_equal(field, SimulatedPM25(days=21, seed=7).pm25())
    assert not np.array_equal(field, SimulatedPM25(days=21, seed=8).pm25())


def test_magnitudes_are_those_of_urban_air_in_winter(field):
    assert field.shape == (21, 32, 32)
    assert field.dtype == np.float32
    assert field.min() > 0
    assert 25 < field.mean() < 130
    assert field.max() < 655  # what the packed sample can hold


def test_the_plain_is_dirtier_than_the_mountains(field):
    mean = field.mean(axis=0)
    assert mean[20:, 10:22].mean() > 1.5 * mean[:8, :8].mean()


def test_days_start_at_local_midnight(simulation):
    local = simulation.times.tz_localize("UTC").tz_convert(TIME_ZONE)
    assert (local.hour == 0).all()
    assert local[0] == pd.Timestamp("2022-01-01", tz=TIME_ZONE)


def test_short_steps_average_to_days():
    daily = SimulatedPM25(days=2, seed=3).pm25()
    short = SimulatedPM25(days=2, seed=3, freq="6h").pm25()
    assert short.shape == (8, 32, 32)
    assert np.allclose(short.reshape(2, 4, 32, 32).mean(axis=1), daily, rtol=1e-5)


@pytest.mark.parametrize(("freq", "days"), [("90min", 2), ("5h", 2), ("1D", 0)])
def test_a_step_that_does_not_divide_the_record_is_refused(freq, days):
    with pytest.raises(InvalidParameter, match="do not divide"):
        SimulatedPM25(days=days, freq=freq).pm25()


def test_progress_is_reported():
    seen = []
    SimulatedPM25(days=12).pm25(progress=lambda *event: seen.append(event))
    assert [done for done, _, _ in seen] == [0, 240]


def test_weather_has_a_row_a_step_in_local_time(simulation):
    weather = simulation.weather()
    assert len(weather) == 21
    assert str(weather.index.tz) == TIME_ZONE
    assert list(weather) == [
        "wind_u",
        "wind_v",
        "wind_speed",
        "temperature_c",
        "boundary_layer_m",
        "rain_mm",
    ]
    assert (weather["rain_mm"] >= 0).all()
    assert weather["boundary_layer_m"].between(100, 3000).all()


def test_still_shallow_days_are_dirtier():
    simulation = SimulatedPM25(days=90, seed=1)
    ranks = simulation.weather()[["wind_speed", "boundary_layer_m"]].rank()
    ranks["pm25"] = pd.Series(simulation.pm25().mean(axis=(1, 2)), ranks.index).rank()
    assert (ranks.corr()["pm25"].drop("pm25") < -0.2).all()


def test_summers_are_cleaner_than_winters():
    winter = SimulatedPM25(days=30, start="2022-01-01").pm25().mean()
    assert winter > 1.3 * SimulatedPM25(days=30, start="2022-07-01").pm25().mean()


def test_the_truth_is_a_cube_that_says_it_is_simulated(simulation):
    cube = simulation.truth()
    assert cube["pm25"].dims == ("time", "latitude", "longitude")
    assert cube.attrs["value"] == "pm25"
    assert cube.attrs["calendar_tz"] == TIME_ZONE
    assert "SIMULATED" in cube.attrs["title"]
    assert cube["latitude"][0] > cube["latitude"][-1]
    grid = NestedGrid.of(cube)
    assert grid.crs.epsg == 4326
    assert (grid.shape, grid.factor) == ((8, 8), 4)


def test_stations_are_irregular_and_leave_coarse_cells_empty(simulation, field):
    table = simulation.stations(field)
    west, south, east, north = BOUNDS
    sites = table.drop_duplicates("station")
    assert len(sites) == 60
    assert sites["longitude"].between(west, east).all()
    assert sites["latitude"].between(south, north).all()
    column = ((sites["longitude"] - west) / (east - west) * 8).astype(int)
    row = ((north - sites["latitude"]) / (north - south) * 8).astype(int)
    assert 15 < len(set(zip(row, column, strict=True))) < 50


def test_stations_follow_the_truth_with_noise_outages_and_blanks(simulation, field):
    table = simulation.stations(field)
    assert table["pm25"].min() >= 1
    assert 0 < table["pm25"].isna().mean() < 0.06
    assert 0.85 < len(table) / (60 * 21) < 1
    exact = simulation.stations(field, relative_noise=0, noise=0, outages=0)
    assert len(exact) == 60 * 21
    assert not exact["pm25"].isna().any()
    merged = table.merge(exact, on=["station", "time"], suffixes=("", "_true")).dropna()
    assert merged["pm25"].corr(merged["pm25_true"]) > 0.95
    assert not np.allclose(merged["pm25"], merged["pm25_true"])


def test_plumes_are_smooth_positive_and_seeded():
    field = plumes((12, 16), 40, seed=2)
    assert field.shape == (40, 12, 16)
    assert field.min() > 0
    assert np.array_equal(field, plumes((12, 16), 40, seed=2))
    assert np.abs(np.diff(field, axis=2)).mean() < 0.3 * field.std()


def test_counts_are_whole_with_a_daily_and_a_weekly_cycle():
    flows = counts((8, 8), 24 * 28, seed=0, mean=4.0)
    assert flows.dtype == np.int32
    assert flows.mean() == pytest.approx(4.0, rel=0.05)
    hourly = flows.reshape(28, 24, -1).mean(axis=(0, 2))
    assert hourly.max() > 2 * hourly.min()
    daily = flows.reshape(4, 7, -1).mean(axis=(0, 2))
    assert daily[:5].mean() > 1.2 * daily[5:].mean()
