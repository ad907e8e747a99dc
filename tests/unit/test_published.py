"""Small files of the form in which the paper's data sets are published, made here by a script."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from geodiffrecon import paper_tables
from geodiffrecon.cube import aggregate
from geodiffrecon.errors import (
    GridMismatch,
    InvalidParameter,
    InvalidTime,
    MissingColumn,
    NoObservations,
    UnreadableFile,
)
from geodiffrecon.grid import NestedGrid
from geodiffrecon.paper_tables import METHODS, TABLE_II, paper_figure, rows
from geodiffrecon.published import open_citibike, open_tap, open_taxibj, read_published

SLOTS = np.repeat(np.arange(7, 22), 2)  # half-hours from 7:00 to 21:30


def taxi_ext(days, rng, sunday_first=False):
    """Return rows of ext.npy for whole `days`, counted from Monday 1 July 2013."""
    day, hour = np.repeat(days, len(SLOTS)), np.tile(SLOTS, len(days))
    weekday = day % 7
    number = (weekday + 1) % 7 + 1 if sunday_first else weekday + 1
    weather = 1 + day % 3
    free = rng.random((2, len(day)))
    return np.stack([*free, day * 0, weekday >= 5, number, hour, weather], axis=1)


def write_taxi(folder, ext, sizes, rng):
    """Write the three parts; return all maps."""
    maps = rng.poisson(20, (len(ext), 32, 32)).astype(np.float64)
    low = 0
    for name, size in zip(("train", "valid", "test"), sizes, strict=True):
        (folder / name).mkdir(parents=True)
        np.save(folder / name / "X.npy", maps[low : low + size])
        np.save(folder / name / "ext.npy", ext[low : low + size])
        low += size
    return maps


@pytest.fixture
def taxi(tmp_path):
    rng = np.random.default_rng(1)
    days = np.array([0, 1, 2, 4, 5, 6, 9, 10])
    ext = taxi_ext(days, rng)
    return tmp_path, days, ext, write_taxi(tmp_path, ext, (120, 75, 45), rng)


def taxi_times(days):
    midnight = np.datetime64("2013-06-30T16:00", "ns") + days * np.timedelta64(1, "D")
    slots = np.arange(14, 44) * np.timedelta64(30, "m")
    return (midnight[:, None] + slots).ravel()


@pytest.mark.parametrize("sunday_first", [False, True])
def test_taxibj_frames_get_their_dates_and_gaps(tmp_path, sunday_first):
    rng = np.random.default_rng(1)
    days = np.array([0, 1, 2, 4, 5, 6, 9, 10])
    maps = write_taxi(tmp_path, taxi_ext(days, rng, sunday_first), (120, 75, 45), rng)
    cube, weather = open_taxibj(tmp_path)
    expected = taxi_times(days)
    np.testing.assert_array_equal(cube.flow.sel(time=expected).values, maps)
    assert cube.sizes == {"time": 10 * 48 + 30, "y": 32, "x": 32, "nv": 2}
    gap = ~np.isin(cube.time.values, expected)
    assert np.isnan(cube.flow.values[gap]).all()
    assert cube.attrs["train_end"] == "2013-07-05T23:00:00Z"
    # Validation ends in the middle of a day, as it does in the published files.
    assert np.datetime64(cube.attrs["valid_end"][:-1]) == expected[195]
    assert "8 days from 2013-07-01 to 2013-07-11, 3 days skipped" in cube.attrs["notes"][0]
    assert cube.attrs["aggregation"] == "sum"
    assert NestedGrid.of(cube).crs is None
    pooled = aggregate(cube).flow.sel(time=expected).values
    np.testing.assert_array_equal(pooled[:, 0, 0], maps[:, :4, :4].sum(axis=(1, 2)))
    assert weather.names[:3] == ("temperature", "wind_speed", "holiday")
    aligned = weather.align(cube.time.values)
    assert np.isfinite(aligned[~gap]).all()
    assert np.isnan(aligned[gap]).all()


def test_taxibj_missing_frames_and_another_first_weekday(tmp_path):
    rng = np.random.default_rng(2)
    ext = np.delete(taxi_ext(np.array([2, 9, 10]), rng), [1, 40, 41], axis=0)
    maps = write_taxi(tmp_path, ext, (40, 20, 27), rng)
    grid = NestedGrid.from_bounds((116.25, 39.8, 116.5, 40), crs=4326, shape=(8, 8), factor=4)
    cube, _ = open_taxibj(tmp_path, grid=grid)
    expected = np.delete(taxi_times(np.array([2, 9, 10])), [1, 40, 41])
    np.testing.assert_array_equal(cube.flow.sel(time=expected).values, maps)
    notes = " ".join(cube.attrs["notes"])
    assert "2013-07-03 is the first date that fits" in notes
    assert "1 hours hold one frame" in notes
    assert "georeference" not in notes
    assert NestedGrid.of(cube).fine_shape == (32, 32)


def test_taxibj_is_read_with_the_published_split(taxi):
    folder, *_ = taxi
    data = read_published("taxibj", folder)
    assert (data.value, data.aggregation, data.factor) == ("flow", "sum", 4)
    assert data.train_until < data.until == data.cube.attrs["valid_end"]
    assert data.covariates.names[3:] == ("weather_1", "weather_2", "weather_3")


def test_taxibj_failures_give_one_sentence(taxi):
    folder, _, ext, maps = taxi

    def save(part, name, array):
        np.save(folder / part / f"{name}.npy", array)

    save("train", "ext", ext[np.random.default_rng(0).permutation(120)])
    with pytest.raises(InvalidTime, match="not in order of time"):
        open_taxibj(folder)
    thrice = ext[:120].copy()
    thrice[:3, 5] = 7
    save("train", "ext", thrice)
    with pytest.raises(InvalidTime, match="Hour 7 of day 1 has 3 frames"):
        open_taxibj(folder)
    save("train", "ext", ext[:120] + 0.5)
    with pytest.raises(InvalidTime, match="whole numbers"):
        open_taxibj(folder)
    save("train", "ext", ext[:119])
    with pytest.raises(GridMismatch, match="120 maps but 119 rows"):
        open_taxibj(folder)
    save("train", "ext", ext[:120, :5])
    with pytest.raises(GridMismatch, match=r"shape \(120, 5\), but TaxiBJ has \(n, 7\)"):
        open_taxibj(folder)
    save("train", "X", maps[:120, :16])
    with pytest.raises(GridMismatch, match=r"TaxiBJ has \(n, 32, 32\)"):
        open_taxibj(folder)
    (folder / "train" / "X.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(UnreadableFile, match="truncated"):
        open_taxibj(folder)
    (folder / "train" / "X.npy").unlink()
    with pytest.raises(UnreadableFile, match=r"needs X\.npy and ext\.npy in each"):
        open_taxibj(folder)


def write_bikes(folder, months, n=200):
    """Write trip histories of whole months; return the trips as one table."""
    rng = np.random.default_rng(3)
    tables = []
    for month in months:
        days = pd.Period(month).days_in_month
        start = pd.Timestamp(f"{month}-01") + pd.to_timedelta(
            np.sort(rng.uniform(0, days * 24 * 3600, n)).round(), unit="s"
        )
        table = pd.DataFrame(
            {
                "tripduration": 600,
                "starttime": start.strftime("%m/%d/%Y %H:%M:%S"),
                "stoptime": (start + pd.Timedelta("10min")).strftime("%m/%d/%Y %H:%M:%S"),
                "start station latitude": rng.uniform(40.70, 40.77, n),
                "start station longitude": rng.uniform(-74.02, -73.96, n),
                "end station latitude": rng.uniform(40.70, 40.77, n),
                "end station longitude": rng.uniform(-74.02, -73.96, n),
            }
        )
        table.to_csv(folder / f"{month.replace('-', '')}-citibike-tripdata.csv", index=False)
        tables.append(table)
    return pd.concat(tables)


def test_citibike_months_become_hourly_flows_of_the_papers_area(tmp_path):
    trips = write_bikes(tmp_path, ["2016-01", "2016-02", "2016-03", "2016-04"])
    data = read_published("citibike", tmp_path)
    # One hour less than 121 days: clocks go forward in March.
    assert data.cube.sizes["time"] == 121 * 24 - 1
    assert (data.value, data.aggregation, data.covariates) == ("inflow", "sum", None)
    assert (data.train_until, data.until) == ("2016-03-01T16:00:00Z", "2016-03-31T21:00:00Z")
    inside = trips["end station latitude"].between(40.71, 40.765)
    inside &= trips["end station longitude"].between(-74.01, -73.972)
    assert data.cube.inflow.sum() == data.cube.attrs["points_used"]
    assert abs(int(inside.sum()) - data.cube.attrs["points_used"]) <= 3  # at the period's ends
    assert NestedGrid.of(data.cube).fine_shape == (32, 32)
    out = open_citibike(tmp_path, flow="out", period=("2016-02-01", "2016-03-01"))
    assert out.sizes["time"] == 29 * 24
    assert out.attrs["value"] == "outflow"


def test_citibike_failures_give_one_sentence(tmp_path):
    with pytest.raises(UnreadableFile, match="holds no file of type"):
        open_citibike(tmp_path)
    write_bikes(tmp_path, ["2016-01", "2016-02", "2016-04"], n=50)
    with pytest.raises(NoObservations, match="No trip of 2016-03 is in the files"):
        open_citibike(tmp_path)
    with pytest.raises(InvalidParameter, match="flow must be"):
        open_citibike(tmp_path, flow="both")
    with pytest.raises(InvalidParameter, match="taxibj, citibike or tap"):
        read_published("citi", tmp_path)


def lattice(step, west=115.0, south=39.0, cols=40, rows=40, seed=0):
    """Return a table of a regular lattice of cell centres with PM2.5."""
    x, y = np.meshgrid(west + step * np.arange(cols), south + step * np.arange(rows))
    value = np.random.default_rng(seed).gamma(4, 15, x.size).round(1)
    return pd.DataFrame({"X_Lon": x.ravel(), "Y_Lat": y.ravel(), "PM2.5": value})


def write_tap(folder, table, *days, name="China_PM25_{}.csv"):
    for number, day in enumerate(days):
        table.assign(**{"PM2.5": table["PM2.5"] + number}).to_csv(
            folder / name.format(day), index=False
        )


def test_tap_lattice_becomes_a_daily_cube_with_its_gaps(tmp_path):
    table = lattice(0.1, west=114.55, south=38.35, cols=45, rows=45)
    table.loc[0, "PM2.5"] = -999
    hole = (table["X_Lon"] - 116.45).abs().lt(0.01) & (table["Y_Lat"] - 40.25).abs().lt(0.01)
    write_tap(tmp_path, table[~hole], "20140101", "20140102", "20140105", "2014-01-06", "20190101")
    data = read_published("tap", tmp_path)
    cube = data.cube
    assert cube.sizes["time"] == 6
    assert (data.value, data.aggregation) == ("pm25", "mean")
    assert cube.pm25.attrs["units"] == "ug m-3"
    assert str(cube.time.values[0])[:16] == "2013-12-31T16:00"
    assert (data.train_until, data.until) == ("2014-01-03T16:00:00Z", "2014-01-04T16:00:00Z")
    assert np.isnan(cube.pm25.values[2:4]).all()
    west, south, east, north = NestedGrid.of(cube).bounds
    np.testing.assert_allclose([east - west, north - south], 3.2)
    assert west <= 115.4
    assert north >= 41.1
    wanted = table.assign(**{"PM2.5": table["PM2.5"].mask(hole)})
    for row, col in [(0, 0), (5, 20), (31, 31)]:
        x, y = cube.longitude.values[col], cube.latitude.values[row]
        near = (wanted["X_Lon"] - x).abs().lt(1e-6) & (wanted["Y_Lat"] - y).abs().lt(1e-6)
        np.testing.assert_allclose(cube.pm25.values[1, row, col], wanted["PM2.5"][near] + 1)
    assert np.isnan(cube.pm25.sel(longitude=116.45, latitude=40.25, method="nearest")).all()
    assert "coarser than cells" in cube.attrs["notes"][0]
    assert "4 of 6 days have a map" in cube.attrs["notes"][1]


def test_tap_finer_lattice_is_averaged_in_any_spelling(tmp_path):
    table = lattice(0.05, west=115.025, south=39.025, cols=32, rows=32)
    days = pd.concat([table.assign(Date=f"2014-01-0{day}") for day in range(1, 6)])
    days = days.rename(columns={"X_Lon": "LON", "Y_Lat": "lat", "PM2.5": "pm2_5"})
    days.sample(frac=1, random_state=0).to_csv(tmp_path / "all.csv", index=False)
    cube = open_tap(tmp_path / "all.csv", bounds=(115.0, 39.0, 116.6, 40.6), shape=(16, 16))
    maps = table["PM2.5"].to_numpy().reshape(32, 32)[::-1]
    blocks = maps.reshape(16, 2, 16, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(cube.pm25.values[4], blocks, rtol=1e-6)
    same = open_tap(tmp_path / "all.csv", bounds=(115.0, 39.0, 116.6, 40.6), shape=(32, 32))
    np.testing.assert_allclose(same.pm25.values[0], maps, rtol=1e-6)
    assert open_tap(tmp_path / "all.csv", period=None).sizes["time"] == 5


def test_tap_failures_give_one_sentence(tmp_path):
    table, days = lattice(0.1), ("20140101", "20140102", "20140103", "20140104")

    def refused(error, match, **options):
        with pytest.raises(error, match=match):
            open_tap(tmp_path, **options)
        for path in tmp_path.glob("*.csv"):
            path.unlink()

    write_tap(tmp_path, table, *days)
    write_tap(tmp_path, table, "20140102", name="again_{}.csv")
    refused(InvalidTime, "both hold 2014-01-02")
    bent = table.copy()
    bent.loc[7, "X_Lon"] += 0.03
    write_tap(tmp_path, table, days[0])
    write_tap(tmp_path, bent, days[1])
    refused(GridMismatch, r"longitude .* is off the regular lattice of 0.1° from 115")
    write_tap(tmp_path, bent, days[0])
    refused(GridMismatch, "off the regular lattice")
    write_tap(tmp_path, table[table["X_Lon"] < 115.05], days[0])
    refused(GridMismatch, "has 1 longitude, so no lattice")
    write_tap(tmp_path, table.rename(columns={"PM2.5": "PM10"}).assign(**{"PM2.5": 1}), days[0])
    write_tap(tmp_path, table.drop(columns="X_Lon"), days[1])
    refused(MissingColumn, "no column X_Lon; its columns are Y_Lat, PM2.5")
    write_tap(tmp_path, table, "north")
    refused(InvalidTime, "no date in its name")
    write_tap(tmp_path, table.assign(date="soon"), "north")
    refused(InvalidTime, "Date 'soon' cannot be read")
    write_tap(tmp_path, table, "20190101", "20199999_20190102")
    refused(NoObservations, "No map lies between 2014-01-01 and 2018-01-01")
    write_tap(tmp_path, lattice(0.1, west=80), *days)
    refused(NoObservations, "No PM2.5 value lies inside")
    write_tap(tmp_path, table, *days[:3])
    refused(NoObservations, "3 frames cannot be split")
    (tmp_path / "20140101.csv").write_text("")
    refused(UnreadableFile, "truncated")
    refused(UnreadableFile, "holds no file of type")
    refused(InvalidParameter, "multiples of 4", shape=(30, 32))
    with pytest.raises(UnreadableFile, match="does not exist"):
        open_tap([tmp_path / "absent_20140101.csv"])


# MAE and RMSE gains over the best other system in per cent, as the paper prints them, row by row.
GAINS = """
14.9 13.1 18.7 17.2 17.1 19.5 19.1 21.9 18.2 14.9 17.8 19.0 12.0 8.8 6.7 1.9
-7.1 -1.1 -6.3 4.9 15.1 1.9 5.3 -3.4 0 -3.3 20.6 4.8 16.2 0.9 28.3 22.6
31.1 30.7 37.2 33.8 34.9 27.0 29.8 26.3 14.6 20.0 19.8 21.8 17.4 -11.2 3.7 -2.5
"""
BLOCK_GAINS = {"TaxiBJ": (17.2, 20.5), "BikeNYC": (6.9, -2.1), "TAPBJ": (30.7, 29.7)}


def test_paper_tables_give_the_gains_that_the_paper_prints():
    gains = []
    for pair in TABLE_II.values():
        for scores in pair:
            assert len(scores) == len(METHODS)
            gains.append(100 * (1 - scores[-1] / min(scores[:-1])))
    np.testing.assert_allclose(gains, [float(gain) for gain in GAINS.split()], atol=0.06)
    for name, printed in BLOCK_GAINS.items():
        block = [row for row in rows(name) if row.pattern == "block"]
        for score, gain in zip(("mae", "rmse"), printed, strict=True):
            *others, ours = (getattr(row, score) for row in block)
            assert 100 * (1 - ours / min(others)) == pytest.approx(gain, abs=0.06)


@pytest.mark.parametrize(
    ("dataset", "pattern", "expected"),
    [
        ("TaxiBJ", "fixed", "23.42/36.71 24.72/39.70 26.12/42.49 27.83/45.36"),
        ("TaxiBJ", "random", "24.22/38.39 27.08/41.66 30.06/49.81 35.97/60.48"),
        ("BikeNYC", "fixed", "0.30/0.90 0.34/0.97 0.28/1.05 0.36/1.20"),
        ("citibike", "random", "0.28/0.94 0.27/1.00 0.31/1.11 0.33/1.23"),
        ("TAPBJ", "fixed", "1.77/3.00 2.14/3.52 3.02/5.10 4.29/6.77"),
        ("tap", "random", "1.99/3.43 2.68/4.60 3.90/8.04 5.97/9.46"),
        ("TaxiBJ", "block", "23.98/37.54"),
        ("BikeNYC", "block", "0.27/0.98"),
        ("TAPBJ", "block", "2.96/6.00"),
    ],
)
def test_paper_figures_of_diffrecon(dataset, pattern, expected):
    ratios = (0.25,) if pattern == "block" else (0.2, 0.4, 0.6, 0.8)
    for missing, text in zip(ratios, expected.split(), strict=True):
        pair = tuple(float(part) for part in text.split("/"))
        assert paper_figure(dataset, "diffrecon", pattern, missing) == pair


def test_second_best_figures_and_what_the_paper_does_not_print():
    best = [paper_figure("taxibj", "UrbanSTA", "fixed", k / 10)[0] for k in (2, 4, 6, 8)]
    assert best == [27.52, 30.40, 31.52, 34.40]
    best = [paper_figure("taxibj", "DiffUFlow", "random", k / 10)[0] for k in (2, 4, 6, 8)]
    assert best == [29.61, 32.93, 34.17, 38.55]
    assert paper_figure("taxibj", "DiffRecon", "fixed", 0.95) is None
    assert paper_figure("tapbj", "SRCNN", "block", 0.25) is None
    with pytest.raises(InvalidParameter, match="not in the paper"):
        paper_figure("london", "DiffRecon", "fixed", 0.2)
    assert [len(rows(name)) for name in paper_tables.DATASETS] == [72, 67, 66]
    joint = [a.loss_percent for a in paper_tables.ABLATIONS if a.variant == "DiffRecon-noJoint"]
    assert joint == [14.08, 17.61, 16.12, 13.40, 4.32, 2.84, 2.94, 1.33]
