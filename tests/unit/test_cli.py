from __future__ import annotations

import contextlib
import json
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer

from geodiffrecon import __version__
from geodiffrecon.cli import app
from geodiffrecon.cli.inputs import PointOptions, external_features, refuse_points
from geodiffrecon.cli.mapping import Files, _files, _finish, _formats, write_maps
from geodiffrecon.cli.running import session
from geodiffrecon.cube import make_cube
from geodiffrecon.errors import Cancelled, InvalidParameter, NoObservations
from geodiffrecon.files.kinds import holds_points
from geodiffrecon.geotiff import MAX_BANDS

MANUAL = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
COMMANDS = [
    "map", "demo", "bin", "fit", "reconstruct", "evaluate", "compare", "plot", "info", "doctor",
]  # fmt: skip


def run(*arguments):
    """Return the exit code of a command in this process."""
    try:
        app(list(map(str, arguments)), prog_name="geodiffrecon")
    except SystemExit as end:
        return end.code or 0


def ended(form, error=None):
    """Return the exit code of a command whose body raises `error`."""
    try:
        with session(form) as running:
            if error is not None:
                raise error
            running.finish({"outputs": []}, ["done"])
    except typer.Exit as end:
        return end.exit_code
    return 0


def section_of(heading):
    """Return the part of the manual that is about a command."""
    parts = MANUAL.read_text(encoding="utf-8").split("\n## ")
    return next(part for part in parts if heading in part.splitlines()[0])


