from __future__ import annotations

import numpy as np
import pytest

from geodiffrecon import episode, picture
from geodiffrecon.cube import make_cube
from geodiffrecon.episode import draw_episode, episode_steps
from geodiffrecon.errors import InvalidParameter, InvalidTime, NoObservations
from geodiffrecon.picture import main_values, write
from geodiffrecon.stations.network import StationNetwork

pytest.importorskip("matplotlib")

STEPS, PEAK = 60, 30
ROWS = ["Stations", "Mean", "Error: ±1 std", "Chance above 35 µg/m³", "Distance to data"]


@pytest.fixture
def hours():
    first = np.datetime64("2024-01-01T16:00", "ns")
    return first + np.arange(STEPS) * np.timedelta64(1, "h").astype("timedelta64[ns]")


@pytest.fixture
def maps(grid, hours):
    """Return hourly maps with one episode, and no information in their three eastern columns."""
    rise = np.exp(-0.5 * ((np.arange(STEPS) - PEAK) / 6) ** 2)
    shape = (STEPS, *grid.fine_shape)
    values = 20 + 200 * rise[:, None, None] * np.linspace(1, 0.5, shape[2])
    values = np.broadcast_to(values, shape).astype(np.float32)
    maps = make_cube(
        values, hours, grid, value="pm25", level="fine", freq="1h", calendar_tz="Asia/Shanghai",
        value_attrs={"units": "ug m-3", "long_name": "fine dust"},
    )  # fmt: skip
    told = np.ones(shape, dtype=np.int8)
    told[:, :, -3:] = 0
    distance = np.broadcast_to(np.arange(shape[2]) * 10.0, shape)
    added = {"std": values * 0.2, "exceed_35": values / 220, "distance": distance}
    added["information"] = told
    return maps.assign({f"pm25_{k}": (maps["pm25"].dims, v) for k, v in added.items()})


@pytest.fixture
def network(hours):
    """Return three stations; the last one is silent at the peak."""
    values = np.tile([50.0, 100.0, 150.0], (STEPS, 1))
    values[PEAK, 2] = np.nan
    counts = {"points_used": values.size - 1, "points_missing": 1}
    return StationNetwork(
        ("a", "b", "c"), np.array([115.2, 116.0, 116.7]), np.array([40.0, 40.5, 40.2]), hours,
        values, "pm25", "1h", "Asia/Shanghai", "ug m-3", counts, (),
    )  # fmt: skip


@pytest.fixture
def drawn(monkeypatch):
    """Return the figures that are written, in order."""
    seen = []

    def look(figure, path):
        seen.append(figure)
        return write(figure, path)

    monkeypatch.setattr(episode, "write", look)
    return seen


def panels(figure):
    """Return the map panels, row by row."""
    axes = [axis for axis in figure.axes if axis.get_subplotspec() is not None]
    columns = axes[0].get_subplotspec().get_gridspec().ncols
    return [axes[start : start + columns] for start in range(0, len(axes), columns)]


def test_all_rows_and_steps_are_drawn_with_units_and_local_times(maps, network, tmp_path, drawn):
    path = draw_episode(maps, network, tmp_path / "e.png", caption="What happened.")
    (figure,) = drawn
    rows = panels(figure)
    assert [row[0].get_ylabel().replace("\n", " ") for row in rows] == ROWS
    assert [axis.get_title() for axis in rows[0]][2] == "2024-01-03\n06:00"
    assert len(rows[0]) == 5
    bars = [axis.get_ylabel() for axis in figure.axes if axis.get_subplotspec() is None]
    assert bars == ["µg/m³", "µg/m³", "µg/m³", "%", "km"]
    texts = " ".join(text.get_text().replace("\n", " ") for text in figure.texts)
    assert "Fine dust, µg/m³ (times: Asia/Shanghai)" in texts
    assert "What happened." in texts
    assert 1400 <= figure.get_figwidth() * figure.dpi <= 1600
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_cells_without_information_are_grey_on_the_mean_and_hatched_below(
    maps, network, tmp_path, drawn
):
    draw_episode(maps, network, tmp_path / "e.png")
    rows = panels(drawn[0])
    for axis in rows[1]:
        mean, veil = axis.images
        opacity = np.asarray(veil.get_array())[..., 3]
        assert (opacity[:, -3:] > 0.8).all()
        assert (opacity[:, :-3] == 0).all()
        assert mean.get_cmap().name == picture.VALUES
    hatches = [hatch for axis in rows[4] for c in axis.collections for hatch in c.hatches]
    assert hatches == ["/////"] * 5
    assert not any(axis.collections for row in rows[2:4] for axis in row)
    assert "no information" in drawn[0].texts[1].get_text()


def test_full_information_leaves_no_grey(maps, network, tmp_path, drawn):
    maps["pm25_information"].values[:] = 1
    draw_episode(maps, network, tmp_path / "e.png")
    rows = panels(drawn[0])
    assert all(len(axis.images) == 1 for axis in rows[1])
    assert not any(axis.collections for axis in rows[4])
    assert drawn[0].texts[1].get_text() == episode.SILENT


