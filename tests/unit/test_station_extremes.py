"""A step far outside the record, and the usual one that follows it."""

from dataclasses import replace

import numpy as np
import pytest
from station_worlds import HOUR, gaussian_field, network_of, places, square, tiny

from geodiffrecon.stations.model import StationDiffRecon

GIVEN, HIDDEN = 16, 12
# of records whose maps are about 90 % sure without any extreme
SEEDS = {("quiet", "1D"): 2, ("quiet", "1h"): 2, ("lively", "1D"): 25, ("lively", "1h"): 20}


def values_of(kind, freq, km, seed):
    """Return values (T, S): of a quiet record, or of one whose level swings by factors."""
    rng, count = np.random.default_rng(seed + 1), 240 if freq == "1D" else 480
    field = gaussian_field(km, count, seed + 2, memory=0.4 if freq == "1D" else 0.8, reach=80)
    noise = rng.standard_normal(field.shape)
    if kind == "quiet":
        return np.maximum(40 + 3 * field + 2 * noise, 0.5)
    alone = np.zeros((1, 2))
    level = gaussian_field(alone, count, seed + 3, memory=0.7 if freq == "1D" else 0.97)
    return np.exp(3.5 + 0.6 * level + 0.25 * field + 0.1 * noise)


def part_of(km, values, part, freq):
    network = network_of(km[part], values[:, part], "S" if part.start is None else "H")
    step = HOUR * (24 if freq == "1D" else 1)
    times = np.datetime64("2024-01-01", "ns") + np.arange(len(values)) * step
    return replace(network, times=times, freq=freq)


@pytest.fixture(scope="module", params=SEEDS, ids="-".join)
def mapped(request):
    """Return what maps hidden stations when some steps are multiplied, and which steps."""
    kind, freq = request.param
    seed = SEEDS[request.param]
    km = places(GIVEN + HIDDEN, seed)
    values = values_of(kind, freq, km, seed)
    cut = len(values) * 5 // 8
    model = StationDiffRecon(settings=tiny(network=False, diffusion=False))
    model.fit(part_of(km, values[:cut], slice(GIVEN), freq), square())
    extreme = np.arange(cut + 10, len(values) - 2, 7)

    def run(factor):
        changed = values.copy()
        changed[extreme] *= factor
        hidden = part_of(km, changed, slice(GIVEN, None), freq)
        said = []
        given = part_of(km, changed, slice(GIVEN), freq)
        found = model.at(given, hidden.x, hidden.y, log=said.append)
        return found, hidden.values, said

    return run, extreme, run(1)[0].mean, kind


@pytest.mark.parametrize("factor", [1, 3, 10, 1 / 3])
def test_an_extreme_step_and_the_next_are_neither_biased_nor_too_sure(mapped, factor):
    run, extreme, usual, kind = mapped
    found, truth, said = run(factor)
    low, high = found.quantile(0.05), found.quantile(0.95)
    for steps, times in ((extreme, factor), (extreme + 1, 1)):
        # beside the map without the extreme, which errs where the few hidden stations stand
        assert abs(found.mean[steps].mean() / (times * usual[steps].mean()) - 1) < 0.03
        inside = (low[steps] <= truth[steps]) & (truth[steps] <= high[steps])
        assert 0.84 <= inside.mean() <= 0.94
    if kind == "quiet":
        outside = [sentence for sentence in said if "outside the record" in sentence]
        assert len(outside) == (factor != 1)
