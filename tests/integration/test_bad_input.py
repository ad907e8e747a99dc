"""Ten mistakes of users: each is one sentence with the value seen, and exit code 1."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from geodiffrecon.cf import write_netcdf

from .conftest import geodiffrecon, history_cube

GRID = ["--bounds", 115, 39, 117, 41, "--shape", 4, 4]
ROWS = "2023-09-20T00:00+08:00,116.1,40.2,35\n2023-09-21T00:00+08:00,116.3,40.1,41\n"


def csv(folder, text, header="time,lon,lat,pm25"):
    path = folder / "points.csv"
    path.write_text(f"{header}\n{text}")
    return path


def binned(points, *more):
    return ["bin", points, "--out", points.parent / "cube.nc", "--freq", "1D", *GRID, *more]


def no_crs(folder, small):
    points = csv(folder, ROWS, header="time,east,north,pm25")
    return binned(points, "--value", "pm25", "--x", "east", "--y", "north"), ["CRS", "points.csv"]


def wrong_column(folder, small):
    return binned(csv(folder, ROWS), "--value", "pm52"), ["'pm52'", "pm25"]


def unparsable_time(folder, small):
    points = csv(folder, ROWS + "a Tuesday,116.1,40.2,35\n")
    return binned(points, "--value", "pm25"), ["'a Tuesday'", "2024-01-31T06:00+08:00"]


def naive_time(folder, small):
    points = csv(folder, ROWS.replace("+08:00", ""))
    return binned(points, "--value", "pm25"), ["2023-09-20T00:00:00", "--tz"]


def no_point_inside(folder, small):
    points = csv(folder, ROWS.replace("116.", "11.6"))
    return binned(points, "--value", "pm25"), ["11.61", "inside the grid"]


def all_values_missing(folder, small):
    points = csv(folder, ROWS.replace(",35", ",").replace(",41", ",-999"))
    return binned(points, "--value", "pm25"), ["All 2 rows"]


def fit(history, folder, factor=4):
    options = ["--aggregation", "mean", "--factor", factor, "--preset", "tiny"]
    return ["fit", history, "--model", folder / "new.gdr", *options]


def factor_that_does_not_divide(folder, small):
    return fit(small.history, folder, factor=3), ["16", "factor 3", "--trim"]


def raster_without_time(folder, small):
    path = folder / "plain.tif"
    profile = {"driver": "GTiff", "dtype": "float32", "count": 2, "height": 8, "width": 8}
    place = {"crs": "EPSG:4326", "transform": from_origin(115, 41, 0.25, 0.25)}
    with rasterio.open(path, "w", **profile, **place) as target:
        target.write(np.ones((2, 8, 8), dtype=np.float32))
    return fit(path, folder), ["plain.tif", "time"]


def truncated_netcdf(folder, small):
    path = folder / "cut.nc"
    path.write_bytes(small.history.read_bytes()[:20_000])
    return fit(path, folder), ["cut.nc"]


def model_of_another_grid(folder, small):
    path = folder / "elsewhere.nc"
    write_netcdf(history_cube(days=3, bounds=(105, 29, 107, 31)), path)
    return [
        "reconstruct", path, "--model", small.model, "--out", folder / "maps",
    ], ["105", "115", "grid"]  # fmt: skip


MISTAKES = [
    no_crs, wrong_column, unparsable_time, naive_time, no_point_inside, all_values_missing,
    factor_that_does_not_divide, raster_without_time, truncated_netcdf, model_of_another_grid,
]  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_mistake_is_one_sentence_and_code_1(mistake, small, tmp_path):
    arguments, seen = mistake(tmp_path, small)
    before = sorted(tmp_path.iterdir())
    ended = geodiffrecon(*arguments)
    errors = [line for line in ended.err.splitlines() if line.startswith("Error:")]
    assert ended.code == 1
    assert len(errors) == 1, ended.err
    assert "Traceback" not in ended.out + ended.err
    assert "Unexpected" not in errors[0]
    assert errors[0].endswith(".")
    for text in seen:
        assert text in errors[0]
    assert sorted(tmp_path.iterdir()) == before  # nothing is left behind


@pytest.mark.parametrize("mistake", [naive_time, truncated_netcdf], ids=["bin", "fit"])
def test_a_mistake_is_an_error_event_for_programs(mistake, small, tmp_path):
    arguments, seen = mistake(tmp_path, small)
    ended = geodiffrecon(*arguments, "--progress", "json")
    assert ended.code == 1
    assert ended.err == ""
    assert ended.events[-1]["event"] == "error"
    assert all(text in ended.events[-1]["message"] for text in seen)
