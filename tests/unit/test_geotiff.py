from __future__ import annotations

import json
import shutil
import subprocess
import warnings

import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr

from geodiffrecon.cube import make_cube
from geodiffrecon.errors import Cancelled, GridMismatch, InvalidParameter
from geodiffrecon.geotiff import geotiff_names, write_geotiff
from geodiffrecon.grid import NestedGrid


def many(steps, freq="1h", side=2):
    grid = NestedGrid.from_bounds((0, 0, 4, 4), crs="EPSG:32650", shape=(side, side))
    step = np.timedelta64(1, {"h": "h", "D": "D"}[freq[-1]]).astype("timedelta64[ns]")
    times = np.datetime64("2024-01-01", "ns") + np.arange(steps) * step
    values = np.random.default_rng(0).random((steps, side, side)).astype(np.float32)
    return make_cube(values, times, grid, value="no2", level="coarse", freq=freq)


def is_cog(path):
    from rio_cogeo.cogeo import cog_validate

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rio-cogeo's own use of affine
        return cog_validate(str(path), strict=True)


def test_bands_read_back_with_place_time_units_and_nodata(tmp_path, cube):
    paths = write_geotiff(cube.assign(pm25_std=cube.pm25 * 0.1), tmp_path)
    names = ["pm25_mean.tif", "pm25_std.tif", "pm25_n_obs.tif"]
    assert [path.name for path in paths] == names
    with rasterio.open(paths[0]) as source:
        assert source.crs == "EPSG:4326"
        np.testing.assert_allclose(source.bounds, (115, 39.5, 117, 41))
        assert source.nodata == -9999
        assert source.dtypes == ("float32",) * 6
        assert source.units[0] == "ug m-3"
        assert source.descriptions[:2] == ("pm25 mean 2024-01-01", "pm25 mean 2024-01-02")
        assert source.tags(1)["TIME"] == "2023-12-31T16:00:00Z"
        assert source.tags()["AREA_OR_POINT"] == "Area"
        assert source.profile["interleave"] == "band"
        assert source.profile["compress"] == "deflate"
        read = source.read(masked=True)
        np.testing.assert_array_equal(read.filled(np.nan), cube.pm25.values)
        assert source.read(2)[2, 3] == -9999
    with rasterio.open(paths[2]) as source:
        assert source.units[0] == "1"
        np.testing.assert_array_equal(source.read(), cube.pm25_n_obs.values)


def test_levels_of_one_grid_are_written_together_or_not_at_all(tmp_path, cube):
    from geodiffrecon.cube import aggregate

    levels = [aggregate(cube), cube]
    paths = write_geotiff(levels, tmp_path / "both")
    assert [path.name for path in paths] == [
        "pm25_coarse_mean.tif",
        "pm25_coarse_n_obs.tif",
        "pm25_fine_mean.tif",
        "pm25_fine_n_obs.tif",
    ]
    for path, level in zip(paths[::2], levels, strict=True):
        with rasterio.open(path) as source:
            assert source.tags()["LEVEL"] == level.attrs["level"]
            read = source.read(masked=True).filled(np.nan)
        np.testing.assert_array_equal(read, level["pm25"].values)

    def stop(done, total, message):
        if done == 3:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        write_geotiff(levels, tmp_path / "none", progress=stop)
    assert not list((tmp_path / "none").iterdir())


@pytest.mark.filterwarnings("ignore:Use `@` matmul")  # rioxarray's own use of affine
def test_rioxarray_reads_the_crs_and_the_values(tmp_path, cube):
    path = write_geotiff(cube, tmp_path)[0]
    with rioxarray.open_rasterio(path, masked=True) as data:
        assert data.rio.crs == "EPSG:4326"
        np.testing.assert_array_equal(data.values, cube.pm25.values)
        np.testing.assert_allclose(data.y.values, cube.latitude.values)


def test_shorter_steps_are_described_in_utc(tmp_path):
    with rasterio.open(write_geotiff(many(2), tmp_path)[0]) as source:
        assert source.descriptions == ("no2 mean 2024-01-01T00:00Z", "no2 mean 2024-01-01T01:00Z")


def test_sums_are_called_sums_unless_they_are_expected_values(tmp_path):
    cube = many(2).assign_attrs(aggregation="sum")
    assert write_geotiff(cube, tmp_path)[0].name == "no2_sum.tif"
    maps = cube.assign(no2_std=cube.no2)
    assert write_geotiff(maps, tmp_path)[0].name == "no2_mean.tif"


