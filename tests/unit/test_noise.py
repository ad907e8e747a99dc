import numpy as np
import pytest

from geodiffrecon.noise import NoiseField, steps_since_epoch


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
