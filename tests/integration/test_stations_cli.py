"""Stations alone, from the command line: fit, reconstruct, evaluate, and the daily run."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from geodiffrecon.cf import read_netcdf, write_netcdf
from geodiffrecon.cli import app
from geodiffrecon.cli.station_maps import open_stations
from geodiffrecon.loading import load

from .conftest import Ended, history_cube

ZONE = "Asia/Shanghai"
FIRST = pd.Timestamp("2024-03-01T00:00", tz=ZONE)
DAYS, TRAINED = 20, 16
UNTIL = "2024-03-17"
GRID = ["--bounds", 115, 39, 117, 41, "--shape", 4, 4, "--factor", 4]
COLUMNS = ["--value", "pm25", "--x", "longitude", "--y", "latitude", "--crs", "EPSG:4326",
           "--station", "station"]  # fmt: skip
STEPS = ["--freq", "1h", "--calendar-tz", ZONE]
QUICK = ["--aggregation", "mean", "--preset", "tiny", "--max-minutes", 0.3]
STATISTICS = ["mean", "std", "q05", "q25", "q50", "q75", "q95"]
MORE = ["distance_km", "information"]


@dataclass(frozen=True)
class Agency:
    """Paths of what an agency has: all rows, a file for each day, sites, and a model."""

    all: Path
    folder: Path
    sites: Path
    model: Path

    def day(self, number):
        return self.folder / f"day{number}.csv"


def geodiffrecon(*arguments):
    """Run the command line in this process, which spares the imports."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            app([*map(str, arguments)], prog_name="geodiffrecon")
        except SystemExit as end:
            code = end.code or 0
    return Ended(code, out.getvalue(), err.getvalue())


def readings(stations=14, seed=3):
    """Return hourly rows of stations in a smooth, moving field; one has outages."""
    rng = np.random.default_rng(seed)
    hours = np.arange(24 * DAYS)
    lon, lat = rng.uniform(115.1, 116.9, stations), rng.uniform(39.1, 40.9, stations)
    level = 40 + 15 * np.sin(hours / 37)[:, None] + 6 * np.sin(hours * np.pi / 12)[:, None]
    wave = 12 * np.sin(3 * lon - 2 * lat + hours[:, None] / 20)
    values = np.maximum(level + wave + rng.normal(0, 2, (len(hours), stations)), 1)
    values[rng.random(values.shape) < 0.03] = np.nan
    stamps = [(FIRST + pd.Timedelta(hours=int(hour))).isoformat() for hour in hours]
    return pd.DataFrame(
        {
            "station": np.tile([f"S{k:02}" for k in range(stations)], len(hours)),
            "longitude": np.tile(lon, len(hours)).round(4),
            "latitude": np.tile(lat, len(hours)).round(4),
            "time": np.repeat(stamps, stations),
            "pm25": values.ravel().round(1),
        }
    )


def day_of(rows, number):
    date = (FIRST + pd.Timedelta(days=number)).strftime("%Y-%m-%d")
    return rows[rows["time"].str.startswith(date)]


def span(number):
    """Return the options that map exactly the hours of a day."""
    date = (FIRST + pd.Timedelta(days=number)).strftime("%Y-%m-%d")
    return ["--time", f"{date}T00:00", f"{date}T23:00"]


