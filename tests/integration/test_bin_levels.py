"""`bin --out DIR`: coarse and fine rasters of the same points, nested exactly, read by rasterio."""

import numpy as np
import pandas as pd
import pytest
import rasterio

from .conftest import geodiffrecon

GRID = ["--bounds", 115, 39, 117, 41, "--shape", 4, 5]
FACTOR = 3


@pytest.fixture
def points(tmp_path):
    """Return a file of uneven points: some fine cells hold many, most none."""
    chance = np.random.default_rng(4)
    days = pd.Timestamp("2024-02-01T00:30Z") + pd.to_timedelta(chance.integers(0, 4, 400), "D")
    frame = pd.DataFrame(
        {
            "time": days[days.day != 3].strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )
    frame["lon"] = 115 + 2 * chance.random(len(frame)) ** 2
    frame["lat"] = 39 + 2 * chance.random(len(frame)) ** 3
    frame["pm25"] = chance.gamma(2, 30, len(frame)).round(1)
    frame.loc[:4, "pm25"] = np.nan
    path = tmp_path / "points.csv"
    frame.to_csv(path, index=False)
    return path


def binned(points, out, *more, agg="mean", factor=FACTOR):
    options = ["--freq", "1D", *GRID, "--factor", factor, "--agg", agg, "--progress", "json"]
    value = [] if agg == "count" else ["--value", "pm25"]
    return geodiffrecon("bin", points, "--out", out, *options, *value, *more)


def read(path):
    with rasterio.open(path) as source:
        values = source.read(masked=True).astype(np.float64).filled(np.nan)
        return values, source.transform, source.crs


def blocks(fine):
    frames, rows, columns = fine.shape
    return fine.reshape(frames, rows // FACTOR, FACTOR, columns // FACTOR, FACTOR)


@pytest.mark.parametrize(
    ("agg", "name", "main"),
    [
        ("mean", "pm25", "mean"),
        ("sum", "pm25", "sum"),
        ("count", "count", "sum"),
    ],
)
def test_fine_rasters_pool_to_the_coarse_ones_exactly(points, tmp_path, agg, name, main):
    out = tmp_path / "rasters"
    ended = binned(points, out, agg=agg)
    names = [
        f"{name}_{level}_{part}.tif" for level in ("coarse", "fine") for part in (main, "n_obs")
    ]
    assert ended.code == 0
    assert ended.result["outputs"] == [str(out / file) for file in names]
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    coarse, count, fine, fine_count = (read(out / file)[0] for file in names)
    assert coarse.shape == (4, 4, 5)
    assert fine.shape == (4, 12, 15)
    np.testing.assert_array_equal(blocks(fine_count).sum((2, 4)), count)
    assert count.sum() == ended.result["points_used"]
    total = np.nansum(blocks(fine * fine_count if agg == "mean" else fine), axis=(2, 4))
    with np.errstate(invalid="ignore"):
        pooled = (total / count if agg == "mean" else total).astype(np.float32)
    known = np.isfinite(coarse)
    assert known.any()
    np.testing.assert_array_equal(pooled[known], coarse[known])
    np.testing.assert_array_equal(known, np.isfinite(blocks(fine)).any((2, 4)))


def test_coarse_cells_have_the_corners_of_their_fine_ones(points, tmp_path):
    assert binned(points, tmp_path / "rasters").code == 0
    _, coarse, crs = read(tmp_path / "rasters" / "pm25_coarse_mean.tif")
    _, fine, same = read(tmp_path / "rasters" / "pm25_fine_mean.tif")
    assert crs == same == "EPSG:4326"
    assert (coarse.c, coarse.f) == (fine.c, fine.f)
    np.testing.assert_allclose([coarse.a, coarse.e], [FACTOR * fine.a, FACTOR * fine.e], rtol=1e-12)


@pytest.mark.parametrize("agg", ["mean", "count"])
def test_the_rasters_hold_what_the_cubes_of_either_level_hold(points, tmp_path, agg):
    from geodiffrecon.cf import read_netcdf

    assert binned(points, tmp_path / "rasters", agg=agg).code == 0
    for level in ("coarse", "fine"):
        assert binned(points, tmp_path / f"{level}.nc", "--level", level, agg=agg).code == 0
        cube = read_netcdf(tmp_path / f"{level}.nc")
        name, main = cube.attrs["value"], "mean" if agg == "mean" else "sum"
        for variable, part in ((name, main), (f"{name}_n_obs", "n_obs")):
            raster = read(tmp_path / "rasters" / f"{name}_{level}_{part}.tif")[0]
            np.testing.assert_allclose(raster, cube[variable].values, rtol=1e-6)


def test_one_level_can_be_asked_for_and_netcdf_stays_one(points, tmp_path):
    assert binned(points, tmp_path / "one", "--level", "fine").code == 0
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == [
        "pm25_fine_mean.tif",
        "pm25_fine_n_obs.tif",
    ]
    assert binned(points, tmp_path / "alone", "--level", "coarse", factor=1).code == 0
    assert binned(points, tmp_path / "cube.nc").result["outputs"] == [str(tmp_path / "cube.nc")]


@pytest.mark.parametrize(
    ("out", "factor", "words"),
    [
        ("rasters", 1, ["factor of 1", "--factor 4"]),
        ("cube.tif", 3, ["'cube.tif'", ".nc", "folder"]),
        ("points.csv", 3, ["points.csv", "given twice"]),
    ],
)
def test_what_cannot_be_written_is_one_sentence(points, tmp_path, out, factor, words):
    before = sorted(path.name for path in tmp_path.iterdir())
    ended = binned(points, tmp_path / out, factor=factor)
    assert ended.code == 1
    assert all(word in ended.out for word in words), ended.out
    assert sorted(path.name for path in tmp_path.iterdir()) == before
