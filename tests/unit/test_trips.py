from __future__ import annotations

import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geodiffrecon import trips as module
from geodiffrecon.binning import bin_points
from geodiffrecon.errors import (
    InvalidParameter,
    InvalidTime,
    MissingColumn,
    MissingCRS,
    NoObservations,
    UnreadableFile,
)
from geodiffrecon.grid import NestedGrid
from geodiffrecon.points import PointTable
from geodiffrecon.trips import FIELDS, TripColumns, flows

COLUMNS = TripColumns(*FIELDS)
OLD = (
    "tripduration,starttime,stoptime,start station id,start station latitude,"
    "start station longitude,end station id,end station latitude,end station longitude,usertype"
)
NEW = "ride_id,started_at,ended_at,start_lat,start_lng,end_lat,end_lng,member_casual"
CITY = NestedGrid.from_bounds((-74, 40, -73, 41), crs="EPSG:4326", shape=(2, 2), factor=2)
NEW_YORK = {"freq": "1h", "tz": "America/New_York", "calendar_tz": "America/New_York"}


def metres(shape=(2, 2), factor=2):
    return NestedGrid.from_bounds((0, 0, 4, 4), crs=None, shape=shape, factor=factor)


def table(n, seed=0, missing=0.1):
    rng = np.random.default_rng(seed)
    start = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.uniform(0, 30, n), unit="h")
    frame = pd.DataFrame(
        {
            "start_time": start,
            "end_time": start + pd.to_timedelta(rng.uniform(0, 3, n), unit="h"),
            **{name: rng.uniform(-1, 5, n) for name in FIELDS[2:]},
        }
    )
    for name in FIELDS[2:]:
        frame.loc[rng.random(n) < missing, name] = np.nan
    return frame


def write(path, header, *rows):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def old(start, stop, where="40.9,-73.9", to="40.1,-73.1"):
    return f"60,{start},{stop},1,{where},2,{to},Subscriber"


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(5, 300))
def test_flows_are_binned_starts_and_ends_and_every_trip_is_counted(seed, n):
    frame, grid = table(n, seed), metres()
    frame.loc[0, list(FIELDS[2:])] = 1.0
    found = flows(frame, grid, freq="1h", columns=COLUMNS, crs="none", tz="UTC", empty="zero")
    for cube, name, side in zip(found, ("inflow", "outflow"), ("end", "start"), strict=True):
        parts = [cube.attrs[f"points_{key}"] for key in ("used", "outside", "outside_time")]
        assert sum(parts) + cube.attrs["points_missing"] == n
        assert cube[name].sum() == cube.attrs["points_used"]
        points = PointTable(
            frame[f"{side}_x"].to_numpy(),
            frame[f"{side}_y"].to_numpy(),
            frame[f"{side}_time"].to_numpy().astype("datetime64[ns]"),
            None,
            None,
        )
        period = {"start": cube.time.values[0], "end": cube.time_bnds.values[-1, 1]}
        if parts[0] == 0:
            continue
        binned = bin_points(
            points, grid, freq="1h", agg="count", level="fine", empty="zero", **period
        )
        np.testing.assert_array_equal(cube[name].values, binned["count"].values)
        assert cube.attrs["points_missing"] == binned.attrs["points_missing"]


def test_a_trip_leaves_one_cell_and_enters_another_later(tmp_path):
    path = write(tmp_path / "a.csv", OLD, old("1/1/2016 00:59:00", "1/1/2016 01:10:00"))
    inflow, outflow = flows(path, CITY, **NEW_YORK, end="2016-01-01 03:00")
    assert [str(t)[:13] for t in inflow.time.values] == [f"2016-01-01T0{h}" for h in (5, 6, 7)]
    assert outflow.outflow.values[0, 0, 0] == outflow.outflow.values[0].sum() == 1
    assert inflow.inflow.values[1, 3, 3] == inflow.inflow.values[1].sum() == 1
    assert inflow.inflow.values[0].sum() == 0
    assert np.isnan(inflow.inflow.values[2]).all()  # nobody rides anywhere: not a zero
    assert inflow.attrs["aggregation"] == "sum"
    zero = flows(path, CITY, **NEW_YORK, end="2016-01-01 03:00", empty="zero").inflow
    assert np.isfinite(zero.inflow.values).all()


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (OLD, old("1/1/2016 00:10:45", "1/1/2016 00:15:00")),
        (OLD, old("1/1/2016 0:10", "1/1/2016 0:15")),
        (
            OLD.replace("starttime,stoptime", "Start Time,Stop Time").title(),
            old("2016-01-01 00:10:45", "2016-01-01 00:15:00"),
        ),
        (NEW, "A,2016-01-01 00:10:45.123,2016-01-01 00:15:00.5,40.9,-73.9,40.1,-73.1,member"),
        (NEW, "A,2016-01-01T00:10:45-05:00,2016-01-01T05:15:00Z,40.9,-73.9,40.1,-73.1,member"),
    ],
)
def test_every_published_header_and_clock_is_known(tmp_path, header, row):
    inflow, outflow = flows(write(tmp_path / "a.csv", header, row), CITY, **NEW_YORK)
    assert str(inflow.time.values[0]) == "2016-01-01T05:00:00.000000000"
    assert outflow.outflow.values[0, 0, 0] == 1
    assert inflow.inflow.values[0, 3, 3] == 1


