"""Cells of a raster split into finer ones: their means are the raster, no layer shows its grid."""

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

import geodiffrecon as gdr
from geodiffrecon.errors import InvalidParameter, NoObservations
from geodiffrecon.field.blocks import Blocks
from geodiffrecon.field.covariance import Covariance, Sites
from geodiffrecon.field.kriging import Factor, Readings

SIDE, N = 6, 2  # blocks a side, and cells a side of each


def lattice(side):
    row, col = np.divmod(np.arange(side * side), side)
    xy = np.column_stack([col, row]).astype(float)
    return Sites(xy, (xy - xy.mean(axis=0)) / xy.std(axis=0))


def averaging(side=SIDE, n=N):
    """Matrix (blocks, cells) of means."""
    row, col = np.divmod(np.arange((side * n) ** 2), side * n)
    index = row // n * side + col // n
    return (index[None] == np.arange(side * side)[:, None]) / n**2


def written(path, values, *, cell=4000.0, descriptions=()):
    profile = {
        "driver": "GTiff", "height": values.shape[-2], "width": values.shape[-1],
        "count": len(values), "dtype": "float32", "crs": "EPSG:32650", "nodata": np.nan,
        "transform": from_origin(4e5, 4.4e6, cell, cell),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(values.astype(np.float32))
        for band, text in enumerate(descriptions, 1):
            file.set_band_description(band, text)
    return path


def smooth(side, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.indices((side, side)) / side
    waves = [np.sin(2 * np.pi * (a * x + b * y) + c) for a, b, c in rng.uniform(0, 2, (6, 3))]
    return np.sum(waves, axis=0)


def pooled(cells, n):
    rows, cols = cells.shape[-2:]
    return cells.reshape(*cells.shape[:-2], rows // n, n, cols // n, n).mean(axis=(-3, -1))


def test_kriging_from_block_means_is_that_of_the_whole_covariance():
    cells, known = lattice(SIDE * N), Covariance(1.5, 3.0, 0.1, ratio=2.0, angle=0.4, trend=0.5)
    mean_of = averaging()
    middle = Sites(mean_of @ cells.xy, mean_of @ cells.features)
    offsets = np.array([(x, y) for x in (-0.5, 0.5) for y in (-0.5, 0.5)])
    seen = np.random.default_rng(0).permutation(SIDE**2)[:20]
    blocks = Sites(middle.xy, middle.features, within=offsets)[seen]
    values = np.random.default_rng(1).normal(size=20)
    factor = Factor(known, Readings(blocks, np.full(20, N**2)), values[:, None], 1.0)

    whole = known.between(cells, cells) + known.nugget * np.eye(len(cells))
    a = mean_of[seen]
    system, cross = a @ whole @ a.T, known.between(cells, cells) @ a.T
    inverse, one = np.linalg.inv(system + 1e-9 * np.eye(20)), np.ones(20)
    level = one @ inverse @ values / (one @ inverse @ one)
    mean, variance = factor.predict(cells, 0)
    np.testing.assert_allclose(mean, level + cross @ inverse @ (values - level), atol=1e-7)
    short = 1 - cross @ inverse @ one
    left = known.variance(cells) - np.einsum("mi,ij,mj->m", cross, inverse, cross)
    np.testing.assert_allclose(variance, left + short**2 / (one @ inverse @ one), atol=1e-7)
    np.testing.assert_allclose(factor.weights(cells) @ values, mean, atol=1e-8)


@pytest.mark.parametrize("floor", [0.0, -np.inf])
def test_the_last_touch_makes_means_exact_and_no_amount_negative(floor):
    rng = np.random.default_rng(0)
    cells = rng.gamma(1.0, 1.0, (3, 16))
    index = np.repeat([0, 1, -1, 2], 4)
    readings = np.array([0.0, 1.5, 2.0]) - (0 if np.isfinite(floor) else 5)
    blocks = Blocks((4, 4), (1.0, 1.0), index, readings)
    found = blocks.fixed(cells, floor)
    np.testing.assert_allclose(blocks.means(found), np.tile(readings, (3, 1)), atol=1e-12)
    np.testing.assert_array_equal(found[:, 8:12], cells[:, 8:12])
    assert found.min() >= floor


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("form", [np.exp, lambda v: v, lambda v: np.maximum(v - 0.5, 0)])
def test_means_of_finer_cells_are_the_raster_in_maps_and_draws(tmp_path, factor, form):
    truth = form(smooth(8 * factor))
    coarse = pooled(truth, factor)
    known = np.random.default_rng(0).random(coarse.shape) > 0.3
    path = written(tmp_path / "c.tif", np.where(known, coarse, np.nan)[None])
    said = []
    maps = gdr.interpolate(path, resolution=4000 / factor, samples=3, log=said.append)
    assert maps["value"].shape == truth.shape
    assert float(maps["x"][0]) == 4e5 + 2000 / factor
    usual = coarse.std()
    for layer in [maps["value"].values, *maps["value_draws"].values]:
        gap = np.abs(pooled(layer.astype(np.float64), factor) - coarse)[known]
        assert gap.max() < 3e-6 * max(usual, np.abs(coarse).max())
    assert np.isfinite(maps["value"]).all()
    if coarse.min() >= 0:
        assert maps["value_q05"].min() >= 0
    assert any(f"{factor} × {factor} of them" in line for line in said)
    fine = np.abs(maps["value"].values - truth).mean()
    repeated = np.kron(np.where(known, coarse, coarse[known].mean()), np.ones((factor, factor)))
    assert fine < 0.9 * np.abs(repeated - truth).mean()


def test_no_layer_shows_the_cells_of_the_raster(tmp_path):
    truth = np.exp(smooth(64))
    path = written(tmp_path / "c.tif", pooled(truth, 4)[None])
    maps = gdr.interpolate(path, resolution=1000)
    for name, most in (
        ("value", 1.1), ("value_std", 1.3), ("value_q05", 1.1), ("value_q95", 1.1),
    ):  # fmt: skip
        layer = maps[name].values.astype(np.float64)
        for steps in (np.abs(np.diff(layer, axis=1)), np.abs(np.diff(layer, axis=0)).T):
            border = steps[:, 3::4].mean()
            inside = np.delete(steps, np.s_[3::4], axis=1).mean()
            assert border < most * inside, name


def test_dates_of_a_raster_are_split_each_by_itself(tmp_path):
    truth = np.stack([np.exp(smooth(16, seed)) for seed in range(2)])
    coarse = pooled(truth, 2)
    names = ("2024-03-01", "2024-03-02")
    path = written(tmp_path / "c.tif", coarse, cell=2000.0, descriptions=names)
    maps = gdr.interpolate(path, resolution=1000)
    assert maps["value"].dims == ("time", "y", "x")
    gap = np.abs(pooled(maps["value"].values.astype(np.float64), 2) - coarse)
    assert gap.max() < 1e-4


def test_a_raster_is_split_at_most_eight_times_and_only_where_it_is_small(tmp_path):
    small = written(tmp_path / "s.tif", np.exp(smooth(8))[None])
    with pytest.raises(InvalidParameter, match="at most 8 times"):
        gdr.interpolate(small, resolution=100)
    large = written(tmp_path / "l.tif", np.exp(smooth(50))[None])
    with pytest.raises(NoObservations, match="Leave out --resolution"):
        gdr.interpolate(large, resolution=1000)


def test_noisy_cells_are_not_held(tmp_path):
    coarse = pooled(np.exp(smooth(16)), 2)
    path = written(tmp_path / "c.tif", coarse[None], cell=2000.0)
    maps = gdr.interpolate(path, resolution=1000, error=0.5, samples=2)
    gap = np.abs(pooled(maps["value_draws"].values.astype(np.float64), 2) - coarse)
    assert 0.01 < gap.mean() < 0.3 * coarse.std()


def moving(monkeypatch):
    """Let the second stage move draws by what an untaught network says."""
    import torch

    from geodiffrecon.core import weights
    from geodiffrecon.core.context import BLOCK_MAPS, BLOCK_NUMBERS
    from geodiffrecon.core.network import CoreNetwork

    torch.manual_seed(0)
    network = CoreNetwork(len(BLOCK_MAPS), len(BLOCK_NUMBERS)).eval()
    for values in network.parameters():
        torch.nn.init.normal_(values, std=0.03)
    wide = [-99.0] * len(BLOCK_NUMBERS), [99.0] * len(BLOCK_NUMBERS)
    card = weights.Card(1, 1.0, 1, 0.9, *wide)
    monkeypatch.setattr(weights, "load_core", lambda stage: (network, card))


@pytest.mark.parametrize("form", [np.exp, lambda v: v])
def test_whatever_the_second_stage_says_means_are_held(tmp_path, monkeypatch, form):
    moving(monkeypatch)
    truth = form(smooth(32))
    coarse = pooled(truth, 4)
    known = np.random.default_rng(0).random(coarse.shape) > 0.3
    path = written(tmp_path / "c.tif", np.where(known, coarse, np.nan)[None])
    maps = gdr.interpolate(path, resolution=1000, samples=3)
    plain = gdr.interpolate(path, resolution=1000, samples=3, core=0)
    assert np.abs(maps["value_draws"] - plain["value_draws"]).mean() > 1e-3 * coarse.std()
    for layer in [maps["value"].values, *maps["value_draws"].values]:
        gap = np.abs(pooled(layer.astype(np.float64), 4) - coarse)[known]
        assert gap.max() < 3e-6 * max(coarse.std(), np.abs(coarse).max())


def test_large_maps_are_moved_in_windows_without_a_seam(monkeypatch):
    from geodiffrecon.core.moving import LARGEST, windows

    for shape in ((64, 64), (65, 40), (130, 200)):
        total = np.zeros(shape)
        for window, weight in windows(shape):
            assert weight.shape == total[window].shape
            assert max(weight.shape) <= LARGEST
            total[window] += weight
        assert total.min() > 0
    parts = list(windows((64, 128)))
    assert [cols.start for (_, cols), _ in parts] == [0, 32, 64]


def test_the_second_stage_sees_no_cell_that_is_hidden():
    from geodiffrecon.core.cases import believed_blocks, blocks_seen
    from geodiffrecon.core.context import context_of

    rng = np.random.default_rng(3)
    truth = np.exp(smooth(32))
    index = blocks_seen(truth, 4, np.random.default_rng(5))
    other = truth.copy()
    for block in range(index.max() + 1):  # the same means of other cells
        here = index == block
        other[here] = rng.permutation(truth[here])
    other[index < 0] *= 3
    a, b = (context_of(*believed_blocks(v, index, None, 4)[:2]) for v in (truth, other))
    np.testing.assert_allclose(a.maps, b.maps, atol=1e-5)
    np.testing.assert_allclose(a.numbers, b.numbers, atol=1e-5)
