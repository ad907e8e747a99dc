"""Shared fixtures: a small nested grid, a small cube, and the data folder beside the checkout."""

from __future__ import annotations

import os

# One thread: tensors here are tiny, and threads that wait for each other cost most of the time.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import settings
from worlds import forced, history_cube, quick

from geodiffrecon.cube import make_cube
from geodiffrecon.grid import NestedGrid
from geodiffrecon.model import DiffRecon
from geodiffrecon.synthetic import counts, plumes

# Shared machines are too uneven for deadlines; the same examples every time keep runs comparable.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `data` where the data folder is not there, and say so."""
    if DATA.is_dir():
        return
    for item in items:
        if "data" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="../shared/data is not beside the checkout"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of the real data; only for tests marked `data`."""
    return DATA


@pytest.fixture
def grid() -> NestedGrid:
    """Return 3 × 4 coarse cells of half a degree, each split into 2 × 2."""
    return NestedGrid.from_bounds((115, 39.5, 117, 41), crs="EPSG:4326", shape=(3, 4), factor=2)


@pytest.fixture
def metric_grid() -> NestedGrid:
    """Return 2 × 2 coarse cells of 3 km × 1.5 km in UTM, each split into 3 × 3."""
    bounds = (400_000, 4_500_000, 406_000, 4_503_000)
    return NestedGrid.from_bounds(bounds, crs="EPSG:32650", shape=(2, 2), factor=3)


@pytest.fixture
def times() -> np.ndarray:
    """Return six days of Asia/Shanghai as UTC interval starts."""
    first = np.datetime64("2023-12-31T16:00", "ns")
    return first + np.arange(6) * np.timedelta64(86_400_000_000_000, "ns")


@pytest.fixture
def cube(grid: NestedGrid, times: np.ndarray) -> xr.Dataset:
    """Return a fine daily PM2.5 cube with a few missing cells."""
    values = np.random.default_rng(0).gamma(4, 15, (6, *grid.fine_shape)).astype(np.float32)
    values[1, 2:4, 3] = np.nan
    values[4, 0, 0] = np.nan
    return make_cube(
        values,
        times,
        grid,
        value="pm25",
        level="fine",
        freq="1D",
        calendar_tz="Asia/Shanghai",
        n_obs=np.isfinite(values),
        value_attrs={"units": "µg/m³", "long_name": "PM2.5"},
    )


@pytest.fixture(scope="session")
def counts_cube() -> xr.Dataset:
    """Return nine days of hourly counts on 3 × 4 coarse cells of 2 × 2."""
    return history_cube(
        counts((6, 8), 220, seed=1).astype(np.float32), factor=2, freq="1h", aggregation="sum"
    )


@pytest.fixture(scope="session")
def plumes_cube() -> xr.Dataset:
    """Return 120 days of a smooth positive field on 3 × 4 coarse cells of 3 × 3."""
    return history_cube(plumes((9, 12), 120, seed=2), factor=3, freq="1D", aggregation="mean")


@pytest.fixture(scope="session")
def counts_model(counts_cube: xr.Dataset) -> DiffRecon:
    """Return a quickly fitted model of counts, with every layer whatever the gates said."""
    return forced(DiffRecon(settings=quick()), counts_cube, until="2024-01-08")


@pytest.fixture(scope="session")
def plumes_model(plumes_cube: xr.Dataset) -> DiffRecon:
    """Return a quickly fitted model of a smooth field, with every layer."""
    return forced(DiffRecon(settings=quick()), plumes_cube, until="2024-03-20")
