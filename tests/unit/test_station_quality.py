from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from geodiffrecon.errors import InvalidParameter
from geodiffrecon.grid import NestedGrid
from geodiffrecon.points import read_points
from geodiffrecon.stations.network import StationNetwork
from geodiffrecon.stations.quality import cleaned, findings_table, inspect, to_rows

STATIONS, HOURS = 8, 240
PLACES = [(115.2 + 0.22 * i, 39.7 + 0.15 * (i * 3 % 8)) for i in range(STATIONS)]


def frame(seed=0):
    """Return ten days of eight sound stations with a common weather and small noise."""
    rng = np.random.default_rng(seed)
    weather = 60 + 25 * np.sin(np.arange(HOURS) / 17) + np.cumsum(rng.normal(0, 1.5, HOURS))
    values = np.clip(weather[:, None] * rng.uniform(0.8, 1.2, STATIONS), 5, None)
    values = values + rng.normal(0, 2, values.shape)
    times = pd.date_range("2024-01-01", periods=HOURS, freq="h", tz="Asia/Shanghai")
    return pd.DataFrame(
        {
            "station": np.tile([f"S{i}" for i in range(STATIONS)], HOURS),
            "longitude": np.tile([x for x, _ in PLACES], HOURS),
            "latitude": np.tile([y for _, y in PLACES], HOURS),
            "time": np.repeat([t.isoformat() for t in times], STATIONS),
            "pm25": values.ravel().round(1),
        }
    )


def read(data, tmp_path):
    path = tmp_path / "stations.csv"
    data.to_csv(path, index=False)
    return read_points(path, value="pm25", time="time", station="station")


@pytest.fixture
def look(grid, tmp_path):
    """Return a function from a frame to the findings of its CSV."""

    def run(data, **options):
        table = read(data, tmp_path)
        return inspect(table, grid, freq="1h", calendar_tz="Asia/Shanghai", **options)

    return run


def at(data, station, *hours):
    """Return the index of the rows of a station at `hours`."""
    return data.index[data.station == station][list(hours)]


def only(findings, check):
    """Return the one finding, which must be of `check`."""
    assert [finding.check for finding in findings] == [check], findings
    assert "\n" not in findings[0].sentence
    assert findings[0].sentence.endswith(".")
    return findings[0]


def test_sound_stations_have_no_findings(look):
    for seed in range(5):
        assert look(frame(seed)) == []
    assert findings_table([]) == "Nothing stands out in the data."


def test_exact_repeats_count_once(look):
    data = frame()
    found = only(look(pd.concat([data, data.loc[at(data, "S2", 5, 9)]])), "repeated row")
    assert (found.station, found.count, found.action) == ("S2", 2, "left out")
    assert found.first == "2024-01-01T05:00+08:00"
    assert "S2 has 2 rows that repeat another exactly, first 2024-01-01T05:00" in found.sentence


def test_contradicting_rows_are_averaged_and_said(look, grid, tmp_path):
    data = frame()
    data.loc[at(data, "S1", 30, 31), "pm25"] = [50.0, 60.0]
    other = data.loc[at(data, "S1", 30, 31)].assign(pm25=[52.0, 61.0])
    both = pd.concat([data, other])
    found = only(look(both), "contradiction")
    assert (found.station, found.count, found.action) == ("S1", 2, "averaged, said")
    assert "at 2 times, first 2024-01-02T06:00+08:00 (50 and 52)" in found.sentence
    network = StationNetwork.of(read(both, tmp_path), grid, freq="1h")
    np.testing.assert_array_equal(network.values[30:32, 1], [51, 60.5])


def test_two_stations_in_one_cell_are_both_kept(look):
    data = frame()
    data.loc[data.station == "S3", ["longitude", "latitude"]] = [PLACES[0][0] + 0.01, PLACES[0][1]]
    found = only(look(data), "same cell")
    assert found.count == 2
    assert "S0 and S3 stand in one fine cell" in found.sentence
    assert "up to 0.86 km apart; all are kept" in found.sentence
    data.loc[data.station == "S3", ["longitude", "latitude"]] = PLACES[0]
    assert "at one position" in only(look(data), "same cell").sentence