def test_archives_pieces_and_tables_give_the_same(tmp_path, monkeypatch):
    rows = [
        f"{i},2024-01-01 {i % 5:02d}:30:00,2024-01-01 {i % 5 + 1:02d}:00:00,"
        f"40.{i % 9 + 1},-73.{i % 7 + 1},40.{i % 8 + 1},-73.{i % 9 + 1},member"
        for i in range(100)
    ]
    halves = [write(tmp_path / f"{k}.csv", NEW, *rows[k::2]) for k in (0, 1)]
    whole = flows(halves, CITY, **NEW_YORK)
    with zipfile.ZipFile(tmp_path / "inner.zip", "w") as inner:
        inner.write(halves[1], "deep/1.csv")
        inner.writestr("__MACOSX/._1.csv", b"\x00\x05")
    with zipfile.ZipFile(tmp_path / "year.zip", "w") as outer:
        outer.write(halves[0], "0.csv")
        outer.write(tmp_path / "inner.zip", "1/inner.zip")
    monkeypatch.setattr(module, "CHUNK_ROWS", 7)
    told = []
    zipped = flows(
        tmp_path / "year.zip", CITY, **NEW_YORK, progress=lambda *event: told.append(event)
    )
    for one, other in zip(whole, zipped, strict=True):
        assert one.identical(other)
    assert told[-1] == (1, 1, "reading trips")


def test_what_is_left_out_is_said(tmp_path):
    path = write(
        tmp_path / "a.csv",
        NEW,
        "A,2016-03-13 02:30:00,2016-03-13 03:10:00,40.9,-73.9,,,member",
        "B,2016-03-13 02:40:00,,40.9,-73.9,40.1,-73.1,member",
        "C,2016-03-13 03:45:00,2016-03-13 04:10:00,40.9,-73.9,40.1,-73.1,member",
        "D,2016-03-13 03:45:00,2016-03-13 03:50:00,0.0,0.0,40.1,\\N,member",
    )
    inflow, outflow = flows(path, CITY, **NEW_YORK)
    assert outflow.attrs["notes"] == [
        "1 of 4 trips start outside the grid and count as no departure.",
        "2 times in the hour that clocks skip are moved to its end.",
    ]
    assert inflow.attrs["notes"] == [
        "3 of 4 trips have no end time or position and count as no arrival.",
        "1 of 4 trips end outside the period and count as no arrival.",
    ]


def test_failures_give_one_sentence(tmp_path):
    good = write(tmp_path / "a.csv", OLD, old("1/1/2016 00:10:45", "1/1/2016 00:15:00"))
    write(tmp_path / "same.csv", OLD, old("1/1/2016 00:10:45", "1/1/2016 00:15:00"))
    with pytest.raises(InvalidTime, match=r"a\.csv and same\.csv begin with the same trip"):
        flows([good, tmp_path / "same.csv"], CITY, **NEW_YORK)
    with pytest.raises(UnreadableFile, match="does not exist"):
        flows(tmp_path / "absent.csv", CITY, **NEW_YORK)
    (tmp_path / "broken.zip").write_bytes(b"PK no archive")
    with pytest.raises(UnreadableFile, match="truncated"):
        flows(tmp_path / "broken.zip", CITY, **NEW_YORK)
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(UnreadableFile, match="no CSV file"):
        flows(tmp_path / "empty.zip", CITY, **NEW_YORK)
    with pytest.raises(UnreadableFile):
        flows(write(tmp_path / "blank.csv", ""), CITY, **NEW_YORK)
    with pytest.raises(MissingColumn, match=r"b\.csv lacks columns of trips \(starttime"):
        flows(write(tmp_path / "b.csv", "a,b", "1,2"), CITY, **NEW_YORK)
    with pytest.raises(MissingColumn, match="lacks columns"):
        flows(table(3).drop(columns="end_x"), CITY, freq="1h", columns=COLUMNS)
    with pytest.raises(InvalidTime, match="has no zone"):
        flows(good, CITY, freq="1h")
    with pytest.raises(InvalidTime, match="cannot be read"):
        flows(write(tmp_path / "c.csv", OLD, old("soon", "later")), CITY, **NEW_YORK)
    with pytest.raises(NoObservations, match="inside the grid"):
        flows(good, CITY.crop((0, 2), (2, 4)), **NEW_YORK)
    with pytest.raises(NoObservations, match="widen the period"):
        flows(good, CITY, **NEW_YORK, start="2017-01-01", end="2017-01-02")
    with pytest.raises(NoObservations, match="No trip has a start time"):
        flows(write(tmp_path / "d.csv", OLD), CITY, **NEW_YORK)
    with pytest.raises(NoObservations, match="No file"):
        flows([], CITY, **NEW_YORK)
    with pytest.raises(MissingCRS, match="Only one"):
        flows(good, metres(), **NEW_YORK)
    with pytest.raises(InvalidParameter, match="empty must be"):
        flows(good, CITY, **NEW_YORK, empty="missing")
    with pytest.raises(InvalidParameter, match="swap"):
        flows(good, CITY, **NEW_YORK, start="2016-01-02", end="2016-01-01")
