"""The commands as users, cron and plugins run them: in their own process."""

from __future__ import annotations

import json
import signal
import subprocess

import numpy as np
import pandas as pd
import pytest

from geodiffrecon.cf import read_netcdf
from geodiffrecon.loading import load

from .conftest import UNTIL, command, geodiffrecon, surroundings

STATISTICS = ["mean", "std", "q05", "q50", "q95", "n_obs"]
PERIOD = ["--time", "2023-10-10", "2023-10-12"]


def reconstruct(small, observations, out, *more):
    request = ["reconstruct", observations, "--model", small.model, "--out", out]
    return geodiffrecon(*request, *more, "--progress", "json")


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def mapped(small, tmp_path_factory):
    """Return how `reconstruct` of points ended, and the folder of the maps."""
    out = tmp_path_factory.mktemp("mapped") / "maps"
    places = out.parent / "schools.csv"
    places.write_text("name,lon,lat\nnorth,116.1,40.9\nsouth,115.2,39.1\nfar,10,10\n")
    return reconstruct(small, small.points, out, *PERIOD, "--at", places), out


def test_points_become_maps_in_one_command(mapped):
    ended, out = mapped
    names = [f"pm25_{name}.tif" for name in STATISTICS] + ["pm25.nc", "pm25_at_schools.csv"]
    assert ended.result["outputs"] == [str(out / name) for name in names]
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    maps = read_netcdf(out / "pm25.nc")
    assert maps["pm25"].shape == (3, 16, 16)
    assert np.isfinite(maps["pm25"].values).all()
    assert str(maps["time"].values[0]) == "2023-10-09T16:00:00.000000000"


def test_every_row_of_the_points_is_accounted_for(mapped):
    counts = {k: v for k, v in mapped[0].result.items() if k.startswith("points_")}
    assert sum(counts.values()) == 12 * 18
    assert counts["points_outside"] == 18
    assert counts["points_missing"] == 2


def test_every_line_is_an_event_and_the_last_is_the_result(mapped):
    kinds = [event["event"] for event in mapped[0].events]
    assert set(kinds) <= {"progress", "log", "result"}
    assert kinds.index("result") == len(kinds) - 1
    values = [event["value"] for event in mapped[0].events if event["event"] == "progress"]
    assert values
    assert all(isinstance(value, int) and 0 <= value <= 100 for value in values)


def test_rows_at_points_carry_the_statistics_of_their_cells(mapped):
    ended, out = mapped
    table = pd.read_csv(out / "pm25_at_schools.csv", dtype={"time": str})
    assert list(table["name"]) == ["north", "south", "far"] * 3
    assert table["time"].iloc[0] == "2023-10-10T00:00+08:00"
    added = ["pm25_mean", "pm25_std", "pm25_q05", "pm25_q50", "pm25_q95"]
    far = table["name"] == "far"
    assert table.loc[far, added].isna().all(axis=None)
    maps = read_netcdf(out / "pm25.nc").sel(latitude=40.9, longitude=116.1, method="nearest")
    north = table[table["name"] == "north"]
    np.testing.assert_allclose(north["pm25_mean"], maps["pm25"].values, rtol=1e-5)
    np.testing.assert_allclose(north["pm25_q95"], maps["pm25_q95"].values, rtol=1e-5)
    assert any("1 of 3 rows" in event.get("message", "") for event in ended.events)


def test_one_seed_gives_the_same_bytes(small, tmp_path):
    for name in ("first", "second"):
        ended = reconstruct(
            small, small.coarse, tmp_path / name, *PERIOD, "--samples", 3, "--seed", 7
        )
        assert ended.code == 0, ended.err
    assert content(tmp_path / "first") == content(tmp_path / "second")


def test_draws_follow_the_seed(small, tmp_path):
    for seed in (1, 2):
        more = ["--samples", 2, "--seed", seed, "--format", "netcdf", *PERIOD]
        assert reconstruct(small, small.coarse, tmp_path / str(seed), *more).code == 0
    one, two = (read_netcdf(tmp_path / str(seed) / "pm25.nc") for seed in (1, 2))
    assert one["pm25_draws"].sizes["realization"] == 2
    assert not np.allclose(one["pm25_draws"], two["pm25_draws"])
    np.testing.assert_array_equal(one["pm25"], two["pm25"])