def test_a_moved_station_is_said_with_its_dates(look):
    data = frame()
    data.loc[at(data, "S4", *range(100, HOURS)), "latitude"] += 0.3
    found = only(look(data), "moved")
    assert (found.station, found.count, found.action) == ("S4", 2, "kept")
    assert found.first == "2024-01-05T04:00+08:00"
    assert "S4 stands at 2 places, S4 at 116.08" in found.sentence
    assert "S4#2 at" in found.sentence
    assert "from 2024-01-05T04:00+08:00" in found.sentence


def test_values_capped_everywhere(look):
    data = frame()
    data["pm25"] = data.pm25.clip(upper=70.0)
    found = look(data)
    cap = found[0]
    assert (cap.check, cap.station, cap.count) == ("cap", None, int((data.pm25 == 70).sum()))
    assert f"pm25 is capped at 70: {cap.count} readings at 8 stations" in cap.sentence
    assert {finding.check for finding in found} == {"cap"}


def test_one_stations_own_cap_and_floor(look):
    data = frame()
    mine = data.station == "S5"
    low, high = data.pm25[mine].quantile([0.15, 0.85]).round(1)
    data.loc[mine, "pm25"] = data.pm25[mine].clip(low, high)
    found = [finding for finding in look(data) if finding.check in ("cap", "floor")]
    assert [(finding.check, finding.station) for finding in found] == [
        ("cap", "S5"),
        ("floor", "S5"),
    ]
    assert f"S5 is capped at {high:g}: " in found[0].sentence
    assert f"S5 has a floor at {low:g}: " in found[1].sentence


def test_a_floor_with_a_few_values_below_is_found(look):
    data = frame()
    data["pm25"] = data.pm25.clip(lower=40.0)
    data.loc[at(data, "S1", 3), "pm25"] = 39.9
    found = [finding for finding in look(data) if finding.check == "floor"]
    assert "pm25 has a floor at 40: " in found[0].sentence
    assert found[0].station is None


def test_flat_lines_of_six_hours_are_one_finding_with_the_longest(look):
    data = frame()
    data.loc[at(data, "S6", *range(20, 26)), "pm25"] = 41.0
    data.loc[at(data, "S6", *range(60, 78)), "pm25"] = 48.0
    data.loc[at(data, "S7", *range(90, 95)), "pm25"] = 48.0  # five hours are none
    found = [finding for finding in look(data) if finding.check == "flat line"]
    assert [(finding.station, finding.count) for finding in found] == [("S6", 2)]
    assert found[0].first == "2024-01-01T20:00+08:00"
    assert "longest 18 steps at 48 from 2024-01-03T12:00+08:00" in found[0].sentence


def test_a_spike_is_found_unless_the_neighbours_share_it(look):
    data = frame()
    data.loc[at(data, "S3", 50, 120), "pm25"] = [480.0, 700.0]
    data.loc[data.index[120 * STATIONS : 121 * STATIONS], "pm25"] += 600
    found = only(look(data), "spike")
    assert (found.station, found.count, found.first) == ("S3", 1, "2024-01-03T02:00+08:00")
    assert "→ 480 →" in found.sentence


@pytest.mark.parametrize(("factor", "times"), [(0.001, "1/1000 of"), (1000.0, "1000 times")])
def test_a_station_in_other_units(look, factor, times):
    data = frame()
    data.loc[data.station == "S2", "pm25"] *= factor
    found = [finding for finding in look(data) if finding.check == "units"]
    assert [(finding.station, finding.count) for finding in found] == [("S2", HOURS)]
    assert f"reads about {times} the median of all stations in 240 of 240" in found[0].sentence


def test_a_station_that_changes_units_for_two_days(look):
    data = frame()
    data.loc[at(data, "S2", *range(48, 96)), "pm25"] /= 1000
    found = [finding for finding in look(data) if finding.check == "units"]
    assert "in 48 of 240 readings, first 2024-01-03T00:00+08:00" in found[0].sentence


