"""Maps from what there is: points, tables, rasters with holes; sites and zones of them."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from rasterio.transform import from_origin
from shapely.geometry import Point, box
from typer.testing import CliRunner

import geodiffrecon as gdr
from geodiffrecon.cli import app
from geodiffrecon.errors import GeoDiffReconError
from geodiffrecon.interpolation.extent import rounded
from geodiffrecon.interpolation.metric import Metric

UTM = "EPSG:32650"


def hills(x, y):
    return 20 + 6 * np.sin(x / 3e3) + 4 * np.cos(y / 2e3)


def scattered(n, seed=0, size=2e4):
    """x and y of points, in metres."""
    rng = np.random.default_rng(seed)
    return 4e5 + size * rng.random(n), 4e6 + size * rng.random(n)


def frame(x, y, value, crs=UTM, **columns):
    points = gpd.points_from_xy(x, y)
    return gpd.GeoDataFrame({"zinc": value, **columns}, geometry=points, crs=crs)


def survey(n=60, **columns):
    x, y = scattered(n)
    return frame(x, y, hills(x, y), **columns)


def raster(path, values, crs=UTM, size=1000.0):
    rows, cols = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=rows, width=cols, count=1, dtype="float32", crs=crs,
        transform=from_origin(4e5, 4.1e6, size, size), nodata=-9999,
    ) as target:  # fmt: skip
        target.write(np.where(np.isfinite(values), values, -9999).astype("float32"), 1)
    return path


def holed():
    """A smooth raster (30, 40) with two holes, and what is true."""
    y, x = np.mgrid[:30, :40]
    truth = 30 + 3 * np.sin(x / 6) + 2 * np.cos(y / 5)
    seen = truth.copy()
    seen[8:16, 5:14] = np.nan
    seen[20:27, 25:34] = np.nan
    return seen, truth


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_points_become_maps_near_the_truth():
    maps = gdr.interpolate(survey(150), value="zinc", exceed=(25,), samples=4)
    assert maps["zinc"].dims == ("y", "x")
    assert maps["zinc_draws"].dims == ("realization", "y", "x")
    x, y = np.meshgrid(maps["x"], maps["y"])
    inner = (abs(x - 4.1e5) < 8e3) & (abs(y - 4.01e6) < 8e3)
    error = maps["zinc"].values - hills(x, y)
    assert np.abs(error[inner]).mean() < 0.6
    low, high = (maps[f"zinc_{q}"].values for q in ("q05", "q95"))
    assert np.mean((low <= hills(x, y)) & (hills(x, y) <= high)) > 0.75
    chance = maps["zinc_exceed_25"].values
    assert 0 <= chance.min() <= chance.max() <= 1
    assert maps["zinc_n_obs"].sum() == 150


def test_a_table_a_file_and_a_frame_give_the_same_maps(tmp_path):
    points = survey()
    points.to_file(tmp_path / "a.gpkg")
    table = pd.DataFrame({"x": points.geometry.x, "y": points.geometry.y, "zinc": points["zinc"]})
    table.to_csv(tmp_path / "a.csv", index=False)
    whole = gdr.interpolate(points, value="zinc")
    for data, crs in ((tmp_path / "a.gpkg", None), (table, UTM), (tmp_path / "a.csv", UTM)):
        np.testing.assert_allclose(
            gdr.interpolate(data, value="zinc", crs=crs)["zinc"], whole["zinc"], rtol=1e-4
        )


def test_same_seed_same_draws_and_another_seed_others():
    a, b, c = (
        gdr.interpolate(survey(), value="zinc", samples=2, seed=seed)["zinc_draws"].values
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0


def test_more_draws_leave_the_first_as_they_were():
    few = gdr.interpolate(survey(), value="zinc", samples=2)["zinc_draws"].values
    many = gdr.interpolate(survey(), value="zinc", samples=5)["zinc_draws"].values
    np.testing.assert_allclose(many[:2], few, rtol=1e-5)


def test_dates_are_mapped_each_and_rows_without_one_are_left_out():
    x, y = scattered(80)
    days = pd.Timestamp("2024-03-01") + pd.to_timedelta(np.arange(80) % 4, "D")
    dates = pd.Series(days.strftime("%Y-%m-%d")).where(np.arange(80) > 3)
    said = []
    maps = gdr.interpolate(
        frame(x, y, hills(x, y) + (np.arange(80) % 4), day=dates.to_numpy()), value="zinc",
        time="day", log=said.append,
    )  # fmt: skip
    assert maps["zinc"].dims == ("time", "y", "x")
    assert list(maps["time"].dt.day.values) == [1, 2, 3, 4]
    assert maps.attrs["freq"] == "1D"
    assert any("4 rows have no date" in line for line in said)
    level = maps["zinc"].mean(("y", "x")).values
    np.testing.assert_allclose(np.diff(level), 1.0, atol=0.4)
    some = gdr.interpolate(
        frame(x, y, hills(x, y), day=dates.to_numpy()), value="zinc", time="day",
        dates=("2024-03-02", "2024-03-03"),
    )  # fmt: skip
    assert list(some["time"].dt.day.values) == [2, 3]


def test_days_are_those_of_the_zone_of_the_stamps():
    x, y = scattered(60)
    days = np.array(["2024-03-01T00:00+08:00", "2024-03-02T00:00+08:00"])[np.arange(60) % 2]
    maps = gdr.interpolate(
        frame(x, y, hills(x, y), day=days), value="zinc", time="day", resolution=1000,
        dates=("2024-03-01", "2024-03-01"),
    )  # fmt: skip
    assert maps.sizes["time"] == 1
    assert maps["time"].values[0] == np.datetime64("2024-02-29T16:00")
    assert maps.attrs["freq"] == "1D"


def test_weekly_and_uneven_dates_are_written(tmp_path):
    x, y = scattered(45)
    for dates in (["2024-01-01", "2024-01-08", "2024-01-15"], ["2024-01-01", "2024-01-02",
                                                             "2024-01-09"]):  # fmt: skip
        points = frame(x, y, hills(x, y), day=np.array(dates)[np.arange(45) % 3])
        maps = gdr.interpolate(points, value="zinc", time="day", resolution=1000)
        maps.gdr.to_netcdf(tmp_path / "a.nc")
        read = gdr.read_netcdf(tmp_path / "a.nc")
        np.testing.assert_array_equal(read["time"], maps["time"])
        files = maps.gdr.to_geotiff(tmp_path)
        with rasterio.open(files[0]) as source:
            assert source.count == 3
            assert dates[1] in source.descriptions[1]


def test_a_raster_keeps_what_it_has_and_its_holes_are_filled(tmp_path):
    seen, truth = holed()
    said = []
    maps = gdr.interpolate(raster(tmp_path / "lst.tif", seen), value="lst", log=said.append)
    known = np.isfinite(seen)
    np.testing.assert_allclose(maps["lst"].values[known], seen[known], rtol=1e-6)
    assert np.abs(maps["lst"].values - truth)[~known].mean() < 0.3
    assert np.all(maps["lst_std"].values[~known] > 0)
    assert np.all(maps["lst_std"].values[known] == 0)
    assert "Cells of the raster, 30 × 40." in said[0]


def test_a_large_raster_is_filled_through_neighbours(tmp_path):
    white = np.random.default_rng(0).standard_normal((60, 60))
    rough = np.fft.rfftfreq(60)[None] ** 2 + np.fft.fftfreq(60)[:, None] ** 2
    wave = np.fft.rfft2(white) / (0.03**2 + rough) ** 1.2
    truth = np.fft.irfft2(wave)
    truth = 30 + 3 * truth / truth.std()
    seen = truth.copy()
    seen[10:25, 5:20], seen[35:50, 30:50] = np.nan, np.nan
    maps = gdr.interpolate(raster(tmp_path / "lst.tif", seen), value="lst", samples=2)
    hole = np.isnan(seen)
    assert np.abs(maps["lst"].values - truth)[hole].mean() < 1.0
    low, high = (maps[f"lst_{q}"].values for q in ("q05", "q95"))
    assert np.mean(((low <= truth) & (truth <= high))[hole]) > 0.8
    np.testing.assert_allclose(maps["lst_draws"].values[:, ~hole].mean(axis=0), truth[~hole],
                               rtol=1e-5)  # fmt: skip


def told_of(points, **options):
    with pytest.raises(GeoDiffReconError) as told:
        gdr.interpolate(points, value="zinc", **options)
    sentence = str(told.value)
    assert "\n" not in sentence
    return sentence


def test_too_little_to_map_is_said():
    x, y = scattered(3)
    assert "at least 3" in told_of(frame(x[:1], y[:1], [1.0]))
    assert "at least 3" in told_of(frame(x[:2], y[:2], [1.0, 2.0]))
    assert "at least 3" in told_of(frame(np.full(99, x[0]), np.full(99, y[0]), np.arange(99.0)))


def test_equal_values_are_said():
    x, y = scattered(20)
    assert "All 20 values of 'zinc' are 3" in told_of(frame(x, y, np.full(20, 3.0)))


def test_no_crs_and_words_for_values_are_said():
    x, y = scattered(20)
    assert "no CRS" in told_of(frame(x, y, hills(x, y), crs=None))
    assert "no number" in told_of(frame(x, y, ["many"] * 20))
    assert "'lead'" in str(told_of_column())


def told_of_column():
    with pytest.raises(GeoDiffReconError) as told:
        gdr.interpolate(survey(), value="lead")
    return told.value


def test_three_points_give_wide_intervals():
    x, y = scattered(3)
    said = []
    maps = gdr.interpolate(frame(x, y, [1.0, 2.0, 4.0]), value="zinc", log=said.append)
    assert np.isfinite(maps["zinc"]).all()
    assert (maps["zinc_q95"] - maps["zinc_q05"]).mean() > 3
    assert any("say little" in line for line in said)


def test_points_on_one_line_are_mapped():
    t = np.linspace(0, 2e4, 40)
    for y in (np.full(40, 4e6), 4e6 + t):
        maps = gdr.interpolate(frame(4e5 + t, y, hills(4e5 + t, y)), value="zinc")
        assert np.isfinite(maps["zinc"]).all()


def test_thousands_of_duplicates_count_as_readings_of_their_places():
    x, y = scattered(30)
    which = np.random.default_rng(0).integers(0, 30, 5000)
    noise = np.random.default_rng(1).standard_normal(5000)
    said = []
    maps = gdr.interpolate(
        frame(x[which], y[which], hills(x, y)[which] + noise), value="zinc", log=said.append
    )
    assert "5000 readings at 30 points" in said[0]
    assert np.isfinite(maps["zinc"]).all()


def test_clusters_far_apart_are_mapped():
    x, y = scattered(30)
    far = frame(np.append(x, x + 1e6), np.append(y, y), np.append(hills(x, y), hills(x, y) + 30))
    maps = gdr.interpolate(far, value="zinc")
    middle = maps["zinc_std"].values[:, maps.sizes["x"] // 2]
    assert middle.min() > 2 * np.nanmin(maps["zinc_std"].values)


def test_feet_are_feet():
    x, y = scattered(60)
    x, y = x + 1e5, y - 3.9e6
    metres = gdr.interpolate(frame(x, y, hills(x, y)), value="zinc", crs="none")
    feet = gdr.interpolate(frame(x / 0.3048, y / 0.3048, hills(x, y), crs="EPSG:2926"), "zinc")
    ranges = [json.loads(m.attrs["field"])["parts"][0]["scale_km"] for m in (metres, feet)]
    assert ranges[1] == pytest.approx(ranges[0], rel=1e-3)
    assert "2926" in str(feet.spatial_ref.attrs["crs_wkt"])


def test_both_sides_of_the_date_line_are_near_each_other():
    rng = np.random.default_rng(0)
    east, north = rng.uniform(-2, 2, 60), rng.uniform(-18, -16, 60)
    lon = np.where(east < 0, 180 + east, -180 + east)
    points = frame(lon, north, 10 + np.sin(2 * east), crs="EPSG:4326")
    maps = gdr.interpolate(points, value="zinc")
    assert np.ptp(maps["longitude"].values) < 6
    assert np.abs(maps["zinc_std"].values).max() < 1.5


def test_texts_of_numbers_and_points_with_heights_are_read():
    x, y = scattered(40)
    plain = gdr.interpolate(frame(x, y, hills(x, y).round(3)), value="zinc")
    texts = gdr.interpolate(frame(x, y, [f"{v:.3f}" for v in hills(x, y)]), value="zinc")
    points = [Point(a, b, 7) for a, b in zip(x, y, strict=True)]
    high = gpd.GeoDataFrame({"zinc": hills(x, y).round(3)}, geometry=points, crs=UTM)
    np.testing.assert_allclose(texts["zinc"], plain["zinc"])
    np.testing.assert_allclose(gdr.interpolate(high, value="zinc")["zinc"], plain["zinc"])


def test_readings_with_large_errors_count_for_less():
    x, y = scattered(60)
    error = np.where(np.arange(60) < 30, 0.1, 8.0)
    value = hills(x, y) + error * np.random.default_rng(5).standard_normal(60)
    points = frame(x, y, value, error=error)
    told = {}
    for name, given in (("weighed", "error"), ("alike", None)):
        maps = gdr.interpolate(points, value="zinc", error=given, kind="real")
        at = maps.gdr.at(x[:30], y[:30])
        told[name] = np.abs(at["zinc"] - value[:30]).mean()
    assert told["weighed"] < 0.5 * told["alike"]
    assert "0 or more" in told_of(frame(x, y, value, error=-error), error="error")


def test_a_covariate_tells_what_points_do_not(tmp_path):
    rng = np.random.default_rng(0)
    height = 100 * rng.random((40, 40))
    x, y = 4e5 + 4e4 * rng.random(60), 4.06e6 + 4e4 * rng.random(60)
    row, col = ((4.1e6 - y) / 1000).astype(int), ((x - 4e5) / 1000).astype(int)
    x, y = 4e5 + 1000 * (col + 0.5), 4.1e6 - 1000 * (row + 0.5)
    dem = raster(tmp_path / "dem.tif", height)
    points = frame(x, y, 20 - 0.1 * height[row, col])
    maps = gdr.interpolate(points, value="zinc", covariates=dem, like=dem)
    plain = gdr.interpolate(points, value="zinc", like=dem)
    truth = 20 - 0.1 * height
    assert np.abs(maps["zinc"] - truth).mean() < 0.3 * np.abs(plain["zinc"] - truth).mean()


def test_only_cells_inside_the_polygons_are_mapped():
    city = gpd.GeoDataFrame(geometry=[box(4.05e5, 4.005e6, 4.1e5, 4.01e6)], crs=UTM)
    maps = gdr.interpolate(survey(), value="zinc", clip=city.to_crs(4326))
    assert maps["x"].min() > 4.049e5
    assert maps["x"].max() < 4.101e5
    assert 0.9 < np.isfinite(maps["zinc"]).mean() <= 1
    away = gpd.GeoDataFrame(geometry=[box(1, 1, 2, 2)], crs=4326)
    with pytest.raises(GeoDiffReconError):
        gdr.interpolate(survey(), value="zinc", clip=away, resolution=1e7)


def test_zones_tell_the_error_of_a_mean_not_the_mean_of_errors(tmp_path):
    maps = gdr.interpolate(survey(40), value="zinc")
    squares = [box(4.05e5, 4.005e6, 4.15e5, 4.015e6), box(4e5, 4e6, 4.002e5, 4.0002e6)]
    zones = gpd.GeoDataFrame({"name": ["large", "small"]}, geometry=squares, crs=UTM)
    told = maps.gdr.zonal(zones.to_crs(4326), exceed=(20,)).set_index("name")
    x, y = np.meshgrid(maps["x"], maps["y"])
    inside = (abs(x - 4.1e5) < 5e3) & (abs(y - 4.01e6) < 5e3)
    cells = maps["zinc"].values[inside]
    assert told.loc["large", "zinc"] == pytest.approx(cells.mean(), abs=0.3)
    assert told.loc["large", "zinc_std"] < 0.5 * maps["zinc_std"].values[inside].mean()
    assert told.loc["large", "zinc_q05"] < told.loc["large", "zinc"] < told.loc["large", "zinc_q95"]
    assert 0 <= told.loc["large", "zinc_exceed_20"] <= 1


def test_people_weigh_where_they_live(tmp_path):
    maps = gdr.interpolate(survey(), value="zinc", samples=50, resolution=1000)
    people = np.zeros((120, 40))
    people[:, :8] = 100.0  # the west only
    path = raster(tmp_path / "people.tif", people)
    zone = gpd.GeoDataFrame(geometry=[box(4e5, 4e6, 4.2e5, 4.02e6)], crs=UTM)
    west = gpd.GeoDataFrame(geometry=[box(4e5, 4e6, 4.08e5, 4.02e6)], crs=UTM)
    weighed = maps.gdr.zonal(zone, weights=path)["zinc"][0]
    assert weighed == pytest.approx(maps.gdr.zonal(west)["zinc"][0], abs=0.5)


def test_intervals_of_zones_hold_the_truth_as_often_as_they_say():
    """Many worlds, each with polygons of 1 to 400 cells; the mean of cell errors stands beside."""
    from geodiffrecon.field.covariance import Covariance, Sites

    rng, hits, naive, count = np.random.default_rng(0), 0, 0, 0
    known = Covariance(nu=1.5, scale=4.0, nugget=0.0)
    y, x = np.mgrid[:32, :32]
    cells = np.column_stack([x.ravel() + 0.5, 31.5 - y.ravel()])
    at = Sites(cells, cells * 0)
    root = np.linalg.cholesky(known.between(at, at) + 1e-8 * np.eye(1024))
    for _ in range(20):
        truth = (root @ rng.standard_normal(1024)).reshape(32, 32)
        chosen = rng.permutation(1024)[:60]
        points = frame(*(1000 * cells[chosen]).T, truth.ravel()[chosen], crs=None)
        maps = gdr.interpolate(
            points, value="zinc", crs="none", resolution=1000, clip=box(0, 0, 32000, 32000)
        )
        sides = rng.integers(1, 21, 10)
        corners = [(int(rng.integers(0, 33 - s)), int(rng.integers(0, 33 - s)), s) for s in sides]
        shapes = [box(1000 * c, 1000 * r, 1000 * (c + s), 1000 * (r + s)) for r, c, s in corners]
        told = maps.gdr.zonal(gpd.GeoDataFrame(geometry=shapes), draws=200)
        flipped, spread = truth[::-1], maps["zinc_std"].values[::-1]
        for (row, col, side), (_, line) in zip(corners, told.iterrows(), strict=True):
            part = (slice(row, row + side), slice(col, col + side))
            mean = flipped[part].mean()
            hits += line["zinc_q05"] <= mean <= line["zinc_q95"]
            naive += abs(mean - line["zinc"]) <= 1.645 * spread[part].mean()
            count += 1
    assert count == 200
    assert 0.85 <= hits / count <= 0.95, (hits / count, naive / count)
    assert naive / count > 0.95


def test_residuals_and_places_stand_beside_the_maps():
    maps = gdr.interpolate(survey(), value="zinc")
    left = maps.gdr.residuals()
    assert len(left) == 60
    assert left.crs == UTM
    np.testing.assert_allclose(left["residual"], left["zinc"] - left["left_out"])
    told = maps.gdr.at([4.1e5, np.nan], [4.01e6, 4.01e6], exceed=(20,))
    assert np.isfinite(told["zinc"][0])
    assert np.isnan(told["zinc"][1])
    assert {"zinc_std", "zinc_q05", "zinc_exceed_20", "zinc_distance"} <= set(told.columns)


def test_maps_of_others_have_no_sites_and_say_so(tmp_path):
    gdr.interpolate(survey(), value="zinc", resolution=2000).gdr.to_netcdf(tmp_path / "a.nc")
    read = gdr.read_netcdf(tmp_path / "a.nc")
    with pytest.raises(GeoDiffReconError, match="interpolate itself"):
        read.gdr.residuals()
    with pytest.raises(GeoDiffReconError, match="samples=200"):
        read.gdr.zonal(gpd.GeoDataFrame(geometry=[box(4e5, 4e6, 4.1e5, 4.01e6)], crs=UTM))


def test_kilometres_are_true_wherever_the_points_are():
    from pyproj import Geod

    lon, lat = np.array([10.0, 10.6, 11.0]), np.array([60.0, 60.2, 59.8])
    from geodiffrecon.axes import parse_crs

    km = Metric.about(lon, lat, parse_crs("EPSG:4326")).km(lon, lat)
    ours = np.linalg.norm(km[0] - km[1])
    true = Geod(ellps="WGS84").inv(lon[0], lat[0], lon[1], lat[1])[2] / 1000
    assert ours == pytest.approx(true, rel=1e-3)


def test_cells_have_sizes_that_people_write():
    assert [rounded(v) for v in (530.0, 0.3, 19.9)] == [500.0, 0.2, 10.0]


def test_the_command_writes_all_or_nothing(tmp_path):
    survey().to_file(tmp_path / "soil.gpkg")
    pd.DataFrame({"id": ["a"], "x": [4.1e5], "y": [4.01e6]}).to_csv(tmp_path / "s.csv", index=False)
    gpd.GeoDataFrame(geometry=[box(4e5, 4e6, 4.1e5, 4.01e6)], crs=UTM).to_file(tmp_path / "z.gpkg")
    out = tmp_path / "zinc"
    done = run(
        "map", tmp_path / "soil.gpkg", "--value", "zinc", "--out", out, "--exceed", 25, "--at",
        tmp_path / "s.csv", "--crs", UTM, "--zones", tmp_path / "z.gpkg", "--samples", 2,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    names = {path.name for path in out.iterdir()}
    assert {"zinc_mean.tif", "zinc_exceed_25.tif", "zinc.nc", "zinc.png", "report.html",
            "zinc_left_out.gpkg", "zinc_at_s.csv", "zinc_zones_z.gpkg"} <= names  # fmt: skip
    assert "60 points, one date, EPSG:32650. Cells of" in done.output
    assert "Left out in turn: MAE" in done.output
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Worst points" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    failed = run("map", tmp_path / "soil.gpkg", "--value", "lead", "--out", tmp_path / "lead")
    assert failed.exit_code == 1
    assert not (tmp_path / "lead").exists()


def test_without_matplotlib_the_maps_are_written_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("geodiffrecon.cli.interpolating.find_spec", lambda name: None)
    survey().to_file(tmp_path / "soil.gpkg")
    done = run("map", tmp_path / "soil.gpkg", "--value", "zinc", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "zinc_mean.tif").exists()
    assert not (tmp_path / "out" / "report.html").exists()
    assert "no picture and no report" in done.output


def test_the_command_stands_first_and_has_an_example():
    listed = run("--help").output
    assert listed.index(" map ") < listed.index(" demo ")
    assert "geodiffrecon map soil.gpkg --value zinc --out zinc/" in run("map", "--help").output


def test_layers_and_rows_are_chosen_from_python_as_from_the_shell(tmp_path):
    points = survey(what=np.where(np.arange(60) % 6, "zinc", "lead"))
    for layer in ("2023", "2024"):
        points.to_file(tmp_path / "a.gpkg", layer=layer)
    with pytest.raises(gdr.GeoDiffReconError, match="--layer"):
        gdr.interpolate(tmp_path / "a.gpkg", "zinc")
    said = []
    gdr.interpolate(
        tmp_path / "a.gpkg", "zinc", layer="2024", where="what == 'zinc'", log=said.append
    )
    assert any(line.startswith("50 points") for line in said)


def test_a_dimension_of_a_raster_is_chosen_from_python(tmp_path):
    seen, _ = holed()
    maps = gdr.interpolate(raster(tmp_path / "a.tif", seen), value="v")
    both = np.stack([np.full(seen.shape, np.nan), seen]).astype("f4")
    stored = xr.Dataset(
        {"v": (("level", "y", "x"), both)},
        {"level": [500, 1000], "y": maps.y.values, "x": maps.x.values},
    )
    stored.to_netcdf(tmp_path / "a.nc")
    chosen = gdr.interpolate(tmp_path / "a.nc", "v", crs=UTM, select={"level": 1000})
    np.testing.assert_allclose(chosen["v"], maps["v"], rtol=1e-4)


def test_undeclared_codes_of_a_raster_are_holes(tmp_path):
    seen, _ = holed()
    path = raster(tmp_path / "a.tif", np.where(np.isfinite(seen), seen, -999.0))
    said = []
    maps = gdr.interpolate(path, value="v", log=said.append)
    assert float(maps["v"].min()) > 20
    assert any("-999, which nothing declares" in line for line in said)


def classes(path, codes):
    with rasterio.open(
        path, "w", driver="GTiff", height=40, width=40, count=1, dtype="uint8", crs=UTM,
        transform=from_origin(3.9e5, 4.03e6, 1000, 1000), nodata=0,
    ) as target:  # fmt: skip
        target.write(codes.astype("uint8"), 1)
        target.write_colormap(1, {1: (0, 0, 255), 2: (0, 255, 0), 3: (255, 0, 0)})
    return path


def test_a_field_follows_the_shares_of_classes_not_their_numbers(tmp_path):
    x, y = scattered(150)
    codes = np.tile([[3, 3, 1, 1, 2, 2]], (40, 7))[:, :40]
    path = classes(tmp_path / "cover.tif", codes)
    here = codes[0, np.floor((x - 3.9e5) / 1000).astype(int)]
    said = []
    made = gdr.interpolate(
        frame(x, y, np.choose(here - 1, [10.0, 50.0, 30.0])), "zinc", covariates=path,
        log=said.append, resolution=1000,
    )  # fmt: skip
    assert any("cover.tif holds categories" in line for line in said)
    assert float(made["zinc"].std()) > 8
    with pytest.raises(gdr.GeoDiffReconError, match="cannot be averaged"):
        gdr.interpolate(path, "v")


def test_a_covariate_of_several_bands_is_refused(tmp_path):
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", height=5, width=5, count=2, dtype="float32",
        crs=UTM, transform=from_origin(4e5, 4.02e6, 4000, 4000),
    ) as target:  # fmt: skip
        target.write(np.ones((2, 5, 5), "f4"))
    with pytest.raises(gdr.GeoDiffReconError, match="holds 2 maps, but --covariates takes one"):
        gdr.interpolate(survey(), "zinc", covariates=tmp_path / "a.tif")


def test_what_a_series_cannot_be_learnt_from_is_said(tmp_path):
    x, y = scattered(10)
    dates = pd.date_range("2024-01-01", periods=50, tz="UTC")
    points = pd.concat([frame(x, y, hills(x, y), time=day) for day in dates])
    assert "needs 40 dates" in told_of(points[:100], time="time", learn=True)
    assert "and there is one" in told_of(points[:10], time="time", learn=True)
    assert "give --time" in told_of(points[:10], learn=True)
    assert "no --error" in told_of(points, time="time", error=1.0, learn=True)
    uneven = points[points["time"] != dates[30]].assign(
        time=lambda rows: rows["time"] + pd.to_timedelta(7 * (rows["time"] > dates[20]), unit="h")
    )
    assert "common step" in told_of(uneven, time="time", learn=True)
    assert "give --time" in told_of(raster(tmp_path / "a.tif", holed()[0]), learn=True)


def test_kelvin_are_mapped_as_degrees_are():
    x, y = scattered(80)
    degrees = hills(x, y) - 20
    made = {}
    for name, offset in (("degrees", 0.0), ("kelvin", 273.15)):
        maps = gdr.interpolate(frame(x, y, degrees + offset), value="zinc", core=0)
        made[name] = maps["zinc"] - offset, maps["zinc_q95"] - offset
    for a, b in zip(*made.values(), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)
