"""What a program that runs the command line, such as the QGIS plugin, relies on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio

from geodiffrecon import __version__
from geodiffrecon.cf import read_netcdf

from .test_stations_cli import check_refused, geodiffrecon

ZONE = "Europe/Berlin"
FIRST, DAYS, UNTIL = pd.Timestamp("2024-02-10", tz=ZONE), 80, "2024-03-28"
SUMMER_TIME = ["--time", "2024-03-29", "2024-04-02"]
COLUMNS = ["--value", "pm25", "--x", "lon", "--y", "lat", "--crs", "EPSG:4326",
           "--station", "name"]  # fmt: skip
QUICK = ["--folds", 2, "--samples", 8, "--from", "2024-03-30", "--to", "2024-04-20"]


@dataclass(frozen=True)
class Towns:
    """Paths of daily readings in a zone with summer time, and of their model."""

    rows: Path
    model: Path


def readings(stations=12, seed=5):
    """Return one row a day and station; days are local, and one of them lasts 23 hours."""
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(9.1, 10.9, stations), rng.uniform(47.1, 48.9, stations)
    days = np.arange(DAYS)[:, None]
    values = 30 + 10 * np.sin(days / 4) + 8 * np.sin(3 * lon - 2 * lat + days / 9)
    values = values + rng.normal(0, 1, values.shape)
    stamps = pd.date_range(FIRST, periods=DAYS, freq="1D")
    return pd.DataFrame(
        {
            "name": np.tile([f"S{k:02}" for k in range(stations)], DAYS),
            "lon": np.tile(lon, DAYS).round(4),
            "lat": np.tile(lat, DAYS).round(4),
            "time": np.repeat([stamp.isoformat() for stamp in stamps], stations),
            "pm25": np.maximum(values, 1).ravel().round(1),
        }
    )


@pytest.fixture(scope="module")
def towns(tmp_path_factory):
    folder = tmp_path_factory.mktemp("towns")
    rows, model = folder / "towns.csv", folder / "pm25.gdr"
    readings().to_csv(rows, index=False)
    ended = geodiffrecon(
        "fit", rows, *COLUMNS, "--freq", "1D", "--calendar-tz", ZONE, "--units", "µg/m³",
        "--bounds", 9, 47, 11, 49, "--shape", 2, 2, "--factor", 4, "--aggregation", "mean",
        "--preset", "tiny", "--until", UNTIL, "--model", model,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    return Towns(rows, model)


def reconstruct(source, model, out, *more):
    request = ["reconstruct", source, "--model", model, "--out", out, *more]
    return geodiffrecon(*request, "--progress", "json")


def bands_of(paths):
    """Return the ``TIME`` tags of all bands over the files, and the number of bands of each."""
    times, counts = [], []
    for path in paths:
        with rasterio.open(path) as source:
            counts.append(source.count)
            times += [source.tags(band)["TIME"] for band in source.indexes]
    return times, counts


def check_described(result):
    """Compare the result line with the files that it names."""
    starts = [low for low, _ in result["intervals"]]
    assert len(starts) == result["times"]
    assert [high for _, high in result["intervals"]][:-1] == starts[1:]
    rasters = [path for part in result["maps"].values() for path in part]
    assert [path for path in result["outputs"] if path.endswith(".tif")] == rasters
    for statistic, paths in result["maps"].items():
        assert bands_of(paths)[0] == starts
        with rasterio.open(paths[0]) as source:
            assert source.tags()["STATISTIC"] == statistic
            assert source.tags()["VALUE"] == result["variable"]
            first = source.read(masked=True).compressed()
        if len(paths) == 1:
            assert result["ranges"][statistic] == pytest.approx(np.quantile(first, [0.02, 0.98]))
    with rasterio.open(result["maps"]["mean"][0]) as source:
        assert source.units[0] == result["units"]
    if result["netcdf"] is not None:
        maps = read_netcdf(result["netcdf"])
        bounds = np.array(result["intervals"]).astype("U19").astype("datetime64[ns]")
        np.testing.assert_array_equal(maps["time_bnds"].values, bounds)


def hours_of(result):
    return [
        (pd.Timestamp(high) - pd.Timestamp(low)) / pd.Timedelta("1h")
        for low, high in result["intervals"]
    ]


# --- the version -------------------------------------------------------------------------------


def test_the_version_for_programs_is_one_line():
    ended = geodiffrecon("--version", "--json")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.count("\n") == 1
    assert json.loads(ended.out) == {"version": __version__, "protocol": 1}
    assert geodiffrecon("--json", "-v").out == ended.out


@pytest.mark.parametrize("arguments", [["--json"], ["--json", "doctor"]])
def test_json_alone_is_wrong_usage(arguments):
    ended = geodiffrecon(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("Error") == 1
    assert "--progress json" in ended.err


# --- the result of reconstruct -----------------------------------------------------------------


def test_the_result_of_stations_names_the_maps_and_their_days(towns, tmp_path):
    sites = tmp_path / "sites.csv"
    sites.write_text("lon,lat\n10,48\n")
    more = [*SUMMER_TIME, "--exceed", 35, "--max-bands", 2, "--at", sites]
    result = reconstruct(towns.rows, towns.model, tmp_path / "maps", *more).result
    check_described(result)
    assert (result["variable"], result["units"]) == ("pm25", "ug m-3")
    assert {"mean", "std", "q05", "q95", "distance", "information", "exceed_35"} <= set(
        result["maps"]
    )
    assert bands_of(result["maps"]["mean"])[1] == [2, 2, 1]
    assert result["netcdf"] == str(tmp_path / "maps" / "pm25.nc")
    assert result["outputs"][-1] == str(tmp_path / "maps" / "pm25_at_sites.csv")
    assert hours_of(result) == [24, 24, 23, 24, 24]
    assert result["intervals"][2] == ["2024-03-30T23:00:00Z", "2024-03-31T22:00:00Z"]


def test_the_result_of_fine_maps_names_the_maps_and_their_days(small, tmp_path):
    more = ["--time", "2023-10-10", "2023-10-12", "--format", "geotiff"]
    result = reconstruct(small.points, small.model, tmp_path / "maps", *more).result
    check_described(result)
    assert result["maps"]["std"] == [str(tmp_path / "maps" / "pm25_std.tif")]
    assert list(result["maps"]) == ["mean", "std", "q05", "q50", "q95", "n_obs"]
    assert result["netcdf"] is None
    assert result["intervals"][0] == ["2023-10-09T16:00:00Z", "2023-10-10T16:00:00Z"]
    assert {"outputs", "times", "history_used", "points_used"} <= set(result)


def test_without_geotiffs_there_are_no_maps_to_show(small, tmp_path):
    more = ["--time", "2023-10-10", "2023-10-10", "--format", "netcdf"]
    result = reconstruct(small.coarse, small.model, tmp_path / "maps", *more).result
    assert result["maps"] == {}
    assert result["netcdf"] == str(tmp_path / "maps" / "pm25.nc")
    assert len(result["intervals"]) == 1


def test_a_file_per_step_is_named_step_by_step(small, tmp_path):
    more = ["--time", "2023-10-10", "2023-10-12", "--split-time", "--max-bands", 2]
    result = reconstruct(small.coarse, small.model, tmp_path / "maps", *more).result
    check_described(result)
    assert bands_of(result["maps"]["mean"])[1] == [1, 1, 1]


@pytest.mark.parametrize("bands", [0, -1, 65536])
def test_no_file_has_as_many_bands(bands, small, tmp_path):
    request = ["reconstruct", small.coarse, "--model", small.model, "--out", tmp_path / "maps"]
    ended = geodiffrecon(*request, "--max-bands", bands)
    check_refused(ended, [f"--max-bands is {bands}", "1 to 65535"])
    assert list(tmp_path.iterdir()) == []


def test_bands_that_are_no_number_are_wrong_usage(small, tmp_path):
    request = ["reconstruct", small.coarse, "--model", small.model, "--out", tmp_path / "maps"]
    ended = geodiffrecon(*request, "--max-bands", "all")
    assert ended.code == 2
    assert "--max-bands" in ended.err


# --- evaluate with other columns ---------------------------------------------------------------


def evaluate(towns, source, *more):
    return geodiffrecon(
        "evaluate", source, "--model", towns.model, *QUICK, *more, "--progress", "json"
    )


def scores_of(ended):
    """Return all of a result but what the clock says."""
    result = ended.result
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in result.pop("rows")]
    return result["data_fingerprint"], result["folds"], rows


@pytest.mark.slow
def test_columns_may_be_called_otherwise_in_an_evaluation(towns, tmp_path):
    own = pd.read_csv(towns.rows)
    local = own["time"].str.slice(0, 19)
    other = own.assign(time=local).rename(
        columns={"pm25": "PM", "time": "date", "lon": "east", "lat": "north", "name": "id"}
    )
    other.to_csv(tmp_path / "other.csv", index=False)
    names = ["--value", "PM", "--time-column", "date", "--x", "east", "--y", "north",
             "--station", "id", "--tz", ZONE, "--crs", "EPSG:4326"]  # fmt: skip
    assert scores_of(evaluate(towns, tmp_path / "other.csv", *names)) == scores_of(
        evaluate(towns, towns.rows)
    )


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        (["--value", "pm52"], ["'pm52'"]),
        (["--time-column", "date"], ["'date'"]),
        (["--station", "town"], ["'town'"]),
        (["--x", "east"], ["'east'"]),
        (["--crs", "EPSG:0"], ["EPSG:0"]),
    ],
)
def test_an_evaluation_names_the_column_that_is_missing(options, seen, towns):
    request = ["evaluate", towns.rows, "--model", towns.model, *QUICK]
    check_refused(geodiffrecon(*request, *options), seen)


def test_an_evaluation_names_a_zone_that_is_unknown(towns, tmp_path):
    own = pd.read_csv(towns.rows)
    own.assign(time=own["time"].str.slice(0, 19)).to_csv(tmp_path / "local.csv", index=False)
    request = ["evaluate", tmp_path / "local.csv", "--model", towns.model, *QUICK]
    check_refused(geodiffrecon(*request), ["--tz"])
    check_refused(geodiffrecon(*request, "--tz", "Mars/Base"), ["Mars/Base"])


def test_models_of_fine_maps_are_not_evaluated_with_columns(small):
    request = ["evaluate", small.history, "--model", small.model, "--pattern", "random"]
    more = ["--missing", 0.4, "--value", "PM", "--x", "east", "--station", "id"]
    ended = geodiffrecon(*request, *more)
    check_refused(ended, ["--value, --x, --station are only for models of stations"])
    for option in ("--time-column", "--tz", "--y"):
        check_refused(geodiffrecon(*request, "--missing", 0.4, option, "a"), [option])
