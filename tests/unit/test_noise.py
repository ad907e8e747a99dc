import numpy as np
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
