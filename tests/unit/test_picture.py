from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geodiffrecon import picture
from geodiffrecon.axes import parse_crs
from geodiffrecon.errors import InvalidParameter, InvalidTime, MissingCRS, NoObservations
from geodiffrecon.grid import NestedGrid
from geodiffrecon.picture import _onto, draw, heading, steps_at, telling_steps, write
from geodiffrecon.points import PointTable

pytest.importorskip("matplotlib")
from matplotlib.image import imread


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


def size_of(path):
    return imread(path).shape[:2]


def panel_titles(monkeypatch, draw_it):
    """Return the titles of all panels that `draw_it` draws, and their images by title."""
    seen = {}

    def look(figure, path):
        for axis in figure.axes:
            if axis.get_title():
                seen[axis.get_title()] = [image.get_array() for image in axis.images]
        return write(figure, path)

    monkeypatch.setattr(picture, "write", look)
    draw_it()
    return seen


def test_truth_minus_map_is_drawn_if_asked_for(maps, tmp_path, monkeypatch):
    truth = maps.assign(pm25=maps["pm25"] * 1.5).assign_attrs(maps.attrs)
    seen = panel_titles(
        monkeypatch,
        lambda: draw(maps, tmp_path / "a.png", truth=truth, difference=True, steps=[0]),
    )
    assert list(seen) == ["Completed map", "Truth", "Truth minus map", "How far off: ±1 std"]
    np.testing.assert_allclose(seen["Truth minus map"][0], maps["pm25"].values[0] * 0.5, rtol=1e-5)


def test_a_cube_without_an_error_has_one_panel(cube, tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    seen = panel_titles(monkeypatch, lambda: draw(cube, path, map_title="Map", steps=[0, 1]))
    assert list(seen) == ["Map"]
    assert size_of(path)[0] > size_of(path)[1] > 400


def test_points_of_another_crs_are_placed(maps, table, tmp_path):
    metric = replace(
        table, x=np.full(12, 500_000.0), y=np.full(12, 4_450_000.0), crs=parse_crs("EPSG:32650")
    )
    placed = _onto(metric, NestedGrid.of(maps))
    np.testing.assert_allclose([placed.x[0], placed.y[0]], [117.0, 40.2], atol=0.01)
    with pytest.raises(MissingCRS, match="local metres"):
        draw(maps, tmp_path / "a.png", points=replace(table, crs=None))
    assert list(tmp_path.iterdir()) == []


def test_a_time_is_found_in_its_step(maps):
    assert steps_at(maps, ["2024-01-02", "2024-01-04T13:00+08:00", "2024-01-02"]) == [1, 3]
    with pytest.raises(InvalidTime, match="No map is at 2024-02-01; the file covers"):
        steps_at(maps, ["2024-02-01"])


def test_a_map_without_values_is_refused(maps, tmp_path):
    maps["pm25"].values[2] = np.nan
    assert 2 not in telling_steps(maps)
    with pytest.raises(NoObservations, match="choose another time"):
        draw(maps, tmp_path / "a.png", steps=[2])
    maps["pm25"].values[:] = np.nan
    with pytest.raises(NoObservations, match="nothing to draw"):
        draw(maps, tmp_path / "a.png")


def test_without_matplotlib_it_says_what_to_install(maps, tmp_path, monkeypatch):
    monkeypatch.setattr(picture.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidParameter, match=r"geodiffrecon\[plot\]"):
        draw(maps, tmp_path / "a.png", steps=[0])
    assert list(tmp_path.iterdir()) == []


def test_names_are_written_as_people_read_them(maps):
    assert heading(maps) == "PM2.5, µg/m³"
    maps["pm25"].attrs = {"long_name": "air temperature", "units": "ug m-3"}
    assert heading(maps) == "Air temperature, µg/m³"
    maps["pm25"].attrs = {"long_name": "pm25"}
    assert heading(maps) == "pm25"