def test_a_cube_keeps_its_observed_cells(small, tmp_path):
    assert reconstruct(small, small.coarse, tmp_path / "maps", "--format", "netcdf").code == 0
    maps, seen = read_netcdf(tmp_path / "maps" / "pm25.nc"), read_netcdf(small.coarse)["pm25"]
    pooled = maps["pm25"].values.reshape(-1, 4, 4, 4, 4).mean(axis=(2, 4))
    known = np.isfinite(seen.values)
    assert known.any()
    np.testing.assert_allclose(pooled[known], seen.values[known], rtol=1e-4)


def test_a_coarse_cube_that_bin_made_loses_only_where_points_stand(small, mapped, tmp_path):
    cube = tmp_path / "cube.nc"
    request = ["bin", small.points, "--out", cube, "--freq", "1D", "--value", "pm25"]
    grid = ["--bounds", 115, 39, 117, 41, "--shape", 4, 4, "--factor", 4]
    assert geodiffrecon(*request, *grid, "--calendar-tz", "Asia/Shanghai").code == 0
    assert reconstruct(small, cube, tmp_path / "maps", *PERIOD, "--format", "netcdf").code == 0
    one, two = (read_netcdf(folder / "pm25.nc") for folder in (mapped[1], tmp_path / "maps"))
    np.testing.assert_array_equal(one["pm25_n_obs"], two["pm25_n_obs"])
    empty = one["pm25_n_obs"].values == 0
    np.testing.assert_allclose(one["pm25"].values[empty], two["pm25"].values[empty], rtol=1e-5)
    assert (one["pm25"].values != two["pm25"].values)[~empty].mean() > 0.9


def test_a_coarse_raster_with_holes_gives_the_same_maps_as_the_cube(small, tmp_path):
    from geodiffrecon.geotiff import write_geotiff

    (raster,) = write_geotiff(read_netcdf(small.coarse), tmp_path)
    folders = [tmp_path / "of-raster", tmp_path / "of-cube"]
    for source, folder in zip((raster, small.coarse), folders, strict=True):
        assert reconstruct(small, source, folder, *PERIOD, "--format", "netcdf").code == 0
    one, two = (read_netcdf(folder / "pm25.nc") for folder in folders)
    np.testing.assert_array_equal(one["pm25"], two["pm25"])


def test_split_time_writes_a_file_a_step(small, tmp_path):
    more = ["--format", "geotiff", "--split-time", *PERIOD]
    assert reconstruct(small, small.coarse, tmp_path / "maps", *more).code == 0
    days = ["20231010", "20231011", "20231012"]
    names = {path.name for path in (tmp_path / "maps").iterdir()}
    assert names == {f"pm25_{name}_{day}.tif" for name in STATISTICS for day in days}


def test_evaluate_scores_every_method(small, tmp_path):
    scores, page = tmp_path / "scores.json", tmp_path / "page.html"
    request = ["evaluate", small.history, "--model", small.model, "--pattern", "random"]
    more = ["--missing", 0.4, "--masks", 2, "--samples", 4, "--json", scores, "--report", page]
    ended = geodiffrecon(*request, *more)
    assert ended.code == 0, ended.err
    assert "MAE" in ended.out
    result = json.loads(scores.read_text())
    assert {row["method"] for row in result["rows"]} >= {"prior"}
    wanted = {"mae", "rmse", "bias", "crps", "coverage50", "coverage90", "seconds", "peak_mb"}
    assert all(wanted <= set(row) for row in result["rows"])
    assert result["model_hash"] in page.read_text(encoding="utf-8")


def test_evaluate_refuses_frames_that_were_seen(small):
    request = ["evaluate", small.history, "--model", small.model, "--pattern", "fixed"]
    more = ["--missing", 0.4, "--masks", 1, "--samples", 2, "--from", "2023-09-01"]
    refused = geodiffrecon(*request, *more)
    assert refused.code == 1
    assert "--in-sample" in refused.err
    allowed = geodiffrecon(*request, *more, "--in-sample")
    assert allowed.code == 0, allowed.err
    assert "IN-SAMPLE" in allowed.out


