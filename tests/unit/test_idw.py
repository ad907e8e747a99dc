from __future__ import annotations

import numpy as np
import pytest

from geodiffrecon.points import PointTable
from geodiffrecon.rivals.idw import idw, idw_maps

HOUR = np.timedelta64(3_600_000_000_000, "ns")


def table_of(grid, x, y, time, value):
    values = np.asarray(value, dtype=np.float64)
    stamps = np.asarray(time, dtype="datetime64[ns]")
    return PointTable(np.asarray(x, float), np.asarray(y, float), stamps, values, grid.crs)


def test_a_target_on_a_place_gets_its_value():
    places = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    np.testing.assert_allclose(idw(places, np.array([3.0, 5.0, 7.0]), places), [3, 5, 7])


def test_values_stay_within_those_that_are_known():
    rng = np.random.default_rng(0)
    values = rng.normal(size=40)
    found = idw(rng.uniform(size=(40, 2)), values, rng.uniform(-1, 2, size=(200, 2)))
    assert values.min() <= found.min()
    assert found.max() <= values.max()


def test_it_is_the_weighted_mean_of_the_nearest():
    places = np.array([[0.0, 0.0], [3.0, 0.0], [100.0, 0.0]])
    found = idw(places, np.array([1.0, 4.0, 1e6]), np.array([[1.0, 0.0]]), neighbours=2)
    assert found[0] == pytest.approx((1 / 1 + 4 / 4) / (1 + 1 / 4))


def test_one_point_fills_the_map(grid, times):
    table = table_of(grid, [115.1], [40.9], times[:1] + HOUR, [8.0])
    bounds = np.stack([times[:2], times[1:3]], axis=1)
    maps = idw_maps(table, grid, bounds)
    np.testing.assert_array_equal(maps[0], np.full(grid.fine_shape, 8.0))
    assert np.isnan(maps[1]).all()


def test_each_step_uses_its_own_points_only(grid, times):
    stamps = np.concatenate([times[1:2], times[:1], times[1:2] - 1])  # the last one is step 0
    table = table_of(grid, [115.1, 115.1, 116.9], [40.9, 40.9, 39.6], stamps, [9.0, 1.0, 3.0])
    maps = idw_maps(table, grid, np.stack([times[:2], times[1:3]], axis=1))
    assert maps[0].min() >= 1
    assert maps[0].max() <= 3
    assert (maps[1] == 9).all()


def test_missing_values_do_not_count(grid, times):
    table = table_of(grid, [115.1, 116.0], [40.9, 40.0], [times[0]] * 2, [np.nan, 2.0])
    assert (idw_maps(table, grid, np.stack([times[:1], times[1:2]], axis=1)) == 2).all()


def test_degrees_of_longitude_are_shorter_than_those_of_latitude(grid, times):
    table = table_of(grid, [115.125, 116.625], [40.875, 40.875], [times[0]] * 2, [0.0, 1.0])
    far_south = idw_maps(table, grid, np.stack([times[:1], times[1:2]], axis=1))[0][-1, 0]
    near, far = 1.25**2, 1.25**2 + (1.5 * np.cos(np.radians(40.25))) ** 2
    assert far_south == pytest.approx((1 / far) / (1 / near + 1 / far), rel=1e-5)
