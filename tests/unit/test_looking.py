"""``info`` says of any file what it is, and the command that it proposes works."""

from __future__ import annotations

import json
import shlex
import zipfile

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from affine import Affine
from rasterio.shutil import copy

from geodiffrecon.binning import bin_points
from geodiffrecon.cli import app
from geodiffrecon.errors import InvalidParameter
from geodiffrecon.files.kinds import holds_points, is_netcdf
from geodiffrecon.files.sources import open_source
from geodiffrecon.grid import NestedGrid
from geodiffrecon.points import read_points

N = 30
RNG = np.random.default_rng(0)
X, Y = RNG.uniform(116, 117, N), RNG.uniform(39, 40, N)
ROWS = pd.DataFrame({"id": [f"s{n}" for n in range(N)], "zinc": 100 + 40 * RNG.random(N)})


def said(capsys, *args):
    """Return the lines of a command by their first word, and its exit code."""
    with pytest.raises(SystemExit) as ended:
        app([str(arg) for arg in args])
    told = capsys.readouterr()
    if ended.value.code:
        return {"error": told.err.strip().splitlines()[-1]}
    found, key = {}, ""
    for line in told.out.splitlines():
        key = line[:10].strip() or key
        found[key.replace(" ", "_")] = found.get(key, "") + line
    return found