def test_info_describes_models_cubes_maps_and_points(small, mapped):
    model = geodiffrecon("info", small.model, "--progress", "json").result
    assert model["value"] == "pm25"
    assert "4 × 4" in model["grid"]
    raster = geodiffrecon("info", mapped[1] / "pm25_mean.tif", "--progress", "json").result
    assert raster["crs"] == "EPSG:4326"
    assert raster["times"].startswith("3 from 2023-10-09T16:00:00Z")
    assert "16 × 16" in geodiffrecon("info", small.history).out
    assert "station, lon, lat, time, pm25" in geodiffrecon("info", small.points).out


def test_doctor_finds_nothing_wrong_here():
    ended = geodiffrecon("doctor")
    assert ended.code == 0, ended.out
    for name in ("GDAL", "PROJ", "torch", "threads", "memory"):
        assert name in ended.out


def test_doctor_says_plainly_what_is_wrong(tmp_path):
    ended = geodiffrecon("doctor", GDAL_DATA=str(tmp_path / "nowhere"))
    assert ended.code == 1
    assert f"Wrong: GDAL_DATA is '{tmp_path / 'nowhere'}'" in ended.out


def by_signal(running):
    running.send_signal(signal.SIGTERM)


def by_closing_its_input(running):
    running.stdin.close()
    running.stdin = None


def cancelled_during(phase, *arguments, how=by_signal):
    """Return how a command ended that was cancelled at its first progress of a phase."""
    with subprocess.Popen(
        command(*arguments, "--progress", "json"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=surroundings() | {"GEODIFFRECON_LIFELINE": "1"},
    ) as running:
        for line in running.stdout:
            event = json.loads(line)
            if event["event"] == "progress" and event["message"].startswith(phase):
                how(running)
                break
        rest, errors = running.communicate(timeout=60)
    events = [json.loads(line)["event"] for line in rest.splitlines()]
    return running.returncode, events, errors


@pytest.mark.parametrize("how", [by_signal, by_closing_its_input])
def test_a_cancelled_fit_leaves_nothing_behind(small, tmp_path, how):
    options = ["--factor", 4, "--aggregation", "mean", "--until", UNTIL]
    model = tmp_path / "new.gdr"
    code, events, errors = cancelled_during(
        "mean completion", "fit", small.history, "--model", model, *options, how=how
    )
    assert code == 130, errors
    assert events[-1] == "error"
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_a_cancelled_reconstruct_leaves_nothing_behind(small, tmp_path):
    code, events, errors = cancelled_during(
        "binning points", "reconstruct", small.points, "--model", small.model,
        "--out", tmp_path / "maps", "--samples", 50,
    )  # fmt: skip
    assert code == 130, errors
    assert events[-1] == "error"
    assert list(tmp_path.iterdir()) == []


def test_cancelling_while_files_are_written_leaves_nothing_behind(small, tmp_path, monkeypatch):
    from geodiffrecon import cf
    from geodiffrecon.cli import app

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(cf, "write_netcdf", interrupted)
    arguments = ["reconstruct", small.coarse, "--model", small.model, "--out", tmp_path / "maps"]
    with pytest.raises(SystemExit) as end:
        app([*map(str, arguments), *PERIOD])
    assert end.value.code == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_fit_makes_a_model_that_reconstruct_can_use(small, tmp_path):
    options = ["--factor", 4, "--aggregation", "mean", "--until", UNTIL, "--preset", "tiny"]
    model = tmp_path / "new.gdr"
    ended = geodiffrecon(
        "fit", small.history, "--model", model, *options, "--max-minutes", 0.2,
        "--progress", "json",
    )  # fmt: skip
    assert ended.result["outputs"] == [str(model)]
    assert ended.result["end"] <= "2023-09-30T16:00:00Z"
    names = sorted(path.name for path in model.iterdir())
    assert names == ["config.json", f"model-{load(model).model_hash}.safetensors"]
    request = ["reconstruct", small.points, "--model", model, "--out", tmp_path / "maps"]
    assert geodiffrecon(*request, *PERIOD).code == 0


def test_fit_does_not_train_for_a_folder_that_it_may_not_replace(small, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    options = ["--factor", 4, "--aggregation", "mean", "--model", tmp_path / "letters"]
    ended = geodiffrecon("fit", small.history, *options)
    assert ended.code == 1
    assert "letters holds a.txt" in ended.err
