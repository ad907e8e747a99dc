"""The pages for agencies, run as they stand: stations.md and the script of cron.md."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from geodiffrecon.cf import read_netcdf

from .conftest import surroundings

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# The commands of the pages, with options that make them quick; the last of an option counts.
QUICKLY = f"""
geodiffrecon() {{
    command=$1
    shift
    case "$command" in
        fit) set -- "$@" --preset tiny --max-minutes 0.3 ;;
        evaluate) set -- "$@" --folds 2 --every 6 --samples 8 --max-minutes 0.1 ;;
    esac
    "{sys.executable}" -m geodiffrecon "$command" "$@"
}}
"""

pytestmark = pytest.mark.slow


def blocks(page):
    """Return the shell commands of a page of the manual, block by block."""
    return BLOCK.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))


def shell(script, folder, *arguments):
    done = subprocess.run(
        ["bash", "-euc", QUICKLY + script, "daily", *arguments],
        cwd=folder, capture_output=True, text=True, env=surroundings(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """Return a folder in which all blocks of the tutorial ran, and what each of them said."""
    folder = tmp_path_factory.mktemp("desk")
    os.symlink(ROOT / "sample_data", folder / "sample_data")
    return folder, [shell(block, folder) for block in blocks("stations.md")]


def test_the_tutorial_leads_from_the_file_to_the_report(desk):
    folder, said = desk
    assert "station, longitude, latitude, time, pm25" in said[0]
    assert "Data quality" in said[1]
    assert isinstance(json.loads((folder / "quality.json").read_text()), list)
    maps = read_netcdf(folder / "maps" / "pm25.nc")
    assert maps["pm25"].shape == (7, 32, 32)
    for name in ("std", "q25", "q75", "exceed_35", "exceed_75", "distance", "information"):
        assert f"pm25_{name}" in maps
    assert (folder / "maps.png").stat().st_size > 10_000
    assert "MAE" in said[-1]
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")


def test_the_schools_of_the_tutorial_get_their_numbers(desk):
    found = pd.read_csv(desk[0] / "maps" / "pm25_at_schools.csv")
    assert list(found["school"]) == ["North Gate", "River Bank", "Hill View"] * 7
    assert found["time"].iloc[0] == "2023-12-01T00:00+08:00"
    assert found[["mean", "std", "q05", "q95", "exceed_35"]].notna().all(axis=None)


def test_the_daily_script_maps_day_after_day(desk):
    folder, _ = desk
    (script,) = blocks("cron.md")
    script = script.replace("/srv/pm25", str(folder))
    (folder / "incoming").mkdir()
    (folder / "weather.csv").write_bytes((ROOT / "sample_data" / "weather.csv").read_bytes())
    rows = pd.read_csv(ROOT / "sample_data" / "stations.csv", dtype=str)
    days = ["2023-12-01", "2023-12-02", "2023-12-03"]
    for day in days:
        mine = rows[rows["time"].str.startswith(day)]
        mine.to_csv(folder / "incoming" / f"{day}.csv", index=False)
        assert shell(script, folder, day) == ""
    used = [read_netcdf(folder / "maps" / day / "pm25.nc").attrs["history_used"] for day in days]
    assert used[0] == 0
    assert list(map(int, used)) == sorted(map(int, used))
    last = json.loads((folder / "log" / f"{days[1]}.jsonl").read_text().splitlines()[-1])
    assert last["event"] == "result"
    before = (folder / "maps" / days[1] / "pm25.nc").read_bytes()
    shell(script, folder, days[1])
    assert (folder / "maps" / days[1] / "pm25.nc").read_bytes() == before


def test_the_daily_script_says_what_failed(desk):
    folder, _ = desk
    (script,) = blocks("cron.md")
    done = subprocess.run(
        ["bash", "-euc", QUICKLY + script.replace("/srv/pm25", str(folder)), "daily", "1999-01-01"],
        cwd=folder, capture_output=True, text=True, env=surroundings(),
    )  # fmt: skip
    assert done.returncode == 1
    assert "1999-01-01.csv does not exist" in done.stderr
    assert not (folder / "maps" / "1999-01-01").exists()
