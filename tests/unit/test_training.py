import time

import pytest
import torch
from torch import nn

from geodiffrecon.errors import Cancelled
from geodiffrecon.training import optimise


def line(slope=2.0):
    x = torch.linspace(-1, 1, 32)[:, None]
    return x, slope * x + 0.5


def fit(network, **changes):
    x, y = line()
    options = {"steps": 200, "rate": 0.05, "seed": 0, **changes}
    return optimise(network, lambda step: (network(x) - y).square().mean(), **options)


def test_it_learns_and_keeps_the_best_averaged_weights():
    network = nn.Linear(1, 1)
    x, y = line()

    def error():
        return float((network(x) - y).detach().square().mean())

    outcome = fit(network, check=error)
    assert outcome.score < 0.01
    assert error() == pytest.approx(outcome.score, abs=1e-6)
    assert not network.training


def test_it_stops_when_validation_gets_worse():
    network = nn.Linear(1, 1)
    scores = iter(range(1000))
    outcome = fit(network, steps=5000, check=lambda: float(next(scores)))
    assert outcome.steps == 25
    assert outcome.curve[-1][0] < 5000


def test_it_is_the_more_patient_the_longer_it_has_learnt():
    def checks(better_until):
        scores = iter([-k for k in range(better_until)] + [0] * 1000)
        return fit(nn.Linear(1, 1), steps=5000, check=lambda: float(next(scores))).curve[-1][0]

    assert checks(4) == 100 + 200
    assert checks(80) == 2000 + 1000


def test_it_keeps_to_its_time():
    began = time.monotonic()
    fit(nn.Linear(1, 1), steps=10**7, until=began + 0.3)
    assert time.monotonic() - began < 5


def test_dropout_is_seeded_and_the_global_generator_is_left_alone():
    def trained():
        with torch.random.fork_rng():
            torch.manual_seed(1)
            network = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        fit(network, steps=10)
        return network[0].weight

    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one = trained()
    assert torch.rand(1) == expected
    torch.rand(5)
    torch.testing.assert_close(trained(), one, rtol=0, atol=0)


def test_progress_can_cancel():
    def stop(done, total, message):
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        fit(nn.Linear(1, 1), progress=stop)
