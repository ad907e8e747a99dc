"""A step far outside the record, and the usual one that follows it."""

from dataclasses import replace

import numpy as np
import pytest
from station_worlds import HOUR, gaussian_field, network_of, places, square, tiny

from geodiffrecon.stations.model import StationDiffRecon

GIVEN, HIDDEN, CUT = 16, 12, 150


@pytest.fixture(scope="module")
def quiet():
    """Return a model of quiet days, places in km and values (T, S) that reach beyond its record."""
    km, rng = places(GIVEN + HIDDEN, 2), np.random.default_rng(3)
    field = gaussian_field(km, 240, 1, memory=0.4, reach=80)
    values = np.maximum(40 + 3 * field + 2 * rng.standard_normal(field.shape), 0.5)
    known = days(km, values[:CUT], slice(GIVEN))
    model = StationDiffRecon(settings=tiny(network=False, diffusion=False))
    return model.fit(known, square()), km, values


def days(km, values, part):
    network = network_of(km[part], values[:, part], "S" if part.start is None else "H")
    times = np.datetime64("2024-01-01", "ns") + np.arange(len(values)) * 24 * HOUR
    return replace(network, times=times, freq="1D")


@pytest.mark.parametrize("factor", [1, 3, 10, 1 / 3])
def test_an_extreme_day_and_the_next_are_neither_biased_nor_too_sure(quiet, factor):
    model, km, values = quiet
    extreme = np.arange(CUT + 10, len(values) - 2, 7)
    values = values.copy()
    values[extreme] *= factor
    hidden = days(km, values, slice(GIVEN, None))
    found = model.at(days(km, values, slice(GIVEN)), hidden.x, hidden.y)
    low, high = found.quantile(0.05), found.quantile(0.95)
    for steps in (extreme, extreme + 1):
        truth = values[steps, GIVEN:]
        assert abs(found.mean[steps].mean() / truth.mean() - 1) < 0.03
        inside = (low[steps] <= truth) & (truth <= high[steps])
        assert 0.84 <= inside.mean() <= 0.94
