"""``geodiffrecon plot`` on what the other commands write, and on what is no result."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from geodiffrecon.cf import read_netcdf, write_netcdf
from geodiffrecon.cli import app
from geodiffrecon.geotiff import write_geotiff

from .conftest import geodiffrecon, history_cube

pytest.importorskip("matplotlib")
from matplotlib.image import imread

MANUAL = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


@pytest.fixture(scope="module")
def maps(small, tmp_path_factory):
    """Return the folder of three mapped days."""
    folder = tmp_path_factory.mktemp("maps")
    period = ["--time", "2023-10-10", "2023-10-12"]
    ended = geodiffrecon("reconstruct", small.coarse, "--model", small.model, "--out", folder,
                         *period)  # fmt: skip
    assert ended.code == 0, ended.err
    return folder


def plot(capsys, *arguments):
    """Return exit code, output and errors of `plot` in this process."""
    try:
        app(["plot", *map(str, arguments)], prog_name="geodiffrecon")
    except SystemExit as end:
        said = capsys.readouterr()
        return end.code or 0, said.out, said.err


def drawn(capsys, out, *arguments):
    """Return height and width of the picture that a request draws."""
    code, said, error = plot(capsys, *arguments, "--out", out)
    assert code == 0, error
    assert str(out) in said
    picture = imread(out)
    assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 200
    return picture.shape[:2]


def test_a_folder_of_maps_becomes_a_picture(maps, tmp_path):
    ended = geodiffrecon("plot", maps, "--out", tmp_path / "new" / "a.png", "--progress", "json")
    assert ended.result["outputs"] == [str(tmp_path / "new" / "a.png")]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]


def test_the_picture_lies_beside_the_result(maps, tmp_path, capsys):
    result = tmp_path / "mine.nc"
    result.write_bytes((maps / "pm25.nc").read_bytes())
    assert plot(capsys, result)[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.nc", "mine.png"]


def test_truth_and_points_are_more_panels(maps, small, tmp_path, capsys):
    day = ["--time", "2023-10-11"]
    alone = drawn(capsys, tmp_path / "a.png", maps, *day)
    truth = drawn(capsys, tmp_path / "b.png", maps, *day, "--truth", small.history)
    all_ = drawn(capsys, tmp_path / "c.png", maps, *day, "--truth", small.history,
                 "--points", small.points)  # fmt: skip
    assert alone[0] == truth[0] == all_[0]
    widths = [round(size[1] / 368.5, 1) for size in (alone, truth, all_)]
    assert widths == [2, 4, 5]


def test_each_time_is_a_row(maps, tmp_path, capsys):
    times = ["--time", "2023-10-10", "--time", "2023-10-12"]
    one = drawn(capsys, tmp_path / "a.png", maps, *times[:2], "--title", "One day")
    two = drawn(capsys, tmp_path / "b.png", maps, *times)
    assert two[0] > 1.5 * one[0]


def test_surfaces_show_the_truth_or_the_error(maps, small, tmp_path, capsys):
    wanted = ["--surface", "--time", "2023-10-11"]
    assert drawn(capsys, tmp_path / "a.png", maps, *wanted) == (650, 1001)
    more = ["--truth", small.history]
    assert drawn(capsys, tmp_path / "b.png", maps, *wanted, *more) == (650, 1456)


def test_a_geotiff_shows_its_statistic(maps, tmp_path, capsys):
    assert drawn(capsys, tmp_path / "a.png", maps / "pm25_std.tif", "--time", "2023-10-11")[1] < 600
    only = tmp_path / "only"
    only.mkdir()
    (only / "pm25_mean.tif").write_bytes((maps / "pm25_mean.tif").read_bytes())
    drawn(capsys, tmp_path / "b.png", only)


def test_coarse_cubes_and_their_truth_are_drawn(small, tmp_path, capsys):
    day = ["--time", "2023-10-11"]
    drawn(capsys, tmp_path / "a.png", small.coarse, *day, "--truth", small.history)
    (raster,) = write_geotiff(read_netcdf(small.coarse), tmp_path)
    drawn(capsys, tmp_path / "b.png", raster, *day, "--surface")


def test_figure_ten_shows_patterns_as_rows(small, tmp_path, capsys):
    request = [small.history, "--model", small.model]
    three = drawn(capsys, tmp_path / "three.png", *request, "--time", "2023-10-12")
    assert three == (1430, 1456)
    one = drawn(capsys, tmp_path / "one.png", *request, "--patterns", "Block", "--device", "cpu")
    assert one == (650, 1456)
    more = ["--patterns", "random", "--missing", 0.6, "--seed", 3]
    again = [tmp_path / "again.png", tmp_path / "same.png"]
    for path in again:
        drawn(capsys, path, *request, *more)
    assert again[0].read_bytes() == again[1].read_bytes()


def no_such_time(folder, maps, small):
    return [maps, "--time", "2024-03-01"], ["2024-03-01", "2023-10-09T16:00:00Z"]


def no_time(folder, maps, small):
    return [maps, "--time", "a Tuesday"], ["'a Tuesday'"]


def no_file(folder, maps, small):
    return [folder / "absent.nc"], ["absent.nc does not exist"]


def no_result(folder, maps, small):
    path = folder / "letter.nc"
    path.write_text("dear")
    return [path], ["letter.nc cannot be read"]


def no_raster(folder, maps, small):
    path = folder / "letter.tif"
    path.write_text("dear")
    return [path], ["letter.tif cannot be read"]


def empty_folder(folder, maps, small):
    return [folder], ["holds no maps"]


def several_results(folder, maps, small):
    for name in ("a.nc", "b.nc"):
        (folder / name).write_bytes((maps / "pm25.nc").read_bytes())
    return [folder], ["2 results (a.nc, b.nc)"]


def points_as_maps(folder, maps, small):
    return [small.points], ["points.csv holds points", "--points"]


def truth_of_another_grid(folder, maps, small):
    write_netcdf(history_cube(shape=(3, 3), bounds=(116, 39, 118, 41)), folder / "truth.nc")
    return [maps, "--truth", folder / "truth.nc"], ["grid", "warp the file"]


def truth_of_another_time(folder, maps, small):
    write_netcdf(history_cube(days=20), folder / "truth.nc")
    return [maps, "--truth", folder / "truth.nc"], ["The truth has no map", "2023-06-19T16:00:00Z"]


def truth_without_the_time_asked_for(folder, maps, small):
    cube = read_netcdf(small.history)
    wanted = np.flatnonzero(cube["time"].values < np.datetime64("2023-10-11"))
    write_netcdf(cube.isel(time=wanted), folder / "truth.nc")
    return [maps, "--truth", folder / "truth.nc", "--time", "2023-10-12"], ["no map at 2023-10-11"]


def unknown_variable(folder, maps, small):
    return [maps, "--truth", small.history, "--variable", "no2"], ["'no2'", "pm25"]


def unknown_column(folder, maps, small):
    return [maps, "--points", small.points, "--value", "no2"], ["'no2'", "pm25"]


def unknown_pattern(folder, maps, small):
    return [small.history, "--model", small.model, "--patterns", "stripes"], ["'stripes'", "block"]


def wrong_share(folder, maps, small):
    return [small.history, "--model", small.model, "--missing", 1.5], ["1.5"]


def a_time_seen_in_training(folder, maps, small):
    return [small.history, "--model", small.model, "--time", "2023-07-01"], ["2023-07-01", "later"]


def truth_of_a_history(folder, maps, small):
    return [small.history, "--model", small.model, "--truth", small.history], ["--truth"]


def two_times_of_a_history(folder, maps, small):
    times = ["--time", "2023-10-10", "--time", "2023-10-11"]
    return [small.history, "--model", small.model, *times], ["2 times"]


def points_on_surfaces(folder, maps, small):
    return [maps, "--surface", "--points", small.points], ["flat maps only"]


def another_form(folder, maps, small):
    return [maps, "--out", folder / "a.jpg"], ["a.jpg", ".png"]


@pytest.mark.parametrize(
    "mistake",
    [
        no_such_time, no_time, no_file, no_result, no_raster, empty_folder, several_results,
        points_as_maps, truth_of_another_grid, truth_of_another_time,
        truth_without_the_time_asked_for, unknown_variable, unknown_column, unknown_pattern,
        wrong_share, a_time_seen_in_training, truth_of_a_history, two_times_of_a_history,
        points_on_surfaces, another_form,
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_and_leaves_nothing(mistake, maps, small, tmp_path, capsys):
    request, words = mistake(tmp_path, maps, small)
    before = sorted(tmp_path.iterdir()), sorted(maps.iterdir())
    more = [] if "--out" in request else ["--out", tmp_path / "picture.png"]
    code, _, error = plot(capsys, *request, *more)
    assert code == 1
    sentence = error.strip().splitlines()[-1]
    assert sentence.startswith("Error: ")
    assert "Unexpected" not in sentence
    assert all(word in sentence for word in words), sentence
    assert (sorted(tmp_path.iterdir()), sorted(maps.iterdir())) == before


def test_without_matplotlib_it_says_what_to_install(maps, tmp_path, capsys, monkeypatch):
    from geodiffrecon import picture

    monkeypatch.setattr(picture.importlib.util, "find_spec", lambda name: None)
    code, _, error = plot(capsys, maps, "--out", tmp_path / "a.png")
    assert code == 1
    assert "pip install 'geodiffrecon[plot]'" in error
    assert list(tmp_path.iterdir()) == []


def test_cancelling_while_the_picture_is_written_leaves_nothing(
    maps, tmp_path, capsys, monkeypatch
):
    from matplotlib.figure import Figure

    def interrupted(self, path, **options):
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Figure, "savefig", interrupted)
    assert plot(capsys, maps, "--out", tmp_path / "a.png")[0] == 130
    assert list(tmp_path.iterdir()) == []


def test_the_manual_names_every_option(capsys):
    code, help_page, _ = plot(capsys, "--help")
    assert code == 0
    options = set(re.findall(r"^\s+(?:-\w, )?(--[a-z-]+)", help_page, re.MULTILINE))
    parts = MANUAL.read_text(encoding="utf-8").split("\n## ")
    described = "".join(part for part in parts if part.startswith(("plot", "Options of every")))
    assert "--surface" in options
    assert not {name for name in options if name not in described}