@pytest.fixture(scope="module")
def agency(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agency")
    rows = readings()
    rows.to_csv(folder / "all.csv", index=False)
    for number in range(TRAINED, DAYS):
        day_of(rows, number).to_csv(folder / f"day{number}.csv", index=False)
    (folder / "sites.csv").write_text(
        "id,longitude,latitude,note\n007,116.1,40.2,school\n008,115.5,39.6,\n009,10,10,far\n"
    )
    request = ["fit", folder / "all.csv", *COLUMNS, *STEPS, *GRID, *QUICK, "--until", UNTIL]
    ended = geodiffrecon(*request, "--model", folder / "pm25.gdr", "--quality", folder / "q.json")
    assert ended.code == 0, ended.err
    return Agency(folder / "all.csv", folder, folder / "sites.csv", folder / "pm25.gdr")


def mapped(agency, source, out, *more):
    return geodiffrecon("reconstruct", source, "--model", agency.model, "--out", out, *more)


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def table(out, name="sites"):
    return pd.read_csv(out / f"pm25_at_{name}.csv", dtype={"id": str, "time": str})


# --- fit ---------------------------------------------------------------------------------------


def test_fit_writes_a_model_and_what_is_odd_in_the_data(agency):
    assert (agency.model / "config.json").is_file()
    found = json.loads((agency.folder / "q.json").read_text())
    assert isinstance(found, list)
    described = geodiffrecon("info", agency.model, "--progress", "json").result
    assert described["value"] == "pm25"
    assert described["end"] <= "2024-03-16T16:00:00Z"


def test_fit_says_what_is_odd_before_it_trains(agency, tmp_path):
    rows = readings()
    rows.loc[rows["station"] == "S03", "pm25"] = 0.0
    rows.to_csv(tmp_path / "odd.csv", index=False)
    request = ["fit", tmp_path / "odd.csv", *COLUMNS, *STEPS, *GRID, *QUICK, "--until", UNTIL]
    ended = geodiffrecon(*request, "--model", tmp_path / "m", "--progress", "json")
    events = ended.events
    said = [n for n, event in enumerate(events) if event.get("message", "").startswith("Data qu")]
    trained = [n for n, event in enumerate(events) if event["event"] == "progress"]
    assert any("S03" in events[n]["message"] for n in said)
    assert max(said) < min(trained)
    assert any(row["station"] == "S03" for row in ended.result["quality"])


def test_a_history_with_few_cells_is_learnt_as_stations(tmp_path):
    cube = history_cube(days=70)
    hidden = np.ones(cube["pm25"].shape[1:], dtype=bool)
    hidden.flat[np.random.default_rng(1).choice(hidden.size, 20, replace=False)] = False
    cube["pm25"].values[:, hidden] = np.nan
    write_netcdf(cube.drop_vars("pm25_n_obs", errors="ignore"), tmp_path / "few.nc")
    request = ["fit", tmp_path / "few.nc", "--factor", 4, *QUICK, "--model", tmp_path / "m"]
    ended = geodiffrecon(*request, "--progress", "json")
    assert ended.code == 0, ended.events[-1]
    assert any("20 of 256 fine cells" in event.get("message", "") for event in ended.events)
    out = tmp_path / "maps"
    again = geodiffrecon(
        "reconstruct", tmp_path / "few.nc", "--model", tmp_path / "m", "--out", out,
        "--time", "2023-08-01", "2023-08-02", "--format", "netcdf",
    )  # fmt: skip
    assert again.code == 0, again.err
    assert np.isfinite(read_netcdf(out / "pm25.nc")["pm25"].values).all()
    write_netcdf(history_cube(days=5), tmp_path / "all.nc")
    ended = geodiffrecon(
        "reconstruct", tmp_path / "all.nc", "--model", tmp_path / "m", "--out", tmp_path / "none"
    )
    check_refused(ended, ["all.nc is complete, each of its 256 fine cells has a value"])
    assert not (tmp_path / "none").exists()
    # only the steps that are asked for need holes
    cube = history_cube(days=5)
    cube["pm25"].values[3, 2, 2] = np.nan
    write_netcdf(cube, tmp_path / "holes.nc")
    days = [f"{str(day)[:16]}Z" for day in cube["time"].values]
    request = ["reconstruct", tmp_path / "holes.nc", "--model", tmp_path / "m"]
    ended = geodiffrecon(*request, "--out", tmp_path / "none", "--time", days[0], days[2])
    check_refused(ended, ["holes.nc is complete", "at every step that is asked for"])
    ended = geodiffrecon(*request, "--out", tmp_path / "some", "--time", days[3], days[3])
    assert ended.code == 0, ended.err
    # without any step there is one sentence, and evaluate takes complete cubes
    with xr.open_dataset(tmp_path / "all.nc") as whole:
        whole.isel(time=slice(0)).to_netcdf(tmp_path / "none.nc")
    ended = geodiffrecon(
        "reconstruct", tmp_path / "none.nc", "--model", tmp_path / "m", "--out", tmp_path / "none"
    )
    check_refused(ended, ["none.nc"])
    run = SimpleNamespace(progress=lambda *told: None, log=lambda sentence: None)
    opened = open_stations(run, tmp_path / "all.nc", load(tmp_path / "m"), {})
    assert opened.network.values.shape == (5, 256)


@pytest.mark.parametrize("command", ["fit", "reconstruct", "evaluate"])
def test_a_device_that_is_not_there_is_refused(command, agency, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    requests = {
        "fit": [*COLUMNS, *STEPS, *GRID, *QUICK, "--model", tmp_path / "m"],
        "reconstruct": ["--model", agency.model, "--out", tmp_path / "maps"],
        "evaluate": ["--model", agency.model],
    }
    ended = geodiffrecon(command, agency.all, *requests[command], "--device", "cuda")
    check_refused(ended, ["device is cuda, but torch finds no GPU; use auto or cpu."])


def test_cuda_is_said_once_to_change_nothing(agency, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    more = ["--at", agency.sites, "--device", "cuda", "--progress", "json", *span(17)[:2]]
    ended = mapped(agency, agency.day(17), tmp_path / "maps", *more, span(17)[1])
    assert ended.code == 0, ended.events[-1]
    said = [e["message"] for e in ended.events if "not on cuda" in e.get("message", "")]
    assert said == [
        "The networks of a station model are small and run on the processor, not on cuda."
    ]


@pytest.mark.slow
def test_a_complete_history_comes_first(agency, tmp_path):
    write_netcdf(history_cube(days=60), tmp_path / "history.nc")
    request = ["fit", agency.all, *COLUMNS, *STEPS, *GRID, *QUICK, "--until", UNTIL]
    ended = geodiffrecon(*request, "--model", tmp_path / "m", "--pretrain", tmp_path / "history.nc")
    assert ended.code == 0, ended.err


# --- reconstruct -------------------------------------------------------------------------------


def test_a_day_becomes_maps_with_error_distance_and_information(agency, tmp_path):
    ended = mapped(agency, agency.day(17), tmp_path / "maps", "--exceed", 35, *span(17))
    assert ended.code == 0, ended.err
    maps = read_netcdf(tmp_path / "maps" / "pm25.nc")
    assert maps["pm25"].shape == (24, 16, 16)
    names = [f"pm25_{s}" for s in (*STATISTICS[1:], "n_obs", "distance", "information")]
    assert {*names, "pm25_exceed_35"} <= set(maps.data_vars)
    assert np.isfinite(maps["pm25"].values).all()
    chance = maps["pm25_exceed_35"].values
    assert ((chance >= 0) & (chance <= 1)).all()
    assert (tmp_path / "maps" / "pm25_mean.tif").is_file()


def test_sites_keep_their_rows_and_columns(agency, tmp_path):
    more = ["--at", agency.sites, "--exceed", 35, "--exceed", 75.5, "--format", "netcdf"]
    assert mapped(agency, agency.day(17), tmp_path / "maps", *more, *span(17)).code == 0
    found = table(tmp_path / "maps")
    own = ["id", "longitude", "latitude", "note"]
    added = ["time", *STATISTICS, "exceed_35", "exceed_75.5", *MORE]
    assert list(found.columns) == own + added
    assert list(found["id"]) == ["007", "008", "009"] * 24
    assert found["time"].iloc[0] == "2024-03-18T00:00+08:00"
    assert found["time"].iloc[-1] == "2024-03-18T23:00+08:00"
    far = found["id"] == "009"
    assert found.loc[far, STATISTICS].isna().all(axis=None)
    assert found.loc[~far, STATISTICS].notna().all(axis=None)
    ordered = found.loc[~far, ["q05", "q25", "q50", "q75", "q95"]].to_numpy()
    assert (np.diff(ordered, axis=1) >= 0).all()


def test_one_step_gives_the_rows_of_the_sites_once(agency, tmp_path):
    hour = ["--time", "2024-03-18T05:00", "2024-03-18T05:00"]
    more = ["--at", agency.sites, "--format", "netcdf", *hour]
    assert mapped(agency, agency.day(17), tmp_path / "maps", *more).code == 0
    found = table(tmp_path / "maps")
    assert list(found["id"]) == ["007", "008", "009"]
    assert "time" not in found


def test_a_time_column_of_the_sites_chooses_the_step(agency, tmp_path):
    sites = tmp_path / "visits.csv"
    sites.write_text(
        "longitude,latitude,when\n116.1,40.2,2024-03-18T05:40+08:00\n"
        "116.1,40.2,2024-03-17T22:00Z\n116.1,40.2,2024-04-01T00:00Z\n116.1,40.2,\n"
    )
    more = ["--at", sites, "--at-time", "when", "--format", "netcdf", *span(17)]
    ended = mapped(agency, agency.day(17), tmp_path / "maps", *more)
    assert "2 of 4 rows of visits.csv have none of the mapped times." in ended.err
    found = table(tmp_path / "maps", "visits")
    assert len(found) == 4
    assert list(found["mean"].isna()) == [False, False, True, True]
    assert found["mean"].iloc[0] != found["mean"].iloc[1]


def test_the_time_column_of_the_model_is_known(agency, tmp_path):
    sites = tmp_path / "visits.csv"
    sites.write_text("longitude,latitude,time\n116.1,40.2,2024-03-18T05:40+08:00\n")
    more = ["--at", sites, "--format", "netcdf", *span(17)]
    assert mapped(agency, agency.day(17), tmp_path / "maps", *more).code == 0
    found = table(tmp_path / "maps", "visits")
    assert len(found) == 1
    assert found["time"].iloc[0] == "2024-03-18T05:40+08:00"


def test_a_column_of_the_sites_is_never_lost(agency, tmp_path):
    sites = tmp_path / "sites.csv"
    sites.write_text("longitude,latitude,mean\n116.1,40.2,5\n")
    ended = mapped(agency, agency.day(17), tmp_path / "maps", "--at", sites)
    assert ended.code == 1
    assert "column 'mean'" in ended.err
    assert not (tmp_path / "maps").exists()


def test_columns_may_be_called_otherwise(agency, tmp_path):
    other = pd.read_csv(agency.day(17)).rename(columns={"pm25": "PM", "time": "date"})
    other.to_csv(tmp_path / "other.csv", index=False)
    names = ["--value", "PM", "--time-column", "date", "--format", "netcdf"]
    assert mapped(agency, tmp_path / "other.csv", tmp_path / "one", *names).code == 0
    assert mapped(agency, agency.day(17), tmp_path / "two", "--format", "netcdf").code == 0
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_hours_without_any_station_are_mapped_and_said(agency, tmp_path):
    rows = pd.read_csv(agency.day(17))
    silent = rows["time"].str.contains("T05:|T06:|T23:")
    rows[~silent].to_csv(tmp_path / "gaps.csv", index=False)
    more = ["--format", "netcdf", *span(17)]
    ended = mapped(agency, tmp_path / "gaps.csv", tmp_path / "maps", *more)
    assert ended.code == 0, ended.err
    assert "3 of 24 mapped steps have no station at all" in ended.err
    maps = read_netcdf(tmp_path / "maps" / "pm25.nc")
    assert maps["pm25"].sizes["time"] == 24
    assert (maps["pm25_information"].values[[5, 6, 23]] == 0).all()
    assert np.isfinite(maps["pm25"].values).all()
    assert mapped(agency, agency.day(17), tmp_path / "all", *more).code == 0
    told = read_netcdf(tmp_path / "all" / "pm25.nc")
    silence, spoken = (found["pm25_std"].values[[5, 6, 23]].mean((1, 2)) for found in (maps, told))
    assert silence.mean() > spoken.mean()  # the same hours with their stations are surer


# --- state -------------------------------------------------------------------------------------


def daily(agency, number, state, out, source=None):
    source = source or agency.day(number)
    more = ["--state", state, "--at", agency.sites, *span(number), "--progress", "json"]
    return mapped(agency, source, out, *more)


def history_used(out):
    return int(read_netcdf(out / "pm25.nc").attrs["history_used"])


def test_a_daily_run_reads_its_history_from_the_state(agency, tmp_path):
    state = tmp_path / "state"
    first = daily(agency, 16, state, tmp_path / "16")
    assert any("Short of history: 0 of" in event.get("message", "") for event in first.events)
    assert history_used(tmp_path / "16") == first.result["history_used"] == 0
    second = daily(agency, 17, state, tmp_path / "17")
    assert not any("Short of" in event.get("message", "") for event in second.events)
    assert mapped(agency, agency.all, tmp_path / "long", "--at", agency.sites, *span(17)).code == 0
    assert history_used(tmp_path / "17") == history_used(tmp_path / "long") > 0
    assert content(tmp_path / "17") == content(tmp_path / "long")


def test_late_data_run_again_give_the_same_bytes(agency, tmp_path):
    state = tmp_path / "state"
    for number in (16, 17):
        assert daily(agency, number, state, tmp_path / str(number)).code == 0
    before = content(tmp_path / "17")
    for number in (18, 19):
        assert daily(agency, number, state, tmp_path / str(number)).code == 0
    assert daily(agency, 17, state, tmp_path / "again").code == 0
    assert content(tmp_path / "again") == before


def test_no_day_reads_the_next_one(agency, tmp_path):
    rows = pd.read_csv(agency.all)
    later = rows["time"] >= "2024-03-19"
    rows.loc[later, "pm25"] = 400.0
    rows.loc[later & (rows["station"] == "S01"), "longitude"] = 116.77
    rows.to_csv(tmp_path / "changed.csv", index=False)
    for name, source in (("one", agency.all), ("two", tmp_path / "changed.csv")):
        more = ["--at", agency.sites, *span(17)]
        assert mapped(agency, source, tmp_path / name, *more).code == 0
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_a_correction_wins_over_the_state(agency, tmp_path):
    rows = pd.read_csv(agency.day(17))
    rows["pm25"] = (rows["pm25"] * 2).round(1)
    rows.to_csv(tmp_path / "corrected.csv", index=False)
    for name in ("late", "fresh"):
        assert daily(agency, 16, tmp_path / name, tmp_path / f"{name}16").code == 0
    assert daily(agency, 17, tmp_path / "late", tmp_path / "late17").code == 0
    for name in ("late", "fresh"):
        source = tmp_path / "corrected.csv"
        assert daily(agency, 17, tmp_path / name, tmp_path / f"{name}17", source).code == 0
        assert daily(agency, 18, tmp_path / name, tmp_path / f"{name}18").code == 0
    for number in (17, 18):
        assert content(tmp_path / f"late{number}") == content(tmp_path / f"fresh{number}")


def test_a_run_that_fails_leaves_the_state_alone(agency, tmp_path):
    state = tmp_path / "state"
    assert daily(agency, 16, state, tmp_path / "16").code == 0
    before = content(state)
    (tmp_path / "empty.csv").write_text("station,longitude,latitude,time,pm25\n")
    assert daily(agency, 17, state, tmp_path / "17", tmp_path / "empty.csv").code == 1
    assert content(state) == before
    assert not (tmp_path / "17").exists()


# --- evaluate ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_evaluate_leaves_stations_out(agency, tmp_path):
    scores, page = tmp_path / "scores.json", tmp_path / "page.html"
    ended = geodiffrecon(
        "evaluate", agency.all, "--model", agency.model, "--folds", 2, "--every", 6,
        "--samples", 8, "--max-minutes", 0.1, "--from", "2024-03-18", "--to", "2024-03-20T23:00",
        "--json", scores, "--report", page, "--progress", "json",
    )  # fmt: skip
    assert ended.code == 0, ended.events[-1]
    assert ended.result["outputs"] == [str(scores), str(page)]
    rows = json.loads(scores.read_text())["rows"]
    assert any("kriging" in row["method"] for row in rows)
    assert "<html" in page.read_text(encoding="utf-8")


# --- what does not fit -------------------------------------------------------------------------


def fit_with(agency, *changed, without=()):
    request = ["fit", agency.all, *COLUMNS, *STEPS, *GRID, *QUICK]
    for name in without:
        at = request.index(name)
        del request[at : at + 2]
    return [*request, *changed]


def no_value(agency, folder):
    return fit_with(agency, without=["--value"]), ["--value"]


def no_freq(agency, folder):
    return fit_with(agency, without=["--freq"]), ["--freq 1h"]


def no_shape(agency, folder):
    request = fit_with(agency)
    at = request.index("--shape")
    return request[:at] + request[at + 3 :], ["shape or resolution"]


def sums(agency, folder):
    return [*fit_with(agency, "--aggregation", "sum")], ["--aggregation mean"]


def options_of_maps(agency, folder):
    return fit_with(agency, "--trim", "--rows", 0, 8), ["--rows", "--trim", "only for maps"]


def options_of_points(agency, folder):
    write_netcdf(history_cube(days=50), folder / "maps.nc")
    request = ["fit", folder / "maps.nc", "--factor", 4, *QUICK, "--freq", "1h", "--value", "v"]
    return request, ["--value", "only for points"]


def wrong_column(agency, folder):
    return fit_with(agency, "--value", "pm52"), ["'pm52'", "pm25"]


def no_zone(agency, folder):
    text = agency.all.read_text().replace("+08:00", "")
    (folder / "naive.csv").write_text(text)
    request = fit_with(agency)
    request[1] = folder / "naive.csv"
    return request, ["has no zone", "--tz"]


def no_crs(agency, folder):
    rows = pd.read_csv(agency.all).rename(columns={"longitude": "east", "latitude": "north"})
    rows.to_csv(folder / "local.csv", index=False)
    request = fit_with(agency, "--x", "east", "--y", "north", without=["--crs"])
    request[1] = folder / "local.csv"
    return request, ["no CRS", "--crs"]


def all_outside(agency, folder):
    request = fit_with(agency)
    at = request.index("--bounds") + 1
    request[at : at + 4] = [-80, 40, -78, 42]
    return request, ["115", "grid"]


def two_stations(agency, folder):
    rows = pd.read_csv(agency.all)
    rows[rows["station"] < "S02"].to_csv(folder / "two.csv", index=False)
    request = fit_with(agency)
    request[1] = folder / "two.csv"
    return request, ["2 stations"]


@pytest.mark.parametrize(
    "mistake",
    [no_value, no_freq, no_shape, sums, options_of_maps, options_of_points, wrong_column, no_zone,
     no_crs, all_outside, two_stations],
    ids=lambda mistake: mistake.__name__,
)  # fmt: skip
def test_fit_refuses_what_does_not_fit(mistake, agency, tmp_path):
    request, seen = mistake(agency, tmp_path)
    check_refused(geodiffrecon(*request, "--model", tmp_path / "new.gdr"), seen)
    assert not (tmp_path / "new.gdr").exists()


def check_refused(ended, seen):
    errors = [line for line in ended.err.splitlines() if line.startswith("Error:")]
    assert ended.code == 1, ended.err
    assert len(errors) == 1
    assert "Unexpected" not in errors[0]
    assert errors[0].endswith(".")
    for text in seen:
        assert text in errors[0]


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        (["--exceed", "nan"], ["--exceed", "number"]),
        (["--exceed", "-3"], ["--exceed is -3", "no negative values"]),
        (["--steps", "4"], ["--steps", "only for models of fine maps"]),
        (["--agg", "mean", "--empty", "zero"], ["--agg, --empty"]),
        (["--consistency", "soft"], ["--consistency"]),
        (["--value", "pm52"], ["'pm52'"]),
        (["--time", "2023-01-01", "2023-01-02"], ["2023-01-01", "the file covers 2024-03-17"]),
        (["--time", "2024-03-18T06:00", "2024-03-18T05:00"], ["--time goes from"]),
    ],
)
def test_reconstruct_refuses_what_does_not_fit(options, seen, agency, tmp_path):
    check_refused(mapped(agency, agency.day(17), tmp_path / "maps", *options), seen)
    assert list(tmp_path.iterdir()) == []


def test_a_threshold_that_is_no_number_is_wrong_usage(agency, tmp_path):
    ended = mapped(agency, agency.day(17), tmp_path / "maps", "--exceed", "high")
    assert ended.code == 2
    assert "--exceed" in ended.err


def test_a_state_that_cannot_be_written_is_said_before_the_work(agency, tmp_path):
    (tmp_path / "file").write_text("")
    ended = daily(agency, 17, tmp_path / "file", tmp_path / "maps")
    assert ended.code == 1
    assert "--state" in ended.events[-1]["message"]
    assert not (tmp_path / "maps").exists()


def test_the_state_of_another_model_is_refused(agency, tmp_path):
    state = tmp_path / "state"
    assert daily(agency, 16, state, tmp_path / "16").code == 0
    about = json.loads((state / "pm25.json").read_text())
    (state / "pm25.json").write_text(json.dumps(about | {"model_hash": "another"}))
    ended = daily(agency, 17, state, tmp_path / "17")
    assert ended.code == 1
    assert "belongs to another model" in ended.events[-1]["message"]


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        (["--pattern", "random"], ["--pattern random", "stations"]),
        (["--missing", 0.4], ["--missing"]),
        (["--in-sample"], ["--in-sample"]),
        (["--buffer-km", 5], ["--buffer-km", "blocks"]),
        (["--pattern", "blocks", "--buffer-km", -5], ["--buffer-km is -5"]),
        (["--folds", 1], ["folds"]),
        (["--every", 0], ["Every how many", "not 0"]),
    ],
)
def test_evaluate_refuses_what_does_not_fit(options, seen, agency):
    check_refused(geodiffrecon("evaluate", agency.all, "--model", agency.model, *options), seen)


