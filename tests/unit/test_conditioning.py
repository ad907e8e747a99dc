from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from geodiffrecon.binning import bin_points
from geodiffrecon.conditioning import (
    Readings,
    Sites,
    Update,
    consistency_of,
    reading_errors,
    split_points,
    without_own,
)
from geodiffrecon.cube import make_cube
from geodiffrecon.errors import GridMismatch, InvalidParameter
from geodiffrecon.grid import NestedGrid
from geodiffrecon.noise import NoiseField
from geodiffrecon.points import PointTable
from geodiffrecon.scaling import Transform
from geodiffrecon.windows import repeat

# Two stations in one coarse cell, one alone in another.
PLACES = ((1, 1), (2, 0), (7, 10))
STATISTICS = ("v", "v_std", "v_q05", "v_q50", "v_q95")


def stations(cube, frames=10, places=PLACES, factor=1.0):
    """Return the values of a few fine cells as points that were binned to fine cells."""
    tail = cube.isel(time=slice(-frames, None))
    values = np.full(tail["v"].shape, np.nan)
    for row, column in places:
        values[:, row, column] = factor * tail["v"].values[:, row, column]
    first = values[-1, places[0][0], places[0][1]]
    values[-1] = np.nan  # one alone in the last frame
    values[-1, places[0][0], places[0][1]] = first
    return as_points(cube, values, tail["time"].values)


def as_points(cube, values, times):
    return make_cube(
        values, times, NestedGrid.of(cube), value="v", level="fine", freq="1D",
        n_obs=np.isfinite(values), attrs={"point_aggregation": "mean"},
    )  # fmt: skip