def info(capsys, path, *more):
    with pytest.raises(SystemExit) as ended:
        app(["info", str(path), *more, "--progress", "json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return (lines[-1], ended.value.code or 0)


def raster(path, *, values=None, **options):
    values = np.arange(48, dtype="f4").reshape(1, 6, 8) if values is None else values
    profile = {"driver": "GTiff", "count": len(values), "height": values.shape[1],
               "width": values.shape[2], "dtype": values.dtype, "crs": "EPSG:32650",
               "transform": Affine(1000, 0, 4e5, 0, -1000, 4.5e6)}  # fmt: skip
    with rasterio.open(path, "w", **{**profile, **options}) as opened:
        opened.write(values)
    return path


def table(path, frame, **options):
    frame.to_csv(path, index=False, **options)
    return path


def points(path, **columns):
    frame = gpd.GeoDataFrame(ROWS.assign(**columns), geometry=gpd.points_from_xy(X, Y), crs=4326)
    (frame.to_feather if path.suffix == ".feather" else frame.to_file)(path)
    return path


def described(capsys, path, *more):
    found, code = info(capsys, path, *more)
    assert code == 0, found
    return found.get("result", found)


def test_a_table_is_described_and_its_next_command_works(tmp_path, capsys):
    rows = ROWS.assign(lon=X, lat=Y)
    rows.loc[3, "zinc"] = np.nan
    found = described(capsys, table(tmp_path / "a.csv", rows))
    assert found["rows"] == N
    assert (found["numbers"], found["crs"]) == ("zinc, lon, lat", "EPSG:4326")
    assert found["missing"] == "zinc 3.33 %"
    assert (found["positions"], found["times"]) == ("lon and lat", "no time")
    assert found["next"] == "geodiffrecon map a.csv --value zinc --out DIR"
    command = shlex.split(found["next"].replace("a.csv", str(tmp_path / "a.csv")))[1:]
    command[-1] = str(tmp_path / "out")
    with pytest.raises(SystemExit) as ended:
        app([*command, "--format", "geotiff"])
    assert not ended.value.code


def test_times_in_parts_are_found_and_their_zone_is_asked_for(tmp_path, capsys):
    rows = ROWS.assign(lon=X, lat=Y, year=2024, month=1, day=np.arange(N) // 24 + 1,
                       hour=np.arange(N) % 24)  # fmt: skip
    found = described(capsys, table(tmp_path / "a.csv", rows))
    assert found["times"].startswith(f"{N} from 2024-01-01T00:00:00Z to 2024-01-02T05:00:00Z")
    assert "--tz ZONE" in found["next"]
    assert "--time year,month,day,hour" in found["next"]
    with_zone = described(capsys, tmp_path / "a.csv", "--tz", "UTC")
    assert "zone" not in with_zone["times"]


def test_layers_are_listed_and_one_is_shown(tmp_path, capsys):
    frame = gpd.GeoDataFrame(ROWS, geometry=gpd.points_from_xy(X, Y), crs=4326)
    for layer in ("spring", "autumn"):
        frame.to_file(tmp_path / "a.gpkg", layer=layer)
    found = described(capsys, tmp_path / "a.gpkg")
    assert found["layers"] == ["spring (30 rows, Point)", "autumn (30 rows, Point)"]
    assert "--layer spring" in found["next"]


def test_a_wide_table_and_its_stations(tmp_path, capsys):
    wide = pd.DataFrame({"time": pd.date_range("2024-01-01", periods=3), **{
        name: RNG.random(3) for name in ROWS["id"]}})  # fmt: skip
    sites = table(tmp_path / "sites.csv", ROWS[["id"]].assign(lon=X, lat=Y))
    path = table(tmp_path / "wide.csv", wide)
    alone = described(capsys, path)
    assert "--sites and --on, and --melt where each column is a station" in alone["as_points"]
    found = described(capsys, path, "--melt", "--sites", str(sites), "--on", "id")
    assert "--melt" in found["next"]
    assert "--value value" in found["next"]


def test_rasters_in_other_shells_are_rasters(tmp_path, capsys):
    tif = raster(tmp_path / "a.tif", values=np.arange(48, dtype="u1").reshape(1, 6, 8),
                 crs="EPSG:4326", transform=Affine(0.5, 0, 10, 0, -0.5, 50))  # fmt: skip
    copy(tif, tmp_path / "a.gpkg", driver="GPKG")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as held:
        held.write(tif, "a.tif")
    for name in ("a.gpkg", "a.zip"):
        assert not holds_points(tmp_path / name)
        found = described(capsys, tmp_path / name)
        assert found["grid"].startswith("6 × 8 cells")
        assert found["next"] == f"geodiffrecon plot {name}"
    assert holds_points(points(tmp_path / "p.gpkg"))


def test_netcdf_is_known_by_its_first_bytes(tmp_path, capsys):
    maps = xr.Dataset({"v": (("lat", "lon"), np.ones((3, 4)))},
                      {"lat": [3.0, 2, 1], "lon": [1.0, 2, 3, 4]})  # fmt: skip
    maps.lat.attrs["units"], maps.lon.attrs["units"] = "degrees_north", "degrees_east"
    maps.to_netcdf(tmp_path / "model_output")
    assert is_netcdf(tmp_path / "model_output")
    assert described(capsys, tmp_path / "model_output")["crs"] == "EPSG:4326"


def test_one_map_without_a_time_is_drawn(tmp_path, capsys):
    path = raster(tmp_path / "a b.tif")
    found = described(capsys, path)
    assert found["times"] == "no time"
    assert found["next"] == "geodiffrecon plot 'a b.tif'"
    with pytest.raises(SystemExit) as ended:
        app(["plot", str(path), "--out", str(tmp_path / "a.png")])
    assert not ended.value.code
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_a_map_of_ours_without_a_time_is_drawn(tmp_path, capsys):
    rows = table(tmp_path / "a.csv", ROWS.assign(lon=X, lat=Y))
    for command in (["map", rows, "--value", "zinc", "--format", "netcdf", "--out", tmp_path / "o"],
                    ["plot", tmp_path / "o"]):  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            app([str(part) for part in command])
        assert not ended.value.code


def test_short_histories_are_not_sent_to_fit(tmp_path, capsys):
    dates = np.array(["2024-01-01", "2024-01-09", "2024-01-17", "2024-01-25"], "M8[ns]")
    maps = xr.Dataset({"v": (("time", "lat", "lon"), np.ones((4, 3, 4)))},
                      {"time": dates, "lat": [3.0, 2, 1], "lon": [1.0, 2, 3, 4]})  # fmt: skip
    maps.lat.attrs["units"], maps.lon.attrs["units"] = "degrees_north", "degrees_east"
    maps.to_netcdf(tmp_path / "a.nc")
    assert described(capsys, tmp_path / "a.nc")["next"] == "geodiffrecon plot a.nc"
    uneven = np.array(["2024-01-01", "2024-01-09", "2024-01-20", "2024-01-25"], "M8[ns]")
    maps.assign_coords(time=uneven).to_netcdf(tmp_path / "b.nc")
    assert described(capsys, tmp_path / "b.nc")["next"] == "geodiffrecon plot b.nc --freq 1D"


@pytest.mark.parametrize(
    ("x", "y"),
    [("gps_longitude", "gps_latitude"), ("Site Longitude", "Site Latitude"),
     ("Longitude [deg]", "Latitude [deg]"), ("lon_wgs84", "lat_wgs84"),
     ("decimalLongitude", "decimalLatitude"), ("start_lng", "start_lat")],
)  # fmt: skip
def test_usual_names_of_longitudes_are_found(tmp_path, x, y):
    path = table(tmp_path / "a.csv", ROWS.assign(**{x: X, y: Y}, time="2024-01-01"))
    read = read_points(path, value="zinc")
    np.testing.assert_allclose(read.x, X)
    assert any(x in note and "EPSG:4326" in note for note in read.notes)


def test_two_places_a_row_are_asked_for(tmp_path):
    rows = ROWS.assign(start_lng=X, start_lat=Y, end_lng=X, end_lat=Y, time="2024-01-01")
    with pytest.raises(InvalidParameter, match="several places a row, start_lng/start_lat and"):
        read_points(table(tmp_path / "a.csv", rows), value="zinc")


def test_lines_above_the_header_are_skipped(tmp_path):
    rows = ROWS.assign(lon=X, lat=Y, time="2024-01-01")
    text = "# a logger, made in 2020\n# second line\n" + rows.to_csv(index=False)
    (tmp_path / "a.csv").write_text(text)
    assert read_points(tmp_path / "a.csv", value="zinc").n_rows == N


def test_feather_and_a_plain_column_of_wkb(tmp_path):
    path = points(tmp_path / "a.feather", time="2024-01-01")
    np.testing.assert_allclose(read_points(path, value="zinc").x, X)
    shapes = gpd.GeoSeries.from_xy(X, Y).to_wkb()
    ROWS.assign(geometry=shapes, time="2024-01-01").to_parquet(tmp_path / "a.parquet")
    np.testing.assert_allclose(read_points(tmp_path / "a.parquet", value="zinc", crs=4326).x, X)


@pytest.mark.parametrize("name", ["a.fgb", "a.json", "a.csv", "a.geojson"])
def test_what_is_damaged_gets_one_sentence(tmp_path, capsys, name):
    path = tmp_path / name
    if name == "a.fgb":
        path.write_bytes(points(tmp_path / "b.fgb").read_bytes()[:300])
    else:
        path.write_text({"a.json": '[{"v": 1}]', "a.csv": "", "a.geojson": "{}"}[name])
    told = said(capsys, "info", path)["error"]
    assert "mistake of geodiffrecon" not in told
    assert name in told


def test_messages_of_grib_are_chosen(tmp_path):
    raster(tmp_path / "a.tif", values=np.arange(4 * 48, dtype="f4").reshape(4, 6, 8),
           crs="EPSG:4326", transform=Affine(0.5, 0, 10, 0, -0.5, 50))  # fmt: skip
    copy(tmp_path / "a.tif", tmp_path / "a.grb2", driver="GRIB")
    with pytest.raises(InvalidParameter, match=r"dimension 'member' .* --select member=0"):
        open_source(tmp_path / "a.grb2")
    read = open_source(tmp_path / "a.grb2", select={"member": 2})
    assert read.count == 1
    np.testing.assert_allclose(read.read(slice(0, 6), slice(0, 8))[0].mean(), 2 * 48 + 23.5)
    with pytest.raises(InvalidParameter, match="no 9 in its dimension 'level'"):
        open_source(tmp_path / "a.grb2", select={"level": 9})


@pytest.mark.parametrize(
    ("encoding", "name", "seen"),
    [("gb18030", "北京", "GB18030"), ("shift_jis", "東京タワー", "Shift-JIS"),
     ("cp1251", "Москва", "Windows-1251"), ("cp1252", "Zürich", "Windows-1252")],
)  # fmt: skip
def test_encodings_are_named(tmp_path, capsys, encoding, name, seen):
    path = table(tmp_path / "a.csv", ROWS.assign(id=name, lon=X, lat=Y), encoding=encoding)
    told = said(capsys, "info", path)["error"]
    assert "is not in UTF-8 (line 2)" in told
    assert seen in told


def test_groups_in_groups_are_named(tmp_path, capsys):
    import netCDF4

    with netCDF4.Dataset(tmp_path / "a.h5", "w") as file:
        group = file.createGroup("GRIDS").createGroup("NO2")
        for name, values in (("lat", [3.0, 2, 1]), ("lon", [1.0, 2, 3, 4])):
            group.createDimension(name, len(values))
            axis = group.createVariable(name, "f8", (name,))
            axis[:] = values
            axis.units = f"degrees_{'north' if name == 'lat' else 'east'}"
        group.createVariable("column", "f4", ("lat", "lon"))[:] = 1
    found = described(capsys, tmp_path / "a.h5")
    assert found["variables"] == ["GRIDS/NO2/column"]
    assert found["next"] == "geodiffrecon plot a.h5 --variable GRIDS/NO2/column"


def test_what_is_no_map_is_described_all_the_same(tmp_path, capsys):
    xr.Dataset({"v": (("station", "time"), np.ones((2, 3)))}).to_netcdf(tmp_path / "a.nc")
    found = described(capsys, tmp_path / "a.nc")
    assert found["variables"][0].startswith("v (station 2 × time 3)")
    assert "station series" in found["as_maps"]


def test_stations_whose_clock_jitters(tmp_path, capsys):
    hours = pd.date_range("2024-01-01", periods=6, freq="h", tz="UTC")
    late = hours + pd.to_timedelta([-2, 3, -30, 0, 1, -2], "s")
    rows = pd.DataFrame({"time": late, "lon": 116.5, "lat": 39.5, "v": np.arange(6.0)})
    read = read_points(table(tmp_path / "a.csv", rows), value="v")
    grid = NestedGrid.from_bounds((116, 39, 118, 41), crs="EPSG:4326", shape=(2, 2))
    cube = bin_points(read, grid, freq="1h")
    assert cube.sizes["time"] == 6
    np.testing.assert_array_equal(np.nanmax(cube.v.values, axis=(1, 2)), np.arange(6.0))
    assert any("moved by up to 30 seconds" in note for note in cube.attrs["notes"])


def test_a_layer_without_columns_and_packed_netcdf(tmp_path, capsys):
    lines = gpd.GeoDataFrame(geometry=gpd.GeoSeries.from_wkt(["LINESTRING (0 0, 1 1)"], crs=4326))
    lines.to_file(tmp_path / "a.gpkg")
    found = described(capsys, tmp_path / "a.gpkg")
    assert (found["rows"], found["columns"]) == (1, "")
    assert "found a LineString" in found["as_points"]
    (tmp_path / "a.nc.gz").write_bytes(b"\x1f\x8b")
    assert "is compressed" in said(capsys, "info", tmp_path / "a.nc.gz")["error"]
    (tmp_path / "a.nc").write_bytes(b"\x89HDF broken")
    assert "it may be truncated" in said(capsys, "info", tmp_path / "a.nc")["error"]


def test_options_of_the_other_kind_are_refused(tmp_path, capsys):
    path = raster(tmp_path / "a.tif")
    rows = table(tmp_path / "a.csv", ROWS.assign(lon=X, lat=Y))
    out = ("--out", tmp_path / "o")
    assert (
        "--where is only for points" in said(capsys, "map", path, "--where", "v > 1", *out)["error"]
    )
    told = said(capsys, "map", rows, "--value", "zinc", "--select", "band=1", *out)["error"]
    assert "--select is only for maps" in told
    assert "--layer is only for points" in said(capsys, "info", path, "--layer", "a")["error"]
    assert not (tmp_path / "o").exists()


def test_a_time_in_the_name_of_the_file(tmp_path, capsys):
    path = raster(tmp_path / "MOD11A1.A2024032.h18.tif")
    found = described(capsys, path, "--time-from", "A%Y%j")
    assert found["times"] == "2024-02-01T00:00:00Z"
    assert found["next"].endswith("--time-from A%Y%j")


def test_a_raster_of_envi_is_no_table_whatever_its_name(tmp_path):
    with rasterio.open(
        tmp_path / "a.dat", "w", driver="ENVI", height=3, width=4, count=1, dtype="float32",
        crs="EPSG:32650", transform=Affine(10, 0, 4e5, 0, -10, 4e6),
    ) as target:  # fmt: skip
        target.write(np.arange(12.0, dtype="float32").reshape(1, 3, 4))
    assert not holds_points(tmp_path / "a.dat")
    assert holds_points(tmp_path / "b.dat")
