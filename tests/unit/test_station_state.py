from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from geodiffrecon.errors import InvalidParameter, UnreadableFile
from geodiffrecon.grid import NestedGrid
from geodiffrecon.stations.network import StationNetwork
from geodiffrecon.stations.state import Owner, StationState

HOUR = np.timedelta64(3_600_000_000_000, "ns")
DAY_ONE = np.datetime64("2024-01-01T00", "ns")
HISTORY = 6


@pytest.fixture
def owner(grid):
    return Owner("pm25", "1h", "UTC", grid, "0123456789abcdef")


def network_of(first_hour, values, names=("a", "b", "c"), x=(115.5, 116.0, 116.5), y=None):
    """Return readings (T, S) of hours from `first_hour` of the first day on."""
    values = np.asarray(values, dtype=np.float64)
    times = DAY_ONE + (first_hour + np.arange(len(values))) * HOUR
    count = values.shape[1]
    y = np.full(count, 40.0) if y is None else np.asarray(y)
    return StationNetwork(
        tuple(names[:count]), np.asarray(x[:count]), y, times, values, value="pm25", freq="1h"
    )


def day(number, seed=0):
    """Return the 24 hours of a day, known to differ from all others."""
    values = np.random.default_rng((number, seed)).uniform(5, 50, (24, 3))
    return network_of(24 * number, values)


def hour(owner, number):
    """Return the number of an hour since the first day."""
    return int(owner.step.number(np.array([DAY_ONE + number * HOUR]))[0])


def run(folder, owner, network, history=HISTORY):
    """Map a whole file as the command does: read the state, then update it."""
    state = StationState.open(folder, owner)
    first, last = (int(owner.step.number(network.times[[end]])[0]) for end in (0, -1))
    seen = state.joined(network, first, last, history)
    state.with_run(network, last, history).write(folder)
    return seen


def same(one, two):
    assert one.names == two.names
    for name in ("x", "y", "times", "values"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_a_new_day_reads_its_history_from_the_state(tmp_path, owner):
    run(tmp_path, owner, day(0))
    seen = run(tmp_path, owner, day(1))
    both = np.concatenate([day(0).values[-HISTORY:], day(1).values])
    np.testing.assert_array_equal(seen.values, both)
    assert seen.times[0] == DAY_ONE + (24 - HISTORY) * HOUR


def test_the_state_gives_what_one_long_file_gives(tmp_path, owner):
    run(tmp_path, owner, day(0))
    seen = run(tmp_path, owner, day(1))
    long = network_of(0, np.concatenate([day(0).values, day(1).values]))
    alone = StationState(owner).joined(long, hour(owner, 24), hour(owner, 47), HISTORY)
    same(seen, alone)


def test_a_day_is_the_same_whatever_was_run_since(tmp_path, owner):
    run(tmp_path, owner, day(0))
    before = run(tmp_path, owner, day(1))
    late = network_of(20, np.full((40, 3), 99.0))  # a later file that brings hours of day 1 too
    run(tmp_path, owner, late)
    run(tmp_path, owner, day(3))
    same(run(tmp_path, owner, day(1)), before)


def test_no_run_reads_what_lies_after_its_last_step(tmp_path, owner):
    for number in (0, 1, 2):
        run(tmp_path, owner, day(number))
    seen = run(tmp_path, owner, day(1))
    assert seen.times[-1] == day(1).times[-1]
    assert not np.isin(seen.values, day(2).values).any()


def test_a_correction_wins_over_the_state_and_reaches_later_days(tmp_path, owner):
    run(tmp_path, owner, day(0))
    run(tmp_path, owner, day(1))
    corrected = day(0, seed=9)
    corrected.values[20, 1] = np.nan  # withdrawn
    np.testing.assert_array_equal(run(tmp_path, owner, corrected).values, corrected.values)
    seen = run(tmp_path, owner, day(1))
    np.testing.assert_array_equal(seen.values[:HISTORY], corrected.values[-HISTORY:])


def test_the_order_of_runs_does_not_matter(tmp_path, owner):
    for number in (0, 1, 2):
        expected = run(tmp_path / "in-order", owner, day(number))
    for number in (2, 0, 1):
        run(tmp_path / "late", owner, day(number))
    same(run(tmp_path / "late", owner, day(2)), expected)


def test_late_rows_are_filled_up_with_what_was_known(tmp_path, owner):
    first = day(0)
    first.values[22] = [1.0, 2.0, np.nan]
    run(tmp_path, owner, first)
    late = np.full((26, 3), np.nan)
    late[0, 2], late[2:] = 3.0, day(1).values
    seen = StationState.open(tmp_path, owner).joined(
        network_of(22, late), hour(owner, 24), hour(owner, 47), HISTORY
    )
    np.testing.assert_array_equal(seen.values[HISTORY - 2], [1.0, 2.0, 3.0])


def test_a_short_history_begins_where_it_is_known(tmp_path, owner):
    run(tmp_path, owner, network_of(21, day(0).values[21:]))
    seen = run(tmp_path, owner, day(1))
    assert len(seen.times) == 24 + 3


def test_hours_asked_for_are_there_even_if_nobody_reported(owner):
    seen = StationState(owner).joined(day(1), hour(owner, 22), hour(owner, 50), 0)
    assert len(seen.times) == 29
    assert np.isnan(seen.values[:2]).all()
    assert np.isnan(seen.values[26:]).all()
    assert len(seen.names) == 3


def test_a_station_that_reports_no_more_stays_in_the_history(tmp_path, owner):
    run(tmp_path, owner, day(0))
    two = network_of(24, day(1).values[:, :2])
    seen = run(tmp_path, owner, two)
    assert seen.names == ("a", "b", "c")
    assert np.isfinite(seen.values[:HISTORY, 2]).all()
    assert np.isnan(seen.values[HISTORY:, 2]).all()


def test_a_moved_station_is_another_one(tmp_path, owner):
    run(tmp_path, owner, day(0))
    moved = replace(day(1), x=np.array([115.6, 116.0, 116.5]))
    seen = run(tmp_path, owner, moved)
    assert seen.names == ("a", "a#2", "b", "c")
    assert sorted(seen.x[:2]) == [115.5, 115.6]
    back = run(tmp_path, owner, replace(moved, times=moved.times + 24 * HOUR))
    assert back.names == ("a", "b", "c")  # what it was before lies outside the history


def test_rounded_positions_are_the_same_place(tmp_path, owner):
    run(tmp_path, owner, day(0))
    seen = run(tmp_path, owner, replace(day(1), x=np.array([115.5004, 116.0, 116.5])))
    assert seen.names == ("a", "b", "c")
    assert seen.x[0] == 115.5004


def test_instruments_side_by_side_are_kept_apart(tmp_path, owner):
    names, x = ("a#1", "a#2"), (115.5, 115.5)
    run(tmp_path, owner, network_of(0, day(0).values[:, :2], names, x))
    seen = run(tmp_path, owner, network_of(24, day(1).values[:, 1:2], names[1:], x[1:]))
    assert seen.names == names


def test_what_a_file_kept_is_exact_and_the_same_bytes(tmp_path, owner):
    for name in ("one", "two"):
        run(tmp_path / name, owner, day(0))
        run(tmp_path / name, owner, day(1))
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("one", "two")
    )
    assert one == two
    assert len(one) == 2
    state = StationState.open(tmp_path / "one", owner)
    assert set(state.records.value) <= {*day(0).values.ravel(), *day(1).values.ravel()}