def in_blocks(cube):
    """Return which fine cells lie in a coarse cell that has a reading."""
    seen = np.isfinite(cube["v"].values)
    frames, height, width = seen.shape
    blocks = seen.reshape(frames, height // 3, 3, width // 3, 3).any((2, 4))
    return repeat(blocks, 3)


@pytest.fixture
def bare(plumes_model, monkeypatch):
    """Return a model of the prior alone."""
    layers = replace(
        plumes_model._fitted(), completion=[], refinement=[], completion_diffusion=None,
        refinement_diffusion=None,
    )  # fmt: skip
    monkeypatch.setattr(plumes_model, "_model", layers)
    return plumes_model


def test_taking_a_reading_out_is_kriging_without_it(plumes_model):
    kriging = plumes_model._fitted().prior.completion
    rng = np.random.default_rng(0)
    anomalies = rng.standard_normal((4, len(kriging.positions)))
    anomalies[:, 5:] = np.nan
    error = np.full(anomalies.shape, 0.4)
    mean, variance = kriging.predict(anomalies, error=error)
    change, factor = without_own(anomalies[-1], error[-1], mean[-1], variance[-1])
    anomalies[-1, 2] = np.nan
    alone, wide = kriging.predict(anomalies, error=error)
    assert mean[-1, 2] + change[2] == pytest.approx(alone[-1, 2], abs=1e-4)
    assert variance[-1, 2] * factor[2] ** 2 == pytest.approx(wide[-1, 2], rel=1e-4)


def test_without_a_reading_nothing_is_taken_out():
    change, factor = without_own(np.zeros(2), np.zeros(2), np.ones(2), np.ones(2))
    assert change.tolist() == [0, 0]
    assert factor.tolist() == [1, 1]


@pytest.mark.parametrize("coloured", [True, False])
def test_an_update_is_the_gaussian_conditional(coloured):
    rng = np.random.default_rng(1)
    values = np.full((2, 4), np.nan)
    values[0, [0, 3]], values[1, 2] = (2.0, -1.0), 0.5
    lever, sway = rng.standard_normal((2, 4, 9)), rng.uniform(0.2, 2, (2, 9))
    error, scale, mean = rng.uniform(0.1, 2, (3, 2, 4))
    colour = np.linalg.cholesky(0.4 * np.ones((4, 4)) + 0.6 * np.eye(4))
    update = Update.of(
        np.array([5, 7]), values, error, lever, sway, scale,
        np.stack([colour] * 2) if coloured else None,
    )  # fmt: skip
    moved = mean + update.step(mean)
    for b, cells in enumerate(([0, 3], [2])):
        correlation = colour @ colour.T if coloured else np.eye(4)
        covariance = lever[b] @ np.diag(sway[b]) @ lever[b].T
        covariance += correlation * np.outer(scale[b], scale[b])
        system = covariance[np.ix_(cells, cells)] + np.diag(error[b][cells])
        gain = covariance[:, cells] @ np.linalg.inv(system)
        expected = mean[b] + gain @ (values[b] - mean[b])[cells]
        np.testing.assert_allclose(moved[b], expected)
        np.testing.assert_allclose(
            update.variance[b], np.diag(covariance - gain @ covariance[cells])
        )
    np.testing.assert_array_equal(update.own, lever[:, :, 4])


def test_points_in_fine_cells_pool_to_what_coarse_binning_makes(metric_grid):
    rng = np.random.default_rng(2)
    times = pd.date_range("2024-01-01", periods=40, freq="6h").to_numpy()
    table = PointTable(
        x=rng.uniform(400_000, 406_000, 40), y=rng.uniform(4_500_000, 4_503_000, 40),
        time=times, value=rng.gamma(4, 10, 40), crs=metric_grid.crs, value_name="v",
    )  # fmt: skip
    fine, coarse = (
        bin_points(table, metric_grid, freq="1D", level=level) for level in ("fine", "coarse")
    )
    pooled, readings = split_points(fine, "mean")
    np.testing.assert_allclose(pooled["v"], coarse["v"], rtol=1e-6)
    np.testing.assert_array_equal(pooled["v_n_obs"], coarse["v_n_obs"])
    assert pooled.attrs["points_used"] == coarse.attrs["points_used"]
    assert readings.counts.sum() == 40
    assert split_points(coarse, "mean") == (coarse, None)
    assert split_points(fine, "sum") == (fine, None)


def test_a_map_of_means_is_no_points(plumes_model, plumes_cube):
    counted = plumes_cube.assign(v_n_obs=plumes_cube["v"].notnull())
    with pytest.raises(GridMismatch, match="fine"):
        plumes_model.reconstruct(counted)


def test_consistency_is_soft_for_points_of_means_only(plumes_cube):
    points = stations(plumes_cube)
    assert consistency_of(points, "mean", None) == "soft"
    assert consistency_of(points, "sum", None) == "hard"
    assert consistency_of(points.drop_vars("v_n_obs"), "mean", None) == "hard"
    assert consistency_of(points, "mean", "off") == "off"
    with pytest.raises(InvalidParameter, match="firm"):
        consistency_of(points, "mean", "firm")


def test_a_map_moves_towards_its_readings_and_no_other_block_moves(plumes_model, plumes_cube):
    points = stations(plumes_cube, factor=1.5)
    coarse, _ = split_points(points, "mean")
    without, given = plumes_model.reconstruct(coarse), plumes_model.reconstruct(points)
    seen, block = np.isfinite(points["v"].values), in_blocks(points)
    for name in STATISTICS:
        assert np.isfinite(given[name].values).all()
        np.testing.assert_array_equal(given[name].values[~block], without[name].values[~block])
    reading = points["v"].values[seen]
    far, near = (np.abs(maps["v"].values[seen] - reading) for maps in (without, given))
    assert near.mean() < 0.6 * far.mean()
    width = [maps["v_q95"].values - maps["v_q05"].values for maps in (without, given)]
    assert width[1][seen].mean() < 0.7 * width[0][seen].mean()
    assert (given["v_q05"].values <= given["v_q50"].values).all()
    np.testing.assert_array_equal(given["v_n_obs"], without["v_n_obs"])


def test_true_cells_make_maps_better(bare, plumes_cube):
    cells = np.random.default_rng(3).choice(9 * 12, 9, replace=False)
    points = stations(plumes_cube, frames=25, places=[divmod(int(cell), 12) for cell in cells])
    coarse, _ = split_points(points, "mean")
    truth, block = plumes_cube["v"].values[-25:], in_blocks(points)
    before, after = (
        np.abs(bare.reconstruct(cube)["v"].values - truth) for cube in (coarse, points)
    )
    seen = np.isfinite(points["v"].values)
    assert after[block].mean() < 0.95 * before[block].mean()
    assert after[seen].mean() < 0.7 * before[seen].mean()


@pytest.mark.parametrize("mode", ["hard", "off"])
def test_other_consistencies_use_coarse_cells_alone(plumes_model, plumes_cube, mode):
    points = stations(plumes_cube)
    coarse, _ = split_points(points, "mean")
    one, two = (
        plumes_model.reconstruct(cube, samples=2, keep_draws=True, consistency=mode)
        for cube in (points, coarse)
    )
    for name in one.data_vars:
        np.testing.assert_array_equal(one[name].values, two[name].values)


def test_draws_without_readings_beside_them_do_not_change(plumes_model, plumes_cube):
    points = stations(plumes_cube)
    coarse, _ = split_points(points, "mean")
    one, two = (
        plumes_model.reconstruct(cube, samples=3, keep_draws=True)["v_draws"].values
        for cube in (points, coarse)
    )
    block = in_blocks(points)
    np.testing.assert_array_equal(one[:, ~block], two[:, ~block])
    assert np.abs(one - two)[:, block].mean() > 0.1


def test_neither_batches_nor_other_draws_or_frames_change_anything(
    plumes_model, plumes_cube, monkeypatch
):
    import geodiffrecon.reconstruction as reconstruction

    points = stations(plumes_cube)
    together = plumes_model.reconstruct(points, samples=5, keep_draws=True, seed=2)
    again = plumes_model.reconstruct(points, samples=5, keep_draws=True, seed=2)
    few = plumes_model.reconstruct(points, samples=2, keep_draws=True, seed=2)
    monkeypatch.setattr(reconstruction, "CHUNK_CELLS", 1)
    alone = plumes_model.reconstruct(points, samples=5, keep_draws=True, seed=2)
    for name in together.data_vars:
        np.testing.assert_array_equal(again[name].values, together[name].values)
        np.testing.assert_allclose(alone[name].values, together[name].values, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(few["v_draws"], together["v_draws"][:2], rtol=1e-3, atol=1e-3)
    cut = plumes_model.reconstruct(points.isel(time=slice(0, 6)))
    np.testing.assert_allclose(cut["v"], together["v"][:6], rtol=2e-3, atol=2e-3)


def test_draws_agree_with_the_closed_form(bare, plumes_cube):
    points = stations(plumes_cube)
    maps = bare.reconstruct(points, samples=300, keep_draws=True)
    draws, block = maps["v_draws"].values.astype(float), in_blocks(points)
    seen = np.isfinite(points["v"].values)
    for cells in (seen, block & ~seen):
        mean, std = maps["v"].values[cells], maps["v_std"].values[cells]
        bias = draws.mean(axis=0)[cells] - mean
        assert np.abs(bias).mean() < 0.2 * std.mean()
        assert draws.std(axis=0)[cells].mean() == pytest.approx(std.mean(), rel=0.2)


def sites_of(prior, readings, anomaly=0.0):
    shape = (len(readings.values), *prior.shape)
    return Sites.of(
        prior, readings, reading=np.full(shape, anomaly), error=np.full(shape, 0.7),
        mean=np.zeros(shape), spread=np.full(shape, 0.5),
    )  # fmt: skip


def readings_of(points):
    return split_points(points, "mean")[1]


def test_a_prior_without_offsets_has_no_sites(plumes_model, plumes_cube):
    prior = plumes_model._fitted().prior
    readings = readings_of(stations(plumes_cube))
    assert sites_of(prior, readings) is not None
    assert sites_of(replace(prior, refinement=None), readings) is None


def test_each_frame_and_block_stands_alone(plumes_model, plumes_cube):
    prior, points = plumes_model._fitted().prior, stations(plumes_cube)
    sites = sites_of(prior, readings_of(points), anomaly=1.0)
    rng = np.random.default_rng(4)
    location, spread, scale = rng.uniform(3, 5, (3, 10, 9, 12)) / [[[[1]]], [[[5]]], [[[10]]]]
    doubt, frames = rng.uniform(0.2, 0.5, (10, 3, 4)), np.arange(10)
    together = sites.condition(frames, location, spread, scale, doubt)
    lonely = sites_of(prior, readings_of(stations(plumes_cube, places=PLACES[2:])), anomaly=1.0)
    for t in frames:
        part = np.array([t])
        given = (part, location[part], spread[part], scale[part], doubt[part])
        for one, every in zip(sites.condition(*given), together, strict=True):
            np.testing.assert_array_equal(one[0], every[t])
    given = (frames[:9], location[:9], spread[:9], scale[:9], doubt[:9])
    for one, every in zip(lonely.condition(*given), together, strict=True):
        np.testing.assert_allclose(one[:, 6:, 9:], every[:9, 6:, 9:], rtol=1e-12)


def condition_first(sites):
    shape = (1, 9, 12)
    return sites.condition(
        np.array([0]), np.full(shape, 4.0), np.ones(shape), np.ones(shape), np.ones((1, 3, 4))
    )


def test_readings_without_an_error_of_their_own_leave_some_doubt(plumes_model, plumes_cube):
    prior = replace(plumes_model._fitted().prior, transform=Transform("real"), point_noise=0.0)
    points = stations(plumes_cube)
    _, spread = condition_first(sites_of(prior, readings_of(points)))
    seen = np.isfinite(points["v"].values[:1])
    assert (spread[seen] > 0.1).all()
    assert (spread[seen] < 0.5).all()


def test_more_points_in_a_cell_weigh_more(plumes_model, plumes_cube):
    prior, points = plumes_model._fitted().prior, stations(plumes_cube)
    readings = readings_of(points)
    spreads = [
        condition_first(sites_of(prior, Readings(readings.values, readings.counts * n)))[1]
        for n in (1, 4)
    ]
    assert (spreads[1] < spreads[0])[in_blocks(points)[:1]].all()


def test_half_of_the_error_of_a_site_stays():
    errors = reading_errors(NoiseField(5, (4, 4), 1), np.arange(400), range(3))
    assert errors.shape == (400, 3, 4, 4)
    later = reading_errors(NoiseField(5, (4, 4), 1), np.array([7]), range(1, 3))
    np.testing.assert_array_equal(later[0], errors[7, 1:])
    assert errors.mean(axis=0).var() == pytest.approx(0.5, rel=0.5)
    assert errors.var(axis=0).mean() == pytest.approx(0.5, rel=0.1)
