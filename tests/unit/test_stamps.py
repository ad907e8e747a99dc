from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from geodiffrecon.errors import InvalidParameter, InvalidTime
from geodiffrecon.stamps import utc_stamp, utc_stamps


def parse(values, tz=None):
    return utc_stamps(values, tz=tz, what="time")


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-01T08:00+08:00",
        "2024-01-01 08:00:00+0800",
        "2024-01-01 08:00:00 +08:00",
        "2024/01/01 00:00:00Z",
        "2024-01-01 00:00 UTC",
        "20240101T0000Z",
        "2023-12-31T19:00:00.000-05:00",
    ],
)
def test_iso_stamps_with_a_zone_become_utc(text):
    assert parse([text])[0][0] == np.datetime64("2024-01-01T00:00")


def test_mixed_offsets_and_naive_stamps_of_one_column():
    texts = ["2024-01-01T08:00+08:00", "2024-01-01T01:00+01:00", "2024-01-01 08:00", "2024-01-02"]
    times, notes = parse(texts, "Asia/Shanghai")
    expected = ["2024-01-01T00:00"] * 3 + ["2024-01-01T16:00"]
    assert times.tolist() == np.array(expected, "M8[ns]").tolist()
    assert notes == []


@pytest.mark.parametrize("text", ["", " ", "NaN", "NULL", "NaT", None])
def test_missing_stamps_are_missing_and_need_no_zone(text):
    assert np.isnat(parse([text, "2024-01-01T00:00Z"])[0]).tolist() == [True, False]


@pytest.mark.parametrize("text", ["31.01.2024", "01/02/2024 10:00", "soon", "2024-13-01T00:00Z"])
def test_ambiguous_or_unreadable_stamps_are_refused(text):
    with pytest.raises(InvalidTime, match="cannot be read; write it as ISO 8601"):
        parse([text], "UTC")


def test_naive_stamps_need_a_zone():
    for values in (["2024-01-01T08:00"], pd.Series(pd.to_datetime(["2024-01-01T08:00"]))):
        with pytest.raises(InvalidTime, match="has no zone; give it with --tz"):
            parse(values)


@pytest.mark.parametrize(
    "values",
    [
        pd.Series(pd.to_datetime(["2024-01-01T08:00"]).tz_localize("Asia/Shanghai")),
        pa.array([1704067200000], pa.timestamp("ms", "UTC")),
        pa.chunked_array([["2024-01-01T00:00Z"]]).dictionary_encode(),
        pd.Series([pd.Timestamp("2024-01-01T08:00+08:00")], dtype=object),
    ],
)
def test_typed_columns_become_utc(values):
    assert parse(values)[0][0] == np.datetime64("2024-01-01T00:00")


def test_dates_are_local_midnight():
    assert parse(pa.array([dt.date(2024, 1, 1)]), "+08:00")[0][0] == np.datetime64("2023-12-31T16")


def test_hours_that_clocks_repeat_or_skip_are_noted():
    times, notes = parse(["2024-10-27 02:30", "2024-03-31 02:30"], "Europe/Berlin")
    assert times[0] == np.datetime64("2024-10-27T00:30")
    assert "repeat" in notes[0]
    assert "skip" in notes[1]


def test_numbers_are_no_times():
    with pytest.raises(InvalidTime, match="holds int64 values"):
        parse(pa.array([1, 2]))


def test_an_unknown_zone_is_refused():
    with pytest.raises(InvalidParameter, match="Nowhere"):
        parse(["2024-01-01"], "Nowhere/City")


def test_one_stamp_follows_its_own_zone_or_the_given_one():
    assert utc_stamp("2024-01-01", "Asia/Shanghai") == np.datetime64("2023-12-31T16:00")
    assert utc_stamp("2024-01-01T00:00Z", "Asia/Shanghai") == np.datetime64("2024-01-01")
    with pytest.raises(InvalidTime):
        utc_stamp("then", "UTC")