def test_stations_wear_their_readings_in_the_scale_of_the_map(maps, network, tmp_path, drawn):
    draw_episode(maps, network, tmp_path / "e.png", times=["2024-01-03 06:00"])
    (alone,), (on_map,) = panels(drawn[0])[:2]
    silent, told = alone.collections
    np.testing.assert_allclose(told.get_array(), [50, 100])
    assert len(silent.get_offsets()) == 1
    (spots,) = on_map.collections
    np.testing.assert_allclose(spots.get_offsets(), [[115.2, 40.0], [116.0, 40.5]])
    assert spots.get_clim() == on_map.images[0].get_clim() == told.get_clim()


def test_degrees_are_as_long_as_they_are_there(maps, network, tmp_path, drawn):
    draw_episode(maps, network, tmp_path / "e.png")
    axis = panels(drawn[0])[0][0]
    assert axis.get_aspect() == pytest.approx(1 / np.cos(np.radians(40.25)))
    box, figure = axis.get_position(), drawn[0]
    ratio = box.height * figure.get_figheight() / (box.width * figure.get_figwidth())
    assert ratio == pytest.approx(1.5 / 2 * axis.get_aspect(), rel=1e-6)
    assert axis.xaxis.get_major_formatter()(116.5) == "116.5°"


def test_metres_are_equally_long_both_ways(metric_grid, hours, network, tmp_path, drawn):
    values = np.random.default_rng(0).random((STEPS, *metric_grid.fine_shape))
    maps = make_cube(values, hours, metric_grid, value="v", level="fine", freq="1h")
    draw_episode(maps, network, tmp_path / "e.png", threshold=None, times=["2024-01-02 00:00"])
    rows = panels(drawn[0])
    assert [row[0].get_ylabel() for row in rows] == ["Stations", "Mean"]
    assert rows[0][0].get_aspect() == 1


def test_days_are_named_without_a_time(maps, network, tmp_path, drawn):
    days = maps.isel(time=[PEAK])
    days["time_bnds"].values[0, 1] = days["time_bnds"].values[0, 0] + np.timedelta64(1, "D")
    draw_episode(days, network, tmp_path / "e.png")
    assert panels(drawn[0])[0][0].get_title() == "2024-01-03"


def test_the_steps_surround_the_highest_mean(maps):
    steps = episode_steps(maps)
    assert len(steps) == 5
    assert steps[2] == PEAK
    assert len(set(np.diff(steps))) == 1
    level = main_values(maps).mean(axis=(1, 2))
    assert level[steps[0]] < level[PEAK] / 2


@pytest.mark.parametrize("peak", [0, 1, 7, STEPS - 1])
def test_a_peak_at_any_place_is_among_the_steps(maps, peak):
    level = 10 - np.abs(np.arange(STEPS) - peak) / 10
    maps["pm25"].values[:] = level[:, None, None]
    steps = episode_steps(maps)
    assert peak in steps
    assert len(steps) == 5


def test_few_or_missing_maps_give_fewer_steps(maps):
    assert episode_steps(maps.isel(time=slice(0, 2))) == [0, 1]
    maps["pm25"].values[PEAK - 8 : PEAK] = np.nan
    steps = episode_steps(maps)
    assert PEAK in steps
    assert not set(steps) & set(range(PEAK - 8, PEAK))
    maps["pm25"].values[:] = np.nan
    with pytest.raises(NoObservations, match="nothing to draw"):
        episode_steps(maps)


def test_what_cannot_be_drawn_is_refused_and_nothing_is_written(maps, network, tmp_path):
    path = tmp_path / "e.png"
    with pytest.raises(InvalidParameter, match=r"exceeding 75, only of 35; reconstruct with"):
        draw_episode(maps, network, path, threshold=75)
    with pytest.raises(InvalidParameter, match="nor of any other value"):
        draw_episode(maps.drop_vars("pm25_exceed_35"), network, path)
    with pytest.raises(InvalidTime, match="No map is at 2025"):
        draw_episode(maps, network, path, times=["2025-01-01"])
    assert list(tmp_path.iterdir()) == []


def test_no_station_at_all_is_drawn_as_crosses(maps, network, tmp_path, drawn):
    network.values[:] = np.nan
    maps["pm25_information"].values[:] = 0
    maps["pm25_distance"] = maps["pm25_distance"] + np.inf
    draw_episode(maps, network, tmp_path / "e.png")
    rows = panels(drawn[0])
    assert all(len(axis.collections[0].get_offsets()) == 3 for axis in rows[0])


def test_the_same_episode_makes_the_same_bytes(maps, network, tmp_path):
    first, second = (
        draw_episode(maps, network, tmp_path / name).read_bytes() for name in ("a.png", "b.png")
    )
    assert first == second
