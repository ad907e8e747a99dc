import numpy as np
import pandas as pd
import pytest

from geodiffrecon.noise import NoiseField, calendar_numbers, steps_since_epoch
from geodiffrecon.steps import TimeStep


def test_a_field_is_a_function_of_its_address():
    noise = NoiseField(seed=4, shape=(3, 5), stream=1, rho=0.8)
    alone = noise(draw=2, step=100)
    among = noise.series(2, np.arange(90, 110))
    np.testing.assert_allclose(alone, among[10], rtol=1e-6)


@pytest.mark.parametrize("change", [{"seed": 5}, {"stream": 2}])
def test_seeds_and_streams_are_independent(change):
    base = {"seed": 4, "stream": 1, "shape": (40, 40)}
    a, b = NoiseField(**base)(0, 0), NoiseField(**{**base, **change})(0, 0)
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.1


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.95])
def test_noise_is_standard_normal_with_the_wanted_memory(rho):
    series = NoiseField(seed=0, shape=(64,), stream=0, rho=rho).series(0, np.arange(600))
    assert series.std() == pytest.approx(1, abs=0.05)
    assert (series[1:] * series[:-1]).mean() == pytest.approx(rho, abs=0.06)


def test_steps_are_absolute():
    times = np.array(["2024-01-01", "2024-01-02"], "datetime64[ns]")
    assert np.diff(steps_since_epoch(times, 3_600_000_000_000)) == 24


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Europe/London", "America/New_York"])
@pytest.mark.parametrize("around", ["2024-03-31", "2024-10-27", "2024-03-10", "2024-11-03"])
def test_days_around_a_clock_change_are_neighbours(zone, around):
    days = TimeStep.parse("1D", tz=zone)
    centre = days.number(np.array([f"{around}T12"], "datetime64[ns]"))
    times = days.start(centre + np.arange(-3, 4))
    numbers = calendar_numbers(times, days)
    assert np.diff(numbers).tolist() == [1] * 6
    field = NoiseField(seed=0, shape=(4,), stream=0)
    noise = field.series(0, numbers)
    assert len(np.unique(noise[:, 0])) == 7


def test_months_have_numbers_of_their_own():
    months = TimeStep.parse("MS", tz="Europe/Berlin")
    times = months.start(np.arange(640, 664))
    assert np.diff(calendar_numbers(times, months)).tolist() == [1] * 23


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "America/Bogota"])
@pytest.mark.parametrize("freq", ["10min", "1h", "6h", "1D", "3D", "W"])
def test_steps_without_clock_changes_keep_their_numbers(zone, freq):
    step = TimeStep.parse(freq, tz=zone)
    first = int(step.number(np.array(["2024-02-25"], "datetime64[ns]"))[0])
    times = step.start(np.arange(first, first + 300))
    length = int(np.diff(times.astype(np.int64)).min())
    np.testing.assert_array_equal(calendar_numbers(times, step), steps_since_epoch(times, length))


@pytest.mark.parametrize(
    ("zone", "first"),
    [
        ("Atlantic/Azores", "2023-01-01T00:00"), ("America/New_York", "2023-01-01T04:00"),
        ("Europe/Berlin", "2023-01-01T22:30"), ("Europe/London", "2023-01-01T23:00"),
        ("Pacific/Norfolk", "2023-01-01T00:00"), ("Europe/London", "2023-01-01T11:00"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("freq", ["1D", "2D", "7D", "MS"])
def test_steps_cut_at_a_fixed_hour_keep_numbers_of_their_own(zone, first, freq):
    times = pd.date_range(first, periods=150, freq=freq).to_numpy().astype("datetime64[ns]")
    numbers = calendar_numbers(times, TimeStep.parse(freq, tz=zone))
    assert np.diff(numbers).tolist() == [1] * 149


def test_days_at_midnight_of_their_zone_keep_the_numbers_that_they_had():
    """Seeds of maps that were made before depend on these numbers."""
    zones = ("Atlantic/Azores", "Europe/London", "Europe/Berlin", "America/New_York", "Asia/Tokyo")
    found = []
    for zone in zones:
        days = TimeStep.parse("1D", tz=zone)
        middle = days.number(np.array(["2023-10-29T12", "2023-07-01T12"], "datetime64[ns]"))
        found.append(calendar_numbers(days.start(middle), days).tolist())
    shifts = np.array(found) - [19659, 19539]
    assert shifts.tolist() == [[0, 0], [-1, -1], [-1, -1], [0, 0], [-1, -1]]
    utc = np.arange("2023-10-27", "2023-11-01", dtype="datetime64[D]").astype("datetime64[ns]")
    numbers = calendar_numbers(utc, TimeStep.parse("1D", tz="Atlantic/Azores"))
    assert numbers.tolist() == [19657, 19658, 19659, 19660, 19661]