def test_one_file_per_time_on_request(tmp_path):
    paths = write_geotiff(many(2), tmp_path, split_time=True)
    names = ["no2_mean_20240101T0000Z.tif", "no2_mean_20240101T0100Z.tif"]
    assert [path.name for path in paths] == names
    for path in paths:
        assert is_cog(path)[0]


def with_stations(cube):
    """Return maps with all statistics that a model of stations adds."""
    dims, shape = cube.no2.dims, cube.no2.shape
    far = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    far[0] = np.nan  # no station reported
    near = (far < shape[1]).astype(np.int8)
    chance = np.full(shape, 0.25, np.float32)
    return cube.assign(
        no2=cube.no2.assign_attrs(units="µg/m³"), no2_std=cube.no2 * 0.1, no2_q25=cube.no2 * 0.9,
        no2_q75=cube.no2 * 1.1, no2_distance=(dims, far, {"units": "km"}),
        no2_information=(dims, near, {"units": "1"}),
        no2_exceed_35=(dims, chance, {"units": "1", "threshold": 35.0}),
        **{"no2_exceed_75.5": (dims, chance, {"units": "1", "threshold": 75.5})},
    )  # fmt: skip


STATION_FILES = {
    "mean": "ug m-3", "std": "ug m-3", "q25": "ug m-3", "q75": "ug m-3", "distance": "km",
    "information": "1", "exceed_35": "1", "exceed_75.5": "1",
}  # fmt: skip


def test_maps_of_stations_become_files_with_their_own_units(tmp_path):
    maps = with_stations(many(3))
    paths = write_geotiff(maps, tmp_path)
    assert [path.name for path in paths] == [f"no2_{name}.tif" for name in STATION_FILES]
    for path, (name, units) in zip(paths, STATION_FILES.items(), strict=True):
        with rasterio.open(path) as source:
            assert set(source.units) == {units}
            assert source.descriptions[1] == f"no2 {name} 2024-01-01T01:00Z"
            assert source.tags()["STATISTIC"] == name
        assert is_cog(path) == (True, [], [])


def test_the_distance_has_no_data_where_no_station_reported(tmp_path):
    maps = with_stations(many(3))
    path = next(p for p in write_geotiff(maps, tmp_path) if "distance" in p.name)
    with rasterio.open(path) as source:
        assert source.nodata == -9999
        read = source.read(masked=True)
        assert read[0].mask.all()
        np.testing.assert_array_equal(read.filled(np.nan), maps.no2_distance.values)


@pytest.mark.parametrize(("steps", "side"), [(1, 2), (3, 2), (1, 700), (3, 700)])
def test_information_is_a_byte_without_nodata_in_any_layout(tmp_path, steps, side):
    maps = with_stations(many(steps, side=side))
    path = next(p for p in write_geotiff(maps, tmp_path) if "information" in p.name)
    assert is_cog(path) == (True, [], [])
    with rasterio.open(path) as source:
        assert set(source.dtypes) == {"uint8"}
        assert source.nodata is None
        np.testing.assert_array_equal(source.read(), maps.no2_information.values)
    if side == 700:
        with rasterio.open(path, overview_level=0) as source:
            assert set(np.unique(source.read())) <= {0, 1}


def test_at_most_366_bands_a_file(tmp_path):
    paths = write_geotiff(many(400, "1D"), tmp_path)
    names = ["no2_mean_20240101_20241231.tif", "no2_mean_20250101_20250203.tif"]
    assert [path.name for path in paths] == names
    counts = []
    for path in paths:
        with rasterio.open(path) as source:
            counts.append(source.count)
    assert counts == [366, 34]


def test_a_file_may_have_fewer_or_more_bands(tmp_path):
    maps = many(400, "1D")
    (whole,) = write_geotiff(maps, tmp_path, max_bands=65535)
    assert whole.name == "no2_mean.tif"
    with rasterio.open(whole) as source:
        assert source.count == 400
        assert source.descriptions[-1] == "no2 mean 2025-02-03"
        assert source.tags(400)["TIME"] == "2025-02-03T00:00:00Z"
        np.testing.assert_array_equal(source.read(), maps.no2.values)
    halves = write_geotiff(maps, tmp_path, max_bands=200)
    names = ["no2_mean_20240101_20240718.tif", "no2_mean_20240719_20250203.tif"]
    assert [path.name for path in halves] == names


