"""Numbers that callers ask for are the numbers, or one sentence."""

import decimal

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest

from geodiffrecon import interpolate
from geodiffrecon.errors import InvalidParameter, InvalidTime
from geodiffrecon.limits import level_of, limits_of, places_of, threshold_of
from geodiffrecon.points import from_geodataframe
from geodiffrecon.stations.forecast import Power, SiteForecast
from geodiffrecon.variable import _ends

N = 12
X, Y = np.linspace(116, 117, N), np.linspace(39, 40, N) ** 2 / 40


def frame(values, name="v"):
    columns = {"time": pd.date_range("2024-01-01", periods=N, tz="UTC"), name: values}
    return gpd.GeoDataFrame(columns, geometry=gpd.points_from_xy(X, Y), crs=4326)


def forecast():
    times = np.array(["2024-01-01"], "M8[ns]")
    return SiteForecast(times, np.array([[5.0]]), np.array([[1.0]]), Power(1.0))


@pytest.mark.parametrize(
    ("level", "said"),
    [(95, "for 95 % write 0.95"), (-1, "between 0 and 1"), ([0.1, 0.9], "one number"),
     (float("nan"), "must be a number"), ("x", "must be a number"), (True, "must be a number"),
     (None, "must be a number")],
)  # fmt: skip
def test_levels_that_are_none(level, said):
    with pytest.raises(InvalidParameter, match=said):
        level_of(level)
    with pytest.raises(InvalidParameter, match=said):
        forecast().quantile(level)


@pytest.mark.parametrize("limit", ["x", float("nan"), np.inf, [1.0, 2.0], None])
def test_limits_that_are_none(limit):
    with pytest.raises(InvalidParameter):
        threshold_of(limit)
    with pytest.raises(InvalidParameter):
        forecast().exceedance(limit)


def test_limits_are_one_or_several():
    assert limits_of(35) == limits_of("35") == limits_of(np.array([35.0])) == (35.0,)
    assert (limits_of(None), limits_of([1, 2, 1])) == ((), (1.0, 2.0))
    with pytest.raises(InvalidParameter, match="'a'"):
        limits_of(("a",))
    values = np.random.default_rng(0).random(N)
    with pytest.raises(InvalidParameter, match="must be a number"):
        interpolate(frame(values), "v", exceed="much")
    assert "v_exceed_0.5" in interpolate(frame(values), "v", exceed=0.5)


def test_each_place_has_one_x_and_one_y():
    np.testing.assert_array_equal(places_of(1, 2), ([1.0], [2.0]))
    for x, y in (([1, 2], [3]), np.meshgrid([1.0, 2], [3.0, 4]), ("a", "b")):
        with pytest.raises(InvalidParameter, match="Coordinates"):
            places_of(x, y)


@pytest.mark.parametrize("times", ["2024-05-20", pd.date_range("2024-05-20", periods=3), 5])
def test_times_are_a_first_and_a_last(times):
    with pytest.raises(InvalidTime, match="the first and the last one"):
        _ends(times)


@pytest.mark.parametrize(
    ("values", "first"),
    [(np.arange(N, dtype=">f8"), 0), (np.arange(N, dtype=">i4"), 0),
     (np.arange(N, dtype=np.longdouble), 0), (np.arange(N, dtype="f2"), 0),
     (pd.arrays.SparseArray(np.arange(N)), 0), ([decimal.Decimal("1.5")] * N, 1.5),
     (np.full(N, 2**53 + 1), float(2**53)), (pd.Series([2**70] * N, dtype=object), float(2**70)),
     (pd.Series([1, "2", 3.5, None] * 3, dtype=object), 1)],
)  # fmt: skip
def test_numbers_of_any_kind_are_read(values, first):
    assert from_geodataframe(frame(values), value="v", time="time").value[0] == first


def test_columns_named_by_numbers_and_periods():
    read = from_geodataframe(frame(np.arange(N), name=0), value=0, time="time")
    assert (read.value[1], read.value_name) == (1, "0")
    months = frame(np.arange(N)).assign(time=pd.period_range("2024-01", periods=N, freq="M"))
    read = from_geodataframe(months, value="v", time="time", tz="UTC")
    assert read.time[1] == np.datetime64("2024-02-01")


def test_a_series_and_a_frame_without_active_geometry():
    shapes = gpd.GeoSeries.from_xy(X, Y)
    with pytest.raises(InvalidParameter, match="GeoSeries"):
        from_geodataframe(shapes, value="v", time="time")
    loose = gpd.GeoDataFrame({"time": ["2024"] * N, "v": range(N), "g": shapes})
    with pytest.raises(Exception, match=r"set_geometry\('g'\)"):
        from_geodataframe(loose, value="v", time="time")
