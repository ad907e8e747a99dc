from __future__ import annotations

import numpy as np
import pytest

from geodiffrecon.picture import telling_steps, draw
from geodiffrecon.points import PointTable

pytest.importorskip("matplotlib")


@pytest.fixture
def maps(cube):
    """Return maps with an error beside the mean."""
    return cube.assign(pm25_std=cube["pm25"] * 0.1)


@pytest.fixture
def table(grid, times):
    """Return two stations a day."""
    x, y = np.tile([115.3, 116.6], 6), np.tile([40.7, 39.9], 6)
    return PointTable(x, y, np.repeat(times, 2), np.arange(12.0), grid.crs)


def test_the_same_maps_make_the_same_picture(maps, table, tmp_path):
    files = [
        draw(maps, tmp_path / name, points=table, truth=maps, caption="One. Two.")
        for name in ("a.png", "b.png")
    ]
    first, second = (path.read_bytes() for path in files)
    assert first == second
    assert first.startswith(b"\x89PNG")
    assert b"Software" not in first


def test_maps_alone_make_a_picture(maps, tmp_path):
    path = draw(maps, tmp_path / "maps.png", steps=[0])
    assert path.stat().st_size > 5_000
    assert [p.name for p in tmp_path.iterdir()] == ["maps.png"]


def test_the_worst_and_a_usual_day_are_shown(maps):
    maps["pm25"].values[3] = 400.0
    steps = telling_steps(maps)
    assert steps[0] == 3
    assert len(steps) == 2