@pytest.mark.slow
def test_a_year_of_hours_may_be_one_file(tmp_path):
    maps = many(8784)
    (whole,) = write_geotiff(maps, tmp_path, max_bands=65535)
    with rasterio.open(whole) as source:
        assert source.count == 8784
        assert source.tags(8784)["TIME"] == "2024-12-31T23:00:00Z"
        np.testing.assert_array_equal(source.read(8784), maps.no2.values[-1])


@pytest.mark.parametrize("max_bands", [0, -5, 65536])
def test_no_file_has_as_many_bands(tmp_path, max_bands):
    with pytest.raises(
        InvalidParameter, match=f"^max_bands is {max_bands}, but a GeoTIFF has 1 to 65535"
    ):
        write_geotiff(many(2), tmp_path / "new", max_bands=max_bands)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [{}, {"max_bands": 2}, {"max_bands": 1}, {"split_time": True}])
@pytest.mark.parametrize("steps", [1, 3])
def test_names_are_known_by_statistic(tmp_path, steps, cut):
    maps = with_stations(many(steps))
    names = geotiff_names(maps, **cut)
    assert list(names) == list(STATION_FILES)
    written = [path.name for path in write_geotiff(maps, tmp_path, **cut)]
    assert written == [name for part in names.values() for name in part]


@pytest.mark.parametrize(("steps", "side"), [(1, 2), (3, 2), (1, 700), (3, 700)])
def test_every_layout_is_a_valid_cog(tmp_path, steps, side):
    path = write_geotiff(many(steps, side=side), tmp_path)[0]
    assert is_cog(path) == (True, [], [])
    with rasterio.open(path) as source:
        assert source.overviews(1) == ([2] if side == 700 else [])
        if side == 700:
            assert source.block_shapes[0] == (512, 512)


def test_nodata_does_not_leak_into_overviews(tmp_path):
    cube = many(2, side=700)
    cube["no2"][:, :, ::2] = np.nan
    with rasterio.open(write_geotiff(cube, tmp_path)[0], overview_level=0) as source:
        small = source.read(1, masked=True)
        assert small.min() >= 0
        assert not small.mask.any()


def test_same_maps_make_the_same_bytes(tmp_path, cube):
    first = [p.read_bytes() for p in write_geotiff(cube, tmp_path / "a")]
    assert [p.read_bytes() for p in write_geotiff(cube, tmp_path / "b")] == first


def test_local_grids_have_no_crs(tmp_path, times):
    grid = NestedGrid.from_bounds((0, 0, 4, 4), crs=None, shape=(2, 2))
    cube = make_cube(np.ones((6, 2, 2)), times, grid, value="v", level="coarse", freq="24h")
    with rasterio.open(write_geotiff(cube, tmp_path)[0]) as source:
        assert source.crs is None
        assert tuple(source.bounds) == (0, 0, 4, 4)


def test_a_cancelled_write_leaves_nothing_behind(tmp_path, cube):
    def cancel(done, total, message):
        if done == 1:
            raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        write_geotiff(cube, tmp_path, progress=cancel)
    assert list(tmp_path.iterdir()) == []


def test_only_cubes_are_written(tmp_path):
    with pytest.raises(GridMismatch, match="no cube of this library"):
        write_geotiff(xr.Dataset(), tmp_path)


@pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="gdalinfo is not installed")
def test_the_system_gdal_reads_it(tmp_path, cube):
    path = write_geotiff(cube, tmp_path)[0]
    report = subprocess.run(
        ["gdalinfo", str(path)], check=True, capture_output=True, text=True
    ).stdout
    assert "pm25 mean 2024-01-01" in report
    assert "NoData Value=-9999" in report
    assert "LAYOUT=COG" in report or "Band 6" in report


@pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="gdalinfo is not installed")
@pytest.mark.parametrize(
    ("statistic", "type_"), [("information", "Byte"), ("exceed_75.5", "Float32")]
)
def test_the_system_gdal_reads_maps_of_stations(tmp_path, statistic, type_):
    paths = write_geotiff(with_stations(many(2)), tmp_path)
    path = next(p for p in paths if p.name == f"no2_{statistic}.tif")
    report = subprocess.run(
        ["gdalinfo", "-json", str(path)], check=True, capture_output=True, text=True
    ).stdout
    band = json.loads(report)["bands"][1]
    assert band["type"] == type_
    assert band["description"] == f"no2 {statistic} 2024-01-01T01:00Z"
    assert band["unit"] == "1"
    assert band.get("noDataValue") == (None if type_ == "Byte" else -9999)