def test_models_of_maps_have_no_options_of_stations(small, tmp_path):
    request = ["reconstruct", small.points, "--model", small.model, "--out", tmp_path / "maps"]
    check_refused(geodiffrecon(*request, "--exceed", 35), ["--exceed", "models of stations"])
    check_refused(geodiffrecon(*request, "--state", tmp_path / "s"), ["--state"])
    request = ["evaluate", small.history, "--model", small.model]
    check_refused(geodiffrecon(*request, "--folds", 4), ["--folds", "models of stations"])
    check_refused(geodiffrecon(*request), ["--pattern fixed, random or block"])
    check_refused(geodiffrecon(*request, "--pattern", "stations"), ["not stations"])
    check_refused(geodiffrecon(*request, "--pattern", "random"), ["--missing is not given"])


def test_compare_and_plot_name_the_command_for_stations(agency, tmp_path):
    request = ["--factor", 4, "--aggregation", "mean", "--json", tmp_path / "scores.json"]
    check_refused(geodiffrecon("compare", agency.all, *request), ["evaluate"])
    check_refused(geodiffrecon("compare", agency.model, *request), ["is a model", "evaluate"])
    write_netcdf(history_cube(days=3), tmp_path / "maps.nc")
    request = ["plot", tmp_path / "maps.nc", "--model", agency.model]
    check_refused(geodiffrecon(*request), ["model of stations", "evaluate"])
