from __future__ import annotations

import numpy as np
import pytest
from worlds import history_cube

from geodiffrecon.errors import GridMismatch, InvalidParameter, InvalidTime, NoObservations
from geodiffrecon.grid import NestedGrid
from geodiffrecon.surfaces import (
    Comparison,
    Panel,
    _scales,
    draw_surfaces,
    figure_ten,
    hide_and_reconstruct,
)

pytest.importorskip("matplotlib")
from matplotlib.image import imread


@pytest.fixture
def rows(grid):
    """Return two comparisons on the small grid."""
    truth = np.arange(48.0).reshape(grid.fine_shape)
    hidden = np.eye(3, 4, dtype=bool)
    return [Comparison(name, truth, truth * share, hidden) for name, share in
            (("Fixed cells", 0.9), ("Block", 0.5))]  # fmt: skip


def drawn(path):
    """Return size and number of colours of a picture."""
    picture = imread(path)
    return picture.shape[:2], len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0))


def test_the_error_is_truth_minus_reconstruction(rows):
    names = [panel.title for panel in rows[0].panels]
    assert names == ["Truth", "Reconstruction", "Truth minus reconstruction"]
    np.testing.assert_allclose(rows[1].panels[2].values, rows[1].truth * 0.5)
    assert rows[1].panels[2].kind == "difference"


def test_truth_and_reconstruction_share_a_scale_and_errors_are_symmetrical(rows):
    scales = _scales([panel for row in rows for panel in row.panels])
    assert scales["value"] == (0, 47)
    assert scales["difference"] == (-23.5, 23.5)


def test_a_scale_has_a_width_where_all_values_are_one_or_none_is_known():
    assert _scales([Panel("", np.full((2, 2), 3.0), "value")])["value"] == (2.5, 3.5)
    assert _scales([Panel("", np.zeros((2, 2)), "difference")])["difference"] == (-0.5, 0.5)
    assert _scales([Panel("", np.full((2, 2), np.nan), "value")])["value"] == (0, 1)


@pytest.mark.slow
def test_figure_ten_is_a_picture_and_the_same_each_time(rows, grid, tmp_path):
    files = [
        figure_ten(rows, tmp_path / name, grid=grid, units="K", title="Two patterns")
        for name in ("a.png", "b.png")
    ]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert b"Software" not in files[0].read_bytes()
    size, colours = drawn(files[0])
    assert size == (1040, 1456)
    assert colours > 200
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_another_reconstruction_is_another_picture(rows, grid, tmp_path):
    first, second = (
        figure_ten(part, tmp_path / name, grid=grid).read_bytes()
        for part, name in ((rows[:1], "a.png"), (rows[1:], "b.png"))
    )
    assert first != second


@pytest.mark.slow
def test_maps_are_drawn_with_their_error_or_with_the_truth(cube, tmp_path):
    maps = cube.assign(pm25_std=cube["pm25"] * 0.1)
    alone = draw_surfaces(maps, tmp_path / "alone.png", steps=[0, 2, 3])
    beside = draw_surfaces(cube, tmp_path / "beside.png", truth=maps, steps=[0])
    assert drawn(alone)[0] == (1430, 1001)
    assert drawn(beside)[0] == (650, 1456)
    assert min(drawn(path)[1] for path in (alone, beside)) > 200


def test_maps_with_holes_and_large_maps_are_drawn(cube, tmp_path):
    assert draw_surfaces(cube, tmp_path / "holes.png", steps=[1]).stat().st_size > 5_000
    values = np.random.default_rng(0).random((1, 400, 200)).astype(np.float32)
    large = history_cube(values, factor=2, freq="1D", aggregation="mean")
    assert draw_surfaces(large, tmp_path / "large.png", steps=[0]).stat().st_size > 5_000


def test_nothing_is_left_of_a_map_without_values(cube, tmp_path):
    cube["pm25"].values[2] = np.nan
    with pytest.raises(NoObservations, match="2024-01-03 is missing"):
        draw_surfaces(cube, tmp_path / "maps.png", steps=[2])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_hidden_cells_are_reconstructed_in_every_pattern(plumes_model, plumes_cube):
    rows, step = hide_and_reconstruct(plumes_model, plumes_cube, missing=0.5)
    assert plumes_cube["time"].values[step] >= np.datetime64("2024-03-20")
    assert [row.label for row in rows] == [
        "Fixed cells, 50 % hidden", "Random cells, 50 % hidden", "Block, 33 % hidden",
    ]  # fmt: skip
    for row in rows:
        np.testing.assert_array_equal(row.truth, plumes_cube["v"].values[step])
        assert np.isfinite(row.reconstruction).all()
        assert row.hidden.shape == plumes_model.grid.shape
    assert np.abs(rows[0].error).max() > 0


def test_what_is_hidden_changes_nothing(plumes_model, plumes_cube):
    asked = {"patterns": ["block"], "time": "2024-04-10"}
    (before,), step = hide_and_reconstruct(plumes_model, plumes_cube, **asked)
    changed = plumes_cube.copy(deep=True)
    hidden = before.hidden.repeat(3, axis=0).repeat(3, axis=1)
    changed["v"].values[:, hidden] *= 2
    changed["v"].values[step + 1 :] *= 3
    (after,), _ = hide_and_reconstruct(plumes_model, changed, **asked)
    np.testing.assert_array_equal(before.reconstruction, after.reconstruction)
    assert (before.truth != after.truth).any()


def test_observed_cells_keep_their_value(plumes_model, plumes_cube):
    (row,), _ = hide_and_reconstruct(plumes_model, plumes_cube, patterns=["random"])
    error = row.error.reshape(3, 3, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(error[~row.hidden], 0, atol=1e-3)


@pytest.mark.parametrize(
    ("request_", "error", "text"),
    [
        ({"time": "2024-02-01"}, InvalidParameter, "training ended; choose a later time"),
        ({"time": "2025-02-01"}, InvalidTime, "No map is at 2025-02-01"),
        ({"patterns": ["stripes"]}, InvalidParameter, "not 'stripes'"),
        ({"missing": 1.0}, InvalidParameter, "not 1.0"),
    ],
)
def test_unfit_requests_are_one_sentence(plumes_model, plumes_cube, request_, error, text):
    with pytest.raises(error, match=text):
        hide_and_reconstruct(plumes_model, plumes_cube, **request_)


def test_a_frame_with_gaps_and_a_history_that_ends_too_early_are_refused(plumes_model, plumes_cube):
    holed = plumes_cube.copy(deep=True)
    holed["v"].values[100, 0, 0] = np.nan
    with pytest.raises(NoObservations, match="at 2024-04-10 has gaps"):
        hide_and_reconstruct(plumes_model, holed, time="2024-04-10")
    with pytest.raises(NoObservations, match="no complete map after 2024-03-20"):
        hide_and_reconstruct(plumes_model, plumes_cube.isel(time=slice(0, 60)))


def test_another_grid_is_refused(plumes_model, plumes_cube, counts_cube):
    with pytest.raises(GridMismatch, match="history"):
        hide_and_reconstruct(plumes_model, counts_cube)
    with pytest.raises(GridMismatch, match="fine-level"):
        hide_and_reconstruct(plumes_model, plumes_cube.assign_attrs(level="coarse"))


@pytest.mark.slow
def test_the_grid_may_be_metric(metric_grid, tmp_path):
    values = np.arange(36.0).reshape(metric_grid.fine_shape)
    assert isinstance(metric_grid, NestedGrid)
    path = figure_ten([Comparison("All", values, values)], tmp_path / "m.png", grid=metric_grid)
    assert drawn(path)[0] == (650, 1456)