def test_a_steady_multiple_is_other_units_too(look):
    data = frame()
    wide = data.pm25.to_numpy(copy=True).reshape(HOURS, STATIONS)
    wide[:, 2] = 2 * np.median(np.delete(wide, 2, axis=1), axis=1)
    found = [f for f in look(data.assign(pm25=wide.ravel())) if f.check == "units"]
    assert [(finding.station, finding.count) for finding in found] == [("S2", HOURS)]
    assert "times the median of all stations throughout" in found[0].sentence


def test_negative_values_are_kept_unless_asked_to_be_zero_or_dropped(look, grid, tmp_path):
    data = frame()
    data.loc[at(data, "S0", 7, 8), "pm25"] = [-3.5, -0.5]
    said = {
        choice: [found for found in look(data, negative=choice) if found.check == "negative"]
        for choice in ("keep", "zero", "drop")
    }
    assert [(f.station, f.count, f.action) for f in said["drop"]] == [("S0", 2, "left out")]
    assert said["keep"][0].action == "kept"
    assert (
        "2 readings below zero (down to -3.5), first 2024-01-01T07:00" in said["drop"][0].sentence
    )
    assert "negative" not in {finding.check for finding in look(data, kind="real")}
    network = StationNetwork.of(read(data, tmp_path), grid, freq="1h", calendar_tz="Asia/Shanghai")
    assert np.isfinite(network.values).all()
    kept, _ = cleaned(network, "positive")
    np.testing.assert_array_equal(kept.values, network.values)
    zero, _ = cleaned(network, "positive", "zero")
    assert (zero.values[7:9, 0] == 0).all()
    clean, found = cleaned(network, "positive", "drop")
    assert found == said["drop"]
    assert np.isnan(clean.values[7:9, 0]).all()
    changed = clean.values != network.values
    assert changed.sum() == 2
    assert cleaned(network, "real") == (network, [])
    assert cleaned(clean, "count", "drop") == (clean, [])


def test_a_field_of_both_signs_has_no_negative_findings(look):
    data = frame()
    data["pm25"] = (data.pm25 - 60).round(1)
    assert "negative" not in {finding.check for finding in look(data)}


def test_empty_days_are_those_of_the_calendar_zone(look):
    data = frame()
    local = pd.to_datetime(data.time)
    empty = local.dt.day.isin([4, 6, 7])
    for lost in (data[~empty], data.assign(pm25=data.pm25.where(~empty))):
        found = only(look(lost), "empty day")
        assert (found.count, found.first) == (3, "2024-01-04T00:00+08:00")
        assert "3 of 10 days have no value at any station, first 2024-01-04" in found.sentence
        assert "most in a row 2 from 2024-01-06" in found.sentence


def test_a_wild_stamp_is_suspected_where_most_days_are_empty(look):
    data = frame()
    data.loc[at(data, "S0", 0), "time"] = "2020-01-01T00:00:00+08:00"
    found = only(look(data), "empty day")
    assert "check the first and the last time stamp" in found.sentence


def test_missing_codes_known_and_suspected(look):
    data = frame()
    data.loc[at(data, "S0", 1, 2), "pm25"] = -999
    known = only(look(data), "missing code")
    assert (known.count, known.action) == (2, "left out")
    assert (
        "2 values of 'pm25' are -999, which nothing declares; they are taken as missing"
        in known.sentence
    )
    data = frame()
    data.loc[at(data, "S1", 1, 2, 3), "pm25"] = 9999
    found = look(data)
    suspected = [finding for finding in found if finding.check == "missing code"]
    assert [(f.count, f.action) for f in suspected] == [(3, "left out")]
    assert "3 values of 'pm25' are 9999, which nothing declares" in suspected[0].sentence
    data = frame()
    data.loc[at(data, "S1", 5), "pm25"] = np.inf
    assert "1 value of 'pm25' is infinite" in only(look(data), "missing code").sentence


@pytest.mark.parametrize(("value", "check"), [(0.0, "constant zero"), (42.0, "constant")])
def test_a_station_that_never_changes(look, value, check):
    data = frame()
    data.loc[data.station == "S6", "pm25"] = value
    found = only(look(data), check)
    assert (found.station, found.count) == ("S6", HOURS)
    assert f"reads {value:g} in all its 240 readings" in found.sentence


