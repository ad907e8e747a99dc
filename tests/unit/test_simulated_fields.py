"""Simulated fields are of many kinds, reproducible, coherent in time; patterns are as asked."""

import itertools

import numpy as np
import pytest

from geodiffrecon.core.fields import FAMILIES, simulate
from geodiffrecon.core.patterns import KINDS, coarse_pattern, draw_count, pattern
from geodiffrecon.core.source import Source
from geodiffrecon.core.textures import drainage, matern, streets
from geodiffrecon.errors import InvalidParameter


def similarity(first, second):
    if first.std() == 0 or second.std() == 0:
        return np.nan
    return np.corrcoef(first.ravel(), second.ravel())[0, 1]


@pytest.mark.parametrize("family", FAMILIES)
def test_fields_of_a_family_are_finite_vary_and_have_its_sign(family):
    for seed in range(12):
        drawn = simulate(np.random.default_rng(seed), family=family)
        assert drawn.values.shape == (1, 32, 32)
        assert drawn.family == family
        assert np.isfinite(drawn.values).all()
        assert np.count_nonzero(drawn.values != np.median(drawn.values)) >= 4
        assert not drawn.positive or drawn.values.min() >= 0


@pytest.mark.parametrize("family", FAMILIES)
def test_fields_repeat_with_their_seed_and_differ_with_another(family):
    first, again, other = (
        simulate(np.random.default_rng(seed), dates=2, family=family).values for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("family", FAMILIES)
def test_dates_are_more_alike_the_closer_they_are(family):
    next_ones, far_ones = [], []
    for seed in range(6):
        values = simulate(np.random.default_rng(seed), 16, dates=9, family=family).values
        next_ones += [similarity(values[date], values[date + 1]) for date in range(8)]
        far_ones += [similarity(values[0], values[8])]
    assert np.nanmean(next_ones) > 0.2
    assert np.nanmean(next_ones) > np.nanmean(far_ones) - 0.02


def test_sequences_lose_their_likeness_with_time():
    rng = np.random.default_rng(0)
    sequences = [simulate(rng, 16, dates=9).values for _ in range(80)]
    likeness = [
        np.nanmean([similarity(values[0], values[lag]) for values in sequences])
        for lag in (1, 4, 8)
    ]
    assert likeness[0] > likeness[1] + 0.05 > likeness[2] + 0.05


def test_a_sequence_stays_of_amounts_on_all_dates():
    rng = np.random.default_rng(5)
    for _ in range(60):
        drawn = simulate(rng, 16, dates=3)
        assert not drawn.positive or drawn.values.min() >= 0


def test_all_families_are_drawn_by_their_shares():
    rng = np.random.default_rng(0)
    names = [simulate(rng, 8).family for _ in range(400)]
    assert set(names) == set(FAMILIES)
    total = sum(family.share for family in FAMILIES.values())
    assert names.count("rain") / 400 == pytest.approx(FAMILIES["rain"].share / total, abs=0.04)


def test_amounts_are_about_as_frequent_as_fields_of_either_sign():
    rng = np.random.default_rng(1)
    amounts = np.mean([simulate(rng, 8).positive for _ in range(250)])
    assert 0.5 < amounts < 0.75


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"family": "snow"}, "no family of fields is called 'snow'"),
        ({"size": 4}, "at least 8 rows"),
        ({"dates": 0}, "at least one date"),
    ],
)
def test_impossible_fields_are_refused(options, message):
    with pytest.raises(InvalidParameter, match=message):
        simulate(np.random.default_rng(0), **options)


# ---- the randomness


def test_parameters_stay_while_noise_evolves_with_the_memory():
    source = Source(np.random.default_rng(0), 64, memory=0.9)
    first_number, first = source.between(0, 1), source.white()
    source.next_date()
    assert source.between(0, 1) == first_number
    assert similarity(first, source.white()) == pytest.approx(0.9, abs=0.03)


def test_noise_moves_with_the_drift_and_still_noise_does_not_change():
    source = Source(np.random.default_rng(0), 64, memory=0.98, drift=(2.0, -1.0))
    first, land = source.white(), source.still.white()
    source.next_date()
    second, same = source.white(), source.still.white()
    assert similarity(np.roll(first, (2, -1), (0, 1)), second) > 0.95
    np.testing.assert_array_equal(land, same)


def test_noise_keeps_its_spread_over_many_dates():
    source = Source(np.random.default_rng(0), 64, memory=0.7)
    for _ in range(30):
        source.next_date()
        noise = source.white()
    assert noise.std() == pytest.approx(1, abs=0.05)


