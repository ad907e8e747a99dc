from itertools import pairwise

import pytest
import torch

from geodiffrecon.errors import InvalidParameter
from geodiffrecon.schedule import NoiseLevels, noise_levels, timesteps


@pytest.mark.parametrize("schedule", ["cosine", "linear", "quadratic"])
@pytest.mark.parametrize("count", [10, 50, 100, 1000])
def test_every_schedule_falls_from_one_to_noise(schedule, count):
    levels = noise_levels(count, schedule=schedule)
    assert levels.T == count
    assert levels.abar[0] == 1
    assert (levels.abar.diff() < 0).all()
    assert 0 < levels.abar[-1] < 1e-3


def test_zero_terminal_snr_keeps_nothing_at_the_end_and_level_one_as_it_was():
    plain = noise_levels(100, schedule="linear")
    levels = noise_levels(100, schedule="linear", zero_terminal_snr=True)
    assert levels.abar[-1] == 0
    assert levels.abar[1] == pytest.approx(float(plain.abar[1]))


def test_a_schedule_that_keeps_signal_is_refused_with_the_value_seen():
    with pytest.raises(InvalidParameter, match=r"keeps 0\.02\d+ of the signal"):
        noise_levels(50, schedule="quadratic", betas=(1e-4, 0.2))


def test_published_quadratic_schedule_is_allowed():
    levels = noise_levels(50, schedule="quadratic", betas=(1e-4, 0.5))
    assert float(levels.abar[-1]) == pytest.approx(3e-5, rel=0.2)


@pytest.mark.parametrize(
    "abar", [torch.tensor([1.0, 0.5, 0.5, 1e-5]), torch.tensor([0.9, 1e-5]), torch.ones(2, 2)]
)
def test_levels_that_do_not_fall_from_one_are_refused(abar):
    with pytest.raises(InvalidParameter):
        NoiseLevels(abar)


@pytest.mark.parametrize("arguments", [{"schedule": "sine"}, {"betas": (0.5, 0.1)}])
def test_unknown_schedule_and_falling_betas_are_refused(arguments):
    with pytest.raises(InvalidParameter):
        noise_levels(50, **{"schedule": "linear", **arguments})


def test_one_level_is_refused():
    with pytest.raises(InvalidParameter, match="at least 2"):
        noise_levels(1)


@pytest.mark.parametrize(("count", "steps"), [(100, 7), (50, 50), (1000, 20), (10, 1)])
def test_timesteps_fall_from_the_last_level_to_zero(count, steps):
    visited = timesteps(noise_levels(count), steps)
    assert len(visited) == steps + 1
    assert visited[0] == count
    assert visited[-1] == 0
    assert all(a > b for a, b in pairwise(visited))


@pytest.mark.parametrize("steps", [0, 11])
def test_more_steps_than_levels_are_refused(steps):
    with pytest.raises(InvalidParameter, match="1 to 10 steps"):
        timesteps(noise_levels(10), steps)


def test_coefficients_are_unit_power_and_shaped_to_multiply():
    levels = noise_levels(20)
    signal, sigma = levels.coefficients(torch.tensor([1, 20]), torch.zeros(2, 3, 4, 5))
    assert signal.shape == sigma.shape == (2, 1, 1, 1)
    torch.testing.assert_close(signal**2 + sigma**2, torch.ones(2, 1, 1, 1))
