"""A small fitted model, its history and its observations, made once for all integration tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geodiffrecon.cf import write_netcdf
from geodiffrecon.cube import aggregate, make_cube
from geodiffrecon.grid import NestedGrid
from geodiffrecon.model import DiffRecon
from geodiffrecon.presets import preset
from geodiffrecon.synthetic import plumes

ZONE = "Asia/Shanghai"
FIRST = np.datetime64("2023-05-31T16:00", "ns")  # midnight of June 1 in the zone
DAYS, UNTIL = 140, "2023-10-01"


@dataclass(frozen=True)
class Small:
    """Paths of a small world: history, coarse observations with holes, points, model."""

    history: Path
    coarse: Path
    points: Path
    model: Path
    grid: NestedGrid


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def events(self):
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def result(self):
        assert self.code == 0, self.err
        return self.events[-1]


def command(*arguments):
    return [sys.executable, "-m", "geodiffrecon", *map(str, arguments)]


def surroundings():
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def geodiffrecon(*arguments, **environment):
    """Run the command line as a user does, in its own process."""
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, env=surroundings() | environment
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def few_steps(layer):
    return replace(layer, widths=(8,), blocks=1, d=min(layer.d, 8), steps=6)


def small_settings():
    """Return settings that train in seconds; the model is bad but whole."""
    tiny = preset("tiny")
    layers = ("completion_mean", "refinement_mean", "completion_diffusion", "refinement_diffusion")
    return replace(
        tiny,
        members=3,
        variants=2,
        pattern=4,
        joint_steps=3,
        chain=replace(tiny.chain, levels=10, steps=2),
        **{name: few_steps(getattr(tiny, name)) for name in layers},
    )


def history_cube(days=DAYS, shape=(4, 4), bounds=(115, 39, 117, 41), factor=4):
    grid = NestedGrid.from_bounds(bounds, crs="EPSG:4326", shape=shape, factor=factor)
    return make_cube(
        plumes(grid.fine_shape, days, seed=1),
        FIRST + np.arange(days) * np.timedelta64(86_400_000_000_000, "ns"),
        grid,
        value="pm25",
        level="fine",
        freq="1D",
        calendar_tz=ZONE,
        value_attrs={"units": "ug m-3", "long_name": "PM2.5"},
    )


def points_table(cube, stations=12, seed=4):
    """Return what stations saw of the last days: one of them stands outside, some are blank."""
    rng = np.random.default_rng(seed)
    grid = NestedGrid.of(cube)
    lon, lat = rng.uniform(115, 117, stations), rng.uniform(39, 41, stations)
    lon[-1] = 120.0
    row, col, inside = grid.cell_of(lon, lat, level="fine")
    last = cube.isel(time=slice(DAYS - 18, DAYS))
    values = last["pm25"].values[:, row, col] + rng.normal(0, 0.5, (18, stations))
    values[3, 2] = values[5, 6] = np.nan
    local = pd.DatetimeIndex(last["time"].values).tz_localize("UTC").tz_convert(ZONE)
    return pd.DataFrame(
        {
            "station": np.tile([f"S{k}" for k in range(stations)], 18),
            "lon": np.tile(lon, 18).round(4),
            "lat": np.tile(lat, 18).round(4),
            "time": np.repeat([stamp.isoformat() for stamp in local], stations),
            "pm25": np.where(inside, values, 7.0).ravel().round(2),
        }
    )


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Small:
    """Return the paths of a history, observations, points, and a model fitted to the history."""
    folder = tmp_path_factory.mktemp("small")
    cube = history_cube()
    write_netcdf(cube, folder / "history.nc")
    coarse = aggregate(cube.isel(time=slice(DAYS - 18, DAYS))).drop_vars("pm25_n_obs")
    hidden = np.random.default_rng(2).random(coarse["pm25"].shape) < 0.4
    coarse["pm25"].values[hidden] = np.nan
    write_netcdf(coarse, folder / "coarse.nc")
    points_table(cube).to_csv(folder / "points.csv", index=False)
    model = DiffRecon(settings=small_settings(), device="cpu").fit(cube, until=UNTIL)
    model.save(folder / "small.gdr")
    return Small(
        folder / "history.nc", folder / "coarse.nc", folder / "points.csv",
        folder / "small.gdr", model.grid,
    )  # fmt: skip