def events(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_help_comes_in_half_a_second():
    command = [sys.executable, "-m", "geodiffrecon", "--help"]
    seconds = []
    for _ in range(3):  # of the processor: other programs may run
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert min(seconds) < 0.5
    assert all(name in done.stdout for name in COMMANDS)


def test_the_command_line_loads_nothing_heavy():
    heavy = "{'torch', 'rasterio', 'pandas', 'scipy', 'xarray', 'geopandas', 'matplotlib'}"
    code = f"import sys, geodiffrecon.cli; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["--version", "-v"])
def test_it_says_its_version(name, capsys):
    assert run(name) == 0
    assert capsys.readouterr().out.strip() == f"geodiffrecon {__version__}"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_manual_names_every_option(command, capsys):
    assert run(command, "--help") == 0
    options = set(re.findall(r"^\s+(?:-\w, )?(--[a-z-]+)", capsys.readouterr().out, re.MULTILINE))
    described = section_of(command) + section_of("Options of every command")
    assert not {name for name in options if name not in described}


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["bin"],
        ["bin", "a.csv", "--out", "a.nc", "--freq", "1D", "--agg", "median"],
        ["fit", "a.nc", "--model", "m", "--aggregation", "mean"],
        ["info", "a.nc", "--progress", "loud"],
    ],
)
def test_wrong_usage_is_code_2(arguments, capsys):
    assert run(*arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_result_is_code_0(capsys):
    assert ended("terminal") == 0
    assert capsys.readouterr().out == "done\n"


def test_a_mistake_of_the_user_is_one_line_and_code_1(capsys):
    assert ended("terminal", NoObservations("Nothing\nis left.")) == 1
    assert capsys.readouterr().err == "Error: Nothing is left.\n"


def test_a_mistake_of_ours_is_one_line_and_tells_how_to_see_more(capsys):
    assert ended("terminal", KeyError("x")) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "KeyError" in error
    assert "GEODIFFRECON_DEBUG=1" in error


def test_debug_shows_the_traceback(capsys, monkeypatch):
    monkeypatch.setenv("GEODIFFRECON_DEBUG", "1")
    assert ended("terminal", KeyError("x")) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_broken_environment_is_no_mistake_of_ours(capsys):
    assert ended("terminal", ImportError("libtorch.so: cannot open shared object file")) == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: The Python environment of geodiffrecon is broken (libtorch.so")
    assert error.count("\n") == 1


def test_a_full_disk_is_no_mistake_of_ours(capsys):
    assert ended("terminal", OSError(28, "No space left on device", "/maps/a.tif")) == 1
    assert "No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["terminal", "json"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), Cancelled("stop")])
def test_cancelling_is_code_130(form, error):
    assert ended(form, error) == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_and_gives_the_handlers_back(number):
    before = signal.getsignal(number)
    with pytest.raises(typer.Exit) as end, session("terminal"):
        signal.raise_signal(number)
    assert end.value.exit_code == 130
    assert signal.getsignal(number) is before


def test_a_signal_that_was_swallowed_cancels_at_the_next_progress():
    code = 0
    try:
        with session("terminal") as running:
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)  # a second one must not disturb cleaning up
            running.progress(0, 1, "working")
    except typer.Exit as end:
        code = end.exit_code
    assert code == 130


def test_json_lines_end_with_a_result(capsys):
    with session("json") as running:
        running.log("One sentence.")
        for step in range(3):
            running.progress(step, 2, "working")
        running.finish({"outputs": ["a.nc"]}, ["not shown"])
    found = events(capsys)
    assert [event["event"] for event in found] == ["log", *["progress"] * 3, "result"]
    assert found[-2] == {"event": "progress", "value": 100, "message": "working"}
    assert found[-1]["outputs"] == ["a.nc"]


def test_json_lines_end_with_an_error(capsys):
    assert ended("json", NoObservations("Nothing is left.")) == 1
    assert events(capsys) == [{"event": "error", "message": "Nothing is left."}]


def test_points_files_are_known_by_their_names():
    points = ["a.csv", "a.csv.gz", "a.parquet", "a.gpkg", "a.shp", "a.geojson", "A.CSV"]
    maps = ["a.nc", "a.tif", "a.csv.nc4", "a"]
    assert all(holds_points(Path(name)) for name in points)
    assert not any(holds_points(Path(name)) for name in maps[:2] + maps[3:])


def test_points_are_no_history():
    with pytest.raises(InvalidParameter, match="points are for fit, reconstruct and evaluate"):
        refuse_points(Path("stations.csv"))


@pytest.mark.parametrize("text", ["", "geotiff,png", ","])
def test_unknown_formats_are_named(text):
    with pytest.raises(InvalidParameter, match="geotiff"):
        _formats(text)


def test_formats_may_have_blanks():
    assert _formats("geotiff, NetCDF") == ("geotiff", "netcdf")


def test_point_options_default_to_the_model():
    assert PointOptions() == PointOptions(None, "time", None, None, None, None, None, "auto")


def test_files_have_a_year_of_days_unless_said_otherwise(tmp_path):
    files = _files(tmp_path, "geotiff", split_time=False, max_bands=None)
    assert files == Files(tmp_path, ("geotiff",), split_time=False, max_bands=MAX_BANDS)
    with pytest.raises(InvalidParameter, match="--max-bands is 0"):
        _files(tmp_path, "geotiff", split_time=False, max_bands=0)


def maps_in(zone, freq, grid):
    """Return maps of four steps around a change of the clocks in Berlin."""
    first = "2024-10-26" if freq == "1D" else "2024-01-01"
    local = pd.date_range(first, periods=4, freq=freq, tz=zone)
    starts = local.tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[ns]")
    values = np.ones((4, *grid.box("coarse").shape), np.float32)
    maps = make_cube(values, starts, grid, value="pm25", level="coarse", freq=freq,
                     calendar_tz=zone, value_attrs={"units": "µg/m³"})  # fmt: skip
    return maps.assign_attrs(history_used=0)


@pytest.mark.parametrize(
    ("zone", "freq", "seen", "hours"),
    [
        ("Europe/Berlin", "1D", ["2024-10-26T22:00:00Z", "2024-10-27T23:00:00Z"], [24, 25, 24, 24]),
        ("Europe/Berlin", "MS", ["2024-01-31T23:00:00Z", "2024-02-29T23:00:00Z"],
         [744, 696, 743, 720]),
        ("UTC", "6h", ["2024-01-01T06:00:00Z", "2024-01-01T12:00:00Z"], [6] * 4),
    ],
)  # fmt: skip
def test_the_result_has_exact_calendar_intervals(zone, freq, seen, hours, grid, tmp_path, capsys):
    maps = maps_in(zone, freq, grid)
    files = _files(tmp_path / "maps", "geotiff", split_time=False, max_bands=3)
    with session("json") as running:
        written = write_maps(maps, files, progress=running.progress)
        _finish(running, maps, files.out, written, {})
    result = events(capsys)[-1]
    lengths = [
        (pd.Timestamp(high) - pd.Timestamp(low)) / pd.Timedelta("1h")
        for low, high in result["intervals"]
    ]
    assert lengths == hours
    assert result["intervals"][1] == seen
    assert (result["variable"], result["units"], result["netcdf"]) == ("pm25", "ug m-3", None)
    assert result["maps"] == {"mean": result["outputs"]}
    assert len(result["outputs"]) == 2


def test_external_features_come_from_several_files(tmp_path, cube):
    weather, land = tmp_path / "weather.csv", tmp_path / "land.nc"
    weather.write_text("time,wind\n2024-01-01T00:00Z,3\n2024-01-02T00:00Z,5\n")
    static = cube[["pm25"]].isel(time=0, drop=True).rename(pm25="height")
    static.drop_vars("time_bnds", errors="ignore").to_netcdf(land)
    said = []
    found = external_features([weather, land], "UTC", said.append)
    assert set(found.names) == {"wind", "height"}
    with pytest.raises(InvalidParameter, match="2 files hold external features per time"):
        external_features([weather, weather], "UTC", said.append)
    assert external_features(None, "UTC", said.append) is None