def test_only_what_later_runs_need_is_kept(tmp_path, owner):
    run(tmp_path, owner, day(0))
    assert len(StationState.open(tmp_path, owner).records.value) == 3 * HISTORY
    run(tmp_path, owner, day(500))
    assert len(StationState.open(tmp_path, owner).records.value) == 3 * HISTORY


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"model_hash": "other"}, "another model"),
        ({"freq": "30min"}, "another freq"),
        ({"calendar_tz": "Asia/Shanghai"}, "another calendar_tz"),
        ({"grid": NestedGrid.from_bounds((0, 0, 2, 2), crs="EPSG:4326", shape=(2, 2))},
         "another grid"),
    ],
)  # fmt: skip
def test_the_state_of_another_model_is_refused(change, seen, tmp_path, owner):
    run(tmp_path, owner, day(0))
    with pytest.raises(InvalidParameter, match=f"{seen}.*--state"):
        StationState.open(tmp_path, replace(owner, **change))


def test_two_variables_share_a_folder(tmp_path, owner):
    run(tmp_path, owner, day(0))
    assert not len(StationState.open(tmp_path, replace(owner, value="no2")).records.value)
    assert len(StationState.open(tmp_path, owner).records.value)


@pytest.mark.parametrize("harm", ["cut", "gone", "text"])
def test_a_damaged_state_is_said(harm, tmp_path, owner):
    run(tmp_path, owner, day(0))
    (data,) = tmp_path.glob("*.nc")
    if harm == "cut":
        data.write_bytes(data.read_bytes()[:300])
    elif harm == "gone":
        data.unlink()
    else:
        (tmp_path / "pm25.json").write_text("{")
    with pytest.raises(UnreadableFile, match="damaged"):
        StationState.open(tmp_path, owner)


def test_an_unknown_schema_is_refused(tmp_path, owner):
    run(tmp_path, owner, day(0))
    about = json.loads((tmp_path / "pm25.json").read_text())
    (tmp_path / "pm25.json").write_text(json.dumps({**about, "schema": 2}))
    with pytest.raises(InvalidParameter, match="schema 2"):
        StationState.open(tmp_path, owner)


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(tmp_path, owner):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidParameter, match=r"--state .* cannot be written to"):
        StationState.open(tmp_path / "file" / "state", owner)
    with pytest.raises(InvalidParameter, match=r"--state .* cannot be written to"):
        StationState.open(tmp_path / "file", owner)


def test_a_failed_write_leaves_the_former_state(tmp_path, owner, monkeypatch):
    from geodiffrecon.stations.records import Records

    run(tmp_path, owner, day(0))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(self, path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Records, "write", full)
    with pytest.raises(OSError, match="No space"):
        run(tmp_path, owner, day(1))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
