"""What a review of the station commands found to be silent or unclear."""

from __future__ import annotations

import pandas as pd
import pytest

from .test_stations_cli import COLUMNS, GRID, QUICK, STEPS, geodiffrecon, readings

DAY = ["--time", "2024-03-08T00:00", "2024-03-08T23:00"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with eight days of stations, three of them with weather, and a model."""
    folder = tmp_path_factory.mktemp("review")
    rows = readings()
    rows[rows["time"] < "2024-03-09"].to_csv(folder / "all.csv", index=False)
    hours = pd.date_range("2024-02-29T16:00", periods=7 * 24, freq="1h", tz="UTC")
    weather = pd.DataFrame({"time": hours.strftime("%Y-%m-%dT%H:%M:%SZ"), "wind_u": 2.0,
                            "wind_v": range(len(hours))})  # fmt: skip
    weather.to_csv(folder / "weather.csv", index=False)
    ended = geodiffrecon(
        "fit", folder / "all.csv", *COLUMNS, *STEPS, *GRID, *QUICK, "--model", folder / "m.gdr",
        "--until", "2024-03-07", "--external", folder / "weather.csv",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    return folder


def mapped(folder, *more):
    return geodiffrecon(
        "reconstruct", folder / "all.csv", "--model", folder / "m.gdr", "--out", folder / "maps",
        "--format", "netcdf", *more,
    )  # fmt: skip


def test_steps_without_weather_are_mapped_and_said(folder):
    ended = mapped(folder, *DAY, "--external", folder / "weather.csv")
    assert ended.code == 0, ended.err
    assert "24 of 24 mapped steps lack external features" in ended.out + ended.err


def test_evaluation_needs_the_features_of_the_model(folder):
    ended = geodiffrecon("evaluate", folder / "all.csv", "--model", folder / "m.gdr", "--folds", 2)
    assert ended.code == 1
    assert "fitted with the external feature 'wind_u', which is missing" in ended.err


@pytest.mark.parametrize(
    ("options", "code", "seen"),
    [
        (["--time", "2024-03-08", "2024-03-07"], 1, "back to 2024-03-07; give the earlier time"),
        (["--seed", "-1"], 2, "'--seed': Input should be"),
        (["--samples", "-3"], 2, "'--samples': Input should be"),
    ],
)
def test_wrong_requests_name_what_they_saw(options, code, seen, folder):
    ended = mapped(folder, *options, "--external", folder / "weather.csv")
    assert ended.code == code
    assert seen in ended.out + ended.err
    assert "mistake of geodiffrecon" not in ended.out + ended.err