def test_textures_have_the_range_asked_for():
    rng = np.random.default_rng(0)
    for reach in (2.0, 8.0):
        fields = [matern(Source(rng, 32), 0.5, reach, stretched=0.0) for _ in range(200)]
        at_reach = np.mean([(field[:, : -int(reach)] * field[:, int(reach) :]) for field in fields])
        assert np.mean(np.square(fields)) == pytest.approx(1, abs=0.15)
        # An exponential whose range is scaled by the square root of twice the smoothness.
        assert at_reach == pytest.approx(np.exp(-1), abs=0.12)


def test_skewed_noise_has_a_mean_of_one():
    noise = Source(np.random.default_rng(0), 256).gamma(2.0)
    assert noise.mean() == pytest.approx(1, abs=0.02)
    assert noise.var() == pytest.approx(0.5, abs=0.03)


def test_water_of_a_slope_gathers_at_its_foot():
    height = np.add.outer(np.arange(5.0)[::-1], 10 * np.abs(np.arange(5.0) - 2))
    water = drainage(height)
    assert water[4, 2] == water.max() == 25


def test_streets_are_connected_lines_inside_the_raster():
    network = streets(np.random.default_rng(2), 32, 12)
    assert 32 <= np.count_nonzero(network) < 600
    assert network.min() == 0


# ---- patterns


@pytest.mark.parametrize(("kind", "count"), list(itertools.product(KINDS, (3, 40, 614))))
def test_patterns_have_as_many_cells_as_asked_for(kind, count):
    rng = np.random.default_rng(count)
    values = simulate(rng).values[0]
    for _ in range(5):
        seen = pattern(rng, values, count, kind)
        assert len(np.unique(seen)) == count
        assert seen.min() >= 0
        assert seen.max() < values.size
        assert (np.diff(seen) > 0).all()


def test_patterns_fit_rasters_that_are_not_square():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(12, 30))
    for kind in KINDS:
        assert pattern(rng, values, 100, kind).max() < 360


def nearest(seen):
    rows, columns = np.divmod(seen, 32)
    distance = np.hypot(rows[:, None] - rows, columns[:, None] - columns)
    np.fill_diagonal(distance, np.inf)
    return distance.min(axis=1)


def test_regular_patterns_keep_apart_and_clusters_do_not():
    rng = np.random.default_rng(0)
    values = np.zeros((32, 32))
    apart = {
        kind: np.mean([np.median(nearest(pattern(rng, values, 36, kind))) for _ in range(20)])
        for kind in ("near regular", "random", "clusters")
    }
    assert apart["near regular"] > 3.5 > apart["random"] > apart["clusters"]


def test_an_empty_side_has_no_points():
    rng = np.random.default_rng(0)
    for _ in range(10):
        rows, columns = np.divmod(pattern(rng, np.zeros((32, 32)), 60, "empty side"), 32)
        angles = np.linspace(0, 2 * np.pi, 60)
        beyond = [np.max(np.cos(a) * (columns - 16) + np.sin(a) * (rows - 16)) for a in angles]
        assert min(beyond) < 6


def test_preferential_points_are_at_unusual_values():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(32, 32))
    means = [values.ravel()[pattern(rng, values, 60, "preferential")].mean() for _ in range(30)]
    assert min(np.abs(means)) > 0.3
    assert 0.4 < np.mean(np.array(means) > 0) < 0.9


def test_counts_of_points_range_from_three_to_sixty_per_cent():
    rng = np.random.default_rng(0)
    counts = [draw_count(rng, 1024) for _ in range(500)]
    assert min(counts) == 3
    assert 400 < max(counts) <= 614


def test_impossible_patterns_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(InvalidParameter, match="no pattern is called 'spiral'"):
        pattern(rng, np.zeros((8, 8)), 3, "spiral")
    with pytest.raises(InvalidParameter, match="from 1 to 64 cells, not 65"):
        pattern(rng, np.zeros((8, 8)), 65)


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (8, 16)])
def test_coarse_patterns_see_all_or_some_blocks(shape):
    rng = np.random.default_rng(0)
    seen = [coarse_pattern(rng, shape) for _ in range(200)]
    assert all(blocks.shape == shape and blocks.any() for blocks in seen)
    whole = np.mean([blocks.all() for blocks in seen])
    assert whole == 1 if shape == (1, 1) else 0.3 < whole < 0.6
