"""The demo: what it writes, what it says, and that it beats what a GIS would do."""

from __future__ import annotations

import json

import numpy as np
import pytest

from geodiffrecon import demo
from geodiffrecon.cf import read_netcdf
from geodiffrecon.cli import app
from geodiffrecon.errors import UnreadableFile

NAMES = [f"pm25_{name}.tif" for name in ("mean", "std", "q05", "q50", "q95", "n_obs")]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return what the demo made, and its folder."""
    out = tmp_path_factory.mktemp("demo") / "maps"
    return demo.run_demo(out), out


def test_it_writes_geotiffs_a_netcdf_and_a_picture(made):
    result, out = made
    assert sorted(path.name for path in out.iterdir()) == sorted([*NAMES, "pm25.nc", "pm25.png"])
    assert {path.name for path in result.files} == {path.name for path in out.iterdir()}
    assert (out / "pm25.png").read_bytes().startswith(PNG)


def test_it_maps_only_days_that_the_model_has_not_seen(made):
    result, out = made
    assert result.days == ("2023-09-01", "2023-12-31")
    maps = read_netcdf(out / "pm25.nc")
    assert maps.sizes["time"] == 122
    assert np.isfinite(maps["pm25"].values).all()
    seen_until = json.loads((demo.sample_folder() / "pm25.gdr/config.json").read_text())
    end = np.datetime64(seen_until["about"]["trained"]["end"].rstrip("Z"))
    assert maps["time"].values[0] >= end


def test_it_beats_inverse_distance_weighting_and_climatology(made):
    result, _ = made
    assert result.mae < 0.9 * result.mae_idw
    assert result.mae_idw < result.mae_climatology
    assert result.mae < result.rmse


def test_its_intervals_hold_most_of_the_truth(made):
    assert 0.8 < made[0].coverage90 < 0.97


def test_its_scores_are_those_of_the_files(made):
    result, out = made
    from geodiffrecon.history import open_history

    truth = open_history(demo.sample_folder() / "truth.nc", factor=4)["pm25"]
    maps = read_netcdf(out / "pm25.nc")["pm25"]
    difference = maps.values - truth.sel(time=maps["time"]).values
    assert np.abs(difference).mean() == pytest.approx(result.mae, rel=1e-5)


def test_the_command_prints_where_the_maps_are_and_how_good(made, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        app(["demo", "--out", str(tmp_path / "maps")])
    assert not end.value.code
    said = capsys.readouterr().out
    for text in (f"{made[0].mae:.2f}", f"{made[0].mae_idw:.2f}", "pm25_mean.tif", "pm25.png"):
        assert text in said
    again = {path.name: path.read_bytes() for path in (tmp_path / "maps").iterdir()}
    assert again == {path.name: path.read_bytes() for path in made[1].iterdir()}


def test_missing_sample_data_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "__file__", str(tmp_path / "geodiffrecon" / "demo.py"))
    with pytest.raises(UnreadableFile, match=r"truth\.nc"):
        demo.sample_folder()
