"""Shared fixtures: a small nested grid, a small cube, and the data folder beside the checkout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from geodiffrecon.cube import make_cube
from geodiffrecon.grid import NestedGrid

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