def test_a_station_without_any_value(look):
    data = frame()
    data.loc[data.station == "S6", "pm25"] = np.nan
    found = only(look(data), "no value")
    assert "S6 has 240 rows and no value" in found.sentence


def test_one_swapped_station_and_a_wholly_swapped_file(look):
    data = frame()
    mine = data.station == "S1"
    data.loc[mine, ["longitude", "latitude"]] = PLACES[1][::-1]
    found = only(look(data), "swapped")
    assert (found.station, found.count, found.action) == ("S1", HOURS, "left out")
    assert "on it if x and y are swapped; swap them (240 rows not used)" in found.sentence
    whole = frame().rename(columns={"longitude": "latitude", "latitude": "longitude"})
    with pytest.raises(InvalidParameter, match=r"beyond 90 \(115.2\); exchange x and y\?"):
        look(whole)


def test_stations_outside_near_and_far(look):
    data = frame()
    data.loc[data.station == "S1", "longitude"] = 118.0
    near = only(look(data), "outside")
    assert (near.station, near.action) == ("S1", "kept")
    data.loc[data.station == "S1", "longitude"] = 150.0
    far = only(look(data), "outside")
    assert (far.station, far.action) == ("S1", "left out")
    assert "far outside the grid (the first at 150, " in far.sentence
    assert "240 rows not used; check the bounds and the CRS" in far.sentence


def spoiled():
    """Return stations with most faults at once."""
    data = frame()
    data.loc[at(data, "S0", 7, 8), "pm25"] = -3.5
    data.loc[at(data, "S1", *range(20, 30)), "pm25"] = 41.0
    data.loc[at(data, "S2", *range(40, 50)), "pm25"] = 43.0
    data.loc[at(data, "S3", 50), "pm25"] = 480.0
    data.loc[data.station == "S4", "pm25"] /= 1000
    data.loc[at(data, "S5", *range(100, HOURS)), "latitude"] += 0.05
    return pd.concat([data, data.loc[at(data, "S6", 1, 2)]])


def test_the_order_of_rows_changes_no_finding(look):
    data = spoiled()
    assert look(data) == look(data.sample(frac=1, random_state=1))


def test_a_station_without_faults_taken_away_changes_no_finding_of_the_others(look):
    data = spoiled()
    assert look(data) == look(data[data.station != "S7"])


def test_findings_are_json_and_a_short_table(look):
    found = look(spoiled())
    stored = json.loads(json.dumps(to_rows(found)))
    assert [row["sentence"] for row in stored] == [finding.sentence for finding in found]
    assert set(stored[0]) == {"check", "station", "count", "first", "sentence", "action"}
    lines = findings_table(found, most=4).splitlines()
    assert all(len(line) <= 100 for line in lines)
    assert lines[-1].startswith(f"and {len(found) - 4} more (")
    assert findings_table(found, most=50).count("[") == len(found)


def test_a_file_without_values_or_with_an_unknown_step_is_refused(grid, tmp_path):
    frame().to_csv(tmp_path / "s.csv", index=False)
    table = read_points(tmp_path / "s.csv", value=None, time="time", station="station")
    with pytest.raises(InvalidParameter, match="need a value column"):
        inspect(table, grid, freq="1h")


@pytest.mark.data
def test_the_real_file_has_its_cap_its_floor_and_few_lines(data_dir):
    grid = NestedGrid.from_bounds(
        (115.7, 39.4, 117.2, 41.1), crs="EPSG:4326", shape=(8, 8), factor=8
    )
    table = read_points(
        data_dir / "beijing_pm25_stations_public.csv.gz", value="pm25", time="time",
        station="station",
    )  # fmt: skip
    found = inspect(table, grid, freq="1h", calendar_tz="Asia/Shanghai")
    said = {finding.check: finding for finding in reversed(found)}
    assert (said["cap"].count, said["floor"].count) == (326, 3414)
    assert "capped at 500" in said["cap"].sentence
    assert "floor at 3" in said["floor"].sentence
    assert len(found) < 60
    assert "more (" in findings_table(found).splitlines()[-1]
