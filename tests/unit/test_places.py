"""Outputs never take the place of inputs or of each other, and are tried before the work."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from geodiffrecon import archive
from geodiffrecon.cf import write_netcdf
from geodiffrecon.cli import app
from geodiffrecon.cube import make_cube
from geodiffrecon.demo import sample_folder
from geodiffrecon.grid import NestedGrid


def run(*arguments):
    return CliRunner().invoke(app, [str(part) for part in arguments])


def refused(*arguments, because):
    ended = run(*arguments)
    assert ended.exit_code == 1, ended.output
    assert because in " ".join(ended.output.split())


@pytest.fixture
def history(tmp_path):
    grid = NestedGrid.from_bounds((0, 0, 8, 8), crs=None, shape=(2, 2), factor=4)
    days = np.datetime64("2024-01-01", "ns") + np.arange(4) * np.timedelta64(1, "D")
    values = np.random.default_rng(0).random((4, 8, 8))
    cube = make_cube(values, days, grid, value="v", level="fine", freq="1D", calendar_tz="UTC")
    return write_netcdf(cube, tmp_path / "in.nc")


@pytest.fixture
def points(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "zinc.csv"
    pd.DataFrame({"x": rng.random(30), "y": rng.random(30), "zinc": rng.random(30)}).to_csv(path)
    return path


def test_an_output_is_no_input(history, points, tmp_path):
    before = history.read_bytes()
    compare = ["compare", history, "--factor", 4, "--aggregation", "mean"]
    refused(*compare, "--json", tmp_path / "a.json", "--report", history, because="given twice")
    refused(*compare, "--json", tmp_path / "." / "in.nc", because="given twice")
    refused(*compare, "--json", tmp_path / "a", "--report", tmp_path / "a", because="given twice")
    (tmp_path / "link.csv").symlink_to(points)
    refused("bin", points, "--freq", "1D", "--out", tmp_path / "link.csv", because="given twice")
    assert history.read_bytes() == before
    assert "zinc" in points.read_text()


def test_a_map_never_replaces_the_file_that_it_is_made_of(points, tmp_path):
    given = ["--value", "zinc", "--crs", "EPSG:4326", "--out", tmp_path]
    assert run("map", points, *given).exit_code == 0
    made = tmp_path / "zinc.nc"
    before = made.read_bytes()
    refused("map", made, "--variable", "zinc", "--out", tmp_path, because="zinc.nc is an input")
    assert made.read_bytes() == before


def test_a_place_that_cannot_be_written_is_said_before_the_work(points):
    refused("map", points, "--value", "zinc", "--crs", "none", "--out", points / "maps",
            because="cannot be written (zinc.csv is a file)")  # fmt: skip


def test_names_in_a_model_reach_no_other_folder(tmp_path):
    config, arrays = archive.read(sample_folder() / "pm25.gdr")
    config["about"]["variable"]["name"] = "/../../x"
    archive.write(tmp_path / "m.gdr", config, arrays)
    mine = tmp_path / "x.nc"
    mine.write_text("mine")
    ended = run(
        "reconstruct", sample_folder() / "stations.csv", "--model", tmp_path / "m.gdr",
        "--value", "pm25", "--time", "2023-12-01", "2023-12-01", "--out", tmp_path / "a" / "maps",
    )  # fmt: skip
    assert ended.exit_code == 0, ended.output
    assert mine.read_text() == "mine"
    made = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")}
    assert made == {"a", "m.gdr", "x.nc"}
