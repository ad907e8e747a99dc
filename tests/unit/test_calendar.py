import numpy as np
import pandas as pd
import pytest

from geodiffrecon.calendar import Calendar
from geodiffrecon.errors import InvalidParameter


def hours(first, last):
    return np.arange(first, last, dtype="datetime64[h]").astype("datetime64[ns]")


def test_only_cycles_that_were_seen_whole_are_used():
    short = Calendar.seen_in(hours("2024-01-01", "2024-01-05"))
    assert not any((short.slot, short.weekend, short.weekday, short.season))
    month = Calendar.seen_in(hours("2024-01-01", "2024-02-01"))
    assert month.slot
    assert month.weekday
    assert not month.season
    year = Calendar.seen_in(hours("2023-01-01", "2024-01-02"))
    assert year.season


def test_days_of_a_zone_whose_clocks_change_have_no_slots():
    local = pd.date_range("2024-02-01", "2024-05-01", freq="D", tz="Europe/Berlin")
    days = local.tz_convert("UTC").tz_localize(None).to_numpy("datetime64[ns]")
    calendar = Calendar.seen_in(days, tz="Europe/Berlin")
    assert not calendar.slot
    assert calendar.weekday


def test_slots_follow_the_local_clock():
    calendar = Calendar.seen_in(hours("2024-01-01", "2024-01-15"), tz="Asia/Shanghai")
    midnight = np.array(["2024-01-03T16:00"], "datetime64[ns]")
    assert calendar.slots(midnight)[0] == 0


def test_slots_follow_daylight_saving():
    calendar = Calendar.seen_in(hours("2024-03-01", "2024-04-15"), tz="Europe/Berlin")
    noon = np.array(["2024-03-10T11:00", "2024-04-10T10:00"], "datetime64[ns]")
    assert list(calendar.slots(noon)) == [12, 12]


def test_holidays_are_named_by_country():
    days = np.arange("2022-01-01", "2024-01-01", dtype="datetime64[D]").astype("datetime64[ns]")
    plain, chinese = Calendar.seen_in(days), Calendar.seen_in(days, country="CN")
    assert chinese.context(days).shape[1] == plain.context(days).shape[1] + 1
    assert 5 < chinese.context(days)[:, -1].sum() < 80


@pytest.mark.parametrize(("tz", "country"), [("Mars/Olympus", None), ("UTC", "XX")])
def test_unknown_names_are_refused_with_the_name(tz, country):
    with pytest.raises(InvalidParameter, match=tz if tz != "UTC" else country):
        Calendar.seen_in(hours("2024-01-01", "2024-01-15"), tz=tz, country=country)


def test_context_is_bounded():
    times = hours("2023-01-01", "2024-03-01")
    assert np.abs(Calendar.seen_in(times).context(times)).max() <= 1.0 + 1e-6


@pytest.mark.parametrize(("months", "features"), [(1, 5), (3, 3), (12, 1)])
def test_a_year_of_few_steps_has_few_harmonics(months, features):
    stamps = np.datetime64("2000-01", "M") + months * np.arange(40)
    times = stamps.astype("datetime64[ns]")
    design = Calendar.seen_in(times).climatology(times)
    assert np.linalg.matrix_rank(design) == design.shape[1] == features
