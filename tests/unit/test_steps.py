from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodiffrecon.errors import InvalidParameter, InvalidTime
from geodiffrecon.steps import TimeStep

HOUR = np.timedelta64(3_600_000_000_000, "ns")


def stamps(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[ns]")


@given(
    st.sampled_from(["5min", "30min", "6h", "1D", "3D", "W", "2W-WED", "MS", "QE", "YS", "2ME"]),
    st.sampled_from(["UTC", "Asia/Shanghai", "Europe/Berlin", "America/Havana"]),
    st.integers(-(10**9), 4 * 10**9),
)
def test_every_moment_lies_in_exactly_one_interval(freq, tz, seconds):
    step = TimeStep.parse(freq, tz=tz)
    moment = np.array([seconds], "datetime64[s]").astype("datetime64[ns]")
    number = step.number(moment)
    assert step.start(number)[0] <= moment[0] < step.start(number + 1)[0]
    assert step.number(step.start(number))[0] == number[0]


def test_days_of_a_zone_with_summer_time_have_23_and_25_hours():
    step = TimeStep.parse("1D", tz="Europe/Berlin")
    spring, autumn = stamps("2024-03-31T12:00", "2024-10-27T12:00")
    for day, hours in ((spring, 23), (autumn, 25)):
        low, high = step.bounds(step.floor(np.array([day])))[0]
        assert (high - low) == hours * HOUR


@pytest.mark.parametrize(
    ("freq", "first"),
    [
        ("W", "2024-01-29"),  # weeks that end on Sunday begin on Monday
        ("MS", "2024-02-01"),
        ("ME", "2024-02-01"),
        ("QS", "2024-01-01"),
        ("QE-JAN", "2024-02-01"),
        ("YE", "2024-01-01"),
        ("YS-APR", "2023-04-01"),
        ("24h", "2024-02-01"),
    ],
)
def test_calendar_steps_begin_where_pandas_says(freq, first):
    assert TimeStep.parse(freq).floor(stamps("2024-02-01T10:00"))[0] == np.datetime64(first)


@pytest.mark.parametrize(
    ("texts", "tz", "freq"),
    [
        (("2024-01-01T00:00", "2024-01-01T00:30", "2024-01-01T02:00"), "UTC", "30min"),
        (("2024-01-01T12:00", "2024-01-02T12:00"), "UTC", "1D"),
        (("2024-03-29T23:00", "2024-03-30T23:00", "2024-03-31T22:00"), "Europe/Berlin", "1D"),
        (("2024-03-30", "2024-03-31", "2024-04-01"), "Europe/Berlin", "1D"),
        (("2024-01-01", "2024-02-01", "2024-05-01"), "UTC", "1MS"),
        (("2024-01-01", "2024-01-08", "2024-01-22"), "UTC", "7D"),
    ],
)
def test_the_step_of_a_record_with_gaps_is_found(texts, tz, freq):
    step = TimeStep.infer(stamps(*texts), tz=tz)
    assert step.freq == freq
    assert np.isin(stamps(*texts), step.span(stamps(*texts)[0], stamps(*texts)[-1])).all()


def test_irregular_times_are_refused():
    with pytest.raises(InvalidTime, match="not on a regular step"):
        TimeStep.infer(stamps("2024-01-01T00:00", "2024-01-01T00:30", "2024-01-01T00:50"))


@pytest.mark.parametrize("freq", ["often", "B", "-1D", ""])
def test_frequencies_that_are_no_regular_step_are_refused(freq):
    with pytest.raises(InvalidParameter, match="requency"):
        TimeStep.parse(freq)


def test_a_step_goes_through_stamps_off_its_anchor():
    times = stamps("2024-01-01T03:00", "2024-01-01T09:00")
    assert TimeStep.through(times, "6h").floor(times).tolist() == times.tolist()
    with pytest.raises(InvalidTime, match="consecutive"):
        TimeStep.through(stamps("2024-01-01", "2024-01-03"), "1D")


def test_an_unknown_zone_is_refused():
    with pytest.raises(InvalidParameter, match="Mars/Base"):
        TimeStep.parse("1D", tz="Mars/Base")
